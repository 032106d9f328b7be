"""A worker that lives all night takes no more memory after many trials than after a few."""

import gc
from dataclasses import replace

import psutil
import pytest
from test_trial import job, source, warm  # noqa: F401  fixtures

from harness.configuration import TrialConfig
from harness.jobs import Sharing
from harness.records import TrialOutcome
from harness.trial import Control, run

FEW, MANY = 40, 200


@pytest.mark.slow
def test_memory_does_not_grow_over_two_hundred_trials(job, warm, tmp_path):  # noqa: F811
    resident = {}
    for number in range(1, MANY + 1):
        changes = {"freeze": ("none", "top-1", "head", "classifier")[number % 4], "learning_rate": 1e-4 * number}
        config = TrialConfig.from_dict(job.config.as_dict() | changes)
        own = replace(
            job,
            trial=number,
            config=config,
            seed=number,
            folder=str(tmp_path / f"t{number}"),
            sharing=Sharing(str(tmp_path / "cache"), 10_000_000, ("none", "top-1", "head", "classifier")),
        )
        *_, last = run(own, warm, Control())
        assert isinstance(last, TrialOutcome) and last.state == "complete"
        if number in (FEW, MANY):
            gc.collect()
            resident[number] = psutil.Process().memory_info().rss
    assert resident[MANY] < 1.03 * resident[FEW], resident

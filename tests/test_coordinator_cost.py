"""What a trial costs the coordinator grows neither with the trials that are there nor with the workers: counted."""

from __future__ import annotations

import sys
from pathlib import Path
from statistics import mean
from typing import Any

import pytest
import scripted
import sqlalchemy as sa
from results_support import epoch, facts

from harness.jobs import TrialJob
from harness.records import TrialOutcome
from harness.results import mirror
from harness.results.store import Store

TRIALS, FEW = 120, 30
TEXT = f"""
search: {{learning_rate: {{low: 1.0e-5, high: 1.0e-3, log: true}}, batch_size: [8, 16, 32]}}
fixed: {{epochs: 3}}
sampler: random
pruner: median
budget: {{trials: {TRIALS}}}
"""


def three_epochs(job: TrialJob) -> scripted.Words:
    yield facts(job.config)
    for number in range(1, 4):
        yield epoch(number)
    yield TrialOutcome("complete", seconds={"total": 1.0})


class Counting(scripted.Notes):
    """Work done so far, written down when a trial ends: steps of SQLite's machine in tens, calls of functions."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = self.calls = 0
        self.ends: list[tuple[int, int]] = []

    def note(self, text: str) -> None:
        if " complete in " in text:
            self.ends.append((self.steps, self.calls))

    def step(self) -> None:
        self.steps += 1

    def call(self, _frame: Any, event: str, _argument: Any) -> None:
        self.calls += event in ("call", "c_call")


def counted(path: Path, slots: int = 1) -> list[tuple[int, int]]:
    """Steps and calls of each trial of one night with so many workers."""
    counting, file = Counting(), scripted.study(TEXT)
    with Store.open(path) as store:
        key = store.create_study(file)

        @sa.event.listens_for(store.engine, "checkout")
        def watch(connection: Any, _record: object, _proxy: object) -> None:
            connection.set_progress_handler(counting.step, 10)
            connection.execute("PRAGMA synchronous=OFF")  # the disk is not what is counted

        with store.hold(key):
            night = scripted.night(store, file, scripted.Scripted(three_epochs, slots), counting)
            mirror.sync(store, key)
            before = sys.getprofile()
            sys.setprofile(counting.call)
            try:
                night.through()
            finally:
                sys.setprofile(before)
    pairs = zip(counting.ends, counting.ends[1:], strict=False)
    return [(after[0] - before[0], after[1] - before[1]) for before, after in pairs]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[int, int]]:
    """The trials of one worker."""
    return counted(tmp_path_factory.mktemp("alone") / "results.db")


def test_the_hundredth_trial_costs_what_the_tenth_did(alone: list[tuple[int, int]]) -> None:
    trials = alone
    assert len(trials) == TRIALS - 1
    # the counts repeat to a ten-thousandth; one scan of the mirrored trials would add 8%, reading all of ours 50%
    for kind, allowed in ((0, 1.03), (1, 1.01)):
        work = [trial[kind] for trial in trials]
        early, late = mean(work[FEW // 2 : FEW]), mean(work[-FEW:])
        assert early > 100
        assert late < allowed * early, f"{early:.0f} at first, {late:.0f} in the end"


def test_a_trial_costs_the_same_beside_many_workers(alone: list[tuple[int, int]], tmp_path: Path) -> None:
    beside = counted(tmp_path / "results.db", slots=60)
    for kind in (0, 1):
        one, other = (mean(trial[kind] for trial in trials) for trials in (alone, beside))
        assert one > 100
        assert other < 1.1 * one, f"{one:.0f} with one worker, {other:.0f} with sixty"

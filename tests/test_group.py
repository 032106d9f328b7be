"""A group of trials in one worker: together where that works, one by one where it does not."""

from dataclasses import replace

import pytest
import small_models
from test_trial import job, source, warm  # noqa: F401  fixtures

from harness.configuration import TrialConfig
from harness.group import run_group
from harness.jobs import Sharing, TrialJob
from harness.records import EpochRecord, Incident, Progress, TrialFacts, TrialOutcome
from harness.trial import Control, run

RATES = (1e-3, 1e-2, 5e-2)


@pytest.fixture
def jobs(job, source, tmp_path):  # noqa: F811
    """Three trials that differ in their learning rates alone."""

    def of(number: int, rate: float) -> TrialJob:
        changes = {"freeze": "classifier", "learning_rate": rate}
        return replace(
            job,
            trial=number,
            config=TrialConfig.from_dict(job.config.as_dict() | changes),
            folder=str(tmp_path / f"trial-{number}"),
            sharing=Sharing(str(tmp_path / "cache"), 10_000_000, ("classifier",)),
        )

    return [of(number, rate) for number, rate in enumerate(RATES, 1)]


def controls(jobs, interrupted=lambda: False):
    return {each.trial: Control(interrupted=interrupted) for each in jobs}


def of(kind, told, trial):
    return [event for number, event in told if number == trial and isinstance(event, kind)]


def losses(told, trial):
    return [record.value("validation", "loss") for record in of(EpochRecord, told, trial)]


def test_each_trial_of_a_group_tells_what_it_tells_alone(jobs, warm):  # noqa: F811
    told = list(run_group(jobs, warm, controls(jobs)))
    for each in jobs:
        alone = [(each.trial, event) for event in run(each, warm, Control())]
        assert losses(told, each.trial) == pytest.approx(losses(alone, each.trial), rel=1e-5)
        (facts,), (expected,) = of(TrialFacts, told, each.trial), of(TrialFacts, alone, each.trial)
        assert facts == expected
        (outcome,) = of(TrialOutcome, told, each.trial)
        assert (outcome.state, outcome.model_folder) == ("complete", "model")
        assert outcome.shared_work["fused"] == {"trials": 3}


def test_one_trial_pays_for_the_filling(jobs, warm):  # noqa: F811
    told = list(run_group(jobs, warm, controls(jobs)))
    paid = [of(TrialOutcome, told, each.trial)[0].shared_work["prefix"]["computed_rows"] > 0 for each in jobs]
    assert paid == [True, False, False]


def test_a_kept_model_holds_its_own_head(jobs, warm, tmp_path):  # noqa: F811
    from safetensors.torch import load_file

    list(run_group(jobs, warm, controls(jobs)))
    heads = [load_file(tmp_path / f"trial-{n}" / "model" / "model.safetensors")["classifier.weight"] for n in (1, 2, 3)]
    assert not heads[0].equal(heads[1]) and not heads[1].equal(heads[2])


def test_a_pruned_trial_ends_as_pruned_and_the_others_go_on(jobs, warm):  # noqa: F811
    mine = controls(jobs)
    told = []
    for trial, event in run_group(jobs, warm, mine):
        told.append((trial, event))
        if isinstance(event, EpochRecord) and trial == 2:
            mine[2].prune = True
    assert [of(TrialOutcome, told, n)[0].state for n in (1, 2, 3)] == ["complete", "pruned", "complete"]
    assert len(losses(told, 2)) == 1 and len(losses(told, 3)) == 3


def test_an_interrupted_group_waits_as_a_whole(jobs, warm):  # noqa: F811
    asked = []
    told = []
    for trial, event in run_group(jobs, warm, controls(jobs, lambda: bool(asked))):
        told.append((trial, event))
        if isinstance(event, EpochRecord):
            asked.append(True)
    assert [of(TrialOutcome, told, n)[0].state for n in (1, 2, 3)] == ["waiting"] * 3


def test_a_group_interrupted_while_its_prefix_is_filled_waits_as_a_whole_and_begins_no_training(jobs, warm):  # noqa: F811
    asked, told = [], []
    for trial, event in run_group(jobs, warm, controls(jobs, lambda: bool(asked))):
        told.append((trial, event))
        if isinstance(event, Progress) and event.epoch == 0 and event.step >= 20:
            asked.append(len(told))
    assert asked and len(told) == asked[0] + len(jobs)
    assert [of(TrialOutcome, told, n)[0].state for n in (1, 2, 3)] == ["waiting"] * 3
    again = list(run_group(jobs, warm, controls(jobs)))
    prefix = of(TrialOutcome, again, 1)[0].shared_work["prefix"]
    assert 0 < prefix["computed_rows"] < prefix["rows"] - 10


def test_a_group_whose_device_is_lost_ends_with_its_process(jobs, warm, monkeypatch):  # noqa: F811
    """Alone each would fail at once on a device that answers no more; a new process takes them all."""

    def lost(*_):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr("harness.group.train_together", lost)
    monkeypatch.setattr("harness.devices.synchronise", lost)
    told = []
    with pytest.raises(RuntimeError, match="illegal memory access"):
        told.extend(run_group(jobs, warm, controls(jobs)))
    assert not [event for _, event in told if isinstance(event, TrialOutcome)]


def test_a_model_whose_head_is_made_by_the_seed_is_trained_one_by_one(jobs, warm, tmp_path):  # noqa: F811
    path = small_models.model_folder(tmp_path / "distilbert", "distilbert")
    other = [replace(each, config=replace(each.config, model=path)) for each in jobs]
    told = list(run_group(other, warm, controls(other)))
    assert [of(TrialOutcome, told, n)[0].state for n in (1, 2, 3)] == ["complete"] * 3
    assert "fused" not in of(TrialOutcome, told, 1)[0].shared_work
    assert not [event for _, event in told if isinstance(event, Incident)]


def test_a_group_that_cannot_be_trained_goes_on_one_by_one_and_says_so(jobs, warm):  # noqa: F811
    broken = [jobs[0], replace(jobs[1], folder="/dev/null/no folder"), jobs[2]]
    told = list(run_group(broken, warm, controls(broken)))
    assert [of(TrialOutcome, told, n)[0].state for n in (1, 2, 3)] == ["complete", "failed", "complete"]
    assert [event.kind for _, event in told if isinstance(event, Incident)] == ["group_failed"]

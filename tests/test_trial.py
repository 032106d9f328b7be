"""A trial from job to outcome: ends, fallbacks, resuming, the kept model."""

import errno
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import small_models
import torch
import transformers
from small_disks import fill, small_disk
from step_recorder import Again

import harness.checkpoints as checkpoints
import harness.trial
from harness.configuration import Objective, TrialConfig
from harness.jobs import Sharing, TrialJob
from harness.loading import RECORDED
from harness.records import EpochRecord, Incident, MetricValue, Progress, TrialFacts, TrialOutcome
from harness.trial import Control, Warm, run, smaller_batches

ROWS = 60


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A model folder and a file of rows beside it."""
    folder = tmp_path_factory.mktemp("source")
    small_models.model_folder(folder / "model")
    examples = small_models.split(ROWS + 30, 1, groups=True).examples
    with (folder / "rows.jsonl").open("w") as file:
        for text, label, group in zip(examples.texts, examples.labels.tolist(), examples.groups, strict=True):
            file.write(json.dumps({"text": text, "label": f"class {label}", "language": group}) + "\n")
    return folder


@pytest.fixture
def job(source, tmp_path):
    data = {"path": str(source / "rows.jsonl"), "train": ROWS, "validation": 30, "groups": "language"}
    config = TrialConfig(
        model=str(source / "model"),
        epochs=3,
        batch_size=8,
        learning_rate=3e-3,
        max_length=16,
        dtype="fp32",
        dropout=0.1,
    )
    return TrialJob(
        trial=1, task="sequence-classification", data=data, data_seed=42, config=config, seed=1, fold=None,
        objective=Objective(), folder=str(tmp_path / "trial"), keep=True,
    )  # fmt: skip


@pytest.fixture(scope="module")
def warm():
    return Warm(small_models.CPU)


def changed(job, **values):
    return replace(job, config=replace(job.config, **values))


def of(kind, events):
    return [event for event in events if isinstance(event, kind)]


def outcome(events):
    assert isinstance(events[-1], TrialOutcome)
    assert len(of(TrialOutcome, events)) == 1
    return events[-1]


def test_a_trial_gives_facts_records_and_one_outcome_last(job, warm):
    events = list(run(job, warm, Control()))
    assert isinstance(events[0], TrialFacts)
    assert [record.epoch for record in of(EpochRecord, events)] == [1, 2, 3]
    ended = outcome(events)
    assert (ended.state, ended.reason, ended.model_folder) == ("complete", None, "model")
    assert set(ended.seconds) == {"load", "tokenise", "share", "train", "evaluate", "save", "total"}
    parts = sum(seconds for phase, seconds in ended.seconds.items() if phase != "total")
    assert parts <= ended.seconds["total"] * 1.01


def test_facts_say_what_was_really_run(job, warm):
    (facts,) = of(TrialFacts, run(changed(job, freeze="head", epochs=1), warm, Control()))
    assert (facts.train_rows, facts.validation_rows, facts.total_steps) == (ROWS, 30, 8)
    assert (facts.dtype, facts.attention, facts.threads) == ("fp32", "sdpa", 1)
    assert facts.trainable_parameters == 32 * 32 + 32 + 32 * 2 + 2
    assert facts.total_parameters > facts.trainable_parameters
    assert facts.notes[0] == "freshly initialised: classifier"
    assert facts.truncated == {"train": 0, "validation": 0}


def test_truncated_rows_are_counted(job, warm):
    (facts,) = of(TrialFacts, run(changed(job, max_length=6, epochs=1), warm, Control()))
    lengths = small_models.split(ROWS + 30, 1).table.lengths
    assert sum(facts.truncated.values()) == int((lengths > 6).sum())


def test_of_a_trial_on_fewer_rows_only_those_are_counted_as_truncated(job, warm):
    (facts,) = of(TrialFacts, run(changed(job, max_length=4, epochs=1, train=9), warm, Control()))
    (whole,) = of(TrialFacts, run(changed(job, max_length=4, epochs=1), warm, Control()))
    assert facts.truncated["train"] <= 9 < whole.truncated["train"]
    assert facts.truncated["validation"] == whole.truncated["validation"]


def test_train_takes_the_first_rows(job, warm):
    (facts,) = of(TrialFacts, run(changed(job, train=20, epochs=1), warm, Control()))
    assert (facts.train_rows, facts.total_steps) == (20, 3)
    ended = outcome(list(run(changed(job, train=ROWS + 1), warm, Control())))
    assert (ended.state, ended.reason) == ("failed", "data")
    assert "61 rows were asked for, data.train has 60" in ended.message


def test_an_interruption_while_the_frozen_prefix_is_filled_ends_within_a_batch_and_loses_no_finished_group(
    job, warm, tmp_path
):
    sharing = Sharing(str(tmp_path / "cache"), 10_000_000, ("head",))
    shared = replace(changed(job, freeze="head"), sharing=sharing)
    first, asked = [], []
    for event in run(shared, warm, Control(interrupted=lambda: bool(asked))):
        first.append(event)
        if isinstance(event, Progress) and event.step >= ROWS // 2:
            asked.append(len(first))
    assert outcome(first).state == "waiting" and asked == [len(first) - 1]
    assert not of(TrialFacts, first) and not of(EpochRecord, first)
    left = len(list((tmp_path / "cache").glob("*.safetensors")))
    second = list(run(shared, warm, Control()))
    ended = outcome(second)
    assert ended.state == "complete"
    taken = ended.shared_work["prefix"]
    assert left > 0 and 0 < taken["computed_rows"] <= taken["rows"] - ROWS // 4
    alone = list(run(replace(shared, folder=job.folder + "-alone", sharing=Sharing()), warm, Control()))
    for mine, theirs in zip(of(EpochRecord, second), of(EpochRecord, alone), strict=True):
        assert mine.value("validation", "loss") == pytest.approx(theirs.value("validation", "loss"), rel=1e-5)


def test_a_warm_trial_equals_a_cold_one(job, warm):
    list(run(changed(job, learning_rate=0.05), warm, Control()))
    again = of(EpochRecord, run(job, warm, Control()))
    cold = of(EpochRecord, run(replace(job, folder=job.folder + "-cold"), Warm(small_models.CPU), Control()))
    for one, other in zip(again, cold, strict=True):
        assert one.metrics == other.metrics
        assert np.array_equal(one.outputs["logits"], other.outputs["logits"])


def test_the_kept_model_is_the_best_epochs_and_loads_by_itself(job, warm):
    events = list(run(changed(job, epochs=4), warm, Control()))
    records = of(EpochRecord, events)
    best = min(records, key=lambda record: record.value("validation", "loss"))
    folder = Path(job.folder) / outcome(events).model_folder
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    assert model.config.id2label == {0: "class 0", 1: "class 1"}
    splits = warm.splits(job, small_models.SequenceClassification())
    batch = tokenizer(list(splits.validation.texts), truncation=True, max_length=16, padding=True, return_tensors="pt")
    with torch.inference_mode():
        logits = model(**batch).logits.numpy()
    np.testing.assert_allclose(logits, best.outputs["logits"], atol=1e-5)
    card = (folder / "README.md").read_text()
    assert f"Weights of epoch {best.epoch} of 4" in card
    assert checkpoints.verify(folder) == ""
    assert {file.suffix for file in folder.iterdir()} <= {".json", ".safetensors", ".md"}


@pytest.mark.parametrize(("bar", "kept"), [(None, True), (1e9, True), (1e-9, False)])
def test_a_model_is_written_only_when_it_beats_the_kept_ones(job, warm, bar, kept):
    ended = outcome(list(run(replace(changed(job, epochs=1), keep_better_than=bar), warm, Control())))
    assert (ended.model_folder == "model") == kept
    assert (Path(job.folder) / "model").exists() == kept


def test_nothing_is_kept_unless_asked(job, warm):
    assert outcome(list(run(replace(job, keep=False), warm, Control()))).model_folder is None


# --- ends --------------------------------------------------------------------------------------------


def test_prune_ends_the_trial_after_its_record(job, warm):
    control, events = Control(), []
    for event in run(job, warm, control):
        events.append(event)
        control.prune = isinstance(event, EpochRecord) and event.epoch == 2
    assert [record.epoch for record in of(EpochRecord, events)] == [1, 2]
    assert outcome(events).state == "pruned"
    assert outcome(events).model_folder == "model"


def test_early_stopping_is_said(job, warm):
    config = TrialConfig.from_dict(
        {
            **job.config.as_dict(),
            "epochs": 9,
            "learning_rate": 1e-12,
            "early_stopping": {"metric": "accuracy", "patience": 1},
        }
    )
    ended = outcome(list(run(replace(job, config=config), warm, Control())))
    assert ended.state == "complete"
    assert ended.stopped_early == "accuracy has not improved for 1 epochs after epoch 1"


def break_at(warm, job, step, error):
    """Make the model raise `error` at its forward pass number `step`, while it trains."""
    task = small_models.SequenceClassification()
    encoder = warm.encoder(task, job.config.model, job.config, 2)
    passes = []

    def hook(module, arguments):
        passes.append(module.training)
        if module.training and sum(passes) == step:
            raise error

    return encoder.model.register_forward_pre_hook(hook)


def test_a_loss_that_is_nan_fails_the_trial_as_diverged(job):
    warm = Warm(small_models.CPU)
    encoder = warm.encoder(small_models.SequenceClassification(), job.config.model, job.config, 2)
    encoder.model.classifier.register_forward_hook(lambda module, arguments, logits: logits * torch.nan)
    ended = outcome(list(run(job, warm, Control())))
    assert (ended.state, ended.reason) == ("failed", "diverged")
    assert ended.message == "loss became nan at epoch 1, step 1"
    assert ended.traceback == ""


def test_an_unexpected_error_is_a_crash_with_its_traceback(job):
    warm = Warm(small_models.CPU)
    break_at(warm, job, 5, ZeroDivisionError("surprise"))
    ended = outcome(list(run(job, warm, Control())))
    assert (ended.state, ended.reason, ended.message) == ("failed", "crashed", "ZeroDivisionError: surprise")
    assert "raise error" in ended.traceback


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"max_length": 41}, "max_length 41 is more than"),
        ({"freeze": "top-9"}, "asks for 9 layers, but this model has 3"),
        ({"dtype": "fp16"}, "fp16 needs a CUDA device, and this is a CPU; use bf16"),
    ],
)
def test_what_a_model_cannot_do_fails_the_trial_as_data(job, warm, values, words):
    ended = outcome(list(run(changed(job, **values), warm, Control())))
    assert (ended.state, ended.reason) == ("failed", "data")
    assert words in ended.message


# --- a full disk -------------------------------------------------------------------------------------


def test_a_trial_whose_model_finds_no_space_is_complete_without_its_weights(job, warm, tmp_path):
    with small_disk(tmp_path, kilobytes=64) as disk:
        events = list(run(replace(job, folder=str(disk / "trial")), warm, Control()))
        ended = outcome(events)
        assert (ended.state, ended.model_folder) == ("complete", None)
        (incident,) = of(Incident, events)
        assert incident.kind == "disk"
        assert "without its weights" in incident.message and "No space left" in incident.message
        assert list((disk / "trial").iterdir()) == []


def test_checkpoints_that_find_no_space_are_told_once_and_training_goes_on(job, warm, tmp_path):
    whole = of(EpochRecord, run(replace(job, folder=job.folder + "-whole"), warm, Control()))
    with small_disk(tmp_path, kilobytes=64) as disk:
        squeezed = replace(job, folder=str(disk / "trial"), keep=False, checkpoint_seconds=0.0)
        events = list(run(squeezed, warm, Control()))
        assert outcome(events).state == "complete"
        assert [incident.kind for incident in of(Incident, events)] == ["disk"]
        assert list((disk / "trial" / "checkpoints").iterdir()) == []
    assert [record.metrics for record in of(EpochRecord, events)] == [record.metrics for record in whole]


def test_checkpoints_are_written_again_once_there_is_space(job, warm, tmp_path):
    with small_disk(tmp_path, kilobytes=4096) as disk:
        ballast = fill(disk)
        trial = run(replace(job, folder=str(disk / "trial"), checkpoint_seconds=0.0), warm, Control())
        for event in trial:
            if isinstance(event, EpochRecord) and event.epoch == 2:
                break
            if isinstance(event, Incident):
                assert not list(disk.glob("trial/checkpoints/0*"))
                ballast.unlink()
        assert list(disk.glob("trial/checkpoints/0*"))


def test_an_interruption_on_a_full_disk_says_that_there_is_no_checkpoint(job, warm, tmp_path):
    with small_disk(tmp_path, kilobytes=64) as disk:
        events = interrupt_after(replace(job, folder=str(disk / "trial")), warm, 5)
    assert outcome(events).state == "waiting"
    assert "could not be written" in outcome(events).message


@pytest.mark.parametrize(
    ("error", "state", "reason"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "cache"), "waiting", "disk"),
        (RuntimeError("No space left on device (os error 28)"), "waiting", "disk"),
        (OSError(errno.EIO, os.strerror(errno.EIO), "cache"), "failed", "disk"),
        (OSError(errno.EACCES, os.strerror(errno.EACCES), "cache"), "failed", "crashed"),
    ],
)
def test_a_trial_that_meets_a_full_disk_waits_and_one_on_a_broken_disk_fails(job, error, state, reason):
    warm = Warm(small_models.CPU)
    break_at(warm, job, 5, error)
    ended = outcome(list(run(job, warm, Control())))
    assert (ended.state, ended.reason) == (state, reason)


# --- memory ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        RuntimeError("std::bad_alloc"),
        RuntimeError("could not create a primitive"),
        RuntimeError("unable to mmap 2031660 bytes from file <model.safetensors>: Cannot allocate memory (12)"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)),
    ],
)
def test_out_of_memory_restarts_with_half_the_batch_and_the_same_steps(job, error):
    warm = Warm(small_models.CPU)
    break_at(warm, job, 11, error)
    events = list(run(job, warm, Control()))
    first, second = of(TrialFacts, events)
    assert (first.config.batch_size, second.config.batch_size) == (8, 4)
    assert second.config.effective_batch_size == 8
    assert first.total_steps == second.total_steps
    (incident,) = of(Incident, events)
    assert incident.kind == "oom"
    assert incident.details["batch_size"] == [8, 4]
    assert [record.epoch for record in of(EpochRecord, events)] == [1, 1, 2, 3]
    assert outcome(events).state == "complete"


def test_memory_that_runs_out_with_recorded_steps_is_given_back_before_batches_shrink(job, monkeypatch):
    monkeypatch.setattr("harness.warm.recorder", lambda device: Again())
    warm = Warm(small_models.CPU)
    break_at(warm, job, 1, torch.OutOfMemoryError("CUDA out of memory"))
    job = replace(job, sharing=Sharing(folder=str(Path(job.folder).parent / "cache")))
    events = list(run(job, warm, Control()))
    first, second = of(TrialFacts, events)
    assert RECORDED in first.notes and RECORDED not in second.notes
    assert (first.config.batch_size, second.config.batch_size) == (8, 8)
    (incident,) = of(Incident, events)
    assert incident.kind == "oom"
    assert incident.message == "out of memory with batch_size 8 and CUDA graphs; from the beginning without them"
    assert outcome(events).state == "complete"


def test_a_trial_that_had_no_memory_for_recorded_steps_goes_on_without_them_after_an_interruption(job, monkeypatch):
    """Else every night would record, run out of memory and begin from nothing."""
    monkeypatch.setattr("harness.warm.recorder", lambda device: Again())
    job = replace(job, sharing=Sharing(folder=str(Path(job.folder).parent / "cache")))
    warm, asked = Warm(small_models.CPU), [False]
    break_at(warm, job, 1, torch.OutOfMemoryError("CUDA out of memory"))
    events = []
    for event in run(job, warm, Control(interrupted=lambda: asked[0])):
        events.append(event)
        asked[0] = isinstance(event, EpochRecord)
    assert outcome(events).state == "waiting"
    again = list(run(job, Warm(small_models.CPU), Control()))
    (facts,) = of(TrialFacts, again)
    assert RECORDED not in facts.notes and not of(Incident, again)
    assert [record.epoch for record in of(EpochRecord, again)] == [1, 2, 3]


def test_out_of_memory_with_one_row_fails_the_trial(job):
    job = changed(job, batch_size=1)
    warm = Warm(small_models.CPU)
    break_at(warm, job, 2, torch.OutOfMemoryError("CUDA out of memory"))
    ended = outcome(list(run(job, warm, Control())))
    assert (ended.state, ended.reason) == ("failed", "oom")
    assert "batches of one row of 16 tokens" in ended.message


@pytest.mark.parametrize(("size", "parts"), [(16, (8, 2)), (15, (5, 3)), (7, (1, 7)), (12, (6, 2)), (9, (3, 3))])
def test_the_effective_batch_stays_exact(size, parts):
    smaller = smaller_batches(TrialConfig(batch_size=size, gradient_accumulation=3))
    assert (smaller.batch_size, smaller.gradient_accumulation // 3) == parts
    assert smaller.effective_batch_size == 3 * size


def test_one_row_cannot_be_halved():
    assert smaller_batches(TrialConfig(batch_size=1)) is None


# --- interruptions -----------------------------------------------------------------------------------


def interrupt_after(job, warm, steps):
    left = [steps]

    def interrupted():
        left[0] -= 1
        return left[0] <= 0

    return list(run(job, warm, Control(interrupted=interrupted)))


@pytest.mark.parametrize(("asked", "done"), [(1, 1), (5, 5), (9, 8), (17, 16)])  # the 9th event is an epoch's record
def test_an_interrupted_trial_waits_and_goes_on_to_the_same_end(job, warm, monkeypatch, asked, done):
    monkeypatch.setattr(harness.trial, "PROGRESS_SECONDS", 0.0)
    expected = of(EpochRecord, run(replace(job, folder=job.folder + "-whole"), warm, Control()))
    broken = interrupt_after(job, warm, asked)
    assert outcome(broken).state == "waiting"
    resumed = list(run(job, warm, Control()))
    assert isinstance(resumed[0], TrialFacts)
    assert [progress.step for progress in of(Progress, resumed)] == list(range(done + 1, 25))  # no step twice
    assert [type(event) for event in resumed[1:]].index(Progress) == done // 8  # records of its epochs come first
    assert outcome(resumed).state == "complete"
    assert not of(Incident, resumed)
    for one, other in zip(of(EpochRecord, resumed), expected, strict=True):
        assert one.metrics == other.metrics
        assert np.array_equal(one.outputs["logits"], other.outputs["logits"])
        assert np.array_equal(one.margins, other.margins)
    names = ("model", f"{Path(job.folder).name}-whole/model")
    first, second = (Path(job.folder) / names[0], Path(job.folder).parent / names[1])
    assert (first / "model.safetensors").read_bytes() == (second / "model.safetensors").read_bytes()
    assert outcome(resumed).seconds["total"] > outcome(broken).seconds["total"]


def test_a_checkpoint_stays_until_whoever_records_the_outcome_removes_it(job, warm):
    interrupt_after(job, warm, 5)
    assert (Path(job.folder) / "checkpoints").exists()
    list(run(job, warm, Control()))
    assert (Path(job.folder) / "checkpoints").exists()


def test_checkpoints_come_on_their_cadence(job, warm):
    events = run(replace(job, checkpoint_seconds=0.0), warm, Control())
    for event in events:
        if isinstance(event, EpochRecord) and event.epoch == 2:
            break
    assert len(list((Path(job.folder) / "checkpoints").iterdir())) == 2


def test_a_short_trial_writes_no_checkpoint(job, warm):
    for event in run(job, warm, Control()):
        if isinstance(event, EpochRecord):
            assert not (Path(job.folder) / "checkpoints").exists()


def test_a_trial_restarted_for_memory_resumes_with_its_smaller_batches(job):
    warm = Warm(small_models.CPU)
    break_at(warm, job, 3, MemoryError())
    left = [14]

    def interrupted():
        left[0] -= 1
        return left[0] <= 0

    assert outcome(list(run(job, warm, Control(interrupted=interrupted)))).state == "waiting"
    resumed = list(run(job, warm, Control()))
    (facts,) = of(TrialFacts, resumed)
    assert facts.config.batch_size == 4
    assert of(Progress, resumed)[0].step > 8


def test_progress_comes_at_most_once_a_second(job, warm):
    assert len(of(Progress, run(job, warm, Control()))) <= 3


def test_an_objective_that_is_a_cost_keeps_the_epoch_of_the_best_loss(job, warm):
    events = list(run(replace(job, objective=Objective("train_samples_per_second", "maximize")), warm, Control()))
    assert outcome(events).model_folder == "model"
    card = (Path(job.folder) / "model" / "README.md").read_text()
    best = min(of(EpochRecord, events), key=lambda record: record.value("validation", "loss"))
    assert f"Weights of epoch {best.epoch} of 3, chosen by validation loss" in card


def test_metrics_are_rows_by_group(job, warm):
    record = of(EpochRecord, run(job, warm, Control()))[-1]
    assert MetricValue("validation", "loss", record.value("validation", "loss", "de"), "de") in record.metrics

"""Heads that train together become what each becomes alone."""

import time
from dataclasses import replace

import numpy as np
import pytest
import small_models
import torch
from test_sharing import a_plan, records, shared_of, with_shared

from harness.configuration import TrialConfig
from harness.errors import TrialFailure
from harness.heads import Column, Ended, train_together
from harness.records import EpochRecord, Progress
from harness.training import train
from harness.training_plan import prepare

DIFFERENT = (
    {"learning_rate": 1e-3},
    {"learning_rate": 3e-2, "weight_decay": 0.5},
    {"learning_rate": 1e-2, "epochs": 2},
    {"learning_rate": 5e-3, "lr_schedule": "constant", "warmup": 0.0},
    {"learning_rate": 2e-2, "max_grad_norm": None},
    {"learning_rate": 2e-2, "max_grad_norm": 0.05, "lr_schedule": "cosine"},
    {"learning_rate": 1e-7, "early_stopping": {"metric": "accuracy", "patience": 1}},
)


@pytest.fixture(scope="module", params=["bert", "albert"])
def path(request, tmp_path_factory):
    return small_models.model_folder(tmp_path_factory.mktemp(request.param), request.param)


def changed(plan, values):
    return replace(plan, config=TrialConfig.from_dict(plan.config.as_dict() | values))


def a_group(path, folder, dtype="fp32", changes=DIFFERENT, **values):
    first = replace(a_plan(path, freeze="classifier", **values), dtype=dtype)
    first = with_shared(first, shared_of(first, folder)[0])
    state = prepare(first)
    first.encoder.freeze("classifier", 1, 1)
    plans = [changed(first, change) for change in changes]
    return [Column(number, plan, replace(state, records=[], best=None)) for number, plan in enumerate(plans)]


def together(columns, stop=lambda trial, record: "") -> tuple[dict, dict]:
    found: dict[int, list[EpochRecord]] = {column.trial: [] for column in columns}
    ends: dict[int, Ended] = {}
    for event in train_together(columns):
        if isinstance(event, Ended):
            ends[event.trial] = event
        elif not isinstance(event, Progress):
            trial, record = event
            found[trial].append(record)
            columns[trial].state.stopped = columns[trial].state.stopped or stop(trial, record)
    return found, ends


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_every_head_becomes_what_it_becomes_alone(path, tmp_path, dtype):
    columns = a_group(path, tmp_path, dtype)
    assert columns[0].plan.cut(1) == columns[0].plan.encoder.layers + 1
    found, ends = together(columns)
    assert sorted(ends) == list(range(len(DIFFERENT))) and not any(end.failure for end in ends.values())
    for column in columns:
        state = prepare(column.plan)
        alone = [event for event in train(column.plan, state) if isinstance(event, EpochRecord)]
        mine = found[column.trial]
        assert len(mine) == len(alone)
        for one, other in zip(mine, alone, strict=True):
            assert one.learning_rate == other.learning_rate and one.steps == other.steps
            assert [m.value for m in one.metrics] == pytest.approx([m.value for m in other.metrics], rel=1e-5, abs=1e-5)
            np.testing.assert_allclose(one.outputs["logits"], other.outputs["logits"], rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(one.margins, other.margins, rtol=1e-3, atol=2e-2 if dtype == "bf16" else 1e-5)
        assert column.state.best.epoch == state.best.epoch
        for name, value in state.best.tensors.items():
            torch.testing.assert_close(column.state.best.tensors[name], value, rtol=1e-4, atol=1e-6)


def test_a_trial_that_is_taken_out_leaves_the_others_as_they_were(path, tmp_path):
    whole, _ = together(a_group(path, tmp_path))
    found, ends = together(a_group(path, tmp_path), stop=lambda trial, record: "pruned" if trial == 1 else "")
    assert len(found[1]) == 1 and len(ends) == len(DIFFERENT)
    for trial, mine in found.items():
        for one, other in zip(mine, whole[trial], strict=False):
            assert [m.value for m in one.metrics] == pytest.approx([m.value for m in other.metrics], rel=1e-6)


def test_a_head_that_diverges_ends_alone_and_says_where(path, tmp_path):
    columns = a_group(path, tmp_path, changes=({"learning_rate": 1e-3}, {"learning_rate": 1e38, "warmup": 0.0}))
    found, ends = together(columns)
    failure = ends[1].failure
    assert isinstance(failure, TrialFailure) and failure.reason == "diverged" and "epoch 1, step" in str(failure)
    assert found[1] == [] and len(found[0]) == 5 and ends[0].failure is None


def test_the_times_of_the_group_are_shared_by_its_trials(path, tmp_path):
    columns = a_group(path, tmp_path)
    began = time.perf_counter()
    found, _ = together(columns)
    whole = time.perf_counter() - began
    records = [record for mine in found.values() for record in mine]
    for measured in (
        sum(record.train_seconds for record in records),
        sum(record.evaluate_seconds for record in records),
        sum(window.seconds for record in records for window in record.windows),
    ):
        assert 0.0 < measured < whole  # a trial that is told the group's whole time makes it several times as much
    first = [mine[0] for mine in found.values()]
    assert len({record.train_seconds for record in first}) == 1
    assert len({record.windows for record in first}) == 1
    assert sum(window.seconds for window in first[0].windows) <= first[0].train_seconds


def test_records_of_a_group_are_those_of_a_whole_model(path, tmp_path):
    columns = a_group(path, tmp_path)
    found, _ = together(columns)
    whole = records(changed(a_plan(path, freeze="classifier"), DIFFERENT[1]))
    for one, other in zip(found[1], whole, strict=True):
        assert [(m.split, m.name, m.group) for m in one.metrics] == [(m.split, m.name, m.group) for m in other.metrics]
        assert [m.value for m in one.metrics] == pytest.approx([m.value for m in other.metrics], rel=1e-4, abs=1e-5)

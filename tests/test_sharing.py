"""A trial that takes shared work measures what it would have measured alone."""

from dataclasses import replace

import numpy as np
import pytest
import small_models
from nights import Night
from shared_states import SHARING, shared_of, with_shared

from harness.batches import TokenTable
from harness.cache import Cache
from harness.evaluation import Split
from harness.records import EpochRecord, Incident
from harness.sharing import Shared
from harness.training import train
from harness.training_plan import prepare


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return small_models.model_folder(tmp_path_factory.mktemp("bert"))


def a_plan(path, **values):
    """A plan whose probe is a part of its training rows, as a trial's is."""
    plan = small_models.plan(path, epochs=5, learning_rate=3e-3, dropout=0.1, **values)
    features = plan.train.features
    picked = np.arange(0, len(features), 3)
    probe = replace(
        features,
        input_ids=[features.input_ids[row] for row in picked],
        labels=features.labels[picked],
        example=np.arange(len(picked)),
    )
    split = Split(plan.train.examples.take(picked), probe, TokenTable(probe, plan.encoder.device))
    return replace(plan, probe=split)


def records(plan) -> list[EpochRecord]:
    return [event for event in train(plan, prepare(plan)) if isinstance(event, EpochRecord)]


@pytest.mark.parametrize("freeze", SHARING)
def test_every_epoch_measures_what_it_measures_without_shared_work(path, tmp_path, freeze):
    alone = records(a_plan(path, freeze=freeze))
    plan = a_plan(path, freeze=freeze)
    shared, _ = shared_of(plan, tmp_path)
    assert shared.cuts
    for mine, theirs in zip(records(with_shared(plan, shared)), alone, strict=True):
        assert [(m.split, m.name) for m in mine.metrics] == [(m.split, m.name) for m in theirs.metrics]
        assert [m.value for m in mine.metrics] == pytest.approx([m.value for m in theirs.metrics], rel=1e-5, abs=1e-6)
        np.testing.assert_allclose(mine.outputs["logits"], theirs.outputs["logits"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("freeze", ["top-1", "classifier"])
def test_taking_what_another_trial_left_gives_the_same_bits(path, tmp_path, freeze):
    first = a_plan(path, freeze=freeze)
    mine = records(with_shared(first, shared_of(first, tmp_path)[0]))
    second = a_plan(path, freeze=freeze)
    shared, _ = shared_of(second, tmp_path)
    assert shared.record([])["prefix"]["computed_rows"] == 0
    for one, other in zip(mine, records(with_shared(second, shared)), strict=True):
        assert [m.value for m in one.metrics] == [m.value for m in other.metrics]


def test_another_seed_batch_size_learning_rate_or_strategy_works_nothing_out(path, tmp_path):
    shared_of(a_plan(path, freeze="head"), tmp_path)
    for change in ({"freeze": "top-1"}, {"freeze": "classifier"}, {"freeze": "head", "batch_size": 4}):
        shared, _ = shared_of(a_plan(path, seed=9, **change), tmp_path)
        assert shared.record([])["prefix"]["computed_rows"] == 0


STUDY = """
study: night
task: sequence-classification
model: builtin:tiny
data: {path: "builtin:reviews", rows: 120, folds: 4}
fixed: {max_length: 24, batch_size: 8, dtype: fp32, epochs: 2, learning_rate: 1e-2}
search: {freeze: [head, top-1]}
sampler: grid
objective: loss
"""


def test_all_folds_take_what_one_pass_over_all_rows_has_made(tmp_path):
    """Training and validation rows of a fold are those of every other fold."""
    nights = []
    for name, flags in (("shared", ()), ("alone", ("--no-cache",))):
        (tmp_path / name).mkdir()
        night = Night(tmp_path / name, STUDY)
        code, output = night.run(*flags)
        assert code == 0, output
        nights.append(night)
    query = "SELECT json_extract(shared_work, '$.prefix.computed_rows') FROM harness_summary ORDER BY trial"
    computed = [count for (count,) in nights[0].rows(query)]
    assert len(computed) == 8 and 100 < computed[0] <= 120 and computed[1:] == [0] * 7  # some texts stand twice
    mine, theirs = (night.curves() for night in nights)
    assert [row[:5] for row in mine] == [row[:5] for row in theirs]
    assert [row[5] for row in mine] == pytest.approx([row[5] for row in theirs], rel=1e-4, abs=1e-5)


def test_gradual_unfreezing_starts_each_epoch_at_its_own_cut(path, tmp_path):
    shared, _ = shared_of(a_plan(path, freeze="gradual"), tmp_path)
    assert dict(shared.cuts) == {1: 3, 2: 2, 3: 1, 4: 0}


@pytest.mark.parametrize(
    ("values", "options"),
    [
        ({"freeze": "none"}, {}),
        ({"freeze": "head", "frozen_mode": "dropout"}, {}),
        ({"freeze": "head"}, {"exact": True}),
        ({"freeze": "head"}, {"folder": None}),
    ],
)
def test_nothing_is_shared_where_nothing_is_frozen_or_nothing_may_be_shared(path, tmp_path, values, options):
    shared, events = shared_of(a_plan(path, **values), tmp_path, **options)
    assert shared == Shared() and events == [] and shared.record([]) == {}
    assert not list(tmp_path.iterdir())


def test_states_beyond_the_budget_are_not_kept_and_the_record_says_so(path, tmp_path):
    shared, _ = shared_of(a_plan(path, freeze="top-1"), tmp_path, budget=1_000)
    assert not shared.train and "1,000 bytes" in shared.note


def test_the_record_counts_rows_bytes_and_the_time_that_the_epochs_were_spared(path, tmp_path):
    plan = a_plan(path, freeze="top-1")
    shared, _ = shared_of(plan, tmp_path)
    done = records(with_shared(plan, shared))
    said = shared.record(done)["prefix"]
    assert said["rows"] == 48 + 30 and said["cut"] == 2
    tokens = plan.train.features.lengths.sum() + plan.validation.features.lengths.sum()
    assert said["bytes"] == pytest.approx(4 * small_models.WIDTH * tokens, rel=0.05)  # repeated rows are kept once
    assert said["saved_seconds"] == pytest.approx(5 * shared.record(done[:1])["prefix"]["saved_seconds"])
    assert shared.record(done[:1])["prefix"]["saved_seconds"] > 0


def test_flops_of_layers_that_did_not_run_are_not_counted(path, tmp_path):
    plan = a_plan(path, freeze="head")
    shared, _ = shared_of(plan, tmp_path)
    assert records(plan)[0].flops > 0
    assert records(with_shared(plan, shared))[0].flops == 0


def test_a_damaged_entry_is_worked_out_again_and_told(path, tmp_path):
    shared_of(a_plan(path, freeze="head"), tmp_path)
    entry = sorted(tmp_path.glob("*-3.safetensors"))[0]
    entry.write_bytes(entry.read_bytes()[:-3])
    shared, events = shared_of(a_plan(path, freeze="head"), tmp_path)
    assert [event.kind for event in events if isinstance(event, Incident)] == ["cache_damaged"]
    assert shared.record([])["prefix"]["computed_rows"] > 0


def test_what_neither_disk_nor_memory_takes_is_not_kept_and_the_record_says_so(path, tmp_path):
    plan = a_plan(path, freeze="top-1")
    everything, _ = shared_of(plan, tmp_path, Cache(tmp_path, 0, memory=10**9))
    assert everything.train and not everything.note and not list(tmp_path.glob("*.safetensors"))
    nothing, _ = shared_of(plan, tmp_path, Cache(tmp_path, 0, memory=1000))
    assert not nothing.train
    assert nothing.note == (
        "the frozen prefix's states are not kept: the disk does not take them (budget of 0 bytes), and memory at most "
        "1,000 bytes of them"
    )
    for ours, theirs in zip(records(with_shared(plan, nothing)), records(with_shared(plan, everything)), strict=True):
        assert ours.value("validation", "loss") == pytest.approx(theirs.value("validation", "loss"), rel=1e-5)


def test_a_trial_lets_go_of_what_the_one_before_it_held_in_memory(path, tmp_path):
    plan, cache = a_plan(path, freeze="top-1"), Cache(tmp_path, 0, memory=10**9)
    held = []
    for _ in range(3):
        shared_of(plan, tmp_path, cache)
        held.append(cache.held)
    assert held[0] == held[1] == held[2] > 1000

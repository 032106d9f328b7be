"""A probe's counts are those of the trials themselves, and its seconds are close to theirs."""

import time
from dataclasses import replace
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import small_models
import torch

import harness.probing as probing
import harness.rehearsal as rehearsal
import harness.states_cost as states_cost
from harness.batches import TokenTable
from harness.builtin.tiny import folder as tiny
from harness.configuration import Objective, TrialConfig
from harness.encoder import Encoder
from harness.errors import DataError
from harness.freezing import frozen
from harness.jobs import ProbeJob, Sharing, TrialJob
from harness.loading import load
from harness.probing import probe
from harness.records import EpochRecord, TrialFacts
from harness.rehearsal import Law, fit, spread, step_work
from harness.shapes import Kind, Shape, choose, frozen_in
from harness.streams import bucketed_order
from harness.tasks import base as tasks
from harness.trial import Control, run
from harness.warm import Warm

DATA = {"path": "builtin:reviews", "rows": 120, "train": 90, "validation": 30}
EVERY_FREEZE = ("none", "head", "top-2", "gradual")


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    """Processor time is then the time that passes on a quiet machine, whatever else runs."""
    monkeypatch.setattr(rehearsal, "clock", time.process_time)
    monkeypatch.setattr(states_cost, "clock", time.process_time)
    monkeypatch.setattr(probing, "clock", time.process_time)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def quick(monkeypatch):
    """One round of timed steps is enough where no time is looked at."""
    monkeypatch.setattr(rehearsal, "MOST_ROUNDS", 1)
    monkeypatch.setattr(rehearsal, "TIMED_STEPS", 2)


def a_job(folder, data=DATA, sharing=None, **values) -> TrialJob:
    given = {"model": "builtin:tiny", "epochs": 2, "batch_size": 16, "max_length": 32, "dtype": "fp32"}
    given |= {"learning_rate": 3e-4} | values
    return TrialJob(
        trial=1, task="sequence-classification", data=data, data_seed=42, config=TrialConfig(**given), seed=1,
        fold=None, objective=Objective(), folder=str(folder / "trial"), keep=False,
        sharing=sharing or Sharing(str(folder / "cache"), 10**9, EVERY_FREEZE),
    )  # fmt: skip


def probed(folder, *jobs, most=12):
    with TemporaryDirectory(dir=folder) as place:
        return probe(ProbeJob(jobs, place, most))


def run_all(jobs) -> list[list]:
    warm = Warm()
    return [list(run(job, warm, Control())) for job in jobs]


# --- counts ---------------------------------------------------------------------------------------------


def test_steps_rows_and_bytes_are_those_of_the_trials(tmp_path, monkeypatch):
    quick(monkeypatch)
    jobs = [
        a_job(tmp_path, freeze="head"),
        a_job(tmp_path, freeze="top-2", train=50, batch_size=8, gradient_accumulation=2),
        a_job(tmp_path, freeze="gradual", epochs=3, max_length=24),
        a_job(tmp_path, freeze="none"),
    ]
    costs = probed(tmp_path, *jobs).costs
    for cost, events in zip(costs, run_all(jobs), strict=True):
        facts = next(event for event in events if isinstance(event, TrialFacts))
        records = [event for event in events if isinstance(event, EpochRecord)]
        assert (cost.train_rows, cost.validation_rows) == (facts.train_rows, facts.validation_rows)
        assert cost.steps_per_epoch * len(cost.train_seconds) == facts.total_steps == records[-1].steps
        assert cost.trained_bytes == 4 * facts.trainable_parameters
        assert cost.row_bytes == records[0].outputs["logits"].nbytes + records[0].margins.nbytes
        assert (cost.how, cost.fits, cost.batch_size) == ("probed", True, facts.config.batch_size)
    entries = list((tmp_path / "cache").glob("*.safetensors"))
    stored = sum(path.stat().st_size for path in entries)
    assert sum(cost.cache_bytes for cost in costs) == pytest.approx(stored, abs=1000 * len(entries))


def test_a_classifier_can_be_trained_together_with_others_where_its_states_are_shared(tmp_path, monkeypatch):
    quick(monkeypatch)
    jobs = [a_job(tmp_path, freeze=freeze, epochs=1) for freeze in ("classifier", "head")]
    alone = a_job(tmp_path, sharing=Sharing(), freeze="classifier", epochs=1)
    assert [cost.fusible for cost in probed(tmp_path, *jobs, alone).costs] == [True, False, False]


def test_states_that_are_there_are_neither_counted_nor_paid_again(tmp_path, monkeypatch):
    quick(monkeypatch)
    job = a_job(tmp_path, sharing=Sharing(str(tmp_path / "cache"), 10**9, ("head",)), freeze="head")
    other = replace(job, config=replace(job.config, epochs=5))
    first, second = probed(tmp_path, job, other).costs
    assert first.fill_seconds > 0 < first.cache_bytes
    assert (second.fill_seconds, second.cache_bytes) == (0, 0)
    assert second.spared_seconds == pytest.approx(first.spared_seconds * 5 / 2)
    assert not (tmp_path / "cache").exists()  # a probe leaves nothing there
    run_all([job])
    assert probed(tmp_path, job).costs[0].cache_bytes == 0


def test_states_of_an_adapted_encoder_are_paid_once_more_since_its_weights_are_others(tmp_path, monkeypatch):
    quick(monkeypatch)
    kinds = ({}, {"adapt": True}, {"adapt": True, "learning_rate": 1e-3})
    costs = probed(tmp_path, *(a_job(tmp_path, freeze="head", **more) for more in kinds)).costs
    assert [cost.fill_seconds > 0 for cost in costs] == [True, True, False]
    assert [cost.cache_bytes > 0 for cost in costs] == [True, True, False]


@pytest.mark.parametrize("values", [{"exact": True}, {"folder": None}, {"budget": 10}])
def test_what_is_not_shared_spares_nothing(tmp_path, monkeypatch, values):
    quick(monkeypatch)
    sharing = replace(Sharing(str(tmp_path / "cache"), 10**9, EVERY_FREEZE), **values)
    cost = probed(tmp_path, a_job(tmp_path, sharing=sharing, freeze="head")).costs[0]
    assert (cost.spared_seconds, cost.fill_seconds, cost.cache_bytes) == (0, 0, 0)
    assert ("not kept" in cost.note) == ("budget" in values)


def test_gradual_is_probed_one_shape_an_epoch(tmp_path, monkeypatch):
    quick(monkeypatch)
    found = probed(tmp_path, a_job(tmp_path, freeze="gradual", epochs=3), a_job(tmp_path, freeze="head"))
    assert (found.shapes, found.probed) == (3, 3)  # head, top-1, top-2
    assert found.costs[0].train_seconds[0] < min(found.costs[0].train_seconds[1:])


def test_the_word_for_an_epoch_of_gradual_freezes_the_same_parameters():
    model = tasks.load("sequence-classification").model(str(tiny()), 2, dropout=None)
    encoder = Encoder(model, torch.device("cpu"))
    for epoch in range(1, encoder.layers + 4):
        word = frozen_in("gradual", epoch, encoder.layers)
        as_gradual = frozen(encoder.parameters, "gradual", epoch, 20, encoder.layers)
        assert frozen(encoder.parameters, word, 1, 1, encoder.layers) == as_gradual


def test_data_that_a_trial_would_fail_for_are_refused(tmp_path):
    with pytest.raises(DataError, match="500 rows were asked for"):
        probed(tmp_path, a_job(tmp_path, train=500))


# --- the shapes that are measured -------------------------------------------------------------------------


def shape(model="m", freeze="none", size=16, length=64) -> Shape:
    return Shape(Kind(model, freeze, None, "fp32", "eval"), size, 1, length)


def test_of_each_kind_the_largest_shape_comes_first_then_the_smallest():
    shapes = [shape(size=8), shape(size=16), shape(size=32), shape(freeze="head", size=8), shape(size=8)]
    assert choose(shapes, 2) == [shape(size=32), shape(freeze="head", size=8)]
    assert choose(shapes, 3)[2] == shape(size=8)
    assert len(choose(shapes, 12)) == 4


def test_every_model_has_a_measured_shape():
    shapes = [shape(model=str(i)) for i in range(20)]
    assert len(choose(shapes, 12)) == 20


def test_a_shape_that_was_not_measured_is_derived(tmp_path, monkeypatch):
    quick(monkeypatch)
    jobs = [a_job(tmp_path, freeze=f) for f in ("none", "head", "top-2")] + [a_job(tmp_path, batch_size=4)]
    found = probed(tmp_path, *jobs, most=2)
    none, head, top, small = found.costs
    assert [cost.how for cost in found.costs] == ["probed", "probed", "derived", "derived"]
    assert head.train_seconds[0] < top.train_seconds[0] < none.train_seconds[0]
    assert small.fits and small.peak_memory_bytes is None  # a larger one of its kind did
    assert top.fits is None
    assert small.train_seconds[0] > 0 and small.steps_per_epoch == 23


# --- memory -------------------------------------------------------------------------------------------------


def with_memory_for(rows, monkeypatch):
    """Steps with more rows than that run out of memory."""
    measure = rehearsal.rehearse

    def limited(job, *more):
        if job.config.batch_size > rows:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return measure(job, *more)

    monkeypatch.setattr(probing, "rehearse", limited)


def test_a_shape_that_runs_out_of_memory_is_measured_with_the_batches_that_fit(tmp_path, monkeypatch):
    quick(monkeypatch)
    with_memory_for(4, monkeypatch)
    cost = probed(tmp_path, a_job(tmp_path)).costs[0]
    assert (cost.fits, cost.batch_size) == (False, 4)
    assert cost.steps_per_epoch == 6 and cost.train_seconds[0] > 0


def test_a_shape_of_which_not_one_row_fits_is_named(tmp_path, monkeypatch):
    with_memory_for(0, monkeypatch)
    cost = probed(tmp_path, a_job(tmp_path)).costs[0]
    assert (cost.fits, cost.batch_size, cost.peak_memory_bytes) == (False, None, None)


def test_more_than_is_free_does_not_fit(tmp_path, monkeypatch):
    quick(monkeypatch)
    memory = type("Memory", (), {"available": 1000})
    monkeypatch.setattr(probing.psutil, "virtual_memory", lambda: memory)
    cost = probed(tmp_path, a_job(tmp_path)).costs[0]
    assert cost.fits is False and cost.batch_size == 16


# --- laws ---------------------------------------------------------------------------------------------------


def test_a_law_is_found_again():
    work = np.random.default_rng(1).uniform(1, 100, (20, 3))
    law = fit(work, work @ np.array([0.5, 0.0, 2.0]))
    assert law.parts == pytest.approx((0.5, 0.0, 2.0), abs=1e-6)


def test_a_law_agrees_with_the_sum_of_what_was_measured():
    seconds = np.array([1.0, 5.0, 2.0])
    work = np.array([[1.0, 10], [1, 20], [1, 30]])
    assert fit(work, seconds).seconds(work) == pytest.approx(seconds.sum())


def test_between_two_laws_lies_their_mean():
    assert Law((0.0, 2.0)).blend(Law((1.0, 4.0)), 0.5).parts == (0.5, 3.0)


@pytest.mark.parametrize(("batch", "accumulation"), [(8, 1), (4, 3), (128, 1)])
def test_the_work_of_a_step_is_that_of_its_batches(tmp_path, batch, accumulation):
    job = a_job(tmp_path, batch_size=batch, gradient_accumulation=accumulation)
    loaded = load(job, Warm(), {"load": 0.0, "tokenise": 0.0})
    features, size = loaded.train.features, batch * accumulation
    table = TokenTable(features, torch.device("cpu"))
    order = bucketed_order(features.lengths, 1, 1, size)
    expected = []
    for start in range(0, len(order), size):
        rows = order[start : start + size]
        batches = [table.batch(rows[i : i + batch]) for i in range(0, len(rows), batch)]
        padded = [each.padded_tokens for each in batches]
        squares = [each.padded_tokens * each.input_ids.shape[1] for each in batches]
        expected.append((1, len(batches), len(rows), sum(padded), sum(squares)))
    np.testing.assert_array_equal(step_work(features.lengths, order, job.config, False), expected)


def test_rows_are_spread_over_all_lengths():
    lengths = np.array([30, 10, 20, 40, 50])
    assert sorted(lengths[spread(lengths, 90)]) == [10, 30, 50]
    assert sorted(spread(lengths, 10_000).tolist()) == [0, 1, 2, 3, 4]


# --- seconds ------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_trials_take_about_the_processor_time_that_was_foretold(tmp_path):
    data = DATA | {"rows": 330, "train": 250, "validation": 80}
    jobs = [
        a_job(tmp_path, data, freeze=freeze, batch_size=size, epochs=3, max_length=64)
        for freeze, size in (("none", 8), ("head", 16), ("top-2", 16), ("head", 8))
    ]
    costs = probed(tmp_path, *jobs).costs
    foretold = sum(
        sum(cost.train_seconds)
        + 3 * (cost.evaluate_seconds + cost.save_seconds)
        + cost.begin_seconds
        + cost.fill_seconds
        + cost.tokenise_seconds
        for cost in costs
    )
    warm = Warm()
    load(jobs[0], warm, {"load": 0.0, "tokenise": 0.0})
    began = time.process_time()
    for job in jobs:
        list(run(job, warm, Control()))
    assert foretold / (time.process_time() - began) == pytest.approx(1.0, abs=0.5)


def test_models_are_probed_one_after_another_and_told_in_the_order_of_the_study(tmp_path, monkeypatch):
    quick(monkeypatch)
    other = str(small_models.model_folder(tmp_path / "model"))
    jobs = [a_job(tmp_path, epochs=1), a_job(tmp_path, model=other, max_length=16, epochs=2), a_job(tmp_path, epochs=3)]
    found = probed(tmp_path, *jobs)
    assert [len(cost.train_seconds) for cost in found.costs] == [1, 2, 3]
    assert set(found.models) == {"builtin:tiny", other}
    assert found.models[other].kept_bytes > found.models[other].total_bytes > 0

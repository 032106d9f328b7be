"""Recorded steps do what plain ones do, over fixed addresses, in trial after trial, or are refused by name.

Without a CUDA device the recorder is a stand-in that calls the step again: everything but the recording itself runs.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import small_models
import small_questions
import torch
from shared_states import SHARING, shared_of, with_shared
from step_recorder import Again

from harness.batches import TokenTable
from harness.divergence import Watch
from harness.encoder import Encoder
from harness.errors import TrialFailure
from harness.evaluation import Split
from harness.graphs import CudaRecorder, Graphs, Outcome, Places, Recorder, difference, widths
from harness.records import EpochRecord, Incident
from harness.snapshots import capture, restore, rows_of
from harness.steps import Pass
from harness.tasks.sequence_classification import SequenceClassification
from harness.training import decay_of_unused_rows, steps_of, train
from harness.training_plan import Plan, Running, State, prepare

WORD = 7  # in some rows
NO_DROPOUT = {"dropout": 0.0, "epochs": 3, "learning_rate": 5e-3, "weight_decay": 0.1}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return small_models.model_folder(tmp_path_factory.mktemp("bert"))


def recording(plan: Plan, recorder: Recorder) -> Plan:
    plan.encoder.graphs = Graphs(recorder)
    return plan


def outcome(plan: Plan, state: State | None = None) -> tuple[list[float], list[np.ndarray], dict[str, torch.Tensor]]:
    """Losses and margins of all epochs, and all weights in the end."""
    state = state or prepare(plan)
    for _ in train(plan, state):
        pass
    plan.encoder.whole(decay_of_unused_rows(plan, state, plan.config.epochs))
    losses = [record.value(split, "loss") for record in state.records for split in ("train", "validation")]
    weights = {name: tensor.clone() for name, tensor in plan.encoder.model.state_dict().items()}
    return losses, [record.margins for record in state.records if record.margins is not None], weights


def agree(found, expected, apart: float = 1e-3) -> None:
    """Losses and margins up to rounding; weights as a whole, since AdamW makes whole steps of rounding errors."""
    assert found[0] == pytest.approx(expected[0], rel=1e-5)
    for ours, theirs in zip(found[1], expected[1], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)
    difference = torch.cat([(found[2][name] - value).flatten() for name, value in expected[2].items()])
    assert float(difference.norm()) < apart * float(torch.cat([v.flatten() for v in expected[2].values()]).norm())


@pytest.mark.parametrize("kind", ["bert", "distilbert", "roberta"])
@pytest.mark.parametrize(
    "values",
    [
        {},
        {"freeze": "top-1"},
        {"freeze": "gradual", "epochs": 6},
        {"layer_decay": 0.8, "lr_schedule": "cosine", "warmup": 0.2},
        {"class_weights": "balanced", "max_grad_norm": None},
        {"batch_size": 7},  # the last batch is shorter
    ],
    ids=str,
)
def test_recorded_steps_come_to_what_plain_ones_come_to(kind, values, tmp_path):
    folder = small_models.model_folder(tmp_path, kind)
    expected = outcome(small_models.plan(folder, rows=45, **NO_DROPOUT | values))
    again = Again()
    agree(outcome(recording(small_models.plan(folder, rows=45, **NO_DROPOUT | values), again)), expected)
    assert again.replayed > again.recorded > 0


@pytest.mark.parametrize("freeze", SHARING)
def test_steps_over_a_frozen_prefixs_states_are_recorded_too(path, tmp_path, freeze):
    def plan() -> Plan:
        return small_models.plan(path, **NO_DROPOUT | {"epochs": 5, "freeze": freeze})

    shared, _ = shared_of(plan(), tmp_path)
    again = Again()
    recorded = recording(plan(), again)
    assert shared.train and recorded.graphs is not None
    agree(outcome(with_shared(recorded, shared)), outcome(with_shared(plan(), shared)))
    assert again.replayed > again.recorded > 0


@pytest.mark.parametrize("freeze", ["none", "top-1"])
def test_padding_answers_no_question_in_a_recorded_step_either(path, freeze):
    values = NO_DROPOUT | {"freeze": freeze, "learning_rate": 1e-3}
    again = Again()
    found = outcome(recording(small_questions.plan_of(path, **values), again))
    agree(found, outcome(small_questions.plan_of(path, **values)))
    assert again.replayed > again.recorded > 0


def test_the_next_trial_replays_what_the_first_one_recorded_and_starts_from_nothing(path):
    again = Again()
    plan = recording(small_models.plan(path, **NO_DROPOUT), again)
    outcome(plan)
    recorded, plainly = again.recorded, again.run_plainly
    values = {"learning_rate": 1e-3, "warmup": 0.5, "weight_decay": 0.3}
    found = outcome(replace(plan, config=replace(plan.config, **values), seed=8))
    assert (again.recorded, again.run_plainly) == (recorded, plainly)
    agree(found, outcome(small_models.plan(path, **NO_DROPOUT | values, seed=8)))


def test_another_decay_of_rates_by_layer_needs_no_other_recording(path):
    again = Again()
    plan = recording(small_models.plan(path, **NO_DROPOUT | {"layer_decay": 0.8}), again)
    outcome(plan)
    recorded = again.recorded
    found = outcome(replace(plan, config=replace(plan.config, layer_decay=0.6)))
    assert again.recorded == recorded
    agree(found, outcome(small_models.plan(path, **NO_DROPOUT | {"layer_decay": 0.6})))


@pytest.mark.parametrize("values", [{"freeze": "top-1"}, {"weight_decay": 0.0}, {"max_grad_norm": 0.1}], ids=str)
def test_a_trial_that_takes_other_steps_records_its_own(path, values):
    again = Again()
    plan = recording(small_models.plan(path, **NO_DROPOUT), again)
    outcome(plan)
    recorded = again.recorded
    found = outcome(replace(plan, config=replace(plan.config, **values)))
    assert again.recorded > recorded
    agree(found, outcome(small_models.plan(path, **NO_DROPOUT | values)))


def test_with_dropout_a_replay_draws_what_its_own_step_would(path):
    recorded, never = (small_models.plan(path, **NO_DROPOUT | {"dropout": 0.3}) for _ in range(2))
    found, expected = outcome(recording(recorded, Again())), outcome(recording(never, Never()))
    agree(found, expected, apart=1e-12)
    assert recorded.encoder.graphs is not None and recorded.encoder.graphs.refused == ""


class Never(Again):
    def record(self, step: Callable[[], None]) -> Callable[[], None]:
        raise RuntimeError("operation not permitted when stream is capturing\nmore of it")


def test_a_step_that_cannot_be_recorded_is_taken_and_told_once(path):
    never = Never()
    plan = recording(small_models.plan(path, **NO_DROPOUT), never)
    state = prepare(plan)
    told = [event for event in train(plan, state) if isinstance(event, Incident)]
    words = "training goes on without CUDA graphs: a step could not be recorded: operation not permitted when stream is"
    assert [(each.kind, each.message) for each in told] == [("graphs_refused", f"{words} capturing")]
    expected = small_models.plan(path, **NO_DROPOUT)
    for found, known in zip(state.records, records(expected), strict=True):
        assert found.value("validation", "loss") == pytest.approx(known.value("validation", "loss"), rel=1e-5)
    assert plan.graphs is None


class Hidden(Again):
    """The end of a broken recording fails as well."""

    def record(self, step: Callable[[], None]) -> Callable[[], None]:
        try:
            raise RuntimeError("operation not permitted when stream is capturing")
        finally:
            raise RuntimeError("operation failed due to a previous error during capture")


def test_what_broke_a_recording_is_told_and_not_what_followed_from_it(path):
    plan = recording(small_models.plan(path, **NO_DROPOUT), Hidden())
    outcome(plan)
    assert plan.encoder.graphs is not None
    assert plan.encoder.graphs.refused.endswith("recorded: operation not permitted when stream is capturing")


class Later(Again):
    """The second recording breaks."""

    def record(self, step: Callable[[], None]) -> Callable[[], None]:
        if self.recorded == 1:
            raise RuntimeError
        return super().record(step)


def test_a_refusal_gives_up_what_was_recorded_before(path):
    values = NO_DROPOUT | {"freeze": "gradual", "epochs": 6}  # other steps with other epochs
    plan = recording(small_models.plan(path, **values), again := Later())
    found = outcome(plan)
    graphs = plan.encoder.graphs
    assert again.recorded == 1 and graphs is not None
    assert graphs.refused == "a step could not be recorded: RuntimeError"
    assert not any(places.replay for places in graphs._places.values())
    agree(found, outcome(small_models.plan(path, **values)))


def test_no_memory_for_the_comparison_costs_the_recordings_and_not_the_trial(path, monkeypatch):
    def none_left(*_: object) -> str:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr("harness.graphs.difference", none_left)
    plan = recording(small_models.plan(path, **NO_DROPOUT), Again())
    found = outcome(plan)
    assert plan.encoder.graphs is not None
    assert plan.encoder.graphs.refused == "a recorded step could not be compared: CUDA out of memory."
    agree(found, outcome(small_models.plan(path, **NO_DROPOUT)))


class Halfway(Again):
    """Memory runs out in the middle of a recording, when the gradients are there."""

    def record(self, step: Callable[[], None]) -> Callable[[], None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch.optim.AdamW, "step", self._no_memory)
            step()
        raise AssertionError("the step did not reach its update")

    def _no_memory(self, *_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")


def test_what_a_broken_recording_leaves_behind_is_in_no_gradient(path):
    plan = recording(small_models.plan(path, **NO_DROPOUT), Halfway())
    found = outcome(plan)
    assert plan.encoder.graphs is not None
    assert plan.encoder.graphs.refused == "a step could not be recorded: CUDA out of memory."
    agree(found, outcome(small_models.plan(path, **NO_DROPOUT)))


def test_a_step_without_a_finite_loss_proves_no_recording(path, monkeypatch):
    again = Again()
    plan = recording(small_models.plan(path, **NO_DROPOUT), again)
    monkeypatch.setattr(type(plan.task), "loss", lambda _, logits, *rest: logits.sum() * float("nan"))
    with pytest.raises(TrialFailure, match="loss became nan"):
        outcome(plan)
    places = Places({}, torch.zeros(0), torch.tensor(float("nan")), torch.tensor(1.0))
    graphs, optimizer = Graphs(again), torch.optim.AdamW([torch.nn.Parameter(torch.ones(2))], fused=True)
    for _ in range(5):
        graphs.take(places, lambda: None, optimizer, lambda: None)
    assert places.replay is None and again.recorded == 4 and graphs.refused == ""


def test_a_step_at_a_learning_rate_of_0_proves_no_recording():
    weight = torch.nn.Parameter(torch.ones(2))
    again, places = Again(), Places({}, torch.zeros(0), torch.tensor(1.0), torch.tensor(1.0))
    graphs, optimizer = Graphs(again), torch.optim.SGD([weight], lr=0.0)

    def step() -> None:
        weight.grad = torch.ones(2)
        optimizer.step()

    for _ in range(3):
        graphs.take(places, step, optimizer, lambda: None)
    assert places.replay is None and again.recorded == 2
    optimizer.param_groups[0]["lr"] = 0.1
    graphs.take(places, step, optimizer, lambda: None)
    assert places.replay is not None and graphs.refused == ""


def without_a_word(plan: Plan) -> Plan:
    """The same encoder over the texts that lack a word, so that it looks up fewer rows."""
    features = plan.train.features
    chosen = [row for row, ids in enumerate(features.input_ids) if WORD not in ids]
    less = replace(
        features,
        input_ids=[features.input_ids[row] for row in chosen],
        labels=features.labels[chosen],
        example=np.arange(len(chosen)),
        truncated=features.truncated[chosen],
    )
    rows = Split(plan.train.examples.take(np.array(chosen)), less, TokenTable(less, small_models.CPU))
    assert set(np.concatenate(less.input_ids)) < set(np.concatenate(features.input_ids))
    return replace(plan, train=rows, probe=rows, validation=rows)


def test_texts_that_use_fewer_rows_take_the_steps_of_those_that_use_more(path):
    again = Again()
    plan = recording(small_models.plan(path, rows=48, **NO_DROPOUT), again)
    outcome(plan)
    recorded = again.recorded
    found = outcome(without_a_word(plan))
    assert again.recorded == recorded
    agree(found, outcome(without_a_word(small_models.plan(path, rows=48, **NO_DROPOUT))))


@pytest.mark.parametrize("before", [False, True], ids=["a new worker", "a worker that has looked up more"])
def test_a_trial_goes_on_with_the_rows_of_the_worker_that_was_interrupted(path, before):
    """Recorded steps look up rows of earlier trials too, and no two workers have had the same ones."""

    def of(worker: bool) -> Plan:
        plan = recording(small_models.plan(path, rows=48, **NO_DROPOUT), Again())
        if worker:
            outcome(plan)
        return without_a_word(plan)

    expected = outcome(of(worker=True))
    first, second = of(worker=not before), of(worker=before)
    state = prepare(first)
    for _ in itertools.islice(train(first, state), 9):
        pass
    snapshot = capture(first, state)
    again = prepare(second, rows_of(snapshot))
    restore(second, again, snapshot)
    agree(outcome(second, again), expected)


def test_the_peak_counts_what_replayed_steps_need(path):
    plan = recording(small_models.plan(path, **NO_DROPOUT), Again())
    assert steps_of(plan, prepare(plan)).needed == 0
    state = prepare(plan)
    steps = steps_of(plan, state)
    plan.encoder.freeze("none", 1, 3)
    epoch = Pass(Running(1, torch.zeros(48, 2)), plan.table(1), Watch(small_models.CPU, 1, 0, gradients=True))
    steps.take(epoch, plan.order(1)[:8], 0)
    assert steps.needed == 1001


def records(plan: Plan) -> list[EpochRecord]:
    return [event for event in train(plan, prepare(plan)) if isinstance(event, EpochRecord)]


class Twice(Again):
    """A recording that is not the step."""

    def record(self, step: Callable[[], None]) -> Callable[[], None]:
        def replay() -> None:
            step()
            step()

        return replay


def test_a_recording_that_does_something_else_is_refused_and_leaves_no_trace(path):
    plan = recording(small_models.plan(path, **NO_DROPOUT), Twice())
    found = outcome(plan)
    assert plan.encoder.graphs is not None
    assert "a replayed step's loss was" in plan.encoder.graphs.refused
    agree(found, outcome(small_models.plan(path, **NO_DROPOUT)))


def test_a_replay_is_judged_by_loss_norm_and_update():
    def of(loss: float, norm: float, update: float) -> Outcome:
        return Outcome(loss, norm, [torch.full((3,), update)])

    assert difference(of(1.0, 2.0, 0.1), of(1.0, 2.0, 0.1)) == ""
    assert difference(of(np.nan, np.nan, 0.1), of(np.nan, np.nan, 0.1)) == ""
    assert difference(of(1.1, 2.0, 0.1), of(1.0, 2.0, 0.1)).startswith("a replayed step's loss was 1.1, without")
    assert difference(of(1.0, 2.2, 0.1), of(1.0, 2.0, 0.1)).startswith("a replayed step's gradient norm was 2.2")
    assert difference(of(1.0, 2.0, 0.2), of(1.0, 2.0, 0.1)) == (
        "a replayed step's update was 100% off the one without the recording"
    )
    assert difference(of(1.0, 2.0, 0.2), of(1.0, 2.0, 0.0)) == (
        "a replayed step's update was there where none was without the recording"
    )


def test_a_checkpoint_brings_the_moments_back_to_where_the_recording_reads_them(path):
    plan = recording(small_models.plan(path, **NO_DROPOUT), Again())
    expected = outcome(plan)
    state = prepare(plan)
    for event in train(plan, state):
        if isinstance(event, EpochRecord):
            break
    snapshot = capture(plan, state)
    kept = {name: {key: tensor.clone() for key, tensor in held.items()} for name, held in snapshot.tensors.items()}
    for _ in itertools.islice(train(plan, state), 4):  # what an interruption loses
        pass
    again = prepare(plan)
    restore(plan, again, snapshot._replace(tensors=kept))
    agree(outcome(plan, again), expected)


@pytest.mark.parametrize("values", [{"gradient_accumulation": 2}, {"dtype": "fp16"}], ids=str)
def test_steps_that_cannot_be_recorded_are_not_tried(path, values):
    plan = recording(small_models.plan(path, **NO_DROPOUT), Again())
    assert plan.graphs is plan.encoder.graphs
    assert replace(plan, config=replace(plan.config, **values), dtype=values.get("dtype", "fp32")).graphs is None
    assert replace(plan, exact=True).graphs is None
    assert replace(plan, recorded=False).graphs is None


# --- widths -------------------------------------------------------------------------------------------


def brute(lengths: np.ndarray, at_most: int) -> int:
    """The fewest places, by trying every set of widths."""
    longest = int(lengths.max())
    narrower = range(8, longest, 8)
    return min(
        sum(min(width for width in (*some, longest) if width >= length) for length in lengths.tolist())
        for count in range(at_most)
        for some in itertools.combinations(narrower, count)
    )


@pytest.mark.parametrize("at_most", [1, 2, 3, 8])
@pytest.mark.parametrize("seed", range(6))
def test_widths_cost_as_few_places_as_any(seed, at_most):
    random = np.random.default_rng(seed)
    lengths = np.minimum(random.geometric(1 / random.integers(5, 40), 50) + 2, 70)
    found = widths(lengths, at_most)
    assert list(found) == sorted(set(found)) and found[-1] == lengths.max() and len(found) <= at_most
    cost = sum(min(width for width in found if width >= length) for length in lengths.tolist())
    assert cost == brute(lengths, at_most)


def test_rows_of_one_length_have_one_width():
    assert widths(np.full(10, 5)) == (5,)


# --- on a device --------------------------------------------------------------------------------------


def on_cuda(path: str, **values) -> Plan:
    device = torch.device("cuda", 0)
    plan = small_models.plan(path, **NO_DROPOUT | values)
    encoder = Encoder(SequenceClassification().model(path, 2, dropout=plan.config.dropout), device, pooled=True)
    splits = {
        name: replace(split, table=TokenTable(split.features, device))
        for name, split in (("train", plan.train), ("probe", plan.probe), ("validation", plan.validation))
    }
    return replace(plan, encoder=encoder, **splits)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("values", [{}, {"dropout": 0.1}, {"freeze": "top-1"}, {"dtype": "bf16"}], ids=str)
def test_cuda_graphs_are_recorded_and_agree_with_the_steps_themselves(path, values):
    recorded = on_cuda(path, **values)
    recorded.encoder.graphs = Graphs(CudaRecorder(recorded.encoder.device))
    plain = on_cuda(path, **values)
    plain.encoder.graphs = Graphs(Never())
    found, expected = outcome(recorded), outcome(plain)
    assert recorded.encoder.graphs.refused == ""
    assert found[0] == pytest.approx(expected[0], rel=1e-2 if values.get("dtype") == "bf16" else 1e-4)

"""The loop: what depends on the seed, what accumulates, what ends it."""

from dataclasses import replace

import numpy as np
import pytest
import small_models
import torch

from harness.configuration import TrialConfig
from harness.divergence import Watch
from harness.errors import TrialFailure
from harness.records import EpochRecord, MetricValue, Progress
from harness.tasks.sequence_classification import SequenceClassification
from harness.training import early_stop, train
from harness.training_plan import prepare, weighing


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return small_models.model_folder(tmp_path_factory.mktemp("bert"))


def run(plan):
    state = prepare(plan)
    records = [event for event in train(plan, state) if isinstance(event, EpochRecord)]
    return records, plan.encoder.tensors(state.names)


def equal(weights, others):
    return weights.keys() == others.keys() and all(torch.equal(weights[name], others[name]) for name in weights)


def test_each_step_gives_progress_and_each_epoch_a_record(path):
    plan = small_models.plan(path)
    events = list(train(plan, prepare(plan)))
    assert [type(event) for event in events] == ([Progress] * 6 + [EpochRecord]) * 2
    assert events[-2] == Progress(epoch=2, step=12, steps=12)
    assert [event.steps for event in events if isinstance(event, EpochRecord)] == [6, 12]


def test_equal_seeds_give_equal_weights_whatever_ran_before(path):
    plan = small_models.plan(path, dropout=0.2)
    _, first = run(plan)
    run(replace(plan, seed=99))
    torch.rand(11)
    _, second = run(plan)
    assert equal(first, second)


def test_evaluation_and_prior_draws_do_not_touch_dropout(path):
    plan = small_models.plan(path, dropout=0.2)
    state = prepare(plan)
    for event in train(plan, state):
        if isinstance(event, Progress):
            torch.rand(3)
    assert equal(plan.encoder.tensors(state.names), run(plan)[1])


def test_other_seeds_give_other_weights(path):
    plan = small_models.plan(path)
    assert not equal(run(plan)[1], run(replace(plan, seed=4))[1])


def test_accumulated_batches_are_one_large_batch(path):
    """The last effective batch has 46 - 2 * 16 = 14 rows: parts of 4, 4, 4 and 2 that must not weigh alike."""
    large = small_models.plan(path, rows=46, batch_size=16, dropout=0.0, class_weights="balanced")
    parts = small_models.plan(
        path, rows=46, batch_size=4, gradient_accumulation=4, dropout=0.0, class_weights="balanced"
    )
    assert large.total_steps == parts.total_steps == 6
    for one, other in zip(run(large)[0], run(parts)[0], strict=True):
        np.testing.assert_allclose(one.outputs["logits"], other.outputs["logits"], atol=2e-5)


def test_balanced_class_weights_are_inverse_frequencies_with_mean_one_over_the_rows(path):
    plan = small_models.plan(path, labels=3, class_weights="balanced")
    labels = plan.train.features.labels
    weights = weighing(plan).classes.numpy()
    assert weights[labels].mean() == pytest.approx(1.0)
    counts = np.bincount(labels)
    np.testing.assert_allclose(weights * counts, len(labels) / 3, rtol=1e-6)


def test_the_training_loss_is_the_mean_over_the_pass_and_margins_come_with_it(path):
    plan = small_models.plan(path, epochs=1, learning_rate=1e-12, dropout=0.0)
    (record,) = run(plan)[0]
    assert record.value("train", "loss") == pytest.approx(record.value("probe", "loss"), rel=1e-4)
    assert record.value("train", "accuracy") == record.value("probe", "accuracy")
    assert ((record.margins > 0).mean()) == record.value("train", "accuracy")


def test_a_record_holds_every_metric_of_the_house(path):
    record = run(small_models.plan(path, groups=True, rows=100, epochs=4, learning_rate=3e-3))[0][-1]
    names = {metric.name for metric in record.metrics if metric.split == "validation" and not metric.group}
    assert {"loss", "accuracy", "precision", "recall", "f1", "macro_f1", "mcc"} <= names
    assert {metric.group for metric in record.metrics if metric.split == "validation"} == {"", "de", "en"}
    assert record.outputs["logits"].shape == (30, 2) and record.outputs["logits"].dtype == np.float32
    assert not any(metric.split == "test" for metric in record.metrics)
    assert record.flops > 0 and record.train_seconds > 0 and record.evaluated_samples == 30


def test_frozen_parts_do_not_move(path):
    plan = small_models.plan(path, freeze="top-1", weight_decay=0.5)
    run(plan)
    trained = {name: value for name, value in plan.encoder.model.named_parameters()}
    for info in plan.encoder.parameters:
        before = dict(plan.encoder._pretrained.named_parameters())[info.name]
        below = info.part == "embeddings" or (info.part == "layer" and info.layer < 2)
        if below:
            assert torch.equal(before, trained[info.name]), info


def test_gradual_moves_the_next_layer_only_when_its_epoch_has_come(path):
    plan = small_models.plan(path, freeze="gradual", epochs=2, weight_decay=0.5)
    state = prepare(plan)
    names = [f"bert.encoder.layer.{layer}.output.dense.weight" for layer in range(3)]
    moved = []
    for event in train(plan, state):
        if isinstance(event, EpochRecord):
            now, start = plan.encoder.tensors(names), dict(plan.encoder._pretrained.named_parameters())
            moved.append([not torch.equal(now[name], start[name]) for name in names])
    assert moved == [[False, False, False], [False, False, True]]


def test_the_best_epochs_weights_are_kept(path):
    plan = small_models.plan(path, epochs=4, learning_rate=0.02)
    state = prepare(plan)
    weights = {}
    for event in train(plan, state):
        if isinstance(event, EpochRecord):
            weights[event.epoch] = plan.encoder.tensors(state.names)
    losses = {record.epoch: record.value("validation", "loss") for record in state.records}
    best = min(losses, key=losses.get)
    assert state.best.epoch == best
    assert equal(state.best.tensors, weights[best])


def test_the_recorded_learning_rate_is_that_of_the_last_step(path):
    plan = small_models.plan(path, learning_rate=0.012)
    first, last = run(plan)[0]
    assert first.learning_rate == pytest.approx(0.012 * 7 / 12)
    assert last.learning_rate == pytest.approx(0.012 * 1 / 12)


def test_a_loss_that_is_not_finite_ends_the_trial_by_epoch_and_step(path):
    plan = small_models.plan(path, learning_rate=1e-3)
    state = prepare(plan)
    with pytest.raises(TrialFailure, match="loss became nan at epoch 1, step 4") as caught:
        for event in train(plan, state):
            if isinstance(event, Progress) and event.step == 3:
                with torch.no_grad():
                    plan.encoder.model.classifier.weight.fill_(torch.nan)
    assert caught.value.reason == "diverged"
    assert state.records == [] and state.best is None


def test_a_gradient_that_is_not_finite_ends_the_trial(path):
    plan = small_models.plan(path, max_grad_norm=None)
    state = prepare(plan)
    plan.encoder.model.classifier.weight.register_hook(lambda gradient: gradient * torch.inf)
    with pytest.raises(TrialFailure, match=r"gradient norm became (inf|nan) at epoch 1, step 1"):
        list(train(plan, state))


def test_what_diverges_in_the_last_step_is_seen_by_the_evaluation(path):
    plan = small_models.plan(path, epochs=1)
    with pytest.raises(TrialFailure, match="loss became nan at the end of epoch 1"):
        for event in train(plan, prepare(plan)):
            if isinstance(event, Progress) and event.step == 6:
                with torch.no_grad():
                    plan.encoder.model.classifier.weight.fill_(torch.nan)


def test_a_watch_that_looks_seldom_still_names_the_first_bad_step():
    watch = Watch(small_models.CPU, epoch=2, done=10, gradients=True)
    watch._every = 50
    for loss in (1.0, float("inf"), float("nan")):
        watch.add(torch.tensor(loss), torch.tensor(1.0))
    with pytest.raises(TrialFailure, match="loss became inf at epoch 2, step 12"):
        watch.look()


def records_of(*losses):
    metrics = [
        (MetricValue("validation", "loss", loss), MetricValue("validation", "accuracy", 1 - loss)) for loss in losses
    ]
    return [EpochRecord(n, n, 0.1, pair, 1.0, 1.0, 0.0, 0.5, 10) for n, pair in enumerate(metrics, 1)]


@pytest.mark.parametrize("metric", ["loss", "accuracy"])
def test_early_stopping_waits_for_its_patience(metric):
    config = TrialConfig.from_dict({"epochs": 9, "early_stopping": {"metric": metric, "patience": 2}})
    assert early_stop(config, records_of(0.5, 0.4, 0.6)) == ""
    assert early_stop(config, records_of(0.5, 0.4, 0.6, 0.4)) == f"{metric} has not improved for 2 epochs after epoch 2"
    assert early_stop(TrialConfig(epochs=9), records_of(0.1, 0.5, 0.6, 0.7)) == ""


def test_early_stopping_ends_the_loop(path):
    plan = small_models.plan(path, epochs=9, learning_rate=1e-12, early_stopping={"metric": "accuracy", "patience": 2})
    assert len(run(plan)[0]) == 3


def test_bfloat16_trains_close_to_float32(path):
    exact = run(small_models.plan(path, dropout=0.0))[0]
    plan = small_models.plan(path, dropout=0.0, dtype="bf16")
    short = run(plan)[0]
    assert {parameter.dtype for parameter in plan.encoder.model.parameters()} == {torch.float32}
    assert short[-1].value("validation", "loss") == pytest.approx(exact[-1].value("validation", "loss"), abs=0.05)
    assert not np.array_equal(short[-1].outputs["logits"], exact[-1].outputs["logits"])


def test_the_loop_learns(path):
    record = run(small_models.plan(path, rows=200, epochs=6, learning_rate=3e-3))[0][-1]
    assert record.value("probe", "accuracy") > 0.9
    assert isinstance(small_models.plan(path).task, SequenceClassification)

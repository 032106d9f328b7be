"""The loop: a generator of epoch records that knows no Optuna and no database.

`train` yields a `Progress` after every optimiser step and an `EpochRecord` after every epoch. Whoever
iterates may stop, save a `Snapshot` or prune in between; time spent there is not training time.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import torch

from harness.configuration import Objective, TrialConfig
from harness.divergence import Watch, refuse_non_finite
from harness.dropout_draws import drawing
from harness.energy import Energy, EnergyMeter, reader_of
from harness.evaluation import Split, measure, predict
from harness.freezing import frozen
from harness.head_steps import HeadSteps, takes
from harness.metrics import direction
from harness.profiling import Load, MemoryPeak, Stopwatch, training_flops
from harness.recorded_steps import RecordedSteps
from harness.records import EpochRecord, Incident, MetricValue, Progress, SpeedWindow
from harness.steps import Pass, PlainSteps, Steps
from harness.tasks.base import Logits
from harness.training_plan import Best, Plan, Running, State, finished, weighing


def train(plan: Plan, state: State) -> Iterator[Progress | EpochRecord | Incident]:
    """Train from where `state` stands to the last epoch, or until early stopping.

    Raises:
        TrialFailure: diverged, at the first loss, gradient or evaluation that is not finite.
    """
    steps = steps_of(plan, state)
    while not finished(plan, state):
        if state.running is None:
            state.running = _open_epoch(plan, len(state.records) + 1)
        running = state.running
        plan.encoder.freeze(plan.config.freeze, running.epoch, plan.config.epochs)
        memory, load = MemoryPeak(plan.encoder.device), Load()
        begun, energy = running.step, EnergyMeter(reader_of(plan.encoder.device))
        with drawing(plan):
            yield from _training_pass(plan, state, running, steps, energy)
        record = replace(_evaluate(plan, running), load=load.read(), peak_memory_bytes=memory.read(steps.needed))
        if not begun:  # of an epoch that another process began, the rest would pass for the whole
            record = with_energy(record, energy.read())
        state.running = None
        state.records.append(record)
        began = time.perf_counter()
        keep_best(plan, state, plan.encoder.tensors)
        state.records[-1] = replace(record, save_seconds=record.save_seconds + time.perf_counter() - began)
        state.stopped = early_stop(plan.config, state.records)
        if plan.test is not None and _counts(plan, state):
            state.records[-1] = _with_test(plan, plan.test, state.records[-1])
        yield state.records[-1]


def steps_of(plan: Plan, state: State) -> Steps:
    """The fastest way that this plan allows."""
    weights, graphs = weighing(plan), plan.graphs
    plain = PlainSteps(plan, state, weights)
    if graphs is not None:
        return RecordedSteps(plan, state, weights, graphs, plain)
    return HeadSteps(plan, state) if takes(plan) else plain


def _open_epoch(plan: Plan, epoch: int) -> Running:
    shape = (len(plan.train.features), plan.task.trace_width(plan.train.examples.label_names))
    return Running(epoch, torch.full(shape, math.nan, device=plan.encoder.device))


# --- the training pass -----------------------------------------------------------------------------


def _training_pass(
    plan: Plan, state: State, running: Running, steps: Steps, energy: EnergyMeter
) -> Iterator[Progress | Incident]:
    """The rest of the epoch's optimiser steps, with a `Progress` after each."""
    config, size = plan.config, plan.config.effective_batch_size
    order, allowed = plan.order(running.epoch), plan.graphs is not None
    plan.encoder.training_mode("dropout" if plan.exact else config.frozen_mode)  # as the plain Trainer has it
    watch = Watch(plan.encoder.device, running.epoch, running.step, gradients=plan.dtype != "fp16")
    at = Pass(running, plan.table(running.epoch), watch)
    first = running.epoch == 1 or running.step > 0
    clock = Stopwatch(plan.encoder.device, plan.steps_per_epoch - running.step, warm_up=first)
    done_before = (running.seconds, running.saving, running.windows)
    while running.step < plan.steps_per_epoch:
        rows = order[running.step * size : (running.step + 1) * size]
        step = (running.epoch - 1) * plan.steps_per_epoch + running.step
        tokens, padded = steps.take(at, rows, step)
        running.step += 1
        clock.step(len(rows), tokens, padded)
        energy.sample()
        left = time.perf_counter()
        running.seconds, running.saving, running.windows = _account(done_before, clock, left)
        yield Progress(running.epoch, step + 1, plan.total_steps)
        if allowed and plan.graphs is None:
            allowed = False
            yield _refused(plan)
        clock.away(time.perf_counter() - left)
    watch.look()
    seconds = clock.stop()
    running.seconds = done_before[0] + seconds
    running.saving = done_before[1] + clock.away_seconds
    running.windows = (*done_before[2], *clock.windows)


def _refused(plan: Plan) -> Incident:
    assert plan.encoder.graphs is not None
    words = f"training goes on without CUDA graphs: {plan.encoder.graphs.refused}"
    return Incident("graphs_refused", words)


def _account(
    before: tuple[float, float, tuple[SpeedWindow, ...]], clock: Stopwatch, now: float
) -> tuple[float, float, tuple[SpeedWindow, ...]]:
    """Seconds of training, seconds away and windows of this epoch until now, earlier processes included."""
    return before[0] + clock.elapsed(now), before[1] + clock.away_seconds, (*before[2], *clock.windows)


def decay_of_unused_rows(plan: Plan, state: State, epoch: int) -> float:
    """What weight decay alone has made of an embedding row that never occurred, until the end of an epoch: a factor."""
    place = plan.encoder.input_embeddings
    groups = {name: group for group in state.optimizer.param_groups for name in group["names"]}
    if place not in groups:
        return 1.0
    decay, scale = groups[place]["decay"], groups[place]["scale"]
    factor = 1.0
    for past in range(1, epoch + 1):
        fixed = frozen(plan.encoder.parameters, plan.config.freeze, past, plan.config.epochs, plan.encoder.layers)
        if place not in fixed:
            steps = range((past - 1) * plan.steps_per_epoch, past * plan.steps_per_epoch)
            factor *= math.prod(1.0 - plan.learning_rate(step) * scale * decay for step in steps)
    return factor


# --- after the pass --------------------------------------------------------------------------------


def _evaluate(plan: Plan, running: Running) -> EpochRecord:
    """Metrics of the training pass, of the probe and of the validation rows."""
    began = time.perf_counter()
    cut = plan.cut(running.epoch)
    kept = plan.task.kept
    probe = predict(plan.encoder, plan.probe.at(cut), plan.dtype, plan.evaluation_places, kept)
    validation_began = time.perf_counter()
    validation = predict(plan.encoder, plan.validation.at(cut), plan.dtype, plan.evaluation_places, kept)
    return epoch_record(plan, running, probe, validation, began, time.perf_counter() - validation_began)


def epoch_record(
    plan: Plan, running: Running, probe: Logits, validation: Logits, began: float, validation_seconds: float
) -> EpochRecord:
    """What an epoch has come to.

    Args:
        plan: of the trial.
        running: the epoch, its training pass done.
        probe, validation: logits of those rows.
        began: reading of time.perf_counter when evaluation began.
        validation_seconds: of the pass over the validation rows.

    Raises:
        TrialFailure: diverged, when a metric is not finite.
    """
    task, config, labels = plan.task, plan.config, plan.train.features.labels
    trace = running.trace.cpu().numpy()
    metrics = [MetricValue("train", name, value) for name, value in task.passed(trace, labels).items()]
    metrics += measure(task, plan.probe, probe, config, "probe", plan.positive)
    metrics += measure(task, plan.validation, validation, config, "validation", plan.positive, groups=True)
    refuse_non_finite(metrics, running.epoch)
    return EpochRecord(
        epoch=running.epoch,
        steps=running.epoch * plan.steps_per_epoch,
        learning_rate=plan.learning_rate(running.epoch * plan.steps_per_epoch - 1),
        metrics=tuple(metrics),
        train_seconds=running.seconds,
        evaluate_seconds=time.perf_counter() - began,
        save_seconds=running.saving,
        validation_seconds=validation_seconds,
        evaluated_samples=len(plan.validation.examples),
        windows=running.windows,
        flops=_flops(plan, plan.cut(running.epoch)),
        margins=task.margins(trace, labels),
        outputs=task.outputs(validation, plan.validation.features, plan.validation.examples, config),
    )


def with_energy(record: EpochRecord, energy: Energy | None, group: int = 1) -> EpochRecord:
    """The record with its share of what a group of trials used; unchanged where that is not known."""
    if energy is None:
        return record
    return replace(record, energy_joules=energy.joules / group, energy_source=energy.source)


def _counts(plan: Plan, state: State) -> bool:
    """Whether the objective is read at the newest epoch, unless a later one is better."""
    if plan.selection.at == "last":
        return finished(plan, state)
    return state.best is not None and state.best.epoch == state.records[-1].epoch


def _with_test(plan: Plan, test: Split, record: EpochRecord) -> EpochRecord:
    """The record with metrics and outputs of the test rows."""
    began, task = time.perf_counter(), plan.task
    logits = predict(plan.encoder, test.at(None), plan.dtype, plan.evaluation_places, task.kept)
    found = measure(task, test, logits, plan.config, "test", plan.positive, groups=True)
    return replace(
        record,
        metrics=(*record.metrics, *found),
        test_outputs=task.outputs(logits, test.features, test.examples, plan.config),
        evaluate_seconds=record.evaluate_seconds + time.perf_counter() - began,
    )


def _flops(plan: Plan, cut: int | None) -> float:
    trained = {name for name, parameter in plan.encoder.model.named_parameters() if parameter.requires_grad}
    spared = 0 if cut is None else min(cut, plan.encoder.layers)
    lengths = plan.train.features.lengths
    encoder = plan.encoder
    return training_flops(encoder.config, encoder.parameters, trained, lengths, spared, encoder.first_token)


def keep_best(plan: Plan, state: State, tensors: Callable[[Sequence[str]], dict[str, torch.Tensor]]) -> None:
    """Take copies of the trained weights, by name, when the newest epoch is the best."""
    selection = plan.selection
    values = {record.epoch: record.value("validation", selection.metric) for record in state.records}
    best = selection.best_epoch(values)
    if best == state.records[-1].epoch:
        state.best = Best(best, tensors(state.names))


def early_stop(config: TrialConfig, records: Sequence[EpochRecord]) -> str:
    """Why to stop now, in words; empty to go on. A pure function of the records, so that resuming agrees."""
    rule = config.early_stopping
    if rule is None:
        return ""
    better = Objective(rule.metric, direction(rule.metric))
    best = better.best_epoch({record.epoch: record.value("validation", rule.metric) for record in records})
    last = records[-1].epoch
    if best is None or last - best < rule.patience or last >= config.epochs:
        return ""
    return f"{rule.metric} has not improved for {rule.patience} epochs after epoch {best}"

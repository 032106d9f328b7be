"""A few real steps of one shape of trial: what a step, an evaluation and a frozen prefix cost on this device.

The steps are those of `training.train` on rows of the study; only the states of a frozen prefix are stand-ins, since
what they hold does not change what they cost. What whole trials cost is `probing.py`'s work.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.optimize
import torch

from harness.configuration import TrialConfig
from harness.devices import synchronise, threads_for
from harness.evaluation import Split, measure, predict
from harness.jobs import TrialJob
from harness.loading import Loaded, make_plan
from harness.prefix import StateTable
from harness.profiling import MemoryPeak, layer_shape
from harness.sharing import Shared
from harness.tasks.base import IntArray
from harness.training import train
from harness.training_plan import Plan, prepare
from harness.warm import on_device, take

FloatArray = npt.NDArray[np.float64]

WARM_STEPS = 3
TIMED_STEPS = 8
SLOW_SECONDS = 1.0  # of a step, beyond which fewer are timed
SLOW_STEPS = 3
TIMED_SECONDS = 1.5  # of a shape: steps shorter than that are timed again
MOST_ROUNDS = 5
FIRST_TOKENS = 1_024  # of a first evaluation, which says how much a second one can afford


class Law(NamedTuple):
    """Seconds as a sum of parts, one for each column of a description of the work; no part is negative."""

    parts: tuple[float, ...]

    def seconds(self, work: FloatArray) -> float:
        """Of all the work, (pieces, parts)."""
        return float((work @ np.array(self.parts)).sum())

    def blend(self, other: Law, share: float) -> Law:
        """Between this law (share 0) and another one (share 1)."""
        return Law(tuple((1 - share) * a + share * b for a, b in zip(self.parts, other.parts, strict=True)))


def fit(work: FloatArray, seconds: FloatArray) -> Law:
    """The law that comes closest to measurements, and agrees with their sum."""
    scale = np.maximum(work.max(axis=0), 1.0)
    parts = scipy.optimize.nnls(work / scale, seconds)[0] / scale
    told = float((work @ parts).sum())
    return Law(tuple((parts * (seconds.sum() / told if told > 0 else 1.0)).tolist()))


# --- what work there is ----------------------------------------------------------------------------------


def step_work(lengths: IntArray, order: IntArray, config: TrialConfig, vectors: bool) -> FloatArray:
    """Every optimiser step of an epoch: step, forward passes, rows, padded tokens, those times the batch's length.

    Args:
        lengths: tokens of each training feature, (features,).
        order: in which the epoch takes them.
        config: for the sizes of batches.
        vectors: whether a step starts from one vector for each row: length is nothing to it.
    """
    steps = -(-len(order) // config.effective_batch_size)
    filled = np.zeros(steps * config.effective_batch_size)
    filled[: len(order)] = lengths[order]
    batches = filled.reshape(steps, config.gradient_accumulation, config.batch_size)  # 0 where there is no row
    rows, longest = (batches > 0).sum(axis=2), batches.max(axis=2)
    tokens = np.zeros_like(longest) if vectors else rows * longest
    columns = (
        np.ones(steps),
        (rows > 0).sum(axis=1),
        rows.sum(axis=1),
        tokens.sum(axis=1),
        (tokens * longest).sum(axis=1),
    )
    return np.stack(columns, axis=1).astype(float)


# --- steps and evaluation -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rehearsal(Plan):
    """A plan of which only some steps are taken.

    Attributes:
        rows: the features of these steps, in order.
    """

    rows: IntArray | None = None

    def order(self, epoch: int) -> IntArray:
        """The chosen rows."""
        assert self.rows is not None
        return self.rows

    @property
    def steps_per_epoch(self) -> int:
        """The chosen steps."""
        return -(-len(self.order(1)) // self.config.effective_batch_size)


class Measured(NamedTuple):
    """What one shape has cost.

    Attributes:
        work, seconds: of the timed steps, (steps, parts) and (steps,).
        token_seconds: of evaluating one token (one row, from the end of the layers on).
        metric_seconds: of the metrics of one evaluation, both splits.
        save_seconds: of a copy of the weights that train.
        begin_seconds: of setting the model back and making the optimiser.
        peak_memory_bytes: of steps and evaluation.
    """

    work: FloatArray
    seconds: FloatArray
    token_seconds: float
    metric_seconds: float
    save_seconds: float
    begin_seconds: float
    peak_memory_bytes: int


def rehearse(job: TrialJob, loaded: Loaded, cut: int | None, dtype: torch.dtype, threads: int) -> Measured:
    """Take a few steps of the job's first epoch and evaluate a part of its validation rows.

    Args:
        job: its `freeze` is one for all epochs.
        loaded: what `loading.load` gave for it.
        cut: from which it runs; None for the whole model.
        dtype: of the stand-ins for states.
        threads: of this process.
    """
    encoder, config = loaded.encoder, job.config
    vectors = cut is not None and encoder.is_vector(cut)
    torch.set_num_threads(threads_for(layer_shape(encoder.config).width, vectors, threads))
    memory = MemoryPeak(encoder.device)
    began = clock()
    plan = make_plan(job, loaded, config, 0, Shared())
    prepare(plan)
    begin_seconds = clock() - began
    if cut is not None:
        plan = replace(plan, train=_with_states(plan.train, plan, cut, dtype))
    work = step_work(plan.train.features.lengths, plan.order(1), config, vectors)
    picked, seconds = _time_steps(plan, work)
    state = prepare(plan)
    tables = _part_of_validation(loaded, plan, cut, dtype)
    save_seconds = timed(lambda: encoder.tensors(state.names), encoder.device)
    return Measured(
        work[picked],
        seconds,
        _token_seconds(plan, tables, cut, vectors),
        timed(lambda: _metrics(plan), encoder.device),
        save_seconds,
        begin_seconds,
        memory.read(),
    )


def clock() -> float:
    """Seconds on the clock by which everything here is measured."""
    return time.perf_counter()


def timed(work: Callable[[], object], device: torch.device) -> float:
    """Seconds of a piece of work, once."""
    synchronise(device)
    began = clock()
    work()
    synchronise(device)
    return clock() - began


def _time_steps(plan: Plan, work: FloatArray) -> tuple[IntArray, FloatArray]:
    """Which steps were timed, from the cheapest to the dearest, and the median seconds of each."""
    size, order = plan.config.effective_batch_size, plan.order(1)
    whole = max(1, len(order) // size)
    by_cost = np.argsort(work[:whole, 3] + work[:whole, 2], kind="stable")
    picked = by_cost[np.unique(np.linspace(0, whole - 1, TIMED_STEPS).round().astype(int))]
    if plan.graphs is not None:
        _steps(plan, order, np.tile(picked, 2))  # the first two of a shape are not replayed
    warm = picked[::-1][:WARM_STEPS]  # the dearest first: memory is laid out once
    step = _steps(plan, order, warm)[-1]
    if step > SLOW_SECONDS:
        picked = picked[np.unique(np.linspace(0, len(picked) - 1, SLOW_STEPS).round().astype(int))]
    rounds = int(np.clip(TIMED_SECONDS / (step * len(picked) + 1e-9), 1, MOST_ROUNDS))
    seconds = _steps(plan, order, np.concatenate([picked[-1:], np.tile(picked, rounds)]))[1:]
    return picked, np.median(seconds.reshape(rounds, len(picked)), axis=0)


def _steps(plan: Plan, order: IntArray, steps: IntArray) -> FloatArray:
    """Seconds of each of these steps of an epoch, from a fresh start."""
    size = plan.config.effective_batch_size
    rows = np.concatenate([order[step * size : (step + 1) * size] for step in steps.tolist()])
    rehearsal = Rehearsal(**vars(plan), rows=rows)
    loop = train(rehearsal, prepare(plan))
    seconds = np.array([timed(lambda: next(loop), plan.encoder.device) for _ in steps])
    loop.close()  # type: ignore[attr-defined]
    return seconds


def _with_states(split: Split, plan: Plan, cut: int, dtype: torch.dtype) -> Split:
    """A split with stand-ins for its states at a cut: views of one piece of noise."""
    encoder, lengths = plan.encoder, split.features.lengths
    noise = torch.randn((int(lengths.max()), layer_shape(encoder.config).width)).to(dtype)
    vectors = encoder.is_vector(cut)
    views = [noise[0] if vectors else noise[:n] for n in lengths.tolist()]
    table = StateTable(split.features, cut, vectors, views, encoder.device)
    return replace(split, states={cut: table})


def _part_of_validation(loaded: Loaded, plan: Plan, cut: int | None, dtype: torch.dtype) -> list[Split]:
    """Validation rows of all lengths: a few for a first look, then as many as a second affords."""
    lengths = loaded.validation.features.lengths
    found = []
    for tokens in (FIRST_TOKENS, plan.evaluation_places):
        examples = np.unique(loaded.validation.features.example[spread(lengths, tokens)])
        split = on_device(take(loaded.validation, examples), plan.encoder.device)
        found.append(split if cut is None else _with_states(split, plan, cut, dtype))
    return found


def spread(lengths: IntArray, tokens: int) -> IntArray:
    """Features evenly spread from the longest to the shortest that have about so many tokens together; at least one."""
    count = int(np.clip(tokens / lengths.mean(), 1, len(lengths)))
    return np.sort(np.argsort(lengths, kind="stable")[np.linspace(0, len(lengths) - 1, count).round().astype(int)])


def _token_seconds(plan: Plan, parts: list[Split], cut: int | None, vectors: bool) -> float:
    encoder, rate = plan.encoder, 0.0
    for split in parts:
        table = split.at(cut)
        amount = len(table) if vectors else int(table.lengths.sum())
        if rate * amount > TIMED_SECONDS:
            break

        def work(table: Any = table) -> object:
            return predict(encoder, table, plan.dtype, plan.evaluation_places, plan.task.kept)

        work() if not rate else None  # the first pass of all warms up
        rate = timed(work, encoder.device) / amount
    return rate


def _metrics(plan: Plan) -> None:
    """The metrics of an evaluation, on logits that say nothing."""
    for name, split in (("probe", plan.probe), ("validation", plan.validation)):
        shape = plan.task.logits_shape(split.features, split.examples.label_names)
        logits = np.zeros(shape, dtype=np.float32)
        measure(plan.task, split, logits, plan.config, name, plan.positive, groups=name == "validation")

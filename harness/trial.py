"""One trial: configuration -> data -> encoder -> training, with checkpoints, fallbacks and a kept model.

Every way in which a trial can end becomes a `TrialOutcome`; the worker goes on to the next one.
"""

from __future__ import annotations

import gc
import math
import time
import traceback
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import torch

import harness.checkpoints as checkpoints
import harness.devices as devices
import harness.disk as disk
import harness.kept_models as kept_models
import harness.model_card as model_card
import harness.snapshots as snapshots
from harness.configuration import TrialConfig
from harness.errors import HarnessError, StorageError, TrialFailure
from harness.jobs import TrialJob
from harness.loading import Loaded, facts_of, load, make_plan, take_shared
from harness.records import EpochRecord, Incident, Progress, TrialFacts, TrialOutcome
from harness.training import decay_of_unused_rows, train
from harness.training_plan import Plan, State, finished, prepare
from harness.warm import Warm, folder_of

__all__ = ["Control", "Warm", "run"]

Event = TrialFacts | Progress | EpochRecord | Incident | TrialOutcome
Result = TypeVar("Result")

PROGRESS_SECONDS = 1.0
_PHASES = ("load", "tokenise", "share", "save", "before")  # "before": all seconds before an interruption


@dataclass
class Control:
    """What the owner of a trial may ask for while it runs.

    Attributes:
        interrupted: asked after every step; True writes a checkpoint and ends the trial as waiting.
        prune: set it after an `EpochRecord`; the trial then ends as pruned.
    """

    interrupted: Callable[[], bool] = lambda: False
    prune: bool = False


@dataclass
class Attempt:
    """One try at a trial: what was asked, what is really done, and where the time went.

    Attributes:
        recordable: whether steps may be recorded as CUDA graphs, as long as memory has not run out with them.
        recorded: whether this try's are.
        ended: whether its outcome has been told, where several attempts run side by side.
        unsaved: why the newest checkpoint is not on disk; empty when it is.
    """

    job: TrialJob
    warm: Warm
    control: Control
    config: TrialConfig
    halvings: int = 0
    recordable: bool = True
    recorded: bool = False
    unsaved: str = ""
    ended: bool = False
    began: float = field(default_factory=time.perf_counter)
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(_PHASES, 0.0))

    def pruned(self) -> bool:
        """Whether the owner has asked for an end; asked anew after every event."""
        return self.control.prune

    def spend(self, phase: str, since: float) -> None:
        """Book the time since a reading of time.perf_counter."""
        self.seconds[phase] += time.perf_counter() - since

    def total(self) -> float:
        """Seconds of the trial until now, those before an interruption included."""
        return self.seconds["before"] + time.perf_counter() - self.began


def run(job: TrialJob, warm: Warm, control: Control) -> Iterator[Event]:
    """Run one trial; the last event, and only the last, is its `TrialOutcome`.

    A trial with a checkpoint goes on from it, and first repeats the records of all epochs that the
    checkpoint holds. One that runs out of memory starts again with smaller batches.
    """
    attempt = Attempt(job, warm, control, job.config)
    try:
        yield from _until_it_fits(attempt)
    except TrialFailure as failure:  # this configuration would only fail again
        checkpoints.clear(folder_of(job))
        yield failed(attempt, failure.reason, failure)
    except Exception as error:  # the night goes on; the traceback is in the record
        yield _ended_by(attempt, error)


def _ended_by(attempt: Attempt, error: Exception) -> TrialOutcome:
    """A full disk is no fault of the trial: it waits, and whoever supervises decides when it goes on."""
    if disk.is_full(error):
        return TrialOutcome("waiting", "disk", f"{type(error).__name__}: {error}")
    if isinstance(error, HarnessError):
        return failed(attempt, "data", error)
    broken = isinstance(error, OSError) and error.errno in disk.FAULTY
    return failed(attempt, "disk" if broken else "crashed", error)


def failed(attempt: Attempt, reason: Any, error: Exception) -> TrialOutcome:
    shown = "".join(traceback.format_exception(error)) if reason == "crashed" else ""
    message = str(error) if isinstance(error, TrialFailure | HarnessError) else f"{type(error).__name__}: {error}"
    seconds = {
        "total": attempt.total(),
        **{name: attempt.seconds[name] for name in ("load", "tokenise", "share", "save")},
    }
    return TrialOutcome("failed", reason, message, shown, seconds=seconds)


# --- memory ------------------------------------------------------------------------------------------


def _until_it_fits(attempt: Attempt) -> Iterator[Event]:
    """Try without CUDA graphs, then with smaller and smaller batches; the rows of an optimiser step stay the same."""
    while True:
        try:
            yield from _once(attempt)
            return
        except Exception as error:
            if not devices.is_out_of_memory(error):
                raise
            message = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no memory'}"
        incident = _shrink(attempt, message)  # outside of except: the traceback would hold on to the tensors
        attempt.warm.forget()
        gc.collect()
        if attempt.warm.device.type == "cuda":
            torch.cuda.empty_cache()
        checkpoints.clear(folder_of(attempt.job))
        yield incident


def _shrink(attempt: Attempt, message: str) -> Incident:
    config = attempt.config
    if attempt.recorded:
        attempt.recordable = attempt.recorded = False
        words = f"out of memory with batch_size {config.batch_size} and CUDA graphs; from the beginning without them"
        return Incident("oom", words, {"error": message})
    smaller = smaller_batches(config)
    if smaller is None:
        raise TrialFailure("oom", f"out of memory with batches of one row of {config.max_length} tokens: {message}")
    attempt.config, attempt.halvings = smaller, attempt.halvings + 1
    words = f"out of memory with batch_size {config.batch_size}; from the beginning with {smaller.batch_size}"
    return Incident(
        "oom",
        f"{words} x {smaller.gradient_accumulation} accumulated",
        {
            "error": message,
            "batch_size": [config.batch_size, smaller.batch_size],
            "gradient_accumulation": [config.gradient_accumulation, smaller.gradient_accumulation],
        },
    )


def smaller_batches(config: TrialConfig) -> TrialConfig | None:
    """The same effective batch in smaller parts: the largest divisor of batch_size that is at most its half."""
    size = config.batch_size
    if size == 1:
        return None
    half = next(part for part in range(size // 2, 0, -1) if size % part == 0)
    return replace(config, batch_size=half, gradient_accumulation=config.gradient_accumulation * (size // half))


# --- one try ---------------------------------------------------------------------------------------


def _once(attempt: Attempt) -> Iterator[Event]:
    """Load, resume or begin, train, keep."""
    folder = folder_of(attempt.job)
    loaded = load(attempt.job, attempt.warm, attempt.seconds)
    found = checkpoints.find(folder, loaded.identity)
    yield from found.incidents
    if found.snapshot is not None:
        _take_over(attempt, found.snapshot)
    began = time.perf_counter()
    work = take_shared(attempt.job, attempt.warm, loaded, attempt.config, attempt.halvings)
    shared = yield from unless_interrupted(work, attempt.control)
    attempt.spend("share", began)
    if shared is None:
        yield TrialOutcome("waiting", message="interrupted; what was worked out of the frozen prefix is kept")
        return
    plan = make_plan(attempt.job, loaded, attempt.config, attempt.halvings, shared, attempt.recordable)
    attempt.recorded = plan.graphs is not None
    facts = facts_of(plan, loaded, shared)
    yield facts
    state = prepare(plan, snapshots.rows_of(found.snapshot))
    if found.snapshot is not None:
        snapshots.restore(plan, state, found.snapshot)
        yield from list(state.records)
    interrupted = yield from _train(attempt, loaded, plan, state)
    if interrupted:
        message = f"interrupted; {attempt.unsaved or 'a checkpoint was written'}"
        yield TrialOutcome("waiting", message=message, seconds=seconds_of(attempt, state))
        return
    model_folder = yield from keep_model(attempt, loaded, plan, facts, state)
    yield TrialOutcome(
        "pruned" if attempt.pruned() else "complete",
        stopped_early=state.stopped,
        seconds=seconds_of(attempt, state),
        model_folder=model_folder,
        shared_work=shared.record(state.records),
    )


def unless_interrupted(work: Generator[Event, None, Result], control: Control) -> Generator[Event, None, Result | None]:
    """The events of some work, and what it returns; None where an interruption has ended it before."""
    while True:
        try:
            event = next(work)
        except StopIteration as end:
            result: Result = end.value
            return result
        yield event
        if control.interrupted():
            work.close()
            return None


def _train(attempt: Attempt, loaded: Loaded, plan: Plan, state: State) -> Generator[Event, None, bool]:
    """Pass records and now and then the progress on; checkpoint when it is time. True when interrupted."""
    told, saved = -math.inf, time.perf_counter()
    if attempt.pruned():
        return False
    for event in train(plan, state):
        now = time.perf_counter()
        if not isinstance(event, Progress) or now - told >= PROGRESS_SECONDS:
            told = now
            yield event
        if attempt.pruned():
            return False
        done = finished(plan, state)
        interrupted = attempt.control.interrupted() and not done
        if interrupted or (now - saved >= attempt.job.checkpoint_seconds and not done):
            yield from _checkpoint(attempt, loaded, plan, state)
            saved = time.perf_counter()
        if interrupted:
            return True
    return False


# --- checkpoints and the kept model -----------------------------------------------------------------


def _checkpoint(attempt: Attempt, loaded: Loaded, plan: Plan, state: State) -> Iterator[Incident]:
    """Write one; training goes on without it where that cannot be done, which is told once."""
    began = time.perf_counter()
    document, tensors = snapshots.capture(plan, state)
    document |= {
        "config": attempt.config.as_dict(),
        "halvings": attempt.halvings,
        "recordable": attempt.recordable,
        "seconds": {**attempt.seconds, "before": attempt.total()},
    }
    told, attempt.unsaved = attempt.unsaved, ""
    try:
        checkpoints.save(folder_of(attempt.job), loaded.identity, snapshots.Snapshot(document, tensors))
    except StorageError as error:
        attempt.unsaved = f"a checkpoint could not be written: {error}"
        if not told:
            yield Incident("disk", attempt.unsaved)
    if state.running is None:
        attempt.spend("save", began)  # within an epoch its record books the time


def _take_over(attempt: Attempt, snapshot: snapshots.Snapshot) -> None:
    """Go on with the batches, the way of taking steps and the clock of the interrupted process."""
    document = snapshot.document
    attempt.config = TrialConfig.from_dict(document["config"])
    attempt.halvings, attempt.recordable = document["halvings"], document["recordable"]
    for phase, seconds in document["seconds"].items():
        attempt.seconds[phase] += seconds


def keep_model(
    attempt: Attempt, loaded: Loaded, plan: Plan, facts: TrialFacts, state: State
) -> Generator[Incident, None, str | None]:
    """Write the best epoch's model if this trial deserves it; its folder's name. What was measured counts without."""
    job = attempt.job
    if state.best is None or not job.keep or not kept_models.deserves(job, state.records):
        return None
    began = time.perf_counter()
    names = loaded.splits.label_names if plan.task.output == "labels" else ()
    choice = model_card.EpochChoice(state.best.epoch, plan.selection.metric)
    card = model_card.render(job, facts, state.records, choice, names)
    plan.encoder.assign(state.best.tensors)
    plan.encoder.whole(decay_of_unused_rows(plan, state, state.best.epoch))
    tokenizer = attempt.warm.tokenizer(loaded.model.path)
    try:
        kept_models.write(folder_of(job), plan.encoder.model, tokenizer, names, card)
    except StorageError as error:
        yield Incident("disk", f"the trial ends without its weights: {error}")
        return None
    attempt.spend("save", began)
    return kept_models.FOLDER


def seconds_of(attempt: Attempt, state: State) -> dict[str, float]:
    """Wall clock by phase. An epoch that was not finished counts with its training so far."""
    records, running = state.records, state.running
    return {
        "load": attempt.seconds["load"],
        "tokenise": attempt.seconds["tokenise"],
        "share": attempt.seconds["share"],
        "train": sum(record.train_seconds for record in records) + (running.seconds if running else 0.0),
        "evaluate": sum(record.evaluate_seconds for record in records),
        "save": attempt.seconds["save"] + sum(record.save_seconds for record in records),
        "total": attempt.total(),
    }

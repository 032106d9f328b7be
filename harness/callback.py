"""A plain Trainer script's run in results.db, with three more lines.

    from harness.callback import Recorder
    recorder = Recorder(db="results.db", study="my-script")
    trainer = Trainer(..., callbacks=[recorder])

It watches and never interferes, but that the training loss is logged at the end of every epoch too. What cannot be
recorded is told loudly, and the training goes on.
"""

from __future__ import annotations

import atexit
import math
import os
import sys
import time
import traceback
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from transformers import TrainerCallback

from harness.devices import is_out_of_memory, name
from harness.environment import capture
from harness.epoch_clock import EpochClock
from harness.errors import UsageError
from harness.jobs import ModelSummary, Prepared, SplitSummary
from harness.preparation import device_facts
from harness.records import EpochRecord, Incident, TrialFacts, TrialOutcome
from harness.script_facts import (
    Rows,
    config_of,
    identity_of,
    notes_of,
    objective_of,
    rows_of,
    summary_of,
    task_of,
)
from harness.script_figures import epoch_of, epochs_over, surprises, train_loss, validation
from harness.scripts import Ledger, Opening, log
from harness.study_file.sections import study_name


@dataclass
class _Run:
    """A training that goes on."""

    ledger: Ledger
    facts: TrialFacts
    model: ModelSummary
    train: Rows
    clock: EpochClock
    began: float
    pid: int
    error: BaseException | None
    broken: int | None
    recorded: int = 0
    validation: Rows | None = None
    prepared: bool = False
    diverged: str = ""
    incidents: set[str] = field(default_factory=set)
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(("train", "evaluate", "save"), 0.0))


_open: list[_Run] = []
"""The runs of this process that have not ended, of which a notebook may leave one behind."""


class Recorder(TrainerCallback):  # type: ignore[misc]
    """Writes every `trainer.train()` as a trial of a study.

    Args:
        db: the database: a file, or the URL of a server; made when it is not there.
        study: name of the script's study; what `harness run` runs has another.
        task: what is trained, where the model's class does not say so: a task as in a study file.

    Raises:
        UsageError: for a name that no study can have.
    """

    def __init__(
        self, db: str | os.PathLike[str] = "results.db", study: str = "script", task: str | None = None
    ) -> None:
        try:
            study_name(study)
        except ValueError as error:
            raise UsageError(f"Recorder: study {error}") from None
        self.db, self.study, self.task = os.fspath(db), study, task
        self._run: _Run | None = None

    @property
    def trial(self) -> str | None:
        """STUDY:NUMBER of the run at hand or the last one; None where the database has not taken it."""
        ledger = self._run.ledger if self._run is not None else None
        return None if ledger is None or ledger.trial is None else f"{ledger.study}:{ledger.trial}"

    # --- the events of a training ---------------------------------------------------------------------

    def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """What is about to be run is written down; what was run before in this process has ended."""
        self._guarded(_end_all)
        self._run = None
        if state.is_world_process_zero:
            self._guarded(self._begin, args, state, given)

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """The epoch before is complete, with its evaluation and its checkpoint."""
        self._guarded(self._commit, state)
        if self._run is not None:
            self._run.clock.begin_epoch()

    def on_step_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Time counts again after an evaluation."""
        if self._run is not None:
            self._run.clock.begin_step()

    def on_step_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """A step is done; what comes before the next may be an evaluation."""
        if self._run is not None:
            pause = control.should_log or control.should_evaluate or control.should_save
            self._run.clock.end_step(state.num_input_tokens_seen, pause)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **given: Any) -> Any:
        """The training loss since it was last logged is asked for: it is this epoch's."""
        if self._run is not None:
            self._run.clock.end_epoch(state.num_input_tokens_seen)
        control.should_log = True  # in every process: to log is to gather the losses of all
        return control

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **given: Any) -> None:
        """What is evaluated on is known only now."""
        run = self._run
        if run is not None and run in _open and run.validation is None and given.get("eval_dataloader") is not None:
            self._guarded(_look_at_validation, run, given["eval_dataloader"].dataset)

    def on_train_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """The training has ended as it should, or because the script stopped it."""
        if self._run is not None:
            self._guarded(self._commit, state)
            self._guarded(self._finish, self._run)

    # --- what is written ------------------------------------------------------------------------------

    def _guarded(self, write: Any, *given: Any) -> None:
        """The record of a training is not worth the training."""
        try:
            write(*given)
        except Exception:
            log.exception("%s: the run of study %s cannot be recorded; training goes on", self.db, self.study)

    def _begin(self, args: Any, state: Any, given: dict[str, Any]) -> None:
        model, optimizer, dataset = given["model"], given["optimizer"], given["train_dataloader"].dataset
        rows, found = rows_of(dataset), summary_of(model)
        config = config_of(args, int(state.num_train_epochs), model, optimizer, rows)
        facts = TrialFacts(
            config=config,
            device=name(torch.device(args.device)),
            dtype=config.dtype,
            attention=str(getattr(getattr(model, "config", None), "_attn_implementation", "") or "unknown"),
            threads=torch.get_num_threads(),
            total_steps=state.max_steps,
            train_rows=rows.number or state.max_steps * config.effective_batch_size,
            validation_rows=0,
            data_fingerprint=rows.fingerprint or "",
            model_revision=found.revision,
            weights_hash=found.weights_hash,
            total_parameters=found.total_parameters,
            trainable_parameters=sum(p.numel() for p in model.parameters() if p.requires_grad),
            notes=notes_of(args, optimizer, rows),
        )
        task = self.task or task_of(model)
        incidents = [] if task else [_unknown_task(model)]
        if state.global_step:
            incidents.append(_resumed(state))
        run = _Run(
            ledger=Ledger(self.db, self.study),
            facts=facts,
            model=found,
            train=rows,
            clock=EpochClock.of(facts, torch.device(args.device), args.include_num_input_tokens_seen),
            began=time.monotonic(),
            pid=os.getpid(),
            error=_last_error(),
            broken=_broken(state),
        )
        self._run = run
        _open.append(run)
        opening = Opening(
            task=task or "sequence-classification",
            objective=objective_of(args),
            seed=args.seed,
            identity=identity_of(config, facts),
            facts=facts,
            environment=capture(device_facts()),
            incidents=incidents,
        )
        run.ledger.begin(opening)

    def _finish(self, run: _Run) -> None:
        epochs = run.facts.config.epochs
        early = f"the script stopped it after epoch {run.recorded} of {epochs}"
        outcome = TrialOutcome("complete", stopped_early="" if run.recorded >= epochs else early)
        _end(run, TrialOutcome("failed", "diverged", run.diverged) if run.diverged else outcome)

    def _commit(self, state: Any) -> None:
        """Every epoch that is over and not written: one, or after a checkpoint those that it speaks of."""
        run = self._run
        if run is None:
            return
        progress = state.epoch or 0.0
        over = epoch_of(progress) if run.clock.running else epochs_over(progress)
        for epoch in range(run.recorded + 1, over + 1):
            entries = [each for each in state.log_history if epoch_of(each.get("epoch", 0.0)) == epoch]
            self._write_epoch(run, epoch, entries, state, now=epoch == over and run.clock.running)
            run.recorded = epoch

    def _write_epoch(self, run: _Run, epoch: int, entries: list[dict[str, Any]], state: Any, now: bool) -> None:
        evaluations = [each for each in entries if any(key.startswith("eval_") for key in each)]
        runtime = sum(each.get("eval_runtime", 0.0) for each in evaluations)
        times = run.clock.close(runtime) if now else None
        rates = [each["learning_rate"] for each in entries if "learning_rate" in each]
        whole = times if times and epoch != run.broken else None
        steps = max((each["step"] for each in entries), default=state.global_step)
        rows = run.validation.number if run.validation is not None and run.validation.number else 0
        record = EpochRecord(
            epoch=epoch,
            steps=steps,
            learning_rate=float(rates[-1]) if rates else math.nan,
            metrics=(*train_loss(entries, state.log_history), *validation(evaluations)),
            train_seconds=whole.train if whole else math.nan,
            evaluate_seconds=runtime,
            save_seconds=whole.rest if whole else math.nan,
            validation_seconds=runtime if evaluations else math.nan,
            evaluated_samples=rows * len(evaluations),
            windows=tuple(times.windows) if times else (),
            peak_memory_bytes=times.peak_memory_bytes if times else None,
        )
        if times:
            for phase, seconds in (("train", times.train), ("evaluate", runtime), ("save", times.rest)):
                run.seconds[phase] += seconds
        lost = [m for m in record.metrics if m.name == "loss" and not math.isfinite(m.value)]
        run.diverged = ", ".join(f"{m.split} loss was {m.value} in epoch {epoch}" for m in lost)
        for incident in surprises(epoch, entries, evaluations):
            if incident.kind not in run.incidents:  # once a run says enough
                run.incidents.add(incident.kind)
                run.ledger.incident(incident)
        run.ledger.epoch(record)


def _look_at_validation(run: _Run, dataset: Any) -> None:
    """The first evaluation shows what is evaluated on."""
    run.validation = rows_of(dataset)
    prints = (run.train.fingerprint, run.validation.fingerprint)
    together = "-".join(each for each in prints if each) if all(prints) else ""
    run.facts = replace(run.facts, validation_rows=run.validation.number or 0, data_fingerprint=together)
    run.ledger.facts(run.facts)
    _describe(run)


def _describe(run: _Run) -> None:
    """The data, once it is known what is evaluated on or that nothing is."""
    run.prepared = True
    splits = {"train": SplitSummary(run.facts.train_rows, {}, {})}
    if run.validation is not None:
        splits["validation"] = SplitSummary(run.validation.number or 0, {}, {})
    run.ledger.prepared(
        Prepared(
            fingerprint=run.facts.data_fingerprint,
            label_names=(),
            positive=None,
            splits=splits,
            warnings=(),
            models=(run.model,),
            examples={},
            environment={},
        )
    )


# --- what is surprising ------------------------------------------------------------------------------------


def _unknown_task(model: Any) -> Incident:
    words = "the model's class does not say its task; it is taken for a classification: Recorder(task=...) says it"
    return Incident("task not known", words, {"class": type(model).__name__})


def _broken(state: Any) -> int | None:
    """The epoch in whose midst the training goes on, of which only the rest is timed."""
    progress = state.epoch or 0.0
    return None if epoch_of(progress) == epochs_over(progress) else epoch_of(progress)


def _resumed(state: Any) -> Incident:
    words = "went on from a checkpoint: the epochs before are those of its log, and their times are not known"
    return Incident("resumed", words, {"step": state.global_step, "epoch": state.epoch})


# --- the end ------------------------------------------------------------------------------------------------


def _end(run: _Run, outcome: TrialOutcome) -> None:
    if not run.prepared:
        _describe(run)
    seconds = run.seconds | {"total": time.monotonic() - run.began}
    run.ledger.end(replace(outcome, seconds=seconds))
    if run in _open:
        _open.remove(run)


def _end_all() -> None:
    """Runs that nobody has ended have failed: an exception went through them, or the script left."""
    for run in list(_open):
        if run.pid == os.getpid():
            _end(run, _failure(run))


def _failure(run: _Run) -> TrialOutcome:
    error = _last_error()
    if error is None or error is run.error:
        return TrialOutcome("failed", "crashed", "the script went on or ended before its training did")
    words = f"{type(error).__name__}: {error}"
    text = "".join(traceback.format_exception(error))
    return TrialOutcome("failed", "oom" if is_out_of_memory(error) else "crashed", words, text)


def _last_error() -> BaseException | None:
    """The exception that reached the top of the program last."""
    found = getattr(sys, "last_exc", None) or getattr(sys, "last_value", None)
    return found if isinstance(found, BaseException) else None


atexit.register(_end_all)

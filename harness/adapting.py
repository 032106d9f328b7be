"""Before the first trial: a worker pretrains each model further where the study file asks for it.

A model that cannot be adapted fails the trials that ask for it, and no others: the night goes on.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import harness.disk as disk
from harness.asking import error_of
from harness.board import Observer
from harness.configuration import TrialConfig
from harness.deadline import Deadline, Stop
from harness.errors import DataError, Interrupted
from harness.executors.base import Executor
from harness.jobs import Adapted, AdaptJob
from harness.listening import Listening
from harness.opening import REMEDY, Opened
from harness.records import EpochRecord, Incident, JobDone, JobFailed, TrialOutcome, WorkerDied
from harness.results.rows import StudyRow
from harness.results.store import Store
from harness.spec import StudySpec


@dataclass
class Adapting:
    """What an adaptation needs of the night that it opens."""

    store: Store
    row: StudyRow
    spec: StudySpec
    executor: Executor
    observer: Observer
    stop: Stop
    deadline: Deadline

    def all(self, opened: Opened) -> dict[str, str]:
        """Model -> folder of what it became; without those that could not be adapted, or not in time.

        Raises:
            Interrupted: an end was asked for; what was trained is in a checkpoint.
            HeldError: a disk is full.
            DataError: a model came out otherwise than the one that trials of the study have begun from.
        """
        folders: dict[str, str] = {}
        for config in self.spec.adaptations():
            if self.deadline.passed():
                break
            outcome = self._one(config, opened)
            if isinstance(outcome, Adapted):
                self._refuse_other_weights(outcome)
                self.store.record_adaptation(self.row.id, outcome, config)
                folders[config.model] = str(self.store.files / "models" / outcome.key)
                self.observer.note(f"{config.model} adapted: {words(outcome)}")
            elif outcome.state == "failed":
                self._tell_failure(config.model, outcome)
            elif outcome.reason == "disk":
                raise disk.full(self.store.files, outcome.message)
        return folders

    def _one(self, config: TrialConfig, opened: Opened) -> Adapted | TrialOutcome:
        job = AdaptJob(
            task=self.spec.task,
            data=opened.data,
            seed=self.spec.seeds[0],
            config=config,
            folder=str(self.store.files / "models"),
            revision=opened.revisions.get(config.model),
        )
        self.observer.note(f"{config.model}: pretraining further on the training texts …")
        return _Conversation(self, job).answer()

    def _refuse_other_weights(self, adapted: Adapted) -> None:
        """One that was made again, say on another machine, need not be the same to the last bit."""
        then = self.store.adapted_weights(self.row.id).get(adapted.model, adapted.weights_hash)
        if then != adapted.weights_hash:
            raise DataError(
                f"the adapted {adapted.model} is not the one that study {self.row.name!r} began with: weights "
                f"{adapted.weights_hash[:16]}, recorded {then[:16]}. "
                f"Restore {self.store.files / 'models' / adapted.key}, {REMEDY}"
            )

    def _tell_failure(self, model: str, outcome: TrialOutcome) -> None:
        message = f"{model} could not be adapted ({outcome.reason}): {outcome.message}"
        what = Incident("adaptation_failed", message, {"model": model, "traceback": outcome.traceback})
        self.store.record_incident(self.row.id, None, what)
        self.observer.note(f"{message}; trials that ask for it fail")


@dataclass
class _Conversation:
    """One job with slot 0, until it has ended in one way or another."""

    night: Adapting
    job: AdaptJob
    deaths: int = 0
    ending: bool = False
    heard: float = field(default_factory=time.monotonic)

    def answer(self) -> Adapted | TrialOutcome:
        executor, stop = self.night.executor, self.night.stop
        executor.submit(0, self.job)
        listening = Listening(executor)
        last: Any = None
        while True:
            found = listening.messages()
            self.heard = listening.excused(self.heard)
            for _, message in found:
                self.heard = time.monotonic()
                event = WorkerDied(0) if self._sent_away(message.event, last) else message.event
                if isinstance(event, JobDone):
                    return self._ended(last)
                if isinstance(event, WorkerDied):
                    failure = self._died(event)
                    if failure is not None:
                        return failure
                    executor.submit(0, self.job)  # from its checkpoint
                last = self._hear(event) or last
            if stop.asked > 1:
                executor.kill(0)
                raise self._interrupted()
            if (stop.asked or self.night.deadline.passed()) and not self.ending:
                self.ending = True
                executor.interrupt(0)
            minutes = self.night.spec.watchdog
            if listening.silence(self.heard) > minutes * 60:
                executor.kill(0)
                return TrialOutcome("failed", "hung", f"no step for {minutes:g} minutes; the worker was killed")

    def _hear(self, event: Any) -> Any:
        """Pass on what people and record want to know; gives back what may be the answer."""
        if isinstance(event, EpochRecord):
            perplexity = event.value("validation", "perplexity")
            self.night.observer.note(f"{self.job.config.model}: epoch {event.epoch}, perplexity {perplexity:.4g}")
        elif isinstance(event, Incident):
            self.night.store.record_incident(self.night.row.id, None, event)
            self.night.observer.note(event.message)
        return event if isinstance(event, Adapted | TrialOutcome | JobFailed) else None

    def _sent_away(self, event: Any, last: Any) -> bool:
        """Whether the worker ends its job since someone else than we told it to, as a machine short of memory does."""
        if not isinstance(event, JobDone) or not isinstance(last, TrialOutcome) or self.ending or self.night.stop.asked:
            return False
        return last.state == "waiting" and last.reason != "disk"

    def _ended(self, last: Any) -> Adapted | TrialOutcome:
        outcome = _outcome_of(last) if isinstance(last, JobFailed) else last
        assert isinstance(outcome, Adapted | TrialOutcome)
        if self.night.stop.asked and not isinstance(outcome, Adapted):
            raise self._interrupted()
        return outcome

    def _died(self, death: WorkerDied) -> TrialOutcome | None:
        """How a death ends the adaptation; None where another worker goes on."""
        if self.night.stop.asked:
            raise self._interrupted()
        if death.forgiven(self.deaths) and not self.ending:
            self.deaths += 1
            self.night.observer.note(f"the worker was killed{death.why}; another one goes on")
            return None
        return TrialOutcome("failed", "crashed", death.words + death.why, death.log_tail)

    def _interrupted(self) -> Interrupted:
        words = f"interrupted; the adaptation goes on with: harness run {self.night.row.name}"
        return Interrupted(words, self.night.stop.exit_code)


def _outcome_of(failure: JobFailed) -> TrialOutcome:
    """What a failure outside of the training means: a full disk ends the night, all else fails those who ask for it."""
    if disk.is_full(error_of(failure)):
        return TrialOutcome("waiting", "disk", failure.message)
    return TrialOutcome("failed", "data" if failure.error else "crashed", failure.message, failure.traceback)


def words(adapted: Adapted) -> str:
    """What an adaptation came to, in one line."""
    sides = [
        f"{side:.4g}" if side is not None else "–" for side in (adapted.perplexity_before, adapted.perplexity_after)
    ]
    took = "made before" if adapted.reused else f"in {timedelta(seconds=round(adapted.spent_seconds))}"
    on = f"{adapted.held_out_texts} held-out texts" if adapted.held_out_texts else "texts that are all trained on"
    return f"perplexity {sides[0]} -> {sides[1]} on {on}, {took}"

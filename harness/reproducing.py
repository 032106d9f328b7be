"""A recorded trial run a second time from its record alone, in a folder of its own, and compared with it.

The recorded rows are only read. What they are compared with is never stored, but for an incident with the verdict.
"""

from __future__ import annotations

import dataclasses
import math
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import harness.disk as disk
from harness.asking import ask_worker
from harness.configuration import TrialConfig
from harness.deadline import Stop
from harness.drift import Change, Drift, around, changes, compare
from harness.environment import git_state
from harness.errors import DataError, HarnessError, HeldError, Interrupted, UsageError
from harness.executors.base import Executor
from harness.executors.local import LocalExecutor
from harness.jobs import EXACT_BATCHES, Demand, Prepared, Sharing, TrainJob, TrialJob
from harness.listening import Listening
from harness.night import selection
from harness.opening import data_at, preparation_of
from harness.records import EpochRecord, Incident, JobDone, TrialFacts, TrialOutcome, WorkerDied
from harness.results import recorded
from harness.results.connecting import outlives_restarts
from harness.results.recorded import Epoch, Ran
from harness.results.rows import StudyRow, TrialRow
from harness.results.store import Store
from harness.results.text import plain
from harness.spec import StudySpec
from harness.study import file_of, sharing

KIND = "reproduction"  # of the incident that tells of it
Told = Callable[[str], None]


@dataclass(frozen=True)
class Subject:
    """A finished trial and everything that the record says of it.

    Attributes:
        config: as it was really run, with the smaller batches of one that had run out of memory.
        epochs: epoch -> its numbers.
    """

    study: StudyRow
    spec: StudySpec
    trial: TrialRow
    ran: Ran
    config: TrialConfig
    epochs: Mapping[int, Epoch]

    @property
    def name(self) -> str:
        """As on the command line."""
        return f"{self.study.name}:{self.trial.number}"

    @property
    def threads(self) -> int:
        """Of the worker that ran it."""
        assert self.ran.done is not None
        return int(self.ran.environment.get("device", {}).get("threads") or self.ran.done["threads"])


@dataclass
class Second:
    """What the second run has told so far."""

    records: dict[int, EpochRecord] = field(default_factory=dict)
    facts: TrialFacts | None = None
    outcome: TrialOutcome | None = None


def reproduce(store: Store, name: str, number: int, tolerance: float, told: Told, stop: Stop) -> Drift:
    """Run a trial again and say how far it lies from its record, which gets an incident with the verdict.

    Args:
        store: the record.
        name, number: study and trial.
        tolerance: up to which a metric counts as the same, as `drift.distance` measures it.
        told: hears one line of news after another.
        stop: an end that is asked for leaves nothing behind.

    Raises:
        UsageError: there is no such trial, or none that could be compared.
        DataError: data or model are not those of the record.
        HeldError: no space is left for it, or its worker was ended.
        HarnessError: what else keeps the trial from running to an end.
        Interrupted: when an end was asked for meanwhile.
    """
    subject = find(store, name, number)
    with tempfile.TemporaryDirectory(prefix="harness-reproduce-") as folder:
        there = Path(folder)
        with LocalExecutor(there / "logs", 1, subject.threads) as executor:
            return run_again(store, subject, tolerance, executor, there, told, stop)


def run_again(
    store: Store, subject: Subject, tolerance: float, executor: Executor, folder: Path, told: Told, stop: Stop
) -> Drift:
    """The same on a worker that is there, with `subject.threads` threads.

    Args:
        folder: for what the worker writes; whoever gives it takes it away.
    """
    told("checking data and model …")
    prepared = _prepare(store, subject, executor, stop, told)
    job = _job(store, subject, prepared, folder)
    second = _Run(subject, job, executor, told, stop).through()
    _refuse_unfinished(subject, second, folder)
    drift = Drift(
        compare(subject.epochs, {epoch: Epoch.of(record) for epoch, record in second.records.items()}),
        _ends(subject, second),
        tuple(_changes(subject, prepared, second)),
        tolerance,
    )
    details = drift.as_details() | {"environment": plain(prepared.environment)}
    store.record_incident(subject.study.id, subject.trial.id, Incident(KIND, drift.words(), details))
    return drift


@outlives_restarts
def find(store: Store, name: str, number: int) -> Subject:
    """A trial that has an end which a second run could come to.

    Raises:
        UsageError: there is none of that name, or nothing to compare.
    """
    study = store.study(name)
    if study is None:
        raise UsageError(f"there is no study {name!r}; harness status lists them")
    trial = next((each for each in store.trials(study.id) if each.number == number), None)
    if trial is None:
        raise UsageError(f"study {name!r} has no trial {number}; harness status {name} says how many there are")
    with store.transaction() as connection:
        ran = recorded.ran(connection, trial.id)
        epochs = recorded.epochs(connection, trial.id)
    ended = trial.state in ("complete", "pruned") or (trial.state, trial.reason) == ("failed", "diverged")
    if study.source != "own" or not ended or ran.done is None:
        how = f"failed ({trial.reason})" if trial.state == "failed" else trial.state
        how = "pruned before it was started" if trial.spared else how
        how = how if study.source == "own" else "of a run made elsewhere"
        raise UsageError(
            f"trial {number} of study {name!r} is {how}: there is nothing to compare a second run with. A trial can be "
            "reproduced that is complete, pruned or failed (diverged)"
        )
    return Subject(study, file_of(study).spec, trial, ran, TrialConfig.from_dict(ran.done["config"]), epochs)


# --- the same again ---------------------------------------------------------------------------------


def _prepare(store: Store, subject: Subject, executor: Executor, stop: Stop, told: Told) -> Prepared:
    """Data and model as they are today.

    Raises:
        DataError: they are not those of the record; names both hashes.
    """
    config = subject.config
    job = dataclasses.replace(
        preparation_of(store, subject.study, subject.spec, begun=True),
        models=[config.model],
        demands=[Demand(config.model, config.max_length, config.freeze, config.dtype)],
    )
    prepared = ask_worker(executor, job, stop, lambda incident: told(incident.message))
    assert isinstance(prepared, Prepared)
    then = store.data_fingerprint(subject.study.id)
    weights = store.weights_hashes(subject.study.id).get(config.model)
    (model,) = prepared.models
    pairs = [("data", then, prepared.fingerprint), (f"weights of {config.model}", weights, model.weights_hash)]
    _refuse_others(subject, pairs)
    return prepared


def _refuse_others(subject: Subject, pairs: list[tuple[str, str | None, str]]) -> None:
    changed = [f"{what}: {now}, recorded {then}" for what, then, now in pairs if then is not None and then != now]
    if changed:
        raise DataError(
            f"trial {subject.name} cannot be reproduced, what it was trained on has changed:\n  "
            + "\n  ".join(changed)
            + "\nRestore it as it was; nothing was run"
        )


def _job(store: Store, subject: Subject, prepared: Prepared, folder: Path) -> TrialJob:
    """What the night asked of a worker, in another folder."""
    trial, config, spec = subject.trial, subject.config, subject.spec
    return TrialJob(
        trial=trial.id,
        task=spec.task,
        data=data_at(spec, prepared.data_revision),
        data_seed=spec.seeds[0],
        config=config,
        seed=trial.seed,
        fold=trial.fold,
        objective=selection(spec.objectives),
        folder=str(folder / "trial"),
        keep=False,
        checkpoint_seconds=math.inf,
        sharing=_sharing(subject, folder),
        revision=prepared.models[0].revision,
        adapted=_adapted(store, subject) if config.adapt else None,
        test=any(split == "test" for epoch in subject.epochs.values() for split, _, _ in epoch.metrics),
    )


def _sharing(subject: Subject, folder: Path) -> Sharing:
    """A cache of its own for a trial that took something from one, for what comes from it differs in its last bits."""
    assert subject.ran.done is not None
    if subject.ran.shared_work:
        return sharing(folder, subject.spec)
    return Sharing(exact=EXACT_BATCHES in subject.ran.done["notes"])


@outlives_restarts
def _adapted(store: Store, subject: Subject) -> str:
    with store.transaction() as connection:
        key = recorded.adapted_key(connection, subject.study.id, subject.config.model)
    if key is None or not (store.files / "models" / key).is_dir():
        raise DataError(
            f"trial {subject.name} began from {subject.config.model} as the study had pretrained it further, and that "
            f"encoder is no longer in {store.files / 'models'}; restore the folder"
        )
    return str(store.files / "models" / key)


@dataclass
class _Run:
    """The conversation with the worker, from the job to the trial's outcome."""

    subject: Subject
    job: TrialJob
    executor: Executor
    told: Told
    stop: Stop

    def through(self) -> Second:
        """All that the worker tells of the trial."""
        second, heard, listening = Second(), time.monotonic(), Listening(self.executor)
        self.told(f"running trial {self.subject.name} again with {self.subject.threads} thread(s) …")
        self.executor.submit(0, TrainJob((self.job,)))
        while True:
            found = listening.messages()
            heard = listening.excused(heard)
            for _, message in found:
                heard = time.monotonic()
                if isinstance(message.event, JobDone):
                    return second
                self._hear(message.event, second)
            if self.stop.asked:
                self.executor.kill(0)
                raise Interrupted("interrupted; the record is as it was", self.stop.exit_code)
            if listening.silence(heard) > self.subject.spec.watchdog * 60:
                self.executor.kill(0)
                raise HarnessError(f"no step for {self.subject.spec.watchdog:g} minutes; the worker was killed")

    def _hear(self, event: Any, second: Second) -> None:
        if isinstance(event, WorkerDied):
            raise HarnessError(f"the {event.words}{event.why}:\n{event.log_tail}")
        if isinstance(event, TrialFacts):
            second.facts = event
            self._refuse_other_weights(event)
        elif isinstance(event, EpochRecord):
            second.records[event.epoch] = event
            last = event.epoch == max(self.subject.epochs, default=0)
            self.executor.decide(0, prune=last and self.subject.trial.state == "pruned")
            self.told(f"epoch {event.epoch}: validation loss {event.value('validation', 'loss'):.6g}")
        elif isinstance(event, Incident):
            self.told(event.message)
            if event.kind == "oom":  # it begins anew in another way
                second.records.clear()
        elif isinstance(event, TrialOutcome):
            second.outcome = event

    def _refuse_other_weights(self, facts: TrialFacts) -> None:
        """Of an encoder that was pretrained further the preparation knows nothing."""
        assert self.subject.ran.done is not None
        then = self.subject.ran.done["weights_hash"]
        if facts.weights_hash != then:
            self.executor.kill(0)
        _refuse_others(self.subject, [(f"weights of {facts.config.model}", then, facts.weights_hash)])


# --- what became of it ------------------------------------------------------------------------------


def _refuse_unfinished(subject: Subject, second: Second, folder: Path) -> None:
    """A run that could not come to an end says nothing of whether the trial can be reproduced.

    Raises:
        HeldError: no space was left, or somebody ended the worker.
        HarnessError: what else it failed of; that its loss diverged is an end.
    """
    outcome = second.outcome
    assert outcome is not None
    words = f"the second run of trial {subject.name} came to no end"
    if outcome.state == "waiting":
        if outcome.reason == "disk":
            raise disk.full(folder, outcome.message)
        raise HeldError(f"{words}: {outcome.message}. The record is as it was; run the same command again")
    if outcome.state == "failed" and outcome.reason != "diverged":
        told = "\n".join(filter(None, [f"{words}: failed ({outcome.reason}): {outcome.message}", outcome.traceback]))
        raise HarnessError(f"{told}\nThe record is as it was")


def _ends(subject: Subject, second: Second) -> str:
    """How the two runs ended, where that differs."""
    outcome, trial = second.outcome, subject.trial
    assert outcome is not None
    then, now = (f"{each.state} ({each.reason})" if each.reason else each.state for each in (trial, outcome))
    epochs = [max(each, default=0) for each in (subject.epochs, second.records)]
    if (then, epochs[0]) == (now, epochs[1]):
        return ""
    why = f": {outcome.message}" if outcome.message else ""
    return f"{then} after epoch {epochs[0]} as recorded, {now} after epoch {epochs[1]} now{why}"


def _changes(subject: Subject, prepared: Prepared, second: Second) -> list[Change]:
    facts = {**prepared.environment, "git": git_state(Path())}
    found = list(changes(around(subject.ran.environment), around(plain(facts))))
    if second.facts is not None:
        assert subject.ran.done is not None
        found += changes(subject.ran.done, plain(dataclasses.asdict(second.facts)))
    together = subject.ran.shared_work.get("fused", {}).get("trials")
    if together:
        others = together - 1
        found.append(Change("trained together with", f"{others} other trial{'' if others == 1 else 's'}", "none"))
    return [each for i, each in enumerate(found) if each not in found[:i]]

"""What holds of every results.db whatever happened in the night: I1 to I8, in one function that only reads.

I1  a committed epoch is there once and whole
I2  the epochs of a trial are 1 to k without gaps
I3  a configuration, seed and fold occur once in a study
I4  a complete trial has all its epochs or says why it stopped; what it concluded is what its epochs say
I5  a study has one living holder at most
I6  a running trial has a living holder; Optuna's tables hold each finished trial once, with the same numbers
I7  the database passes its own checks, and no row refers to one that is not there
I8  an epoch that was computed again gave the committed numbers, bit for bit
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import sqlalchemy as sa

from harness.results import mirror, outcomes
from harness.results.holders import living_holders
from harness.results.mirrored import mirrored
from harness.results.rows import StudyRow, TrialRow
from harness.results.soundness import broken_references, integrity_faults
from harness.results.study_writes import studies
from harness.results.tables import configuration, epoch_record, incident, metric, trial
from harness.results.targets import storage_errors
from harness.results.trial_writes import trials

PASSING = "`harness run` mends it as it goes on, `harness repair` at once"


class Violation(NamedTuple):
    """What does not hold: of which trial of which study, in words, and what mends it; empty where nothing does."""

    invariant: str
    study: str
    trial: int | None
    words: str
    mend: str = ""

    def __str__(self) -> str:
        where = self.study if self.trial is None else f"{self.study}:{self.trial}"
        return f"{self.invariant} {where}: {self.words}" if where else f"{self.invariant}: {self.words}"


class Subject(NamedTuple):
    """One study with what every check asks for."""

    connection: sa.Connection
    row: StudyRow
    trials: list[TrialRow]
    holders: list[str]


def violations(engine: sa.Engine, study: str | None = None) -> list[Violation]:
    """Everything that does not hold of one study, or of all; the file (I7) is always looked at as a whole.

    Raises:
        StorageError: when the database is too damaged to be read.
    """
    with storage_errors(engine.url.set(password=None)):
        found = [Violation("I7", "", None, fault) for fault in integrity_faults(engine)]
        found += [Violation("I7", "", None, fault) for fault in broken_references(engine)]
    return found + violations_of_rows(engine, study)


def violations_of_rows(engine: sa.Engine, study: str | None = None) -> list[Violation]:
    """The same without the file: a study is read at one moment, and between two studies others can write.

    Raises:
        StorageError: when the database is too damaged to be read.
    """
    found: list[Violation] = []
    with storage_errors(engine.url.set(password=None)):
        with engine.connect() as connection:
            chosen = [row for row in studies(connection) if study in (None, row.name)]
        for row in chosen:
            with engine.connect() as connection:
                subject = Subject(connection, row, trials(connection, row.id), living_holders(connection, row.id))
                found += [violation for check in CHECKS for violation in check(subject)]
    return found


def _of(subject: Subject, invariant: str, number: int | None, words: str, mend: str = "") -> Violation:
    return Violation(invariant, subject.row.name, number, words, mend)


def _number(subject: Subject, trial_id: int) -> int:
    return next(each.number for each in subject.trials if each.id == trial_id)


def epochs_once_and_whole(subject: Subject) -> Iterator[Violation]:
    """I1; indexes of a damaged file may lie, so it is counted without them.

    Of an epoch of a published run its source may show nothing, and a script that goes on from a checkpoint may have
    logged nothing of those before.
    """
    record = epoch_record.c
    measured = sa.exists().where(metric.c.trial_id == record.trial_id, metric.c.epoch == record.epoch)
    query = (
        sa.select(record.trial_id, record.epoch, sa.func.count(), sa.func.max(sa.case((measured, 1), else_=0)))
        .join(trial, trial.c.id == record.trial_id)
        .where(trial.c.study_id == subject.row.id)
        .group_by(record.trial_id, record.epoch)
    )
    for trial_id, epoch, count, whole in subject.connection.execute(query):
        if count != 1:
            yield _of(subject, "I1", _number(subject, trial_id), f"epoch {epoch} is there {count} times")
        if not whole and subject.row.source == "own" and not subject.row.of_script:
            yield _of(subject, "I1", _number(subject, trial_id), f"epoch {epoch} has no metrics")


def epochs_without_gaps(subject: Subject) -> Iterator[Violation]:
    """I2."""
    for each, epochs in _epochs(subject):
        if epochs != list(range(1, len(epochs) + 1)):
            yield _of(subject, "I2", each.number, f"its epochs are {', '.join(map(str, epochs))}")


def trials_once(subject: Subject) -> Iterator[Violation]:
    """I3; what a published run does not state is no part of its configuration, so two may only seem to be one.

    A script may be run again as it is, and may set what no configuration can say.
    """
    seen: dict[object, int] = {}
    query = sa.select(trial.c.number, trial.c.asked, configuration.c.config, configuration.c.study_id)
    query = query.join(configuration, configuration.c.id == trial.c.configuration_id)
    for number, asked, config, study_id in subject.connection.execute(query.where(trial.c.study_id == subject.row.id)):
        if (asked, study_id) != (config, subject.row.id):
            yield _of(subject, "I3", number, "its configuration is another one's")
    for each in subject.trials:
        identity = (each.config.fingerprint, each.seed, each.fold)
        if identity in seen and subject.row.source == "own" and not subject.row.of_script:
            yield _of(subject, "I3", each.number, f"trial {seen[identity]} has its configuration, seed and fold too")
        seen[identity] = each.number


def complete_means_complete(subject: Subject) -> Iterator[Violation]:
    """I4; published trials are rows of a table that somebody else made, of which not every epoch is known."""
    if subject.row.source != "own":
        return
    stopped = dict(
        subject.connection.execute(
            sa.select(trial.c.id, trial.c.stopped_early).where(trial.c.study_id == subject.row.id)
        ).all()
    )
    for each, epochs in _epochs(subject):
        asked, done = each.config.epochs, len(epochs)
        if done > asked:
            yield _of(subject, "I4", each.number, f"it has {done} epochs, {asked} were asked for")
        if each.state == "complete" and done < asked and not stopped[each.id]:
            yield _of(subject, "I4", each.number, f"complete after {done} of {asked} epochs without a reason")
        if each.state == "pruned" and not done and not (each.spared and each.message):
            yield _of(subject, "I4", each.number, "pruned without an epoch")
        if each.spared and done:
            yield _of(subject, "I4", each.number, "pruned before it was started, and yet it has epochs")
        if each.finished:
            yield from _concluded(subject, each)
        elif each.objective is not None or each.ended_at is not None:
            yield _of(subject, "I4", each.number, f"{each.state}, and yet it has an end")


def _concluded(subject: Subject, each: TrialRow) -> Iterator[Violation]:
    """The best epochs and objective values of a finished trial, worked out again from its rows."""
    objectives = subject.row.objectives
    columns = [trial.c[f"{phase}_seconds"] for phase in outcomes.PHASES]
    row = subject.connection.execute(sa.select(*columns).where(trial.c.id == each.id)).one()
    seconds = {phase: value for phase, value in zip(outcomes.PHASES, row, strict=True) if value is not None}
    again = outcomes.best_and_values(subject.connection, each.id, each.state, objectives, seconds)
    stored = (each.best_epoch, each.best_loss_epoch, list(each.objective_values))
    for name, old, new in zip(("best_epoch", "best_loss_epoch", "objective values"), stored, again, strict=True):
        if old != new:
            yield _of(subject, "I4", each.number, f"{name} stored as {old}, its epochs say {new}")
    if each.objective != (each.objective_values[0] if each.objective_values else None):
        yield _of(subject, "I4", each.number, f"its objective {each.objective} is not the first of its values")


def one_living_holder(subject: Subject) -> Iterator[Violation]:
    """I5."""
    if len(subject.holders) > 1:
        yield _of(subject, "I5", None, f"several processes hold it: {'; '.join(subject.holders)}")


def running_means_held(subject: Subject) -> Iterator[Violation]:
    """I6, our side."""
    if not subject.holders:
        for each in subject.trials:
            if each.state == "running":
                yield _of(subject, "I6", each.number, "running, and nobody runs it any more", PASSING)


def mirror_agrees(subject: Subject) -> Iterator[Violation]:
    """I6, Optuna's side; while somebody holds the study its newest trials may not have arrived."""
    if subject.row.source != "own" or not subject.trials:
        return
    there = mirrored(subject.connection, subject.row.name)
    for each in subject.trials:
        copies = there.pop(each.number, [])
        if len(copies) > 1:
            yield _of(subject, "I6", each.number, f"Optuna's tables hold it {len(copies)} times")
        elif not each.finished:
            if copies:
                yield _of(subject, "I6", each.number, f"{each.state}, and Optuna's tables say {copies[0].state}")
        elif not copies:
            if not subject.holders:
                yield _of(subject, "I6", each.number, "Optuna's tables lack it", PASSING)
        else:
            losses = outcomes.epoch_values(subject.connection, each.id, "validation", subject.row.objectives[0].metric)
            if copies[0] != mirror.expected(each, losses, len(subject.row.objectives)):
                yield _of(subject, "I6", each.number, "Optuna's tables hold other numbers of it")
    for number in there:
        yield _of(subject, "I6", number, "Optuna's tables hold it, the record does not")


def computed_again_alike(subject: Subject) -> Iterator[Violation]:
    """I8; the same packages, device and threads are what promises it."""
    query = sa.select(incident.c.trial_id, incident.c.message).where(
        incident.c.study_id == subject.row.id, incident.c.kind == "recomputed epoch differs"
    )
    for trial_id, message in subject.connection.execute(query):
        yield _of(subject, "I8", _number(subject, trial_id), message)


def _epochs(subject: Subject) -> Iterator[tuple[TrialRow, list[int]]]:
    """Every trial with its committed epochs, in order."""
    record = epoch_record.c
    query = (
        sa.select(record.trial_id, record.epoch)
        .join(trial, trial.c.id == record.trial_id)
        .where(trial.c.study_id == subject.row.id)
        .order_by(record.trial_id, record.epoch)
    )
    found: dict[int, list[int]] = {}
    for trial_id, epoch in subject.connection.execute(query):
        found.setdefault(trial_id, []).append(epoch)
    return ((each, found.get(each.id, [])) for each in subject.trials)


CHECKS: tuple[Callable[[Subject], Iterator[Violation]], ...] = (
    epochs_once_and_whole,
    epochs_without_gaps,
    trials_once,
    complete_means_complete,
    one_living_holder,
    running_means_held,
    mirror_agrees,
    computed_again_alike,
)

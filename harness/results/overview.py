"""The state of studies in a few counting queries, for `harness status`: fast however many trials there are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa

from harness.records import Objective
from harness.results.ownership import Owner
from harness.results.tables import epoch_record, incident, session, study, trial


@dataclass(frozen=True)
class Overview:
    """One study at a glance.

    Attributes:
        states: state -> number of trials.
        failures: reason -> number of failed trials.
        running: for each running trial its number, finished epochs, epochs asked, and when it started (UTC).
        best: number, objective and verdict of the best complete trial; None without one.
        holder: process and machine that runs the study now; None when no one does.
        seconds: wall clock of all invocations.
        mean_trial_seconds: of complete trials; None without one.
    """

    study: str
    source: str
    task: str
    objective: Mapping[str, Any]
    states: Mapping[str, int]
    failures: Mapping[str, int]
    running: tuple[Mapping[str, Any], ...]
    best: Mapping[str, Any] | None
    holder: str | None
    seconds: float
    mean_trial_seconds: float | None
    incidents: Mapping[str, int]
    text: str

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values, without the study file's text."""
        return {name: value for name, value in asdict(self).items() if name != "text"}


def overviews(engine: sa.Engine, name: str | None = None) -> list[Overview]:
    """All studies in order of creation, or the one of that name."""
    query = sa.select(study).order_by(study.c.id)
    if name is not None:
        query = query.where(study.c.name == name)
    with engine.connect() as connection:
        return [_overview(connection, row) for row in connection.execute(query).mappings().all()]


def _overview(connection: sa.Connection, row: sa.RowMapping) -> Overview:
    objective = Objective(**row["objectives"][0])
    seconds, mean = _seconds(connection, row["id"])
    return Overview(
        study=row["name"],
        source=row["source"],
        task=row["task"],
        objective=asdict(objective),
        states=_counts(connection, trial.c.state, trial.c.study_id == row["id"]),
        failures=_counts(connection, trial.c.reason, trial.c.study_id == row["id"], trial.c.state == "failed"),
        running=_running(connection, row["id"]),
        best=_best(connection, row["id"], objective),
        holder=_holder(connection, row["id"]),
        seconds=seconds,
        mean_trial_seconds=mean,
        incidents=_counts(connection, incident.c.kind, incident.c.study_id == row["id"]),
        text=row["text"],
    )


def _counts(connection: sa.Connection, column: sa.Column[Any], *where: sa.ColumnElement[bool]) -> dict[str, int]:
    query = sa.select(column, sa.func.count()).where(*where).group_by(column).order_by(column)
    return {str(value): int(count) for value, count in connection.execute(query)}


def _seconds(connection: sa.Connection, study_id: int) -> tuple[float, float | None]:
    spent = connection.scalar(sa.select(sa.func.sum(session.c.seconds)).where(session.c.study_id == study_id))
    complete = (trial.c.study_id == study_id) & (trial.c.state == "complete")
    mean = connection.scalar(sa.select(sa.func.avg(trial.c.total_seconds)).where(complete))
    return float(spent or 0.0), None if mean is None else float(mean)


def _running(connection: sa.Connection, study_id: int) -> tuple[Mapping[str, Any], ...]:
    done = sa.select(sa.func.count()).where(epoch_record.c.trial_id == trial.c.id).scalar_subquery()
    query = (
        sa.select(trial.c.number, done.label("epoch"), trial.c.epochs, trial.c.started_at)
        .where(trial.c.study_id == study_id, trial.c.state == "running")
        .order_by(trial.c.number)
    )
    return tuple(dict(row) for row in connection.execute(query).mappings())


def _best(connection: sa.Connection, study_id: int, objective: Objective) -> Mapping[str, Any] | None:
    order = trial.c.objective.asc() if objective.direction == "minimize" else trial.c.objective.desc()
    query = (
        sa.select(trial.c.number, trial.c.objective, trial.c.best_epoch, trial.c.verdict_words.label("verdict"))
        .where(trial.c.study_id == study_id, trial.c.state == "complete", trial.c.objective.is_not(None))
        .order_by(order, trial.c.number)
        .limit(1)
    )
    row = connection.execute(query).mappings().first()
    return None if row is None else dict(row)


def _holder(connection: sa.Connection, study_id: int) -> str | None:
    query = sa.select(session).where(session.c.study_id == study_id, session.c.exit_state.is_(None))
    for row in connection.execute(query).mappings():
        owner = Owner(row["pid"], row["boot_id"], row["process_started"], row["host"])
        if owner.lives():
            return f"process {owner.pid} on {owner.host} since {row['started_at']}"
    return None

"""The state of studies in a few counting queries, for `harness status`: fast however many trials there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa

from harness.configuration import Objective
from harness.ranking import Plan, Run, plan_of, standing
from harness.results.choices import choices
from harness.results.holders import living_holders
from harness.results.rows import StudyRow
from harness.results.tables import configuration, epoch_record, incident, session, study, trial


@dataclass(frozen=True)
class Overview:
    """One study at a glance.

    Attributes:
        states: state -> number of trials.
        failures: reason -> number of failed trials.
        spared: trials that were pruned before they were started, between the folds of their configurations.
        running: for each running trial its number, finished epochs, epochs asked, and when it started (UTC).
        best: the best configuration by the rule of `ranking`: its number, its mean objective, of how many trials and
            in words, and of its best trial number, epoch and verdict; None without a complete trial.
        holder: process and machine that runs the study now; None when no one does.
        origin: where the figures of a published study were read; None of a study of one's own.
        confirming: trials that the newest choice of `confirm:` asked for; None before there is one.
        of_script: whether a plain script trained the trials.
        seconds: wall clock of all invocations.
        mean_trial_seconds: of complete trials; None without one.
    """

    study: str
    source: str
    task: str
    objective: Mapping[str, Any]
    states: Mapping[str, int]
    failures: Mapping[str, int]
    spared: int
    running: tuple[Mapping[str, Any], ...]
    best: Mapping[str, Any] | None
    holder: str | None
    seconds: float
    mean_trial_seconds: float | None
    incidents: Mapping[str, int]
    confirming: int | None
    origin: str | None
    of_script: bool
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
    spent = connection.scalar(sa.select(sa.func.sum(session.c.seconds)).where(session.c.study_id == row["id"]))
    ends = _ends(connection, row["id"])
    mean = next((end.mean for end in ends if end.state == "complete"), None)
    states = {state: sum(end.number for end in ends if end.state == state) for state in sorted({e.state for e in ends})}
    return Overview(
        study=row["name"],
        source=row["source"],
        task=row["task"],
        objective=asdict(objective),
        states=states,
        failures={end.reason: end.number for end in ends if end.reason is not None},
        spared=sum(end.unstarted for end in ends if end.state == "pruned"),
        running=_running(connection, row["id"]) if "running" in states else (),
        best=_best(connection, row["id"], objective, plan_of(row["spec"] or {})),
        holder=next(iter(living_holders(connection, row["id"])), None),
        seconds=float(spent or 0.0),
        mean_trial_seconds=None if mean is None else float(mean),
        incidents=_incidents(connection, row["id"]),
        confirming=next((choice.trials for choice in reversed(choices(connection, row["id"]))), None),
        origin=str((row["spec"] or {}).get("source", "")) if row["source"] == "published" else None,
        of_script=StudyRow.read(row).of_script,
        text=row["text"],
    )


def _ends(connection: sa.Connection, study_id: int) -> Sequence[sa.Row[Any]]:
    """Of the trials of each state and reason the number, how many never started, and the mean seconds, in one pass."""
    columns = (trial.c.state, trial.c.reason)
    unstarted = sa.func.sum(sa.case((trial.c.attempt == 0, 1), else_=0)).label("unstarted")
    counted = (sa.func.count().label("number"), unstarted, sa.func.avg(trial.c.total_seconds).label("mean"))
    query = sa.select(*columns, *counted).where(trial.c.study_id == study_id).group_by(*columns).order_by(*columns)
    return connection.execute(query).all()


def _incidents(connection: sa.Connection, study_id: int) -> dict[str, int]:
    kind = incident.c.kind
    query = sa.select(kind, sa.func.count()).where(incident.c.study_id == study_id).group_by(kind).order_by(kind)
    return {str(value): int(count) for value, count in connection.execute(query)}


def _running(connection: sa.Connection, study_id: int) -> tuple[Mapping[str, Any], ...]:
    done = sa.select(sa.func.count()).where(epoch_record.c.trial_id == trial.c.id).scalar_subquery()
    query = (
        sa.select(trial.c.number, done.label("epoch"), trial.c.epochs, trial.c.started_at)
        .where(trial.c.study_id == study_id, trial.c.state == "running")
        .order_by(trial.c.number)
    )
    return tuple(dict(row) for row in connection.execute(query).mappings())


def _best(connection: sa.Connection, study_id: int, objective: Objective, plan: Plan) -> Mapping[str, Any] | None:
    """The rule of `ranking` in SQL, so that only the best configuration's trials are read."""
    key = trial.c.configuration_id
    done = (trial.c.study_id == study_id, trial.c.state == "complete", trial.c.objective.is_not(None))
    full = 1
    if plan != Plan():
        counts = sa.select(sa.func.count().label("number")).where(*done).group_by(key).subquery()
        full = plan.full([connection.scalar(sa.select(sa.func.max(counts.c.number))) or 0])
    mean = sa.func.avg(trial.c.objective)
    order = (sa.func.count() < full, mean if objective.direction == "minimize" else -mean, sa.func.min(trial.c.number))
    first = connection.scalar(sa.select(key).where(*done).group_by(key).order_by(*order).limit(1))
    if first is None:
        return None
    columns = (trial.c.number, trial.c.objective, trial.c.replicate, trial.c.fold, trial.c.best_epoch)
    joined = trial.join(configuration, configuration.c.id == key)
    query = sa.select(configuration.c.number, *columns, trial.c.verdict_words).select_from(joined)
    rows = connection.execute(query.where(key == first, *done)).all()
    found = standing([Run(*row[:5]) for row in rows], objective, full)
    best_epoch, verdict = next(row[5:] for row in rows if row[1] == found.best)
    return {
        "configuration": found.configuration,
        "objective": found.mean,
        "deviation": found.deviation,
        "trials": len(found.runs),
        "words": found.words(),
        "number": found.best,
        "best_epoch": best_epoch,
        "verdict": verdict,
    }

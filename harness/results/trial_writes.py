"""How a trial is written: states that move along known edges, and what went otherwise than asked.

Functions over a connection that `store.py` has opened.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import sqlalchemy as sa

from harness.configuration import Objective, TrialConfig
from harness.errors import StorageError
from harness.records import Incident, TrialFacts, TrialOutcome
from harness.results import outcomes
from harness.results.columns import utc_now
from harness.results.rows import FINISHED, StudyRow, TrialRow, select_trials
from harness.results.study_writes import key_of
from harness.results.tables import configuration, incident, study, trial

Origin = Literal["explicit", "grid", "sampled", "baseline"]


def move(connection: sa.Connection, trial_id: int, states: Sequence[str], **values: Any) -> None:
    """Change a trial that is in one of these states; anything else is refused.

    Raises:
        StorageError: naming the state found.
    """
    allowed = (trial.c.id == trial_id, trial.c.state.in_(states))
    if connection.execute(sa.update(trial).where(*allowed).values(**values)).rowcount != 1:
        found = connection.scalar(sa.select(trial.c.state).where(trial.c.id == trial_id))
        raise StorageError(f"trial {trial_id} must be {' or '.join(states)}, it is {found or 'not in the database'}")


def must_run(connection: sa.Connection, trial_id: int) -> None:
    """Refuse what only a running trial may do.

    Raises:
        StorageError: naming the state found.
    """
    move(connection, trial_id, ("running",), state="running")


# --- adding -----------------------------------------------------------------------------------------


def insert_trial(
    connection: sa.Connection,
    study_id: int,
    config: TrialConfig,
    seed: int,
    replicate: int,
    fold: int | None,
    origin: Origin,
) -> int:
    """A waiting trial, and its configuration when that is new; returns its id.

    Raises:
        StorageError: when the study has a trial of that configuration, seed and fold.
    """
    key = configuration_id(connection, study_id, config, origin, config.fingerprint)
    same_fold = trial.c.fold.is_(None) if fold is None else trial.c.fold == fold
    identity = (trial.c.configuration_id == key, trial.c.seed == seed, same_fold)
    known = connection.scalar(sa.select(trial.c.number).where(*identity))
    if known is not None:
        where = "" if fold is None else f" and fold {fold}"
        raise StorageError(f"trial {known} has this configuration with seed {seed}{where} already")
    return insert_row(connection, study_id, key, config, seed, replicate, fold)


def insert_row(
    connection: sa.Connection,
    study_id: int,
    configuration_id: int,
    config: TrialConfig,
    seed: int,
    replicate: int,
    fold: int | None,
) -> int:
    """A waiting trial of a configuration that is there; returns its id."""
    added = connection.execute(
        sa.insert(trial).values(
            study_id=study_id,
            number=_next_number(connection, trial, study_id),
            configuration_id=configuration_id,
            replicate=replicate,
            fold=fold,
            seed=seed,
            state="waiting",
            message="",
            traceback="",
            stopped_early="",
            attempt=0,
            created_at=utc_now(),
            asked=config.as_dict(),
            **_as_run(config),
        )
    )
    return key_of(added)


def configuration_id(
    connection: sa.Connection, study_id: int, config: TrialConfig, origin: Origin, identity: str
) -> int:
    """The id of the configuration with this fingerprint, added when it is new."""
    same = (configuration.c.study_id == study_id, configuration.c.fingerprint == identity)
    found = connection.scalar(sa.select(configuration.c.id).where(*same))
    if found is not None:
        return int(found)
    added = connection.execute(
        sa.insert(configuration).values(
            study_id=study_id,
            number=_next_number(connection, configuration, study_id),
            fingerprint=identity,
            config=config.as_dict(),
            origin=origin,
            created_at=utc_now(),
        )
    )
    return key_of(added)


def _next_number(connection: sa.Connection, table: sa.Table, study_id: int) -> int:
    last = connection.scalar(sa.select(sa.func.max(table.c.number)).where(table.c.study_id == study_id))
    return 0 if last is None else int(last) + 1


def _as_run(config: TrialConfig) -> dict[str, Any]:
    """The hyperparameters that the summary shows."""
    names = ("model", "epochs", "batch_size", "effective_batch_size", "learning_rate", "max_length", "freeze")
    return {name: getattr(config, name) for name in names}


# --- from start to end ---------------------------------------------------------------------------------


def start(connection: sa.Connection, trial_id: int, worker: str, environment_id: int | None) -> None:
    """From waiting to running, one attempt more."""
    move(
        connection,
        trial_id,
        ("waiting",),
        state="running",
        attempt=trial.c.attempt + 1,
        worker=worker,
        environment_id=environment_id,
        started_at=utc_now(),
    )


def update_facts(connection: sa.Connection, trial_id: int, facts: TrialFacts) -> None:
    """What is really run, next to what was asked."""
    move(
        connection,
        trial_id,
        ("running",),
        done=dataclasses.asdict(facts),
        total_parameters=facts.total_parameters,
        trainable_parameters=facts.trainable_parameters,
        **_as_run(facts.config),
    )


def end(
    connection: sa.Connection, trial_id: int, outcome: TrialOutcome, objectives: Sequence[Objective] | None
) -> None:
    """From running to its end, with what is concluded from its epochs."""
    if objectives is None:
        objectives = _objectives_of(connection, trial_id)
    concluded = outcomes.conclude(connection, trial_id, outcome, objectives)
    move(
        connection,
        trial_id,
        ("running",),
        state=outcome.state,
        reason=outcome.reason if outcome.state == "failed" else None,
        message=outcome.message,
        traceback=outcome.traceback,
        stopped_early=outcome.stopped_early,
        ended_at=utc_now(),
        shared_work=outcome.shared_work or None,
        model_folder=outcome.model_folder,
        **{f"{phase}_seconds": outcome.seconds.get(phase) for phase in outcomes.PHASES},
        **concluded,
    )


def spare(connection: sa.Connection, trial_id: int, words: str) -> None:
    """From waiting to pruned, without ever being started."""
    values: list[None] = [None for _ in _objectives_of(connection, trial_id)]
    move(connection, trial_id, ("waiting",), state="pruned", message=words, ended_at=utc_now(), objective_values=values)


def forget_model(connection: sa.Connection, trial_id: int) -> None:
    """The weights of a finished trial are no longer on disk."""
    move(connection, trial_id, FINISHED, model_folder=None)


def _objectives_of(connection: sa.Connection, trial_id: int) -> tuple[Objective, ...]:
    query = sa.select(study.c.objectives).join(trial, trial.c.study_id == study.c.id).where(trial.c.id == trial_id)
    return tuple(Objective(**objective) for objective in connection.scalar(query) or ())


# --- incidents ------------------------------------------------------------------------------------------


def insert_incident(connection: sa.Connection, study_id: int, trial_id: int | None, what: Incident) -> None:
    """One row of what went otherwise than asked."""
    connection.execute(
        sa.insert(incident).values(
            study_id=study_id,
            trial_id=trial_id,
            kind=what.kind,
            message=what.message,
            details=what.details,
            at=utc_now(),
        )
    )


def insert_trial_incident(connection: sa.Connection, trial_id: int, what: Incident) -> None:
    """The same for a trial, in its study."""
    study_id = int(connection.scalar(sa.select(trial.c.study_id).where(trial.c.id == trial_id)) or 0)
    insert_incident(connection, study_id, trial_id, what)


def count_incidents(connection: sa.Connection, trial_id: int, kind: str) -> int:
    """How many incidents of a kind a trial has."""
    query = sa.select(sa.func.count()).where(incident.c.trial_id == trial_id, incident.c.kind == kind)
    return int(connection.scalar(query) or 0)


# --- reading --------------------------------------------------------------------------------------------


def trials(connection: sa.Connection, study_id: int, after: int = -1, most: int | None = None) -> list[TrialRow]:
    """Trials of a study by number: all, or at most so many of those after a number."""
    query = select_trials().where(trial.c.study_id == study_id, trial.c.number > after).limit(most)
    rows = connection.execute(query).mappings()
    return [TrialRow.read(row) for row in rows]


def config_as_run(connection: sa.Connection, trial_id: int) -> TrialConfig | None:
    """What its last attempt really ran, after every fallback; None before that is known."""
    facts = connection.scalar(sa.select(trial.c.done).where(trial.c.id == trial_id))
    return None if facts is None else TrialConfig.from_dict(facts["config"])


def trial_row(connection: sa.Connection, trial_id: int) -> TrialRow:
    """One trial by its id in the database.

    Raises:
        StorageError: when there is none.
    """
    row = connection.execute(select_trials().where(trial.c.id == trial_id)).mappings().first()
    if row is None:
        raise StorageError(f"there is no trial with id {trial_id}")
    return TrialRow.read(row)


def best_kept_first(found: StudyRow, rows: Sequence[TrialRow]) -> list[TrialRow]:
    """Trials whose weights are on disk: complete before pruned, then the best by the first objective first."""
    sign = -1.0 if found.objectives and found.objectives[0].direction == "maximize" else 1.0

    def rank(row: TrialRow) -> tuple[bool, bool, float, int]:
        return (row.state != "complete", row.objective is None, sign * (row.objective or 0.0), row.number)

    return sorted((row for row in rows if row.model_folder is not None), key=rank)

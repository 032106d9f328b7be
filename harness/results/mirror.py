"""Finished trials mirrored into Optuna's own tables in the same database, so that its dashboard simply works.

Our tables are the truth: `sync` adds what is missing and can be called at any time. The mirror never
feeds a sampler.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import optuna
import sqlalchemy as sa
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from harness.configuration import hyperparameters
from harness.errors import SpecError
from harness.results import mirror_rows
from harness.results.connecting import outlives_restarts
from harness.results.engine import configure_sqlite, creation_lock
from harness.results.mirrored import MARK, STUDIES, Mirrored, numbers, one_nan
from harness.results.rows import StudyRow, TrialRow
from harness.results.store import Store
from harness.results.targets import BUSY_SECONDS, storage_errors

STATES = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
DIRECTIONS = {"minimize": StudyDirection.MINIMIZE, "maximize": StudyDirection.MAXIMIZE}


def sync(store: Store, study_id: int, ended: Sequence[TrialRow] | None = None) -> int:
    """Add the finished trials that Optuna's tables lack; return how many.

    Args:
        store: the open database.
        study_id: the study.
        ended: trials that ended just now, after a call without it; all that are missing unless given, for which
            every trial is read and the tables are checked.

    Raises:
        SpecError: when another Optuna made its tables, or a study of the name has other directions.
    """
    row = next(row for row in store.studies() if row.id == study_id)
    with storage_errors(store.engine.url.set(password=None)):
        if ended is None:
            with _storage(store.engine) as storage:
                optuna_id = _optuna_study(storage, row)
            with store.engine.connect() as connection:
                there = set(numbers(connection, optuna_id).values())
            pages = store.pages(study_id)
            ended = [trial for page in pages for trial in page if trial.finished and trial.number not in there]
        else:
            optuna_id = _optuna_id(store, row.name)
        space = Space.of(row.spec)
        for trial in ended:
            losses = store.epoch_values(trial.id, "validation", row.objectives[0].metric)
            _add(store, optuna_id, frozen(trial, space, losses, len(row.objectives)))
    return len(ended)


@outlives_restarts
def _add(store: Store, optuna_id: int, trial: FrozenTrial) -> None:
    with store.transaction() as connection:
        mirror_rows.insert(connection, optuna_id, trial)


@outlives_restarts
def _optuna_id(store: Store, name: str) -> int:
    query = sa.select(STUDIES.c.study_id).where(STUDIES.c.study_name == name)
    with store.transaction() as connection:
        return int(connection.execute(query).scalar_one())


@contextmanager
def _storage(engine: sa.Engine) -> Iterator[RDBStorage]:
    """Optuna's storage on our database with our settings; its tables are made under the creation lock."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    tables = set(sa.inspect(engine).get_table_names())
    there = {"studies", "trials", "alembic_version"} <= tables
    with nullcontext() if there else creation_lock(engine):
        storage = _opened(engine)
    try:
        if engine.dialect.name == "sqlite":
            # Only now: Optuna's constructor opens a second connection within the first one's transaction.
            storage.engine.dispose()
            configure_sqlite(storage.engine)
        yield storage
    finally:
        storage.remove_session()
        storage.engine.dispose()


def _opened(engine: sa.Engine) -> RDBStorage:
    url = engine.url.render_as_string(hide_password=False)
    options: dict[str, Any] = {"hide_parameters": True}
    if engine.dialect.name == "sqlite":
        options["connect_args"] = {"timeout": BUSY_SECONDS}
    try:
        # Optuna formats the URL as a template, so a brace in a path has to be doubled.
        url = url.replace("{", "{{").replace("}", "}}")
        return RDBStorage(url, engine_kwargs=options)
    except RuntimeError as error:
        raise SpecError(f"Optuna's tables in {engine.url} cannot be used by this Optuna: {error}") from error


def _optuna_study(storage: RDBStorage, row: StudyRow) -> int:
    directions = [DIRECTIONS[objective.direction] for objective in row.objectives]
    try:
        found = storage.get_study_id_from_name(row.name)
    except KeyError:
        return storage.create_new_study(directions, row.name)
    if storage.get_study_directions(found) != directions:
        raise SpecError(
            f"Optuna's tables hold another study named {row.name!r} with directions "
            f"{[d.name for d in storage.get_study_directions(found)]}; use --set study=NEW-NAME"
        )
    return found


# --- one trial --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Space:
    """What a study varies, as far as its study file says: name -> (log scale, declared values)."""

    names: Mapping[str, tuple[bool, Sequence[Any]]]

    @classmethod
    def of(cls, spec: Mapping[str, Any]) -> Space:
        """From the stored study file: everything searched, and whatever explicit configurations set."""
        points = [point for point in spec.get("configurations") or () if isinstance(point, Mapping)]
        baseline = (spec.get("confirm") or {}).get("baseline")
        points += [baseline] if isinstance(baseline, Mapping) else []
        search: Mapping[str, Any] = spec.get("search") or {}
        fixed: Mapping[str, Any] = spec.get("fixed") or {}
        names: dict[str, tuple[bool, Sequence[Any]]] = {}
        for name, (field, _) in hyperparameters().items():
            said = search.get(name)
            if said is None and not any(name in point for point in points):
                continue
            declared = list(said) if isinstance(said, (list, tuple)) else list(_get(said, "values", ()))
            default = spec.get("model", field.default) if name == "model" else fixed.get(name, field.default)
            declared += [point[name] for point in points if name in point] + [default]
            names[name] = (bool(_get(said, "log", False)), _distinct(declared))
        return cls(names)

    def distribution(self, name: str, value: Any) -> BaseDistribution | None:
        """A distribution that holds the value; None when Optuna could not store it.

        Optuna takes numbers with bounds of their own for each trial, but wants the categories of a
        parameter to be the same in all of them.
        """
        log, declared = self.names[name]
        kind = str(hyperparameters()[name][0].type).removesuffix(" | None")
        if kind in ("int", "float"):
            if value is None:
                return None
            numbers = [*(v for v in declared if isinstance(v, (int, float))), value]
            if log and min(numbers) <= 0:
                return None
            if kind == "int":
                return IntDistribution(int(min(numbers)), int(max(numbers)), log=log)
            return FloatDistribution(float(min(numbers)), float(max(numbers)), log=log)
        plain = [v for v in declared if v is None or isinstance(v, (bool, int, float, str))]
        return CategoricalDistribution(plain) if value in plain else None


def _get(said: Any, key: str, otherwise: Any) -> Any:
    return said.get(key, otherwise) if isinstance(said, Mapping) else otherwise


def _distinct(values: Sequence[Any]) -> list[Any]:
    return list({repr(value): value for value in values}.values())


def frozen(trial: TrialRow, space: Space, epoch_values: Mapping[int, float], objectives: int) -> FrozenTrial:
    """A finished trial of ours as Optuna stores one."""
    config = trial.config.as_dict()
    distributions = {name: space.distribution(name, config[name]) for name in space.names}
    known = {name: found for name, found in distributions.items() if found is not None}
    state, values = _state_and_values(trial, objectives)
    return FrozenTrial(
        number=-1,
        trial_id=-1,
        state=state,
        value=None,
        values=values or None,
        datetime_start=_local(trial.started_at or trial.created_at),
        datetime_complete=_local(trial.ended_at or trial.created_at),
        params={name: config[name] for name in known},
        distributions=known,
        user_attrs=_attributes(trial, {name: config[name] for name in space.names if name not in known}),
        system_attrs={},
        intermediate_values=dict(epoch_values),
    )


def _state_and_values(trial: TrialRow, objectives: int) -> tuple[TrialState, list[float]]:
    """Optuna takes all objective values or none, and no complete trial without."""
    state = STATES[trial.state]
    values = [value for value in trial.objective_values if value is not None and math.isfinite(value)]
    if len(values) != objectives or state is TrialState.FAIL:
        return (TrialState.FAIL if state is TrialState.COMPLETE else state), []
    return state, values


def expected(trial: TrialRow, epoch_values: Mapping[int, float], objectives: int) -> Mirrored:
    """What Optuna's tables should say of a finished trial."""
    state, values = _state_and_values(trial, objectives)
    return Mirrored(
        state.name, tuple(values), tuple((epoch, one_nan(value)) for epoch, value in sorted(epoch_values.items()))
    )


def _attributes(trial: TrialRow, left_out: dict[str, Any]) -> dict[str, Any]:
    said = {"reason": trial.reason, "verdict": trial.verdict_words, "fold": trial.fold}
    always = {
        MARK: trial.number,
        "configuration": trial.configuration,
        "seed": trial.seed,
        "replicate": trial.replicate,
    }
    return always | {name: value for name, value in said.items() if value is not None} | left_out


def _local(text: str) -> datetime:
    """Our UTC text as the naive local time that Optuna takes and turns into UTC."""
    return datetime.fromisoformat(text).astimezone().replace(tzinfo=None)

"""What Optuna's tables say of our trials, for whoever asks whether the mirror agrees; `mirror.py` writes them."""

from __future__ import annotations

import json
import math
from typing import NamedTuple

import sqlalchemy as sa

MARK = "harness_trial"  # user attribute with our trial's number: what is there is not added again
STUDIES = sa.table("studies", sa.column("study_id"), sa.column("study_name"))
TRIALS = sa.table("trials", sa.column("trial_id"), sa.column("study_id"), sa.column("state"))
ATTRIBUTES = sa.table("trial_user_attributes", *map(sa.column, ("trial_id", "key", "value_json")))
VALUES = sa.table("trial_values", *map(sa.column, ("trial_id", "objective", "value", "value_type")))
EPOCHS = sa.table(
    "trial_intermediate_values",
    *map(sa.column, ("trial_id", "step", "intermediate_value", "intermediate_value_type")),
)


def numbers(connection: sa.Connection, optuna_study: int) -> dict[int, int]:
    """Optuna's id -> our number of every mirrored trial: one query, where Optuna's own way reads every trial."""
    joined = ATTRIBUTES.join(TRIALS, TRIALS.c.trial_id == ATTRIBUTES.c.trial_id)
    query = sa.select(TRIALS.c.trial_id, ATTRIBUTES.c.value_json).select_from(joined)
    found = connection.execute(query.where(TRIALS.c.study_id == optuna_study, ATTRIBUTES.c.key == MARK))
    return {optuna_id: int(json.loads(value)) for optuna_id, value in found}


class Mirrored(NamedTuple):
    """What Optuna's tables say of one of our trials: its state, objective values, and the first one's by epoch."""

    state: str
    values: tuple[float, ...]
    epochs: tuple[tuple[int, float], ...]


def mirrored(connection: sa.Connection, study: str) -> dict[int, list[Mirrored]]:
    """Our trial's number -> its copies in Optuna's tables, of which there should be one."""
    if not sa.inspect(connection).has_table(VALUES.name):
        return {}
    optuna_study = connection.scalar(sa.select(STUDIES.c.study_id).where(STUDIES.c.study_name == study))
    if optuna_study is None:
        return {}
    query = sa.select(TRIALS.c.trial_id, TRIALS.c.state).where(TRIALS.c.study_id == optuna_study)
    states = {optuna_id: state for optuna_id, state in connection.execute(query)}
    values = _by_trial(connection, VALUES, optuna_study)
    epochs = _by_trial(connection, EPOCHS, optuna_study)
    found: dict[int, list[Mirrored]] = {}
    for optuna_id, number in numbers(connection, optuna_study).items():
        reached = tuple(value for _, value in values.get(optuna_id, []))
        found.setdefault(number, []).append(Mirrored(str(states[optuna_id]), reached, tuple(epochs.get(optuna_id, []))))
    return found


def _by_trial(
    connection: sa.Connection, table: sa.TableClause, optuna_study: int
) -> dict[int, list[tuple[int, float]]]:
    """Optuna's id -> (position, value) in order."""
    key, position, value, kind = table.c
    ours = sa.select(TRIALS.c.trial_id).where(TRIALS.c.study_id == optuna_study)
    query = sa.select(key, position, value, kind).where(key.in_(ours)).order_by(key, position)
    found: dict[int, list[tuple[int, float]]] = {}
    for optuna_id, at, number, kind_of in connection.execute(query):
        found.setdefault(optuna_id, []).append((at, _written(number, str(kind_of))))
    return found


def _written(number: float | None, kind: str) -> float:
    """A value as Optuna writes it: what is not finite stands beside it as a word."""
    if number is not None:
        return one_nan(float(number))
    return {"INF_POS": math.inf, "INF_NEG": -math.inf}.get(kind, math.nan)


def one_nan(number: float) -> float:
    """The number, where every NaN is the same object: tuples that hold it are then equal."""
    return math.nan if math.isnan(number) else number

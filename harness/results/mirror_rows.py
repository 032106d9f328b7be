"""One finished trial as rows of Optuna's tables, written in one transaction.

What `RDBStorage.create_new_trial` writes, without its walk through the trials that are there: that one counts them for
each new trial, and asks for the trial again before every parameter and attribute.
"""

from __future__ import annotations

import json

import sqlalchemy as sa
from optuna.distributions import distribution_to_json
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial

TRIALS = models.TrialModel.__table__


def insert(connection: sa.Connection, optuna_study: int, trial: FrozenTrial) -> None:
    """Add a trial at the end of a study; its number is the next one."""
    last = sa.select(TRIALS.c.number).where(TRIALS.c.study_id == optuna_study).order_by(TRIALS.c.trial_id.desc())
    before = connection.scalar(last.limit(1))
    added = connection.execute(
        TRIALS.insert().values(
            study_id=optuna_study,
            number=0 if before is None else before + 1,
            state=trial.state,
            datetime_start=trial.datetime_start,
            datetime_complete=trial.datetime_complete,
        )
    )
    assert added.inserted_primary_key is not None
    own = {"trial_id": int(added.inserted_primary_key[0])}
    for model, rows in (
        (models.TrialValueModel, _values(trial)),
        (models.TrialParamModel, _parameters(trial)),
        (models.TrialUserAttributeModel, _attributes(trial)),
        (models.TrialIntermediateValueModel, _epochs(trial)),
    ):
        if rows:
            connection.execute(model.__table__.insert(), [own | row for row in rows])


def _values(trial: FrozenTrial) -> list[dict[str, object]]:
    stored = [models.TrialValueModel.value_to_stored_repr(value) for value in trial.values or ()]
    return [{"objective": place, "value": value, "value_type": kind} for place, (value, kind) in enumerate(stored)]


def _parameters(trial: FrozenTrial) -> list[dict[str, object]]:
    return [
        {
            "param_name": name,
            "param_value": trial.distributions[name].to_internal_repr(value),
            "distribution_json": distribution_to_json(trial.distributions[name]),
        }
        for name, value in trial.params.items()
    ]


def _attributes(trial: FrozenTrial) -> list[dict[str, object]]:
    return [{"key": key, "value_json": json.dumps(value)} for key, value in trial.user_attrs.items()]


def _epochs(trial: FrozenTrial) -> list[dict[str, object]]:
    repr_of = models.TrialIntermediateValueModel.intermediate_value_to_stored_repr
    stored = [(step, *repr_of(value)) for step, value in trial.intermediate_values.items()]
    return [
        {"step": step, "intermediate_value": value, "intermediate_value_type": kind} for step, value, kind in stored
    ]

"""What the store hands out: rows as frozen values."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from harness.configuration import Objective, TrialConfig
from harness.results.tables import configuration, trial

FINISHED = ("complete", "pruned", "failed")
SCRIPT = "script:"
"""What `data.path` begins with in a study that a plain script wrote down: rows that only the script reads."""


def _shared(values: Mapping[str, Any] | sa.RowMapping) -> dict[str, Any]:
    """The values with each text once in memory, for the words of a hundred thousand trials are mostly the same."""
    return {name: sys.intern(value) if type(value) is str else value for name, value in values.items()}


@dataclass(frozen=True, slots=True)
class StudyRow:
    """A study as stored."""

    id: int
    name: str
    source: str
    task: str
    text: str
    spec: Mapping[str, Any]
    fingerprint: str
    objectives: tuple[Objective, ...]
    created_at: str

    @property
    def of_script(self) -> bool:
        """Whether a plain script trained its trials, so that nothing here can run them."""
        data = self.spec.get("data")
        return isinstance(data, Mapping) and str(data.get("path", "")).startswith(SCRIPT)

    @classmethod
    def read(cls, row: sa.RowMapping) -> StudyRow:
        """From a row of harness_study."""
        values = dict(row)
        values["objectives"] = tuple(Objective(**objective) for objective in values["objectives"])
        return cls(**values)


@dataclass(frozen=True, slots=True)
class TrialRow:
    """A trial as stored.

    Attributes:
        configuration: number of the configuration within the study.
        config: as asked.
        objective_values: one an objective, None where there is no finite value.
    """

    id: int
    study_id: int
    number: int
    configuration: int
    origin: str
    config: TrialConfig
    seed: int
    replicate: int
    fold: int | None
    state: str
    reason: str | None
    message: str
    attempt: int
    worker: str | None
    best_epoch: int | None
    best_loss_epoch: int | None
    objective: float | None
    objective_values: tuple[float | None, ...]
    train_seconds: float | None
    total_seconds: float | None
    verdict_words: str | None
    verdict_name: str | None
    model_folder: str | None
    created_at: str
    started_at: str | None
    ended_at: str | None

    @property
    def finished(self) -> bool:
        """Complete, pruned or failed: nothing more will happen."""
        return self.state in FINISHED

    @property
    def spared(self) -> bool:
        """Pruned before it was ever started; its message says why."""
        return self.state == "pruned" and not self.attempt

    @property
    def fingerprint(self) -> str:
        """Of the configuration as asked."""
        return self.config.fingerprint

    @classmethod
    def read(cls, row: sa.RowMapping) -> TrialRow:
        """From a row of `select_trials`."""
        values = _shared(row)
        values["config"] = TrialConfig.from_dict(_shared(values.pop("asked")))
        values["objective_values"] = tuple(values["objective_values"] or ())
        return cls(**values)


@dataclass(frozen=True, slots=True)
class Known:
    """What a night keeps in mind of a trial, be there ever so many: no configuration, no times, no words.

    Attributes:
        configuration: number of the configuration within the study.
        fingerprint: of the configuration as asked.
        begun: whether it was ever started.
    """

    id: int
    number: int
    configuration: int
    fingerprint: str
    replicate: int
    fold: int | None
    state: str
    objective: float | None
    begun: bool

    @property
    def finished(self) -> bool:
        """Complete, pruned or failed: nothing more will happen."""
        return self.state in FINISHED

    @classmethod
    def of(cls, trial: TrialRow) -> Known:
        """From the whole row."""
        run = (trial.replicate, trial.fold, trial.state, trial.objective, trial.attempt > 0)
        return cls(trial.id, trial.number, trial.configuration, trial.fingerprint, *run)


def select_trials() -> sa.Select[tuple[Any, ...]]:
    """The columns of a TrialRow, in order of trial number."""
    renamed = {"configuration": configuration.c.number, "origin": configuration.c.origin, "config": trial.c.asked}
    columns = [
        renamed[name].label("asked" if name == "config" else name) if name in renamed else trial.c[name]
        for name in TrialRow.__dataclass_fields__
    ]
    joined = trial.join(configuration, configuration.c.id == trial.c.configuration_id)
    return sa.select(*columns).select_from(joined).order_by(trial.c.study_id, trial.c.number)

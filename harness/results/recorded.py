"""One trial as it was recorded: what was really run, where, and every number that its epochs left. Reads only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa

from harness.records import EpochRecord
from harness.results.epoch_writes import MetricKey, stored_metrics, unpack
from harness.results.tables import adaptation, environment, epoch_record, prediction, trial


class Epoch(NamedTuple):
    """The numbers of an epoch that follow from configuration, seed, data and weights, and from no clock.

    Attributes:
        metrics: by (split, name, group).
        arrays: by (split, kind): outputs of validation and test rows, margins of training rows.
    """

    metrics: Mapping[MetricKey, float]
    arrays: Mapping[tuple[str, str], npt.NDArray[np.float32]]

    @classmethod
    def of(cls, record: EpochRecord) -> Epoch:
        """From what a worker tells of an epoch."""
        metrics = {(each.split, each.name, each.group): float(each.value) for each in record.metrics}
        arrays = {("validation", kind): values for kind, values in record.outputs.items()}
        arrays |= {("test", kind): values for kind, values in record.test_outputs.items()}
        if record.margins is not None:
            arrays["train", "margins"] = record.margins
        return cls(metrics, arrays)


class Ran(NamedTuple):
    """What was really run.

    Attributes:
        done: the values of a TrialFacts; None for a trial whose training never began.
        shared_work: what was taken from other trials' work; empty when nothing was.
        environment: the facts of the environment; empty where none is stored.
    """

    done: Mapping[str, Any] | None
    shared_work: Mapping[str, Any]
    environment: Mapping[str, Any]


def epochs(connection: sa.Connection, trial_id: int) -> dict[int, Epoch]:
    """Epoch -> its numbers.

    Raises:
        StorageError: when a stored array is damaged.
    """
    numbers = connection.scalars(
        sa.select(epoch_record.c.epoch).where(epoch_record.c.trial_id == trial_id).order_by(epoch_record.c.epoch)
    ).all()
    arrays: dict[int, dict[tuple[str, str], npt.NDArray[np.float32]]] = {number: {} for number in numbers}
    for row in connection.execute(sa.select(prediction).where(prediction.c.trial_id == trial_id)).mappings():
        arrays[row["epoch"]][row["split"], row["kind"]] = unpack(dict(row))
    return {number: Epoch(stored_metrics(connection, trial_id, number), arrays[number]) for number in numbers}


def ran(connection: sa.Connection, trial_id: int) -> Ran:
    """What was really run of a trial, and where."""
    joined = trial.outerjoin(environment, environment.c.id == trial.c.environment_id)
    columns = (trial.c.done, trial.c.shared_work, environment.c.facts)
    row = connection.execute(sa.select(*columns).select_from(joined).where(trial.c.id == trial_id)).one()
    return Ran(row.done, row.shared_work or {}, row.facts or {})


def adapted_key(connection: sa.Connection, study_id: int, model: str) -> str | None:
    """Name of the folder of the encoder that a study pretrained further; None where it did not."""
    at = (adaptation.c.study_id == study_id, adaptation.c.model == model)
    return connection.scalar(sa.select(adaptation.c.key).where(*at))

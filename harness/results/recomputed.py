"""Stored numbers worked out again from stored outputs: what a changed bit in the file cannot get past.

Every stored array has a checksum; the loss and accuracy of an epoch follow from its logits and the labels, on
validation rows and on test rows alike. Reads only, and one trial at a time: between two others can write.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import sqlalchemy as sa

from harness.errors import StorageError
from harness.metrics import cross_entropy
from harness.results import outcomes
from harness.results.epoch_writes import unpack
from harness.results.rows import StudyRow
from harness.results.tables import prediction, trial

TOLERANCE = 1e-3  # relative: losses were summed on the device, in its number format


def faults(engine: sa.Engine, row: StudyRow) -> Iterator[str]:
    """What is wrong with the stored outputs of a study."""
    of_study = sa.select(trial.c.id, trial.c.number).where(trial.c.study_id == row.id).order_by(trial.c.id)
    with engine.connect() as connection:
        found = connection.execute(of_study).all()
    for trial_id, number in found:
        with engine.connect() as connection:
            of_trial = list(_of_trial(connection, trial_id))
        yield from (f"{row.name}:{number}, {fault}" for fault in of_trial)


def _of_trial(connection: sa.Connection, trial_id: int) -> Iterator[str]:
    """The same of one trial, one array at a time."""
    keys = sa.select(prediction.c.epoch, prediction.c.split, prediction.c.kind)
    keys = keys.where(prediction.c.trial_id == trial_id).order_by(prediction.c.epoch)
    for epoch, split, kind in connection.execute(keys).all():
        where = f"epoch {epoch}"
        chosen = sa.select(prediction).where(
            prediction.c.trial_id == trial_id,
            prediction.c.epoch == epoch,
            prediction.c.split == split,
            prediction.c.kind == kind,
        )
        stored = connection.execute(chosen).mappings().one()
        try:
            values = unpack(dict(stored))
        except StorageError as error:
            yield f"{where}: {kind}: {error}"
            continue
        if kind == "logits":
            yield from (f"{where}: {fault}" for fault in _other_numbers(connection, trial_id, epoch, split, values))


def _other_numbers(connection: sa.Connection, trial_id: int, epoch: int, split: str, logits: Any) -> Iterator[str]:
    labels = outcomes.gold_labels(connection, trial_id, split)
    if labels is None or logits.ndim != 2 or len(logits) != len(labels) or labels.max() >= logits.shape[1]:
        return
    again = {
        "loss": float(cross_entropy(logits, labels).mean()),
        "accuracy": float((logits.argmax(axis=1) == labels).mean()),
    }
    for name, value in again.items():
        stored = outcomes.epoch_values(connection, trial_id, split, name).get(epoch)
        if stored is not None and not np.isclose(stored, value, rtol=TOLERANCE, atol=1e-6, equal_nan=True):
            yield f"{split} {name} is stored as {stored}, its logits say {value}"

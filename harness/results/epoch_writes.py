"""How an epoch is written: rows of one transaction, each written once and compared ever after.

Functions over a connection that `store.py` has opened.
"""

from __future__ import annotations

import math
import operator
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa

from harness.errors import StorageError, TrialFailure
from harness.records import EpochRecord, SpeedWindow
from harness.results.columns import utc_now
from harness.results.tables import epoch_record, metric, prediction, window

MetricKey = tuple[str, str, str]
EPOCH_FIELDS = (
    "epoch",
    "steps",
    "learning_rate",
    "train_seconds",
    "evaluate_seconds",
    "save_seconds",
    "validation_seconds",
    "evaluated_samples",
    "peak_memory_bytes",
    "flops",
    "load",
    "energy_joules",
    "energy_source",
)


def kind_of(value: float) -> str:
    """How a number is stored: finite, nan, +inf or -inf."""
    if math.isfinite(value):
        return "finite"
    return "nan" if math.isnan(value) else ("+inf" if value > 0 else "-inf")


def value_of(value: float | None, kind: str) -> float:
    """The inverse of `kind_of`: the number as it was measured."""
    return float(value) if value is not None else float(kind)


def pack(values: npt.NDArray[np.float32]) -> dict[str, Any]:
    """Shape, checksum and compressed bytes of an array of any shape; exact in float32."""
    raw = np.ascontiguousarray(values, dtype="<f4")
    shape = [int(length) for length in np.shape(values)]
    return {"shape": shape, "crc32": zlib.crc32(raw.tobytes()), "data": zlib.compress(raw.tobytes(), 6)}


def unpack(row: Mapping[str, Any]) -> npt.NDArray[np.float32]:
    """The array of `pack`.

    Raises:
        StorageError: when the bytes are not those that were written.
    """
    try:
        shape = [operator.index(length) for length in row["shape"]]
        size = 4 * math.prod(max(length, 0) for length in shape)
        stream = zlib.decompressobj()
        raw = stream.decompress(row["data"], size + 1)  # no more than the shape speaks of
        if len(raw) < size and not stream.eof:
            raise zlib.error("it ends too early")
    except (zlib.error, TypeError, OverflowError) as error:
        raise StorageError(f"a stored prediction cannot be decompressed ({error}): the database is damaged") from error
    if len(raw) != size or min(shape, default=0) < 0 or zlib.crc32(raw) != row["crc32"]:
        raise StorageError("a stored prediction does not match its checksum or its shape: the database is damaged")
    return np.frombuffer(raw, dtype="<f4").astype(np.float32).reshape(shape)


def stored_metrics(connection: sa.Connection, trial_id: int, epoch: int) -> dict[MetricKey, float]:
    """The metrics of a committed epoch by (split, name, group)."""
    chosen = sa.select(metric).where(metric.c.trial_id == trial_id, metric.c.epoch == epoch)
    rows = connection.execute(chosen).mappings()
    return {(row["split"], row["name"], row["grp"]): value_of(row["value"], row["kind"]) for row in rows}


def differences(stored: Mapping[MetricKey, float], record: EpochRecord) -> list[dict[str, Any]]:
    """The metrics in which a recomputed epoch differs, bit for bit, from the committed one."""
    computed = {(m.split, m.name, m.group): float(m.value) for m in record.metrics}
    found = []
    for key in sorted(stored.keys() | computed.keys()):
        old, new = stored.get(key), computed.get(key)
        if old is None or new is None or (old != new and not (math.isnan(old) and math.isnan(new))):
            found.append(
                {"split": key[0], "name": key[1], "group": key[2], "stored": _said(old), "computed": _said(new)}
            )
    return found


def _said(value: float | None) -> float | str | None:
    """A number for JSON, where a non-finite one is a word."""
    return value if value is None or math.isfinite(value) else kind_of(value)


def epoch_exists(connection: sa.Connection, trial_id: int, epoch: int) -> bool:
    """Whether the epoch is committed.

    Raises:
        TrialFailure: when epochs before it are missing, which only a fault in the trial can cause.
    """
    last = (
        connection.scalar(sa.select(sa.func.max(epoch_record.c.epoch)).where(epoch_record.c.trial_id == trial_id)) or 0
    )
    if epoch > last + 1:
        raise TrialFailure("crashed", f"epoch {epoch} came where epoch {last + 1} was due: an epoch's record is lost")
    return bool(epoch <= last)


def insert_epoch(connection: sa.Connection, trial_id: int, attempt: int, record: EpochRecord) -> None:
    """Everything that a new epoch leaves behind."""
    at = {"trial_id": trial_id, "epoch": record.epoch}
    values = {name: getattr(record, name) for name in EPOCH_FIELDS}
    connection.execute(
        sa.insert(epoch_record).values(trial_id=trial_id, attempt=attempt, recorded_at=utc_now(), **values)
    )
    metrics = [
        {**at, "split": m.split, "name": m.name, "grp": m.group, "value": m.value, "kind": kind_of(m.value)}
        for m in record.metrics
    ]
    if metrics:
        connection.execute(sa.insert(metric), metrics)
    windows = [{**at, "position": i, **w._asdict()} for i, w in enumerate(record.windows)]
    if windows:
        connection.execute(sa.insert(window), windows)
    outputs = [("validation", kind, array) for kind, array in record.outputs.items()]
    outputs += [("test", kind, array) for kind, array in record.test_outputs.items()]
    if record.margins is not None:
        outputs.append(("train", "margins", record.margins))
    for split, kind, array in outputs:
        connection.execute(sa.insert(prediction).values(**at, split=split, kind=kind, **pack(array)))


def take_epochs(connection: sa.Connection, trial_id: int) -> dict[str, Any]:
    """Remove the epochs of a trial and return them as values for an incident's details.

    Outputs and margins are not kept, only the number of their bytes: an incident is read as a whole.
    """
    size = sa.select(sa.func.sum(sa.func.length(prediction.c.data))).where(prediction.c.trial_id == trial_id)
    dropped = int(connection.scalar(size) or 0)
    records = connection.execute(
        sa.select(epoch_record).where(epoch_record.c.trial_id == trial_id).order_by(epoch_record.c.epoch)
    ).mappings()
    epochs = {row["epoch"]: {name: row[name] for name in row if name != "trial_id"} for row in records}
    for epoch, values in epochs.items():
        metrics = stored_metrics(connection, trial_id, epoch).items()
        values["metrics"] = [
            {"split": split, "name": name, "group": group, "value": _said(value)}
            for (split, name, group), value in sorted(metrics)
        ]
        values["windows"] = []
    measured = sa.select(window).where(window.c.trial_id == trial_id).order_by(window.c.epoch, window.c.position)
    for row in connection.execute(measured).mappings():
        kept = {name: row[name] for name in SpeedWindow._fields}
        epochs[row["epoch"]]["windows"].append(kept)
    for table in (metric, window, prediction, epoch_record):  # what hangs on an epoch goes before it
        connection.execute(sa.delete(table).where(table.c.trial_id == trial_id))
    return {"replaced_epochs": list(epochs.values()), "dropped_prediction_bytes": dropped}

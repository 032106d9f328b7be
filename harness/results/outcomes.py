"""What is concluded when a trial ends: best epochs, objective values, verdict. Reads, never writes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa

from harness.configuration import Objective
from harness.curves import Curve
from harness.folds import held_out
from harness.metrics import cross_entropy
from harness.records import TrialOutcome
from harness.results.epoch_writes import unpack, value_of
from harness.results.tables import data, epoch_record, example, metric, prediction, study, trial, window
from harness.verdicts import Verdict, judge

Floats = npt.NDArray[np.float64]
PHASES = ("load", "tokenise", "share", "train", "evaluate", "save", "total")


def epoch_values(connection: sa.Connection, trial_id: int, split: str, name: str) -> dict[int, float]:
    """Epoch -> value of one metric of all rows; non-finite values as measured."""
    rows = connection.execute(
        sa.select(metric.c.epoch, metric.c.value, metric.c.kind)
        .where(metric.c.trial_id == trial_id, metric.c.split == split, metric.c.name == name, metric.c.grp == "")
        .order_by(metric.c.epoch)
    )
    return {epoch: value_of(value, kind) for epoch, value, kind in rows}


def epoch_values_of(
    connection: sa.Connection, trial_ids: Sequence[int], split: str, name: str
) -> dict[int, dict[int, float]]:
    """Trial id -> what `epoch_values` gives; trials without a value are not in it."""
    rows = connection.execute(
        sa.select(metric.c.trial_id, metric.c.epoch, metric.c.value, metric.c.kind)
        .where(metric.c.trial_id.in_(trial_ids), metric.c.split == split, metric.c.name == name, metric.c.grp == "")
        .order_by(metric.c.trial_id, metric.c.epoch)
    )
    found: dict[int, dict[int, float]] = {}
    for trial_id, epoch, value, kind in rows:
        found.setdefault(trial_id, {})[epoch] = value_of(value, kind)
    return found


def conclude(
    connection: sa.Connection, trial_id: int, outcome: TrialOutcome, objectives: Sequence[Objective]
) -> dict[str, Any]:
    """The columns of harness_trial that follow from its epochs and its outcome."""
    best, best_loss, values = best_and_values(connection, trial_id, outcome.state, objectives, outcome.seconds)
    verdict = verdict_of(connection, trial_id, best_loss, outcome)
    return {
        "best_epoch": best,
        "best_loss_epoch": best_loss,
        "objective": values[0] if values else None,
        "objective_values": values,
        **({} if verdict is None else _verdict_columns(verdict)),
    }


def best_and_values(
    connection: sa.Connection,
    trial_id: int,
    state: str,
    objectives: Sequence[Objective],
    seconds: Mapping[str, float],
) -> tuple[int | None, int | None, list[float | None]]:
    """Best epoch by the objective and by the loss, and the value of every objective, from the stored epochs."""
    best = best_epoch(connection, trial_id, objectives)
    losses = epoch_values(connection, trial_id, "validation", "loss")
    values: list[float | None] = []
    if state != "failed":  # a failed trial is never best, whatever its early epochs said
        values = [objective_value(connection, trial_id, objective, best, seconds) for objective in objectives]
    return best, Objective("loss").best_epoch(losses), values


def _verdict_columns(verdict: Verdict) -> dict[str, Any]:
    return {
        "verdict_words": verdict.words,
        "verdict_name": verdict.name,
        "verdict_evidence": verdict.evidence,
        "verdict_version": verdict.version,
    }


def best_epoch(connection: sa.Connection, trial_id: int, objectives: Sequence[Objective]) -> int | None:
    """The best epoch by the first objective that has values by epoch; by validation loss when none has."""
    for objective in (*objectives, Objective("loss")):
        found = objective.best_epoch(epoch_values(connection, trial_id, "validation", objective.metric))
        if found is not None:
            return found
    return None


def objective_value(
    connection: sa.Connection, trial_id: int, objective: Objective, best: int | None, seconds: Mapping[str, float]
) -> float | None:
    """An objective's value at the best or last epoch, or the trial's cost of that name; None unless finite."""
    values = epoch_values(connection, trial_id, "validation", objective.metric)
    if values:
        epoch = best if objective.at == "best" else max(values)
        value = values.get(epoch) if epoch is not None else None
    else:
        value = cost(connection, trial_id, objective.metric, seconds)
    return float(value) if value is not None and math.isfinite(value) else None


def cost(connection: sa.Connection, trial_id: int, name: str, seconds: Mapping[str, float]) -> float | None:
    """A speed, time or size of the whole trial from its record; None when it was not measured."""
    if name.endswith("_seconds") and name.removesuffix("_seconds") in seconds:
        return seconds[name.removesuffix("_seconds")]
    if name in ("trainable_parameters", "total_parameters"):
        found = connection.scalar(sa.select(trial.c[name]).where(trial.c.id == trial_id))
        return None if found is None else float(found)
    record, sums = epoch_record.c, sa.func.sum
    queries: dict[str, sa.ColumnElement[Any]] = {
        "train_samples_per_second": sums(window.c.samples) / sa.func.nullif(sums(window.c.seconds), 0),
        "tokens_per_second": sums(window.c.tokens) / sa.func.nullif(sums(window.c.seconds), 0),
        "eval_samples_per_second": sums(record.evaluated_samples) / sa.func.nullif(sums(record.validation_seconds), 0),
        "peak_memory_bytes": sa.func.max(record.peak_memory_bytes),
        "train_seconds": sums(record.train_seconds),
        "epoch_seconds": sa.func.avg(record.train_seconds + record.evaluate_seconds + record.save_seconds),
    }
    if name not in queries:
        return None
    table = window if name in ("train_samples_per_second", "tokens_per_second") else epoch_record
    found = connection.scalar(sa.select(queries[name]).where(table.c.trial_id == trial_id))
    return None if found is None else float(found)


def verdict_of(
    connection: sa.Connection, trial_id: int, best_loss: int | None, outcome: TrialOutcome
) -> Verdict | None:
    """The verdict on the stored curve, with the paired test where logits were kept; None without epochs."""
    record = epoch_record.c
    seconds = record.train_seconds + record.evaluate_seconds + record.save_seconds
    rows = connection.execute(
        sa.select(record.epoch, seconds).where(record.trial_id == trial_id).order_by(record.epoch)
    ).all()
    if not rows:
        return None
    epochs = range(1, rows[-1][0] + 1)
    by_epoch = {epoch: took for epoch, took in rows}
    train = epoch_values(connection, trial_id, "train", "loss")
    validation = epoch_values(connection, trial_id, "validation", "loss")
    last = max(validation, default=None)
    compared = best_loss is not None and last is not None and last > best_loss
    return judge(
        Curve(
            train_loss=[train.get(epoch) for epoch in epochs],
            validation_loss=[validation.get(epoch) for epoch in epochs],
            epoch_seconds=[by_epoch.get(epoch) for epoch in epochs],
            best_examples=example_losses(connection, trial_id, best_loss) if compared else None,
            last_examples=example_losses(connection, trial_id, last) if compared else None,
            diverged=outcome.reason == "diverged",
            chance_loss=chance_loss(connection, trial_id),
        )
    )


def chance_loss(connection: sa.Connection, trial_id: int) -> float | None:
    """Validation loss of always answering with the validation labels' shares: their entropy in nats.

    None where the labels are not stored.
    """
    labels = gold_labels(connection, trial_id)
    if labels is None:
        return None
    shares = np.unique(labels, return_counts=True)[1] / labels.size
    return float(-(shares * np.log(shares)).sum())


def example_losses(connection: sa.Connection, trial_id: int, epoch: int | None) -> Floats | None:
    """Loss of each validation example, shape (examples,): as stored, or from the stored logits of a classification.

    None where neither is there, or where logits are not one row an example and one column a label.
    """
    chosen = sa.select(prediction).where(
        prediction.c.trial_id == trial_id,
        prediction.c.epoch == epoch,
        prediction.c.split == "validation",
        prediction.c.kind.in_(("losses", "logits")),
    )
    stored = {row["kind"]: unpack(dict(row)) for row in connection.execute(chosen).mappings()}
    if "losses" in stored:
        return np.asarray(stored["losses"], np.float64)
    if "logits" not in stored:
        return None
    logits, labels = stored["logits"], gold_labels(connection, trial_id)
    if labels is None or logits.ndim != 2 or len(logits) != len(labels) or labels.max() >= logits.shape[1]:
        return None
    return cross_entropy(logits, labels)


def gold_labels(connection: sa.Connection, trial_id: int, part: str = "validation") -> npt.NDArray[np.int64] | None:
    """Class ids of the examples that a trial validates on, in their order, shape (examples,); None when not stored.

    Those of a fold are the training examples that it holds out. With `part="test"`, those of the test rows.
    """
    owner = connection.execute(
        sa.select(trial.c.study_id, trial.c.fold, study.c.spec).join(study).where(trial.c.id == trial_id)
    ).one()
    folded = owner.fold is not None and part == "validation"
    split = "train" if folded else part
    names = connection.scalar(sa.select(data.c.label_names).where(data.c.study_id == owner.study_id))
    labels = connection.scalars(
        sa.select(example.c.label)
        .where(example.c.study_id == owner.study_id, example.c.split == split)
        .order_by(example.c.position)
    ).all()
    if not names or not labels or not set(labels) <= set(names):
        return None
    number = {name: i for i, name in enumerate(names)}
    found = np.array([number[label] for label in labels], dtype=np.int64)
    if not folded:
        return found
    folds, seed = owner.spec["data"].get("folds"), owner.spec["seed"]
    return found[held_out(found, owner.fold, folds, seed[0] if isinstance(seed, list) else seed)]

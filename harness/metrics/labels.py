"""Metrics of predicted classes: accuracy, precision, recall, F1, correlation; and the loss of each example.

Pure functions over class ids. With two classes precision, recall and F1 speak of one of them, the positive one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.metrics.registry import metric

IntArray = npt.NDArray[np.int64]


def confusion(predictions: Any, references: Any, num_labels: int) -> IntArray:
    """Counts of (reference, prediction), shape (labels, labels); rows are references.

    Raises:
        ValueError: for shapes that differ or class ids outside 0 .. num_labels - 1.
    """
    predicted, true = _ids(predictions), _ids(references)
    if predicted.shape != true.shape:
        raise ValueError(f"predictions {predicted.shape} and references {true.shape} must have one shape (examples,)")
    for what, ids in (("predictions", predicted), ("references", true)):
        if ids.size and not (0 <= ids.min() and ids.max() < num_labels):
            raise ValueError(f"{what} must lie in 0 .. {num_labels - 1}, got {ids.min()} .. {ids.max()}")
    return np.bincount(true * num_labels + predicted, minlength=num_labels**2).reshape(num_labels, num_labels)


def _ids(values: Any) -> IntArray:
    return np.asarray(values, dtype=np.int64).reshape(-1)


def _ratio(numerator: float, denominator: float) -> float:
    return float(numerator) / float(denominator) if denominator else math.nan


@dataclass(frozen=True, slots=True)
class _Counts:
    """Of one class: true positives, rows predicted so, rows that are so."""

    hits: int
    predicted: int
    true: int

    @property
    def precision(self) -> float:
        return _ratio(self.hits, self.predicted)

    @property
    def recall(self) -> float:
        return _ratio(self.hits, self.true)

    @property
    def f1(self) -> float:
        return _ratio(2 * self.hits, self.predicted + self.true)


def _classes(table: IntArray) -> Iterator[_Counts]:
    for k in range(len(table)):
        yield _Counts(int(table[k, k]), int(table[:, k].sum()), int(table[k].sum()))


def _positive(table: IntArray, positive: int | None) -> _Counts:
    return list(_classes(table))[len(table) - 1 if positive is None else positive]


def _mean(values: list[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan


@metric(output="labels", higher_is_better=True, unit="fraction")
def accuracy(predictions: Any, references: Any, *, num_labels: int) -> float:
    """Share of examples labelled correctly; NaN when there are none.

    Args:
        predictions: class ids, shape (examples,).
        references: class ids, shape (examples,).
        num_labels: number of classes.
    """
    table = confusion(predictions, references, num_labels)
    return _ratio(int(np.trace(table)), int(table.sum()))


@metric(output="labels", higher_is_better=True, unit="fraction")
def precision(predictions: Any, references: Any, *, positive: int | None, num_labels: int) -> float:
    """Share of the rows predicted `positive` that are so; beyond two classes the mean over classes.

    NaN when the class was never predicted (0 of 0). The mean leaves out classes that neither occur
    nor were predicted, and is NaN when a class that occurs was never predicted: leaving that class
    out would reward a model for ignoring it, and 0.0 would be an invention.

    Args:
        predictions: class ids, shape (examples,).
        references: class ids, shape (examples,).
        positive: the class spoken of with two classes; None takes the highest.
        num_labels: number of classes.
    """
    table = confusion(predictions, references, num_labels)
    if num_labels == 2:
        return _positive(table, positive).precision
    return _mean([c.precision for c in _classes(table) if c.predicted or c.true])


@metric(output="labels", higher_is_better=True, unit="fraction")
def recall(predictions: Any, references: Any, *, positive: int | None, num_labels: int) -> float:
    """Share of the `positive` rows that were found; beyond two classes the mean over classes.

    NaN when no row is of the class. The mean is over the classes that occur (balanced accuracy).

    Args:
        predictions: class ids, shape (examples,).
        references: class ids, shape (examples,).
        positive: the class spoken of with two classes; None takes the highest.
        num_labels: number of classes.
    """
    table = confusion(predictions, references, num_labels)
    if num_labels == 2:
        return _positive(table, positive).recall
    return _mean([c.recall for c in _classes(table) if c.true])


@metric(output="labels", higher_is_better=True, unit="fraction")
def f1(predictions: Any, references: Any, *, positive: int | None, num_labels: int) -> float:
    """F1 of the `positive` class with two classes, macro F1 beyond.

    2 TP / (2 TP + FP + FN), which is 0.0 (and defined) for a class that occurs and was never
    found; NaN when it neither occurs nor was predicted.

    Args:
        predictions: class ids, shape (examples,).
        references: class ids, shape (examples,).
        positive: the class spoken of with two classes; None takes the highest.
        num_labels: number of classes.
    """
    table = confusion(predictions, references, num_labels)
    return _positive(table, positive).f1 if num_labels == 2 else _macro_f1(table)


@metric(output="labels", higher_is_better=True, unit="fraction")
def macro_f1(predictions: Any, references: Any, *, num_labels: int) -> float:
    """Mean of the classes' F1 over the classes that occur or were predicted; NaN without rows.

    The mean of F1s, not the F1 of means; see Opitz and Burst, "Macro F1 and Macro F1", 2019,
    arXiv:1911.03347.

    Args:
        predictions: class ids, shape (examples,).
        references: class ids, shape (examples,).
        num_labels: number of classes.
    """
    return _macro_f1(confusion(predictions, references, num_labels))


def _macro_f1(table: IntArray) -> float:
    return _mean([c.f1 for c in _classes(table) if c.predicted or c.true])


@metric(output="labels", higher_is_better=True, unit="correlation")
def mcc(predictions: Any, references: Any, *, num_labels: int) -> float:
    """Matthews correlation of predictions and references, -1 to 1, for any number of classes.

    NaN when either is constant: a correlation with a constant is 0 / 0.
    Reference: Gorodkin, "Comparing two K-category assignments by a K-category correlation
    coefficient", 2004, doi:10.1016/j.compbiolchem.2004.09.006 (R_K).

    Args:
        predictions: class ids, shape (examples,).
        references: class ids, shape (examples,).
        num_labels: number of classes.
    """
    table = confusion(predictions, references, num_labels).astype(np.float64)
    rows, true, predicted = table.sum(), table.sum(axis=1), table.sum(axis=0)
    covariance = rows * np.trace(table) - true @ predicted
    spread = math.sqrt((rows**2 - predicted @ predicted) * (rows**2 - true @ true))
    return _ratio(float(covariance), spread)


def cross_entropy(logits: npt.ArrayLike, references: Any) -> npt.NDArray[np.float64]:
    """Loss of each example in nats, in float64: minus the log-probability of its class, shape (examples,).

    Their mean is the validation loss of a classification; tests of a curve pair them.

    Args:
        logits: shape (examples, labels).
        references: class ids, shape (examples,).
    """
    table = np.asarray(logits, np.float64)
    shifted = table - table.max(axis=1, keepdims=True)  # exp of the largest is 1: nothing overflows
    gold = shifted[np.arange(len(table)), _ids(references)]
    return np.asarray(np.log(np.exp(shifted).sum(axis=1)) - gold, np.float64)

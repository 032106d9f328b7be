"""Metrics: what each scores, which way is better, its unit, and when it is undefined.

Pure functions over predictions and references. Turning logits into predictions is the task's work
(`tasks/`), the loss is the task's too; only its manners stand here. Every fraction is a fraction:
points (times 100) are made where a report is printed.

What is not defined is NaN, never 0.0: a metric of no rows, the precision of a class that was never
predicted, a correlation with a constant. An undefined metric is missing; it does not mean that
training diverged, which only the loss can say.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Direction = Literal["minimize", "maximize"]
IntArray = npt.NDArray[np.int64]

TASK, COST = "task", "cost"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric and its manners.

    Attributes:
        name: as in study file, database and report.
        output: the kind of predictions it scores ("labels", ...), "task" for the loss, "cost" for
            what a trial costs.
        higher_is_better: direction of improvement.
        unit: fraction, nats, correlation, seconds, bytes, parameters or a rate.
        doc: the first line of its documentation.
        compute: the function, or None where the value is measured elsewhere.
        needs: keyword arguments that it takes beside predictions and references.
    """

    name: str
    output: str
    higher_is_better: bool
    unit: str
    doc: str
    compute: Callable[..., float] | None = None
    needs: tuple[str, ...] = ()

    @property
    def direction(self) -> Direction:
        """The word that Optuna and the study file use."""
        return "maximize" if self.higher_is_better else "minimize"


_registry: dict[tuple[str, str], Metric] = {}


def _register(entry: Metric) -> None:
    for other in _registry.values():
        if other.name == entry.name and other.higher_is_better != entry.higher_is_better:
            raise ValueError(f"metric {entry.name!r} of {entry.output!r} and of {other.output!r} differ in direction")
    if (entry.output, entry.name) in _registry:
        raise ValueError(f"metric {entry.name!r} of {entry.output!r} is registered already")
    _registry[entry.output, entry.name] = entry


def metric(*, output: str, higher_is_better: bool, unit: str) -> Callable[[Callable[..., float]], Callable[..., float]]:
    """Register a function (predictions, references, *, ...) as a metric of that kind of output.

    It is called by its own name; keyword-only parameters among `positive` and `num_labels` are
    handed to it by `evaluate`.

    Raises:
        ValueError: for a name taken, or one whose direction differs from that of another output.
    """

    def add(compute: Callable[..., float]) -> Callable[..., float]:
        parameters = inspect.signature(compute).parameters.values()
        needs = tuple(p.name for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY)
        doc = (inspect.getdoc(compute) or "").partition("\n")[0]
        _register(Metric(compute.__name__, output, higher_is_better, unit, doc, compute, needs))
        return compute

    return add


def metrics_of(output: str) -> dict[str, Metric]:
    """Name -> metric of one kind of output, in order of registration; empty for an unknown kind."""
    return {name: entry for (kind, name), entry in _registry.items() if kind == output}


def known(output: str | None = None) -> tuple[str, ...]:
    """Names that an objective may have: loss, metrics (of `output`, if given) and costs, each once."""
    kinds = None if output is None else {output, TASK, COST}
    return tuple(dict.fromkeys(name for kind, name in _registry if kinds is None or kind in kinds))


def costs() -> dict[str, Metric]:
    """Name -> what a trial costs: seconds, bytes, parameters, rates."""
    return metrics_of(COST)


def lookup(name: str) -> Metric:
    """The manners of a metric by its name alone; they agree between outputs in direction.

    Raises:
        KeyError: for an unknown name, with the known ones.
    """
    for entry in _registry.values():
        if entry.name == name:
            return entry
    raise KeyError(f"unknown metric {name!r}; known are {', '.join(known())}")


def direction(name: str) -> Direction:
    """Which way `name` improves.

    Raises:
        KeyError: for an unknown name, with the known ones.
    """
    return lookup(name).direction


def evaluate(
    output: str, predictions: Any, references: Any, *, positive: int | None, num_labels: int
) -> dict[str, float]:
    """Every metric of one kind of output.

    Args:
        output: kind of predictions, such as "labels".
        predictions: for labels class ids, shape (examples,).
        references: the same of the truth, shape (examples,).
        positive: class that binary precision, recall and f1 speak of; None takes the highest class.
        num_labels: number of classes of the task, whether they occur here or not.

    Raises:
        ValueError: for shapes that differ or class ids outside 0 .. num_labels - 1.
    """
    given = {"positive": positive, "num_labels": num_labels}
    scores: dict[str, float] = {}
    for name, entry in metrics_of(output).items():
        if entry.compute is not None:
            scores[name] = float(entry.compute(predictions, references, **{key: given[key] for key in entry.needs}))
    return scores


# --- class labels -------------------------------------------------------------------------------


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


# --- the loss and the costs: measured elsewhere, known here ---------------------------------------

for _entry in (
    Metric("loss", TASK, False, "nats", "Mean validation loss of the task."),
    Metric("train_seconds", COST, False, "seconds", "Forward, backward and optimiser steps of the whole trial."),
    Metric("total_seconds", COST, False, "seconds", "Wall clock of the whole trial."),
    Metric("epoch_seconds", COST, False, "seconds", "Mean wall clock of an epoch."),
    Metric("peak_memory_bytes", COST, False, "bytes", "Highest memory in use on the device."),
    Metric("trainable_parameters", COST, False, "parameters", "Parameters that the optimiser changes."),
    Metric("train_samples_per_second", COST, True, "samples/s", "Training rows a second in steady windows."),
    Metric("eval_samples_per_second", COST, True, "samples/s", "Validation rows a second."),
    Metric("tokens_per_second", COST, True, "tokens/s", "Real training tokens a second in steady windows."),
):
    _register(_entry)

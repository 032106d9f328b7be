"""What metrics there are: the kind of output that each scores, which way is better, its unit.

The functions stand in the files beside this one, one for each kind of output. The loss and the costs of a
trial are measured elsewhere; only their manners stand here.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

Direction = Literal["minimize", "maximize"]

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


def registered() -> tuple[Metric, ...]:
    """Every metric of every kind of output, the loss and the costs; a name may stand there for several kinds."""
    return tuple(_registry.values())


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

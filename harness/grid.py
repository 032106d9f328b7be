"""The space of a study as a grid: its size, its points, and how many trials there will be. Without Optuna."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from harness.configuration import TrialConfig
from harness.spec import Choice, Range, StudySpec

ENUMERABLE = 100_000  # points; beyond this a grid is sampled, however large the budget


def grid_values(dimension: Choice | Range) -> list[Any]:
    """All values of a dimension that has finitely many."""
    if isinstance(dimension, Choice):
        return list(dimension.values)
    step = dimension.step or 1
    count = math.floor((dimension.high - dimension.low) / step + 1e-9) + 1
    values = [dimension.low + i * step for i in range(count)]
    return [int(v) for v in values] if dimension.integer else values


def grid_size(space: Mapping[str, Choice | Range]) -> int | None:
    """Number of points, or None when a dimension is continuous or logarithmic."""
    size = 1 if space else 0
    for dimension in space.values():
        if isinstance(dimension, Range) and (dimension.log or (dimension.step is None and not dimension.integer)):
            return None
        size *= len(grid_values(dimension))
    return size


def contains(dimension: Choice | Range, value: Any) -> bool:
    """Whether a value lies in a dimension, whatever its step."""
    if isinstance(dimension, Choice):
        return value in dimension.values
    return isinstance(value, int | float) and dimension.low <= value <= dimension.high


def folds(spec: StudySpec) -> Sequence[int | None]:
    """The folds of each configuration; one None without cross-validation."""
    return range(spec.data.folds) if spec.data.folds else (None,)


def runs(spec: StudySpec) -> list[tuple[int, int | None]]:
    """(replicate, fold) of every trial that a configuration is owed."""
    return list(itertools.product(range(max(spec.replicates, len(spec.seeds))), folds(spec)))


def enumerated(spec: StudySpec) -> bool:
    """Whether the space is a grid small enough to be walked through instead of sampled with repeats."""
    size = grid_size(spec.search)
    if not size:
        return False
    if spec.sampler == "grid":
        return True
    budget = spec.budget.trials
    return size <= ENUMERABLE and (budget is None or size * len(runs(spec)) <= budget)


def points(spec: StudySpec) -> list[TrialConfig]:
    """Every point of the grid, shuffled by the study's seed so that half a night sees all of the space."""
    if not enumerated(spec):
        return []
    names = list(spec.search)
    values = list(itertools.product(*(grid_values(spec.search[name]) for name in names)))
    order = np.random.default_rng(spec.seeds[0]).permutation(len(values))
    return [spec.complete(dict(zip(names, values[i], strict=True))) for i in order]


def total(spec: StudySpec) -> int | None:
    """How many trials the search will have; None while only time bounds it."""
    if spec.search and not enumerated(spec):
        return spec.budget.trials
    prints = _listed(spec)
    everything = len(prints) * len(runs(spec))
    return everything if spec.budget.trials is None else min(everything, spec.budget.trials)


def confirming(spec: StudySpec) -> int:
    """How many trials come on top once the search is over, if it has enough configurations that end well."""
    if spec.confirm is None:
        return 0
    baseline = None if spec.confirm.baseline is None else spec.complete(spec.confirm.baseline).fingerprint
    known = spec.confirm.top
    if not spec.search or enumerated(spec):
        known = min(known, len(_listed(spec) - {baseline}))
    return (known + (baseline is not None)) * spec.confirm.seeds * len(folds(spec))


def whole(spec: StudySpec, chosen: int | None = None) -> int | None:
    """Trials of search and confirmation; `chosen` are those that confirm, once that is known."""
    searched = total(spec)
    return None if searched is None else searched + (confirming(spec) if chosen is None else chosen)


def _listed(spec: StudySpec) -> set[str]:
    """Fingerprints of the explicit configurations and of the grid."""
    return {config.fingerprint for config in itertools.chain(spec.explicit(), points(spec))}

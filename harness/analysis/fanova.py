"""fANOVA: the share of an objective's variance that each parameter explains alone, read off a random forest.

The shares are those of `optuna.importance.FanovaImportanceEvaluator`, which walks through each tree in Python; here a
tree is an array of boxes, so that the many shuffled forests of `search.importance` take a second instead of many.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.ensemble import RandomForestRegressor

from harness.analysis.parameters import is_numeric, values

TREES, DEPTH = 32, 16

Floats = npt.NDArray[np.float64]


class Encoded(NamedTuple):
    """Parameters as a forest takes them.

    Attributes:
        table: a number as it is, a category as one column a level, shape (trials, columns).
        bounds: lowest and highest value of each column, shape (columns, 2).
        owned: the columns of each parameter.
    """

    table: Floats
    bounds: Floats
    owned: list[list[int]]


class Leaves(NamedTuple):
    """A tree as its leaves: each predicts `value` within the box above `low` up to `high`, shape (leaves, columns)."""

    value: Floats
    low: Floats
    high: Floats


def encoded(trials: pd.DataFrame, names: Sequence[str]) -> Encoded:
    """The named parameters, of which each must vary."""
    parts: list[Floats] = []
    owned: list[list[int]] = []
    for name in names:
        column = values(trials[name])
        if is_numeric(column):
            part = column.to_numpy(dtype=np.float64)[:, None]
        else:
            given = column.tolist()
            levels = sorted(set(given), key=str)
            part = np.array([[float(value == level) for level in levels] for value in given])
        first = sum(each.shape[1] for each in parts)
        owned.append(list(range(first, first + part.shape[1])))
        parts.append(part)
    table = np.hstack(parts)
    return Encoded(table, np.stack([table.min(axis=0), table.max(axis=0)], axis=1), owned)


def shares(given: Encoded, target: Floats, seed: int) -> Floats:
    """Share of each parameter in what all explain alone, summing to 1, shape (parameters,).

    References: Hutter, Hoos and Leyton-Brown, "An Efficient Approach for Assessing Hyperparameter Importance", 2014
    """
    forest = RandomForestRegressor(n_estimators=TREES, max_depth=DEPTH, random_state=seed).fit(given.table, target)
    explained = []
    for estimator in forest.estimators_:
        leaves = leaves_of(estimator.tree_, given.bounds)
        total = _variance(leaves.value, np.prod(leaves.high - leaves.low, axis=1))
        if total > 0:  # a tree that predicts one number everywhere says nothing
            explained.append([_alone(leaves, given.bounds, columns) / total for columns in given.owned])
    found = np.mean(explained, axis=0) if explained else np.zeros(len(given.owned))
    return np.asarray(found / found.sum() if found.sum() > 0 else np.full(len(found), 1 / len(found)), np.float64)


def leaves_of(tree: object, bounds: Floats) -> Leaves:
    """The boxes of scikit-learn's tree within the bounds, level by level from the root."""
    feature, threshold, left, right, value = (
        np.asarray(getattr(tree, name)) for name in ("feature", "threshold", "children_left", "children_right", "value")
    )
    low = np.repeat(bounds[None, :, 0], len(feature), axis=0)
    high = np.repeat(bounds[None, :, 1], len(feature), axis=0)
    level = np.array([0])
    while len(level := level[feature[level] >= 0]):
        for child in (left[level], right[level]):
            low[child], high[child] = low[level], high[level]
        high[left[level], feature[level]] = threshold[level]
        low[right[level], feature[level]] = threshold[level]
        level = np.concatenate([left[level], right[level]])
    leaf = feature < 0
    return Leaves(value[leaf].reshape(-1).astype(np.float64), low[leaf], high[leaf])


def _alone(leaves: Leaves, bounds: Floats, columns: list[int]) -> float:
    """Variance of the prediction over those columns, averaged over all others."""
    others = np.setdiff1d(np.arange(len(bounds)), columns)
    volume = np.prod(leaves.high[:, others] - leaves.low[:, others], axis=1)
    inside, size = np.ones((1, len(volume)), dtype=bool), np.ones(1)  # of each cell of the columns' grid
    for column in columns:
        cuts = np.unique(np.concatenate([bounds[column], leaves.low[:, column], leaves.high[:, column]]))
        middle = (cuts[1:] + cuts[:-1])[:, None] / 2
        within = (middle > leaves.low[:, column]) & (middle <= leaves.high[:, column])
        inside = (inside[:, None, :] & within[None, :, :]).reshape(-1, len(volume))
        size = np.multiply.outer(size, np.diff(cuts)).reshape(-1)
    weight = inside @ volume
    return _variance(inside @ (volume * leaves.value) / weight, weight * size)


def _variance(value: Floats, weight: Floats) -> float:
    mean = np.average(value, weights=weight)
    return float(np.average((value - mean) ** 2, weights=weight))

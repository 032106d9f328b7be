"""Differences that should hold for further seeds and further examples at once, from scores of every seed on every one.

Seeds and examples are crossed: all seeds were evaluated on the same examples. A mean over seeds forgets that the
examples are a sample too, a mean over examples forgets the seeds; both forget something that `crossed_t` counts.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import special

from harness.analysis.statistics import LEVEL, RESAMPLES, Difference, Floats, t_quantile


class Spread(NamedTuple):
    """Mean squares of a table (seeds, examples) of differences, each an estimate of a variance.

    Attributes:
        seeds: examples * variance of the seeds' means.
        examples: seeds * variance of the examples' means.
        rest: what neither explains.
    """

    seeds: float
    examples: float
    rest: float


def spread(table: Floats) -> Spread:
    """The mean squares of a two-way layout with one value a cell.

    Reference: Searle, Casella and McCulloch, "Variance Components", 1992, section 4.7, doi:10.1002/9780470316856.

    Args:
        table: differences, shape (seeds, examples), at least 2 of each.
    """
    seeds, examples = table.shape
    by_seed, by_example, mean = table.mean(axis=1), table.mean(axis=0), table.mean()
    rest = table - by_seed[:, None] - by_example + mean
    return Spread(
        examples * float(((by_seed - mean) ** 2).sum()) / (seeds - 1),
        seeds * float(((by_example - mean) ** 2).sum()) / (examples - 1),
        float((rest**2).sum()) / ((seeds - 1) * (examples - 1)),
    )


def crossed_t(a: npt.ArrayLike, b: npt.ArrayLike, level: float = LEVEL) -> Difference:
    """Mean of a minus mean of b with seeds and examples both counted as samples; `n` is the number of seeds.

    The variance of the mean is (MS seeds + MS examples - MS rest) / (seeds * examples), taken as at least that of
    seeds or examples alone; the degrees of freedom follow Satterthwaite. Undefined (NaN bounds) for fewer than two
    seeds or examples, and for differences that do not vary; p = 1 where there is no difference at all.
    References: Clark, "The Language-as-Fixed-Effect Fallacy", 1973, doi:10.1016/S0022-5371(73)80014-3;
    Satterthwaite, 1946, doi:10.2307/3002019.

    Args:
        a, b: score of every seed on every example, shape (seeds, examples).
        level: coverage of the interval.

    Raises:
        ValueError: for shapes that differ, or values that are not finite: leave such a seed out on both sides.
    """
    table = _differences(a, b)
    seeds, examples = table.shape
    mean = float(table.mean()) if table.size else math.nan
    if table.size and not table.any():
        return Difference(0.0, 0.0, 0.0, 1.0, seeds)
    if min(seeds, examples) < 2:
        return Difference(mean, math.nan, math.nan, math.nan, seeds)
    squares = spread(table)
    total = max(squares.seeds + squares.examples - squares.rest, squares.seeds, squares.examples)
    if total <= 1e-24 * mean**2:
        return Difference(mean, math.nan, math.nan, math.nan, seeds)
    degrees = total**2 / (
        squares.seeds**2 / (seeds - 1)
        + squares.examples**2 / (examples - 1)
        + squares.rest**2 / ((seeds - 1) * (examples - 1))
    )
    degrees = max(degrees, float(min(seeds, examples) - 1))
    error = math.sqrt(total / table.size)
    half = t_quantile(degrees, level) * error
    return Difference(mean, mean - half, mean + half, 2 * float(special.stdtr(degrees, -abs(mean) / error)), seeds)


def hierarchical_bootstrap(
    a: npt.ArrayLike, b: npt.ArrayLike, resamples: int = RESAMPLES, seed: int = 0, level: float = LEVEL
) -> Difference:
    """Mean of a minus mean of b, seeds and examples drawn anew together; `n` is the number of seeds.

    Student's interval with the standard error of the draws, widened for few seeds. It needs no model of the scores,
    and pays for it: noise that is neither the seed's nor the example's counts up to three times, so that the interval
    is never too narrow and often too wide (measured in docs/statistics.md). `crossed_t` is close to its level.
    References: Owen, "The Pigeonhole Bootstrap", 2007, doi:10.1214/07-AOAS122; Efron and Tibshirani, "An Introduction
    to the Bootstrap", 1993, section 12.2 (the interval); Hesterberg, "What Teachers Should Know about the
    Bootstrap", 2015, doi:10.1080/00031305.2015.1089789 (the widening).

    Args:
        a, b: score of every seed on every example, shape (seeds, examples).
        resamples: number of bootstrap samples.
        seed: of the draws.
        level: coverage of the interval.

    Raises:
        ValueError: for shapes that differ, or values that are not finite: leave such a seed out on both sides.
    """
    table = _differences(a, b)
    seeds = len(table)
    mean = float(table.mean()) if table.size else math.nan
    if table.size and not table.any():
        return Difference(0.0, 0.0, 0.0, 1.0, seeds)
    if table.size == 0 or seeds < 2:
        return Difference(mean, math.nan, math.nan, math.nan, seeds)
    error = float(pigeonhole_means(table, resamples, seed).std(ddof=1)) * math.sqrt(seeds / (seeds - 1))
    if error <= 1e-12 * abs(mean):
        return Difference(mean, math.nan, math.nan, math.nan, seeds)
    half = t_quantile(seeds - 1, level) * error
    return Difference(mean, mean - half, mean + half, 2 * float(special.stdtr(seeds - 1, -abs(mean) / error)), seeds)


def pigeonhole_means(table: Floats, resamples: int, seed: int) -> Floats:
    """Mean of the table with rows and columns drawn anew, independently, shape (resamples,).

    Args:
        table: shape (seeds, examples).
        resamples: number of bootstrap samples.
        seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    seeds, examples = table.shape
    rows = rng.multinomial(seeds, np.full(seeds, 1 / seeds), resamples)  # (resamples, seeds): how often each
    means = []
    for weights in rows:
        columns = np.bincount(rng.integers(examples, size=examples), minlength=examples)
        means.append(float(weights @ (table @ columns)))
    return np.array(means) / table.size


def _differences(a: npt.ArrayLike, b: npt.ArrayLike) -> Floats:
    first, second = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if first.ndim != 2 or first.shape != second.shape:
        raise ValueError(f"scores need one shape (seeds, examples), got {first.shape} and {second.shape}")
    table = first - second
    if not np.isfinite(table).all():
        left_out = np.flatnonzero(~np.isfinite(table).all(axis=1)).tolist()
        raise ValueError(f"scores of seeds {left_out} are not finite; leave them out on both sides")
    return table

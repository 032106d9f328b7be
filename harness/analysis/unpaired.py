"""Two configurations without pairs: other seeds on each side, or published shares whose examples are not known."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy import optimize, special, stats

from harness.analysis.statistics import LEVEL, Difference, Floats, Interval, t_quantile, wilson


def welch_t(a: npt.ArrayLike, b: npt.ArrayLike, level: float = LEVEL) -> Difference:
    """Mean of a minus mean of b for different seeds on each side, with unequal spreads; `n` counts both.

    Values that are not finite are left out. NaN bounds for fewer than two values on a side, or where neither side
    varies.
    Reference: Welch, "The Generalization of 'Student's' Problem", 1947, doi:10.1093/biomet/34.1-2.28.

    Args:
        a: the metric of each seed, shape (seeds of a,).
        b: the same of the other, shape (seeds of b,).
        level: coverage of the interval.
    """
    first, second = _finite(a), _finite(b)
    n = first.size + second.size
    if not first.size or not second.size:
        return Difference(math.nan, math.nan, math.nan, math.nan, n)
    mean = float(first.mean() - second.mean())
    if min(first.size, second.size) < 2:
        return Difference(mean, math.nan, math.nan, math.nan, n)
    parts = [float(sample.var(ddof=1)) / sample.size for sample in (first, second)]
    variance = sum(parts)
    if variance <= 1e-24 * max(float(np.abs(first).max()), float(np.abs(second).max())) ** 2:
        return Difference(mean, math.nan, math.nan, math.nan, n)
    degrees = variance**2 / (parts[0] ** 2 / (first.size - 1) + parts[1] ** 2 / (second.size - 1))
    error = math.sqrt(variance)
    half = t_quantile(degrees, level) * error
    return Difference(mean, mean - half, mean + half, 2 * float(special.stdtr(degrees, -abs(mean) / error)), n)


def shares(a_right: int, a_n: int, b_right: int, b_n: int, level: float = LEVEL) -> Difference:
    """Share of a minus share of b on separate examples: Newcombe's interval, Fisher's exact p value.

    For accuracies of which only the counts are known. If both were measured on the same examples, pairs would tell
    more: this interval is then too wide, never too narrow, as long as the two tend to err on the same examples.
    The exact test rejects more rarely than 5%. `n` counts both sides; a side without examples gives NaN.
    References: Newcombe, "Interval Estimation for the Difference between Independent Proportions", 1998, method 10,
    Statistics in Medicine 17:873-890; Fisher, "The Design of Experiments", 1935, section 5 to 9.

    Args:
        a_right, a_n: examples answered correctly, and all examples, of a.
        b_right, b_n: the same of b.
        level: coverage of the interval.

    Raises:
        ValueError: unless 0 <= right <= n on both sides.
    """
    first, second = wilson(a_right, a_n, level), wilson(b_right, b_n, level)
    if not a_n or not b_n:
        return Difference(math.nan, math.nan, math.nan, math.nan, a_n + b_n)
    estimate = first.estimate - second.estimate
    low = estimate - math.hypot(first.estimate - first.low, second.high - second.estimate)
    high = estimate + math.hypot(first.high - first.estimate, second.estimate - second.low)
    table = np.array([[a_right, a_n - a_right], [b_right, b_n - b_right]])
    return Difference(estimate, low, high, float(stats.fisher_exact(table).pvalue), a_n + b_n)


def probability_of_superiority(a: npt.ArrayLike, b: npt.ArrayLike, level: float = LEVEL) -> Interval:
    """Probability that a run of a is above a run of b, over all pairs of seeds; ties count half, NaN without any.

    The interval solves for the probabilities whose standard error reaches the estimate, so that it has a width even
    when all runs of a are above all runs of b. `n` counts the runs of both.
    References: Vargha and Delaney, 2000, doi:10.3102/10769986025002101; interval: Newcombe, "Confidence Intervals
    for an Effect Size Measure Based on the Mann-Whitney Statistic. Part 2", 2006, method 5, doi:10.1002/sim.2324.

    Args:
        a: the metric of each seed, shape (seeds of a,).
        b: the same of the other, shape (seeds of b,).
        level: coverage of the interval.
    """
    first, second = _finite(a), _finite(b)
    n = first.size + second.size
    if not first.size or not second.size:
        return Interval(math.nan, math.nan, math.nan, n)
    above = (first[:, None] > second).sum() + (first[:, None] == second).sum() / 2
    estimate = float(above) / (first.size * second.size)
    z, weight = float(special.ndtri((1 + level) / 2)), n / 2 - 1

    def beyond(theta: float) -> float:
        """Above 0 where `theta` is further from the estimate than its own standard error allows."""
        extra = 1 + weight * ((1 - theta) / (2 - theta) + theta / (1 + theta))
        return (theta - estimate) ** 2 - z**2 * theta * (1 - theta) * extra / (first.size * second.size)

    # An estimate of 0 or 1 is itself a root, beside the one that is looked for.
    low = 0.0 if estimate == 0 else float(optimize.brentq(beyond, 0.0, min(estimate, 1 - 1e-9)))
    high = 1.0 if estimate == 1 else float(optimize.brentq(beyond, max(estimate, 1e-9), 1.0))
    return Interval(estimate, low, high, n)


def _finite(values: npt.ArrayLike) -> Floats:
    sample = np.asarray(values, np.float64).reshape(-1)
    return sample[np.isfinite(sample)]

"""Intervals, paired comparisons, corrections and Pareto fronts, each with its source."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import special

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

LEVEL = 0.95
RESAMPLES = 2000


class Interval(NamedTuple):
    """An estimate with its two-sided interval; NaN bounds where `n` does not allow one."""

    estimate: float
    low: float
    high: float
    n: int


class Difference(NamedTuple):
    """A paired difference of means with its interval and two-sided p value."""

    estimate: float
    low: float
    high: float
    p_value: float
    n: int


def wilson(successes: float, n: int, level: float = LEVEL) -> Interval:
    """Interval of a proportion that stays within 0 and 1 and works for small n; NaN for n = 0.

    Reference: Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", 1927,
    doi:10.1080/01621459.1927.10502953; recommended by Newcombe, 1998 (method 3).

    Raises:
        ValueError: unless 0 <= successes <= n.
    """
    if not 0 <= successes <= n:
        raise ValueError(f"successes must lie in 0 .. {n}, got {successes}")
    if n == 0:
        return Interval(math.nan, math.nan, math.nan, 0)
    share, z = successes / n, float(special.ndtri((1 + level) / 2))
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return Interval(share, max(0.0, centre - half), min(1.0, centre + half), n)


def t_quantile(degrees: float, level: float = LEVEL) -> float:
    """Student's t that a two-sided interval of that level reaches to."""
    return float(special.stdtrit(degrees, (1 + level) / 2))


def t_interval(values: npt.ArrayLike, level: float = LEVEL) -> Interval:
    """Mean with its t interval; non-finite values are left out, one value has no bounds.

    Reference: Student, "The Probable Error of a Mean", 1908, doi:10.1093/biomet/6.1.1.

    Args:
        values: a sample of independent values, shape (n,).
        level: coverage.
    """
    sample = _finite(values)
    if sample.size < 2:
        return Interval(float(sample.mean()) if sample.size else math.nan, math.nan, math.nan, sample.size)
    half = t_quantile(sample.size - 1, level) * float(sample.std(ddof=1)) / math.sqrt(sample.size)
    return Interval(float(sample.mean()), float(sample.mean()) - half, float(sample.mean()) + half, sample.size)


def ratio_interval(numerators: npt.ArrayLike, denominators: npt.ArrayLike, level: float = LEVEL) -> Interval:
    """A rate such as samples / seconds over several windows: sum over sum, each window weighted by its size.

    Reference: Cochran, "Sampling Techniques", 3rd edition, 1977, section 6.4 (ratio estimate), with t
    on n - 1 degrees for the few windows that there are.

    Args:
        numerators: amounts, shape (windows,).
        denominators: times, shape (windows,).
        level: coverage.
    """
    above, below = np.asarray(numerators, np.float64), np.asarray(denominators, np.float64)
    n, total = above.size, float(below.sum())
    if n == 0 or total <= 0:
        return Interval(math.nan, math.nan, math.nan, n)
    rate = float(above.sum()) / total
    if n < 2:
        return Interval(rate, math.nan, math.nan, n)
    residuals = above - rate * below
    error = math.sqrt(n / (n - 1) * float(residuals @ residuals)) / total
    half = t_quantile(n - 1, level) * error
    return Interval(rate, rate - half, rate + half, n)


def ratio_intervals(frame: pd.DataFrame, by: str, above: str, below: str) -> pd.DataFrame:
    """`ratio_interval` of every group at once, for very many groups: columns estimate, low, high, n by group.

    Args:
        frame: one row a window.
        by, above, below: columns of the group, the numerators and the denominators.
    """
    amounts = frame[[by]].assign(above=frame[above].astype("float64"), below=frame[below].astype("float64"))
    found = amounts.groupby(by, sort=False).agg(above=("above", "sum"), below=("below", "sum"), n=("above", "size"))
    total = found["below"].where(found["below"] > 0)
    rate = found["above"] / total
    residuals = amounts["above"] - amounts[by].map(rate) * amounts["below"]
    squares = residuals.pow(2).groupby(amounts[by], sort=False).sum()
    n = found["n"].where(found["n"] > 1)
    reach = found["n"].map({count: t_quantile(count - 1) for count in found["n"].unique().tolist() if count > 1})
    half = reach * np.sqrt(n / (n - 1) * squares) / total
    return pd.DataFrame({"estimate": rate, "low": rate - half, "high": rate + half, "n": found["n"]})


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust the p values of a family of tests, in the order given; NaN stays NaN and counts for nothing.

    Reference: Holm, "A Simple Sequentially Rejective Multiple Test Procedure", 1979,
    https://www.jstor.org/stable/4615733.
    """
    given = np.asarray(p_values, np.float64)
    adjusted = np.full(given.shape, np.nan)
    order = [int(i) for i in np.argsort(given, kind="stable") if not math.isnan(given[i])]
    running = 0.0
    for rank, place in enumerate(order):
        running = max(running, min(1.0, float(given[place]) * (len(order) - rank)))
        adjusted[place] = running
    return [float(p) for p in adjusted]


def resampled_rows(n: int, resamples: int, seed: int) -> Iterator[Ints]:
    """Bootstrap samples of row numbers, each of shape (n,); the same seed gives the same samples.

    Reference: Efron, "Bootstrap Methods: Another Look at the Jackknife", 1979,
    doi:10.1214/aos/1176344552.
    """
    rng = np.random.default_rng(seed)
    for _ in range(resamples):
        yield rng.integers(n, size=n)


def resampled_means(scores: npt.ArrayLike, resamples: int = RESAMPLES, seed: int = 0) -> Floats:
    """Mean score of every column in bootstrap samples of the rows, shape (resamples, columns).

    The same rows are drawn for all columns, so differences between columns are paired.

    Args:
        scores: one row an example, one column a trial, shape (examples, trials).
        resamples: number of bootstrap samples.
        seed: of the draws.
    """
    table = np.asarray(scores, np.float64)
    counts = (np.bincount(rows, minlength=len(table)) for rows in resampled_rows(len(table), resamples, seed))
    return np.array([count @ table for count in counts]) / len(table)


def paired_bootstrap(a: npt.ArrayLike, b: npt.ArrayLike, resamples: int = RESAMPLES, seed: int = 0) -> Difference:
    """Mean of a minus mean of b on the same examples, with symmetric studentised interval and two-sided p value.

    Each bootstrap difference is measured in its own standard error: plain percentiles are too narrow for scores as
    skewed as losses are (measured: 7% wrong rejections instead of 5%). The p value has one added to count and
    number, so that it is never 0. NaN bounds where so few examples differ that a sample often has none of them, and
    where all differ by the same.
    References: Hall, "On Symmetric Bootstrap Confidence Intervals", 1988, doi:10.1111/j.2517-6161.1988.tb01707.x;
    Davison and Hinkley, "Bootstrap Methods and their Application", 1997, section 4.2 (the one added).

    Args:
        a: a score of each example, shape (examples,).
        b: the same examples' scores of the other, shape (examples,).
        resamples: number of bootstrap samples.
        seed: of the draws.

    Raises:
        ValueError: for shapes that differ or no examples.
    """
    first, second = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if first.shape != second.shape or first.size == 0:
        raise ValueError(f"paired scores need one shape (examples,), got {first.shape} and {second.shape}")
    found, n = first - second, first.size
    mean, spread = float(found.mean()), float(found.std())
    if not found.any():
        return Difference(0.0, 0.0, 0.0, 1.0, n)
    if spread <= 1e-12 * abs(mean):  # one and the same difference, which no sample changes: all signs alike
        return Difference(mean, math.nan, math.nan, max(2.0 ** (1 - n), 1 / (resamples + 1)), n)
    draws = resampled_means(np.stack([found, found**2], axis=1), resamples, seed)  # (resamples, 2)
    spreads = np.sqrt(np.maximum(draws[:, 1] - draws[:, 0] ** 2, 0.0))
    shifts = np.abs(draws[:, 0] - mean)
    distances = np.divide(shifts, spreads, out=np.full(resamples, math.inf), where=spreads > 1e-9 * spread)
    reach = float(np.sort(distances)[math.ceil(LEVEL * resamples) - 1])
    half = reach * spread if math.isfinite(reach) else math.nan
    further = int((distances >= abs(mean) / spread).sum())
    return Difference(mean, mean - half, mean + half, (further + 1) / (resamples + 1), n)


class SimultaneousDifferences(NamedTuple):
    """Differences of several columns to one, with bounds that hold for all at once; each of shape (columns,).

    Attributes:
        error: bootstrap standard error of each difference.
        p_value: corrected for all pairs of columns: at most 1 - level exactly where the bounds leave 0 out; NaN for
            `to` itself.
    """

    estimate: Floats
    low: Floats
    high: Floats
    error: Floats
    p_value: Floats


def simultaneous_differences(
    estimates: Floats, draws: Floats, to: int, level: float = LEVEL
) -> SimultaneousDifferences:
    """Differences of every column to column `to`, with bootstrap bounds that hold whichever column `to` is.

    Looking at many trials, one of them differs from the best by chance sooner or later, and the best was itself
    chosen by the same rows. The bounds therefore use the quantile of the largest studentised difference of ALL pairs
    of columns (max-t), which also respects that trials are correlated: they hold for every pair at once, so also
    for those with a column that was chosen after looking. A column equal to `to` in every draw gets bounds of
    zero width.
    References: Westfall and Young, "Resampling-Based Multiple Testing", 1993 (max-t); Romano and Wolf, "Exact and
    Approximate Stepdown Methods for Multiple Hypothesis Testing", 2005, doi:10.1198/016214504000000539 (single
    step). Hsu, "Simultaneous Confidence Intervals for All Distances from the Best", 1981,
    doi:10.1214/aos/1176345582, asks less than all pairs but has bounds on one side only.

    Args:
        estimates: value of each column on the full sample, shape (columns,).
        draws: bootstrap values, shape (resamples, columns).
        to: column that the others are compared with; it may be the one with the best estimate.
        level: joint coverage.
    """
    difference = estimates - estimates[to]
    error = np.nanstd(draws - draws[:, [to]], axis=0, ddof=1)
    moving = error > _STILL
    p_value = np.where(np.arange(len(estimates)) == to, math.nan, 1.0)
    reach = 0.0
    if moving.any():
        largest = np.sort(_largest_of_all_pairs(estimates, draws))
        further = len(largest) - np.searchsorted(largest, np.abs(difference[moving]) / error[moving])
        p_value[moving] = (further + 1) / (len(largest) + 1)
        # the largest that so many draws reach that a difference of this size is just not told apart
        allowed = math.floor((1 - level) * (len(largest) + 1) + 1e-9)
        reach = float(largest[-allowed]) if allowed else math.inf
    return SimultaneousDifferences(difference, difference - reach * error, difference + reach * error, error, p_value)


_STILL = 1e-12  # a difference with no larger standard error is the same in every draw


def _largest_of_all_pairs(estimates: Floats, draws: Floats) -> Floats:
    """In every draw the largest studentised shift of any pair's difference, shape (resamples,).

    One column against all later ones at a time: no more memory than the draws themselves take.
    """
    largest = np.zeros(len(draws))
    for column in range(draws.shape[1] - 1):
        apart = draws[:, column + 1 :] - draws[:, [column]]
        error = np.nanstd(apart, axis=0, ddof=1)
        shift = np.abs(apart - (estimates[column + 1 :] - estimates[column]))
        for pair in np.flatnonzero(error > _STILL):
            np.fmax(largest, shift[:, pair] / error[pair], out=largest)
    return largest


def pareto_front(frame: pd.DataFrame, directions: Mapping[str, str]) -> pd.Series[bool]:
    """True for each row that no other row beats: at least as good in all columns and better in one.

    Rows with a missing value are never on the front. Equal rows are on it together.

    Args:
        frame: one row a trial.
        directions: column -> "minimize" or "maximize".
    """
    signs = np.array([1.0 if direction == "minimize" else -1.0 for direction in directions.values()])
    values = frame[list(directions)].to_numpy(dtype=np.float64, na_value=np.nan) * signs  # (rows, objectives)
    front = np.isfinite(values).all(axis=1)
    left = np.flatnonzero(front)
    # A row with the smallest sum is beaten by none; what it beats is struck out before the next is taken.
    left = left[np.argsort(_ranks(values[left]).sum(axis=1), kind="stable")]
    while len(left):
        best, left = left[0], left[1:]
        beaten = (values[best] <= values[left]).all(axis=1) & (values[best] < values[left]).any(axis=1)
        front[left[beaten]] = False
        left = left[~beaten]
    return pd.Series(front, index=frame.index, name="front")


def _ranks(values: Floats) -> Floats:
    """Each column's dense ranks, so that sums of unlike units order rows as every column does."""
    columns = [np.unique(column, return_inverse=True)[1] for column in values.T]
    return np.stack(columns, axis=1).astype(np.float64) if len(values) else np.zeros(values.shape)


def _finite(values: npt.ArrayLike) -> Floats:
    sample = np.asarray(values, np.float64).reshape(-1)
    return sample[np.isfinite(sample)]

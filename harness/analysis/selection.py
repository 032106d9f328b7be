"""What looking at many trials does to the best of them, and which configuration to choose in the end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import special

from harness.analysis.statistics import Floats

Direction = Literal["minimize", "maximize"]


def expected_best(values: npt.ArrayLike, direction: Direction = "maximize") -> Floats:
    """Expected value of the best of k trials for k = 1 .. n, shape (n,): a curve of quality against budget.

    The mean over all subsets of k of the trials seen (without replacement, which makes it unbiased where the original
    proposal is not). Trials without a finite value are left out, so they should be few. It speaks of trials drawn
    independently of each other, as random search does, not of a sampler that learns.
    References: Dodge et al., "Show Your Work", 2019, doi:10.18653/v1/D19-1224; Tang et al., "Showing Your Work
    Doesn't Always Work", 2020, doi:10.18653/v1/2020.acl-main.246.

    Args:
        values: the objective of each trial, shape (trials,).
        direction: which way is better.
    """
    sign = 1.0 if direction == "maximize" else -1.0
    ordered = np.sort(sign * _finite(values))  # the worst first
    n = ordered.size
    places, chances = np.arange(n), np.full(n, 1 / n) if n else np.zeros(0)
    means = np.empty(n)
    for k in range(1, n + 1):
        # Trial i (from 0) is the best of C(i, k - 1) of the C(n, k) subsets; each step goes on from the one before.
        if k > 1:
            chances *= np.maximum(places - k + 2, 0) / (k - 1) * k / (n - k + 1)
        means[k - 1] = chances @ ordered
    return sign * means


def expected_largest_normal(n: int) -> float:
    """Expected largest of n independent standard normal values: how far luck alone carries the best of n trials.

    The best of n trials that are all alike is seen that many standard errors above what it is worth. NaN for n < 1.
    Reference: Tippett, "On the Extreme Individuals and the Range of Samples Taken from a Normal Population", 1925,
    doi:10.1093/biomet/17.3-4.364.
    """
    if n < 1:
        return math.nan
    # The mean of the density n * f * F**(n - 1), on a grid fine enough for ten digits.
    grid = np.linspace(-10.0, 10.0, 4001)
    density = n * np.exp(-(grid**2) / 2) / math.sqrt(2 * math.pi) * special.ndtr(grid) ** (n - 1)
    return float(np.trapezoid(grid * density, grid))


class Shrunken(NamedTuple):
    """Scores pulled towards their mean by as much as their spread is explained by noise.

    Attributes:
        estimates: what each trial is worth, shape (trials,); NaN where its score is missing.
        factor: share of a deviation from the mean that is believed, 0 to 1; NaN where it cannot be known.
        centre: the mean that is shrunken towards.
    """

    estimates: Floats
    factor: float
    centre: float


def shrunken(values: npt.ArrayLike, error: float) -> Shrunken:
    """Estimates of all trials that do not fall to the winner's curse: the best was partly lucky.

    James and Stein's estimate towards the mean, its factor kept at 0 or above. Fewer than four finite values, or an
    unknown error, give NaN: from so few the spread of the true values cannot be known.
    References: Efron and Morris, "Stein's Paradox in Statistics", 1977, https://www.jstor.org/stable/24954030; the
    positive part: Efron and Morris, 1973, doi:10.1080/01621459.1973.10481350.

    Args:
        values: the score of each trial, shape (trials,).
        error: standard error of one score, apart from what all trials share (see `error_of_scores`).
    """
    scores = np.asarray(values, np.float64).reshape(-1)
    finite = _finite(scores)
    centre = float(finite.mean()) if finite.size else math.nan
    if finite.size < 4 or not math.isfinite(error):
        return Shrunken(np.full(scores.shape, math.nan), math.nan, centre)
    squares = float(((finite - centre) ** 2).sum())
    factor = max(0.0, 1 - (finite.size - 3) * error**2 / squares) if squares > 0 else 0.0
    return Shrunken(np.where(np.isfinite(scores), centre + factor * (scores - centre), math.nan), factor, centre)


def error_of_scores(scores: npt.ArrayLike) -> float:
    """Standard error of a trial's mean score apart from what all trials share by being scored on the same examples.

    Hard examples lower every trial alike and decide nothing; what is left after taking off each example's mean does.
    NaN for fewer than two trials or examples.
    Reference: the residual mean square of a two-way layout, Searle, Casella and McCulloch, "Variance Components",
    1992, section 4.7, doi:10.1002/9780470316856.

    Args:
        scores: a score of each example for each trial, shape (examples, trials).
    """
    table = np.asarray(scores, np.float64)
    examples, trials = table.shape
    if examples < 2 or trials < 2:
        return math.nan
    rest = table - table.mean(axis=0) - table.mean(axis=1, keepdims=True) + table.mean()
    return math.sqrt(float((rest**2).sum()) / ((examples - 1) * (trials - 1)) / examples)


def one_standard_error(
    values: npt.ArrayLike, error: npt.ArrayLike, costs: npt.ArrayLike, direction: Direction = "maximize"
) -> int | None:
    """The cheapest configuration within one standard error of the best: its row, or None where nothing is finite.

    Of equal costs the better one; a configuration without a cost or value is not chosen. With one standard error the
    chosen one may truly be a little worse: that is the bargain.
    Reference: Breiman, Friedman, Olshen and Stone, "Classification and Regression Trees", 1984, section 3.4.3.

    Args:
        values: the mean of each configuration, shape (configurations,).
        error: the standard error of the best one's mean, or of each configuration's difference to the best, shape
            (configurations,): paired by seed or example, the difference is known better than the mean. A
            missing one lets only the best itself in.
        costs: what a configuration costs, in seconds, bytes or parameters, shape (configurations,).
        direction: which way is better.
    """
    sign = 1.0 if direction == "maximize" else -1.0
    scores, prices = sign * np.asarray(values, np.float64), np.asarray(costs, np.float64)
    if not np.isfinite(scores).any():
        return None
    best = float(scores[np.isfinite(scores)].max())
    allowed = np.broadcast_to(np.asarray(error, np.float64), scores.shape)
    near = np.isfinite(scores) & np.isfinite(prices)
    near &= best - scores <= np.where(np.isfinite(allowed), allowed, 0.0)
    candidates: Sequence[int] = np.flatnonzero(near).tolist()
    return min(candidates, key=lambda row: (prices[row], -scores[row])) if candidates else None


def _finite(values: npt.ArrayLike) -> Floats:
    sample = np.asarray(values, np.float64).reshape(-1)
    return sample[np.isfinite(sample)]

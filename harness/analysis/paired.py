"""Two configurations judged on the same seeds or the same examples: tests, intervals and sizes of the difference.

With several seeds the unit is a seed: `paired_t` over the seeds' means is the headline. With one seed the unit
is an example (`mcnemar` here, `statistics.paired_bootstrap` for scores that are not right or wrong), and nothing is
said of other seeds. Pairs of which one side is not finite (a diverged run) are left out; `n` counts those left.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import special

from harness.analysis.statistics import LEVEL, Difference, Floats, Interval, t_quantile, wilson

EXACT_PAIRS = 16
"""Up to this many pairs every pattern of signs is tried (65,536 of them); beyond it, as many drawn at random."""


def differences(a: npt.ArrayLike, b: npt.ArrayLike) -> Floats:
    """Differences a - b of the pairs in which both are finite, shape (pairs,).

    Args:
        a, b: values of the same seeds (or examples) in the same order, shape (pairs,).

    Raises:
        ValueError: for shapes that differ.
    """
    first, second = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if first.ndim != 1 or first.shape != second.shape:
        raise ValueError(f"pairs need one shape (pairs,), got {first.shape} and {second.shape}")
    both = np.isfinite(first) & np.isfinite(second)
    return first[both] - second[both]


def paired_t(a: npt.ArrayLike, b: npt.ArrayLike, level: float = LEVEL) -> Difference:
    """Mean of a minus mean of b over the same seeds, with Student's interval and two-sided p value.

    It speaks of further seeds on these same test examples; `crossed.crossed_t` also of further examples. One
    pair has neither bounds nor p value, nor have several pairs with one and the same difference other than 0 (their
    spread is not known, it is not zero). Pairs without any difference have p = 1.
    References: Student, "The Probable Error of a Mean", 1908, doi:10.1093/biomet/6.1.1; for seeds: Bouthillier
    et al., "Accounting for Variance in Machine Learning Benchmarks", 2021, arXiv:2103.03098.

    Args:
        a, b: the metric of each seed, shape (seeds,).
        level: coverage of the interval.
    """
    found = differences(a, b)
    n = found.size
    if n == 0:
        return Difference(math.nan, math.nan, math.nan, math.nan, 0)
    mean = float(found.mean())
    if not found.any() and n > 1:
        return Difference(0.0, 0.0, 0.0, 1.0, n)
    if n < 2 or is_constant(found):
        return Difference(mean, math.nan, math.nan, math.nan, n)
    error = float(found.std(ddof=1)) / math.sqrt(n)
    half = t_quantile(n - 1, level) * error
    p_value = 2 * float(special.stdtr(n - 1, -abs(mean) / error))
    return Difference(mean, mean - half, mean + half, p_value, n)


def sign_flip_p(a: npt.ArrayLike, b: npt.ArrayLike, draws: int = 65_536, seed: int = 0) -> float:
    """Two-sided p value of the mean difference among all ways to swap the sides of pairs; NaN without pairs.

    Exact for up to EXACT_PAIRS pairs; beyond, among random swaps with one added to count and number.
    References: Fisher, "The Design of Experiments", 1935, section 21; Phipson and Smyth, "Permutation P-values
    Should Never Be Zero", 2010, doi:10.2202/1544-6115.1585.

    Args:
        a, b: the metric of each seed, shape (seeds,).
        draws: random swaps where there are too many to try all.
        seed: of the swaps.
    """
    found = differences(a, b)
    if found.size == 0:
        return math.nan
    # Sums that are equal but for rounding count as equal.
    reached = abs(found.sum()) - 1e-9 * np.abs(found).sum()
    if found.size <= EXACT_PAIRS:
        patterns = np.arange(2**found.size)[:, None] >> np.arange(found.size) & 1
        return float((np.abs((1 - 2 * patterns) @ found) >= reached).mean())
    swaps = np.random.default_rng(seed).integers(0, 2, (draws, found.size), dtype=np.int8)
    return (int((np.abs((1 - 2 * swaps) @ found) >= reached).sum()) + 1) / (draws + 1)


def smallest_sign_flip_p(pairs: int) -> float:
    """The smallest p value that `sign_flip_p` can give: 2 of the 2**pairs patterns; 5 seeds never pass 0.05."""
    return min(1.0, 2.0 ** (1 - pairs)) if pairs else math.nan


class Discordant(NamedTuple):
    """How often two classifiers were right on the same examples: both, only a, only b, neither."""

    both: int
    only_a: int
    only_b: int
    neither: int


def discordant(a_right: npt.ArrayLike, b_right: npt.ArrayLike) -> Discordant:
    """Count the four cases.

    Args:
        a_right, b_right: whether each example was answered correctly, shape (examples,).

    Raises:
        ValueError: for shapes that differ.
    """
    a, b = np.asarray(a_right, bool), np.asarray(b_right, bool)
    if a.ndim != 1 or a.shape != b.shape:
        raise ValueError(f"pairs need one shape (examples,), got {a.shape} and {b.shape}")
    return Discordant(int((a & b).sum()), int((a & ~b).sum()), int((~a & b).sum()), int((~a & ~b).sum()))


def mcnemar(counts: Discordant, level: float = LEVEL) -> Difference:
    """Accuracy of a minus that of b on the same examples: exact McNemar test and Newcombe's interval for pairs.

    The test asks only the examples on which one of the two is right. It is exact, so it rejects more rarely than
    5%; the interval is close to its level, and may leave out 0 where the test does not yet reject. No examples
    give NaN, no example on which they differ p = 1.
    References: McNemar, 1947, doi:10.1007/BF02295996 (exact form: Dietterich, 1998,
    doi:10.1162/089976698300017197; Dror et al., "The Hitchhiker's Guide to Testing Statistical Significance in
    Natural Language Processing", 2018, doi:10.18653/v1/P18-1128); interval: Newcombe, "Improved Confidence Intervals
    for the Difference between Binomial Proportions Based on Paired Data", 1998, method 10, Statistics in Medicine
    17:2635-2650.

    Args:
        counts: the four cases, see `discordant`.
        level: coverage of the interval.
    """
    both, only_a, only_b, neither = counts
    n = sum(counts)
    if n == 0:
        return Difference(math.nan, math.nan, math.nan, math.nan, 0)
    fewer, differing = min(only_a, only_b), only_a + only_b
    p_value = min(1.0, 2 * float(special.bdtr(fewer, differing, 0.5))) if differing else 1.0
    a, b = wilson(both + only_a, n, level), wilson(both + only_b, n, level)
    phi = _correlation(counts)
    below, above = a.estimate - a.low, b.high - b.estimate
    low = math.sqrt(max(0.0, below**2 - 2 * phi * below * above + above**2))
    below, above = b.estimate - b.low, a.high - a.estimate
    high = math.sqrt(max(0.0, below**2 - 2 * phi * below * above + above**2))
    estimate = (only_a - only_b) / n
    return Difference(estimate, estimate - low, estimate + high, p_value, n)


def _correlation(counts: Discordant) -> float:
    """Correlation of being right, pulled towards 0 by a continuity correction; 0 where a margin is empty."""
    both, only_a, only_b, neither = counts
    margins = (both + only_a) * (only_b + neither) * (both + only_b) * (only_a + neither)
    if margins == 0:
        return 0.0
    excess: float = both * neither - only_a * only_b
    return (max(excess - sum(counts) / 2, 0.0) if excess > 0 else excess) / math.sqrt(margins)


def share_of_wins(a: npt.ArrayLike, b: npt.ArrayLike, level: float = LEVEL) -> Interval:
    """Share of seeds on which a is above b, a tie counting half, with its Wilson interval; NaN without pairs.

    The probability that a run of a beats the run of b with the same seed. Bouthillier et al. call a improved where
    the interval lies above 0.5 and the share above 0.75.
    References: Bouthillier et al., 2021, arXiv:2103.03098, section 4; Wilson, 1927, doi:10.1080/01621459.1927.10502953.

    Args:
        a, b: the metric of each seed, shape (seeds,).
        level: coverage of the interval.
    """
    found = differences(a, b)
    return wilson(float((found > 0).sum()) + float((found == 0).sum()) / 2, found.size, level)


def effect_size(a: npt.ArrayLike, b: npt.ArrayLike, level: float = LEVEL) -> Interval:
    """Mean difference in standard deviations of the difference (d_z), corrected for few pairs (Hedges).

    The interval reads off which noncentral t distributions could have given this t value. NaN for
    fewer than three pairs, and where the spread is not known because all differ by the same.
    References: Lakens, "Calculating and Reporting Effect Sizes", 2013, doi:10.3389/fpsyg.2013.00863 (equation 6);
    Hedges, 1981, doi:10.3102/10769986006002107; interval: Cumming and Finch, 2001,
    doi:10.1177/0013164401614002.

    Args:
        a, b: the metric of each seed, shape (seeds,).
        level: coverage of the interval.
    """
    found = differences(a, b)
    n = found.size
    if n < 3 or is_constant(found):
        return Interval(math.nan, math.nan, math.nan, n)
    uncorrected = float(found.mean() / found.std(ddof=1))
    half = (n - 1) / 2
    correction = math.exp(float(special.gammaln(half) - special.gammaln(half - 0.5))) / math.sqrt(half)
    t_value = uncorrected * math.sqrt(n)
    low, high = (float(special.nctdtrinc(n - 1, p, t_value)) for p in ((1 + level) / 2, (1 - level) / 2))
    return Interval(correction * uncorrected, low / math.sqrt(n), high / math.sqrt(n), n)


class Equivalence(NamedTuple):
    """Whether a difference is smaller than a margin on either side.

    Attributes:
        estimate: the mean difference.
        low, high: interval at 1 - 2 alpha (90% for 5%); equivalent where it lies within the margin.
        p_value: the larger p value of the two one-sided tests.
        n: pairs.
    """

    estimate: float
    low: float
    high: float
    p_value: float
    n: int


def equivalence(a: npt.ArrayLike, b: npt.ArrayLike, margin: float, level: float = LEVEL) -> Equivalence:
    """Two one-sided t tests: is the mean difference proven to lie within -margin .. margin?

    A small p value says that a and b are alike for all purposes to which the margin does not matter; not being able
    to tell them apart says nothing of the kind. Without a known spread the p value is NaN, also for pairs that are
    equal throughout: two runs that agree say nothing of how far others would lie apart.
    References: Schuirmann, 1987, doi:10.1007/BF01068419; Lakens, "Equivalence Tests", 2017,
    doi:10.1177/1948550617697177.

    Args:
        a, b: the metric of each seed, shape (seeds,).
        margin: largest difference that does not matter, in the metric's unit.
        level: 0.95 tests at 5%.

    Raises:
        ValueError: unless the margin is above 0.
    """
    if not margin > 0:
        raise ValueError(f"the margin must be above 0, got {margin}; 0.01 is one point of accuracy")
    found = paired_t(a, b, level=2 * level - 1)
    if math.isnan(found.p_value) or found.low == found.high:
        return Equivalence(found.estimate, math.nan, math.nan, math.nan, found.n)
    error = (found.high - found.low) / 2 / t_quantile(found.n - 1, 2 * level - 1)
    p_value = float(special.stdtr(found.n - 1, (abs(found.estimate) - margin) / error))
    return Equivalence(found.estimate, found.low, found.high, p_value, found.n)


def is_constant(found: Floats) -> bool:
    """Whether all differences are one and the same but for rounding."""
    return bool(np.ptp(found) <= 1e-12 * max(1e-300, float(np.abs(found).max())))

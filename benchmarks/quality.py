"""Equal quality, tested: the difference between ours and the Trainer over seeds, how alike they rank and choose."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

ALPHA = 0.05
FEWEST = 3
MOST = 1_000
ALLOWANCE = 0.05  # of a rank correlation, below the Trainer's with itself
MARGINS = {"accuracy": 0.005, "validation_loss": 0.01}  # fixed before anything was measured; a fraction, and nats


class Equivalence(NamedTuple):
    """Ours minus theirs.

    Attributes:
        low, high: of the 90% interval, which lies within the margin exactly when both tests speak at 5%.
        p_value: the larger one of the two tests.
        verdict: equivalent, different or cannot tell.
        seeds: a side that would be needed if spread and difference stayed as they are; None when not that.
    """

    difference: float
    low: float
    high: float
    margin: float
    p_value: float
    verdict: str
    seeds: int | None = None


def margin_of(metric: str, theirs: Sequence[float]) -> float:
    """The margin of a metric: its fixed one, or half of the Trainer's spread over seeds, whichever is larger."""
    spread = float(np.std(theirs, ddof=1)) if len(theirs) > 1 else 0.0
    return max(MARGINS[metric], spread / 2)


def tost(ours: Sequence[float], theirs: Sequence[float], margin: float) -> Equivalence:
    """Test whether the means differ by less than the margin, without assuming equal variances.

    Fewer than three seeds a side are never enough.
    References: Schuirmann, 1987, doi:10.1007/BF01068419; Welch, 1947, doi:10.1093/biomet/34.1-2.28.

    Args:
        ours: one value a seed.
        theirs: one value a seed.
        margin: largest difference that does not matter.
    """
    difference = float(np.mean(ours) - np.mean(theirs))
    if min(len(ours), len(theirs)) < FEWEST:
        return Equivalence(difference, math.nan, math.nan, margin, math.nan, "cannot tell", FEWEST)
    shares = [float(np.var(side, ddof=1)) / len(side) for side in (ours, theirs)]
    error = math.sqrt(sum(shares))
    if error == 0.0:  # every seed gave the same: nothing is left to chance
        verdict = "equivalent" if abs(difference) < margin else "different"
        return Equivalence(difference, difference, difference, margin, float(verdict == "different"), verdict)
    squares = sum(share**2 / (len(side) - 1) for share, side in zip(shares, (ours, theirs), strict=True))
    freedom = sum(shares) ** 2 / squares
    p_value = float(stats.t.sf((margin - abs(difference)) / error, freedom))
    reach = float(stats.t.ppf(1 - ALPHA, freedom)) * error
    low, high = difference - reach, difference + reach
    if p_value < ALPHA:
        return Equivalence(difference, low, high, margin, p_value, "equivalent")
    if low > margin or high < -margin:
        return Equivalence(difference, low, high, margin, p_value, "different")
    return Equivalence(difference, low, high, margin, p_value, "cannot tell", needed(ours, theirs, margin))


def needed(ours: Sequence[float], theirs: Sequence[float], margin: float) -> int | None:
    """Smallest number of seeds a side at which the interval would lie within the margin, or outside of it."""
    variance = float(np.var(ours, ddof=1) + np.var(theirs, ddof=1))
    room = abs(margin - abs(float(np.mean(ours) - np.mean(theirs))))
    for seeds in range(FEWEST, MOST + 1):
        if float(stats.t.ppf(1 - ALPHA, 2 * seeds - 2)) * math.sqrt(variance / seeds) < room:
            return seeds
    return None


def compare(ours: Sequence[dict[str, float]], theirs: Sequence[dict[str, float]]) -> dict[str, dict[str, Any]]:
    """The test for each metric, as plain values; what is not a number becomes None."""
    found = {}
    for metric in MARGINS:
        ours_values = [each[metric] for each in ours]
        theirs_values = [each[metric] for each in theirs]
        result = tost(ours_values, theirs_values, margin_of(metric, theirs_values))
        found[metric] = {
            key: None if isinstance(value, float) and math.isnan(value) else value
            for key, value in result._asdict().items()
        }
    return found


class Agreement(NamedTuple):
    """How alike configurations are ranked: Spearman's correlations, NaN where a side's values are all the same.

    Attributes:
        ours: between ours and the Trainer, with the same seed.
        theirs: between the Trainer and itself, with another seed.
    """

    ours: float
    theirs: float

    @property
    def holds(self) -> bool | None:
        """Whether ours agrees with the Trainer as well as that does with itself; None where nobody can tell."""
        both = self.ours - self.theirs
        return None if math.isnan(both) else both >= -ALLOWANCE


def agreement(ours: Sequence[float], theirs: Sequence[float], again: Sequence[float]) -> Agreement:
    """Compare the order that two sides give the same configurations.

    Args:
        ours: one value a configuration.
        theirs: the Trainer's, with the same seed.
        again: the Trainer's, with another seed.
    """
    return Agreement(_spearman(ours, theirs), _spearman(theirs, again))


class Chosen(NamedTuple):
    """The configuration that each side would choose, on rows that no side chose by.

    Attributes:
        difference: of the means over seeds, ours minus the Trainer's.
        spread: standard deviation of the Trainer's values over seeds; NaN with fewer than three.
    """

    difference: float
    spread: float

    @property
    def holds(self) -> bool | None:
        """Whether they lie no further apart than that; None where nobody can tell."""
        return None if math.isnan(self.spread) else abs(self.difference) <= self.spread


def chosen(ours: Sequence[float], theirs: Sequence[float]) -> Chosen:
    """Compare what the chosen configurations reach.

    Args:
        ours: one value a seed, of the configuration that is best on our side.
        theirs: one value a seed, of the one that is best on the Trainer's.
    """
    spread = float(np.std(theirs, ddof=1)) if len(theirs) >= FEWEST else math.nan
    return Chosen(float(np.mean(ours) - np.mean(theirs)), spread)


def _spearman(one: Sequence[float], other: Sequence[float]) -> float:
    if len(set(one)) < 2 or len(set(other)) < 2:
        return math.nan
    return float(stats.spearmanr(one, other).statistic)

"""How much evidence a comparison needs: power, the smallest difference it would find, seeds and examples needed.

With a family of `tests`, each is planned at alpha / tests, the strictest step of Holm's procedure.
"""

from __future__ import annotations

import math

from scipy import optimize, special

from harness.analysis.statistics import LEVEL, t_quantile

POWER = 0.8
EXACT_BELOW = 200
"""From here on the normal approximation with its correction for t is exact to a pair."""


def power_of_pairs(difference: float, spread: float, pairs: int, tests: int = 1, level: float = LEVEL) -> float:
    """Probability that a paired t test finds a true difference; NaN for fewer than two pairs or unknown spread.

    References: Cohen, "Statistical Power Analysis for the Behavioral Sciences", 1988, chapter 2 (noncentral t); the
    use of it in NLP: Card et al., "With Little Power Comes Great Responsibility", 2020, arXiv:2010.06595.

    Args:
        difference: the true mean difference.
        spread: standard deviation of the difference over pairs, in the same unit.
        pairs: number of seeds (or examples).
        tests: comparisons in the family.
        level: 0.95 for tests at 5%.
    """
    if pairs < 2 or not math.isfinite(difference) or not spread >= 0:
        return math.nan
    if spread == 0:
        return 1.0 if difference else 0.0
    shift = abs(difference) / spread * math.sqrt(pairs)
    reach = t_quantile(pairs - 1, 1 - (1 - level) / tests)
    # Rejecting in the wrong direction: below 1e-8 from here on, and scipy gives NaN further out.
    wrong = float(special.nctdtr(pairs - 1, shift, -reach)) if shift < 5 else 0.0
    return 1 - float(special.nctdtr(pairs - 1, shift, reach)) + wrong


def pairs_needed(
    difference: float, spread: float, tests: int = 1, power: float = POWER, level: float = LEVEL
) -> int | None:
    """Seeds (or examples, for scores paired by example) with which a paired t test finds the difference.

    None where no number would do or it is not known: no difference, or a missing value. A difference and spread
    that were themselves estimated from few seeds make it a rough figure.
    References: Cohen, 1988 (noncentral t); Guenther, "Sample Size Formulas for Normal Theory T Tests", 1981,
    doi:10.1080/00031305.1981.10479363 (large numbers).

    Args:
        difference: the true mean difference.
        spread: standard deviation of the difference over pairs, in the same unit.
        tests: comparisons in the family.
        power: probability to find it.
        level: 0.95 for tests at 5%.
    """
    if not math.isfinite(difference) or not math.isfinite(spread) or difference == 0 or spread < 0:
        return None
    reach = float(special.ndtri(1 - (1 - level) / tests / 2))
    ratio = spread / abs(difference)
    estimate = math.ceil(((reach + float(special.ndtri(power))) * ratio) ** 2 + reach**2 / 2)
    if estimate >= EXACT_BELOW:
        return estimate
    return next(n for n in range(2, 2 * EXACT_BELOW) if power_of_pairs(difference, spread, n, tests, level) >= power)


def detectable_difference(
    spread: float, pairs: int, tests: int = 1, power: float = POWER, level: float = LEVEL
) -> float:
    """The smallest true difference that a paired t test finds with that power, in the unit of `spread`.

    NaN for fewer than two pairs or an unknown spread.
    Reference: Bloom, "Minimum Detectable Effects", 1995, doi:10.1177/0193841X9501900504.

    Args:
        spread: standard deviation of the difference over pairs.
        pairs: number of seeds (or examples).
        tests: comparisons in the family.
        power: probability to find it.
        level: 0.95 for tests at 5%.
    """
    if pairs < 2 or not math.isfinite(spread) or spread < 0:
        return math.nan
    if spread == 0:
        return 0.0
    most = 1 / math.sqrt(pairs)
    while power_of_pairs(most, 1.0, pairs, tests, level) < power:
        most *= 2
    found = optimize.brentq(lambda d: power_of_pairs(d, 1.0, pairs, tests, level) - power, 0.0, most)
    return spread * float(found)


def examples_needed(
    share_a: float, share_b: float, tests: int = 1, power: float = POWER, level: float = LEVEL
) -> int | None:
    """Examples on each side, without pairs, with which two such shares are told apart; None for equal shares.

    Reference: Fleiss, Levin and Paik, "Statistical Methods for Rates and Proportions", 3rd edition, 2003,
    section 4.2, equation 4.14 (without continuity correction).

    Args:
        share_a, share_b: the true shares, 0 to 1.
        tests: comparisons in the family.
        power: probability to find the difference.
        level: 0.95 for tests at 5%.
    """
    if not (0 <= share_a <= 1 and 0 <= share_b <= 1) or share_a == share_b:
        return None
    reach, middle = float(special.ndtri(1 - (1 - level) / tests / 2)), (share_a + share_b) / 2
    equal = math.sqrt(2 * middle * (1 - middle))
    apart = math.sqrt(share_a * (1 - share_a) + share_b * (1 - share_b))
    return math.ceil(((reach * equal + float(special.ndtri(power)) * apart) / (share_a - share_b)) ** 2)


def detectable_share(share: float, examples: int, tests: int = 1, power: float = POWER, level: float = LEVEL) -> float:
    """How far above `share` another share must lie to be told apart on separate examples; NaN where none does.

    Reference: the equation of `examples_needed`, solved for the difference.

    Args:
        share: the lower share, 0 to 1.
        examples: number on each side.
        tests: comparisons in the family.
        power: probability to find the difference.
        level: 0.95 for tests at 5%.
    """
    if not 0 <= share < 1 or examples < 1:
        return math.nan

    def missing(other: float) -> float:
        needed = examples_needed(share, other, tests, power, level)
        return math.inf if needed is None else needed - examples

    if missing(1.0) > 0:
        return math.nan
    low, high = share, 1.0
    # Halving instead of a root finder: the number needed is whole, so the function has steps.
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if missing(middle) > 0 else (low, middle)
    return high - share

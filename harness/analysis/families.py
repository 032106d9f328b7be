"""Comparisons of one question, tested and corrected together: which of several differences may be believed.

What is compared decides the test: several seeds of both sides (paired t over seed means), one seed of both on the
same examples (exact McNemar, or a paired bootstrap of scores that are not right or wrong), or published shares
without pairs (Fisher). A comparison of one seed is unreplicated whatever its p value: another seed may turn it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from harness.analysis.paired import (
    differences,
    discordant,
    effect_size,
    is_constant,
    mcnemar,
    paired_t,
    share_of_wins,
    sign_flip_p,
    smallest_sign_flip_p,
)
from harness.analysis.power import detectable_difference, detectable_share, examples_needed, pairs_needed
from harness.analysis.statistics import LEVEL, Difference, Interval, holm, paired_bootstrap
from harness.analysis.unpaired import probability_of_superiority, shares, welch_t

Test = Literal["paired t", "Welch's t", "exact McNemar", "paired bootstrap", "Fisher", "max-t bootstrap"]

TABLE = [
    "a",
    "b",
    "metric",
    "difference",
    "difference_low",
    "difference_high",
    "p_value",
    "adjusted_p",
    "sign_flip_p",
    "test",
    "seeds",
    "examples",
    "replicated",
    "effect_size",
    "effect_size_low",
    "effect_size_high",
    "wins",
    "needed",
    "detectable",
]
UNKNOWN = Interval(math.nan, math.nan, math.nan, 0)


@dataclass(frozen=True)
class Comparison:
    """One comparison of a with b, before or after the correction for its family.

    Attributes:
        a, b: names of the two.
        metric: name of the metric, as in `harness.metrics`.
        difference: a minus b in the metric's own unit, with interval and uncorrected p value.
        test: what the p value is of.
        seeds: runs of each side; 1 is unreplicated.
        examples: test examples, on each side where there are no pairs; None where not known.
        spread: standard deviation of the difference over seeds or examples; NaN where it is not known.
        shares: the two shares, where there are no pairs.
        effect: mean difference in standard deviations over seeds.
        wins: share of seeds on which a is above b; of pairs of runs where the seeds are not the same.
        tests: comparisons in the family.
        looks: how often the same was tested on growing data, this time included.
        adjusted_p: p value after the family's correction: Holm's, or that of all at once by max-t.
        sign_flip_p: corrected p value of the permutation test over seeds, where it can pass at all; else None.
        split: whose rows the metric is of: validation or test.
    """

    a: str
    b: str
    metric: str
    difference: Difference
    test: Test
    seeds: int
    examples: int | None = None
    spread: float = math.nan
    shares: tuple[float, float] | None = None
    effect: Interval = UNKNOWN
    wins: Interval = UNKNOWN
    tests: int = 1
    looks: int = 1
    adjusted_p: float = math.nan
    sign_flip_p: float | None = None
    split: str = "validation"

    @property
    def told_apart(self) -> bool:
        """Whether the corrected test rejects that there is no difference."""
        return self.adjusted_p <= 1 - LEVEL

    @property
    def planned_in(self) -> Literal["seeds", "examples"]:
        """What more of would help this comparison."""
        return "seeds" if self.test in ("paired t", "Welch's t") else "examples"

    @property
    def needed(self) -> int | None:
        """Seeds (or examples, see `planned_in`) that a difference of the size seen would need; None if unknowable."""
        if self.shares is not None:
            return examples_needed(*self.shares, tests=self.tests)
        return pairs_needed(self.difference.estimate, self.spread, tests=self.tests * self.looks**2)

    @property
    def detectable(self) -> float:
        """The smallest true difference that as many seeds or examples find with 80% power; NaN if unknowable."""
        if self.shares is not None:
            return detectable_share(min(self.shares), self.examples or 0, tests=self.tests)
        units = self.seeds if self.planned_in == "seeds" else self.difference.n  # the smaller side's, without pairs
        return detectable_difference(self.spread, units, tests=self.tests * self.looks**2)


def over_seeds(
    a: str, b: str, metric: str, values_a: npt.ArrayLike, values_b: npt.ArrayLike, examples: int | None = None
) -> Comparison:
    """Compare two configurations by the metric of several seeds each, in the same order of seeds.

    Args:
        a, b: names.
        metric: name of the metric.
        values_a, values_b: the metric of each seed, shape (seeds,); a seed that is missing on one side is left out.
        examples: test examples that each run was evaluated on.
    """
    found = differences(values_a, values_b)
    flips = sign_flip_p(values_a, values_b) if smallest_sign_flip_p(found.size) <= 1 - LEVEL else None
    return Comparison(
        a,
        b,
        metric,
        paired_t(values_a, values_b),
        "paired t",
        found.size,
        examples,
        spread=math.nan if found.size < 2 or is_constant(found) else float(found.std(ddof=1)),
        effect=effect_size(values_a, values_b),
        wins=share_of_wins(values_a, values_b),
        sign_flip_p=flips,
    )


def over_other_seeds(
    a: str, b: str, metric: str, values_a: npt.ArrayLike, values_b: npt.ArrayLike, examples: int | None = None
) -> Comparison:
    """Compare two configurations by the metric of several seeds each, where the seeds are not the same.

    Args:
        a, b: names.
        metric: name of the metric.
        values_a, values_b: the metric of each seed, shapes (seeds of a,) and (seeds of b,).
        examples: test examples that each run was evaluated on.
    """
    counts = [int(np.isfinite(np.asarray(values, np.float64)).sum()) for values in (values_a, values_b)]
    spreads = [
        float(np.nanstd(np.asarray(values, np.float64), ddof=1)) if min(counts) > 1 else math.nan
        for values in (values_a, values_b)
    ]
    return Comparison(
        a,
        b,
        metric,
        welch_t(values_a, values_b),
        "Welch's t",
        min(counts),
        examples,
        spread=math.hypot(*spreads),
        wins=probability_of_superiority(values_a, values_b),
    )


def over_examples(a: str, b: str, metric: str, scores_a: npt.ArrayLike, scores_b: npt.ArrayLike) -> Comparison:
    """Compare one run each by its scores of the same examples: right or wrong by McNemar, others by a bootstrap.

    Args:
        a, b: names.
        metric: name of the metric; it must be the mean of the scores.
        scores_a, scores_b: a score of each example, shape (examples,), finite.

    Raises:
        ValueError: for shapes that differ, no examples, or a score that is not finite.
    """
    first, second = np.asarray(scores_a, np.float64), np.asarray(scores_b, np.float64)
    both = np.concatenate([first.reshape(-1), second.reshape(-1)])
    if not np.isfinite(both).all():
        raise ValueError(f"{(~np.isfinite(both)).sum()} scores of {a} and {b} are not finite; nothing is left out here")
    binary = bool(np.isin(both, (0.0, 1.0)).all()) and both.size > 0
    found = mcnemar(discordant(first, second)) if binary else paired_bootstrap(first, second)
    spread = float((first - second).std(ddof=1)) if first.size > 1 else math.nan
    test: Test = "exact McNemar" if binary else "paired bootstrap"
    return Comparison(a, b, metric, found, test, 1, first.size, spread=spread)


def of_all_at_once(a: str, b: str, metric: str, row: Mapping[Any, Any], examples: int, tests: int) -> Comparison:
    """The best of many on these examples against one of the others: what `search.Sureness` found, bounds and p value.

    They hold for all pairs of configurations at once, so that it does not matter that the same examples chose the
    best.

    Args:
        a, b: names of the best and of the other.
        metric: name of the metric.
        row: the other's row of `Sureness.frame`, whose difference is b minus a.
        examples: that all were scored on.
        tests: pairs of configurations in that frame.
    """
    low, high = -row["difference_high"], -row["difference_low"]
    difference = Difference(-row["difference"], low, high, math.nan, examples)
    spread = row["difference_error"] * math.sqrt(examples)
    return Comparison(
        a, b, metric, difference, "max-t bootstrap", 1, examples, spread, tests=tests, adjusted_p=row["adjusted_p"]
    )


def over_shares(
    a: str, b: str, metric: str, right_a: int, examples_a: int, right_b: int, examples_b: int
) -> Comparison:
    """Compare two published shares, such as accuracies, of which only the counts are known.

    Args:
        a, b: names.
        metric: name of the metric; it must be a share of examples.
        right_a, examples_a: examples that count, and all examples, of a.
        right_b, examples_b: the same of b.
    """
    found = shares(right_a, examples_a, right_b, examples_b)
    known = bool(examples_a and examples_b)
    pair = (right_a / examples_a, right_b / examples_b) if known else None
    return Comparison(a, b, metric, found, "Fisher", 1, min(examples_a, examples_b), shares=pair)


def at_look(p_value: float, look: int) -> float:
    """A p value of the so-and-so-many-th test on growing data: multiplied by the square of that number, at most 1.

    Whoever stops at the first small p value has had several chances. The levels of all looks, 5% / 1, / 4, / 9, ...
    sum to 8.2% however many there are; since the looks share data the rate comes to about 6% (docs/statistics.md).
    References: Lan and DeMets, "Discrete Sequential Boundaries for Clinical Trials", 1983,
    doi:10.1093/biomet/70.3.659 (spending a level over looks).
    """
    return min(1.0, p_value * look**2) if not math.isnan(p_value) else p_value


def corrected(family: Sequence[Comparison], looks: int = 1) -> list[Comparison]:
    """The same comparisons with p values corrected for each other (Holm); those without a p value count for nothing.

    The permutation test over seeds is kept where its smallest possible p value, times the comparisons, can still
    be at most 5%, and dropped where it could never reject.
    Reference: Holm, "A Simple Sequentially Rejective Multiple Test Procedure", 1979,
    https://www.jstor.org/stable/4615733.

    Args:
        family: all comparisons that answer one question, the ones that found nothing included.
        looks: how often they were tested on growing data, see `at_look`.
    """
    tests = max(1, sum(not math.isnan(each.difference.p_value) for each in family))
    adjusted = holm([each.difference.p_value for each in family])
    able = [
        each.sign_flip_p is not None and smallest_sign_flip_p(each.difference.n) * tests * looks**2 <= 1 - LEVEL
        for each in family
    ]
    # Tests that cannot reject stay in the family, as if they had found nothing.
    given = [each.sign_flip_p if each.sign_flip_p is not None else math.nan for each in family]
    untested = [
        1.0 if math.isnan(p) and not math.isnan(each.difference.p_value) else p
        for p, each in zip(given, family, strict=True)
    ]
    flips = holm(untested)
    return [
        replace(
            each,
            tests=tests,
            looks=looks,
            adjusted_p=at_look(p, looks),
            sign_flip_p=at_look(flip, looks) if keep else None,
        )
        for each, p, flip, keep in zip(family, adjusted, flips, able, strict=True)
    ]


def table(family: Sequence[Comparison]) -> pd.DataFrame:
    """The comparisons as a frame, columns TABLE; differences in the metric's own unit.

    Args:
        family: comparisons, usually `corrected`.
    """
    rows = [
        {
            "a": each.a,
            "b": each.b,
            "metric": each.metric,
            "difference": each.difference.estimate,
            "difference_low": each.difference.low,
            "difference_high": each.difference.high,
            "p_value": each.difference.p_value,
            "adjusted_p": each.adjusted_p,
            "sign_flip_p": math.nan if each.sign_flip_p is None else each.sign_flip_p,
            "test": each.test,
            "seeds": each.seeds,
            "examples": each.examples,
            "replicated": each.seeds > 1,
            "effect_size": each.effect.estimate,
            "effect_size_low": each.effect.low,
            "effect_size_high": each.effect.high,
            "wins": each.wins.estimate,
            "needed": each.needed,
            "detectable": each.detectable,
        }
        for each in family
    ]
    return pd.DataFrame(rows, columns=TABLE).astype({"examples": "Int64", "needed": "Int64"})

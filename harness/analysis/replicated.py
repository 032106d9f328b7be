"""Configurations that ran with the same seeds: a table of their metric, and what may be said of each pair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from harness.analysis.crossed import crossed_t, hierarchical_bootstrap
from harness.analysis.families import Comparison, at_look, corrected, over_seeds
from harness.analysis.paired import Equivalence, differences, equivalence
from harness.analysis.selection import one_standard_error
from harness.analysis.statistics import Difference, Floats, holm, t_interval

MEANS = ["configuration", "value", "value_low", "value_high", "standard_deviation", "seeds"]


def by_seed(runs: pd.DataFrame, folds: int = 1) -> pd.DataFrame:
    """One row a replicate, one column a configuration: the mean over its folds, NaN where one is missing.

    Args:
        runs: columns configuration, replicate, value; one row a trial.
        folds: of each replicate.
    """
    grouped = runs.groupby(["replicate", "configuration"])["value"]
    whole = grouped.mean().where(grouped.count() >= folds)
    return whole.unstack("configuration").sort_index()


def means(table: pd.DataFrame) -> pd.DataFrame:
    """Mean, t interval and standard deviation over the seeds of each configuration; columns MEANS.

    Args:
        table: see `by_seed`.
    """
    rows = []
    for number in table.columns:
        found = t_interval(table[number])
        spread = float(table[number].std(ddof=1)) if found.n > 1 else np.nan
        rows.append((number, found.estimate, found.low, found.high, spread, found.n))
    return pd.DataFrame(rows, columns=MEANS)


def pairs_of(best: Sequence[int], baseline: int | None) -> list[tuple[int, int]]:
    """What is compared, settled before anything is measured: each with the baseline, the best one with the others.

    Args:
        best: configurations, the best of the search first.
        baseline: a configuration that is not among them.
    """
    against = [] if baseline is None else [(each, baseline) for each in best]
    return against + [(best[0], other) for other in best[1:]]


def compare(
    table: pd.DataFrame,
    pairs: Sequence[tuple[int, int]],
    names: Mapping[int, str],
    metric: str,
    examples: int | None,
    split: str = "validation",
    looks: int = 1,
) -> list[Comparison]:
    """Each pair over its common seeds, corrected for each other.

    Args:
        table: see `by_seed`; a configuration without a column has no run.
        pairs: configurations to compare.
        names: configuration -> what to call it.
        metric: name of the metric.
        examples: that each run was measured on.
        split: whose examples they are.
        looks: how often they were compared on growing data.
    """
    columns = table.reindex(columns=sorted({number for pair in pairs for number in pair}))
    found = [over_seeds(names[a], names[b], metric, columns[a], columns[b], examples=examples) for a, b in pairs]
    return corrected([replace(each, split=split) for each in found], looks)


class Further(NamedTuple):
    """A difference that should hold for further examples too: two ways to say so.

    Attributes:
        crossed: with the p value corrected for its family.
        bootstrap: never too narrow, often too wide; its p value is not corrected.
    """

    crossed: Difference
    bootstrap: Difference


def further(pairs: Sequence[tuple[npt.ArrayLike, npt.ArrayLike]], looks: int = 1) -> list[Further]:
    """Each pair with seeds and examples both counted as samples, corrected for each other (Holm).

    Args:
        pairs: scores of both sides on every example by every common seed, shape (seeds, examples) each.
        looks: how often they were compared on growing data.
    """
    found = [Further(crossed_t(a, b), hierarchical_bootstrap(a, b)) for a, b in pairs]
    adjusted = [at_look(p, looks) for p in holm([each.crossed.p_value for each in found])]
    return [each._replace(crossed=each.crossed._replace(p_value=p)) for each, p in zip(found, adjusted, strict=True)]


def alike(table: pd.DataFrame, pairs: Sequence[tuple[int, int]], margin: float, looks: int = 1) -> list[Equivalence]:
    """Whether each pair is proven to differ by less than the margin, corrected for each other (Holm).

    Args:
        table: see `by_seed`.
        pairs: configurations that could not be told apart.
        margin: the largest difference that does not matter, in the metric's unit.
        looks: how often they were compared on growing data.
    """
    found = [equivalence(table[a], table[b], margin) for a, b in pairs]
    adjusted = [at_look(p, looks) for p in holm([each.p_value for each in found])]
    return [each._replace(p_value=p) for each, p in zip(found, adjusted, strict=True)]


def cheapest(table: pd.DataFrame, costs: Mapping[int, float], direction: str) -> int | None:
    """The cheapest configuration within one standard error of the best; None where no value is known.

    The error is that of the difference to the best over common seeds.

    Args:
        table: see `by_seed`.
        costs: configuration -> seconds or another cost.
        direction: minimize or maximize.
    """
    values = table.mean().to_numpy(np.float64)
    if not np.isfinite(values).any():
        return None
    sign = 1.0 if direction == "maximize" else -1.0
    best = table.columns[int(np.nanargmax(sign * values))]
    errors: Floats = np.array([_error(table[number], table[best]) for number in table.columns])
    prices = [costs.get(int(number), np.nan) for number in table.columns]
    row = one_standard_error(sign * values, errors, prices)
    return None if row is None else int(table.columns[row])


def errors_known(table: pd.DataFrame, direction: str) -> bool:
    """Whether any configuration shares two seeds with the best, so that a standard error of a difference is known."""
    means = table.mean()
    best = means.idxmax() if direction == "maximize" else means.idxmin()
    return any(np.isfinite(_error(table[number], table[best])) for number in table.columns if number != best)


def _error(values: pd.Series, best: pd.Series) -> float:
    found = differences(values, best)
    return float(found.std(ddof=1)) / float(np.sqrt(found.size)) if found.size > 1 else np.nan

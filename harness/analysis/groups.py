"""Metrics group by group, such as languages: what each group gets from a trial, and how far the groups lie apart.

Frames are those of `results/frames.py`. A group has fewer examples than the whole, so its interval is wider.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd

from harness.analysis.statistics import Interval, wilson

GROUPS = ["trial", "group", "examples"]
SPREAD = ["trial", "groups", "best_group", "best", "worst_group", "worst", "spread", "overlapping"]


def by_group(metrics: pd.DataFrame, trials: pd.DataFrame, examples: pd.DataFrame) -> pd.DataFrame:
    """Validation metrics of each group at the best epoch of each trial.

    Accuracy gets its Wilson interval. A fold has validation examples of its own, whose numbers by group
    are not stored: `examples` and the interval are missing there.

    Args:
        metrics: columns trial, epoch, split, name, group, value of `results.frames.metrics`.
        trials: columns trial, best_epoch, fold, one row a trial, in the order wanted.
        examples: column group; one row a validation example.

    Returns:
        Columns GROUPS, then a column a metric; `accuracy_low` and `accuracy_high` with accuracy. Groups in
        alphabetical order; no rows for a study without groups.
    """
    chosen = metrics[(metrics["split"] == "validation") & (metrics["group"] != "")]
    found = chosen.merge(trials[["trial", "best_epoch"]], left_on=["trial", "epoch"], right_on=["trial", "best_epoch"])
    if found.empty:
        return pd.DataFrame(columns=GROUPS)
    wide = found.pivot(index=["trial", "group"], columns="name", values="value").reset_index()
    wide.columns.name = None
    order = {trial: place for place, trial in enumerate(trials["trial"].tolist())}
    wide = wide.sort_values("trial", key=lambda numbers: numbers.map(order), kind="stable", ignore_index=True)
    counts, folds = examples["group"].value_counts(), set(trials.loc[trials["fold"].notna(), "trial"].tolist())
    number = wide["group"].map(counts).astype("Int64")
    wide.insert(2, "examples", number.mask(wide["trial"].isin(folds)))
    if "accuracy" in wide:
        intervals = [_interval(row) for row in wide.to_dict("records")]
        wide["accuracy_low"] = [each.low for each in intervals]
        wide["accuracy_high"] = [each.high for each in intervals]
    return wide


def spread(grouped: pd.DataFrame, metric: str, direction: str) -> pd.DataFrame:
    """How far the best group lies from the worst, trial by trial.

    Args:
        grouped: a frame made by `by_group`.
        metric: a column of it.
        direction: minimize or maximize, which decides what best means.

    Returns:
        Columns SPREAD, trials in their order: `spread` is best minus worst (worst minus best for a metric
        that is minimised), `overlapping` the number of the other groups whose interval overlaps that of
        the best group, missing for a metric without intervals.
    """
    rows = []
    for trial, group in grouped.dropna(subset=[metric]).groupby("trial", sort=False):
        ranked = group.sort_values(metric, ascending=direction == "minimize", kind="stable")
        best, worst = ranked.iloc[0], ranked.iloc[-1]
        rows.append(
            {
                "trial": trial,
                "groups": len(ranked),
                "best_group": best["group"],
                "best": best[metric],
                "worst_group": worst["group"],
                "worst": worst[metric],
                "spread": abs(best[metric] - worst[metric]),
                "overlapping": _overlapping(ranked, metric),
            }
        )
    return pd.DataFrame(rows, columns=SPREAD).astype({"overlapping": "Int64"})


def _interval(row: Mapping[Hashable, Any]) -> Interval:
    """Wilson's of the number of right answers, which accuracy and the number of examples give."""
    share, n = row["accuracy"], row["examples"]
    if pd.isna(share) or pd.isna(n):
        return Interval(share, math.nan, math.nan, 0)
    return wilson(round(share * n), int(n))


def _overlapping(ranked: pd.DataFrame, metric: str) -> int | None:
    """How many groups after the first have an interval that overlaps the first one's."""
    if f"{metric}_low" not in ranked or ranked[f"{metric}_low"].isna().any():
        return None
    low, high = ranked[f"{metric}_low"], ranked[f"{metric}_high"]
    return int(((low <= high.iloc[0]) & (high >= low.iloc[0])).iloc[1:].sum())

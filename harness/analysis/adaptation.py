"""What pretraining further on the training texts changed: trials that differ in nothing else, pair by pair."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from harness.analysis.statistics import Interval, t_interval
from harness.configuration import canonical_json

PAIRS = ["trial", "other_trial", "adapted", "not_adapted", "difference"]


def pairs(details: pd.DataFrame, trials: pd.DataFrame) -> pd.DataFrame:
    """Complete trials with adaptation, each beside the one that differs from it in adaptation alone.

    Args:
        details: columns trial, asked (a mapping) of `results.frames.trial_details`.
        trials: columns trial, state, seed, fold, objective of `harness_summary`.

    Returns:
        Columns PAIRS in the order of the first trial: both numbers, both objectives, the first minus the second.
    """
    asked = dict(zip(details["trial"].tolist(), details["asked"].tolist(), strict=True))
    sides: dict[bool, dict[tuple[Any, ...], tuple[int, float]]] = {True: {}, False: {}}
    for row in trials.sort_values("trial").to_dict("records"):
        if row["state"] == "complete" and not pd.isna(row["objective"]):
            config = asked[row["trial"]]
            key = (_else(config), row["seed"], None if pd.isna(row["fold"]) else row["fold"])
            sides[bool(config.get("adapt"))].setdefault(key, (row["trial"], float(row["objective"])))
    found = [(number, *sides[False][key], value) for key, (number, value) in sides[True].items() if key in sides[False]]
    rows = [(number, other, value, without, value - without) for number, other, without, value in found]
    return pd.DataFrame(rows, columns=PAIRS)


def mean_difference(found: pd.DataFrame) -> Interval:
    """Mean of the pairs' differences with its t interval; no bounds for a single pair."""
    return t_interval(found["difference"].to_numpy())


def _else(config: Mapping[str, Any]) -> str:
    """Everything of a configuration but adaptation."""
    return canonical_json({name: value for name, value in config.items() if name != "adapt"})

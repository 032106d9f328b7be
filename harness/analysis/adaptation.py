"""What pretraining further on the training texts changed: trials that differ in nothing else, side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy.typing as npt
import pandas as pd

from harness.analysis.families import Comparison, corrected, over_examples, over_seeds
from harness.analysis.paired import paired_t
from harness.analysis.statistics import Difference
from harness.configuration import canonical_json

PAIRS = ["trial", "other_trial", "seed", "alike", "adapted", "not_adapted", "difference"]
Scores = tuple[str, npt.ArrayLike, npt.ArrayLike]
"""A metric and its value on every example, with adaptation and without, shape (examples,) each."""


def pairs(details: pd.DataFrame, trials: pd.DataFrame) -> pd.DataFrame:
    """Complete trials with adaptation, each beside the one that differs from it in adaptation alone.

    Args:
        details: columns trial, asked (a mapping) of `results.frames.trial_details`.
        trials: columns trial, state, seed, fold, objective of `harness_summary`.

    Returns:
        Columns PAIRS in the order of the first trial: `alike` numbers what but the seed is equal, from 0; both
        objectives, and the first minus the second.
    """
    asked = dict(zip(details["trial"].tolist(), details["asked"].tolist(), strict=True))
    sides: dict[bool, dict[tuple[Any, ...], tuple[int, float]]] = {True: {}, False: {}}
    for row in trials.sort_values("trial").to_dict("records"):
        if row["state"] == "complete" and not pd.isna(row["objective"]):
            config = asked[row["trial"]]
            key = (_else(config), row["seed"], None if pd.isna(row["fold"]) else row["fold"])
            sides[bool(config.get("adapt"))].setdefault(key, (row["trial"], float(row["objective"])))
    found = [(key, *sides[True][key], *sides[False][key]) for key in sides[True] if key in sides[False]]
    numbers = {config: number for number, config in enumerate(dict.fromkeys(key[0] for key, *_ in found))}
    rows = [
        (trial, other, key[1], numbers[key[0]], value, without, value - without)
        for key, trial, value, other, without in found
    ]
    return pd.DataFrame(rows, columns=PAIRS)


def mean_difference(found: pd.DataFrame) -> Difference:
    """Mean of the pairs' differences, with Student's interval and p value; neither for a single pair."""
    return paired_t(found["adapted"], found["not_adapted"])


def compare(
    found: pd.DataFrame, metric: str, names: Mapping[int, str], scores: Callable[[int, int], Scores | None]
) -> list[Comparison]:
    """Adaptation against none, by what else was asked: over seeds, or for a single seed over the same examples.

    Args:
        found: see `pairs`.
        metric: of the objective.
        names: `alike` -> what to call it.
        scores: of two trials, the adapted one first; None where they are not stored.

    Returns:
        One comparison for each `alike` that can be compared, corrected for each other.
    """
    family = []
    for alike, members in found.groupby("alike"):
        a, b = (f"{side}{names[int(str(alike))]}" for side in ("adapted", "not adapted"))
        if len(members) > 1:
            family.append(over_seeds(a, b, metric, members["adapted"], members["not_adapted"]))
        elif stored := scores(int(members["trial"].iloc[0]), int(members["other_trial"].iloc[0])):
            family.append(over_examples(a, b, *stored))
    return corrected(family)


def _else(config: Mapping[str, Any]) -> str:
    """Everything of a configuration but adaptation."""
    return canonical_json({name: value for name, value in config.items() if name != "adapt"})

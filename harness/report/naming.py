"""Short names of trials: their number and the values that differ within the study, and words for counts and lists."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import pandas as pd

from harness.analysis import parameters
from harness.report.cells import is_missing, parameter
from harness.results.frames import UNSTATED

_SHORT = {
    "model": "{}",
    "epochs": "{} epochs",
    "batch_size": "batch {}",
    "learning_rate": "lr {}",
    "max_length": "length {}",
    "freeze": "freeze {}",
    "train": "{} rows",
}


def value(number: Any) -> str:
    """A parameter's value as in a study file: 2e-5, 16, top-2, none."""
    if is_missing(number):
        return "none"
    if isinstance(number, bool) or not isinstance(number, int | float):
        return str(number)
    return parameter(float(number)).replace("−", "-")


def describe(row: Any, names: Sequence[str]) -> str:
    """The values of those parameters in a few words: batch 16, lr 2e-5, freeze head."""
    return ", ".join(_written(name, row[name]) for name in names)


def unstated(name: str, number: Any) -> bool:
    """Whether a published run does not state a hyperparameter that every trial of one's own has."""
    return name in UNSTATED and is_missing(number)


def _written(name: str, number: Any) -> str:
    if unstated(name, number):
        return f"{name.replace('_', ' ')} not stated"
    return _SHORT.get(name, name.replace("_", " ") + " {}").replace("{}", value(number))


def _described(trials: pd.DataFrame, names: Sequence[str]) -> list[str]:
    """`describe` of every row; each value is written once, for there may be very many rows."""
    columns = []
    for name in names:
        written: dict[Any, str] = {}
        texts = []
        for number in trials[name].tolist():
            key = (
                None if is_missing(number) else (type(number), number if isinstance(number, Hashable) else str(number))
            )
            if key not in written:
                written[key] = _written(name, number)
            texts.append(written[key])
        columns.append(texts)
    return [", ".join(row) for row in zip(*columns, strict=True)] if columns else [""] * len(trials)


def configurations(trials: pd.DataFrame) -> dict[int, str]:
    """Configuration -> its number and what sets it apart: "3: batch 16, lr 2e-5".

    Args:
        trials: one row a trial with the hyperparameters as columns.
    """
    first = trials.drop_duplicates("configuration")
    described = zip(first["configuration"].tolist(), _described(first, parameters.varied(trials)), strict=True)
    return {int(number): f"{number}: {words}" if words else str(number) for number, words in described}


def labels(trials: pd.DataFrame) -> dict[int, str]:
    """Trial -> its number and what sets it apart: "7: batch 16, lr 2e-5"; replicates add their seed.

    Args:
        trials: one row a trial with the hyperparameters as columns.
    """
    several = trials["seed"].nunique() > 1
    folds = trials["fold"].tolist() if "fold" in trials else [None] * len(trials)
    described = _described(trials, parameters.varied(trials))
    found = {}
    for number, words, seed, fold in zip(
        trials["trial"].tolist(), described, trials["seed"].tolist(), folds, strict=True
    ):
        parts = [words] if words else []
        parts += [f"seed {seed}"] if several else []
        parts += [f"fold {fold}"] if not is_missing(fold) else []
        found[int(number)] = ": ".join([str(number), *([", ".join(parts)] if parts else [])])
    return found


def plural(count: int, noun: str) -> str:
    """1 trial, 2 trials."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def listed(things: Sequence[Any], at_most: int = 8) -> str:
    """1, 2 and 3; or the first eight and how many more."""
    words = [str(thing) for thing in things]
    if len(words) > at_most:
        return f"{', '.join(words[:at_most])} and {len(words) - at_most} more"
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)

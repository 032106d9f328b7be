"""Which hyperparameters a study varied, and how their values are grouped for a picture."""

from __future__ import annotations

import numpy as np
import pandas as pd

from harness.configuration import hyperparameters

BINS = 5
KEYS = ["study", "trial"]


def keys(*frames: pd.DataFrame) -> list[str]:
    """What names a trial in all of these frames: study and trial, or trial alone where a frame is of one study."""
    return [name for name in KEYS if all(name in frame.columns for frame in frames)]


def varied(trials: pd.DataFrame) -> list[str]:
    """Hyperparameters with two or more values among the trials, in the order of `records.TrialConfig`.

    Args:
        trials: columns of `harness_summary`; further hyperparameters are read where their columns exist.
    """
    present = [name for name in hyperparameters() if name in trials.columns]
    return [name for name in present if varies(trials[name])]


def varies(column: pd.Series) -> bool:
    """Whether there are two or more `values`; counted without making them where those of the column can be hashed."""
    try:
        return bool(column.nunique() + int(column.isna().any()) > 1)
    except TypeError:
        return bool(values(column).nunique() > 1)


def values(column: pd.Series) -> pd.Series:
    """A parameter's values in which a missing one (null in the study file) is the word "none given"."""
    if is_numeric(column):
        return column
    return column.astype("object").where(column.notna(), "none given").map(_word)


def _word(value: object) -> object:
    return value if isinstance(value, str | int | float) else str(value)


def is_numeric(column: pd.Series) -> bool:
    """Numbers throughout, so that the values have an order and a distance."""
    numbers = pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)
    return numbers and len(column) > 0 and not column.isna().any()


def levels(column: pd.Series) -> pd.Series:
    """The values to group by: as they are up to BINS of them, else BINS quantile ranges written "low to high"."""
    plain = values(column)
    if plain.nunique() <= BINS or not is_numeric(plain):
        return plain
    edges = np.unique(np.quantile(plain.to_numpy(dtype=np.float64), np.linspace(0, 1, BINS + 1)))
    names = [f"{low:.3g} to {high:.3g}" for low, high in zip(edges[:-1], edges[1:], strict=True)]
    cut = pd.cut(plain, bins=list(edges), labels=names, include_lowest=True, ordered=True)
    return cut


def two_most_varied(trials: pd.DataFrame) -> list[str]:
    """The two parameters with the most levels, ties in the order of `records.TrialConfig`; fewer if fewer vary."""
    names = varied(trials)
    count = {name: int(levels(trials[name]).nunique()) for name in names}
    return sorted(names, key=lambda name: (-count[name], names.index(name)))[:2]

"""A published scale of validation losses of question answering, and what exact match its bands came with here.

The scale is that of a run published in October 2025: bert-base-uncased on 3,000 questions of SQuAD, windows of 384
tokens, loss as the mean of the cross-entropies of start and end. Its author measured no exact match: the figures
beside the bands are those of the study at hand.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats


class Band(NamedTuple):
    """A stretch of the scale, from the end of the band before it up to `below`."""

    name: str
    below: float


BANDS = (
    Band("excellent", 1.0),
    Band("very good", 1.5),
    Band("good", 2.0),
    Band("fair", 3.0),
    Band("poor", math.inf),
)
PUBLISHED = ((1, 1.1314, 1.6476), (2, 0.6137, 1.8053), (3, 0.4221, 1.8659))
"""(epoch, training loss, validation loss) of the run that the scale was published with."""


def band(loss: float) -> str:
    """The word of the scale for a validation loss; of a bound, the worse one.

    Raises:
        ValueError: for NaN, which stands on no scale.
    """
    if math.isnan(loss):
        raise ValueError("a loss that is no number stands on no scale")
    return next((each.name for each in BANDS if loss < each.below), BANDS[-1].name)


def bounds(name: str) -> str:
    """A band in numbers: 1.5 to 2.0."""
    place = [each.name for each in BANDS].index(name)
    if place == 0:
        return f"below {BANDS[0].below:.1f}"
    lower = BANDS[place - 1].below
    return f"{lower:.1f} to {BANDS[place].below:.1f}" if place < len(BANDS) - 1 else f"{lower:.1f} and more"


def uniform(max_length: int) -> float:
    """Loss of a guess that takes every position of a window for equally probable."""
    return math.log(max_length)


def measured(trials: pd.DataFrame) -> pd.DataFrame:
    """By band, best first: how many trials came to it, and from where to where their exact match and F1 went.

    Args:
        trials: columns validation_loss, exact_match, f1 of the same epoch; those that lack the loss are left out.
    """
    known = trials[trials["validation_loss"].notna()]
    known = known.assign(band=[band(float(loss)) for loss in known["validation_loss"]])
    rows = []
    for each in BANDS:
        part = known[known["band"] == each.name]
        row: dict[str, object] = {"band": each.name, "validation loss": bounds(each.name), "trials": len(part)}
        for name in ("exact_match", "f1"):
            values = part[name].astype("float64").dropna()
            row |= {f"lowest_{name}_share": values.min(), f"highest_{name}_share": values.max()}  # NaN of none
        rows.append(row)
    return pd.DataFrame(rows)


def goes_with(trials: pd.DataFrame) -> float:
    """Spearman's rank correlation of validation loss and exact match over trials; NaN for fewer than three."""
    known = trials[["validation_loss", "exact_match"]].astype("float64").dropna()
    loss, exact = known["validation_loss"].to_numpy(), known["exact_match"].to_numpy()
    if len(known) < 3 or np.ptp(loss) == 0 or np.ptp(exact) == 0:
        return math.nan
    return float(stats.spearmanr(loss, exact).statistic)

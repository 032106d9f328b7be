"""What single examples did over epochs, seeds and trials: never learned, changing with the seed, flipped between two.

Pure functions of margins and answers. An example that is never learned may be labelled wrongly, or hard, or rare:
these are candidates to look at, nothing more.

References: Swayamdipta et al., "Dataset Cartography: Mapping and Diagnosing Datasets with Training Dynamics", 2020,
doi:10.18653/v1/2020.emnlp-main.746; Milani Fard et al., "Launch and Iterate: Reducing Prediction Churn", NeurIPS 2016.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import special

from harness.analysis.statistics import Interval, wilson

Floats = npt.NDArray[np.float64]

FLIPS = ("becomes right", "becomes wrong", "wrong in another way")
MAP = ["position", "confidence", "variability", "right_share", "passes"]


def margins(logits: npt.ArrayLike, gold: npt.ArrayLike) -> Floats:
    """Gold logit minus the best other one, shape (examples,); NaN where a logit is not finite.

    Args:
        logits: shape (examples, labels), of two labels or more.
        gold: class ids, shape (examples,).
    """
    table, right = np.array(logits, np.float64), np.asarray(gold, np.int64)
    rows = np.arange(len(table))
    finite, of_gold = np.isfinite(table).all(axis=1), table[rows, right]
    table[rows, right] = -np.inf
    with np.errstate(invalid="ignore"):
        return np.where(finite, of_gold - table.max(axis=1), np.nan)


def data_map(runs: Sequence[npt.ArrayLike]) -> pd.DataFrame:
    """How surely, how steadily and how often each example was answered rightly while it was trained on.

    The probability is that of the gold class against the best other one, the logistic function of the margin; of two
    classes it is the gold class's probability.

    Args:
        runs: of each run the margins of its epochs, shape (epochs, examples); NaN where an example was not seen.

    Returns:
        Columns MAP, a row an example that was seen: its place; the probability's mean and standard deviation over the
        epochs, each the mean over the runs that saw it; the share of passes with the gold class ahead; their number.
    """
    tables = [np.asarray(run, np.float64) for run in runs]
    if not tables or not tables[0].shape[-1]:
        return pd.DataFrame({name: pd.Series(dtype="float64") for name in MAP})
    whole = np.concatenate(tables)
    seen = (~np.isnan(whole)).sum(axis=0)
    spreads, means = zip(*(_spread_and_mean(special.expit(table)) for table in tables), strict=True)
    frame = pd.DataFrame(
        {
            "position": np.arange(whole.shape[1]),
            "confidence": _mean(np.stack(means)),
            "variability": _mean(np.stack(spreads)),
            "right_share": (whole > 0).sum(axis=0) / np.maximum(seen, 1),
            "passes": seen,
        }
    )
    return frame[frame["passes"] > 0].reset_index(drop=True)


def _mean(table: Floats) -> Floats:
    """Of each column, without what is missing; NaN where all is."""
    count = (~np.isnan(table)).sum(axis=0)
    return np.where(count > 0, np.nansum(table, axis=0) / np.maximum(count, 1), np.nan)


def _spread_and_mean(table: Floats) -> tuple[Floats, Floats]:
    mean = _mean(table)
    return np.sqrt(_mean((table - mean) ** 2)), mean


def never_right(mapped: pd.DataFrame) -> pd.DataFrame:
    """The examples that no pass of several answered rightly, the surest wrong ones first."""
    never = mapped[(mapped["right_share"] == 0) & (mapped["passes"] > 1)]
    return never.sort_values("confidence", kind="stable", ignore_index=True)


# --- seeds ----------------------------------------------------------------------------------------------


class Churn(NamedTuple):
    """How much two runs or more differ in their answers.

    Attributes:
        mean, low, high: share of examples that two runs answer differently: mean, least and most of all pairs.
        pairs: of runs.
        changing: share of examples that the runs do not all answer alike.
    """

    mean: float
    low: float
    high: float
    pairs: int
    changing: Interval


def churn(answers: npt.ArrayLike) -> Churn:
    """Churn of runs that differ in nothing but their seed.

    Args:
        answers: ids of the answers, shape (runs, examples), of two runs or more.
    """
    table = np.asarray(answers)
    shares = [float((one != other).mean()) for one, other in itertools.combinations(table, 2)]
    changing = int((table != table[0]).any(axis=0).sum())
    return Churn(float(np.mean(shares)), min(shares), max(shares), len(shares), wilson(changing, table.shape[1]))


def agreement(answers: npt.ArrayLike) -> Floats:
    """Share of runs that give an example's most frequent answer, shape (examples,)."""
    table = np.sort(np.asarray(answers), axis=0)
    alike = [np.bincount(column).max() for column in table.T]
    return np.array(alike, np.float64) / len(table)


# --- two trials -----------------------------------------------------------------------------------------


def flips(first: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    """The examples that two trials answer differently, in the order of the first.

    Args:
        first, other: columns source_row (each once), predicted, wrong, probability; examples of one alone are left out.

    Returns:
        Columns source_row, way (one of FLIPS, as seen from the first), predicted and probability of both, the
        other's with the suffix `_other`.
    """
    columns = ["source_row", "predicted", "wrong", "probability"]
    both = first[columns].merge(other[columns], on="source_row", suffixes=("", "_other"), validate="one_to_one")
    both = both[both["predicted"] != both["predicted_other"]]
    wrong = zip(both["wrong"].tolist(), both["wrong_other"].tolist(), strict=True)
    ways = [_way(bool(before), bool(after)) for before, after in wrong]
    both = both.assign(way=pd.Series(ways, index=both.index, dtype="str"))
    # other words for the same answer are no flip
    return both[both["way"] != ""].drop(columns=["wrong", "wrong_other"]).reset_index(drop=True)


def _way(before: bool, after: bool) -> str:
    if before and after:
        return FLIPS[2]
    return FLIPS[0] if before else FLIPS[1] if after else ""


def answers_alike(frames: Sequence[pd.DataFrame]) -> tuple[list[Any], npt.NDArray[np.int64]]:
    """Source rows that all frames answer, and ids of the answers, shape (frames, rows); equal ids, equal answers."""
    answered = [frame.set_index("source_row")["predicted"] for frame in frames]
    common = answered[0].index
    for series in answered[1:]:
        common = common[common.isin(series.index)]
    values = np.concatenate([series.loc[common].to_numpy(dtype=object) for series in answered])
    ids, _ = pd.factorize(values)
    return common.tolist(), np.asarray(ids, np.int64).reshape(len(frames), len(common))

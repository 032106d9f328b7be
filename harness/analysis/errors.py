"""Where a classifier errs: which classes it takes for which, how surely, in which kinds of texts.

Pure functions of logits, class ids and texts. Every share has its interval and its count.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import special

from harness.analysis.calibration import softmax
from harness.analysis.statistics import Interval, wilson
from harness.metrics import confusion

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

PARTS = ["kind", "part", "examples", "wrong", "error_share", "error_share_low", "error_share_high"]
FIFTHS = 5


def answers(logits: npt.ArrayLike, gold: npt.ArrayLike, examples: pd.DataFrame) -> pd.DataFrame:
    """What was answered to each example, and how surely.

    Args:
        logits: shape (examples, labels); an example with a non-finite one is left out.
        gold: class ids, shape (examples,).
        examples: columns source_row, group, text, in the order of the logits.

    Returns:
        The columns of `examples`, then gold and predicted (class ids), wrong, probability (of the answer given),
        gold_probability, gold_rank (1 where the answer is right; of equals the lower id comes first) and characters
        (of the text).
    """
    table, right = np.asarray(logits, np.float64), np.asarray(gold, np.int64)
    finite = np.isfinite(table).all(axis=1)
    table, right = table[finite], right[finite]
    probabilities, rows = softmax(table) if len(table) else table, np.arange(len(table))
    given = table.argmax(axis=1) if len(table) else right
    kept = examples[["source_row", "group", "text"]][finite].reset_index(drop=True)
    return kept.assign(
        gold=right,
        predicted=given,
        wrong=given != right,
        probability=probabilities[rows, given],
        gold_probability=probabilities[rows, right],
        gold_rank=1 + _before(table, right).sum(axis=1),
        characters=kept["text"].str.len().astype("Int64"),
    )


def _before(table: Floats, gold: Ints) -> npt.NDArray[np.bool_]:
    """Which classes come before the gold one, shape (examples, labels)."""
    of_gold, ids = table[np.arange(len(gold)), gold][:, None], np.arange(table.shape[1])
    return np.asarray((table > of_gold) | ((table == of_gold) & (ids < gold[:, None])))


# --- classes ------------------------------------------------------------------------------------------


def matrix(answered: pd.DataFrame, num_labels: int) -> Ints:
    """Counts of (gold, predicted), shape (labels, labels)."""
    return confusion(answered["predicted"].to_numpy(), answered["gold"].to_numpy(), num_labels)


def by_class(table: Ints, names: Sequence[str]) -> pd.DataFrame:
    """Precision, recall and F1 of each class with 95% intervals; missing where nothing is counted.

    Precision and recall are shares, so their intervals are Wilson's. F1 is 2 J / (1 + J), which rises with
    J = TP / (TP + FP + FN), the share of hits among the examples that are of the class or were taken for it: its
    interval is Wilson's of J, transformed.

    Args:
        table: counts of (gold, predicted), shape (labels, labels).
        names: of the classes.
    """
    rows = []
    for k, name in enumerate(names):
        hits, true, predicted = int(table[k, k]), int(table[k].sum()), int(table[:, k].sum())
        shares = {
            "precision": wilson(hits, predicted),
            "recall": wilson(hits, true),
            "f1": f1_interval(hits, true + predicted - hits),
        }
        row = {"class": name, "examples": true, "predicted_so": predicted}
        for metric, share in shares.items():
            row |= {metric: share.estimate, f"{metric}_low": share.low, f"{metric}_high": share.high}
        rows.append(row)
    return pd.DataFrame(rows)


def f1_interval(hits: int, concerned: int) -> Interval:
    """F1 of a class with `hits` true positives among `concerned` examples that are of it or were taken for it."""
    share = wilson(hits, concerned)
    estimate, low, high = (2 * j / (1 + j) for j in (share.estimate, share.low, share.high))
    return Interval(estimate, low, high, concerned)


def confusions(table: Ints, names: Sequence[str]) -> pd.DataFrame:
    """Which classes were taken for which, the most frequent first: columns gold, predicted, examples, of, share.

    `of` is the number of examples of the gold class, `share` is of those, with its Wilson interval.
    """
    rows = []
    for gold, predicted in zip(*np.nonzero(table), strict=True):
        if gold != predicted:
            count, of = int(table[gold, predicted]), int(table[gold].sum())
            share = wilson(count, of)
            rows.append((names[gold], names[predicted], count, of, *share[:3]))
    columns = ["gold", "predicted", "examples", "of", "share", "share_low", "share_high"]
    frame = pd.DataFrame(rows, columns=columns)
    return frame.sort_values("examples", ascending=False, kind="stable", ignore_index=True)


# --- single errors --------------------------------------------------------------------------------------


def most_confident(answered: pd.DataFrame, at_most: int = 20) -> pd.DataFrame:
    """The wrong answers with the highest probability, highest first."""
    wrong = answered[answered["wrong"]]
    return wrong.sort_values("probability", ascending=False, kind="stable").head(at_most)


def near_misses(answered: pd.DataFrame, at_most: int = 20) -> pd.DataFrame:
    """The wrong answers that missed by least, with `margin`: probability of the answer minus that of the gold class."""
    wrong = answered[answered["wrong"]]
    wrong = wrong.assign(margin=wrong["probability"] - wrong["gold_probability"])
    return wrong.sort_values("margin", kind="stable").head(at_most)


# --- kinds of examples ------------------------------------------------------------------------------------


def by_length(answered: pd.DataFrame) -> pd.DataFrame:
    """The share of errors by fifths of text length: columns PARTS, shortest first; no rows without texts."""
    known = answered.dropna(subset=["characters"])
    lengths = known["characters"].to_numpy(dtype=np.int64)
    parts = fifths(lengths)
    rows = [_part("text length", name, known["wrong"][chosen]) for name, chosen in parts]
    return pd.DataFrame(rows, columns=PARTS)


def by_group(answered: pd.DataFrame) -> pd.DataFrame:
    """The share of errors by group, most errors first: columns PARTS; no rows without groups."""
    named = answered[answered["group"] != ""]
    rows = [_part("group", str(name), part["wrong"]) for name, part in named.groupby("group", sort=True)]
    frame = pd.DataFrame(rows, columns=PARTS)
    return frame.sort_values("error_share", ascending=False, kind="stable", ignore_index=True)


def fifths(values: Ints) -> list[tuple[str, npt.NDArray[np.bool_]]]:
    """At most five parts of about as many examples, lowest first: their range in words, and who is in it.

    Equal values are in one part, so that few distinct ones give fewer parts.
    """
    if not len(values):
        return []
    ordered = np.sort(values)
    last = np.ceil(np.arange(1, FIFTHS + 1) * len(ordered) / FIFTHS).astype(np.int64) - 1
    edges = np.unique(ordered[last])
    place = np.searchsorted(edges, values, side="left")
    parts = [(place == part) for part in range(len(edges))]
    return [(_range(values[chosen]), chosen) for chosen in parts]


def _range(values: Ints) -> str:
    low, high = int(values.min()), int(values.max())
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _part(kind: str, part: str, wrong: pd.Series[bool]) -> tuple[object, ...]:
    count, n = int(wrong.sum()), len(wrong)
    return (kind, part, n, count, *wilson(count, n)[:3])


class Larger(NamedTuple):
    """How much larger one sample tends to be than another.

    Attributes:
        share: of pairs in which the first is larger, ties counting half; 0.5 is no difference.
        p_value: two-sided.
    """

    share: float
    p_value: float


def tends_larger(first: npt.ArrayLike, second: npt.ArrayLike) -> Larger:
    """Mann and Whitney's test by the normal approximation with ties; NaN where a sample is empty or all are equal.

    Reference: Mann and Whitney, "On a Test of Whether one of Two Random Variables is Stochastically Larger than the
    Other", 1947, doi:10.1214/aoms/1177730491.
    """
    one, two = np.asarray(first, np.float64), np.asarray(second, np.float64)
    n, m = one.size, two.size
    if not n or not m:
        return Larger(math.nan, math.nan)
    _, place, ties = np.unique(np.concatenate([one, two]), return_inverse=True, return_counts=True)
    ranks = np.cumsum(ties) - (ties - 1) / 2  # mean rank of each distinct value
    pairs = float(ranks[place[:n]].sum()) - n * (n + 1) / 2
    total = n + m
    variance = n * m / 12 * (total + 1 - float((ties.astype(float) ** 3 - ties).sum()) / (total * (total - 1)))
    if variance <= 0:
        return Larger(pairs / (n * m), math.nan)
    # Half a pair is taken off, since pairs are counted and the normal curve is not.
    score = max(0.0, abs(pairs - n * m / 2) - 0.5) / math.sqrt(variance)
    return Larger(pairs / (n * m), min(1.0, 2 * float(special.ndtr(-score))))

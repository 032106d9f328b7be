"""Which validation examples two trials answer differently, for `harness compare`. No text is shown."""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd

from harness.analysis import examples
from harness.analysis.statistics import wilson
from harness.report.answered import Answered
from harness.report.error_words import interval
from harness.report.excerpts import excerpt
from harness.report.naming import plural

AT_MOST = 50  # rows of the table, for each pair of trials


class Flipped(NamedTuple):
    """What changed between two trials: a sentence, and rows for the table."""

    said: str
    rows: pd.DataFrame


def between(first: Answered, other: Answered, first_name: str, other_name: str) -> Flipped | None:
    """What the other trial answers otherwise than the first; None where the answers of one are not known."""
    one, two = first.frame, other.frame
    if one is None or two is None or not (one["source_row"].is_unique and two["source_row"].is_unique):
        return None
    found = examples.flips(one, two)
    common = int(one["source_row"].isin(two["source_row"]).sum())
    counts = found["way"].value_counts()
    parts = [f"{int(counts.get(way, 0))} {word}" for way, word in zip(examples.FLIPS, _WORDS, strict=True)]
    said = (
        f"{other_name} flips {len(found):,} of {plural(common, 'validation example')} of {first_name} "
        f"({interval(wilson(len(found), common))}): {', '.join(parts)}."
    )
    return Flipped(said, _rows(found, first, one, other_name))


_WORDS = ("become right", "become wrong", "stay wrong in another way")


def _rows(found: pd.DataFrame, first: Answered, one: pd.DataFrame, other_name: str) -> pd.DataFrame:
    """The surest flips first; classes by name, and of spans the way alone, for their answers are texts."""
    shown = found.sort_values("probability_other", ascending=False, kind="stable").head(AT_MOST)
    rows = pd.DataFrame({"trial": other_name, "source_row": shown["source_row"], "way": shown["way"]})
    if not first.names:
        return rows.assign(probability=shown["probability_other"])
    names = [excerpt(name, 60) for name in first.names]
    gold = dict(zip(one["source_row"].tolist(), one["gold"].tolist(), strict=True))
    return rows.assign(
        gold=[names[gold[row]] for row in shown["source_row"].tolist()],
        before=[names[answer] for answer in shown["predicted"].tolist()],
        after=[names[answer] for answer in shown["predicted_other"].tolist()],
        probability=shown["probability_other"],
    )

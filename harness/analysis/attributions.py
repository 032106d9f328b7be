"""From tokens to words: what each word of a text did for an answer, and which words did most."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

SPECIAL = -1
TOLERANCE = 0.05  # of the rise from baseline to text, that the scores may miss


class Word(NamedTuple):
    """A word as the text has it, with the blanks before it; its score is the sum over its tokens."""

    text: str
    part: int
    score: float


def words(tokens: Sequence[Sequence[Any]], scores: Sequence[float]) -> list[Word]:
    """The words of a text in order; special tokens are none.

    Args:
        tokens: (text, part, word) of each; pieces of one word stand next to each other.
        scores: one a token.
    """
    told = [(str(text), int(part), int(word), float(score)) for (text, part, word), score in _pairs(tokens, scores)]
    found = []
    for (part, _), pieces in groupby((each for each in told if each[1] != SPECIAL), key=lambda each: each[1:3]):
        of_word = list(pieces)
        found.append(Word("".join(each[0] for each in of_word), part, sum(each[3] for each in of_word)))
    return found


def strongest(found: Sequence[Word], at_most: int) -> list[Word]:
    """The words with the largest scores of either sign, largest first."""
    return sorted(found, key=lambda word: -abs(word.score))[:at_most]


def stretch(lengths: Sequence[int], weights: Sequence[float], at_most: int) -> slice:
    """Words next to each other, of at most so many characters in all, that weigh most together; the first such.

    Args:
        lengths: characters of each word.
        weights: of each word, none negative.
        at_most: characters; a longer word stands alone.
    """
    best, heaviest, first, characters, weight = slice(0, min(1, len(lengths))), -1.0, 0, 0, 0.0
    for last, (length, own) in enumerate(zip(lengths, weights, strict=True)):
        characters, weight = characters + length, weight + own
        while characters > at_most and first < last:
            characters, weight = characters - lengths[first], weight - weights[first]
            first += 1
        if weight > heaviest * (1 + 1e-9):
            best, heaviest = slice(first, last + 1), weight
    return best


def by_part(tokens: Sequence[Sequence[Any]], scores: Sequence[float]) -> dict[int, float]:
    """Share of all that was done, for and against, by part: 0 and 1 for the texts, SPECIAL for special tokens."""
    done = {part: 0.0 for part in (SPECIAL, 0, 1)}
    for (_, part, _), score in _pairs(tokens, scores):
        done[int(part)] += abs(float(score))
    whole = sum(done.values())
    return {part: value / whole for part, value in done.items()} if whole else done


def missed(frame: pd.DataFrame) -> pd.Series[float]:
    """How much of the rise from baseline to text the scores miss, as a share of the rise; missing without a baseline.

    Args:
        frame: columns value, baseline_value, delta.
    """
    rise = (frame["value"] - frame["baseline_value"]).abs()
    return frame["delta"].abs() / rise.where(rise > 0)


def agreement(frame: pd.DataFrame, method: str, other: str) -> list[float]:
    """Spearman's rank correlation between what two methods say of the words, one number a text and explained number.

    Without regard to signs: attention has none. Texts with fewer than three words are left out.

    Args:
        frame: columns trial, position, target, method, tokens, scores.
        method, other: the two.
    """
    found = []
    for _, both in frame.groupby(["trial", "position", "target"], sort=True):
        rows = {row["method"]: row for _, row in both.iterrows()}
        if method not in rows or other not in rows:
            continue
        one, two = (
            np.array([abs(word.score) for word in words(rows[name]["tokens"], rows[name]["scores"])])
            for name in (method, other)
        )
        if len(one) == len(two) >= 3 and np.ptp(one) > 0 and np.ptp(two) > 0:
            found.append(float(stats.spearmanr(one, two).statistic))
    return found


def _pairs(tokens: Sequence[Sequence[Any]], scores: Sequence[float]) -> list[tuple[Sequence[Any], float]]:
    return list(zip(tokens, scores, strict=True))

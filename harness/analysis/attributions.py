"""From tokens to words: what each word of a text did for an answer, and which words did most."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any, NamedTuple

import pandas as pd

SPECIAL = -1


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


def special(tokens: Sequence[Sequence[Any]], scores: Sequence[float]) -> float:
    """What the special tokens did together."""
    return sum((float(score) for token, score in _pairs(tokens, scores) if token[1] == SPECIAL), 0.0)


def strongest(found: Sequence[Word], at_most: int) -> list[Word]:
    """The words with the largest scores of either sign, largest first."""
    return sorted(found, key=lambda word: -abs(word.score))[:at_most]


def missed(frame: pd.DataFrame) -> pd.Series[float]:
    """How much of the rise from baseline to text the scores miss, as a share of the rise; missing without a baseline.

    Args:
        frame: columns value, baseline_value, delta.
    """
    rise = (frame["value"] - frame["baseline_value"]).abs()
    return frame["delta"].abs() / rise.where(rise > 0)


def _pairs(tokens: Sequence[Sequence[Any]], scores: Sequence[float]) -> list[tuple[Sequence[Any], float]]:
    return list(zip(tokens, scores, strict=True))

"""Explained texts as lines of shaded words: the same in report and demo."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.analysis.attributions import SPECIAL, Word, stretch, words
from harness.report.excerpts import AT_MOST, cleaned
from harness.report.shades import Mark, strength

Line = tuple[str, Sequence[Mark]]


def merged(explained: Sequence[tuple[str, Sequence[Sequence[Any]], Sequence[float]]]) -> list[tuple[str, int]]:
    """Which explanations say different things: (what they explain, place of the first that says so).

    Attention says the same of all numbers that are read at one token.

    Args:
        explained: (what is explained, tokens, scores) of each explanation of one answer.
    """
    names: dict[tuple[float, ...], list[str]] = {}
    places: dict[tuple[float, ...], int] = {}
    for place, (name, _, scores) in enumerate(explained):
        names.setdefault(tuple(scores), []).append(name)
        places.setdefault(tuple(scores), place)
    return [(" and ".join(told), places[scores]) for scores, told in names.items()]


def lines(
    tokens: Sequence[Sequence[Any]], scores: Sequence[float], names: Mapping[int, str], at_most: int | None = None
) -> list[Line]:
    """One line a text, first texts first.

    Args:
        tokens, scores: of one explanation.
        names: of the lines, by part.
        at_most: characters of a text; of a longer one the stretch is taken whose words did most.
    """
    found = words(tokens, scores)
    most = max((abs(word.score) for word in found), default=0.0)
    told: list[Line] = []
    for part, name in names.items():
        of_part = [word for word in found if word.part == part]
        if part != SPECIAL and of_part:
            told.append((name, _marks(of_part, most, at_most)))
    return told


def _marks(found: Sequence[Word], most: float, at_most: int | None) -> list[Mark]:
    kept = slice(None)
    if at_most is not None:
        kept = stretch([len(word.text) for word in found], [abs(word.score) for word in found], at_most)
    first, last, _ = kept.indices(len(found))
    marks = [mark for place, word in enumerate(found[first:last]) for mark in _of_word(word, most, place == 0)]
    before = [Mark("… ", 0)] if first > 0 else []
    return [*before, *marks, *([Mark(" …", 0)] if last < len(found) else [])]


def _of_word(word: Word, most: float, opens: bool) -> list[Mark]:
    """The blank before a word stays without shade."""
    text = cleaned(word.text)
    text = text if len(text) <= AT_MOST else f"{text[: AT_MOST - 1]}…"
    blank = [Mark(" ", 0)] if word.text[:1].isspace() and not opens else []
    return [*blank, Mark(text, strength(word.score, most), f"{word.score:+.3f}".replace("-", "−"))]

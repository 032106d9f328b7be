"""Explained texts as lines of shaded words: the same in report and demo."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from harness.analysis.attributions import Word, stretch, words
from harness.report.excerpts import AT_MOST, cleaned
from harness.report.shades import Mark, strength

Line = tuple[str, Sequence[Mark]]


class Explained(NamedTuple):
    """What one explanation of an answer says.

    Attributes:
        name: of what it explains: a class, or start or end of the answer.
        tokens: (text, part, word) of each.
        scores: one a token.
    """

    name: str
    tokens: Sequence[Sequence[Any]]
    scores: Sequence[float]


def shaded(explained: Sequence[Explained], asks: bool, at_most: int | None = None) -> list[Line]:
    """One line for each explained number and text; what says the same of several numbers is said once.

    A text that is shown already is not repeated without a shade.

    Args:
        explained: the explanations of one answer.
        asks: whether it answers a question.
        at_most: characters of a text; of a longer one the stretch is taken whose words did most.
    """
    names: dict[tuple[float, ...], list[str]] = {}  # attention says the same of all numbers that are read at one token
    for each in explained:
        names.setdefault(tuple(each.scores), []).append(each.name)
    found: list[Line] = []
    for each in explained:
        told = names.pop(tuple(each.scores), None)
        if told is not None:
            new = _lines(each, " and ".join(told), asks, at_most)
            found += [line for line in new if len(found) < len(new) or any(mark.strength for mark in line[1])]
    return found


def _lines(explained: Explained, name: str, asks: bool, at_most: int | None) -> list[Line]:
    found = words(explained.tokens, explained.scores)
    most = max((abs(word.score) for word in found), default=0.0)
    parts = [part for part in (0, 1) if any(word.part == part for word in found)]
    labels = (name,) if len(parts) < 2 else (f"{name}: first text", f"{name}: second text")
    if asks:
        labels = (f"{name} of the answer: question", f"{name} of the answer: context")
    return [(labels[part], _marks([word for word in found if word.part == part], most, at_most)) for part in parts]


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

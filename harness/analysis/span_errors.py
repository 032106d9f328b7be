"""Where answers taken from a text go wrong: how they miss the references, on which questions, how surely.

Pure functions of stored spans and examples. Exact match and F1 are those of `metrics.spans`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from harness.analysis.errors import fifths
from harness.analysis.statistics import Interval, t_interval, wilson
from harness.metrics.spans import exact_scores, f1_scores

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

WAYS = (
    "no answer given",
    "answered without need",
    "too long",
    "too short",
    "shifted",
    "same words elsewhere",
    "elsewhere",
)
"""How an answer can miss, in the order in which they are tried."""

PARTS = ["kind", "part", "examples", "wrong", "exact_match", "exact_match_low", "exact_match_high"]
PARTS += ["f1", "f1_low", "f1_high", "loss"]
_WORDS = ("who", "what", "when", "where", "which", "why", "how many", "how", "other")
_ASKED = re.compile(r"\b(who(?:m|se)?|what|when|where|which|why|how (?:many|much)|how)\b", re.IGNORECASE)
_LENGTHS = ((1, "1 word"), (2, "2 words"), (4, "3 to 4 words"), (9, "5 to 9 words"), (10**9, "10 words or more"))
_PLACES = ("first fifth", "second fifth", "third fifth", "fourth fifth", "last fifth")


class Question(NamedTuple):
    """A stored example taken apart.

    Attributes:
        question, context: the two texts.
        starts: first character of each reference in the context.
        references: right answers; empty where the context holds none.
    """

    question: str
    context: str
    starts: tuple[int, ...]
    references: tuple[str, ...]


def taken_apart(text: str, label: str) -> Question:
    """Question and context of a stored pair, with the references of its label.

    The texts stand a line each. A question may hold line breaks of its own: the break is that after which the
    references lie where they say.
    """
    pairs = [(int(start), str(answer)) for start, answer in json.loads(label)]
    breaks = [place for place, letter in enumerate(text) if letter == "\n"]
    cut = next((place for place in breaks if _holds(text, place + 1, pairs)), breaks[0] if breaks else len(text))
    starts, references = tuple(start for start, _ in pairs), tuple(answer for _, answer in pairs)
    return Question(text[:cut], text[cut + 1 :], starts, references)


def _holds(text: str, context: int, pairs: Sequence[tuple[int, str]]) -> bool:
    return all(text.startswith(answer, context + start) for start, answer in pairs)


def answers(spans: npt.ArrayLike, losses: npt.ArrayLike | None, examples: pd.DataFrame) -> pd.DataFrame:
    """What was answered to each question, how surely and how well.

    Args:
        spans: start, end, score and probability of the best spans in order, shape (examples, places, 4); start and end
            are -1 for the null answer, NaN where there are fewer.
        losses: mean loss of each example's windows, shape (examples,); None when unknown.
        examples: columns source_row, label, text, in the order of the spans; every text is there.

    Returns:
        Columns source_row, text, question, context, starts, references, start, end, predicted, probability, exact,
        wrong, f1, exact_rank (place of the first exact span, 0 without one), way (how it misses, "" when exact) and
        loss. Examples without a finite span are left out.
    """
    table = np.asarray(spans, np.float64)
    finite = np.isfinite(table[:, 0]).all(axis=1)
    table, kept = table[finite], examples[finite].reset_index(drop=True)
    parts = [taken_apart(text, label) for text, label in zip(kept["text"], kept["label"], strict=True)]
    references = [part.references for part in parts]
    told = [_texts(table[:, place], parts) for place in range(table.shape[1])]
    exact = np.stack([_where_there(exact_scores, row, references) for row in told], axis=1) > 0  # (examples, places)
    start, end = (np.nan_to_num(table[:, 0, axis], nan=-1).astype(np.int64) for axis in (0, 1))
    predicted = [text or "" for text in told[0]]
    f1 = f1_scores(predicted, references)
    given = zip(parts, start.tolist(), end.tolist(), f1.tolist(), exact[:, 0].tolist(), strict=True)
    return pd.DataFrame(
        {
            "source_row": kept["source_row"],
            "text": kept["text"],
            "question": [part.question for part in parts],
            "context": [part.context for part in parts],
            "starts": pd.Series([part.starts for part in parts], dtype=object),
            "references": pd.Series(references, dtype=object),
            "start": start,
            "end": end,
            "predicted": pd.Series(predicted, dtype="str"),
            "probability": table[:, 0, 3],
            "exact": exact[:, 0],
            "wrong": ~exact[:, 0],
            "f1": f1,
            "exact_rank": np.where(exact.any(axis=1), exact.argmax(axis=1) + 1, 0),
            "way": pd.Series(["" if hit else way(part, a, b, score) for part, a, b, score, hit in given], dtype="str"),
            "loss": np.full(len(kept), np.nan) if losses is None else np.asarray(losses, np.float64)[finite],
        }
    )


def _texts(spans: Floats, parts: Sequence[Question]) -> list[str | None]:
    """The text of one span of each example; empty for the null answer, None where there is no span."""
    found: list[str | None] = []
    for (start, end, score, _), part in zip(spans.tolist(), parts, strict=True):
        known = score == score  # NaN is not equal to itself
        found.append((part.context[int(start) : int(end)] if start >= 0 else "") if known else None)
    return found


def _where_there(
    score: Callable[[Sequence[str], Sequence[Sequence[str]]], Floats],
    told: Sequence[str | None],
    references: Sequence[Sequence[str]],
) -> Floats:
    """Scores of all examples at once, since the rules depend on all references; 0 where there is no span."""
    scores = score([text or "" for text in told], references)
    return scores * np.array([text is not None for text in told], dtype=np.float64)


def way(part: Question, start: int, end: int, f1: float) -> str:
    """How an answer that is not exact misses: one of WAYS.

    Args:
        part: the question.
        start, end: characters of the answer in the context; -1 for the null answer.
        f1: of the answer's words.
    """
    if not part.references:
        return "answered without need"
    if start < 0:
        return "no answer given"
    gold = [(first, first + len(text)) for first, text in zip(part.starts, part.references, strict=True)]
    if any(start <= first and last <= end for first, last in gold):
        return "too long"
    if any(first <= start and end <= last for first, last in gold):
        return "too short"
    if any(start < last and first < end for first, last in gold):
        return "shifted"
    return "same words elsewhere" if f1 > 0 else "elsewhere"


# --- all errors -------------------------------------------------------------------------------------------


def by_way(answered: pd.DataFrame) -> pd.DataFrame:
    """How the wrong answers miss: columns way, examples, share (of the wrong ones) with Wilson's interval, next_four.

    `next_four` counts those whose next four spans hold an exact one.
    """
    wrong = answered[answered["wrong"]]
    rows = []
    for name in WAYS:
        chosen = wrong[wrong["way"] == name]
        if len(chosen):
            share = wilson(len(chosen), len(wrong))
            rows.append((name, len(chosen), *share[:3], int((chosen["exact_rank"] > 0).sum())))
    return pd.DataFrame(rows, columns=["way", "examples", "share", "share_low", "share_high", "next_four"])


def near_misses(answered: pd.DataFrame, at_most: int = 20) -> pd.DataFrame:
    """Wrong answers that share words with a reference or have an exact one among the next four, highest F1 first."""
    near = answered[answered["wrong"] & ((answered["f1"] > 0) | (answered["exact_rank"] > 0))]
    return near.sort_values(["f1", "probability"], ascending=False, kind="stable").head(at_most)


def mean_f1(answered: pd.DataFrame) -> Interval:
    """Mean F1 with its t interval, which ends at 0 and 1 as F1 does."""
    found = t_interval(answered["f1"])
    low, high = (float(np.clip(bound, 0, 1)) for bound in (found.low, found.high))  # NaN stays NaN
    return found._replace(low=low, high=high)


# --- kinds of questions -------------------------------------------------------------------------------------


def question_word(question: str) -> str:
    """The first word that asks: who (also whom, whose), what, ..., how many (also how much), how; else other."""
    found = _ASKED.search(question)
    if found is None:
        return "other"
    word = found.group(1).lower()
    return "who" if word.startswith("who") else "how many" if word.startswith("how ") else word


def by_kind(answered: pd.DataFrame) -> pd.DataFrame:
    """Exact match, F1 and loss by question word, answer length, context length and place of the answer.

    Returns:
        Columns PARTS; exact match with Wilson's interval, F1 as `mean_f1` has it, the loss as a mean.
    """
    rows: list[dict[str, Any]] = []
    for kind, parts in _kinds(answered).items():
        rows += [_part(kind, name, answered[chosen]) for name, chosen in parts if chosen.any()]
    return pd.DataFrame(rows, columns=PARTS)


def _kinds(answered: pd.DataFrame) -> dict[str, list[tuple[str, Bools]]]:
    first = [references[0] if references else "" for references in answered["references"]]
    lengths = np.array([len(context) for context in answered["context"]], dtype=np.int64)
    has = np.array([bool(references) for references in answered["references"]], dtype=bool)
    starts = np.array([starts[0] if starts else 0 for starts in answered["starts"]], dtype=np.float64)
    fifth = np.minimum(5 * starts / np.maximum(lengths, 1), 4).astype(np.int64)
    asked = np.array([question_word(question) for question in answered["question"]], dtype=object)
    size = np.array([_length(text) if known else "no answer" for text, known in zip(first, has, strict=True)], object)
    return {
        "question word": [(word, asked == word) for word in _WORDS],
        "length of the answer": [(name, size == name) for name in (*(name for _, name in _LENGTHS), "no answer")],
        "length of the context (characters)": fifths(lengths),
        "place of the answer in the context": [
            (name, has & (fifth == place)) for place, name in enumerate(_PLACES)
        ],
    }  # fmt: skip


def _length(answer: str) -> str:
    count = len(answer.split())
    return next(name for at_most, name in _LENGTHS if count <= at_most)


def _part(kind: str, name: str, chosen: pd.DataFrame) -> dict[str, Any]:
    hits, n = int(chosen["exact"].sum()), len(chosen)
    exact, f1 = wilson(hits, n), mean_f1(chosen)
    found = {"kind": kind, "part": name, "examples": n, "wrong": n - hits, "loss": float(chosen["loss"].mean())}
    for metric, interval in (("exact_match", exact), ("f1", f1)):
        found |= {metric: interval.estimate, f"{metric}_low": interval.low, f"{metric}_high": interval.high}
    return found

"""Metrics of predicted answers: exact match and F1 over normalised words, as SQuAD's official evaluation has them.

Pure functions over texts. A question may have several references, of which the best counts; a question without
one cannot be answered from its context, and its only right answer is the empty text.

References: Rajpurkar et al., "SQuAD: 100,000+ Questions for Machine Comprehension of Text", 2016, arXiv:1606.05250
(`evaluate-v1.1.py`); Rajpurkar, Jia and Liang, "Know What You Don't Know", 2018, arXiv:1806.03822
(`evaluate-v2.0.py`).
"""

from __future__ import annotations

import functools
import math
import re
import string
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from harness.metrics.registry import metric

Scores = npt.NDArray[np.float64]
References = Sequence[Sequence[str]]

_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)  # the 32 of ASCII; others are part of a word


# --- one answer -----------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=1 << 16)  # the references of an evaluation come back every epoch
def words(text: str) -> tuple[str, ...]:
    """The words that count: lower case, without ASCII punctuation, then without the articles a, an, the."""
    return tuple(_ARTICLES.sub(" ", text.lower().translate(_WITHOUT_PUNCTUATION)).split())


def _exact(predicted: tuple[str, ...], reference: tuple[str, ...]) -> float:
    return float(predicted == reference)


def _overlap(predicted: tuple[str, ...], reference: tuple[str, ...]) -> float:
    """F1 of two bags of words; 0.0 when they share none, even if both are empty."""
    if set(predicted).isdisjoint(reference):
        return 0.0
    shared = sum((Counter(predicted) & Counter(reference)).values())
    precision, recall = shared / len(predicted), shared / len(reference)
    return 2 * precision * recall / (precision + recall)


def _overlap_or_neither(predicted: tuple[str, ...], reference: tuple[str, ...]) -> float:
    """F1 as version 2.0 has it: two answers without words agree."""
    return _overlap(predicted, reference) if predicted and reference else float(predicted == reference)


# --- all of them ----------------------------------------------------------------------------------------


def exact_scores(predictions: Sequence[str], references: References, *, v2: bool | None = None) -> Scores:
    """1.0 where a prediction has the words of one of its references, in order, else 0.0; shape (examples,).

    Args:
        predictions: one answer an example, "" for none.
        references: the right answers of each example, none for a question without an answer.
        v2: the rules of version 2.0, or of 1.1; None looks whether a question has no answer.

    Raises:
        ValueError: when there are not as many predictions as references.
    """
    v2 = unanswerable(references) if v2 is None else v2
    return _scores(predictions, references, v2, _exact, _exact)


def f1_scores(predictions: Sequence[str], references: References, *, v2: bool | None = None) -> Scores:
    """F1 of the words of each prediction and of its best reference; shape (examples,).

    Args:
        predictions: one answer an example, "" for none.
        references: the right answers of each example, none for a question without an answer.
        v2: the rules of version 2.0, or of 1.1; None looks whether a question has no answer.

    Raises:
        ValueError: when there are not as many predictions as references.
    """
    v2 = unanswerable(references) if v2 is None else v2
    return _scores(predictions, references, v2, _overlap, _overlap_or_neither)


def unanswerable(references: References) -> bool:
    """Whether any question has no answer: then version 2.0's rules hold for all, else version 1.1's.

    The rules differ only in answers without words, such as "the": version 2.0 ignores such references and finds that
    two answers without words agree; version 1.1 finds an exact match in them with an F1 of 0.
    """
    return not all(references)


_Compare = Callable[[tuple[str, ...], tuple[str, ...]], float]


def _scores(predictions: Sequence[str], references: References, v2: bool, first: _Compare, second: _Compare) -> Scores:
    """The best score of each prediction, by `first` under version 1.1's rules, by `second` under version 2.0's."""
    if len(predictions) != len(references):
        raise ValueError(f"{len(predictions)} predictions and {len(references)} references must be one an example each")
    compare = second if v2 else first
    found = np.zeros(len(predictions))
    for i, (prediction, texts) in enumerate(zip(predictions, references, strict=True)):
        predicted = words(prediction)
        right = {words(text) for text in texts}
        if v2:
            right = {reference for reference in right if reference} or {()}
        found[i] = max(compare(predicted, reference) for reference in right)
    return found


def _mean(scores: Scores) -> float:
    return math.fsum(scores) / len(scores) if len(scores) else math.nan


def _answerable(references: References) -> npt.NDArray[np.bool_]:
    return np.array([bool(texts) for texts in references], dtype=bool)


@metric(output="spans", higher_is_better=True, unit="fraction")
def exact_match(predictions: Sequence[str], references: References) -> float:
    """Share of answers with the very words of a reference; NaN when there are none.

    Args:
        predictions: one answer an example, "" for none.
        references: the right answers of each example.
    """
    return _mean(exact_scores(predictions, references))


@metric(output="spans", higher_is_better=True, unit="fraction")
def f1(predictions: Sequence[str], references: References) -> float:
    """Mean over answers of the F1 of their words and the best reference's; NaN when there are none.

    Args:
        predictions: one answer an example, "" for none.
        references: the right answers of each example.
    """
    return _mean(f1_scores(predictions, references))


@metric(output="spans", higher_is_better=True, unit="fraction")
def has_answer_exact_match(predictions: Sequence[str], references: References) -> float:
    """Exact match of the questions that have an answer; NaN unless there are others beside them.

    Args:
        predictions: one answer an example, "" for none.
        references: the right answers of each example.
    """
    has = _answerable(references)
    return math.nan if has.all() else _mean(exact_scores(predictions, references)[has])


@metric(output="spans", higher_is_better=True, unit="fraction")
def has_answer_f1(predictions: Sequence[str], references: References) -> float:
    """F1 of the questions that have an answer; NaN unless there are others beside them.

    Args:
        predictions: one answer an example, "" for none.
        references: the right answers of each example.
    """
    has = _answerable(references)
    return math.nan if has.all() else _mean(f1_scores(predictions, references)[has])


@metric(output="spans", higher_is_better=True, unit="fraction")
def no_answer_accuracy(predictions: Sequence[str], references: References) -> float:
    """Share of the questions without an answer that got none; NaN when every question has one.

    Args:
        predictions: one answer an example, "" for none.
        references: the right answers of each example.
    """
    return _mean(exact_scores(predictions, references)[~_answerable(references)])

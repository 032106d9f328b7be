"""The score of a predictions file, figure for figure as SQuAD's official scripts print it.

The names are theirs too, except that `exact_match` of version 1.1 is also said for version 2.0, which calls it
`exact`. Figures are points, 0 to 100. Where a script would stop or say nothing, it is refused or counted here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.errors import DataError
from harness.metrics.spans import Scores, exact_scores, f1_scores, unanswerable

Flags = npt.NDArray[np.bool_]


def score(
    predictions: Mapping[str, str],
    references: Mapping[str, Sequence[str]],
    *,
    v2: bool = False,
    null_probabilities: Mapping[str, float] | None = None,
    threshold: float = 1.0,
) -> dict[str, Any]:
    """Exact match and F1 of a predictions file, in points, with the numbers behind them.

    A question without a prediction scores 0, as in version 1.1 (version 2.0's script stops there).

    Args:
        predictions: question id -> answer, "" for none.
        references: question id -> right answers, none for a question that has no answer.
        v2: by the rules of version 2.0; they hold in any case as soon as a question has no answer.
        null_probabilities: question id -> how sure the model is that there is no answer (version 2.0).
        threshold: a prediction with a higher null probability counts as no answer.

    Returns:
        `exact_match`, `f1`, `total`, and how many ids are `missing` and `unknown`; by the rules of version 2.0 also
        `HasAns_*` and `NoAns_*` where there are such questions, and with null probabilities `best_exact`,
        `best_exact_thresh`, `best_f1`, `best_f1_thresh`.

    Raises:
        DataError: no questions, a prediction that is no text, a null probability that is missing or no number,
            null probabilities for data in which every question has an answer.
    """
    v2 = v2 or unanswerable(list(references.values()))
    _check(predictions, references, null_probabilities, v2)
    ids = list(references)
    given = np.array([key in predictions for key in ids])
    texts, right = [predictions.get(key, "") for key in ids], list(references.values())
    exact, f1 = exact_scores(texts, right, v2=v2) * given, f1_scores(texts, right, v2=v2) * given
    has = np.array([bool(answers) for answers in right])
    best: dict[str, float] = {}
    if null_probabilities is not None:
        sure = {key: float(null_probabilities[key]) for key in null_probabilities}
        refused = given & np.array([sure.get(key, 0.0) > threshold for key in ids])
        answerable = dict(zip(ids, has.tolist(), strict=True))
        for name, scores in (("exact", exact), ("f1", f1)):
            of_question = dict(zip(ids, scores.tolist(), strict=True))
            highest, at = _best_threshold(of_question, predictions, answerable, sure)
            best |= {f"best_{name}": highest, f"best_{name}_thresh": at}
        exact, f1 = np.where(refused, ~has, exact), np.where(refused, ~has, f1)
    whole = {"exact_match": _points(exact), "f1": _points(f1), "total": len(ids)}
    counts = {"missing": int((~given).sum()), "unknown": sum(key not in references for key in predictions)}
    return whole | counts | (_by_kind(exact, f1, has) if v2 else {}) | best


def _points(scores: Scores) -> float:
    return 100.0 * math.fsum(scores) / len(scores)


def _by_kind(exact: Scores, f1: Scores, has: Flags) -> dict[str, float]:
    """The same of the questions with and without an answer, where there are such."""
    found: dict[str, float] = {}
    for name, chosen in (("HasAns", has), ("NoAns", ~has)):
        if chosen.any():
            found[f"{name}_exact"], found[f"{name}_f1"] = _points(exact[chosen]), _points(f1[chosen])
            found[f"{name}_total"] = int(chosen.sum())
    return found


def _best_threshold(
    scores: Mapping[str, float], predictions: Mapping[str, str], has: Mapping[str, bool], sure: Mapping[str, float]
) -> tuple[float, float]:
    """The highest score that a threshold on the null probability reaches, in points, and that threshold.

    From no answer at all, question by question in order of probability, as the official script goes: a tie is not
    kept together, and what counts as an answer to a question that has none is the bare text.
    """
    now = best = float(sum(not has[key] for key in scores if key in predictions))
    threshold = 0.0
    for key in sorted(sure, key=lambda key: sure[key]):
        if key not in scores or key not in predictions:
            continue
        now += scores[key] if has[key] else -float(bool(predictions[key]))
        if now > best:
            best, threshold = now, sure[key]
    return 100.0 * best / len(scores), threshold


def _check(
    predictions: Mapping[str, str],
    references: Mapping[str, Sequence[str]],
    null_probabilities: Mapping[str, float] | None,
    v2: bool,
) -> None:
    if not references:
        raise DataError("the data have no question to score")
    for key, text in predictions.items():
        if not isinstance(text, str):
            raise DataError(f'the prediction of question {key!r} must be a text, "" for no answer, got {text!r}')
    if null_probabilities is None:
        return
    if not v2:
        raise DataError("null probabilities belong to data with unanswerable questions; all of these have an answer")
    for key in predictions:
        if key in references and key not in null_probabilities:
            raise DataError(f"question {key!r} has a prediction, but no null probability")
    for key, value in null_probabilities.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise DataError(f"the null probability of question {key!r} must be a number, got {value!r}")

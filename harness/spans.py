"""From logits of tokens to answers: the best spans of each example over all of its windows, vectorised.

As the field's scripts do it (Devlin et al., google-research/bert, run_squad.py; Rajpurkar et al. 2018,
arXiv:1806.03822): the best starts are paired with the best ends, a pair counts when both lie in the context, in order,
and not too far apart; the null answer scores as the first token of that window in which it scores least. Padding never
takes part, and a span that several windows hold counts once, with its best score.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from harness.tasks.base import Features, IntArray, Logits

N_BEST = 20  # starts, ends and spans that are looked at, as in the scripts above
STORED = 5  # of them in the record
NULL = -1  # both ends of the null answer

Floats = npt.NDArray[np.float64]


class Spans(NamedTuple):
    """The best spans of each example in descending order; places that no span fills hold NULL and NaN.

    Attributes:
        start, end: characters of the context, the end not included, shape (examples, N_BEST).
        score: start logit plus end logit, the same shape.
        probability: softmax of the scores: an example's sum to 1.
    """

    start: IntArray
    end: IntArray
    score: Floats
    probability: Floats

    def texts(self, contexts: Sequence[str]) -> list[str]:
        """The best answer of each example; empty for the null answer."""
        bounds = zip(contexts, self.start[:, 0].tolist(), self.end[:, 0].tolist(), strict=True)
        return ["" if first == NULL else context[first:last] for context, first, last in bounds]

    def place(self, example: int, logits: Logits, features: Features) -> tuple[int, int, int]:
        """Window, first and last token of an example's best span; of the null answer the first token, twice.

        Of several windows that hold the span it is the one in which it scores most, of the null answer least.
        """
        assert features.offsets is not None
        first, last = int(self.start[example, 0]), int(self.end[example, 0])
        windows = np.flatnonzero(features.example == example).tolist()
        if first == NULL:
            window = min(windows, key=lambda each: float(logits[each, 0].sum()))
            return window, 0, 0
        found = []
        for window in windows:
            starts, ends = features.offsets[window].T
            for start in np.flatnonzero(starts == first).tolist():
                for end in np.flatnonzero(ends == last).tolist():
                    found.append((-float(logits[window, start, 0] + logits[window, end, 1]), window, start, end))
        return min(found)[1:]

    def stored(self) -> Logits:
        """What the record keeps, (examples, STORED, 4): start, end, score, probability; NaN where no span is."""
        parts = np.stack([self.start, self.end, self.score, self.probability], axis=-1)[:, :STORED].astype(np.float32)
        parts[np.isnan(parts[..., 2])] = np.nan
        return parts


def best_spans(logits: Logits, features: Features, examples: int, max_answer_length: int, null: bool) -> Spans:
    """The N_BEST spans of each example.

    Args:
        logits: of start and end, -inf where there is no token, shape (features, tokens, 2).
        features: the windows, with offsets.
        examples: how many there are; each has a window.
        max_answer_length: tokens of a span at most.
        null: whether "there is no answer" is an answer.
    """
    offsets = _padded(features, logits.shape[1])
    best = np.argsort(-logits, axis=1, kind="stable")[:, :N_BEST]  # (features, places, 2); ties: the first token
    values = np.take_along_axis(logits, best, axis=1).astype(np.float64)
    first, last = best[:, :, None, 0], best[:, None, :, 1]  # (features, starts, 1), (features, 1, ends)
    scores = values[:, :, None, 0] + values[:, None, :, 1]
    here = np.arange(len(logits))[:, None, None]
    starts, ends = offsets[here, first, 0], offsets[here, last, 1]
    allowed = (starts >= 0) & (ends >= 0) & (last >= first) & (last - first < max_answer_length)
    scores = np.where(allowed & np.isfinite(scores), scores, -np.inf)
    window, pair = np.nonzero(np.isfinite(scores.reshape(len(logits), -1)))
    start, end, score = (
        np.broadcast_to(part, scores.shape).reshape(len(logits), -1)[window, pair] for part in (starts, ends, scores)
    )
    found = _Candidates(features.example[window], start, end, score, np.zeros(len(window), dtype=bool))
    nulls = np.full(examples, np.inf)
    np.minimum.at(nulls, features.example, logits[:, 0].astype(np.float64).sum(axis=1))
    answered = np.zeros(examples, dtype=bool)
    answered[found.example] = True
    needed = np.arange(examples) if null else np.flatnonzero(~answered)
    nowhere = np.full(len(needed), NULL, dtype=np.int64)
    answerless = _Candidates(needed, nowhere, nowhere, nulls[needed], np.ones(len(needed), dtype=bool))
    return _ranked(found.joined(answerless), examples)


class _Candidates(NamedTuple):
    """Spans in the order in which ties are broken, all of shape (candidates,)."""

    example: npt.NDArray[Any]
    start: npt.NDArray[Any]
    end: npt.NDArray[Any]
    score: npt.NDArray[Any]
    null: npt.NDArray[Any]

    def joined(self, other: _Candidates) -> _Candidates:
        return _Candidates(*(np.concatenate(parts) for parts in zip(self, other, strict=True)))

    def taken(self, index: npt.NDArray[Any]) -> _Candidates:
        return _Candidates(*(part[index] for part in self))


def _padded(features: Features, width: int) -> IntArray:
    """Offsets of all features, (features, width, 2), NULL where there is no token."""
    assert features.offsets is not None
    found = np.full((len(features), width, 2), NULL, dtype=np.int64)
    for row, offsets in enumerate(features.offsets):
        found[row, : len(offsets)] = offsets
    return found


def _ranked(candidates: _Candidates, examples: int) -> Spans:
    """The best of each example, each span once; of equal scores the one that came first, the null answer last."""
    order = np.lexsort((candidates.null, -candidates.score, candidates.example))  # stable: the rest keeps its order
    candidates = candidates.taken(order)
    span = np.stack([candidates.example, candidates.start, candidates.end])
    candidates = candidates.taken(np.sort(np.unique(span, axis=1, return_index=True)[1]))
    begins = np.searchsorted(candidates.example, np.arange(examples))
    rank = np.arange(len(candidates.example)) - begins[candidates.example]
    candidates, rank = candidates.taken(np.flatnonzero(rank < N_BEST)), rank[rank < N_BEST]
    place = (candidates.example, rank)
    start, end = (np.full((examples, N_BEST), NULL, dtype=np.int64) for _ in range(2))
    score = np.full((examples, N_BEST), np.nan)
    start[place], end[place], score[place] = candidates.start, candidates.end, candidates.score
    weight = np.exp(score - score[:, :1])
    return Spans(start, end, score, weight / np.nansum(weight, axis=1, keepdims=True))


def window_losses(logits: Logits, labels: IntArray) -> Floats:
    """Mean of the cross-entropies of start and end of each window, in nats, shape (features,).

    Args:
        logits: -inf where there is no token, shape (features, tokens, 2).
        labels: tokens of the gold span, shape (features, 2).
    """
    table = logits.astype(np.float64)
    shifted = table - table.max(axis=1, keepdims=True)
    gold = np.take_along_axis(shifted, labels[:, None, :], axis=1)[:, 0]
    return np.asarray((np.log(np.exp(shifted).sum(axis=1)) - gold).mean(axis=1))

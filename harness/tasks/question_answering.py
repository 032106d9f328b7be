"""Extractive question answering: the answer is a span of the context.

A context that is too long is read in windows that share `stride` tokens. Where the answer lies outside of a window, and
where there is none, the window's answer is its first token.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import transformers
from torch.nn import functional

from harness.architectures import with_span_head
from harness.pretrained import load_pretrained
from harness.question_rows import read_questions
from harness.spans import NULL, Spans, best_spans, window_losses
from harness.tasks.base import Examples, Features, IntArray, Logits, Target, Task

if TYPE_CHECKING:
    import pyarrow as pa
    from transformers import BatchEncoding, PreTrainedModel, PreTrainedTokenizerBase

    from harness.architectures import Architecture
    from harness.configuration import TrialConfig
    from harness.spec import DataSpec

LOSS, MARGIN = 0, 1  # columns of the trace


class QuestionAnswering(Task):
    """Questions, each with a context that holds its answer, or may not where the data say so."""

    name = "question-answering"
    output = "spans"

    def read(self, table: pa.Table, data: DataSpec, *, split: str, label_names: tuple[str, ...] | None) -> Examples:
        """Rows in SQuAD's schema; see `question_rows.read_questions`."""
        return read_questions(table, data, split=split)

    def place_head(self, row: Architecture) -> Architecture:
        """One linear layer with two numbers for every token."""
        return with_span_head(row)

    def encoding(self, config: TrialConfig) -> tuple[int, ...]:
        """Windows hang on their length and on what they share."""
        return config.max_length, self.stride(config)

    def stride(self, config: TrialConfig) -> int:
        """As asked, or a third of a window."""
        return config.max_length // 3 if config.stride is None else config.stride

    def lost(self, features: Features, examples: Examples) -> int:
        """Questions with an answer of whose windows none holds it."""
        held = np.zeros(len(examples), dtype=bool)
        held[features.example[features.labels.any(axis=1)]] = True
        return int((~held & (examples.labels == 1)).sum())

    def tokenise(self, examples: Examples, tokenizer: PreTrainedTokenizerBase, config: TrialConfig) -> BatchEncoding:
        """The windows; see `encode`."""
        return _windows(examples, tokenizer, config.max_length, self.stride(config))[0]

    def encode(self, examples: Examples, tokenizer: PreTrainedTokenizerBase, config: TrialConfig) -> Features:
        """Windows of question and context, of which the context alone is cut.

        A question that leaves a window less room for the context than `stride` tokens and one is cut itself, and counts
        as truncated.
        """
        encoded, cut = _windows(examples, tokenizer, config.max_length, self.stride(config))
        example = np.array(encoded["overflow_to_sample_mapping"], dtype=np.int64)
        offsets = [_offsets_in_context(encoding) for encoding in encoded.encodings]
        types = encoded.get("token_type_ids")
        return Features(
            input_ids=[np.array(ids, dtype=np.int32) for ids in encoded["input_ids"]],
            token_type_ids=None if types is None else [np.array(row, dtype=np.int32) for row in types],
            labels=_gold_tokens(examples, example, offsets),
            example=example,
            truncated=cut[example],
            pad_id=int(tokenizer.pad_token_id),
            offsets=offsets,
        )

    def model(self, path: str, num_labels: int, *, dropout: float | None) -> PreTrainedModel:
        """A model with a linear layer for start and end on top of every token."""
        auto_class = transformers.AutoModelForQuestionAnswering
        return load_pretrained(auto_class, path, dropout=dropout, place_head=with_span_head, num_labels=2)

    def loss(
        self, logits: torch.Tensor, labels: torch.Tensor, class_weights: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Mean of the cross-entropies of start and end; logits (batch, sequence, 2), labels (batch, 2)."""
        return functional.cross_entropy(logits.float(), labels)

    def trace_width(self, label_names: Sequence[str]) -> int:
        """Loss and margin."""
        return 2

    def trace(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Loss of each window, and the smaller of its start's and its end's margin."""
        logits = logits.float()
        losses = functional.cross_entropy(logits, labels, reduction="none").mean(dim=1)
        gold = logits.gather(1, labels[:, None, :])  # (batch, 1, 2)
        others = logits.scatter(1, labels[:, None, :], -torch.inf).amax(dim=1)
        return torch.stack((losses, (gold[:, 0] - others).amin(dim=1)), dim=1)

    def passed(self, trace: Logits, labels: IntArray) -> dict[str, float]:
        """Mean loss of the windows."""
        return {"loss": float(trace[:, LOSS].astype(np.float64).mean())}

    def margins(self, trace: Logits, labels: IntArray) -> Logits:
        """Gold logit minus the best other one, of start or end, whichever is closer."""
        return trace[:, MARGIN]

    def logits_shape(self, features: Features, label_names: Sequence[str]) -> tuple[int, ...]:
        """Start and end of every token of the longest window."""
        return len(features), int(features.lengths.max()), 2

    def decode(self, logits: Logits, features: Features, examples: Examples, config: TrialConfig) -> list[str]:
        """The best answer of each example over all of its windows; empty for the null answer."""
        assert examples.pairs is not None
        return _spans(logits, features, examples, config).texts(examples.pairs)

    def references(self, examples: Examples) -> list[tuple[str, ...]]:
        """All right answers of each example; none where there is no answer."""
        return [tuple(answers) for answers in examples.extra["answers"]]

    def outputs(self, logits: Logits, features: Features, examples: Examples, config: TrialConfig) -> dict[str, Logits]:
        """The best spans, (examples, 5, 4) as `Spans.stored` has them, and the mean loss of each example's windows."""
        losses = window_losses(logits, features.labels)
        count = np.bincount(features.example, minlength=len(examples))
        mean = np.bincount(features.example, weights=losses, minlength=len(examples)) / count
        return {
            "spans": _spans(logits, features, examples, config).stored(),
            "losses": mean.astype(np.float32),
        }

    def targets(self, logits: Logits, features: Features, examples: Examples, config: TrialConfig) -> list[Target]:
        """Start logit and end logit of each example's best span, in the window that gave it out."""
        assert examples.pairs is not None
        spans = _spans(logits, features, examples, config)
        found = []
        for example, answer in enumerate(spans.texts(examples.pairs)):
            window, start, end = spans.place(example, logits, features)
            probability = float(spans.probability[example, 0])
            for column, (name, token) in enumerate((("start", start), ("end", end))):
                found.append(Target(example, window, name, answer, probability, (token, column), token))
        return found

    def answer(self, examples: Examples, index: int) -> str:
        """The right answers as JSON: a list of [first character, text]."""
        starts, answers = examples.extra["starts"][index], examples.extra["answers"][index]
        return json.dumps([list(pair) for pair in zip(starts, answers, strict=True)], ensure_ascii=False)


def has_null(examples: Examples) -> bool:
    """Whether "there is no answer" may be right: the data then have two classes of questions."""
    return bool(examples.label_names)


def _spans(logits: Logits, features: Features, examples: Examples, config: TrialConfig) -> Spans:
    return best_spans(logits, features, len(examples), config.max_answer_length, has_null(examples))


def _windows(
    examples: Examples, tokenizer: PreTrainedTokenizerBase, max_length: int, stride: int
) -> tuple[BatchEncoding, np.ndarray]:
    """The windows of all examples, and whose question was cut."""
    assert examples.pairs is not None
    room = max_length - tokenizer.num_special_tokens_to_add(pair=True) - stride - 1
    questions, cut = _short_enough(examples.texts, tokenizer, room)
    encoded = tokenizer(
        questions,
        list(examples.pairs),
        truncation="only_second",
        max_length=max_length,
        stride=stride,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
        return_attention_mask=False,
    )
    return encoded, cut


def _short_enough(
    questions: Sequence[str], tokenizer: PreTrainedTokenizerBase, room: int
) -> tuple[list[str], np.ndarray]:
    """Questions of at most so many tokens, and which of them were cut."""
    found, cut = list(questions), np.zeros(len(questions), dtype=bool)
    for row, question in enumerate(questions):
        if len(question.encode()) <= room:
            continue  # a token is at least a byte
        offsets = tokenizer(question, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
        if len(offsets) > room:
            found[row], cut[row] = question[: offsets[room - 1][1]], True
    return found, cut


def _offsets_in_context(encoding: Any) -> np.ndarray:
    """First and last + 1 character of each token of the context, NULL for all other tokens, (tokens, 2)."""
    offsets = np.array(encoding.offsets, dtype=np.int32)
    offsets[[part != 1 for part in encoding.sequence_ids]] = NULL
    return offsets


def _gold_tokens(examples: Examples, example: IntArray, offsets: Sequence[np.ndarray]) -> IntArray:
    """Tokens of the first right answer in each window, (features, 2); the first token where it does not hold it."""
    labels = np.zeros((len(example), 2), dtype=np.int64)
    answers, starts = examples.extra["answers"], examples.extra["starts"]
    for row, (number, spans) in enumerate(zip(example.tolist(), offsets, strict=True)):
        if not starts[number]:
            continue
        first, last = starts[number][0], starts[number][0] + len(answers[number][0])
        places = np.flatnonzero(spans[:, 0] >= 0)
        if len(places) and spans[places[0], 0] <= first and last <= spans[places[-1], 1]:
            labels[row, 0] = places[np.searchsorted(spans[places, 0], first, side="right") - 1]
            labels[row, 1] = places[np.searchsorted(spans[places, 1], last, side="left")]
    return labels

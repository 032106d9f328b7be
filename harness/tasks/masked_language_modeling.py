"""Masked language modelling: the encoder guesses hidden words of texts, and needs no label for it.

Which tokens are hidden is drawn anew in every epoch, and once for all evaluations of a study.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
import transformers
from torch.nn import functional

from harness.architectures import with_language_head
from harness.errors import DataError
from harness.masking import NOT_ASKED, Vocabulary, asked_of, choose, hide
from harness.pretrained import load_pretrained
from harness.row_checks import read_unlabelled
from harness.tasks.base import Examples, Features, IntArray, Logits, Task

if TYPE_CHECKING:
    import pyarrow as pa
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from harness.architectures import Architecture
    from harness.configuration import TrialConfig
    from harness.spec import DataSpec

NATS, RIGHT, COUNT = range(3)  # columns of what is left of a feature: summed loss, right guesses, tokens asked for


class MaskedLanguageModeling(Task):
    """Texts (or pairs of texts) whose hidden tokens are guessed."""

    name = "masked-language-modeling"
    output = "tokens"
    redrawn = True

    def read(self, table: pa.Table, data: DataSpec, *, split: str, label_names: tuple[str, ...] | None) -> Examples:
        """Rows with a non-empty text."""
        return read_unlabelled(table, data, split=split)

    def place_head(self, row: Architecture) -> Architecture:
        """A transformation and the vocabulary, on top of every token."""
        return with_language_head(row)

    def encode(self, examples: Examples, tokenizer: PreTrainedTokenizerBase, config: TrialConfig) -> Features:
        """One feature an example, nothing hidden yet; its label is how many tokens are going to be."""
        pairs = None if examples.pairs is None else list(examples.pairs)
        encoded = tokenizer(
            list(examples.texts), pairs, truncation=True, max_length=config.max_length, return_attention_mask=False
        )
        types = encoded.get("token_type_ids")
        vocabulary = vocabulary_of(tokenizer)
        ids = [np.array(row, dtype=np.int32) for row in encoded["input_ids"]]
        maskable = np.array([np.count_nonzero(~np.isin(row, vocabulary.special)) for row in ids], dtype=np.int64)
        return Features(
            input_ids=ids,
            token_type_ids=None if types is None else [np.array(row, dtype=np.int32) for row in types],
            labels=asked_of(maskable),
            example=np.arange(len(examples), dtype=np.int64),
            truncated=np.array([bool(encoding.overflowing) for encoding in encoded.encodings], dtype=bool),
            pad_id=int(tokenizer.pad_token_id or 0),
            vocabulary=vocabulary,
        )

    def drawn(self, features: Features, seed: int) -> Features:
        """Hide tokens; the labels become those tokens, (features, k), filled up with NOT_ASKED."""
        assert features.vocabulary is not None
        mask, size, special = features.vocabulary
        generator = np.random.default_rng(seed)
        ids, lengths = np.concatenate(features.input_ids).astype(np.int64), features.lengths
        chosen = choose(lengths, ~np.isin(ids, special), generator)
        hidden = hide(ids, chosen, generator, mask=mask, words=(0, size)).astype(np.int32)
        starts = np.cumsum(lengths) - lengths
        row = np.repeat(np.arange(len(features)), lengths)[chosen]
        counts = np.bincount(row, minlength=len(features))
        column = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
        labels = np.full((len(features), max(1, int(counts.max()))), NOT_ASKED, dtype=np.int64)
        asked = np.zeros_like(labels)
        labels[row, column] = ids[chosen]
        asked[row, column] = np.flatnonzero(chosen) - starts[row]
        return replace(features, input_ids=np.split(hidden, starts[1:]), labels=labels, asked=asked)

    def mass(self, features: Features) -> npt.NDArray[np.float64]:
        """The tokens that a feature is asked for: the loss is a mean over tokens."""
        return np.maximum(features.labels, 1).astype(np.float64)

    def model(self, path: str, num_labels: int, *, dropout: float | None) -> PreTrainedModel:
        """A model with its vocabulary on top; a model that was saved without it gets a fresh one."""
        auto_class = transformers.AutoModelForMaskedLM
        return load_pretrained(auto_class, path, dropout=dropout, place_head=with_language_head)

    def loss(
        self, logits: torch.Tensor, labels: torch.Tensor, class_weights: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Mean cross-entropy of the tokens asked for; logits (batch, k, vocabulary), labels (batch, k)."""
        total = functional.cross_entropy(
            logits.flatten(0, 1).float(), labels.flatten(), ignore_index=NOT_ASKED, reduction="sum"
        )
        return total / (labels != NOT_ASKED).sum().clamp(min=1)

    def trace_width(self, label_names: Sequence[str]) -> int:
        """Summed loss, right guesses, tokens asked for."""
        return 3

    def trace(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Of each feature the summed loss, the right guesses and the tokens asked for, shape (batch, 3)."""
        each = functional.cross_entropy(
            logits.transpose(1, 2).float(), labels, ignore_index=NOT_ASKED, reduction="none"
        )
        right = (logits.argmax(dim=2) == labels).sum(dim=1)
        return torch.stack((each.sum(dim=1), right, (labels != NOT_ASKED).sum(dim=1)), dim=1)

    def passed(self, trace: Logits, labels: IntArray) -> dict[str, float]:
        """Mean loss of the tokens, and the share guessed right."""
        nats, right, count = trace.astype(np.float64).sum(axis=0)
        return {"loss": float(nats / max(count, 1)), "accuracy": float(right / max(count, 1))}

    def margins(self, trace: Logits, labels: IntArray) -> None:
        """None: a feature is asked for other tokens in every epoch."""
        return None

    def kept(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The three numbers of `trace`: logits over the vocabulary would fill the memory."""
        return self.trace(logits, labels)

    def mean_loss(self, kept: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Mean loss of the tokens asked for."""
        nats, _, count = kept.double().sum(dim=0).unbind()
        return nats / count.clamp(min=1)

    def logits_shape(self, features: Features, label_names: Sequence[str]) -> tuple[int, ...]:
        """Three numbers a feature."""
        return len(features), 3

    def decode(self, logits: Logits, features: Features, examples: Examples, config: TrialConfig) -> Logits:
        """Summed loss, right guesses and tokens asked for of each example, shape (examples, 3)."""
        return logits

    def references(self, examples: Examples) -> Sequence[str]:
        """The texts; what was hidden of them was compared where the logits were."""
        return examples.texts

    def outputs(self, logits: Logits, features: Features, examples: Examples, config: TrialConfig) -> dict[str, Logits]:
        """The mean loss of each example's hidden tokens, shape (examples,)."""
        losses: Logits = (logits[:, NATS] / np.maximum(logits[:, COUNT], 1)).astype(np.float32)
        return {"losses": losses}


def vocabulary_of(tokenizer: PreTrainedTokenizerBase) -> Vocabulary:
    """What hiding tokens needs; an unknown word may be asked for as any other token.

    Raises:
        DataError: for a tokeniser without a mask.
    """
    if tokenizer.mask_token_id is None:
        raise DataError("model: its tokeniser has no mask token, which masked language modelling needs")
    special = sorted({int(token) for token in tokenizer.all_special_ids} - {tokenizer.unk_token_id})
    return Vocabulary(int(tokenizer.mask_token_id), len(tokenizer), tuple(special))

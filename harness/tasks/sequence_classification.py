"""One label for a text or for a pair of texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
import transformers
from torch.nn import functional

from harness.pretrained import load_pretrained
from harness.row_checks import read_classification
from harness.shortening import shorten
from harness.tasks.base import Examples, Features, IntArray, Logits, Target, Task

if TYPE_CHECKING:
    import pyarrow as pa
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from harness.configuration import TrialConfig
    from harness.spec import DataSpec


class SequenceClassification(Task):
    """Texts (or pairs of texts) into one of two or more classes."""

    name = "sequence-classification"
    output = "labels"
    first_token = True

    def read(self, table: pa.Table, data: DataSpec, *, split: str, label_names: tuple[str, ...] | None) -> Examples:
        """Rows with a non-empty text and a known label; see `rows.read_classification`."""
        return read_classification(table, data, split=split, label_names=label_names)

    def encode(self, examples: Examples, tokenizer: PreTrainedTokenizerBase, config: TrialConfig) -> Features:
        """One feature an example; of a pair the longer text is cut first."""
        encoded = self.tokenise(examples, tokenizer, config)
        types = encoded.get("token_type_ids")
        return Features(
            input_ids=[np.array(ids, dtype=np.int32) for ids in encoded["input_ids"]],
            token_type_ids=None if types is None else [np.array(row, dtype=np.int32) for row in types],
            labels=examples.labels,
            example=np.arange(len(examples), dtype=np.int64),
            truncated=np.array([bool(encoding.overflowing) for encoding in encoded.encodings], dtype=bool),
            pad_id=int(tokenizer.pad_token_id),
        )

    def shortened(
        self, whole: Callable[[], Features], examples: Examples, tokenizer: PreTrainedTokenizerBase, config: TrialConfig
    ) -> Features:
        """Single texts are cut out of the whole ones; how much of each text of a pair stays is the tokeniser's work."""
        if examples.pairs is not None:
            return self.encode(examples, tokenizer, config)
        return shorten(whole(), tokenizer, config.max_length)

    def model(self, path: str, num_labels: int, *, dropout: float | None) -> PreTrainedModel:
        """A model with a linear classifier on top of its summary of the text."""
        auto_class = transformers.AutoModelForSequenceClassification
        return load_pretrained(auto_class, path, dropout=dropout, num_labels=num_labels)

    def loss(
        self, logits: torch.Tensor, labels: torch.Tensor, class_weights: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Mean cross-entropy; with class weights the weighted mean."""
        return functional.cross_entropy(logits.float(), labels, weight=class_weights)

    def trace_width(self, label_names: Sequence[str]) -> int:
        """One logit a label."""
        return len(label_names)

    def trace(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The logits themselves."""
        return logits.float()

    def passed(self, trace: Logits, labels: IntArray) -> dict[str, float]:
        """Plain mean loss, without class weights so that trials compare, and accuracy."""
        loss = float(self.loss(torch.from_numpy(trace), torch.from_numpy(labels)))
        return {"loss": loss, "accuracy": float((trace.argmax(axis=1) == labels).mean())}

    def margins(self, trace: Logits, labels: IntArray) -> Logits:
        """Gold logit minus the best other one, shape (features,)."""
        rows = np.arange(len(trace))
        others = trace.copy()
        others[rows, labels] = -np.inf
        margins: Logits = (trace[rows, labels] - others.max(axis=1)).astype(np.float32)
        return margins

    def logits_shape(self, features: Features, label_names: Sequence[str]) -> tuple[int, ...]:
        """One logit a label."""
        return len(features), len(label_names)

    def decode(self, logits: Logits, features: Features, examples: Examples, config: TrialConfig) -> IntArray:
        """The class with the highest logit of each example, shape (examples,)."""
        classes: IntArray = logits.argmax(axis=1)
        return classes

    def references(self, examples: Examples) -> IntArray:
        """Class ids, shape (examples,)."""
        return examples.labels

    def outputs(self, logits: Logits, features: Features, examples: Examples, config: TrialConfig) -> dict[str, Logits]:
        """The logits, shape (examples, labels)."""
        return {"logits": logits}

    def targets(self, logits: Logits, features: Features, examples: Examples, config: TrialConfig) -> list[Target]:
        """The logit of the class that was answered, and that of the right one where it is known and another."""
        probabilities = functional.softmax(torch.from_numpy(logits).double(), dim=1).numpy()
        names, found = examples.label_names, []
        for row, gold in enumerate(examples.labels.tolist()):
            answer = int(logits[row].argmax())
            for label in dict.fromkeys([answer, answer if gold < 0 else gold]):
                probability = float(probabilities[row, answer])
                found.append(Target(row, row, names[label], names[answer], probability, (label,), 0))
        return found

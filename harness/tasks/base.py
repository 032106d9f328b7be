"""The contract of a task. A new task is one file beside this one that subclasses `Task`.

Torch-free at import, so that names and documentation can be listed without it; the subclasses'
files may import torch.
"""

from __future__ import annotations

import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from harness.errors import SpecError
from harness.masking import Vocabulary

if TYPE_CHECKING:
    import pyarrow as pa
    import torch
    from transformers import BatchEncoding, PreTrainedModel, PreTrainedTokenizerBase

    from harness.architectures import Architecture
    from harness.configuration import TrialConfig
    from harness.spec import DataSpec

UNCUT = 10_000_000  # more tokens than any text has: an encoding of that max_length cuts nothing off

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
Logits = npt.NDArray[np.float32]
Values = Sequence[Any] | npt.NDArray[Any]


@dataclass(frozen=True)
class Examples:
    """Rows as read and validated, in the order in which they are used.

    Attributes:
        rows: row numbers in the source split, shape (examples,).
        texts, pairs: first and optional second text of each example.
        labels: class ids, shape (examples,); what a task without classes stores here is its own affair.
        label_names: class id -> name, sorted as the mapping is stored.
        groups: a group name for each example (a language, say), empty without `data.groups`.
        dropped: reason -> number of rows left out by the stated policy.
        extra: columns that only this task knows (question answering: ids, answers).
    """

    rows: IntArray
    texts: Sequence[str]
    pairs: Sequence[str] | None
    labels: IntArray
    label_names: tuple[str, ...]
    groups: Sequence[str] = ()
    dropped: Mapping[str, int] = field(default_factory=dict)
    extra: Mapping[str, Sequence[Any]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, index: IntArray) -> Examples:
        """The examples at `index`, in that order."""
        pick = [int(i) for i in index]
        return Examples(
            rows=self.rows[index],
            texts=[self.texts[i] for i in pick],
            pairs=None if self.pairs is None else [self.pairs[i] for i in pick],
            labels=self.labels[index],
            label_names=self.label_names,
            groups=[self.groups[i] for i in pick] if self.groups else (),
            dropped=self.dropped,
            extra={name: [column[i] for i in pick] for name, column in self.extra.items()},
        )


@dataclass(frozen=True)
class Features:
    """Encoded rows. One example may become several features (windows).

    Attributes:
        input_ids: one unpadded sequence of token ids a feature.
        token_type_ids: the same shape, or None where the model has none.
        labels: what the loss needs of each feature, shape (features,) or (features, k).
        example: index of each feature's example, shape (features,).
        truncated: whether each feature's example lost tokens, shape (features,).
        pad_id: token id that fills a batch up.
        offsets: of each token (first, last + 1) character in the text that answers are taken from, -1 where there is
            none, shape (tokens, 2) a feature; None for a task without answers in the text.
        vocabulary: for a task that hides tokens; None for others.
        asked: tokens of each feature that the model is asked for, in the order of `labels`, filled up with any,
            shape (features, k); None where all of them are read, or the first.
    """

    input_ids: Sequence[npt.NDArray[np.int32]]
    token_type_ids: Sequence[npt.NDArray[np.int32]] | None
    labels: IntArray
    example: IntArray
    truncated: BoolArray
    pad_id: int
    offsets: Sequence[npt.NDArray[np.int32]] | None = None
    vocabulary: Vocabulary | None = None
    asked: IntArray | None = None

    def __len__(self) -> int:
        return len(self.input_ids)

    @property
    def lengths(self) -> IntArray:
        """Real tokens of each feature, shape (features,)."""
        return np.array([len(ids) for ids in self.input_ids], dtype=np.int64)

    @property
    def truncated_examples(self) -> int:
        """Number of examples that lost tokens."""
        return len(np.unique(self.example[self.truncated]))


class Target(NamedTuple):
    """A logit that a model gave out and that an explanation speaks of.

    Attributes:
        example, feature: where it was given out.
        name: of the class, or "start" or "end" of the span.
        answer: what the model answered to the example.
        probability: of that answer.
        place: of the logit within those of the feature.
        token: of the feature, whose state the logit is read from.
    """

    example: int
    feature: int
    name: str
    answer: str
    probability: float
    place: tuple[int, ...]
    token: int


class Task(ABC):
    """One kind of fine-tuning. Stateless: every method is a function of its arguments.

    Class attributes:
        name: as in a study file.
        output: the kind of predictions its metrics score (`metrics.metrics_of(output)`).
        first_token: whether its head reads the first token's states alone.
        redrawn: whether what the model reads is drawn anew in every epoch, so that nothing of it can be kept.
    """

    name: ClassVar[str]
    output: ClassVar[str]
    first_token: ClassVar[bool] = False
    redrawn: ClassVar[bool] = False

    @abstractmethod
    def read(self, table: pa.Table, data: DataSpec, *, split: str, label_names: tuple[str, ...] | None) -> Examples:
        """Validate every row of a split and turn it into examples.

        Args:
            label_names: the mapping of the training split; None while reading the training split itself.

        Raises:
            DataError: naming split, row, column, value and remedy.
        """

    def place_head(self, row: Architecture) -> Architecture:
        """The architecture with the head of this task's models; that of a classification by default."""
        return row

    def encoding(self, config: TrialConfig) -> tuple[int, ...]:
        """What `encode` reads of a configuration: equal values, equal features."""
        return (config.max_length,)

    def tokenise(self, examples: Examples, tokenizer: PreTrainedTokenizerBase, config: TrialConfig) -> BatchEncoding:
        """What the tokeniser makes of the examples, one entry a feature; of a pair the longer text is cut first."""
        pairs = None if examples.pairs is None else list(examples.pairs)
        length = config.max_length
        return tokenizer(list(examples.texts), pairs, truncation=True, max_length=length, return_attention_mask=False)

    @abstractmethod
    def encode(self, examples: Examples, tokenizer: PreTrainedTokenizerBase, config: TrialConfig) -> Features:
        """Tokenise and truncate."""

    def shortened(
        self, whole: Callable[[], Features], examples: Examples, tokenizer: PreTrainedTokenizerBase, config: TrialConfig
    ) -> Features:
        """What `encode` makes, where that can be had from the features of the whole texts; by default it cannot.

        Args:
            whole: gives the features of the same examples, of which nothing was cut.
            examples, tokenizer, config: as for `encode`.
        """
        return self.encode(examples, tokenizer, config)

    def drawn(self, features: Features, seed: int) -> Features:
        """The features as one epoch or one evaluation reads them; as they are, unless `redrawn`."""
        return features

    def mass(self, features: Features) -> npt.NDArray[np.float64]:
        """What each feature weighs in the mean loss of a batch, shape (features,); alike by default."""
        return np.ones(len(features))

    @abstractmethod
    def model(self, path: str, num_labels: int, *, dropout: float | None) -> PreTrainedModel:
        """Load the pretrained encoder with this task's head, all weights float32, head freshly initialised."""

    @abstractmethod
    def loss(self, logits: torch.Tensor, labels: torch.Tensor, class_weights: torch.Tensor | None) -> torch.Tensor:
        """Mean loss of a batch, a scalar in float32."""

    def stride(self, config: TrialConfig) -> int | None:
        """Tokens that two windows of a long text share; None for a task that reads one feature an example."""
        return None

    def lost(self, features: Features, examples: Examples) -> int:
        """Examples whose answer none of their features holds."""
        return 0

    # --- the training pass

    @abstractmethod
    def trace_width(self, label_names: Sequence[str]) -> int:
        """Numbers that `trace` leaves of a feature."""

    @abstractmethod
    def trace(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """What is kept of a batch's training pass, shape (batch, trace width), float32; without waiting for it."""

    @abstractmethod
    def passed(self, trace: Logits, labels: IntArray) -> dict[str, float]:
        """Mean loss of the training pass, and what else it tells, from what `trace` left of all features."""

    @abstractmethod
    def margins(self, trace: Logits, labels: IntArray) -> Logits | None:
        """Gold logit minus the best other one, shape (features,), NaN where one was not seen; None for none at all."""

    # --- evaluation

    def kept(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """What an evaluation needs of a batch's logits, shape (batch, ...), float32; all of them by default."""
        return logits

    def mean_loss(self, kept: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The plain mean loss of what an evaluation kept, without class weights so that trials compare."""
        return self.loss(kept, labels, None)

    @abstractmethod
    def logits_shape(self, features: Features, label_names: Sequence[str]) -> tuple[int, ...]:
        """Shape of the logits of all features, as `kept` leaves them."""

    @abstractmethod
    def decode(self, logits: Logits, features: Features, examples: Examples, config: TrialConfig) -> Values:
        """Logits of all features, shape (features, ...) -> what the metrics take as predictions, one an example."""

    @abstractmethod
    def references(self, examples: Examples) -> Values:
        """What the metrics compare the predictions with, one an example."""

    @abstractmethod
    def outputs(self, logits: Logits, features: Features, examples: Examples, config: TrialConfig) -> dict[str, Logits]:
        """What the record keeps of an evaluation, by kind, in the order of the examples."""

    def targets(self, logits: Logits, features: Features, examples: Examples, config: TrialConfig) -> Sequence[Target]:
        """What an explanation of each example's answer speaks of; nothing where the task has none."""
        return ()

    def answer(self, examples: Examples, index: int) -> str:
        """The right answer of one example, as the record shows it."""
        return examples.label_names[int(examples.labels[index])] if examples.label_names else ""


def names() -> tuple[str, ...]:
    """Names of all tasks, from the files in this folder; imports none of them."""
    package = importlib.import_module("harness.tasks")
    found = (module.name for module in pkgutil.iter_modules(package.__path__))
    return tuple(sorted(name.replace("_", "-") for name in found if name != "base"))


def load(name: str) -> Task:
    """The task of that name; importing it imports torch.

    Raises:
        SpecError: for an unknown name, with the known ones.
    """
    if name not in names():
        raise SpecError(f"task must be one of {', '.join(names())}, got {name!r}")
    module = importlib.import_module(f"harness.tasks.{name.replace('-', '_')}")
    found = [c for c in vars(module).values() if isinstance(c, type) and issubclass(c, Task) and c is not Task]
    return found[0]()

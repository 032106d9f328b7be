"""What a kept model is asked and what it answers: a label, or a span of a context; plain values for both sides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from harness.configuration import TrialConfig


@dataclass(frozen=True, slots=True)
class KeptModel:
    """The weights that a trial has kept, and what its answers hang on.

    Attributes:
        folder: a `from_pretrained` folder.
        config: of the trial: lengths, windows, number format.
        label_names: class id -> name; of question answering none, unless "there is no answer" may be an answer.
    """

    task: str
    folder: str
    config: TrialConfig
    label_names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PredictJob:
    """Answer a bounded number of rows; the model stays loaded for the next job.

    Attributes:
        texts: the texts, or the questions.
        pairs: second texts, or contexts.
    """

    model: KeptModel
    texts: tuple[str, ...]
    pairs: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class LabelAnswer:
    """The most probable label of a text.

    Attributes:
        probabilities: label name -> probability, all labels, the most probable first; they sum to 1.
        tokens: of the text, special tokens included.
        cut_tokens: how many of them were not read, because the text is longer than max_length.
    """

    label: str
    probability: float
    probabilities: Mapping[str, float]
    tokens: int
    cut_tokens: int

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of the context: characters `start` to `end`, the end not included; without a place it is no answer."""

    answer: str
    probability: float
    start: int | None
    end: int | None

    @property
    def place(self) -> str:
        """Its characters in words; empty for no answer."""
        return "" if self.start is None else f"{self.start} to {self.end}"


@dataclass(frozen=True, slots=True)
class SpanAnswer:
    """The most probable answer to a question.

    Attributes:
        answer, probability, start, end: as of a `Span`.
        next_best: the spans that come after it, at most five. The probabilities of the 20 best sum to 1.
        null_probability: of "there is no answer"; None where the model was not trained to say so.
        windows: pieces in which the context was read.
        tokens: of the question.
        cut_tokens: how many of them were not read, because a window has no room for more. Of a context none is cut.
    """

    answer: str
    probability: float
    start: int | None
    end: int | None
    next_best: tuple[Span, ...]
    null_probability: float | None
    windows: int
    tokens: int
    cut_tokens: int

    @property
    def ranked(self) -> tuple[Span, ...]:
        """The answer itself and the next best."""
        return (Span(self.answer, self.probability, self.start, self.end), *self.next_best)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values; the null probability only where there is one."""
        values = asdict(self)
        values["next_best"] = list(values["next_best"])
        if self.null_probability is None:
            del values["null_probability"]
        return values


Answer = LabelAnswer | SpanAnswer

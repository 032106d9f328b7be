"""What an explanation of an answer is, and the job of making some: values that both sides of the border import."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from harness.answers import KeptModel

SPECIAL = -1
METHODS = ("integrated-gradients", "attention-rollout")
STEPS = 50  # points between baseline and text
BASELINE = "padding tokens in place of all words, special tokens kept"


class Token(NamedTuple):
    """A token as the text has it.

    Attributes:
        text: with the blanks before it; the name of a special token.
        part: 0 in the first text, 1 in the second, SPECIAL for a special token.
        word: number of the word that it is a piece of, within the feature; SPECIAL for a special token.
    """

    text: str
    part: int
    word: int


@dataclass(frozen=True, slots=True)
class Attribution:
    """How much each token did for one number that a model gave out.

    Attributes:
        method: one of METHODS.
        target: the class whose logit it is; "start" or "end" of the span that was answered.
        answer: what the model answered.
        probability: of that answer.
        scores: one a token; gradients' are shares of `value` minus `baseline_value` and may be negative, attention's
            add up to 1.
        value: the number.
        baseline_value: the same for a text of which nothing is known; None where the method has no baseline.
        delta: what the sum of the scores misses of `value` minus `baseline_value`, as sum minus rise; None as above.
    """

    method: str
    target: str
    answer: str
    probability: float
    tokens: tuple[Token, ...]
    scores: tuple[float, ...]
    value: float
    baseline_value: float | None = None
    delta: float | None = None


class RecordedRows(NamedTuple):
    """Examples of a trial's validation split, as the record names them.

    Attributes:
        data, seed, fold: of the trial, to find its rows again.
        fingerprint: of the rows that the study trained on.
        positions: places within the trial's validation rows.
    """

    data: Mapping[str, Any]
    seed: int
    fold: int | None
    fingerprint: str
    positions: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ExplainJob:
    """Explain a kept model's answers to examples of the record, or to texts of one's own.

    Attributes:
        texts: the texts, or the questions.
        pairs: second texts, or contexts.
        rows: examples in place of texts.
        method: one of METHODS.
    """

    model: KeptModel
    texts: tuple[str, ...] = ()
    pairs: tuple[str, ...] | None = None
    rows: RecordedRows | None = None
    method: str = METHODS[0]


class Explained(NamedTuple):
    """The attributions of one example.

    Attributes:
        position, source_row: place within the trial's validation rows, and row in the source; of own texts their place,
            and 0.
        label: the right answer as the record has it; empty for an own text.
    """

    position: int
    source_row: int
    label: str
    attributions: tuple[Attribution, ...]


@dataclass(frozen=True, slots=True)
class Explanations:
    """What `ExplainJob` found, in the order of what was asked."""

    examples: tuple[Explained, ...]

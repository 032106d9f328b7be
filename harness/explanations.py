"""What an explanation of an answer is, and the job of making some: values that both sides of the border import."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from harness.configuration import TrialConfig

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
        target: the class whose logit it is, or "span": start logit plus end logit of the span that was answered.
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


@dataclass(frozen=True, slots=True)
class ExplainJob:
    """Explain a kept model's answers to examples of its validation split, or to texts of one's own.

    Attributes:
        folder: of the kept model.
        config: as the trial ran it.
        data, data_seed, fold, fingerprint: of the trial, to find the examples again; not looked at for own texts.
        label_names: class id -> name, as the study has them.
        positions: places of the examples within the trial's validation rows.
        texts: own examples, each a text or two, in place of `positions`.
        method: one of METHODS.
    """

    task: str
    folder: str
    config: TrialConfig
    label_names: tuple[str, ...]
    data: Mapping[str, Any]
    data_seed: int = 0
    fold: int | None = None
    fingerprint: str = ""
    positions: tuple[int, ...] = ()
    texts: tuple[tuple[str, ...], ...] = ()
    method: str = METHODS[0]


class Explained(NamedTuple):
    """The attributions of one example, with its place and its row in the source; both 0 for an own text."""

    position: int
    source_row: int
    attributions: tuple[Attribution, ...]


@dataclass(frozen=True, slots=True)
class Explanations:
    """What `ExplainJob` found, in the order of what was asked."""

    examples: tuple[Explained, ...]

"""What a trial is asked to be: its hyperparameters, and the objective by which it is judged.

Plain frozen values; equal values have equal text and equal fingerprints.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Direction = Literal["minimize", "maximize"]


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no bare NaN, so that equal values have equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)


def fingerprint(value: Any) -> str:
    """First 16 hex digits of the SHA-256 of a value's canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:16]


# --- hyperparameters ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Hyperparameter:
    """The manners of one hyperparameter; `spec.py` builds validation and JSON Schema from them.

    Attributes:
        doc: one line for the study-file reference.
        searchable: may stand under `search:`.
        minimum, maximum: allowed range, inclusive unless `exclusive`.
        choices: allowed words, when it is a word from a closed list.
        usual: what is common, for the message that refuses another value.
        tasks: the tasks that read it; empty for all.
        later: it came after the first records: at its default it is no part of a fingerprint, so that older ones stay.
    """

    doc: str
    searchable: bool = True
    minimum: float | None = None
    maximum: float | None = None
    exclusive_minimum: bool = False
    choices: tuple[str, ...] = ()
    usual: str = ""
    tasks: tuple[str, ...] = ()
    later: bool = False


def _parameter(default: Any, doc: str, **manners: Any) -> Any:
    return field(default=default, metadata={"hyperparameter": Hyperparameter(doc, **manners)})


@dataclass(frozen=True, slots=True)
class EarlyStopping:
    """Stop when `metric` has not improved for `patience` epochs; the direction is the metric's own."""

    metric: str = "loss"
    patience: int = 2


@dataclass(frozen=True, slots=True)
class TrialConfig:
    """One point of the space, complete: every hyperparameter that training reads, and nothing else.

    Equal configurations mean the same trial (up to seed and fold). A new hyperparameter is one
    field here; study file, search, database and reports follow.
    """

    model: str = _parameter("bert-base-uncased", "Hub id (NAME or NAME@REVISION), folder or builtin:tiny")
    epochs: int = _parameter(3, "passes over the training rows", minimum=1, maximum=10_000, usual="2 to 4 are usual")
    batch_size: int = _parameter(
        16,
        "rows of one forward pass; the effective batch is this times gradient_accumulation",
        minimum=1,
        maximum=65_536,
        usual="16 or 32 are usual",
    )
    learning_rate: float = _parameter(
        2e-5,
        "peak learning rate of AdamW",
        minimum=0.0,
        maximum=1.0,
        exclusive_minimum=True,
        usual="5e-5 is usual for BERT",
    )
    max_length: int = _parameter(
        128,
        "tokens kept of a text, special tokens included",
        minimum=4,
        maximum=131_072,
        usual="128 is usual, 512 the most that BERT reads",
    )
    freeze: str = _parameter("none", "none, embeddings, top-K, head, classifier or gradual")
    weight_decay: float = _parameter(
        0.01,
        "decoupled weight decay; biases and LayerNorm weights have none",
        minimum=0.0,
        maximum=10.0,
        usual="0.01 is usual",
    )
    warmup: float = _parameter(
        0.0,
        "linear warm-up: below 1 a share of all steps, from 1 a number of steps",
        minimum=0.0,
        maximum=10_000_000,
        usual="0.1 is usual",
    )
    lr_schedule: str = _parameter("linear", "what follows the warm-up", choices=("linear", "constant", "cosine"))
    dropout: float | None = _parameter(
        None,
        "dropout of hidden states, attention and classifier; null keeps the model's own",
        minimum=0.0,
        maximum=0.9,
        usual="0.1 is usual",
    )
    layer_decay: float = _parameter(
        1.0,
        "learning rate factor from each layer to the one below it",
        minimum=0.0,
        maximum=1.0,
        exclusive_minimum=True,
        usual="0.95 is usual; 1 is none",
    )
    train: int | None = _parameter(
        None, "train on this many of the training rows; null means all of data.train", minimum=1
    )
    gradient_accumulation: int = _parameter(1, "forward passes of one optimiser step", minimum=1, maximum=65_536)
    dtype: str = _parameter(
        "auto",
        "number format of the forward pass; weights stay float32",
        searchable=True,
        choices=("auto", "fp32", "bf16", "fp16"),
    )
    max_grad_norm: float | None = _parameter(
        1.0,
        "gradients are clipped to this norm; null does not clip",
        searchable=True,
        minimum=0.0,
        exclusive_minimum=True,
        usual="1.0 is usual; null does not clip",
    )
    class_weights: str = _parameter(
        "none",
        "balanced weighs the loss by inverse class frequency",
        searchable=True,
        choices=("none", "balanced"),
        tasks=("sequence-classification",),
    )
    early_stopping: EarlyStopping | None = _parameter(
        None, "{metric, patience}: stop when the metric has not improved for so many epochs"
    )
    frozen_mode: str = _parameter(
        "eval",
        "eval runs the frozen part without dropout; dropout is what requires_grad=False alone gives",
        searchable=False,
        choices=("eval", "dropout"),
    )
    stride: int | None = _parameter(
        None,
        "tokens of a long context that neighbouring windows share; null takes a third of max_length",
        minimum=0,
        maximum=65_536,
        usual="128 is usual for a max_length of 384",
        tasks=("question-answering",),
        later=True,
    )
    max_answer_length: int = _parameter(
        30,
        "tokens of an answer at most",
        searchable=False,
        minimum=1,
        maximum=131_072,
        usual="30 is usual",
        tasks=("question-answering",),
        later=True,
    )
    adapt: bool = _parameter(
        False,
        "begin from the encoder that `adapt:` has pretrained further on the training texts; true where it is there",
        tasks=("sequence-classification", "question-answering"),
        later=True,
    )

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values, field by field."""
        stopping = self.early_stopping and dataclasses.asdict(self.early_stopping)
        return {name: getattr(self, name) for name in self.__dataclass_fields__} | {"early_stopping": stopping}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrialConfig:
        """The inverse of `as_dict`; absent fields take their defaults."""
        values = dict(values)
        if isinstance(values.get("early_stopping"), Mapping):
            values["early_stopping"] = EarlyStopping(**values["early_stopping"])
        return cls(**values)

    @property
    def fingerprint(self) -> str:
        """Identity of the configuration: equal text, equal trial."""
        values = self.as_dict()
        for name, default in _later().items():
            if values[name] == default:
                del values[name]
        return sys.intern(fingerprint(values))  # a night holds a hundred thousand, in more than one place

    @property
    def effective_batch_size(self) -> int:
        """Rows of one optimiser step."""
        return self.batch_size * self.gradient_accumulation


def hyperparameters() -> dict[str, tuple[dataclasses.Field[Any], Hyperparameter]]:
    """Name -> (dataclass field, manners) of every hyperparameter, in order of declaration."""
    return {f.name: (f, f.metadata["hyperparameter"]) for f in dataclasses.fields(TrialConfig)}


@functools.cache
def _later() -> dict[str, Any]:
    """Name -> default of every hyperparameter that came after the first records."""
    return {name: declared.default for name, (declared, manners) in hyperparameters().items() if manners.later}


# --- the objective ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Objective:
    """What is optimised: a validation metric or a cost, and whether it is read at the best or last epoch.

    Attributes:
        metric: `loss` means the validation loss; other metric names as in `metrics.py`; or a speed
            or cost of the trial such as `train_samples_per_second` or `train_seconds`.
        at: "best" reads the best epoch, "last" the last one. Costs of a trial ignore it.
    """

    metric: str = "loss"
    direction: Direction = "minimize"
    at: Literal["best", "last"] = "best"

    def better(self, value: float, than: float) -> bool:
        """Strictly better; a non-finite value is never better, anything finite beats a non-finite one."""
        if not math.isfinite(value):
            return False
        if not math.isfinite(than):
            return True
        return value < than if self.direction == "minimize" else value > than

    def best_epoch(self, values: Mapping[int, float]) -> int | None:
        """First epoch with the best value, by epoch number; None without a finite value."""
        best: int | None = None
        for epoch in sorted(values):
            if math.isfinite(values[epoch]) and (best is None or self.better(values[epoch], values[best])):
                best = epoch
        return best

"""What crosses the process border: configurations, jobs, epoch records, incidents, outcomes.

Plain frozen values without torch. The coordinator sends jobs, a worker answers with events; both
sides import this module and nothing of each other.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

State = Literal["waiting", "running", "complete", "pruned", "failed"]
Reason = Literal["oom", "diverged", "hung", "crashed", "data", "disk"]
Direction = Literal["minimize", "maximize"]
STATES: tuple[str, ...] = ("waiting", "running", "complete", "pruned", "failed")
REASONS: tuple[str, ...] = ("oom", "diverged", "hung", "crashed", "data", "disk")


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
    """

    doc: str
    searchable: bool = True
    minimum: float | None = None
    maximum: float | None = None
    exclusive_minimum: bool = False
    choices: tuple[str, ...] = ()
    usual: str = ""


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
        "none", "balanced weighs the loss by inverse class frequency", searchable=True, choices=("none", "balanced")
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
        return fingerprint(self.as_dict())

    @property
    def effective_batch_size(self) -> int:
        """Rows of one optimiser step."""
        return self.batch_size * self.gradient_accumulation


def hyperparameters() -> dict[str, tuple[dataclasses.Field[Any], Hyperparameter]]:
    """Name -> (dataclass field, manners) of every hyperparameter, in order of declaration."""
    return {f.name: (f, f.metadata["hyperparameter"]) for f in dataclasses.fields(TrialConfig)}


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


# --- what a worker reports -------------------------------------------------------------------------


class MetricValue(NamedTuple):
    """One metric of one epoch. Splits: train (the training pass), probe, validation, test."""

    split: str
    name: str
    value: float
    group: str = ""


class SpeedWindow(NamedTuple):
    """A stretch of steady training steps between two synchronised clock readings."""

    seconds: float
    steps: int
    samples: int
    tokens: int
    padded_tokens: int


@dataclass(frozen=True, slots=True)
class EpochRecord:
    """Everything that one epoch leaves behind; one database transaction.

    Attributes:
        epoch: counted from 1.
        steps: optimiser steps since the trial began.
        learning_rate: of the top parameter group at the last step of the epoch.
        train_seconds: forward, backward and optimiser steps; no evaluation, no saving.
        evaluate_seconds, save_seconds: the rest of the epoch's wall clock.
        evaluated_samples: rows behind evaluate_seconds (validation only, not the probe).
        validation_seconds: part of evaluate_seconds spent on the validation rows.
        windows: steady training windows, first steps left out.
        flops: floating-point operations of the epoch's training passes, real tokens; None if unknown.
        load: other processes' share of the CPUs during the epoch, 0 to 1; None if unknown.
        logits: validation logits, shape (examples, labels), float32, in the order of the split.
        margins: training rows' gold margins (gold logit minus best other), shape (rows,), from the
            training pass, NaN where a row was not seen.
    """

    epoch: int
    steps: int
    learning_rate: float
    metrics: tuple[MetricValue, ...]
    train_seconds: float
    evaluate_seconds: float
    save_seconds: float
    validation_seconds: float
    evaluated_samples: int
    windows: tuple[SpeedWindow, ...] = ()
    peak_memory_bytes: int | None = None
    flops: float | None = None
    load: float | None = None
    logits: npt.NDArray[np.float32] | None = None
    margins: npt.NDArray[np.float32] | None = None

    @property
    def epoch_seconds(self) -> float:
        """Wall clock of the whole epoch."""
        return self.train_seconds + self.evaluate_seconds + self.save_seconds

    def value(self, split: str, name: str, group: str = "") -> float:
        """One metric; NaN when it was not measured."""
        for metric in self.metrics:
            if (metric.split, metric.name, metric.group) == (split, name, group):
                return metric.value
        return math.nan


@dataclass(frozen=True, slots=True)
class Incident:
    """Something that went otherwise than asked and was dealt with: kind, words, details in JSON values."""

    kind: str
    message: str
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TrialFacts:
    """What was really run, next to what was asked; sent when a trial's training starts.

    `config` is the configuration after every fallback (an OOM halves batch_size, doubles
    gradient_accumulation). `weights_hash` is the SHA-256 of the pretrained weights as loaded.
    """

    config: TrialConfig
    device: str
    dtype: str
    attention: str
    threads: int
    total_steps: int
    train_rows: int
    validation_rows: int
    data_fingerprint: str
    model_revision: str | None
    weights_hash: str
    total_parameters: int
    trainable_parameters: int
    truncated: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TrialOutcome:
    """How a trial ended in the worker.

    Attributes:
        state: complete, pruned, failed, or waiting when it was interrupted and can go on.
        seconds: wall clock by phase: load, tokenise, share (what other trials take too), train, evaluate, save, total.
        model_folder: name of the folder with the best epoch's weights below the trial's folder, if written.
        shared_work: what was taken from shared work, with amounts; empty when nothing was shared.
    """

    state: State
    reason: Reason | None = None
    message: str = ""
    traceback: str = ""
    stopped_early: str = ""
    seconds: Mapping[str, float] = field(default_factory=dict)
    model_folder: str | None = None
    shared_work: Mapping[str, Any] = field(default_factory=dict)


# --- jobs (coordinator -> worker) --------------------------------------------------------------------


class Demand(NamedTuple):
    """What one trial asks that its model or the device may be unable to do."""

    model: str
    max_length: int
    freeze: str
    dtype: str


@dataclass(frozen=True, slots=True)
class PrepareJob:
    """Load and check everything a study needs, before any training: data, every model, every demand.

    Attributes:
        revisions: model -> commit on the Hub that the study was begun with; others are looked up.
    """

    task: str
    data: Mapping[str, Any]
    seed: int
    models: Sequence[str]
    demands: Sequence[Demand]
    metrics: Sequence[str]
    with_texts: bool
    revisions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AuditJob:
    """Tokenise everything without truncation and count: lengths, truncation, balance, duplicates, overlap."""

    task: str
    data: Mapping[str, Any]
    seed: int
    models: Sequence[str]
    max_lengths: Sequence[int]


@dataclass(frozen=True, slots=True)
class Sharing:
    """What trials of a study take from each other's work.

    Attributes:
        folder: of the cache; None where every trial works everything out itself.
        budget: bytes of the cache on disk at most.
        freezes: every value of `freeze` in the study: one pass through a frozen prefix serves them all.
        exact: batches in the plain Trainer's random order, not of rows of about equal length.
    """

    folder: str | None = None
    budget: int = 0
    freezes: tuple[str, ...] = ()
    exact: bool = False


@dataclass(frozen=True, slots=True)
class TrialJob:
    """One harness trial: a configuration, a seed, a fold.

    Attributes:
        folder: the trial's own folder (checkpoints, kept model), made by the worker.
        keep_better_than: write the best weights only if the objective beats this; None always writes.
        sharing: what may be taken from other trials' work.
        revision: commit of the model on the Hub, as the preparation found it; None for a folder.
    """

    trial: int
    task: str
    data: Mapping[str, Any]
    data_seed: int
    config: TrialConfig
    seed: int
    fold: int | None
    objective: Objective
    folder: str
    keep: bool
    keep_better_than: float | None = None
    checkpoint_seconds: float = 300.0
    sharing: Sharing = Sharing()
    revision: str | None = None


@dataclass(frozen=True, slots=True)
class TrainJob:
    """A group of trials that one worker runs in order; the unit that an executor places."""

    trials: tuple[TrialJob, ...]


@dataclass(frozen=True, slots=True)
class ProbeJob:
    """Measure a few steps of what a study is going to do, and say what each of these trials would cost.

    Attributes:
        trials: one for everything that costs alike, in the order in which the study comes to them.
        folder: for what is written meanwhile; whoever asks takes it away.
        most: shapes that are measured at most, or one a model where there are more models.
    """

    trials: tuple[TrialJob, ...]
    folder: str
    most: int = 12


# --- answers (worker -> coordinator) ----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SplitSummary:
    """One split after validation: rows kept, rows dropped by reason, rows by label name."""

    rows: int
    dropped: Mapping[str, int]
    labels: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class ModelSummary:
    """A pretrained encoder as found: architecture, size, limits, identity."""

    name: str
    architecture: str
    layers: int
    total_parameters: int
    max_positions: int
    revision: str | None
    weights_hash: str


@dataclass(frozen=True, slots=True)
class Prepared:
    """What `PrepareJob` found: the data as it will be used, and the models.

    Attributes:
        examples: split -> list of (row number in the source, label name, group, text or None).
        positive: label name that binary f1, precision and recall speak of; None beyond two classes.
        data_revision: commit of the data set on the Hub; None for files and built-in data.
    """

    fingerprint: str
    label_names: tuple[str, ...]
    positive: str | None
    splits: Mapping[str, SplitSummary]
    warnings: tuple[str, ...]
    models: tuple[ModelSummary, ...]
    examples: Mapping[str, Sequence[tuple[int, str, str, str | None]]]
    environment: Mapping[str, Any]
    data_revision: str | None = None


class Truncation(NamedTuple):
    """What a max_length cuts off: the share of examples that lose tokens, and of all tokens that are lost."""

    max_length: int
    examples: float
    tokens: float


@dataclass(frozen=True, slots=True)
class TokenLengths:
    """How long the examples of one split are for one model's tokeniser, special tokens included.

    Attributes:
        quantiles: share ("0.5" is the median, "1" the longest) -> tokens.
        histogram: (first length, last length, examples), bins of equal width without gaps.
        truncation: one entry for every max_length of the search, and for the recommended one.
    """

    model: str
    split: str
    examples: int
    quantiles: Mapping[str, int]
    histogram: tuple[tuple[int, int, int], ...]
    truncation: tuple[Truncation, ...]


@dataclass(frozen=True, slots=True)
class AuditCounts:
    """What `AuditJob` counted. Nothing in it is a text.

    Attributes:
        splits: split -> rows, rows left out by reason, rows by label.
        lengths: for every model and split.
        duplicates: split -> examples that repeat an earlier text.
        conflicts: split -> texts that have more than one label.
        overlap: (split, other split) -> examples of the first whose text is also in the other.
        recommended: model -> max_length by `rule`.
        rule: the rule in words.
    """

    fingerprint: str
    label_names: tuple[str, ...]
    positive: str | None
    splits: Mapping[str, SplitSummary]
    lengths: tuple[TokenLengths, ...]
    duplicates: Mapping[str, int]
    conflicts: Mapping[str, int]
    overlap: Mapping[tuple[str, str], int]
    recommended: Mapping[str, int]
    rule: str
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TrialCost:
    """What one trial of `ProbeJob` would cost, in the order of the study.

    Attributes:
        how: "probed" where every shape of its steps was measured, else "derived" from others of the same model.
        steps_per_epoch: optimiser steps.
        train_seconds: of each epoch's training pass.
        evaluate_seconds, save_seconds: of each epoch: metrics of two splits; a copy of the best weights.
        begin_seconds: model set back, optimiser made, tables filled, states of frozen prefixes read.
        tokenise_seconds: where no trial before has tokenised at this length.
        fill_seconds: working out states of frozen prefixes that no trial before it has.
        spared_seconds: what its epochs would take longer if nothing were shared.
        cache_bytes: that it adds to the states on disk.
        row_bytes: logits and margins of one epoch, before compression.
        trained_bytes: of the weights that train.
        batch_size: with which it fits into memory; None when not even one row does.
        fits: whether it runs as asked; None where nobody knows.
        peak_memory_bytes: highest of its measured shapes; None for a derived one.
        note: why nothing is shared although something could be.
    """

    how: Literal["probed", "derived"]
    train_rows: int
    validation_rows: int
    steps_per_epoch: int
    train_seconds: tuple[float, ...]
    evaluate_seconds: float
    save_seconds: float
    begin_seconds: float
    tokenise_seconds: float
    fill_seconds: float
    spared_seconds: float
    cache_bytes: int
    row_bytes: int
    trained_bytes: int
    batch_size: int | None
    fits: bool | None
    peak_memory_bytes: int | None
    note: str


@dataclass(frozen=True, slots=True)
class ModelCost:
    """What a model costs however it is trained: loading it, writing the best epoch's, its bytes on disk and in all."""

    load_seconds: float
    keep_seconds: float
    kept_bytes: int
    total_bytes: int


@dataclass(frozen=True, slots=True)
class Probed:
    """What `ProbeJob` found.

    Attributes:
        costs: one for each of its trials, in their order.
        models: name -> cost.
        data_seconds: reading and splitting the rows.
        memory_bytes: free on the device, or of the machine where that is a CPU.
        shapes, probed: how many different shapes of steps there are, and how many of them were measured.
    """

    costs: tuple[TrialCost, ...]
    models: Mapping[str, ModelCost]
    data_seconds: float
    device: str
    memory_bytes: int
    shapes: int
    probed: int


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a trial stands between epochs; at most one a second, never stored.

    Epoch 0 is work on the frozen part of the model, its steps are rows.
    """

    epoch: int
    step: int
    steps: int


@dataclass(frozen=True, slots=True)
class JobDone:
    """A worker has finished its job and waits for the next."""


@dataclass(frozen=True, slots=True)
class JobFailed:
    """A job other than a trial could not be done: the error to raise in the coordinator.

    Attributes:
        error: class name in `errors.py`, or "" for an unexpected exception.
    """

    error: str
    message: str
    traceback: str = ""


@dataclass(frozen=True, slots=True)
class WorkerDied:
    """The executor's word for a worker that is gone: exit code, or minus the signal's number."""

    exit_code: int
    log_tail: str = ""


class Message(NamedTuple):
    """One event of a worker; `trial` is the database id of the trial that it speaks of, if any."""

    trial: int | None
    event: Any

"""What the coordinator asks of a worker, and the answers of those jobs that train nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from harness.configuration import Objective, TrialConfig


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
    strides: Sequence[int | None] = (None,)
    adapts: bool = False


EXACT_BATCHES = "batches in the plain Trainer's order"  # in the notes of a trial that ran so


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
        adapted: folder of the model pretrained further, for a configuration that asks for it; None where there is none.
        reader: the task that reads and splits the rows, of which the texts alone are used; empty for `task` itself.
        test: whether the test rows are read too, at every epoch that is the best so far.
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
    adapted: str | None = None
    reader: str = ""
    test: bool = False


@dataclass(frozen=True, slots=True)
class AdaptJob:
    """Pretrain a model further on the training texts of a study, before its first trial.

    Attributes:
        task: of the study.
        seed: of splits, order and hidden tokens.
        config: the model, and how it is trained.
        folder: where adapted models are kept, by content.
        revision: as a trial's.
    """

    task: str
    data: Mapping[str, Any]
    seed: int
    config: TrialConfig
    folder: str
    revision: str | None = None

    def as_trial(self, folder: str) -> TrialJob:
        """The trial of masked language modelling that it is, in a folder of its own."""
        return TrialJob(
            trial=0,
            task="masked-language-modeling",
            reader=self.task,
            data=self.data,
            data_seed=self.seed,
            config=self.config,
            seed=self.seed,
            fold=None,
            objective=Objective(),
            folder=folder,
            keep=True,
            revision=self.revision,
        )


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


# --- answers ----------------------------------------------------------------------------------------


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
        fusing: names of the models whose linear classifiers can train together.
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
    fusing: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Adapted:
    """What `AdaptJob` has made or found.

    Attributes:
        key: name of the kept model's folder.
        texts: how many were trained on.
        held_out_texts: how many the perplexity is of; 0 where it is of training texts, as there are no others.
        epochs, best_epoch, steps: trained, kept, and steps until the kept one.
        perplexity_before, perplexity_after: of the held-out texts; None where it is no finite number.
        fresh_head: the model came without a head for hidden words, so that its perplexity before says nothing of it.
        seconds: that it took, whenever that was.
        spent_seconds: that it took now.
        reused: whether an earlier study or night had made it.
        weights_hash: SHA-256 of its weights, as a trial's facts have it.
    """

    model: str
    key: str
    texts: int
    held_out_texts: int
    epochs: int
    best_epoch: int
    steps: int
    perplexity_before: float | None
    perplexity_after: float | None
    fresh_head: bool
    seconds: float
    spent_seconds: float
    reused: bool
    weights_hash: str


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


class Windows(NamedTuple):
    """What windows of a length and stride make of one split of a task whose answers lie in the text.

    Attributes:
        features: windows of all examples.
        lost: examples whose answer no window holds.
        cut: examples whose question was cut.
    """

    model: str
    split: str
    max_length: int
    stride: int
    examples: int
    features: int
    lost: int
    cut: int


class TextsAlone(NamedTuple):
    """What `adapt` reads: different training texts, and different validation texts that are not among them."""

    train: int
    held_out: int


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
        windows: for every model, max_length, stride and split of a task that reads windows.
        rule: the rule in words.
        texts: for a study that adapts its encoders; else None.
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
    windows: tuple[Windows, ...] = ()
    texts: TextsAlone | None = None


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
        fusible: whether a worker can train it together with others, where `grouping.key` lets them.
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
    fusible: bool
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

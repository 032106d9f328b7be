"""What the loop reads and what it carries: the plan of a trial, and the state that a checkpoint brings back."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from harness.batches import Table, TokenTable
from harness.configuration import Objective, TrialConfig
from harness.encoder import Encoder
from harness.evaluation import Split
from harness.graphs import Graphs
from harness.metrics import costs
from harness.optimization import adamw, parameter_groups, schedule, warmup_steps
from harness.records import EpochRecord, SpeedWindow
from harness.streams import bucketed_order, derive, epoch_order
from harness.tasks.base import IntArray, Task
from harness.used_rows import can_be_cut


@dataclass(frozen=True)
class Plan:
    """Everything that the loop reads: what to train, on what, how, and what counts as best.

    Attributes:
        config: after every fallback; `dtype` below is what its dtype became.
        probe: fixed training rows that are evaluated as validation rows are.
        positive: class id of binary F1, precision and recall; None beyond two classes.
        evaluation_places: padded tokens of an evaluation batch at most.
        exact: batches in the plain Trainer's random order, instead of batches of rows of about equal length.
        test: rows that no choice was made by; None for a trial that must not look at them.
        recorded: replay steps that were recorded, where the device can; not where nothing may be shared.
    """

    task: Task
    encoder: Encoder
    config: TrialConfig
    seed: int
    train: Split
    probe: Split
    validation: Split
    objective: Objective
    positive: int | None
    dtype: str
    evaluation_places: int
    exact: bool = False
    test: Split | None = None
    recorded: bool = True

    def order(self, epoch: int) -> IntArray:
        """The order in which an epoch takes the training features, (features,)."""
        if self.exact:
            return epoch_order(len(self.train.features), self.seed, epoch)
        return bucketed_order(self.train.features.lengths, self.seed, epoch, self.config.effective_batch_size)

    def cut(self, epoch: int) -> int | None:
        """The cut from which an epoch runs (`freezing.cut`); None where the whole model does."""
        cut = self.encoder.cut(self.config.freeze, epoch, self.config.epochs)
        return cut if cut in self.train.states else None

    def table(self, epoch: int) -> Table:
        """The training features as an epoch (from 1) reads them, on the device."""
        if not self.task.redrawn:
            return self.train.at(self.cut(epoch))
        drawn = self.task.drawn(self.train.features, derive(self.seed, "drawn", epoch))
        return TokenTable(drawn, self.encoder.device)

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps of an epoch; the last one may have fewer rows."""
        return math.ceil(len(self.train.features) / self.config.effective_batch_size)

    @property
    def total_steps(self) -> int:
        """Optimiser steps of the whole trial."""
        return self.steps_per_epoch * self.config.epochs

    def learning_rate(self, step: int) -> float:
        """Learning rate of the top parameter group at a step counted from 0."""
        config, total = self.config, self.total_steps
        return config.learning_rate * schedule(config.lr_schedule, step, warmup_steps(config.warmup, total), total)

    @property
    def graphs(self) -> Graphs | None:
        """Recorded steps of the encoder; None where there are none, or the steps are such as cannot be recorded."""
        found, config = self.encoder.graphs, self.config
        if found is None or found.refused or not self.recorded or self.exact or self.task.redrawn:
            return None
        return None if self.dtype == "fp16" or config.gradient_accumulation > 1 else found

    @property
    def trains_used_rows(self) -> bool:
        """Whether embedding rows that no text uses are left out; a scaler may skip a step and its decay."""
        encoder, config = self.encoder, self.config
        if self.exact or self.dtype == "fp16" or not can_be_cut(encoder.model):
            return False
        return encoder.input_embeddings in encoder.trained_names(config.freeze, config.epochs)

    @property
    def selection(self) -> Objective:
        """What picks the best epoch: the objective, or the validation loss where the objective is a cost."""
        return Objective() if self.objective.metric in costs() else self.objective


class Weighing(NamedTuple):
    """What rows weigh in a mean.

    Attributes:
        classes: weights for the loss, (labels,), on the device; None for the plain loss.
        rows: weight of each training feature, (features,), on the host, so that a step need not wait for it.
    """

    classes: torch.Tensor | None
    rows: npt.NDArray[np.float64]


def weighing(plan: Plan) -> Weighing:
    """Every row as the task weighs it, or by inverse class frequency with mean 1 over the rows."""
    labels = plan.train.features.labels
    if plan.config.class_weights == "none":
        return Weighing(None, plan.task.mass(plan.train.features))
    counts = np.bincount(labels, minlength=len(plan.train.examples.label_names))
    weights = counts.sum() / (np.count_nonzero(counts) * np.maximum(counts, 1))
    classes = torch.from_numpy(weights.astype(np.float32)).to(plan.encoder.device)
    return Weighing(classes, weights[labels])


@dataclass
class Best:
    """The best epoch so far and the weights that it trained, by name."""

    epoch: int
    tensors: dict[str, torch.Tensor]


@dataclass
class Running:
    """The epoch at hand: how far it is, and what its steps have left behind.

    Attributes:
        step: optimiser steps done in this epoch.
        trace: what the task keeps of every feature's training pass, NaN where not seen yet.
        seconds, saving: training and away time before an interruption.
    """

    epoch: int
    trace: torch.Tensor
    step: int = 0
    seconds: float = 0.0
    saving: float = 0.0
    windows: tuple[SpeedWindow, ...] = ()


@dataclass
class State:
    """What a checkpoint has to bring back, besides the model's weights.

    Attributes:
        running: None between two epochs.
        stopped: why training ended before its last epoch, in words.
    """

    optimizer: torch.optim.AdamW
    names: list[str]
    scaler: torch.amp.GradScaler
    records: list[EpochRecord] = field(default_factory=list)
    best: Best | None = None
    running: Running | None = None
    stopped: str = ""


def prepare(plan: Plan, rows: IntArray | None = None) -> State:
    """A fresh state; the encoder is set back to its pretrained weights and the seed's head.

    Args:
        plan: of the trial.
        rows: of the input embeddings, that a checkpoint holds; None for a trial that begins.
    """
    encoder, config = plan.encoder, plan.config
    encoder.reset(plan.seed)
    encoder.exact = plan.exact
    trained = encoder.trained_names(config.freeze, config.epochs)
    if plan.trains_used_rows and rows is not None:
        encoder.use_rows(rows, plan.train.features.pad_id, exactly=True)
    elif plan.trains_used_rows:
        splits = (plan.train, plan.probe, plan.validation, *([] if plan.test is None else [plan.test]))
        texts = [ids for split in splits for ids in split.features.input_ids]
        encoder.use_rows(np.unique(np.concatenate(texts)), plan.train.features.pad_id)
    groups = parameter_groups(encoder.model, encoder.parameters, encoder.layers, config, set(trained))
    names = [name for group in groups for name in group["names"]]
    scaler = torch.amp.GradScaler(encoder.device.type, enabled=plan.dtype == "fp16")
    optimizer = adamw(groups) if plan.graphs is None else plan.graphs.adamw(groups)
    return State(optimizer, names, scaler)


def finished(plan: Plan, state: State) -> bool:
    """Whether all epochs are done or early stopping has spoken."""
    return bool(state.stopped) or len(state.records) >= plan.config.epochs

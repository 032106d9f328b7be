"""What a worker tells of its trials: epoch records, incidents, facts, outcomes.

Plain frozen values without torch, which both sides of the process border import. What is asked of a worker stands in
`jobs.py`, with the answers of jobs that train nothing.
"""

from __future__ import annotations

import math
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from harness.configuration import TrialConfig

State = Literal["waiting", "running", "complete", "pruned", "failed"]
Reason = Literal["oom", "diverged", "hung", "crashed", "data", "disk"]
MOST_DEATHS = 2  # after so many a job whose worker was killed from outside is still taken up; the next fails it
MOST_NODE_DEATHS = 5  # the same for whole machines, which a cluster may take back at any time
MEMORY_REMEDY = "a higher limit on it helps, fewer workers, a smaller batch_size, or a shorter max_length"
STATES: tuple[str, ...] = ("waiting", "running", "complete", "pruned", "failed")
REASONS: tuple[str, ...] = ("oom", "diverged", "hung", "crashed", "data", "disk")


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
        energy_joules: what the device used for training steps and evaluation; None where it does not tell.
        energy_source: how that was read, and whether the device was shared; as `energy.Energy` has it.
        outputs: what the task keeps of the validation rows, by kind, float32, in the order of the split: logits of a
            classification, shape (examples, labels).
        test_outputs: the same of the test rows, where the trial reads them and the epoch is the best so far.
        margins: training features' gold margins (gold logit minus best other), shape (features,), from the
            training pass, NaN where one was not seen.
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
    energy_joules: float | None = None
    energy_source: str | None = None
    outputs: Mapping[str, npt.NDArray[np.float32]] = field(default_factory=dict)
    test_outputs: Mapping[str, npt.NDArray[np.float32]] = field(default_factory=dict)
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


# --- on the way -------------------------------------------------------------------------------------


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
    """The executor's word for a worker that is gone: exit code, or minus the signal's number.

    Attributes:
        node: of a cluster that is gone with everything on it; empty for a worker that died alone.
        out_of_memory: Linux ended it because the machine's memory, or what it may use of it, ran out.
    """

    exit_code: int
    log_tail: str = ""
    node: str = ""
    out_of_memory: bool = False

    @property
    def from_outside(self) -> bool:
        """Whether it was killed or told to end, so that its job is not to blame."""
        return self.exit_code in (0, -signal.SIGTERM, -signal.SIGKILL)

    @property
    def kind(self) -> str:
        """Of its incident."""
        return "node_died" if self.node else "worker_died"

    @property
    def words(self) -> str:
        """Who died, and how."""
        if self.node:
            return f"node {self.node} died"
        how = f"signal {-self.exit_code}" if self.exit_code < 0 else f"exit code {self.exit_code}"
        return f"worker died with {how}"

    @property
    def why(self) -> str:
        """What goes behind `words` and the place where it died, as far as it is known."""
        return f": memory ran out, {MEMORY_REMEDY}" if self.out_of_memory else ""

    @property
    def details(self) -> dict[str, Any]:
        """Of its incident."""
        found = {"exit_code": self.exit_code, "node": self.node, "log": self.log_tail}
        return found | ({"out_of_memory": True} if self.out_of_memory else {})

    def forgiven(self, before: int) -> bool:
        """Whether another worker takes up its job, after so many deaths of its kind before."""
        return self.from_outside and before < (MOST_NODE_DEATHS if self.node else MOST_DEATHS)


class Message(NamedTuple):
    """One event of a worker; `trial` is the database id of the trial that it speaks of, if any."""

    trial: int | None
    event: Any

"""Many linear classifiers over the same frozen states, trained as one batched layer.

The heads see the same batches and the same dropout, as trials with one seed and one batch size do anyway, and each
has its own learning rate, decay, schedule and clipping. What a head becomes is what training it alone
makes of it, up to rounding. Which trials may go together is `grouping.key`'s answer.
"""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch.nn import functional

from harness.batches import Table
from harness.devices import autocast, seed_dropout
from harness.dropout_draws import drawing
from harness.energy import EnergyMeter, reader_of
from harness.errors import TrialFailure
from harness.head_gradients import slopes
from harness.optimization import BETAS, CLIP_EPSILON, EPSILON
from harness.profiling import Load, MemoryPeak, Stopwatch
from harness.records import EpochRecord, Progress, SpeedWindow
from harness.streams import derive
from harness.tasks.base import Logits
from harness.training import early_stop, epoch_record, keep_best, with_energy
from harness.training_plan import Plan, Running, State, finished

PROGRESS_STEPS = 200


@dataclass
class Column:
    """One head: its trial's plan and state, and where it stands."""

    trial: int
    plan: Plan
    state: State


class Heads:
    """Weights (heads, labels, width) and biases (heads, labels) with AdamW's moments, one learning rate a head."""

    def __init__(self, columns: Sequence[Column]) -> None:
        encoder = columns[0].plan.encoder
        self._dropout, linear = encoder.top()
        self._device, self._dtype = encoder.device, columns[0].plan.dtype
        count = len(columns)
        self._values = [p.detach().repeat(count, *[1] * p.dim()) for p in (linear.weight, linear.bias)]
        self._moments = [(torch.zeros_like(value), torch.zeros_like(value)) for value in self._values]
        self._steps = 0
        configs = [column.plan.config for column in columns]
        limits = [math.inf if config.max_grad_norm is None else config.max_grad_norm for config in configs]
        self._limits = torch.tensor(limits, device=self._device)
        self._decays = torch.tensor([config.weight_decay for config in configs], device=self._device)

    def logits(self, states: torch.Tensor) -> torch.Tensor:
        """Logits of every head for a batch of states, (batch, heads, labels)."""
        weight, bias = self._values
        heads, labels, width = weight.shape
        with autocast(self._device, self._dtype):
            flat = functional.linear(states, weight.reshape(heads * labels, width), bias.reshape(heads * labels))
        return flat.view(len(states), heads, labels)

    def step(
        self, states: torch.Tensor, labels: torch.Tensor, rates: torch.Tensor, seed: int
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """One optimiser step of every head.

        Args:
            states: (batch, width).
            labels: (batch,).
            rates: learning rate of each head, (heads,).
            seed: of this step's dropout.

        Returns:
            Logits (batch, heads, labels) before the step, losses (heads,), norms of the gradients (heads,).
        """
        seed_dropout(self._device, seed)
        weight, bias = self._values
        found = slopes(self._dropout(states), labels, weight, bias, len(weight), self._dtype)
        gradients = (found.weight, found.bias)
        norms = torch.stack([g.flatten(1).norm(dim=1) for g in gradients]).norm(dim=0)
        self._update(gradients, (self._limits / (norms + CLIP_EPSILON)).clamp(max=1.0), rates)
        return found.logits, found.losses, norms

    def _update(self, gradients: Sequence[torch.Tensor], clip: torch.Tensor, rates: torch.Tensor) -> None:
        """AdamW as torch.optim writes it, decay on the weights and not on the biases."""
        self._steps += 1
        first, second = (1.0 - beta**self._steps for beta in BETAS)
        for value, (mean, square), gradient in zip(self._values, self._moments, gradients, strict=True):
            shape = (-1, *[1] * (value.dim() - 1))
            gradient = gradient * clip.view(shape)
            if value.dim() > 2:
                value.mul_(1.0 - (rates * self._decays).view(shape))
            mean.lerp_(gradient, 1.0 - BETAS[0])
            square.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1.0 - BETAS[1])
            value.sub_((rates / first).view(shape) * mean / (square.sqrt() / math.sqrt(second) + EPSILON))

    def keep(self, columns: Sequence[int]) -> None:
        """Go on with some of the heads."""
        index = torch.tensor(columns, dtype=torch.long, device=self._device)
        self._values = [value[index] for value in self._values]
        self._moments = [(mean[index], square[index]) for mean, square in self._moments]
        self._limits, self._decays = self._limits[index], self._decays[index]

    def tensors(self, column: int, names: Sequence[str]) -> dict[str, torch.Tensor]:
        """Copies of one head's weight and bias, by the names that they have in the model."""
        weight, bias = (value[column].clone() for value in self._values)
        return {name: bias if name.endswith("bias") else weight for name in names}


@dataclass
class Ended:
    """A trial that leaves the group: because it diverged, or with its last epoch done."""

    trial: int
    failure: TrialFailure | None = None


def train_together(columns: Sequence[Column]) -> Iterator[tuple[int, EpochRecord] | Progress | Ended]:
    """Train all heads from the first epoch; after an epoch each gives its record, in their order.

    Whoever iterates takes a trial out by setting `state.stopped` while it holds that trial's record.

    Args:
        columns: trials that `grouping.key` lets go together; the encoder is set back to the seed's head.
    """
    live = list(columns)
    heads = Heads(live)
    epoch = 0
    while live:
        epoch += 1
        energy = EnergyMeter(reader_of(live[0].plan.encoder.device))
        training = yield from _pass(live, heads, epoch, energy)
        failed = {}
        evaluation = _Evaluation(live[0].plan, heads)
        used = energy.read()
        for position, column in enumerate(live):
            try:
                record = training.record(column, position, len(live), evaluation)
            except TrialFailure as failure:
                failed[column.trial] = failure
                continue
            record = with_energy(record, used, len(live))
            column.state.records.append(record)
            keep_best(column.plan, column.state, partial(heads.tensors, position))
            column.state.stopped = early_stop(column.plan.config, column.state.records)
            yield column.trial, record
        left = []
        for position, column in enumerate(live):
            if column.trial in failed or finished(column.plan, column.state):
                yield Ended(column.trial, failed.get(column.trial))
            else:
                left.append(position)
        if len(left) < len(live):
            heads.keep(left)
            live = [live[position] for position in left]


class _Evaluation:
    """Logits of the probe and of the validation rows from every head, (features, heads, labels).

    Attributes:
        seconds: of the pass over the validation rows.
        all_seconds: of both passes.
    """

    def __init__(self, plan: Plan, heads: Heads) -> None:
        both = time.perf_counter()
        self.probe = _predict(plan.probe.at(plan.cut(1)), heads, plan.evaluation_places)
        began = time.perf_counter()
        self.validation = _predict(plan.validation.at(plan.cut(1)), heads, plan.evaluation_places)
        self.seconds = time.perf_counter() - began
        self.all_seconds = time.perf_counter() - both


def _predict(table: Table, heads: Heads, places: int) -> Logits:
    found: list[tuple[np.ndarray, np.ndarray]] = []
    with torch.inference_mode():
        for rows in table.by_length(places):
            hidden = table.batch(rows).hidden
            assert hidden is not None
            found.append((rows, heads.logits(hidden).float().cpu().numpy()))
    order = np.concatenate([rows for rows, _ in found])
    logits: Logits = np.concatenate([values for _, values in found])[np.argsort(order)]
    return logits


@dataclass
class _Pass:
    """What one epoch's training pass has left behind for every head.

    Attributes:
        logits: of every feature, (features, heads, labels).
        losses, norms: of every step, (steps, heads).
        windows, seconds: of the whole group.
    """

    epoch: int
    logits: torch.Tensor
    losses: torch.Tensor
    norms: torch.Tensor
    windows: Sequence[SpeedWindow]
    seconds: float
    load: float | None
    memory: int

    def record(self, column: Column, position: int, group: int, evaluation: _Evaluation) -> EpochRecord:
        """One trial's record; seconds are its share of the group's.

        Raises:
            TrialFailure: diverged, naming the first step whose loss or gradient was not finite.
        """
        finite = torch.isfinite(self.losses[:, position]) & torch.isfinite(self.norms[:, position])
        if not bool(finite.all()):
            step = int((~finite).nonzero()[0])
            loss, norm = float(self.losses[step, position]), float(self.norms[step, position])
            what = f"gradient norm became {norm}" if math.isfinite(loss) else f"loss became {loss}"
            raise TrialFailure("diverged", f"{what} at epoch {self.epoch}, step {step + 1}")
        windows = tuple(window._replace(seconds=window.seconds / group) for window in self.windows)
        running = Running(self.epoch, self.logits[:, position], seconds=self.seconds / group, windows=windows)
        began = time.perf_counter() - evaluation.all_seconds / group
        record = epoch_record(
            column.plan,
            running,
            evaluation.probe[:, position],
            evaluation.validation[:, position],
            began,
            evaluation.seconds / group,
        )
        return replace(record, load=self.load, peak_memory_bytes=self.memory)


def _pass(live: Sequence[Column], heads: Heads, epoch: int, energy: EnergyMeter) -> Generator[Progress, None, _Pass]:
    """One epoch's steps of all heads."""
    plan = live[0].plan
    size, steps, device = plan.config.effective_batch_size, plan.steps_per_epoch, plan.encoder.device
    order, table = plan.order(epoch), plan.train.at(plan.cut(epoch))
    dropout, _ = plan.encoder.top()
    dropout.train()
    labels = len(plan.train.examples.label_names)
    passed = torch.full((len(table), len(live), labels), math.nan, device=device)
    before = (epoch - 1) * steps
    rates = torch.tensor(
        [[column.plan.learning_rate(before + step) for column in live] for step in range(steps)], device=device
    )
    memory, load = MemoryPeak(device), Load()
    losses, norms = [], []
    clock = Stopwatch(device, steps, warm_up=epoch == 1)
    with drawing(plan):
        for step in range(steps):
            batch = table.batch(order[step * size : (step + 1) * size])
            assert batch.hidden is not None
            seed = derive(plan.seed, "dropout", before + step)
            logits, loss, norm = heads.step(batch.hidden, batch.labels, rates[step], seed)
            passed[batch.rows] = logits.float()
            losses.append(loss)
            norms.append(norm)
            clock.step(len(batch.rows), batch.tokens, batch.padded_tokens)
            energy.sample()
            if step % PROGRESS_STEPS == 0:
                yield Progress(epoch, before + step + 1, max(column.plan.total_steps for column in live))
    seconds = clock.stop()
    dropout.eval()
    found = torch.stack(losses), torch.stack(norms)
    return _Pass(epoch, passed, *found, clock.windows, seconds, load.read(), memory.read())

"""One step of the optimiser over one effective batch of rows, as PyTorch takes it: the twin of every faster way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch

from harness.batches import Batch, Table
from harness.devices import autocast, seed_dropout
from harness.divergence import Watch
from harness.evaluation import without_padding
from harness.graphs import decay
from harness.optimization import set_learning_rate
from harness.streams import derive
from harness.tasks.base import IntArray
from harness.training_plan import Plan, Running, State, Weighing


@dataclass(frozen=True)
class Pass:
    """What the steps of an epoch share: the epoch, the rows as it reads them, and who judges what comes out."""

    running: Running
    table: Table
    watch: Watch


class Steps(Protocol):
    """How a trial takes its steps.

    Attributes:
        needed: bytes that replayed steps need beside what is allocated.
    """

    needed: int

    def take(self, epoch: Pass, rows: IntArray, step: int) -> tuple[int, int]:
        """Take one step over one effective batch.

        Args:
            epoch: it belongs to.
            rows: features, (effective batch,).
            step: counted from 0 over the whole trial.

        Returns:
            Real and padded tokens of the batch.
        """
        ...


class PlainSteps:
    """Every kernel launched anew, over batches as wide as their longest row, the gradients worked out by autograd."""

    def __init__(self, plan: Plan, state: State, weights: Weighing) -> None:
        self._plan, self._state, self._weights = plan, state, weights
        self.needed = 0

    def take(self, epoch: Pass, rows: IntArray, step: int) -> tuple[int, int]:
        """Take one step, of as many batches as are accumulated."""
        plan, state, weights = self._plan, self._state, self._weights
        config, device = plan.config, plan.encoder.device
        seed_dropout(device, derive(plan.seed, "dropout", step))
        mass = weights.rows[rows].sum()
        loss = torch.zeros((), device=device)
        tokens = padded = 0
        for start in range(0, len(rows), config.batch_size):
            micro = rows[start : start + config.batch_size]
            batch = epoch.table.batch(micro)
            share = float(weights.rows[micro].sum() / mass)  # accumulated batches weigh as one large batch does
            logits = logits_of(plan, batch)
            epoch.running.trace[batch.rows] = plan.task.trace(logits.detach(), batch.labels)
            part = plan.task.loss(logits, batch.labels, weights.classes) * share
            torch.autograd.backward(state.scaler.scale(part))
            loss += part.detach()
            tokens, padded = tokens + batch.tokens, padded + batch.padded_tokens
        state.scaler.unscale_(state.optimizer)
        norm = clip(state.optimizer, config.max_grad_norm)
        set_learning_rate(state.optimizer, plan.learning_rate(step))
        decay(state.optimizer)
        state.scaler.step(state.optimizer)
        state.scaler.update()
        state.optimizer.zero_grad(set_to_none=True)
        epoch.watch.add(loss, norm)
        return tokens, padded


def logits_of(plan: Plan, batch: Batch) -> torch.Tensor:
    """Logits of a training batch; padding is no answer."""
    with autocast(plan.encoder.device, plan.dtype):
        logits = plan.encoder.forward(batch)
    if not plan.encoder.pooled and not plan.exact:  # the plain Trainer lets padding answer too
        logits = without_padding(logits, batch)
    return logits


def clip(optimizer: torch.optim.Optimizer, limit: float | None) -> torch.Tensor:
    """Clip the gradients; returns their norm before, which is not finite as soon as one of them is not."""
    parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    if limit is None:
        return torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    return torch.nn.utils.clip_grad_norm_(parameters, limit)

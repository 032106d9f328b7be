"""Steps of a trial that trains a small head alone, over vectors that never change: the gradient by hand."""

from __future__ import annotations

import math

import torch
from torch.optim.adamw import adamw

from harness.devices import seed_dropout
from harness.grouping import over_vectors
from harness.head_gradients import pool, pool_slopes, slopes
from harness.optimization import BETAS, CLIP_EPSILON, EPSILON, no_moments, set_learning_rate
from harness.steps import Pass
from harness.streams import derive
from harness.tasks.base import IntArray
from harness.training_plan import Plan, State


def takes(plan: Plan) -> bool:
    """Whether a linear classifier alone trains, or it and a pooler, on a CPU: that waits for every step anyway."""
    encoder, config = plan.encoder, plan.config
    if plan.exact or encoder.device.type != "cpu" or not over_vectors(plan.task.name, config):
        return False
    if config.freeze == "classifier":
        return plan.cut(1) == encoder.layers + 1
    return config.freeze == "head" and plan.cut(1) == encoder.layers and encoder.row.pooler_dense != ""


class HeadSteps:
    """The same parameters, dropout, clipping and optimiser state as plain steps have, without autograd."""

    def __init__(self, plan: Plan, state: State) -> None:
        self._plan, self._optimizer = plan, state.optimizer
        self._dropout, self._linear = plan.encoder.top()
        self._dense = plan.encoder.pooler() if plan.config.freeze == "head" else None
        limit = plan.config.max_grad_norm
        self._limit = math.inf if limit is None else limit
        self.needed = 0

    def take(self, epoch: Pass, rows: IntArray, step: int) -> tuple[int, int]:
        """Take one step."""
        batch = epoch.table.batch(rows)
        assert batch.hidden is not None
        seed_dropout(self._plan.encoder.device, derive(self._plan.seed, "dropout", step))
        logits, loss = self._gradients(batch.hidden, batch.labels)
        epoch.running.trace[batch.rows] = logits
        gradients = [p.grad for group in self._optimizer.param_groups for p in group["params"]]
        norm = torch.stack([gradient.norm() for gradient in gradients]).norm()
        clip = self._limit / (float(norm) + CLIP_EPSILON)
        if clip < 1.0:
            for gradient in gradients:
                gradient.mul_(clip)
        set_learning_rate(self._optimizer, self._plan.learning_rate(step))
        self._update()
        epoch.watch.add(loss, norm)
        return batch.tokens, batch.padded_tokens

    def _gradients(self, states: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Give every parameter its gradient; logits, (batch, labels), and loss before the step."""
        linear, dtype = self._linear, self._plan.dtype
        pooled = None if self._dense is None else pool(states, self._dense, self._dropout, dtype)
        seen = self._dropout(states) if pooled is None else pooled.states
        found = slopes(seen, labels, linear.weight, linear.bias, 1, dtype)
        if self._dense is not None and pooled is not None:
            self._dense.weight.grad, self._dense.bias.grad = pool_slopes(pooled, found.by_logit, linear.weight)
        linear.weight.grad, linear.bias.grad = found.weight, found.bias
        return found.logits[:, 0], found.losses[0]

    @torch.no_grad()
    def _update(self) -> None:
        """What `optimizer.step` does once it has found out what to do."""
        kept = self._optimizer.state
        for group in self._optimizer.param_groups:
            parameters = group["params"]
            for parameter in parameters:
                if parameter not in kept:
                    kept[parameter] = no_moments(parameter)
            adamw(
                parameters,
                [parameter.grad for parameter in parameters],
                [kept[parameter]["exp_avg"] for parameter in parameters],
                [kept[parameter]["exp_avg_sq"] for parameter in parameters],
                [],
                [kept[parameter]["step"] for parameter in parameters],
                fused=True,
                amsgrad=False,
                maximize=False,
                lr=group["lr"],
                weight_decay=group["decay"],
                beta1=BETAS[0],
                beta2=BETAS[1],
                eps=EPSILON,
            )
            for parameter in parameters:
                parameter.grad = None

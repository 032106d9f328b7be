"""Steps of a trial that trains a small head alone, over vectors that never change: the gradient by hand."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from harness.devices import seed_dropout
from harness.grouping import over_vectors
from harness.head_gradients import pool, pool_slopes, slopes
from harness.optimization import BETAS, CLIP_EPSILON, EPSILON, no_moments, set_learning_rate
from harness.steps import Pass
from harness.streams import derive
from harness.tasks.base import IntArray
from harness.training_plan import Plan, State

Gradients = dict[torch.Tensor, torch.Tensor]


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
        self._groups = [_group(state.optimizer, settings) for settings in state.optimizer.param_groups]
        limit = plan.config.max_grad_norm
        self._limit = math.inf if limit is None else limit
        self.needed = 0

    @torch.no_grad()
    def take(self, epoch: Pass, rows: IntArray, step: int) -> tuple[int, int]:
        """Take one step."""
        batch = epoch.table.batch(rows)
        assert batch.hidden is not None
        seed_dropout(self._plan.encoder.device, derive(self._plan.seed, "dropout", step))
        logits, loss, gradients = self._slopes(batch.hidden, batch.labels)
        epoch.running.trace[batch.rows] = logits
        norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(each) for each in gradients.values()]))
        clip = self._limit / (float(norm) + CLIP_EPSILON)
        if clip < 1.0:
            for gradient in gradients.values():
                gradient.mul_(clip)
        set_learning_rate(self._optimizer, self._plan.learning_rate(step))
        for group in self._groups:
            group.update([gradients[parameter] for parameter in group.parameters])
        epoch.watch.add(loss, norm)
        return batch.tokens, batch.padded_tokens

    def _slopes(self, states: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, Gradients]:
        """Logits, (batch, labels), and loss before the step, and the gradient of every parameter."""
        linear, dense, dtype = self._linear, self._dense, self._plan.dtype
        if dense is None:
            found = slopes(self._dropout(states), labels, linear.weight, linear.bias, 1, dtype)
            below: Gradients = {}
        else:
            pooled = pool(states, dense, self._dropout, dtype)
            found = slopes(pooled.states, labels, linear.weight, linear.bias, 1, dtype)
            weight, bias = pool_slopes(pooled, found.by_logit, linear.weight)
            below = {dense.weight: weight, dense.bias: bias}
        return found.logits[:, 0], found.losses[0], {linear.weight: found.weight, linear.bias: found.bias, **below}


@dataclass(frozen=True)
class Group:
    """Parameters that the optimiser treats alike, and their moments, in one order.

    Attributes:
        settings: of the optimiser's group; its learning rate changes from step to step.
        steps: how many each has taken.
    """

    settings: Mapping[str, Any]
    parameters: list[torch.Tensor]
    means: list[torch.Tensor]
    squares: list[torch.Tensor]
    steps: list[torch.Tensor]

    def update(self, gradients: list[torch.Tensor]) -> None:
        """What torch.optim.AdamW does once it has sorted out, at every step anew, what to do: its fused kernel."""
        for step in self.steps:
            step.add_(1)
        torch._fused_adamw_(
            self.parameters,
            gradients,
            self.means,
            self.squares,
            [],
            self.steps,
            lr=self.settings["lr"],
            beta1=BETAS[0],
            beta2=BETAS[1],
            weight_decay=self.settings["decay"],
            eps=EPSILON,
            amsgrad=False,
            maximize=False,
        )


def _group(optimizer: torch.optim.AdamW, settings: Mapping[str, Any]) -> Group:
    parameters = list(settings["params"])
    for parameter in parameters:
        if parameter not in optimizer.state:
            optimizer.state[parameter] = no_moments(parameter)
    kept = [optimizer.state[parameter] for parameter in parameters]
    moments = ([each[name] for each in kept] for name in ("exp_avg", "exp_avg_sq", "step"))
    return Group(settings, parameters, *moments)

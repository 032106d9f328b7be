"""Gradients of a small head by hand, without a graph that would be built for every batch and thrown away.

Over vectors that do not change, the derivative of a linear classifier is one line, (softmax - one-hot) / batch, and
that of a pooler below it a few more; what autograd does around them costs several times as much. Numbers are rounded
where autocast rounds them. Autograd is the twin in the tests.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn

from harness.devices import DTYPES


class Slopes(NamedTuple):
    """What one batch says of one classifier or of several that see the same rows.

    Attributes:
        logits: (batch, heads, labels), float32.
        losses: mean cross-entropy of each, (heads,).
        by_logit: gradient of the losses by the logits, (batch, heads * labels).
        weight, bias: gradients of the parameters, in their shapes.
    """

    logits: torch.Tensor
    losses: torch.Tensor
    by_logit: torch.Tensor
    weight: torch.Tensor
    bias: torch.Tensor


@torch.no_grad()
def slopes(
    states: torch.Tensor, labels: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, heads: int, dtype: str
) -> Slopes:
    """Forward and backward of the mean cross-entropy.

    Args:
        states: after dropout, (batch, width).
        labels: (batch,).
        weight, bias: float32, of all heads: heads * labels rows in all, in any shape.
        heads: how many.
        dtype: number format of the products.
    """
    low, batch, width = DTYPES[dtype], *states.shape
    inputs = _rounded(states, low)
    weights = _rounded(weight.reshape(-1, width), low)
    logits = _rounded(torch.addmm(_rounded(bias.reshape(-1), low), inputs, weights.t()), low).view(batch, heads, -1)
    likely = torch.log_softmax(logits, dim=2)
    gold = labels.view(batch, 1, 1).expand(batch, heads, 1)
    losses = -likely.gather(2, gold).mean(dim=(0, 2))
    by_logit = likely.exp_()
    by_logit.scatter_add_(2, gold, by_logit.new_full((1, 1, 1), -1.0).expand_as(gold))
    by_logit = _rounded(by_logit.mul_(1.0 / batch).view(batch, -1), low)
    by_weight, by_bias = _rounded(by_logit.t() @ inputs, low), _rounded(by_logit.sum(dim=0), low)
    return Slopes(logits, losses, by_logit, by_weight.view_as(weight), by_bias.view_as(bias))


def _rounded(values: torch.Tensor, low: torch.dtype) -> torch.Tensor:
    """Float32 values as the format holds them: products of such values are summed in float32 on the hardware too.

    For a few columns the conversions cost less than a matrix product in bfloat16 does on a CPU.
    """
    return values if low == torch.float32 else values.to(low).float()


class Pooled(NamedTuple):
    """A pooler's forward pass, and what its gradient needs of it.

    Attributes:
        inputs: states of the first token, (batch, width), in the format of the products.
        summary: what the pooler makes of them, (batch, width).
        noise: what dropout multiplies the summary by, (batch, width).
    """

    inputs: torch.Tensor
    summary: torch.Tensor
    noise: torch.Tensor

    @property
    def states(self) -> torch.Tensor:
        """What the classifier sees, (batch, width)."""
        return self.summary * self.noise


@torch.no_grad()
def pool(states: torch.Tensor, dense: nn.Linear, dropout: nn.Module, dtype: str) -> Pooled:
    """A linear layer, tanh, and dropout over them, drawn as PyTorch draws it."""
    inputs = states.to(DTYPES[dtype])
    weight, bias = dense.weight.to(inputs.dtype), dense.bias.to(inputs.dtype)
    summary = torch.addmm(bias, inputs, weight.t()).tanh_()
    return Pooled(inputs, summary, dropout(torch.ones_like(summary)))


@torch.no_grad()
def pool_slopes(pooled: Pooled, by_logit: torch.Tensor, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Gradients of the pooler's weight and bias.

    Args:
        pooled: its forward pass.
        by_logit: of the one classifier over it, (batch, labels).
        weight: of that classifier, (labels, width), as the forward pass read it.
    """
    low = pooled.inputs.dtype
    above = (by_logit.to(low) @ weight.to(low)) * pooled.noise
    below = (above.float() * (1.0 - pooled.summary.float().square())).to(low)
    return (below.t() @ pooled.inputs).float(), below.sum(dim=0).float()

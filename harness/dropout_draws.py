"""Dropout's coins on a CPU: four from one random number, where PyTorch spends a number on each.

PyTorch draws them one by one on a single thread, which was a tenth of a training step of MiniLM over tweets. While a
trial trains its operator is replaced (torch.library.Library with "IMPL"), so that dropout wherever it stands in a
model, in attention too, is PyTorch's own but for the coins; the generator and its seed are PyTorch's as well.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from harness.training_plan import Plan

BITS = 16  # of a coin, so that a share of ones is exact to 2**-17
COINS = 64 // BITS  # of a random number
LOWEST = -(2 ** (BITS - 1))


class _Operator:
    """PyTorch's `bernoulli_` on the CPU, replaced as long as somebody wants it to be."""

    def __init__(self) -> None:
        self._wanted = 0
        self._library: torch.library.Library | None = None

    def replace(self) -> None:
        """One more wants it."""
        self._wanted += 1
        if self._library is None:
            self._library = torch.library.Library("aten", "IMPL")  # type: ignore[no-untyped-call]
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # that it is replaced, which is the purpose
                self._library.impl("bernoulli_.float", toss, "CPU")  # type: ignore[no-untyped-call]

    def restore(self) -> None:
        """One fewer wants it; without any, PyTorch's own is back."""
        self._wanted -= 1
        if not self._wanted:
            self._library = None  # its finalizer gives the operator back


_OPERATOR = _Operator()


def toss(coins: torch.Tensor, p: float = 0.5, *, generator: torch.Generator | None = None) -> torch.Tensor:
    """Fill a tensor with ones, each with probability p to within 2**-17, and zeros.

    Args:
        coins: any shape, layout and dtype; changed in place.
        p: from 0 to 1.
        generator: None is PyTorch's default.

    Raises:
        RuntimeError: when p lies outside of 0 to 1, as PyTorch's own does.
    """
    if not 0.0 <= p <= 1.0:
        raise RuntimeError(f"bernoulli_ expects p to be in [0, 1], but got p={p}")
    ones = round(p * 2**BITS)
    if ones == 2**BITS:  # no number of 16 bits is as large
        return coins.fill_(1)
    numbers = torch.empty(-(-coins.numel() // COINS), dtype=torch.int64).random_(-(2**63), None, generator=generator)
    sides = numbers.view(torch.int16)[: coins.numel()].view(coins.shape)
    return torch.lt(sides, LOWEST + ones, out=coins)


def used(plan: Plan) -> bool:
    """Whether a trial's dropout, if it has any, draws so: on a CPU, unless it shall do as the plain Trainer does."""
    return plan.encoder.device.type == "cpu" and not plan.exact


def drops(model: nn.Module) -> bool:
    """Whether a model has any dropout that is not 0."""
    return any(isinstance(module, nn.Dropout) and module.p > 0.0 for module in model.modules())


@contextmanager
def drawing(plan: Plan) -> Iterator[None]:
    """Within it the trial's dropout draws so, where `used` says that it may; several may be open at a time."""
    if not used(plan):
        yield
        return
    _OPERATOR.replace()
    try:
        yield
    finally:
        _OPERATOR.restore()

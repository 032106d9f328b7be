"""The end of a trial that has left the finite numbers: which value, in which step."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from harness.errors import TrialFailure
from harness.records import MetricValue

LOOK_EVERY = 50  # steps between two looks on CUDA; each look waits for the device


class Watch:
    """Looks for the first step whose loss or gradient is not finite: at once on a CPU, now and then on CUDA.

    Args:
        done: steps of this epoch that were judged already.
        gradients: judge gradients too; not with a gradient scaler, which meets infinite ones and skips the step.
    """

    def __init__(self, device: torch.device, epoch: int, done: int, gradients: bool) -> None:
        self._epoch = epoch
        self._every = 1 if device.type == "cpu" else LOOK_EVERY
        self._gradients = gradients
        self._judged = done
        self._seen: list[tuple[torch.Tensor, torch.Tensor]] = []

    def add(self, loss: torch.Tensor, norm: torch.Tensor) -> None:
        """Remember one step, on the device."""
        self._seen.append((loss, norm))
        if len(self._seen) >= self._every:
            self.look()

    def look(self) -> None:
        """Wait for the device and judge what has been remembered.

        Raises:
            TrialFailure: diverged, naming loss or gradient norm, epoch and step.
        """
        if not self._seen:
            return
        for number, (loss, norm) in enumerate(self._values(), self._judged + 1):
            if not math.isfinite(loss):
                raise TrialFailure("diverged", f"loss became {loss} at epoch {self._epoch}, step {number}")
            if self._gradients and not math.isfinite(norm):
                raise TrialFailure("diverged", f"gradient norm became {norm} at epoch {self._epoch}, step {number}")
        self._judged += len(self._seen)
        self._seen = []

    def _values(self) -> list[tuple[float, float]]:
        """Loss and norm of each step; of several in one transfer."""
        if len(self._seen) == 1:
            return [(float(loss), float(norm)) for loss, norm in self._seen]
        pairs = torch.stack([torch.stack(pair) for pair in self._seen]).tolist()  # (steps, 2)
        return [(loss, norm) for loss, norm in pairs]


def refuse_non_finite(metrics: Sequence[MetricValue], epoch: int) -> None:
    """Judge what was measured at the end of an epoch.

    Raises:
        TrialFailure: diverged, naming split, metric and epoch.
    """
    for metric in metrics:
        if not math.isfinite(metric.value):
            words = f"{metric.split} {metric.name} became {metric.value} at the end of epoch {epoch}"
            raise TrialFailure("diverged", words)

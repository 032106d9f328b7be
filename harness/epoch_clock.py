"""The clock of an epoch that somebody else runs: training, evaluation and the rest, and stretches of steady steps."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import NamedTuple

import torch

from harness.devices import synchronise
from harness.records import SpeedWindow, TrialFacts

WARM = 3
"""First steps of a training, which no window holds."""
WINDOWS = 10
"""Windows of an epoch, about."""


class Times(NamedTuple):
    """Seconds of an epoch in training and beside training and evaluation; its windows; most memory in use."""

    train: float
    rest: float
    windows: list[SpeedWindow]
    peak_memory_bytes: int | None


@dataclass
class EpochClock:
    """Reads the clock between steps; the device is waited for where a stretch begins and ends.

    Attributes:
        steps: optimiser steps of an epoch.
        rows: of an optimiser step.
        last_rows: of the last step of an epoch, which may be shorter.
        counted: what Trainer counts as tokens: "no", "all" with padding, or "non_padding".
    """

    device: torch.device
    steps: int
    rows: int
    last_rows: int
    counted: str
    running: bool = False
    _done: int = 0
    _in_epoch: int = 0
    _began: float = 0.0
    _ended: float = 0.0
    _paused: float = 0.0
    _pause: float | None = None
    _window: tuple[float, int, int] | None = None
    _windows: list[SpeedWindow] = field(default_factory=list)
    _tokens: int = 0

    @classmethod
    def of(cls, facts: TrialFacts, device: torch.device, counted: str) -> EpochClock:
        """For a training as it is set up."""
        steps = max(1, math.ceil(facts.total_steps / facts.config.epochs))
        rows = facts.config.effective_batch_size
        last = facts.train_rows - rows * (steps - 1)
        return cls(device, steps, rows, last if 0 < last < rows else rows, counted)

    def begin_epoch(self) -> None:
        """An epoch begins."""
        self.running = True
        self._began = self._ended = time.monotonic()
        self._in_epoch, self._paused, self._pause, self._window, self._windows = 0, 0.0, None, None, []
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)

    def begin_step(self) -> None:
        """A step begins; a pause ends."""
        if self._pause is not None:
            self._paused += time.monotonic() - self._pause
            self._pause = None
        if self._window is None and self._done >= WARM:
            synchronise(self.device)
            self._window = (time.monotonic(), self._in_epoch, self._tokens)

    def end_step(self, tokens: int, pause: bool) -> None:
        """A step is done.

        Args:
            tokens: that Trainer has counted so far.
            pause: whether it logs, evaluates or saves before the next one.
        """
        self._done += 1
        self._in_epoch += 1
        if self._window is not None:
            steps = self._in_epoch - self._window[1]
            if pause or steps >= max(1, self.steps // WINDOWS):
                self._close_window(tokens)
                if not pause:  # the next batch is waited for within the next window
                    self._window = (time.monotonic(), self._in_epoch, tokens)
        self._tokens = tokens
        if pause:
            synchronise(self.device)
            self._pause = time.monotonic()

    def end_epoch(self, tokens: int) -> None:
        """The last step of the epoch is done; evaluation and saving may follow."""
        if self._window is not None and self._in_epoch > self._window[1]:
            self._close_window(tokens)
        synchronise(self.device)
        self._ended = time.monotonic()
        if self._pause is not None:
            self._paused += self._ended - self._pause
            self._pause = None

    def close(self, evaluation: float) -> Times:
        """What the epoch took, of which so many seconds went into evaluation."""
        self.running = False
        train = max(0.0, self._ended - self._began - self._paused)
        whole = time.monotonic() - self._began
        peak = int(torch.cuda.max_memory_allocated(self.device)) if self.device.type == "cuda" else None
        return Times(train, max(0.0, whole - train - evaluation), self._windows, peak)

    def _close_window(self, tokens: int) -> None:
        assert self._window is not None
        synchronise(self.device)
        began, first, counted = self._window
        steps = self._in_epoch - first
        samples = steps * self.rows - (self.rows - self.last_rows if self._in_epoch == self.steps else 0)
        seen = tokens - counted
        self._windows.append(
            SpeedWindow(
                time.monotonic() - began,
                steps,
                samples,
                seen if self.counted == "non_padding" else 0,
                seen if self.counted == "all" else 0,
            )
        )
        self._window = None

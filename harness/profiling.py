"""Honest clocks: warm-up left out, the device synchronised before reading, steady windows, memory, FLOPs, load.

Raw values only; means and intervals are computed when the record is read.
"""

from __future__ import annotations

import math
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil
import torch

from harness.architectures import architecture_of, layer_count
from harness.devices import synchronise
from harness.freezing import ParameterInfo
from harness.records import SpeedWindow
from harness.tasks.base import IntArray

WINDOWS = 8  # an epoch; enough for an interval, few enough that waiting for the device costs nothing
WARM_STEPS = 3
WARM_SHARE = 0.1


class Stopwatch:
    """Times the training steps of one epoch, in windows of steady steps.

    What the owner of the loop does between steps (a checkpoint, say) is away time: `away` takes it out.

    Args:
        steps: training steps that this stopwatch will see.
        warm_up: whether these are the first steps of a process's trial; the first 3 steps or 10 % are left out.
    """

    def __init__(self, device: torch.device, steps: int, warm_up: bool) -> None:
        self._device = device
        warm = min(max(WARM_STEPS, math.ceil(steps * WARM_SHARE)), steps // 2) if warm_up else 0
        self._warm_left = warm
        self._window_steps = max(1, math.ceil((steps - warm) / WINDOWS))
        self.windows: list[SpeedWindow] = []
        self.away_seconds = 0.0
        synchronise(device)
        self._began = self._window_began = time.perf_counter()
        self._away_at_window = 0.0
        self._counts = [0, 0, 0, 0]  # steps, samples, tokens, padded tokens

    def step(self, samples: int, tokens: int, padded_tokens: int) -> None:
        """One optimiser step has been given to the device."""
        if self._warm_left:
            self._warm_left -= 1
            if not self._warm_left:
                self._open_window()
            return
        for index, amount in enumerate((1, samples, tokens, padded_tokens)):
            self._counts[index] += amount
        if self._counts[0] == self._window_steps:
            self._close_window()

    def _open_window(self) -> None:
        synchronise(self._device)  # waits for the device: a few times an epoch only
        self._window_began = time.perf_counter()
        self._away_at_window = self.away_seconds
        self._counts = [0, 0, 0, 0]

    def _close_window(self) -> None:
        if self._counts[0]:
            synchronise(self._device)
            away = self.away_seconds - self._away_at_window
            self.windows.append(SpeedWindow(time.perf_counter() - self._window_began - away, *self._counts))
        self._open_window()

    def away(self, seconds: float) -> None:
        """Take time out that was no training."""
        self.away_seconds += seconds

    def elapsed(self, now: float) -> float:
        """Seconds of training until a reading of time.perf_counter, without waiting for the device."""
        return now - self._began - self.away_seconds

    def stop(self) -> float:
        """Seconds of training, away time left out; closes the last window."""
        self._close_window()
        return self.elapsed(time.perf_counter())


class MemoryPeak:
    """Peak memory since it was made: allocated by torch on CUDA, resident set of the process on the CPU."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        else:
            _reset_resident_peak()

    def read(self, replayed: int = 0) -> int:
        """Bytes; at least what is allocated now and what replayed steps need, which no allocation shows."""
        if self._device.type == "cuda":
            now = torch.cuda.memory_allocated(self._device)
            return max(int(torch.cuda.max_memory_allocated(self._device)), now + replayed)
        return _resident_peak()


def _reset_resident_peak() -> None:
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:  # no Linux: the peak is then that of the whole process
        return


def _resident_peak() -> int:
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass  # no Linux: getrusage below knows the peak, in other units on macOS
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


class Load:
    """Other processes' share of all CPUs since it was made."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._began = self._read()

    def _read(self) -> tuple[float, float, float]:
        machine = psutil.cpu_times()
        idle = machine.idle + getattr(machine, "iowait", 0.0)
        guest = getattr(machine, "guest", 0.0) + getattr(machine, "guest_nice", 0.0)  # counted in user and nice already
        own = self._process.cpu_times()
        return sum(machine) - guest, idle, own.user + own.system

    def read(self) -> float | None:
        """A share from 0 to 1; None when less than a clock tick has passed."""
        total, idle, own = (now - then for now, then in zip(self._read(), self._began, strict=True))
        if total <= 0.0:
            return None
        return min(1.0, max(0.0, (total - idle - own) / total))


class LayerShape(NamedTuple):
    """What the FLOP formula needs of one layer: width, intermediate size, matrices of the feed-forward part."""

    width: int
    intermediate: int
    mlp_matrices: int

    @property
    def weights(self) -> int:
        """Scalars in the layer's matrices."""
        return 4 * self.width**2 + self.mlp_matrices * self.width * self.intermediate


def layer_shape(config: Any) -> LayerShape:
    """Read a layer's shape from a transformers configuration."""
    intermediate = getattr(config, "intermediate_size", None) or config.hidden_dim
    return LayerShape(int(config.hidden_size), int(intermediate), architecture_of(config).mlp_matrices)


def training_flops(
    config: Any,
    parameters: Sequence[ParameterInfo],
    trained: frozenset[str] | set[str],
    lengths: IntArray,
    spared: int = 0,
    first_token: bool = False,
) -> float:
    """Floating-point operations of one training pass over rows of these lengths (real tokens, padding is waste).

    Counted are the layers' matrix products and attention, forward and backward, as far down as
    gradients flow: with c = 2 (4 H^2 + 2 H F) S + 4 S^2 H a frozen layer costs c, a trained one 3 c, and
    the lowest one spares the gradient of its input unless the embeddings train. Embeddings,
    normalisation, softmax, relative positions (DeBERTa), local windows (ModernBERT) and the head are left out.

    Args:
        config: the model's configuration.
        parameters: every parameter of the model.
        trained: names of those that train.
        lengths: real tokens of each row, shape (rows,).
        spared: layers from below that can be frozen and did not run, because their output was there.
        first_token: whether the last layer worked out the first token alone: keys and values of all, the rest of one.
    """
    shape = layer_shape(config)
    tokens, squares = float(lengths.sum()), float(np.square(lengths).sum())
    products = 2.0 * shape.weights * tokens
    attention = 4.0 * shape.width * squares
    layers = int(config.num_hidden_layers)
    trained_below = any(p.part == "embeddings" and p.name in trained for p in parameters)
    trained_layers = [p.layer for p in parameters if p.part == "layer" and p.name in trained and p.layer is not None]
    if trained_below:
        reached = layers
    elif trained_layers:
        reached = layers - min(trained_layers) * layers // layer_count(config)
    else:
        reached = 0
    layer = products + attention
    unread = layer - _of_first_tokens(shape, tokens, len(lengths)) if first_token else 0.0
    backward = reached * 2.0 * layer - (2.0 * unread if reached else 0.0)
    if reached and not trained_below:
        queries = len(lengths) if first_token and reached == 1 else tokens
        backward -= 2.0 * shape.width**2 * (2.0 * tokens + queries)  # query, key and value of the lowest layer
    run = layers - spared * layers // layer_count(config)
    return run * layer - (unread if run else 0.0) + backward


def _of_first_tokens(shape: LayerShape, tokens: float, rows: int) -> float:
    """Forward operations of a layer that needs the first token of each row alone."""
    both = 2.0 * shape.width**2  # key and value
    return 2.0 * both * tokens + 2.0 * (shape.weights - both) * rows + 4.0 * shape.width * tokens

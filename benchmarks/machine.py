"""The machine: what it is, what its matrix products reach, and how busy it is before a measurement."""

from __future__ import annotations

import os
import time
from typing import Any

import psutil
import torch

from harness.devices import fast_at_bf16, name, pick, synchronise
from harness.environment import capture

SIZE = {"cpu": 2048, "cuda": 8192}
SECONDS = 1.0


def facts() -> dict[str, Any]:
    """What a reader has to know to judge the times."""
    device = pick()
    found = capture({"kind": device.type, "name": name(device), "threads": torch.get_num_threads()})
    return found | {"peak_flops": {dtype: matrix_peak(device, dtype) for dtype in formats(device)}}


def formats(device: torch.device) -> list[str]:
    """Number formats that the device is fast at."""
    return ["float32", "bfloat16"] if fast_at_bf16(device) else ["float32"]


def matrix_peak(device: torch.device, dtype: str) -> float:
    """Operations a second of the fastest of many square matrix products, all threads at work."""
    size = SIZE[device.type]
    left = torch.randn(size, size, device=device).to(getattr(torch, dtype))
    right = torch.randn(size, size, device=device).to(getattr(torch, dtype))
    best, until = float("inf"), time.perf_counter() + SECONDS
    while time.perf_counter() < until or best == float("inf"):
        synchronise(device)
        began = time.perf_counter()
        torch.mm(left, right)
        synchronise(device)
        best = min(best, time.perf_counter() - began)
    return 2.0 * size**3 / best


def load() -> dict[str, float]:
    """Load average of the last minute, and the share of all CPUs that is busy right now, over one second."""
    return {"average": os.getloadavg()[0], "busy": psutil.cpu_percent(interval=1.0) / 100.0}

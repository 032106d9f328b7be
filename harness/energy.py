"""Energy of the device: from its own counter, or summed from its power; absent where it tells neither.

A device counts what all its processes use. Where there are others than this one, the reading says so.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import NamedTuple, Protocol

import pynvml
import torch

SAMPLE_SECONDS = 0.1  # between two readings of the power, where there is no counter
SHARED = ", shared device"


class Energy(NamedTuple):
    """Joules, and how they were read: `counter` or `power samples`, with `, shared device` where others used it too."""

    joules: float
    source: str


class Reader(Protocol):
    """What a device tells of itself; None for what it does not tell."""

    def counted(self) -> float | None:
        """Joules since some moment long ago."""

    def power(self) -> float | None:
        """Watts at this moment."""

    def processes(self) -> int | None:
        """How many use it now, this one included."""


class NvmlReader:
    """A device of NVIDIA, by its handle."""

    def __init__(self, handle: object) -> None:
        self._handle = handle

    def counted(self) -> float | None:
        """From millijoules; devices since 2017 (Volta) have the counter."""
        return _thousandth(pynvml.nvmlDeviceGetTotalEnergyConsumption, self._handle)

    def power(self) -> float | None:
        """From milliwatts."""
        return _thousandth(pynvml.nvmlDeviceGetPowerUsage, self._handle)

    def processes(self) -> int | None:
        """By their number alone: within a container their ids are not those that the driver names."""
        try:
            return len(pynvml.nvmlDeviceGetComputeRunningProcesses(self._handle))
        except pynvml.NVMLError:
            return None


def _thousandth(read: Callable[[object], int], handle: object) -> float | None:
    try:
        return read(handle) / 1000.0
    except pynvml.NVMLError:
        return None


@functools.cache
def nvml_reader(identity: str) -> Reader | None:
    """The device of that id, such as GPU-4f1a...; None without a driver, or where it knows no such device."""
    try:
        pynvml.nvmlInit()
        return NvmlReader(pynvml.nvmlDeviceGetHandleByUUID(identity))
    except pynvml.NVMLError:
        return None


def reader_of(device: torch.device) -> Reader | None:
    """What reads the energy of a device; None for a CPU."""
    if device.type != "cuda":
        return None
    return nvml_reader(f"GPU-{torch.cuda.get_device_properties(device).uuid}")


class EnergyMeter:
    """What a device has used since this was made.

    Args:
        reader: of the device; None gives no reading.
        clock: seconds.
    """

    def __init__(self, reader: Reader | None, clock: Callable[[], float] = time.perf_counter) -> None:
        self._reader = reader
        self._clock = clock
        self._most = 0
        self._began = self._counted()
        self._joules = 0.0
        self._at, self._watts = clock(), self._power()

    def sample(self) -> None:
        """Once a step: reads the power where it must be summed and the last reading is old enough."""
        if self._watts is not None and self._clock() - self._at >= SAMPLE_SECONDS:
            self._sum()

    def read(self) -> Energy | None:
        """Until now; None where the device tells nothing."""
        if self._reader is None:
            return None
        counted = self._counted()
        if self._began is not None and counted is not None and counted >= self._began:  # else the driver was restarted
            return Energy(counted - self._began, f"counter{self._shared()}")
        if self._watts is None or self._began is not None:
            return None
        self._sum()
        return None if self._watts is None else Energy(self._joules, f"power samples{self._shared()}")

    def _counted(self) -> float | None:
        if self._reader is None:
            return None
        self._most = max(self._most, self._reader.processes() or 0)
        return self._reader.counted()

    def _power(self) -> float | None:
        return None if self._reader is None or self._began is not None else self._reader.power()

    def _sum(self) -> None:
        """Add the mean of two readings over the time between them; without the second the sum is not known."""
        now, watts = self._clock(), self._power()
        if self._watts is not None and watts is not None:
            self._joules += (now - self._at) * (self._watts + watts) / 2.0
        self._at, self._watts = now, watts

    def _shared(self) -> str:
        return SHARED if self._most > 1 else ""

"""Optimiser steps recorded once as CUDA graphs and replayed by every trial that takes the same step.

A small encoder's step is some hundred kernels, and launching them takes longer than running them. A recorded step is
launched at once, but reads and writes the addresses that it was recorded with. So everything that it touches stays
where it is for as long as the model does: weights and moments of AdamW are set back in place between trials, the
learning rate is a tensor, and batches are copied into places of a fixed shape. What differs between two trials is data.

No recording is believed: the first replay has to do what the same step does without one, on a copy of the weights.
Where it does not, or where recording fails, training goes on without graphs, and the record says why.

Source: CUDA graphs in PyTorch, https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs.
"""

from __future__ import annotations

import contextlib
import math
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

from harness.optimization import adamw, no_moments
from harness.tasks.base import IntArray

WIDTHS = 8  # shapes of batches at most: each one is a recording that takes time and memory
ROUND = 8  # tensor cores like multiples of it
RECORDINGS = 128  # kept at most
FIRST_VERSION = (2, 13)  # of torch: before, a recording that failed left the generator of dropout in mid-recording
LOSS_TOLERANCE, NORM_TOLERANCE, UPDATE_TOLERANCE = 1e-3, 2e-2, 5e-2  # relative: sums on a GPU have no fixed order

Step = Callable[[], None]
_RATES = ("lr", "decay")


class Recorder(Protocol):
    """How a step is recorded."""

    def run(self, step: Step) -> int:
        """Take the step, without recording it; bytes that it needed for a while."""
        ...

    def record(self, step: Step) -> Step:
        """Record the step without taking it; calling what is returned takes it."""
        ...


def recorder(device: torch.device) -> Recorder | None:
    """What records on a device; None where nothing can."""
    version = tuple(int(part) for part in torch.__version__.split(".")[:2])
    return CudaRecorder(device) if device.type == "cuda" and version >= FIRST_VERSION else None


class CudaRecorder:
    """Records on a stream of its own; all recordings share one pool of memory, since no two run at once."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pool = torch.cuda.graph_pool_handle()
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def run(self, step: Step) -> int:
        """Take the step on that stream, so that what it sets up there is there when it is recorded."""
        before = torch.cuda.memory_allocated(self._device)
        torch.cuda.reset_peak_memory_stats(self._device)
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            step()
        torch.cuda.current_stream().wait_stream(self._stream)
        return int(torch.cuda.max_memory_allocated(self._device)) - before

    def record(self, step: Step) -> Step:
        """Record one CUDA graph.

        Raises:
            RuntimeError: for a step that waits for the device, or memory that runs out; the next step may be taken.
        """
        graph = torch.cuda.CUDAGraph()
        with _own_workspaces(), torch.cuda.stream(self._stream):  # else it would stay current after a failure within
            try:
                with torch.cuda.graph(graph, pool=self._pool, stream=self._stream):
                    step()
            except RuntimeError:
                with contextlib.suppress(RuntimeError):  # a failed end leaves the pool open
                    torch._C._cuda_endAllocateToPool(self._device.index, self._pool)
                raise
        return graph.replay


@contextlib.contextmanager
def _own_workspaces() -> Iterator[None]:
    """Let cuBLAS take its workspace from the recordings' pool, by forgetting the stream's.

    torch frees a stream's workspace with any graph that was recorded on it, although the other graphs hold its address.
    Source: https://github.com/pytorch/pytorch/issues/193402.
    """
    torch._C._cuda_clearCublasWorkspaces()
    try:
        yield
    finally:
        torch._C._cuda_clearCublasWorkspaces()


@dataclass
class Places:
    """The fixed places of one shape: what a step reads, and what it leaves behind.

    Attributes:
        tensors: by name, as the step reads them.
        trace: what the task keeps of each row, (batch, trace).
        loss, norm: of the step, without dimensions.
        replay: the recorded step; None until it is recorded.
        steps: taken so far.
        needed: bytes for a while, which a replay has in the recordings' own memory and nobody counts again.
    """

    tensors: dict[str, torch.Tensor]
    trace: torch.Tensor
    loss: torch.Tensor
    norm: torch.Tensor
    replay: Step | None = None
    steps: int = 0
    needed: int = 0


class Graphs:
    """All recorded steps over one model's weights.

    Attributes:
        refused: why there are no recordings any more, in words; empty as long as there may be.
    """

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._places: OrderedDict[Hashable, Places] = OrderedDict()
        self._moments: dict[torch.nn.Parameter, dict[str, torch.Tensor]] = {}
        self._rates: dict[Hashable, dict[str, torch.Tensor]] = {}
        self.refused = ""

    def forget(self) -> None:
        """Drop everything, because the weights have moved."""
        self._places.clear()
        self._moments.clear()
        self._rates.clear()

    def adamw(self, groups: list[dict[str, Any]]) -> torch.optim.AdamW:
        """A fresh optimiser whose moments, learning rates and decays lie where those of the last one lay.

        It decays nothing by itself, since it would do so by a number and not by a tensor; `decay` does it.
        """
        optimizer = adamw(groups, capturable=True)
        optimizer._warned_capturable_if_run_uncaptured = True  # first steps are taken without recording
        for group in optimizer.param_groups:
            device = group["params"][0].device
            held = self._rates.setdefault(key_of(group), {name: torch.zeros((), device=device) for name in _RATES})
            group["lr"] = held["lr"].fill_(group["lr"])
            group["decay_tensor"] = held["decay"].fill_(group["decay"])
            group["weight_decay"] = 0.0
            for parameter in group["params"]:
                moments = self._moments.setdefault(parameter, no_moments(parameter))
                optimizer.state[parameter] = {name: tensor.zero_() for name, tensor in moments.items()}
        return optimizer

    def places(self, key: Hashable, make: Callable[[], Places]) -> Places:
        """The places of that shape, made when they are not there; those used least recently make room."""
        if key not in self._places:
            while len(self._places) >= RECORDINGS:
                self._places.popitem(last=False)
            self._places[key] = make()
        self._places.move_to_end(key)
        return self._places[key]

    def take(self, places: Places, step: Step, optimizer: torch.optim.AdamW, seed: Step) -> None:
        """Take one step over what lies in the places.

        The first one of a shape is taken as it is, for CUDA wants it warm; the second one is recorded, replayed on
        trial, undone, and taken as it is; from the third on it is replayed. Once `refused` is set, all are taken as
        they are.

        Args:
            places: the batch lies there.
            step: forward, backward and update, over those places.
            optimizer: whose parameters the step trains.
            seed: sets the generator of dropout to where this step starts.
        """
        places.steps += 1
        if self.refused or places.steps == 1:
            seed()
            places.needed = max(places.needed, self._recorder.run(step))
        elif places.replay is None:
            self._record(places, step, optimizer, seed)
        else:
            seed()
            places.replay()

    def _record(self, places: Places, step: Step, optimizer: torch.optim.AdamW, seed: Step) -> None:
        before: list[torch.Tensor] = []
        replay = replayed = None
        try:
            before = _contents(optimizer)
            replay = self._recorder.record(step)
            seed()
            replay()
            replayed = _outcome(places, optimizer, before)
        except RuntimeError as error:  # torch has no narrower one for a step that cannot be recorded
            self._refuse(f"a step could not be recorded: {_cause(error)}")
        optimizer.zero_grad(set_to_none=True)  # a recording that broke off has left some, in memory of its own
        if before:
            _set_back(optimizer, before)
        if replayed is None:
            replay = None
            before.clear()  # the step below may need the memory of both
        seed()
        self._recorder.run(step)
        if replayed is None:
            return
        try:
            taken = _outcome(places, optimizer, before)
            words = difference(replayed, taken)
        except torch.OutOfMemoryError as error:
            self._refuse(f"a recorded step could not be compared: {_cause(error)}")
            return
        if words:
            self._refuse(words)
        elif taken.proves:
            places.replay = replay

    def _refuse(self, words: str) -> None:
        """Record no more, and give the memory of all recordings back."""
        self.refused = words
        self._places.clear()


def _cause(error: BaseException) -> str:
    """First line of what went wrong first: ending a broken recording fails too, and hides why it broke."""
    while error.__context__ is not None:
        error = error.__context__
    return next(iter(str(error).splitlines()), type(error).__name__)


def key_of(group: dict[str, Any]) -> Hashable:
    """What a recorded update holds of a group of parameters; rate, its scale and decay are read from tensors."""
    return (tuple(group["names"]), group["decay"] > 0.0)


def decay(optimizer: torch.optim.AdamW) -> None:
    """Shrink the weights whose gradients are there, as AdamW does before its update; nothing where it does so itself.

    Reference: Loshchilov and Hutter, "Decoupled Weight Decay Regularization", 2019, algorithm 2
    """
    for group in optimizer.param_groups:
        if "decay_tensor" not in group or group["decay"] == 0.0:
            continue
        shrunk = [parameter for parameter in group["params"] if parameter.grad is not None]
        if shrunk:
            with torch.no_grad():
                torch._foreach_mul_(shrunk, 1.0 - group["lr"] * group["decay_tensor"])


# --- the proof of a recording ------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """What one step has come to: loss, norm of the gradients, and how far each parameter went."""

    loss: float
    norm: float
    updates: list[torch.Tensor]

    @property
    def size(self) -> float:
        """Sum of squares of the update."""
        return sum(float(update.square().sum()) for update in self.updates)

    @property
    def proves(self) -> bool:
        """Whether agreeing with it says anything: NaN does not, nor does an update by a learning rate of 0."""
        return math.isfinite(self.loss + self.norm) and self.size > 0.0


def _tensors(optimizer: torch.optim.AdamW) -> list[torch.Tensor]:
    """All that an update writes: parameters, then moments."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    return [*parameters, *(tensor for parameter in parameters for tensor in optimizer.state[parameter].values())]


def _contents(optimizer: torch.optim.AdamW) -> list[torch.Tensor]:
    return [tensor.detach().clone() for tensor in _tensors(optimizer)]


def _set_back(optimizer: torch.optim.AdamW, contents: Sequence[torch.Tensor]) -> None:
    with torch.no_grad():
        for tensor, content in zip(_tensors(optimizer), contents, strict=True):
            tensor.copy_(content)


def _outcome(places: Places, optimizer: torch.optim.AdamW, before: Sequence[torch.Tensor]) -> Outcome:
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    moved = [now.detach() - then for now, then in zip(parameters, before[: len(parameters)], strict=True)]
    return Outcome(float(places.loss), float(places.norm), moved)


def difference(replayed: Outcome, taken: Outcome) -> str:
    """In which way a replay is not the step itself, in words; empty when it is."""
    if not np.isclose(replayed.loss, taken.loss, rtol=LOSS_TOLERANCE, atol=LOSS_TOLERANCE, equal_nan=True):
        return f"a replayed step's loss was {replayed.loss}, without the recording {taken.loss}"
    if not np.isclose(replayed.norm, taken.norm, rtol=NORM_TOLERANCE, equal_nan=True):
        return f"a replayed step's gradient norm was {replayed.norm}, without the recording {taken.norm}"
    apart = sum(float((a - b).square().sum()) for a, b in zip(replayed.updates, taken.updates, strict=True))
    if apart > UPDATE_TOLERANCE**2 * taken.size:
        off = f"{math.sqrt(apart / taken.size):.0%} off the one" if taken.size else "there where none was"
        return f"a replayed step's update was {off} without the recording"
    return ""


# --- shapes --------------------------------------------------------------------------------------------


def widths(lengths: IntArray, at_most: int = WIDTHS) -> tuple[int, ...]:
    """The widths, rising, that cost the fewest places when every row is padded to the next one.

    Multiples of eight, but for the last: that is the longest row's. Found by dynamic programming over the candidates.

    Args:
        lengths: of all rows, (rows,).
        at_most: how many.
    """
    longest = int(lengths.max())
    candidates = [*range(ROUND, longest, ROUND), longest]
    rows = np.searchsorted(np.sort(lengths), candidates, side="right").tolist()  # that fit into each
    cheapest = [(count * width, (width,)) for count, width in zip(rows, candidates, strict=True)]
    for _ in range(at_most - 1):
        cheapest = [
            min(
                alone,
                *(
                    (cost + (rows[place] - rows[narrower]) * candidates[place], (*chosen, candidates[place]))
                    for narrower, (cost, chosen) in enumerate(cheapest[:place])
                ),
            )
            if place
            else alone
            for place, alone in enumerate(cheapest)
        ]
    return cheapest[-1][1]

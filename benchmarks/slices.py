"""A slice of a baseline: the real Trainer over a few batches that stand for an epoch, each event timed.

    python -m benchmarks.slices JOB.json

Batches are cut as the variant cuts them (shuffled, or grouped by length), sorted by what they cost, and taken at
equal distances, so that few of them have the mean of all. `extrapolation.py` does the arithmetic.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from transformers.trainer_pt_utils import LengthGroupedSampler

from benchmarks.baselines import Setting, Variant, make_trainer, prepare

SEED = 42


class Order(torch.utils.data.Sampler[int]):
    """Rows in a given order."""

    def __init__(self, rows: Sequence[int]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Any:
        return iter(self.rows)


class InOrder(transformers.Trainer):
    """The Trainer over the training rows as they stand."""

    def _get_train_sampler(self, *arguments: Any, **settings: Any) -> Order:
        return Order(range(len(self.train_dataset)))


class Clock(transformers.TrainerCallback):
    """When each event of a training came.

    Args:
        waits: steps after which the device is waited for; waiting after every one would hold the Trainer up.
    """

    def __init__(self, waits: Sequence[int]) -> None:
        self.waits = waits
        self.times: dict[str, list[float]] = {}

    def note(self, event: str, wait: bool = True) -> None:
        if wait and torch.cuda.is_available():
            torch.cuda.synchronize()
        self.times.setdefault(event, []).append(time.perf_counter())

    def on_step_begin(self, *arguments: Any, **settings: Any) -> None:
        self.note("step_begin", wait=False)

    def on_step_end(self, arguments: Any, state: Any, *others: Any, **settings: Any) -> None:
        self.note("step_end", wait=state.global_step in self.waits)

    def on_epoch_end(self, *arguments: Any, **settings: Any) -> None:
        self.note("epoch_end")

    def on_evaluate(self, *arguments: Any, **settings: Any) -> None:
        self.note("evaluate")

    def on_save(self, *arguments: Any, **settings: Any) -> None:
        self.note("save")


def grouped(variant: Variant) -> bool:
    """Whether the variant cuts batches of like lengths."""
    return variant.arguments.get("train_sampling_strategy") == "group_by_length"


def cut(lengths: Sequence[int], batch_size: int, by_length: bool) -> list[list[int]]:
    """The full batches of one epoch."""
    if by_length:
        generator = torch.Generator().manual_seed(SEED)
        order = list(LengthGroupedSampler(batch_size, lengths=list(lengths), generator=generator))
    else:
        order = np.random.default_rng(SEED).permutation(len(lengths)).tolist()
    full = len(order) // batch_size * batch_size
    return [order[start : start + batch_size] for start in range(0, full, batch_size)]


def spread(batches: Sequence[Sequence[int]], lengths: Sequence[int], count: int) -> list[list[int]]:
    """Batches at equal distances in the order of their longest row, in random order; all when there are fewer."""
    by_cost = sorted(batches, key=lambda batch: max(lengths[row] for row in batch))
    count = min(count, len(by_cost))
    chosen = [list(by_cost[int((place + 0.5) * len(by_cost) / count)]) for place in range(count)]
    random.Random(SEED).shuffle(chosen)  # noqa: S311  no secret
    return chosen


def evaluation_rows(lengths: Sequence[int], batch_size: int, count: int, by_length: bool) -> list[int]:
    """Rows of about `count` evaluation batches; all when there are no more."""
    if len(lengths) <= count * batch_size:
        return list(range(len(lengths)))
    rows = list(range(len(lengths)))
    order = sorted(rows, key=lambda row: -lengths[row]) if by_length else rows
    full = len(order) // batch_size * batch_size
    batches = [order[start : start + batch_size] for start in range(0, full, batch_size)]
    return sorted(row for batch in spread(batches, lengths, count) for row in batch)


def slice_rows(setting: Setting, job: Mapping[str, Any], batch_size: int, steps: int) -> dict[str, Any]:
    """The rows of warm-up and timed steps, and of one evaluation."""
    by_length = grouped(setting.variant)
    rows = setting.rows
    lengths = {split: rows[split]["length"][:] for split in ("train", "validation")}
    timed = spread(cut(lengths["train"], batch_size, by_length), lengths["train"], steps)
    warm = (timed * job["warm_steps"])[: job["warm_steps"]]
    evaluation_size = setting.variant.arguments.get("per_device_eval_batch_size", 8)
    chosen = evaluation_rows(lengths["validation"], evaluation_size, job["evaluation_batches"], by_length)
    return {
        "train": rows["train"].select([row for batch in warm + timed for row in batch]),
        "validation": rows["validation"].select(chosen),
    }


def measure(setting: Setting, job: Mapping[str, Any], shape: Sequence[Any], steps: int) -> dict[str, Any]:
    """Times of one shape: warm-up steps left out, everything else as the Trainer does it."""
    freeze, batch_size, max_length = shape
    rows = slice_rows(setting, job, batch_size, steps)
    configuration = {
        "freeze": freeze,
        "epochs": 1,
        "learning_rate": 1e-5,
        "batch_size": batch_size,
        "weight_decay": 0.01,
        "seed": SEED,
    }
    clock = Clock((job["warm_steps"], len(rows["train"]) // batch_size))
    began = time.perf_counter()
    trainer = make_trainer(setting, configuration, rows, InOrder)
    trainer.add_callback(clock)
    trainer.train()
    whole = time.perf_counter() - began
    return summarise(clock.times, whole, job["warm_steps"]) | {
        "shape": [freeze, batch_size, max_length],
        "evaluation_rows": len(rows["validation"]),
    }


def summarise(times: Mapping[str, Sequence[float]], whole: float, warm_steps: int) -> dict[str, Any]:
    """Raw seconds from the times of events; what belongs to no step, evaluation or checkpoint is overhead.

    Args:
        times: event -> readings of one epoch.
        whole: seconds of the trial.
        warm_steps: first steps, which are left out of `steps`.
    """
    ends = times["step_end"]
    evaluation = times["evaluate"][0] - times["epoch_end"][0]
    save = times["save"][0] - times["evaluate"][0] if "save" in times else 0.0
    return {
        "steps": [later - earlier for earlier, later in zip(ends, ends[1:], strict=False)][warm_steps - 1 :],
        "evaluation": evaluation,
        "save": save,
        "overhead": whole - (ends[-1] - times["step_begin"][0]) - evaluation - save,
    }


def run(job: Mapping[str, Any]) -> dict[str, Any]:
    """All shapes of a job, in one process, as the trials of a study are."""
    setting = prepare(job)
    startup = time.time() - job["began"]
    first = measure(setting, job, job["shapes"][0], steps=2)
    parts = [measure(setting, job, shape, job["steps"]) for shape in job["shapes"]]
    one_time = max(0.0, first["overhead"] - parts[0]["overhead"])
    return {"startup": startup, "one_time": one_time, "parts": parts, "ended": time.time()}


def main() -> None:
    """Entry of `python -m benchmarks.slices JOB.json`."""
    job = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    Path(job["out"]).write_text(json.dumps(run(job)), "utf-8")


if __name__ == "__main__":
    main()

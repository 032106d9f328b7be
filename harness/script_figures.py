"""What Trainer has logged of an epoch as the figures of the record."""

from __future__ import annotations

import math
from typing import Any

from harness.metrics import lookup
from harness.records import Incident, MetricValue

LAST = 1e-6
"""How far behind its end, in epochs, an epoch's last step may be logged."""
NO_METRICS = ("runtime", "samples_per_second", "steps_per_second", "jit_compilation_time", "model_preparation_time")

Entries = list[dict[str, Any]]
"""Of Trainer's log, each with the epoch and step at which it was made."""


def epochs_over(progress: float) -> int:
    """How many epochs Trainer's progress has left behind."""
    return math.floor(progress + LAST)


def epoch_of(progress: float) -> int:
    """The epoch, from 1, that Trainer's progress in epochs lies in; 0 before the first step."""
    return math.ceil(progress - LAST)


def train_loss(entries: Entries, history: Entries) -> list[MetricValue]:
    """The mean over the epoch: what is logged is a mean since it was last logged, and counts by its steps."""
    logged = [each for each in history if "loss" in each]
    before = {each["step"]: last["step"] for last, each in zip([{"step": 0}, *logged], logged, strict=False)}
    stretches = [(max(1, each["step"] - before[each["step"]]), each["loss"]) for each in entries if "loss" in each]
    if not stretches:
        return []
    total = sum(steps for steps, _ in stretches)
    return [MetricValue("train", "loss", sum(steps * loss for steps, loss in stretches) / total)]


def validation(evaluations: Entries) -> list[MetricValue]:
    """Every figure that an evaluation has logged; of several in an epoch the last."""
    found: dict[str, float] = {}
    for entry in evaluations:
        for key, value in entry.items():
            figure = key.removeprefix("eval_")
            if key != figure and not figure.endswith(NO_METRICS) and isinstance(value, int | float):
                found[figure] = as_fraction(figure, float(value))
    return [MetricValue("validation", figure, value) for figure, value in found.items()]


def surprises(epoch: int, entries: Entries, evaluations: Entries) -> list[Incident]:
    """What a reader of the epoch's figures has to know."""
    found = []
    steps = sorted({each["step"] for each in evaluations})
    last = max((each["step"] for each in entries), default=0)
    if len(steps) > 1 or (steps and steps[-1] < last):
        words = "an epoch has the figures of its last evaluation, which need not be at its end"
        found.append(Incident("evaluated by steps", words, {"epoch": epoch, "steps": steps}))
    norms = [each["grad_norm"] for each in entries if not math.isfinite(each.get("grad_norm", 0.0))]
    if norms:
        words = "gradients were not finite; Trainer leaves such losses out of its means (logging_nan_inf_filter)"
        found.append(Incident("gradients not finite", words, {"epoch": epoch}))
    return found


def as_fraction(name: str, value: float) -> float:
    """A share that a script gives in percent, as the metrics of SQuAD do, as the fraction that the record holds."""
    try:
        percent = lookup(name).unit == "fraction" and 1 < value <= 100
    except KeyError:
        return value
    return value / 100 if percent else value

"""From a slice of a baseline to the whole of a case: plain arithmetic over raw times.

A slice is what `slices.py` measures in one process:
    startup       seconds from the start of the process until rows and tokeniser are there
    one_time      what the first trial of a process takes longer than any later one
    teardown      seconds that the process takes to end
    parts         for each shape: steps (seconds of each), overhead (of a trial, outside of steps, evaluation and
                  saving), evaluation (seconds for evaluation_rows rows) and save (seconds of an epoch's checkpoint)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

TOLERANCE = 0.05  # by which an extrapolation may miss a whole run


def error(check: Mapping[str, Any]) -> float:
    """By which share of the whole run an extrapolation that was checked is off."""
    return float(check["expected"] / check["whole"] - 1)


def part_of(slices: Mapping[str, Any], shape: Sequence[Any]) -> Mapping[str, Any]:
    """The slice of a shape."""
    found: Mapping[str, Any] = next(part for part in slices["parts"] if list(part["shape"]) == list(shape))
    return found


def epoch_seconds(part: Mapping[str, Any], batch_size: int, train_rows: int, validation_rows: int) -> float:
    """Training, evaluation and saving of one epoch; the last batch of an epoch counts by its rows."""
    training = train_rows / batch_size * fmean(part["steps"])
    evaluation = part["evaluation"] * validation_rows / part["evaluation_rows"]
    return float(training + evaluation + part["save"])


def whole_seconds(
    slices: Mapping[str, Any], parts: Sequence[Sequence[Any]], train_rows: int, validation_rows: int
) -> float:
    """Wall clock of the whole command.

    Args:
        slices: as above.
        parts: (shape, epochs, trials) of the case; a shape is (freeze, batch_size, max_length).
        train_rows: rows of an epoch.
        validation_rows: rows of an evaluation.
    """
    total = slices["startup"] + slices["one_time"] + slices["teardown"]
    for shape, epochs, trials in parts:
        part = part_of(slices, shape)
        total += trials * (part["overhead"] + epochs * epoch_seconds(part, shape[1], train_rows, validation_rows))
    return float(total)

"""The loss curves of a trial, and what can be read from them before any rule: best epoch, rise, gap, paired test.

What a verdict makes of it is the work of `verdicts.py`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import special

WINDOW = 3
"""Epochs over which the last fall is read; one epoch alone is too noisy on small validation sets."""
LEVEL = 0.05
"""One-sided level of the paired test, divided by the epochs that the best was chosen from (Bonferroni)."""

Loss = float | None
Floats = npt.NDArray[np.float64]
_TINY = float(np.finfo(np.float64).tiny)


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """The losses of one trial; position i is epoch i + 1, None or NaN is missing, infinite is diverged.

    Attributes:
        train_loss: of the training pass, shape (epochs,).
        validation_loss: shape (epochs,).
        epoch_seconds: wall clock of each epoch, shape (epochs,); empty when unknown.
        best_examples, last_examples: validation loss of each example at the epoch with the lowest
            validation loss and at the last one, shape (examples,), in one order; None when unknown.
        diverged: the trial was ended by a non-finite loss, gradient or metric.
        chance_loss: validation loss of always answering with the shares of the labels, ln 2 for two
            balanced ones; None when unknown.
    """

    train_loss: Sequence[Loss]
    validation_loss: Sequence[Loss]
    epoch_seconds: Sequence[Loss] = ()
    best_examples: npt.ArrayLike | None = None
    last_examples: npt.ArrayLike | None = None
    diverged: bool = False
    chance_loss: float | None = None


class RiseTest(NamedTuple):
    """Paired one-sided t test of the rise from the best epoch to the last, over examples.

    `level` is LEVEL divided by the number of epochs that the best was chosen from; `outcome` is
    "clear" when p_value is below it, else "within noise".
    """

    rise: float
    standard_error: float
    p_value: float
    examples: int
    level: float
    outcome: Literal["clear", "within noise"]


@dataclass(frozen=True, slots=True, eq=False)
class Facts:
    """A curve with missing values as NaN, and what follows from it before any rule."""

    train: Floats
    validation: Floats
    infinite: bool
    chance_loss: float | None
    best: int | None
    epochs_after_best: int | None
    seconds_after_best: float | None
    test: RiseTest | None

    @classmethod
    def of(cls, curve: Curve) -> Facts:
        """Read a curve.

        Raises:
            ValueError: when its two losses differ in length.
        """
        train, validation = _series(curve.train_loss), _series(curve.validation_loss)
        if train.shape != validation.shape:
            raise ValueError(f"the curves must have one length, got {train.size} and {validation.size} epochs")
        infinite = bool(curve.diverged or np.isinf(train).any() or np.isinf(validation).any())
        train, validation = (np.where(np.isfinite(x), x, np.nan) for x in (train, validation))
        epochs = np.flatnonzero(np.isfinite(train) | np.isfinite(validation))
        best = int(np.nanargmin(validation)) + 1 if np.isfinite(validation).any() else None
        after = None if best is None else int(epochs[-1]) + 1 - best
        test = None
        if after and curve.best_examples is not None and curve.last_examples is not None:
            compared = int(np.isfinite(validation).sum()) - 1
            test = paired_rise(curve.best_examples, curve.last_examples, compared)
        seconds = _seconds_after(curve.epoch_seconds, best)
        return cls(train, validation, infinite, finite(curve.chance_loss), best, after, seconds, test)

    @property
    def last_pair(self) -> int | None:
        """Last epoch with both losses."""
        both = np.flatnonzero(np.isfinite(self.train + self.validation))
        return int(both[-1]) + 1 if both.size else None

    def gap(self, epoch: int | None) -> float | None:
        """Validation loss minus training loss of an epoch; None when not measured."""
        return None if epoch is None else finite(self.validation[epoch - 1] - self.train[epoch - 1])

    @property
    def relative_gap(self) -> float | None:
        """Gap at the last pair as a share of its validation loss; None when not measured."""
        gap = self.gap(self.last_pair)
        return None if gap is None or self.last_pair is None else gap / max(_TINY, self.validation[self.last_pair - 1])

    @property
    def rise(self) -> float:
        """Mean validation loss after the best epoch minus the best; 0.0 when nothing follows."""
        if self.best is None:
            return 0.0
        after = measured(self.validation[self.best :])
        return float(after.mean() - self.validation[self.best - 1]) if after.size else 0.0

    @property
    def relative_rise(self) -> float:
        """Rise as a share of the best loss."""
        return self.rise / max(_TINY, float(self.validation[self.best - 1])) if self.best is not None else 0.0

    @property
    def recent_fall(self) -> float:
        """Fall of the validation loss over the last WINDOW measured epochs."""
        values = measured(self.validation)[-WINDOW - 1 :]
        return float(values[0] - values[-1]) if values.size > 1 else 0.0

    @property
    def train_fall(self) -> float | None:
        """Fall of the training loss from the best epoch to the last; None when not measured."""
        if self.best is None or not np.isfinite(self.train[self.best - 1]):
            return None
        after = measured(self.train[self.best :])
        return float(self.train[self.best - 1] - after[-1]) if after.size else None


def paired_rise(
    best_examples: npt.ArrayLike, last_examples: npt.ArrayLike, epochs_compared: int = 1
) -> RiseTest | None:
    """Is the mean validation loss at the last epoch above that at the best, on the same examples?

    One-sided paired t test (Student, "The Probable Error of a Mean", 1908). The best epoch was
    picked for being lowest, so the level is divided by the number of epochs that it was picked from.

    Args:
        best_examples: losses at the best epoch, shape (examples,).
        last_examples: losses at the last epoch, in the same order, shape (examples,).
        epochs_compared: measured epochs other than the last.

    Returns:
        None with fewer than two examples for which both are finite.

    Raises:
        ValueError: for shapes that differ.
    """
    best, last = np.asarray(best_examples, np.float64), np.asarray(last_examples, np.float64)
    if best.shape != last.shape:
        raise ValueError(f"per-example losses must have one shape, got {best.shape} and {last.shape}")
    rises = (last - best)[np.isfinite(last - best)]
    if rises.size < 2:
        return None
    mean, error = float(rises.mean()), float(rises.std(ddof=1) / math.sqrt(rises.size))
    if error > 0:
        p_value = float(special.stdtr(rises.size - 1, -mean / error))
    else:
        p_value = 0.0 if mean > 0 else 1.0
    level = LEVEL / max(1, epochs_compared)
    return RiseTest(mean, error, p_value, int(rises.size), level, "clear" if p_value < level else "within noise")


def _series(values: Sequence[Loss]) -> Floats:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def measured(values: Floats) -> Floats:
    """Without the missing ones."""
    return values[np.isfinite(values)]


def finite(value: float | None) -> float | None:
    """The value where it is one, else None."""
    return float(value) if value is not None and math.isfinite(value) else None


def _seconds_after(seconds: Sequence[Loss], best: int | None) -> float | None:
    if best is None or not len(seconds):
        return None
    return finite(float(_series(seconds[best:]).sum()))

"""Verdicts: pure rules that turn a trial's loss curves into words, with the evidence.

The rules, in order; the first that speaks decides. Losses are means in nats an example; `best` is
the first epoch with the lowest validation loss, `rise` the mean of the validation losses after it
minus the best one (the mean and not the last or the highest, so that one lucky or unlucky epoch
does not decide), `gap` validation loss minus training loss of the same epoch.

1. diverged: a loss became infinite, the trial was ended for it, or the training loss ended at
   twice its lowest value or more (DIVERGED_FACTOR). Nothing else in such a curve means anything.
2. too short to tell: fewer than two measured validation losses; one point has no direction.
3. unstable: the training loss rose by JUMP between two epochs, or the validation loss rose by JUMP
   and fell by as much again, or both losses rose together after the best epoch. The optimiser, and
   not memorisation, is at fault, and `the best epoch` is an accident.
4. overfitting after epoch k: the rise is at least CHANGE of the best loss while the training loss
   falls on. `weakly` below STRONG_CHANGE. When per-example losses are given the rise from best to
   last is tested on paired examples, and a rise within noise is no overfitting.
5. overfitting by its gap: no turning epoch, but the training loss is below a third of the validation
   loss (LARGE_GAP): the training rows are known by heart even though it has not yet cost anything.
6. still learning: the validation loss fell by CHANGE over the last WINDOW epochs without a rise at
   the end, and there is no gap yet to speak of (SMALL_GAP): more epochs are not known to harm.
7. healthy: none of these. The words tell a model that has learnt nothing (LEARNT_NOTHING): neither
   loss ever fell by CHANGE below that of the first epoch, and the lowest validation loss is not below
   that of always answering with the shares of the labels by CHANGE. Nothing is known without the latter.

Ratios decide, so that a task with large losses is judged like one with small; floors in nats keep
tiny losses (0.010 -> 0.011) from being talked about. Missing losses (None or NaN) are left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import special

VERSION = 2
"""Stored with each verdict; raised by one when a rule or a threshold changes."""

CHANGE = 0.03
"""A change of the validation loss worth a word. On a few hundred examples epochs differ by 1 to 2% by chance; published
runs rose by 4.5 to 19% where readers call them overfitting and by 0.8% where they do not."""
STRONG_CHANGE = 0.05
"""From here a rise is `clearly`: published, a rise of 4.5% is read as weak, 6% and more as clear."""
CHANGE_NATS = 0.01
"""Floor of CHANGE, and the least change of the training loss that counts: 0.01 nats are 1% in the probability given to
the true label."""
JUMP = 0.2
"""A rise from one epoch to the next that no curve of a sound optimiser shows; the published runs stay within 10%."""
LARGE_NATS = 0.1
"""Floor of JUMP, DIVERGED_FACTOR and LARGE_GAP: 0.1 nats are 10% in the probability given to the true label."""
DIVERGED_FACTOR = 2.0
"""A training loss that doubles has lost what it had learnt: from 0.35 it is back at ln 2, a coin."""
LARGE_GAP = 2 / 3
"""Gap as a share of the validation loss. Published: 0.93 where readers say strong overfitting without a turn, at most
0.33 in healthy runs."""
SMALL_GAP = 0.05
"""Up to here the training loss is not yet below the validation loss. Published: below 0 while learning, 0.18 and more
after."""
WINDOW = 3
"""Epochs over which the last fall is read; one epoch alone is too noisy on small validation sets."""
LEVEL = 0.05
"""One-sided level of the paired test, divided by the epochs that the best was chosen from (Bonferroni)."""

Name = Literal["healthy", "overfitting", "still learning", "diverged", "unstable", "too short to tell"]
NAMES: tuple[str, ...] = ("healthy", "overfitting", "still learning", "diverged", "unstable", "too short to tell")

LEARNT_NOTHING = "healthy; learnt nothing yet (loss at chance)"
"""Words of a healthy curve that never left the loss of a guess."""

Loss = float | None
Floats = npt.NDArray[np.float64]


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


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a careful reader concludes from a curve.

    Attributes:
        name: one of NAMES.
        words: the same with its epoch: "overfitting after epoch 2".
        strength: weakly or clearly for overfitting; empty otherwise.
        reason: the sentence with the figures that decided.
        best_epoch: first epoch with the lowest validation loss, from 1; None without any.
        turning_epoch: the best epoch where overfitting begins after it; None otherwise.
        gap_at_best, gap_at_last: validation minus training loss, in nats; None when not measured.
        epochs_after_best, seconds_after_best: spent after the best epoch; None when unknown.
        rise_test: None without per-example losses or epochs after the best.
        evidence: all of this and the rules' figures, as JSON values.
        advice: what to change, one sentence each.
        version: of the rules.
    """

    name: Name
    words: str
    strength: str
    reason: str
    best_epoch: int | None
    turning_epoch: int | None
    gap_at_best: float | None
    gap_at_last: float | None
    epochs_after_best: int | None
    seconds_after_best: float | None
    rise_test: RiseTest | None
    evidence: dict[str, Any]
    advice: tuple[str, ...]
    version: int = VERSION


def judge(curve: Curve) -> Verdict:
    """Apply the rules of this module's documentation to one curve.

    Raises:
        ValueError: when the two curves differ in length.
    """
    facts = _Facts.of(curve)
    finding = next((found for rule in _RULES if (found := rule(facts)) is not None), None) or _healthy(facts)
    turning = facts.best if finding.name == "overfitting" and "after epoch" in finding.words else None
    return Verdict(
        name=finding.name,
        words=finding.words,
        strength=finding.strength,
        reason=finding.reason,
        best_epoch=facts.best,
        turning_epoch=turning,
        gap_at_best=facts.gap(facts.best),
        gap_at_last=facts.gap(facts.last_pair),
        epochs_after_best=facts.epochs_after_best,
        seconds_after_best=facts.seconds_after_best,
        rise_test=facts.test,
        evidence=_evidence(facts, finding, turning),
        advice=advice(finding.name, turning, finding.words),
    )


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


def advice(name: str, turning_epoch: int | None, words: str = "") -> tuple[str, ...]:
    """What to change after a verdict, most useful first; empty when nothing is called for."""
    if words == LEARNT_NOTHING:
        return (
            "Raise the learning rate, freeze less or train longer.",
            "Check that the labels belong to their texts.",
        )
    if name == "overfitting" and turning_epoch is not None:
        epochs = f"{turning_epoch} epoch{'s' if turning_epoch > 1 else ''}"
        return (
            f"Train for {epochs}, or keep the best epoch's weights with early stopping (patience 1 or 2).",
            "Freeze more (embeddings, or all but the top layers), raise dropout or weight decay, or lower the rate.",
            "More training rows help most where they can be had.",
        )
    if name == "overfitting":
        return (
            "Freeze more, raise dropout or weight decay, or train for fewer epochs; more training rows help most.",
            "With a gap from the first epoch on, check for weights carried over and for training rows that repeat.",
        )
    return _ADVICE.get(name, ())


_ADVICE: dict[str, tuple[str, ...]] = {
    "still learning": (
        "Train for more epochs; nothing speaks against it yet.",
        "A higher learning rate or fewer frozen layers get there sooner.",
    ),
    "diverged": (
        "Lower the learning rate by a factor of 3 to 10 and warm up over the first tenth of the steps.",
        "Clip gradients at 1.0; with fp16 try bf16 or fp32.",
    ),
    "unstable": (
        "Lower the learning rate or use a larger effective batch; warm up over the first tenth of the steps.",
        "Repeat with other seeds before believing the best epoch.",
    ),
    "too short to tell": ("Train for two epochs at least, or evaluate more often.",),
}


# --- what the rules look at ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class _Facts:
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
    def of(cls, curve: Curve) -> _Facts:
        train, validation = _series(curve.train_loss), _series(curve.validation_loss)
        if train.shape != validation.shape:
            raise ValueError(f"the curves must have one length, got {train.size} and {validation.size} epochs")
        infinite = bool(curve.diverged or np.isinf(train).any() or np.isinf(validation).any())
        train, validation = (np.where(np.isfinite(x), x, np.nan) for x in (train, validation))
        measured = np.flatnonzero(np.isfinite(train) | np.isfinite(validation))
        best = int(np.nanargmin(validation)) + 1 if np.isfinite(validation).any() else None
        after = None if best is None else int(measured[-1]) + 1 - best
        test = None
        if after and curve.best_examples is not None and curve.last_examples is not None:
            compared = int(np.isfinite(validation).sum()) - 1
            test = paired_rise(curve.best_examples, curve.last_examples, compared)
        seconds = _seconds_after(curve.epoch_seconds, best)
        return cls(train, validation, infinite, _finite(curve.chance_loss), best, after, seconds, test)

    @property
    def last_pair(self) -> int | None:
        """Last epoch with both losses."""
        both = np.flatnonzero(np.isfinite(self.train + self.validation))
        return int(both[-1]) + 1 if both.size else None

    def gap(self, epoch: int | None) -> float | None:
        return None if epoch is None else _finite(self.validation[epoch - 1] - self.train[epoch - 1])

    @property
    def relative_gap(self) -> float | None:
        gap = self.gap(self.last_pair)
        return None if gap is None or self.last_pair is None else gap / max(_TINY, self.validation[self.last_pair - 1])

    @property
    def rise(self) -> float:
        """Mean validation loss after the best epoch minus the best; 0.0 when nothing follows."""
        if self.best is None:
            return 0.0
        after = _measured(self.validation[self.best :])
        return float(after.mean() - self.validation[self.best - 1]) if after.size else 0.0

    @property
    def relative_rise(self) -> float:
        return self.rise / max(_TINY, float(self.validation[self.best - 1])) if self.best is not None else 0.0

    @property
    def recent_fall(self) -> float:
        """Fall of the validation loss over the last WINDOW measured epochs."""
        values = _measured(self.validation)[-WINDOW - 1 :]
        return float(values[0] - values[-1]) if values.size > 1 else 0.0

    @property
    def train_fall(self) -> float | None:
        """Fall of the training loss from the best epoch to the last; None when not measured."""
        if self.best is None or not np.isfinite(self.train[self.best - 1]):
            return None
        after = _measured(self.train[self.best :])
        return float(self.train[self.best - 1] - after[-1]) if after.size else None


_TINY = float(np.finfo(np.float64).tiny)


def _series(values: Sequence[Loss]) -> Floats:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def _measured(values: Floats) -> Floats:
    return values[np.isfinite(values)]


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None


def _seconds_after(seconds: Sequence[Loss], best: int | None) -> float | None:
    if best is None or not len(seconds):
        return None
    return _finite(float(_series(seconds[best:]).sum()))


# --- the rules ----------------------------------------------------------------------------------


class _Finding(NamedTuple):
    name: Name
    words: str
    reason: str
    strength: str = ""


def _diverged(facts: _Facts) -> _Finding | None:
    if facts.infinite:
        return _Finding("diverged", "diverged", "a loss, gradient or metric was not finite")
    train = _measured(facts.train)
    if train.size > 1 and _exceeds(train[-1], train.min(), DIVERGED_FACTOR - 1, LARGE_NATS):
        return _Finding("diverged", "diverged", f"training loss ended at {train[-1]:.4g} after {train.min():.4g}")
    return None


def _too_short(facts: _Facts) -> _Finding | None:
    measured = int(np.isfinite(facts.validation).sum())
    if measured >= 2:
        return None
    seen = "one validation loss was" if measured else "no validation loss was"
    return _Finding("too short to tell", "too short to tell", f"{seen} measured")


def _unstable(facts: _Facts) -> _Finding | None:
    train = _measured(facts.train)
    for before, after in zip(train[:-1], train[1:], strict=True):
        if _exceeds(after, before, JUMP, LARGE_NATS):
            return _Finding("unstable", "unstable", f"training loss jumped from {before:.4g} to {after:.4g}")
    spike = _spike(_measured(facts.validation))
    if spike is not None:
        low, high, end = spike
        reason = f"validation loss went from {low:.4g} to {high:.4g} and back to {end:.4g}"
        return _Finding("unstable", "unstable", reason)
    if _turned(facts) and facts.train_fall is not None and facts.train_fall <= -CHANGE_NATS:
        return _Finding("unstable", "unstable", f"both losses rose after epoch {facts.best}")
    return None


def _overfitting(facts: _Facts) -> _Finding | None:
    if not _turned(facts) or (facts.train_fall is not None and facts.train_fall < CHANGE_NATS):
        return None
    strength = "clearly" if facts.relative_rise >= STRONG_CHANGE else "weakly"
    reason = f"validation loss rose by {facts.relative_rise:.1%} on average after epoch {facts.best}"
    if facts.test is not None:
        reason += f" (paired test: p = {facts.test.p_value:.2g}, {facts.test.examples} examples)"
    return _Finding("overfitting", f"overfitting after epoch {facts.best}", reason, strength)


def _gap(facts: _Facts) -> _Finding | None:
    gap, share = facts.gap(facts.last_pair), facts.relative_gap
    if gap is None or share is None or gap < LARGE_NATS or share < LARGE_GAP:
        return None
    reason = f"training loss is {gap:.4g} below the validation loss ({share:.0%} of it), which has not turned"
    return _Finding("overfitting", "overfitting by its gap, no turning epoch", reason, "clearly")


def _still_learning(facts: _Facts) -> _Finding | None:
    values, share = _measured(facts.validation), facts.relative_gap
    falling = _exceeds(values[-1] + facts.recent_fall, values[-1], CHANGE, CHANGE_NATS)
    if not falling or _risen(facts) or (share is not None and share > SMALL_GAP):
        return None
    reason = f"validation loss still fell by {facts.recent_fall:.4g} over the last epochs, and no gap has opened"
    return _Finding("still learning", "still learning", reason)


def _healthy(facts: _Facts) -> _Finding:
    if _learnt_nothing(facts):
        lowest = float(np.nanmin(facts.validation))
        reason = f"neither loss fell, and the lowest validation loss {lowest:.4g} is that of a guess, "
        return _Finding("healthy", LEARNT_NOTHING, f"{reason}{facts.chance_loss:.4g}")
    if _risen(facts) and facts.test is not None:
        reason = f"validation loss rose after epoch {facts.best}, within noise (p = {facts.test.p_value:.2g})"
        return _Finding("healthy", f"healthy; rise after epoch {facts.best} within noise", reason)
    return _Finding(
        "healthy", "healthy", "validation loss did not rise while training went on, and no large gap opened"
    )


_RULES: tuple[Callable[[_Facts], _Finding | None], ...] = (
    _diverged,
    _too_short,
    _unstable,
    _overfitting,
    _gap,
    _still_learning,
)


def _exceeds(value: float, base: float, share: float, nats: float) -> bool:
    """Value lies above base by `share` of it and by `nats`."""
    return bool(value - base >= share * base and value - base >= nats)


def _learnt_nothing(facts: _Facts) -> bool:
    """Both losses stay at the first epoch's, the validation loss at chance; false where that is not measured."""
    train, validation = _measured(facts.train), _measured(facts.validation)
    if facts.chance_loss is None or train.size < 2 or validation.size < 2:
        return False
    fell = any(_exceeds(losses[0], losses.min(), CHANGE, CHANGE_NATS) for losses in (train, validation))
    return not fell and not _exceeds(facts.chance_loss, validation.min(), CHANGE, CHANGE_NATS)


def _risen(facts: _Facts) -> bool:
    return facts.relative_rise >= CHANGE and facts.rise >= CHANGE_NATS


def _turned(facts: _Facts) -> bool:
    return _risen(facts) and (facts.test is None or facts.test.outcome == "clear")


def _spike(values: Floats) -> tuple[float, float, float] | None:
    """First rise by JUMP over the lowest value so far that is followed by a fall of as much again."""
    low = high = float(values[0])
    for value in (float(v) for v in values[1:]):
        if _exceeds(high, low, JUMP, LARGE_NATS) and _exceeds(high, value, JUMP, LARGE_NATS):
            return low, high, value
        if value < low:
            low = high = value
        high = max(high, value)
    return None


def _evidence(facts: _Facts, finding: _Finding, turning: int | None) -> dict[str, Any]:
    """Everything that decided, as JSON values; None is not measured."""
    return {
        "reason": finding.reason,
        "strength": finding.strength,
        "best_epoch": facts.best,
        "turning_epoch": turning,
        "gap_at_best": facts.gap(facts.best),
        "gap_at_last": facts.gap(facts.last_pair),
        "relative_gap_at_last": _finite(facts.relative_gap),
        "rise": _finite(facts.rise),
        "relative_rise": _finite(facts.relative_rise),
        "recent_fall": _finite(facts.recent_fall),
        "train_fall_after_best": facts.train_fall,
        "chance_loss": facts.chance_loss,
        "epochs_after_best": facts.epochs_after_best,
        "seconds_after_best": facts.seconds_after_best,
        "rise_test": None if facts.test is None else facts.test._asdict(),
    }

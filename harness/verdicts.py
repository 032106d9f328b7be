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

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from harness.curves import Curve, Facts, Floats, RiseTest, finite, measured

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
Name = Literal["healthy", "overfitting", "still learning", "diverged", "unstable", "too short to tell"]
NAMES: tuple[str, ...] = ("healthy", "overfitting", "still learning", "diverged", "unstable", "too short to tell")

LEARNT_NOTHING = "healthy; learnt nothing yet (loss at chance)"
"""Words of a healthy curve that never left the loss of a guess."""


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
    facts = Facts.of(curve)
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


# --- the rules ----------------------------------------------------------------------------------


class _Finding(NamedTuple):
    name: Name
    words: str
    reason: str
    strength: str = ""


def _diverged(facts: Facts) -> _Finding | None:
    if facts.infinite:
        return _Finding("diverged", "diverged", "a loss, gradient or metric was not finite")
    train = measured(facts.train)
    if train.size > 1 and _exceeds(train[-1], train.min(), DIVERGED_FACTOR - 1, LARGE_NATS):
        return _Finding("diverged", "diverged", f"training loss ended at {train[-1]:.4g} after {train.min():.4g}")
    return None


def _too_short(facts: Facts) -> _Finding | None:
    losses = measured(facts.validation).size
    if losses >= 2:
        return None
    seen = "one validation loss was" if losses else "no validation loss was"
    return _Finding("too short to tell", "too short to tell", f"{seen} measured")


def _unstable(facts: Facts) -> _Finding | None:
    train = measured(facts.train)
    for before, after in zip(train[:-1], train[1:], strict=True):
        if _exceeds(after, before, JUMP, LARGE_NATS):
            return _Finding("unstable", "unstable", f"training loss jumped from {before:.4g} to {after:.4g}")
    spike = _spike(measured(facts.validation))
    if spike is not None:
        low, high, end = spike
        reason = f"validation loss went from {low:.4g} to {high:.4g} and back to {end:.4g}"
        return _Finding("unstable", "unstable", reason)
    if _turned(facts) and facts.train_fall is not None and facts.train_fall <= -CHANGE_NATS:
        return _Finding("unstable", "unstable", f"both losses rose after epoch {facts.best}")
    return None


def _overfitting(facts: Facts) -> _Finding | None:
    if not _turned(facts) or (facts.train_fall is not None and facts.train_fall < CHANGE_NATS):
        return None
    strength = "clearly" if facts.relative_rise >= STRONG_CHANGE else "weakly"
    reason = f"validation loss rose by {facts.relative_rise:.1%} on average after epoch {facts.best}"
    if facts.test is not None:
        reason += f" (paired test: p = {facts.test.p_value:.2g}, {facts.test.examples} examples)"
    return _Finding("overfitting", f"overfitting after epoch {facts.best}", reason, strength)


def _gap(facts: Facts) -> _Finding | None:
    gap, share = facts.gap(facts.last_pair), facts.relative_gap
    if gap is None or share is None or gap < LARGE_NATS or share < LARGE_GAP:
        return None
    reason = f"training loss is {gap:.4g} below the validation loss ({share:.0%} of it), which has not turned"
    return _Finding("overfitting", "overfitting by its gap, no turning epoch", reason, "clearly")


def _still_learning(facts: Facts) -> _Finding | None:
    values, share = measured(facts.validation), facts.relative_gap
    falling = _exceeds(values[-1] + facts.recent_fall, values[-1], CHANGE, CHANGE_NATS)
    if not falling or _risen(facts) or (share is not None and share > SMALL_GAP):
        return None
    reason = f"validation loss still fell by {facts.recent_fall:.4g} over the last epochs, and no gap has opened"
    return _Finding("still learning", "still learning", reason)


def _healthy(facts: Facts) -> _Finding:
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


_RULES: tuple[Callable[[Facts], _Finding | None], ...] = (
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


def _learnt_nothing(facts: Facts) -> bool:
    """Both losses stay at the first epoch's, the validation loss at chance; false where that is not measured."""
    train, validation = measured(facts.train), measured(facts.validation)
    if facts.chance_loss is None or train.size < 2 or validation.size < 2:
        return False
    fell = any(_exceeds(losses[0], losses.min(), CHANGE, CHANGE_NATS) for losses in (train, validation))
    return not fell and not _exceeds(facts.chance_loss, validation.min(), CHANGE, CHANGE_NATS)


def _risen(facts: Facts) -> bool:
    return facts.relative_rise >= CHANGE and facts.rise >= CHANGE_NATS


def _turned(facts: Facts) -> bool:
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


def _evidence(facts: Facts, finding: _Finding, turning: int | None) -> dict[str, Any]:
    """Everything that decided, as JSON values; None is not measured."""
    return {
        "reason": finding.reason,
        "strength": finding.strength,
        "best_epoch": facts.best,
        "turning_epoch": turning,
        "gap_at_best": facts.gap(facts.best),
        "gap_at_last": facts.gap(facts.last_pair),
        "relative_gap_at_last": finite(facts.relative_gap),
        "rise": finite(facts.rise),
        "relative_rise": finite(facts.relative_rise),
        "recent_fall": finite(facts.recent_fall),
        "train_fall_after_best": facts.train_fall,
        "chance_loss": facts.chance_loss,
        "epochs_after_best": facts.epochs_after_best,
        "seconds_after_best": facts.seconds_after_best,
        "rise_test": None if facts.test is None else facts.test._asdict(),
    }

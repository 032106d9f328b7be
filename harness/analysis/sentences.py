"""One sentence for each comparison: who beats whom by how much, or what it would take to tell."""

from __future__ import annotations

import math

import harness.metrics as metrics
from harness.analysis.families import Comparison
from harness.analysis.paired import Equivalence
from harness.analysis.statistics import LEVEL

NO_VERDICT = "cannot tell {a} from {b}"


def sentence(comparison: Comparison) -> str:
    """What a corrected comparison says, as one sentence without a full stop.

    "A beats B by 0.8 ± 0.3 points of F1 (p = 0.004, Holm, 5 seeds, 1,000 examples)", or "cannot tell A from B (0.3 ±
    0.9 points of F1, p = 0.41, 5 seeds); 12 seeds would be needed". What follows ± is half the 95% interval, which
    is written out where it is not symmetric. "Holm" stands there when there were several comparisons; a
    comparison of one seed is marked as unreplicated.

    Args:
        comparison: see `families.corrected`.
    """
    difference = comparison.difference
    if math.isnan(difference.estimate):
        missing = _metric(comparison.metric, comparison.split)
        return f"{NO_VERDICT.format(a=comparison.a, b=comparison.b)}: {missing} is missing"
    if comparison.told_apart:
        winner, loser = _winner_and_loser(comparison)
        return f"{winner} beats {loser} by {_size(comparison, absolute=True)} ({_evidence(comparison)})"
    seen = f"({_size(comparison)}, {_evidence(comparison)})"
    told = f"{NO_VERDICT.format(a=comparison.a, b=comparison.b)} {seen}"
    needed = _needed(comparison)
    return f"{told}; {needed}" if needed else told


def equivalence_sentence(comparison: Comparison, found: Equivalence, margin: float) -> str:
    """What a test of equivalence adds to a comparison: "A and B differ by less than 1.0 points of F1 (...)".

    Args:
        comparison: of the same two.
        found: see `paired.equivalence`.
        margin: the largest difference that does not matter, in the metric's own unit.
    """
    factor, decimals, words = unit(comparison.metric, comparison.split)
    within = f"{factor * margin:.{_decimals(factor * margin, decimals)}f} {words}"
    seeds = _count(found.n, "seed")
    if found.p_value <= 0.05:
        return f"{comparison.a} and {comparison.b} differ by less than {within} ({_p(found.p_value)}, TOST, {seeds})"
    shown = "no p value" if math.isnan(found.p_value) else _p(found.p_value)
    return (
        f"it is not shown that {comparison.a} and {comparison.b} differ by less than {within} ({shown}, TOST, {seeds})"
    )


def _winner_and_loser(comparison: Comparison) -> tuple[str, str]:
    a_is_higher = comparison.difference.estimate > 0
    a_is_better = a_is_higher == (metrics.direction(comparison.metric) == "maximize")
    return (comparison.a, comparison.b) if a_is_better else (comparison.b, comparison.a)


def _size(comparison: Comparison, absolute: bool = False) -> str:
    """The difference with its interval and unit; the winner's lead where `absolute`."""
    factor, decimals, words = unit(comparison.metric, comparison.split)
    estimate, low, high = (factor * value for value in comparison.difference[:3])
    if absolute and estimate < 0:
        estimate, low, high = -estimate, -high, -low
    half = (high - low) / 2
    decimals = _decimals(half, decimals)
    if math.isnan(half):
        return f"{_number(estimate, _decimals(estimate, decimals))} {words}, no interval"
    shown = _number(estimate, decimals)
    if abs((high + low) / 2 - estimate) < 0.5 * 10**-decimals:
        return f"{shown} ± {half:.{decimals}f} {words}"
    return f"{shown} [{_number(low, decimals)}, {_number(high, decimals)}] {words}"


def _evidence(comparison: Comparison) -> str:
    parts = []
    if not math.isnan(comparison.adjusted_p):
        parts += [_p(comparison.adjusted_p), *(["Holm"] if _by_holm(comparison) else [])]
        parts += [f"{comparison.looks} looks"] if comparison.looks > 1 else []
        alone = comparison.difference.p_value
        if not comparison.told_apart and alone <= 1 - LEVEL:  # the interval, which is not corrected, leaves 0 out
            parts[-1] += f", {_p(alone)} alone"
    if comparison.test != "paired t":
        parts.append("Fisher, no pairs" if comparison.test == "Fisher" else comparison.test)
    parts.append(_count(comparison.seeds, "seed") if comparison.seeds != 1 else "1 seed: unreplicated")
    if comparison.examples is not None:
        parts.append(_count(comparison.examples, "example"))
    return ", ".join(parts)


def _by_holm(comparison: Comparison) -> bool:
    return comparison.tests > 1 and comparison.test != "max-t bootstrap"


def _needed(comparison: Comparison) -> str:
    """How many seeds or examples would be needed for a difference of that size; empty where it is not known."""
    have = comparison.examples if comparison.planned_in == "examples" else comparison.seeds
    if comparison.needed is None:
        unknown = comparison.test == "paired t" and math.isnan(comparison.difference.p_value)
        return "more seeds would be needed" if unknown else ""
    # A number no larger than there was would only say that this time luck was bad.
    needed = max(comparison.needed, (have or 0) + 1)
    if needed > 1_000_000:
        return f"more than a million {comparison.planned_in} would be needed"
    if needed >= 1000:
        needed = round(needed, 2 - len(str(needed)))
    about = "about " if needed >= 1000 else ""
    return f"{about}{needed:,} {comparison.planned_in} would be needed"


def unit(metric: str, split: str = "validation") -> tuple[float, int, str]:
    """What to multiply differences of a metric by, their usual decimals, and the words after a number."""
    entry, words = metrics.lookup(metric), _metric(metric, split)
    if entry.unit == "fraction":
        return 100.0, 1, f"points of {words}"
    return (1.0, 3, f"in {words}") if entry.unit in ("nats", "correlation") else (1.0, 1, f"in {words}")


def _metric(name: str, split: str) -> str:
    return f"{split} loss" if name == "loss" else name.replace("_", " ").replace("f1", "F1")


def _decimals(size: float, usual: int) -> int:
    """As many decimals as usual, or more where nothing would be left of a size, but no more than 6."""
    if not math.isfinite(size) or size == 0 or abs(size) >= 0.5 * 10**-usual:
        return usual
    return min(6, -math.floor(math.log10(abs(size))))


def _number(value: float, decimals: int) -> str:
    written = f"{value:.{decimals}f}"
    return (written[1:] if float(written) == 0 and written.startswith("-") else written).replace("-", "−")


def _p(value: float) -> str:
    if value < 0.001:
        return "p < 0.001"
    return f"p = {value:.3f}" if value < 0.1 else f"p = {value:.2f}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"

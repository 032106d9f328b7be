"""What a search's values say about where to look next: at the ends of its space, or not at all.

Pure functions of values; the words are `report.next_steps`'.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeGuard

import numpy as np
import numpy.typing as npt

from harness.analysis.selection import Direction, expected_best

NEAR = 0.05
"""Share of a continuous range, of its logarithm where it is searched so, that counts as its end."""
LONGEST = 512
"""Tokens: where the usual encoders end, `max_length` cannot be extended."""


class Border(NamedTuple):
    """A parameter whose best value lies at an end of what was searched.

    Attributes:
        end: low or high.
        limit: the end itself.
    """

    parameter: str
    value: float
    end: Literal["low", "high"]
    limit: float


def borders(space: Mapping[str, Any], best: Mapping[str, Any]) -> list[Border]:
    """The searched parameters whose best value lies at an end that could be moved.

    An end that is natural (nothing below 0, no count below 1) cannot be moved, and of two listed values each is an end.

    Args:
        space: parameter -> listed values, or {low, high, log, step}, as a study file writes them.
        best: parameter -> value of the best configuration.
    """
    found = []
    for name, dimension in space.items():
        value, ends = best.get(name), _ends(dimension)
        if ends is None or not _is_number(value):
            continue
        place = _place(float(value), dimension, ends)
        if place <= NEAR and not _natural_low(ends[0], dimension):
            found.append(Border(name, float(value), "low", ends[0]))
        elif place >= 1 - NEAR and not (name == "max_length" and ends[1] >= LONGEST):
            found.append(Border(name, float(value), "high", ends[1]))
    return found


def _ends(dimension: Any) -> tuple[float, float] | None:
    """The lowest and highest value of a numeric dimension; None of any other, and of one too short to have a middle."""
    if isinstance(dimension, Mapping):
        low, high = dimension.get("low"), dimension.get("high")
        return (float(low), float(high)) if _is_number(low) and _is_number(high) else None
    if isinstance(dimension, Sequence) and len(dimension) > 2 and all(_is_number(value) for value in dimension):
        return float(min(dimension)), float(max(dimension))
    return None


def _place(value: float, dimension: Any, ends: tuple[float, float]) -> float:
    """Where a value lies between the ends, 0 to 1; of listed, stepped and whole values only the ends count as ends."""
    low, high = ends
    if value in ends:
        return float(value == high)
    if not isinstance(dimension, Mapping) or dimension.get("step") is not None or _whole(dimension):
        return 0.5
    if dimension.get("log") and low > 0:
        return math.log(value / low) / math.log(high / low)
    return (value - low) / (high - low)


def _whole(dimension: Mapping[str, Any]) -> bool:
    return not dimension.get("log") and all(isinstance(dimension[end], int) for end in ("low", "high"))


def _natural_low(low: float, dimension: Any) -> bool:
    whole = all(isinstance(value, int) for value in dimension) if not isinstance(dimension, Mapping) else False
    return low <= 0 or (low <= 1 and (whole or (isinstance(dimension, Mapping) and _whole(dimension))))


def _is_number(value: Any) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


class Doubling(NamedTuple):
    """The expected best of half as many trials, and of all: what the second half of a budget was worth.

    Attributes:
        half: number of trials.
        gain: how much better the best of all is expected to be, in the metric's unit.
    """

    half: int
    gain: float


def doubling(values: npt.ArrayLike, direction: Direction) -> Doubling | None:
    """What doubling the number of trials was worth; None for fewer than eight finite values.

    Trials have to be drawn independently of each other, as random search does (see `selection.expected_best`).

    Args:
        values: the objective of each complete trial.
        direction: which way is better.
    """
    curve = expected_best(values, direction)
    if curve.size < 8:
        return None
    half = curve.size // 2
    return Doubling(half, abs(float(curve[-1] - curve[half - 1])))


def place_of_best(values: npt.ArrayLike, direction: Direction) -> int | None:
    """After how many trials the best came, counted from 1; None where no value is finite.

    Args:
        values: the objective of each trial in order, NaN where it has none.
        direction: which way is better.
    """
    signed = np.asarray(values, np.float64) * (1.0 if direction == "maximize" else -1.0)
    return int(np.nanargmax(signed)) + 1 if np.isfinite(signed).any() else None

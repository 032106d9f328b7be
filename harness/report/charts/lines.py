"""Curves as lines of an inline SVG, which a page's reader can point at: geometry only, the template writes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.ticker import MaxNLocator

from harness.report import figures
from harness.report.section import Panel

WIDTH, HEIGHT = 460, 300
LEFT, RIGHT, TOP, BOTTOM = 50, 10, 10, 34


@dataclass(frozen=True)
class Tick:
    """A mark of an axis: where it is, and what is written there."""

    place: float
    text: str


@dataclass(frozen=True)
class Line:
    """One trial's curve.

    Attributes:
        path: of an SVG `path` element.
        points: "epoch:value epoch:value", the values as they are shown.
    """

    trial: int
    path: str
    points: str


@dataclass(frozen=True)
class Lines:
    """A panel ready to be written: its lines, the best trial's last so that it lies on top, and its axes.

    Attributes:
        domain: lowest and highest epoch, lowest and highest value of the frame.
    """

    title: str
    lines: Sequence[Line]
    across: Sequence[Tick]
    up: Sequence[Tick]
    domain: tuple[float, float, float, float]


def drawn(panel: Panel) -> Lines:
    """Place a panel's curves on the paper of WIDTH x HEIGHT."""
    epochs = [epoch for points in panel.values.values() for epoch, _ in points]
    first, last = min(epochs), max(epochs)
    if first == last:
        first, last = first - 1, last + 1
    low, high = _limits([value for points in panel.values.values() for _, value in points])
    domain = (float(first), float(last), low, high)
    up = [Tick(_y(value, domain), figures.number(round(value, 10))) for value in _ticks(low, high, 6)]
    across = [Tick(_x(epoch, domain), str(epoch)) for epoch in _whole(first, last)]
    lines = [_line(trial, points, domain, panel.decimals) for trial, points in panel.values.items()]
    return Lines(panel.title, lines[::-1], across, up, domain)


def _line(trial: int, points: Sequence[tuple[int, float]], domain: tuple[float, ...], decimals: int) -> Line:
    places = [f"{_x(epoch, domain):.1f} {_y(value, domain):.1f}" for epoch, value in points]
    path = f"M{'L'.join(places)}" + ("h0" if len(places) == 1 else "")  # of no length, it is a dot by its round ends
    return Line(trial, path, " ".join(f"{epoch}:{value:.{decimals}f}" for epoch, value in points))


def _limits(values: Sequence[float]) -> tuple[float, float]:
    """The frame's ends: one exploding loss, or one bad trial of an accuracy, must not flatten all others."""
    low, high = min(values), max(values)
    lower, middle, upper = np.percentile(values, [10, 50, 90])
    high = min(high, upper + 2 * (upper - middle)) if upper > middle else high
    low = max(low, lower - 4 * (middle - lower)) if lower < middle else low
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 0.5
    return float(low - margin), float(high + margin)


def _ticks(low: float, high: float, at_most: int) -> list[float]:
    return [float(each) for each in MaxNLocator(at_most).tick_values(low, high) if low <= each <= high]


def _whole(first: int, last: int) -> list[int]:
    return [int(each) for each in MaxNLocator(7, integer=True).tick_values(first, last) if first <= each <= last]


def _x(epoch: float, domain: tuple[float, ...]) -> float:
    return LEFT + (epoch - domain[0]) / (domain[1] - domain[0]) * (WIDTH - LEFT - RIGHT)


def _y(value: float, domain: tuple[float, ...]) -> float:
    return HEIGHT - BOTTOM - (value - domain[2]) / (domain[3] - domain[2]) * (HEIGHT - TOP - BOTTOM)

"""Shares with intervals of the parts of a whole: error shares by kind of example, precision and recall by class."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.report import figures

_ROW = 0.17  # inches a row of 7-point labels


def panels(frame: pd.DataFrame, value: str, words: str, mark: float) -> Figure:
    """A panel for each kind of parts, one below the other on a shared axis in percent; first row of a kind on top.

    Args:
        frame: columns kind, part, examples, and `value` with its `_low` and `_high` as fractions.
        value: the share drawn.
        words: heading of the axis.
        mark: the share of the whole, drawn as a vertical line.
    """
    kinds = list(dict.fromkeys(frame["kind"].tolist()))
    rows = [int((frame["kind"] == kind).sum()) for kind in kinds]
    figure = figures.new(figures.DOUBLE, 0.55 + sum(_ROW * (count + 0.4) + 0.22 for count in rows))
    ratios = [count + 0.4 for count in rows]
    found = figure.subplots(len(kinds), 1, sharex=True, squeeze=False, height_ratios=ratios)[:, 0]
    for kind, axes in zip(kinds, found, strict=True):
        part = frame[frame["kind"] == kind]
        _dots(axes, part, value, figures.BLUE, "o")
        names = zip(part["part"].tolist(), part["examples"].tolist(), strict=True)
        _rows(axes, [f"{figures.label(name, 36)} (n = {int(n):,})" for name, n in names])
        axes.axvline(100 * mark, color=figures.GREY, lw=0.8, zorder=0)
        axes.set_title(figures.label(kind), loc="left", pad=3)
    found[-1].set_xlabel(words)
    return figure


def by_class(frame: pd.DataFrame, label: str, values: Mapping[str, str]) -> Figure:
    """One row a class with a mark for each of a few shares, first row on top.

    Args:
        frame: column `label` and each share with its `_low` and `_high` as fractions.
        label: column of the names.
        values: share -> legend entry.
    """
    size = 0.13 * len(values) + 0.06 if len(frame) <= 24 else 0.15
    figure = figures.new(figures.DOUBLE, 0.85 + size * max(len(frame), 2))
    axes = figure.subplots()
    step = 0.72 / len(values)
    for place, (value, words) in enumerate(values.items()):
        offset = 0.36 - step * (place + 0.5)
        colour, marker = (figures.BLUE, figures.ORANGE, figures.GREEN)[place % 3], figures.MARKERS[place]
        _dots(axes, frame, value, colour, marker, offset, words)
    _rows(axes, [figures.label(name, 40) for name in frame[label].tolist()])
    axes.set_xlabel("share with 95% interval (%)")
    figure.legend(loc="outside upper center", ncols=len(values))
    return figure


def _dots(
    axes: Axes, frame: pd.DataFrame, value: str, colour: str, marker: str, offset: float = 0.0, words: str = ""
) -> None:
    middle, low, high = (100 * frame[f"{value}{end}"].to_numpy(dtype=float) for end in ("", "_low", "_high"))
    places = np.arange(len(frame))[::-1] + offset
    axes.hlines(places, low, high, color=colour, lw=1.2)
    axes.plot(middle, places, marker, color=colour, ms=3.6, ls="", label=words)


def _rows(axes: Axes, names: list[str]) -> None:
    axes.set_yticks(np.arange(len(names))[::-1], names)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(-0.7, len(names) - 0.3)
    figures.grid(axes, "x")

"""Dots with intervals and stacked bars: speed by configuration, where time goes, importance, differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from harness.report import figures

_ROW = 0.19  # inches a row of 7-point labels


def dots(
    frame: pd.DataFrame,
    label: str,
    value: str,
    words: str,
    *,
    zero: bool = True,
    mark: float | None = None,
    width: float = figures.DOUBLE,
) -> Figure:
    """One row a thing: a dot, and its interval where `value_low` and `value_high` are given; first row on top.

    Args:
        words: heading of the axis, with the unit.
        zero: the axis starts at zero, so that lengths can be compared.
        mark: a value drawn as a vertical line.
        width: in inches.
    """
    figure = figures.new(width, 0.6 + _ROW * max(len(frame), 2))
    axes = figure.subplots()
    places = np.arange(len(frame))[::-1]
    middle = frame[value].to_numpy(dtype=float)
    if f"{value}_low" in frame and f"{value}_high" in frame:
        low, high = (frame[f"{value}{end}"].to_numpy(dtype=float) for end in ("_low", "_high"))
        axes.hlines(places, low, high, color=figures.BLUE, lw=1.4)
    axes.plot(middle, places, "o", color=figures.BLUE, ms=4)
    axes.set_yticks(places, [figures.label(text, 58) for text in frame[label]])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(-0.7, max(len(frame) - 0.3, 0.7))
    axes.set_xlabel(words)
    if zero:
        axes.set_xlim(left=0)
    if mark is not None:
        axes.axvline(mark, color=figures.GREY, lw=0.8, zorder=0)
    figures.grid(axes, "x")
    return figure


def stacked(frame: pd.DataFrame, label: str, parts: Mapping[str, str], words: str) -> Figure:
    """One bar a thing, split into parts; first row on top.

    Args:
        parts: column -> legend entry, in order from the axis outwards.
    """
    figure = figures.new(figures.DOUBLE, 0.85 + _ROW * max(len(frame), 2))
    axes = figure.subplots()
    places = np.arange(len(frame))[::-1]
    left = np.zeros(len(frame))
    colours = (figures.BLUE, figures.AMBER, figures.GREEN, figures.PINK, figures.SKY, figures.GREY, figures.BLACK)
    hatches = ("", "////", "", "....", "", "xxxx", "")
    for place, (name, words_of_part) in enumerate(parts.items()):
        length = frame[name].fillna(0).to_numpy(dtype=float)
        axes.barh(
            places, length, left=left, height=0.72, color=colours[place % 7], label=words_of_part,
            hatch=hatches[place % 7], edgecolor="white", linewidth=0.3,
        )  # fmt: skip
        left += length
    axes.set_yticks(places, [figures.label(text, 58) for text in frame[label]])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(-0.7, max(len(frame) - 0.3, 0.7))
    axes.set_xlim(left=0)
    axes.set_xlabel(words)
    figures.grid(axes, "x")
    figure.legend(loc="outside upper center", ncols=len(parts))
    return figure


def counts(
    names: Sequence[str], groups: Mapping[str, Sequence[float]], words: str, width: float = figures.SINGLE
) -> Figure:
    """Horizontal bars side by side for a few groups: rows of each label by split."""
    figure = figures.new(width, 0.85 + 0.16 * len(names) * len(groups) + 0.15)
    axes = figure.subplots()
    places = np.arange(len(names))[::-1].astype(float)
    height = 0.8 / max(len(groups), 1)
    for place, (group, values) in enumerate(groups.items()):
        offset = 0.4 - height * (place + 0.5)
        colour = (figures.BLUE, figures.AMBER, figures.GREEN)[place % 3]
        axes.barh(places + offset, list(values), height=height * 0.92, color=colour, label=group)
    axes.set_yticks(places, [figures.label(name, 24) for name in names])
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(words)
    figures.grid(axes, "x")
    if len(groups) > 1:
        figure.legend(loc="outside upper center", ncols=len(groups))
    return figure


def against(frame: pd.DataFrame, label: str, value: str, bound: str, words: str) -> Figure:
    """Dots beside a bound drawn as a short line: a value counts where the dot lies beyond its line."""
    figure = figures.new(figures.DOUBLE, 0.6 + 0.24 * max(len(frame), 2))
    axes = figure.subplots()
    places = np.arange(len(frame))[::-1]
    beyond = frame[value].to_numpy(dtype=float) > frame[bound].to_numpy(dtype=float)
    axes.barh(places, frame[bound], height=0.5, color="#e4e4e4", label="by chance")
    axes.plot(frame[bound], places, "|", color=figures.GREY, ms=10)
    axes.plot(frame[value][beyond], places[beyond], "o", color=figures.ORANGE, ms=5, label="beyond chance")
    axes.plot(frame[value][~beyond], places[~beyond], "o", color=figures.BLUE, mfc="white", ms=5, label="within chance")
    axes.set_yticks(places, [figures.label(text, 40) for text in frame[label]])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(-0.7, max(len(frame) - 0.3, 0.7))
    axes.set_xlim(left=-0.02 * float(max(frame[value].max(), frame[bound].max())))
    axes.set_xlabel(words)
    figures.grid(axes, "x")
    figure.legend(loc="outside upper center", ncols=3)
    return figure

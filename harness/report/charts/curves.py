"""Curves of training and validation loss, one small panel a trial, and the heat map of the gap."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, Normalize, TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from harness.report import cells, figures

_ROW_INCHES = 1.25


def small_multiples(epochs: pd.DataFrame, trials: Sequence[int], titles: Mapping[int, str]) -> Figure:
    """Loss by epoch, one panel a trial with the same limits, with the epoch of the lowest validation loss marked.

    Args:
        epochs: columns trial, epoch, train_loss, validation_loss.
        trials: which to draw, in order.
        titles: a panel's heading by trial.
    """
    across = min(5, max(len(trials), 1)) if len(trials) > 3 else max(len(trials), 1)
    down = -(-len(trials) // across)
    figure = figures.new(figures.DOUBLE if across > 1 else figures.SINGLE, 0.45 + max(down * _ROW_INCHES, 1.6))
    panels = figure.subplots(down, across, squeeze=False)  # matplotlib looks through all axes that share at every step
    epochs = epochs[epochs["trial"].isin(list(trials))]
    by_trial = dict(list(epochs.groupby("trial")))
    for trial, axes in zip(trials, panels.flat, strict=False):
        _panel(axes, by_trial.get(trial, epochs.iloc[:0]))
        axes.set_title(titles.get(trial, f"trial {trial}"), loc="left", pad=2)
        _limit(axes, epochs)
        figures.whole_numbers(axes, at_most=5)
        axes.label_outer()
    for axes in list(panels.flat)[len(trials) :]:
        axes.set_axis_off()
        # The panel above a missing one carries the tick labels of its column.
    for place in range(across):
        lowest = panels[(len(trials) - 1 - place) // across][place] if place < len(trials) else None
        if lowest is not None:
            lowest.xaxis.set_tick_params(labelbottom=True)
    figure.supxlabel("epoch", fontsize=7.5)
    figure.supylabel("loss", fontsize=7.5)
    figure.legend(handles=_legend(), loc="outside upper center", ncols=3)
    return figure


def _panel(axes: Axes, curve: pd.DataFrame) -> None:
    curve = curve.sort_values("epoch")
    few = len(curve) <= 12
    axes.plot(curve["epoch"], curve["train_loss"], color=figures.BLUE, ls="--", marker="o" if few else "", ms=2.5)
    axes.plot(curve["epoch"], curve["validation_loss"], color=figures.ORANGE, marker="s" if few else "", ms=2.5)
    figures.grid(axes)
    finite = curve.dropna(subset=["validation_loss"])
    if len(finite):
        best = finite.iloc[int(finite["validation_loss"].to_numpy(dtype=float).argmin())]
        axes.axvline(best["epoch"], color=figures.GREY, lw=0.7, zorder=0)
        axes.plot(best["epoch"], best["validation_loss"], "o", ms=6.5, mfc="none", mec=figures.BLACK, mew=0.9)
    else:
        axes.text(0.5, 0.5, "no finite loss", transform=axes.transAxes, ha="center", va="center", color=figures.GREY)


def _limit(axes: Axes, drawn: pd.DataFrame) -> None:
    """Keep one exploding trial from flattening all others: the axis ends at thrice the 90th percentile."""
    losses = drawn[["train_loss", "validation_loss"]].to_numpy(dtype=float).ravel()
    losses = losses[np.isfinite(losses)]
    if len(losses):
        top = min(float(losses.max()), 3 * float(np.percentile(losses, 90)))
        low = min(float(losses.min()), 0.0) if losses.min() < 0.25 * top else float(losses.min())
        margin = 0.08 * (top - low) or 0.1
        axes.set_ylim(low - margin, top + margin)
    if len(drawn):
        first, last = float(drawn["epoch"].min()), float(drawn["epoch"].max())
        margin = 0.05 * (last - first) or 0.05
        axes.set_xlim(first - margin, last + margin)


def _legend() -> list[Line2D]:
    return [
        Line2D([], [], color=figures.BLUE, ls="--", marker="o", ms=3, label="training"),
        Line2D([], [], color=figures.ORANGE, marker="s", ms=3, label="validation"),
        Line2D([], [], color=figures.BLACK, ls="", marker="o", mfc="none", ms=6, label="lowest validation loss"),
    ]


def overlay(epochs: pd.DataFrame, names: Mapping[str, str]) -> Figure:
    """Validation loss (solid) and training loss (thin, dashed) of a few trials in one panel.

    Args:
        epochs: columns trial (any key), epoch, train_loss, validation_loss.
        names: legend entry by key, in order.
    """
    figure = figures.new(figures.DOUBLE, 2.6 + 0.15 * len(names))
    axes = figure.subplots()
    for place, (key, name) in enumerate(names.items()):
        curve = epochs[epochs["trial"] == key].sort_values("epoch")
        colour, marker = figures.COLOURS[place % 7], figures.MARKERS[place % 7]
        axes.plot(curve["epoch"], curve["validation_loss"], color=colour, marker=marker, label=name)
        axes.plot(curve["epoch"], curve["train_loss"], color=colour, ls="--", lw=0.8, marker=marker, ms=2, alpha=0.8)
    figures.grid(axes)
    figures.whole_numbers(axes, at_most=10)
    axes.set_xlabel("epoch")
    axes.set_ylabel("loss (validation solid, training dashed)")
    figure.legend(loc="outside upper left")
    return figure


def heat_map(wide: pd.DataFrame, words: str, signed: bool = True) -> Figure:
    """A value over two parameters: each cell is labelled with its number, cells without a trial stay empty.

    Args:
        wide: values; index and columns are the parameters' values and bear their names.
        words: heading of the colour bar.
        signed: colours diverge from zero.
    """
    wide = wide.iloc[::-1]
    grid = np.ma.masked_invalid(wide.to_numpy(dtype=float))
    across = [figures.label(_tick(value), 20) for value in wide.columns]
    down = [figures.label(_tick(value), 24) for value in wide.index]
    narrow = len(across) <= 4 and max(len(text) for text in across) <= 8
    long = sum(len(text) + 2 for text in across) > (28 if narrow else 72)
    figure = figures.new(figures.SINGLE if narrow else figures.DOUBLE, 0.9 + 0.34 * len(down) + (0.35 if long else 0))
    axes = figure.subplots()
    norm, colours = _norm(grid, signed)
    mesh = axes.pcolormesh(grid, cmap=colours, norm=norm, edgecolors="white", linewidth=1)
    axes.set_facecolor("#eeeeee")
    decimals = 2 if grid.count() == 0 or float(np.ma.max(np.ma.abs(grid))) >= 0.1 else 4
    for (row, place), number in np.ndenumerate(wide.to_numpy(dtype=float)):
        if np.isfinite(number):
            dark = sum(colours(float(norm(number)))[:3]) < 1.5
            text = cells.signed(number, decimals) if signed else f"{number:.{decimals}f}"
            axes.text(place + 0.5, row + 0.5, text, ha="center", va="center", color="white" if dark else "black")
    axes.set_xticks(np.arange(len(across)) + 0.5, across, rotation=20 if long else 0, ha="right" if long else "center")
    axes.set_yticks(np.arange(len(down)) + 0.5, down)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_xlabel(figures.label(wide.columns.name or ""))
    axes.set_ylabel(figures.label(wide.index.name or ""))
    figure.colorbar(mesh, ax=axes, label=words, shrink=0.9, pad=0.02)
    return figure


def _norm(grid: np.ma.MaskedArray, signed: bool) -> tuple[Normalize, LinearSegmentedColormap]:
    low, high = (float(grid.min()), float(grid.max())) if grid.count() else (0.0, 1.0)
    if signed:
        span = max(abs(low), abs(high), 1e-9)
        ends = [figures.BLUE, "#f7f7f7", figures.ORANGE]
        return TwoSlopeNorm(0.0, -span, span), LinearSegmentedColormap.from_list("gap", ends)
    ends = ["#f7f7f7", figures.BLUE]
    return Normalize(low, high if high > low else low + 1), LinearSegmentedColormap.from_list("value", ends)


def _tick(value: object) -> str:
    if isinstance(value, int | float):
        return figures.number(value)
    return re.sub(r"e-0(\d)", r"e-\1", str(value))  # ranges come as "1e-05 to 2e-05"

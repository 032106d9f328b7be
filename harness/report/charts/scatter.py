"""Points and steps: quality against time with its front, the history of a search, learning curves, doublings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from harness.report import figures

_DRAWN_AS_POINTS = 2000  # beyond as many, an SVG holds a picture of the points instead of each one


def front(frame: pd.DataFrame, x: str, y: str, on_front: str, x_words: str, y_words: str, names: str) -> Figure:
    """Points with the Pareto front drawn through the best; points on the front are labelled.

    Args:
        on_front: boolean column.
        names: column with a point's short label.
    """
    figure = figures.new(figures.DOUBLE, 2.9)
    axes = figure.subplots()
    chosen = frame[frame[on_front].astype(bool)].sort_values(x)
    others = frame[~frame[on_front].astype(bool)]
    many = len(others) > _DRAWN_AS_POINTS
    axes.plot(others[x], others[y], "o", color=figures.GREY, mfc="none", ms=4, label="others", rasterized=many)
    axes.plot(chosen[x], chosen[y], "s-", color=figures.ORANGE, ms=4.5, lw=0.9, label="Pareto front")
    names_at: dict[tuple[float, float], list[str]] = {}
    for row in chosen.to_dict("records"):
        names_at.setdefault((float(row[x]), float(row[y])), []).append(str(row[names]))
    for place, (point, those) in enumerate(list(names_at.items())[:12]):
        # Labels alternate above and below, since neighbours on a front lie close.
        offset = (3, -9 if place % 2 else 5)
        text = figures.label(", ".join(those), 26)
        axes.annotate(text, point, xytext=offset, textcoords="offset points", fontsize=7)
    axes.margins(x=0.12, y=0.15)
    axes.set_xlabel(x_words)
    axes.set_ylabel(y_words)
    figures.grid(axes, "both")
    figure.legend(loc="outside upper center", ncols=2)
    return figure


def history(
    frame: pd.DataFrame,
    best: str,
    words: str,
    failed: Sequence[int] = (),
    counted: str = "trial",
    width: float = figures.DOUBLE,
) -> Figure:
    """The objective of every trial in order, and the best so far as a step line.

    Args:
        frame: columns trial, objective, state and `best`, the best so far.
        failed: trials without a value, marked on the axis.
        counted: what is counted along the axis.
        width: in inches.
    """
    figure = figures.new(width, 2.4)
    axes = figure.subplots()
    many = len(frame) > _DRAWN_AS_POINTS
    states = (("complete", "o", figures.BLUE), ("pruned", "^", figures.PINK), ("partial", "v", figures.GREY))
    for state, marker, colour in states:
        chosen = frame[frame["state"] == state]
        if len(chosen):
            x, y, size = chosen["trial"], chosen["objective"], 1 if many else 4
            axes.plot(x, y, marker, color=colour, ms=size, ls="", label=state, rasterized=many)
    axes.plot(frame["trial"], frame[best], color=figures.ORANGE, drawstyle="steps-post", label="best so far")
    if len(failed):
        across = axes.get_xaxis_transform()
        low = [0.03] * len(failed)
        style: dict[str, Any] = {"color": figures.BLACK, "ls": "", "label": "pruned or failed", "rasterized": many}
        axes.plot(list(failed), low, "x", transform=across, **style)
    figures.whole_numbers(axes, at_most=10)
    axes.set_xlabel(counted)
    axes.set_ylabel(words)
    figures.grid(axes)
    figure.legend(loc="outside upper center", ncols=4 if width > figures.SINGLE else 3)
    return figure


def lines(frame: pd.DataFrame, x: str, y: str, group: str, x_words: str, y_words: str) -> Figure:
    """One line a group over a logarithmic x axis, with intervals where `y_low` and `y_high` are given."""
    figure = figures.new(figures.SINGLE, 2.5)
    axes = figure.subplots()
    for place, (name, rows) in enumerate(frame.groupby(group, sort=True)):
        rows = rows.sort_values(x)
        colour, marker = figures.COLOURS[place % 7], figures.MARKERS[place % 7]
        axes.plot(rows[x], rows[y], color=colour, marker=marker, ls=figures.LINES[place % 7], label=figures.label(name))
        if f"{y}_low" in rows and f"{y}_high" in rows:
            low, high = (rows[f"{y}{end}"].to_numpy(dtype=float) for end in ("_low", "_high"))
            axes.vlines(rows[x], low, high, color=colour, lw=0.9)
    figures.log_axis(axes, "x", sorted(float(value) for value in np.unique(frame[x])))
    axes.set_xlabel(x_words)
    axes.set_ylabel(y_words)
    figures.grid(axes)
    if frame[group].nunique() > 1:
        figure.legend(loc="outside upper center", ncols=2)
    return figure

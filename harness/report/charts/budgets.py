"""Scores over what was spent, as steps, and Pareto fronts of the score against several costs side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from harness.report import figures

_LONG = 20_000
_LABELS = 8  # points of a front that bear their names


class Panel(NamedTuple):
    """One amount along the x axis.

    Attributes:
        words: of the axis.
        rows: columns configuration, budget, value.
        marks: budgets at which all are compared.
    """

    words: str
    rows: pd.DataFrame
    marks: Sequence[float]

    def in_thousands(self) -> Panel:
        """The same with shorter numbers along the axis, where they are long."""
        if self.rows["budget"].max() < _LONG:
            return self
        rows = self.rows.assign(budget=self.rows["budget"] / 1000)
        return Panel(f"{self.words}, thousands", rows, [mark / 1000 for mark in self.marks])


def over_budget(panels: Sequence[Panel], names: Mapping[int, str], words: str) -> Figure:
    """The score that each configuration had reached by a budget: named ones in colour, the others grey.

    Args:
        panels: side by side, with one axis of scores.
        names: configuration -> legend entry, of at most 7.
        words: of the score.
    """
    figure = figures.new(figures.DOUBLE, 2.5 + 0.13 * len(names))
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for place, (drawn, panel) in enumerate(zip(axes, panels, strict=True)):
        for number, rows in panel.rows.groupby("configuration"):
            if number not in names:
                drawn.plot(rows["budget"], rows["value"], color="#cccccc", lw=0.8, drawstyle="steps-post", zorder=1)
        for style, (number, name) in enumerate(names.items()):
            rows = panel.rows[panel.rows["configuration"] == number]
            look = {"color": figures.COLOURS[style], "ls": figures.LINES[style], "marker": figures.MARKERS[style]}
            drawn.plot(rows["budget"], rows["value"], drawstyle="steps-post", label=name if not place else "", **look)
        for mark in panel.marks:
            drawn.axvline(mark, color=figures.GREY, lw=0.7, ls=":", zorder=0)
        _axis(drawn, panel.words)
    axes[0].set_ylabel(words)
    figure.legend(loc="outside upper left", ncols=1 if max(map(len, names.values()), default=0) > 45 else 2)
    return figure


def fronts(frame: pd.DataFrame, y: str, costs: Mapping[str, str], names: str, words: str) -> Figure:
    """The score against each cost with its Pareto front drawn as steps through the points that none beats.

    Args:
        frame: one row a configuration; the boolean column `front of COST` for each cost.
        y: column of the score.
        costs: column -> words of its axis.
        names: column with a point's short label.
        words: of the score.
    """
    figure = figures.new(figures.DOUBLE if len(costs) > 1 else figures.SINGLE, 2.5)
    axes = figure.subplots(1, len(costs), sharey=True, squeeze=False)[0]
    for drawn, (cost, title) in zip(axes, costs.items(), strict=True):
        known = frame.dropna(subset=[cost, y])
        on = known[f"front of {cost}"].astype(bool)
        others, chosen = known[~on], known[on].sort_values(cost)
        drawn.plot(others[cost], others[y], "o", color=figures.GREY, mfc="none", ms=4)
        drawn.plot(chosen[cost], chosen[y], "s-", color=figures.ORANGE, ms=4.5, lw=0.9, drawstyle="steps-post")
        look = {"xytext": (-5, 0), "textcoords": "offset points", "ha": "right", "va": "center", "fontsize": 7}
        for row in chosen.head(_LABELS).to_dict("records"):  # no step comes from the left at a point's own height
            drawn.annotate(figures.label(row[names], 12), (row[cost], row[y]), **look)
        drawn.margins(x=0.15, y=0.15)
        _axis(drawn, title, from_zero=False)
    axes[0].set_ylabel(words)
    return figure


def _axis(axes: Axes, words: str, from_zero: bool = True) -> None:
    if from_zero:
        axes.set_xlim(left=0)
    axes.locator_params(axis="x", nbins=5)
    axes.xaxis.set_major_formatter(FuncFormatter(figures.number))
    axes.set_xlabel(words)
    figures.grid(axes, "both")

"""The reliability diagram: how often answers are right against how sure they are, and how many there are."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from harness.report import figures

FEW = 10
"""Examples below which a bin's mark is hollow."""


def diagrams(frames: Mapping[str, pd.DataFrame], words: str) -> Figure:
    """One diagram a way of cutting the bins, side by side, each above the number of examples in its bins.

    Args:
        frames: heading -> a frame made by `analysis.calibration.reliability`.
        words: heading of the upright axis, such as "right (%)".
    """
    figure = figures.new(figures.DOUBLE, 3.9)
    panels = figure.subplots(2, len(frames), sharex=True, sharey="row", squeeze=False, height_ratios=[3, 1])
    for (heading, frame), axes, below in zip(frames.items(), panels[0], panels[1], strict=True):
        _diagram(axes, frame)
        axes.set_title(heading)
        _counts(below, frame)
    panels[0][0].set_ylabel(words)
    panels[1][0].set_ylabel("examples")
    for below in panels[1]:
        below.set_xlabel("probability of the answer given (%)")
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3)
    return figure


def _diagram(axes: Axes, frame: pd.DataFrame) -> None:
    axes.plot([0, 100], [0, 100], ls="--", color=figures.GREY, lw=0.9, label="perfectly calibrated", zorder=1)
    found = frame[frame["examples"] > 0]
    axes.vlines(100 * found["confidence"], 100 * found["right_low"], 100 * found["right_high"], color=figures.BLUE,
                lw=1.1, label="95% Wilson interval")  # fmt: skip
    many, few = found[found["examples"] >= FEW], found[found["examples"] < FEW]
    axes.plot(100 * many["confidence"], 100 * many["right"], "o", color=figures.BLUE, ms=4, label="bin")
    axes.plot(100 * few["confidence"], 100 * few["right"], "o", color=figures.BLUE, mfc="white", ms=4)
    axes.set_xlim(0, 101)
    axes.set_ylim(-1, 101)
    figures.grid(axes, "both")


def _counts(axes: Axes, frame: pd.DataFrame) -> None:
    low, high = 100 * frame["low"], 100 * frame["high"]
    axes.bar(low, frame["examples"], width=high - low, align="edge", color=figures.SKY, edgecolor="white", lw=0.4)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=3, integer=True))
    figures.grid(axes)

"""The data map: how surely examples were answered over the epochs against how much that changed."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure

from harness.report import figures

_AS_POINTS = 2000  # examples beyond which an SVG holds a picture of them


def panels(maps: Mapping[str, pd.DataFrame]) -> Figure:
    """One panel a split: a mark an example, by whether always, sometimes or never right.

    Args:
        maps: heading -> a frame made by `analysis.examples.data_map`.
    """
    figure = figures.new(figures.DOUBLE, 3.0)
    row = figure.subplots(1, len(maps), sharex=True, sharey=True, squeeze=False)[0]
    for axes, (heading, frame) in zip(row, maps.items(), strict=True):
        always, never = frame["right_share"] == 1, frame["right_share"] == 0
        kinds = (
            ("right at times", ~always & ~never, "s", figures.GREY),
            ("always right", always, "o", figures.BLUE),
            ("never right", never, "x", figures.ORANGE),
        )
        for name, chosen, marker, colour in kinds:
            x, y = frame.loc[chosen, "variability"], 100 * frame.loc[chosen, "confidence"]
            many = len(frame) > _AS_POINTS
            size = 2 if many else 3
            axes.plot(x, y, marker, color=colour, mfc="none", ms=size, ls="", label=name, rasterized=many)
        axes.set_title(f"{heading} (n = {len(frame):,})")
        axes.set_xlabel("standard deviation over the epochs")
        axes.set_ylim(-3, 103)
        figures.grid(axes, "both")
    row[0].set_ylabel("mean probability (%)")
    handles, labels = row[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3)
    return figure

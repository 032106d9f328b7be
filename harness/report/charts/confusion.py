"""Which class was taken for which: right answers in blue, errors in orange, darker for a larger share of the row."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LinearSegmentedColormap, PowerNorm
from matplotlib.figure import Figure

from harness.report import figures

AT_MOST = 50
WITH_SHARES, WITH_COUNTS = 8, 24  # classes up to which a cell has room for them
_PAPER = "#f7f7f7"


def matrix(counts: npt.NDArray[np.int64], names: Sequence[str]) -> Figure:
    """One row a gold class, one column a predicted one; with few classes each cell tells its count and share.

    Args:
        counts: of (gold, predicted), shape (labels, labels), at most AT_MOST labels.
        names: of the labels.
    """
    size = len(names)
    cell = 0.52 if size <= WITH_SHARES else 0.215 if size <= WITH_COUNTS else 0.105
    font = 7.0 if size <= WITH_SHARES else 6.0 if size <= WITH_COUNTS else 4.6
    labels = [figures.label(name, 18 if size > WITH_SHARES else 24) for name in names]
    room = 0.055 * font / 7 * max(len(text) for text in labels)
    upright = size > WITH_SHARES or max(len(text) for text in labels) > 8
    width = min(figures.DOUBLE, max(2.4, 1.3 + room + cell * size))
    figure = figures.new(width, 0.75 + (room if upright else 0.15) + cell * size)
    axes = figure.subplots()
    total = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, total, out=np.zeros(counts.shape), where=total > 0)
    _colour(axes, shares, figure if size > WITH_SHARES else None)
    if size <= WITH_COUNTS:
        _write(axes, counts, shares, font, with_shares=size <= WITH_SHARES)
    places = np.arange(size) + 0.5
    across = {"rotation": 90} if size > WITH_SHARES else {"rotation": 30, "ha": "right"} if upright else {}
    axes.set_xticks(places, labels, fontsize=font, **across)
    axes.set_yticks(places, labels, fontsize=font)
    axes.tick_params(length=0, pad=1.5)
    axes.invert_yaxis()
    axes.set_aspect("equal")
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("gold class")
    return figure


def _colours(dark: str) -> Colormap:
    return LinearSegmentedColormap.from_list("share", [_PAPER, dark])


def _colour(axes: Axes, shares: npt.NDArray[np.float64], figure: Figure | None) -> None:
    """Colour the cells; with a figure the scale of the errors stands beside them."""
    norm = PowerNorm(0.5, 0, 100)  # the root lets a few percent be seen
    diagonal = np.eye(len(shares), dtype=bool)
    for chosen, dark in ((diagonal, figures.BLUE), (~diagonal, figures.ORANGE)):
        shown = np.ma.masked_where(~chosen, 100 * shares)
        mesh = axes.pcolormesh(shown, cmap=_colours(dark), norm=norm, edgecolors="white", linewidth=0.4)
    if figure is not None:
        bar = figure.colorbar(mesh, ax=axes, shrink=0.5, pad=0.02, aspect=25, ticks=[0, 1, 5, 20, 50, 100])
        bar.set_label("taken for another class (% of the row)")
        bar.outline.set_visible(False)


def _write(
    axes: Axes, counts: npt.NDArray[np.int64], shares: npt.NDArray[np.float64], font: float, with_shares: bool
) -> None:
    for (row, column), count in np.ndenumerate(counts):
        if count == 0:
            continue
        share = float(shares[row, column])
        text = f"{count:,}\n{100 * share:.0f}%" if with_shares else f"{count:,}"
        # The darker half of blue and of orange needs light letters; the colour follows the root of the share.
        ink = "white" if share**0.5 > (0.62 if row == column else 0.72) else "black"
        axes.text(column + 0.5, row + 0.5, text, ha="center", va="center", color=ink, fontsize=font)

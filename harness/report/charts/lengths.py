"""Histograms of token lengths with the max_lengths of a search marked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.jobs import TokenLengths
from harness.report import figures


def histograms(found: Sequence[TokenLengths], recommended: Mapping[str, int]) -> Figure:
    """One panel a model and split, on a shared axis of tokens."""
    figure = figures.new(figures.DOUBLE, 0.5 + 1.15 * len(found))
    panels = figure.subplots(len(found), 1, sharex=True, squeeze=False)
    for lengths, axes in zip(found, panels.flat, strict=True):
        _panel(axes, lengths, recommended.get(lengths.model))
        name = figures.label(f"{lengths.model}, {lengths.split}: {lengths.examples:,} examples", 70)
        axes.text(0.99, 0.9, name, transform=axes.transAxes, ha="right", va="top")
    panels[-1][0].set_xlabel("tokens")
    figure.supylabel("examples", fontsize=7.5)
    return figure


def _panel(axes: Axes, lengths: TokenLengths, recommended: int | None) -> None:
    for low, high, examples in lengths.histogram:
        axes.bar(low, examples, width=high - low + 1, align="edge", color=figures.BLUE, edgecolor="white", lw=0.4)
    across = axes.get_xaxis_transform()
    for cut in lengths.truncation:
        chosen = cut.max_length == recommended
        axes.axvline(cut.max_length, color=figures.ORANGE if chosen else figures.BLACK, lw=1.1 if chosen else 0.7,
                     ls="--" if chosen else "-")  # fmt: skip
        axes.text(cut.max_length, 1.0, f"{cut.max_length}", transform=across, ha="center", va="bottom", fontsize=7)
    figures.grid(axes)

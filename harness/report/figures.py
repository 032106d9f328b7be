"""The look of every figure, and how figures become files.

Figures are made without pyplot, so that nothing is left open; the same frames give the same bytes. Widths are those
of a paper's column; colours are Okabe and Ito's, and line styles and markers differ too.
"""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import matplotlib
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

SINGLE, DOUBLE = 3.3, 6.9  # inches: one column of a paper, two columns

BLUE, ORANGE, GREEN, PINK = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
AMBER, SKY, YELLOW, BLACK, GREY = "#E69F00", "#56B4E9", "#F0E442", "#1a1a1a", "#8c8c8c"
COLOURS = (BLUE, ORANGE, GREEN, PINK, AMBER, SKY, BLACK)
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)))

_STYLE: dict[str, Any] = {
    "font.family": ["DejaVu Sans"],
    "font.size": 7.5,
    "axes.titlesize": 7.5,
    "axes.labelsize": 7.5,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.edgecolor": "#444444",
    "axes.axisbelow": True,
    "axes.grid": False,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "lines.linewidth": 1.2,
    "lines.markersize": 3.5,
    "figure.facecolor": "white",
    "figure.dpi": 100,
    "savefig.dpi": 200,
    "svg.fonttype": "path",
    "svg.hashsalt": "harness",
    "pdf.fonttype": 42,  # TrueType: publishers refuse Type 3
    "text.parse_math": False,  # a name with dollar signs is a name
    "axes.formatter.use_mathtext": False,
}


@contextmanager
def style() -> Iterator[None]:
    """The style, for as long as the block lasts; sections draw and files are written inside it."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        for name, value in _STYLE.items():
            matplotlib.rcParams[name] = value  # type: ignore[index]
        yield


def new(width: float = DOUBLE, height: float = 2.4) -> Figure:
    """An empty figure in inches, laid out by constraints, belonging to no window."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


@lru_cache(maxsize=1)
def _charmap() -> frozenset[int]:
    return frozenset(FT2Font(font_manager.findfont("DejaVu Sans")).get_charmap())


def label(text: object, width: int = 40) -> str:
    """Foreign text made fit for a figure: one line, no control characters, shortened, only glyphs that exist."""
    line = " ".join(str(text).split())
    line = "".join(c for c in line if unicodedata.category(c) not in ("Cc", "Cf", "Cs"))
    line = "".join(c if ord(c) in _charmap() else "□" for c in line)
    return line if len(line) <= width else line[: width - 1] + "…"


def number(value: float, _position: int | None = None) -> str:
    """A tick label: plain digits, an exponent only where digits would not fit."""
    if value == 0:
        return "0"
    if 1e-3 <= abs(value) < 1e5:
        return f"{value:g}"
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}"


def whole_numbers(axes: Axes, at_most: int = 6) -> None:
    """Ticks of the x axis at whole numbers only: epochs, trials."""
    axes.xaxis.set_major_locator(MaxNLocator(nbins=at_most, integer=True, min_n_ticks=1))


def log_axis(axes: Axes, which: str, ticks: list[float] | None = None) -> None:
    """A logarithmic axis with plain numbers as labels, at the values tried when those are few."""
    axis: Axis = axes.xaxis if which == "x" else axes.yaxis
    if which == "x":
        axes.set_xscale("log")
    else:
        axes.set_yscale("log")
    if ticks and len(ticks) <= 6:
        axis.set_major_locator(FixedLocator(ticks))
    else:
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=7))
    axis.set_major_formatter(FuncFormatter(number))
    axis.set_minor_locator(NullLocator())


def grid(axes: Axes, which: str = "y") -> None:
    """Light lines behind the data, along the axis that is read off."""
    axes.grid(True, axis=which)  # type: ignore[arg-type]


def svg(figure: Figure) -> bytes:
    """The figure as SVG, without date or maker."""
    return _saved(figure, format="svg", metadata={"Date": None, "Creator": None})


def pdf(figure: Figure) -> bytes:
    """The figure as PDF with its fonts inside, without date or maker."""
    return _saved(figure, format="pdf", metadata={"CreationDate": None, "Creator": None, "Producer": None})


def png(figure: Figure, dpi: int = 200) -> bytes:
    """The figure as PNG, without the maker's name."""
    return _saved(figure, format="png", dpi=dpi, metadata={"Software": None})


def _saved(figure: Figure, **how: Any) -> bytes:
    buffer = io.BytesIO()
    with style():
        figure.savefig(buffer, **how)
    figure.set_layout_engine("none")  # laid out by now; its other files need not find the same places again
    return buffer.getvalue()

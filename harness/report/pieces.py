"""A section as built: its content drawn and written out, or in words why there is none.

Page, notebook and files are made of pieces. One failing section costs that section only.
"""

from __future__ import annotations

import base64
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from matplotlib.figure import Figure

from harness.report import figures, marks, tables
from harness.report.charts import lines
from harness.report.section import Content, Curves, Section, Table
from harness.report.study_frames import StudyFrames

_LARGEST_SVG = 400_000  # bytes; beyond that a page carries the PNG
_PIXELS_PER_INCH = 120  # a figure of two columns fills the page's text width


@dataclass(frozen=True)
class Drawn:
    """A figure with its files' bytes, each made once."""

    name: str
    caption: str
    figure: Figure

    @cached_property
    def svg(self) -> bytes:
        """As SVG."""
        return figures.svg(self.figure)

    @cached_property
    def png(self) -> bytes:
        """As PNG."""
        return figures.png(self.figure)

    @property
    def uri(self) -> str:
        """For an `img` element, where no script of an SVG can run; PNG where the SVG would be large."""
        kind, data = ("svg+xml", self.svg) if len(self.svg) <= _LARGEST_SVG else ("png", self.png)
        return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"

    @property
    def width(self) -> int:
        """Width on the page in pixels."""
        return round(float(self.figure.get_figwidth()) * _PIXELS_PER_INCH)

    def save(self, folder: Path) -> list[Path]:
        """Write PNG and SVG; returns their paths."""
        folder.mkdir(parents=True, exist_ok=True)
        paths = [folder / f"{self.name}.png", folder / f"{self.name}.svg"]
        for path, data in zip(paths, (self.png, self.svg), strict=True):
            path.write_bytes(data)
        return paths


@dataclass(frozen=True)
class Piece:
    """One section of one report.

    Attributes:
        failure: what went wrong while it was built; empty when nothing did.
    """

    name: str
    title: str
    content: Content = field(default_factory=Content)
    drawn: Sequence[Drawn] = ()
    tables: Sequence[tuple[Table, tables.Shown]] = ()
    curves: Sequence[tuple[Curves, Sequence[lines.Lines]]] = ()
    failure: str = ""

    @property
    def empty(self) -> bool:
        """The section has nothing to do with this study: neither content nor failure. Reports leave it out."""
        said = self.content
        shown = said.drawings or said.shadings or said.tables or said.curves or said.groups
        return not (self.failure or said.findings or said.facts or shown or said.notes)


def piece(name: str, title: str, content: Content) -> Piece:
    """Draw and write out what a section says."""
    drawn = [Drawn(each.name, each.caption, each.figure) for each in content.drawings]
    for each in drawn:
        _ = each.png  # here, so that a figure that cannot be drawn fails its own section
    shown = [(each, tables.show(each.frame, each.once)) for each in content.tables]
    curves = [(each, [lines.drawn(panel) for panel in each.panels]) for each in content.curves]
    return Piece(name, title, content, drawn, shown, curves)


def guarded(name: str, title: str, say: Callable[[], Content]) -> Piece:
    """Build what `say` says; whatever goes wrong becomes the piece's failure, in words."""
    try:
        with figures.style():
            return piece(name, title, say())
    except Exception as error:  # a report is read in the morning: the other sections have to be there
        return Piece(name, title, failure=explain(error))


def assemble(section: Section, frames: StudyFrames) -> Piece:
    """Build one section; in its tables the scores of a single seed are marked."""
    return guarded(section.name, section.title, lambda: marks.marked(frames, section.build(frames)))


def explain(error: BaseException) -> str:
    """The error in one line: kind, message and the line of code that raised it, without this machine's folders."""
    stack = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(stack[-1].filename).name}:{stack[-1].lineno} in {stack[-1].name})" if stack else ""
    return f"{type(error).__name__}: {' '.join(str(error).split())}{where}"

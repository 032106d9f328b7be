"""The section contract: a report is a list of sections, one file each below `sections/`.

A section asks `analysis` for frames and says what they show. Page, notebook and table files are made from the
same `Content`, so they cannot disagree.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

from harness.report.shades import Marked
from harness.report.study_frames import StudyFrames


@dataclass(frozen=True)
class Drawing:
    """A figure of a section.

    Attributes:
        name: file name without its ending: lower case letters, digits and hyphens.
        figure: made by `figures.new`.
        caption: what is shown, for which trials, with what caveat.
    """

    name: str
    figure: Figure
    caption: str


@dataclass(frozen=True)
class Table:
    """A table of a section; the CSV keeps raw values, the other forms are made for readers by `tables`.

    Attributes:
        name: file name without its ending, as a drawing's.
        frame: raw values under the record's column names.
        caption: what is shown, for which trials, with what caveat.
        once: for each row whether its scores rest on one seed, so that they are marked; empty where rows are no trials.
    """

    name: str
    frame: pd.DataFrame
    caption: str
    once: Sequence[bool] = ()


@dataclass(frozen=True)
class Shading:
    """Texts of a section whose words are shaded.

    Attributes:
        name: of the element, as a drawing's.
        texts: with their words; nothing of them is taken for markup.
        caption: what is shown, for which trials, with what caveat.
    """

    name: str
    texts: Sequence[Marked]
    caption: str


@dataclass(frozen=True)
class Panel:
    """Values by epoch in one frame.

    Attributes:
        title: what the values are, with their unit.
        values: trial -> (epoch, value) in order, finite ones only.
        decimals: of a value as it is shown.
    """

    title: str
    values: Mapping[int, Sequence[tuple[int, float]]]
    decimals: int


@dataclass(frozen=True)
class Curves:
    """Trials that a reader can point at in panels and choose in the table beside them, to be compared.

    Attributes:
        name: of the element, as a drawing's.
        study: that the trials are of, for the command that compares them.
        table: name of the table whose first column numbers the trials.
        trials: number -> what sets it apart, the best first.
        caption: what is shown, for which trials, with what caveat.
    """

    name: str
    study: str
    table: str
    trials: Mapping[int, str]
    panels: Sequence[Panel]
    caption: str


@dataclass(frozen=True)
class Content:
    """What a section says: findings first, then what they rest on; with nothing to say the section is left out.

    Attributes:
        findings: sentences that state a finding with its numbers.
        groups: further sentences, each list under its heading.
        facts: (label, value) pairs for the first glance.
        notes: caveats, rules that were applied, what was left out.
        curves: the page alone shows them; other readers have the figures.
    """

    findings: Sequence[str] = ()
    facts: Sequence[tuple[str, str]] = ()
    drawings: Sequence[Drawing] = ()
    tables: Sequence[Table] = ()
    notes: Sequence[str] = ()
    shadings: Sequence[Shading] = ()
    groups: Sequence[tuple[str, Sequence[str]]] = ()
    curves: Sequence[Curves] = ()


@dataclass(frozen=True)
class Section:
    """A registered section: its place in the report, its heading, its function."""

    name: str
    order: int
    title: str
    doc: str
    build: Callable[[StudyFrames], Content]


_registered: dict[str, Section] = {}


def section(
    *, order: int, title: str
) -> Callable[[Callable[[StudyFrames], Content]], Callable[[StudyFrames], Content]]:
    """Register a function as a report section; its file gives the name, its docstring's first line the documentation.

    Args:
        order: place in the report, ascending.
        title: heading.
    """

    def register(function: Callable[[StudyFrames], Content]) -> Callable[[StudyFrames], Content]:
        name = function.__module__.rsplit(".", 1)[-1].replace("_", "-")
        doc = (function.__doc__ or "").strip().split("\n")[0]
        _registered[name] = Section(name, order, title, doc, function)
        return function

    return register


def sections() -> tuple[Section, ...]:
    """Every section, in the report's order; a new file below `sections/` is found by itself."""
    package = importlib.import_module("harness.report.sections")
    for module in pkgutil.iter_modules(package.__path__, "harness.report.sections."):
        importlib.import_module(module.name)
    return tuple(sorted(_registered.values(), key=lambda found: (found.order, found.name)))


def get(name: str) -> Section:
    """The section of that name.

    Raises:
        KeyError: when there is none.
    """
    return {found.name: found for found in sections()}[name]

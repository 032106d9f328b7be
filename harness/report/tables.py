"""Tables for people and for programs: raw CSV, and Markdown, LaTeX and HTML cells with sensible digits.

Everything textual is foreign: a label, a model's name or an error message may hold markup of any kind, so each
writer escapes for its own format. What is missing is shown as a dash, never as zero.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pandas as pd

from harness.report.cells import MISSING, cell, column, is_score
from harness.results.text import guard

AT_MOST = 500
"""Rows that people are shown of a table; the CSV file holds all."""
MARK = "†"
ONCE = f"{MARK} one seed only: unreplicated, another seed may change it."


@dataclass(frozen=True)
class Shown:
    """A table as people read it: headings and rows of text, and which columns hold numbers.

    Attributes:
        left_out: heading -> rows shown that lack a value.
        all_rows: rows of the table, of which the first AT_MOST are shown.
        marked: whether any value bears the mark of a single seed.
    """

    headings: list[str]
    rows: list[list[str]]
    numeric: list[bool]
    left_out: Mapping[str, int] = field(default_factory=dict)
    all_rows: int = 0
    marked: bool = False

    @cached_property
    def wide(self) -> list[bool]:
        """Columns of long text, which need room on a page."""
        return [max((len(row[place]) for row in self.rows), default=0) > 14 for place in range(len(self.headings))]

    @property
    def note(self) -> str:
        """Says how many values each column lacks and how many rows are not shown, or is empty."""
        lacking = [f"{heading} {count} of {len(self.rows)}" for heading, count in self.left_out.items()]
        said = [f"{MISSING} is missing, not zero: {', '.join(lacking)}."] if lacking else []
        if self.all_rows > len(self.rows):
            said.append(f"The first {len(self.rows)} of {self.all_rows:,} rows; the CSV file holds all.")
        return " ".join([*said, *([ONCE] if self.marked else [])])


def show(frame: pd.DataFrame, once: Sequence[bool] = ()) -> Shown:
    """Headings with units, values with sensible digits; `x` beside `x_low` and `x_high` becomes `x [low, high]`.

    Args:
        frame: raw values.
        once: as in `section.Table`.
    """
    all_rows, frame = len(frame), frame.head(AT_MOST)
    names = [str(name) for name in frame.columns]
    bounds = {f"{n}{end}" for n in names for end in ("_low", "_high") if {f"{n}_low", f"{n}_high"} <= set(names)}
    kept = [name for name in names if name not in bounds]
    columns = {name: frame[name].tolist() for name in names}
    written = {name: [cell(name, value) for value in columns[name]] for name in kept}
    for name in kept:
        if f"{name}_low" in bounds:
            low, high = ([cell(name, v) for v in columns[f"{name}{end}"]] for end in ("_low", "_high"))
            written[name] = [_interval(*each) for each in zip(written[name], low, high, strict=True)]
    marked = False
    for name in (each for each in kept if len(once) and is_score(each)):
        alone = [one and text != MISSING for one, text in zip(once, written[name], strict=False)]
        written[name] = [text + MARK if one else text for one, text in zip(alone, written[name], strict=True)]
        marked = marked or any(alone)
    missing = {column(n).heading: written[n].count(MISSING) for n in kept if MISSING in written[n]}
    return Shown(
        headings=[column(name).heading for name in kept],
        rows=[list(row) for row in zip(*(written[name] for name in kept), strict=True)] if kept else [],
        numeric=[pd.api.types.is_numeric_dtype(frame[name]) for name in kept],
        left_out=missing,
        all_rows=all_rows,
        marked=marked,
    )


def _interval(value: str, low: str, high: str) -> str:
    return value if MISSING in (value, low, high) else f"{value} [{low}, {high}]"


_MARKDOWN = re.compile(r"([\\`*_{}\[\]#+!|~$])")


def markdown_text(text: str) -> str:
    """Text that Markdown shows as it is: no markup, no HTML, no link, on one line."""
    line = " ".join(str(text).split())
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    line = _MARKDOWN.sub(r"\\\1", line)
    # Addresses and schemes would become links without any markup.
    return re.sub(r"(?i)\b(https?|ftp|mailto|javascript|data|www)([:.])", r"\1&#8203;\2", line)


def markdown(frame: pd.DataFrame, caption: str = "", once: Sequence[bool] = ()) -> str:
    """A pipe table with its caption above and the note on missing values and marks below."""
    shown = show(frame, once)
    lines = [markdown_text(caption), ""] if caption else []
    lines.append(_pipe([markdown_text(heading) for heading in shown.headings]))
    lines.append(_pipe(["---:" if numeric else "---" for numeric in shown.numeric]))
    lines += [_pipe([markdown_text(text) for text in row]) for row in shown.rows]
    if shown.note:
        lines += ["", markdown_text(shown.note)]
    return "\n".join(lines) + "\n"


def _pipe(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


_LATEX: dict[str, str] = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "[": "{[}",  # after a row's \\ a bracket would be read as its optional argument
    "]": "{]}",
    "–": "--",
    "−": r"\(-\)",
    "…": r"\ldots{}",
    "±": r"\(\pm\)",
    "×": r"\(\times\)",
    "†": r"\(^\dagger\)",
    "`": r"\textasciigrave{}",
}


def latex_text(text: str) -> str:
    """Text that LaTeX sets as it is, on one line, whatever commands it spells; other controls are dropped."""
    line = " ".join(str(text).split())
    return "".join(_LATEX.get(c, c) for c in line if c.isprintable())


_SMALLEST = r"\footnotesize\setlength{\tabcolsep}{3pt}"
_SIZES = ((6, ""), (9, r"\small"), (10_000, _SMALLEST))


def latex(
    frame: pd.DataFrame, caption: str = "", name: str = "table", once: Sequence[bool] = (), columns: int = 0
) -> str:
    """A booktabs table environment with caption and label; needs the packages booktabs and fontenc with T1.

    Args:
        frame, caption, once: as in `section.Table`.
        name: of the label, after `tab:`.
        columns: of a page, 1 or 2, that the table fills: long text is wrapped, which needs the package tabularx; 0
            leaves each column as wide as its text.
    """
    shown = show(frame, once)
    size = _SMALLEST if columns else next(size for at_most, size in _SIZES if len(shown.headings) <= at_most)
    table = "table*" if columns == 2 else "table"
    begin, end = _tabular(shown, wrapped=columns > 0)
    lines = [rf"\begin{{{table}}}", rf"\centering{size}", begin]
    lines += [r"\toprule", _row(shown.headings), r"\midrule", *(_row(row) for row in shown.rows), r"\bottomrule"]
    said = " ".join(part for part in (caption, shown.note) if part)
    lines += [end, rf"\caption{{{latex_text(said)}}}", rf"\label{{tab:{name}}}", rf"\end{{{table}}}"]
    return "\n".join(lines) + "\n"


def _tabular(shown: Shown, wrapped: bool) -> tuple[str, str]:
    """How the rows open and close; columns of long text share the room that the others leave."""
    long = [wrapped and wide and not n for wide, n in zip(shown.wide, shown.numeric, strict=True)]
    if not any(long):
        return r"\begin{tabular}{" + "".join("lr"[n] for n in shown.numeric) + "}", r"\end{tabular}"
    room = r">{\raggedright\arraybackslash}X"
    columns = "".join(room if each else "lr"[n] for each, n in zip(long, shown.numeric, strict=True))
    return rf"\begin{{tabularx}}{{\linewidth}}{{{columns}}}", r"\end{tabularx}"


def _row(cells: list[str]) -> str:
    return " & ".join(latex_text(text) for text in cells) + r" \\"


def csv(frame: pd.DataFrame) -> str:
    """Raw values for programs; text that a spreadsheet would take for a formula is quoted by an apostrophe."""
    guarded = frame.copy()
    for name in guarded.columns:
        if not pd.api.types.is_numeric_dtype(guarded[name]):
            guarded[name] = [guard(v) if isinstance(v, str) else v for v in guarded[name].tolist()]
    guarded.columns = [guard(str(name)) for name in guarded.columns]
    return str(guarded.to_csv(index=False, lineterminator="\n"))


def save(
    frame: pd.DataFrame, folder: Path, name: str, caption: str, once: Sequence[bool] = (), columns: int = 0
) -> list[Path]:
    """Write `name`.csv, .md and .tex; returns their paths. The CSV says in a column which rows rest on one seed."""
    folder.mkdir(parents=True, exist_ok=True)
    raw = frame.assign(one_seed=list(once)) if len(once) else frame
    written = {"csv": csv(raw), "md": markdown(frame, caption, once), "tex": latex(frame, caption, name, once, columns)}
    paths = [folder / f"{name}.{ending}" for ending in written]
    for path, text in zip(paths, written.values(), strict=True):
        path.write_bytes(text.encode("utf-8", "replace"))
    return paths

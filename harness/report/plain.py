"""Sections and the morning as plain text, for a terminal and for readers that show no HTML."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tabulate import tabulate

from harness.report.shades import Marked
from harness.report.tables import Shown

if TYPE_CHECKING:
    from harness.report.pieces import Piece

ARROW = " → "
"""Stands between what is to be done and the command that does it."""


def text(piece: Piece) -> str:
    """Findings, facts, tables and notes; control characters in foreign text are dropped."""
    if piece.failure:
        return f"This section could not be made. {visible(piece.failure)}"
    parts = [f"- {visible(sentence)}" for sentence in piece.content.findings]
    for title, sentences in piece.content.groups:
        parts += [f"\n{visible(title)}", *(f"- {visible(sentence)}" for sentence in sentences)]
    parts += [f"{visible(label)}: {visible(value)}" for label, value in piece.content.facts]
    for shading in piece.content.shadings:
        parts += [f"\n{visible(shading.caption)}", *(_marked(each) for each in shading.texts)]
    parts += [f"\n{visible(table.caption)}\n\n{table_text(shown)}" for table, shown in piece.tables]
    return "\n".join([*parts, *(visible(note) for note in piece.content.notes)])


def morning(study: str, groups: Sequence[tuple[str, Sequence[str]]], width: int) -> str:
    """The morning of a study on a terminal, wrapped; a command stands on a line of its own, to be copied."""
    parts = [visible(study)]
    for title, sentences in groups:
        parts += ["", visible(title)]
        for sentence in sentences:
            words, arrow, command = sentence.partition(ARROW)
            parts.append(textwrap.fill(visible(words), width, initial_indent="  - ", subsequent_indent="    "))
            parts += [f"    {visible(command)}"] if arrow else []
    return "\n".join(parts) + "\n"


def _marked(marked: Marked) -> str:
    """A text with the strength of a word's shade behind it."""
    lines = [
        f"{visible(label)}: {visible(''.join(f'{m.text} ({m.strength:+d})' if m.strength else m.text for m in marks))}"
        for label, marks in marked.lines
    ]
    return "\n  ".join([f"\n{visible(marked.title)}", *lines])


def table_text(shown: Shown) -> str:
    """A table in aligned columns."""
    rows = [[visible(text) for text in row] for row in shown.rows]
    sides = ["right" if numeric else "left" for numeric in shown.numeric]
    headings = [visible(text) for text in shown.headings]
    aligned = tabulate(rows, headers=headings, colalign=sides if rows else None, disable_numparse=True)
    return "\n".join(part for part in (aligned, visible(shown.note)) if part)


def visible(text: str) -> str:
    """One line without escape sequences, so that no message can steer a terminal."""
    return "".join(c for c in " ".join(str(text).split()) if c.isprintable())

"""The report's own notebook: thin cells that call one section each.

Of a study with very many trials it is filled with the outputs that its cells would give, and not executed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nbformat import v4

from harness.report.display_data import display_data
from harness.report.notebooks.books import DATABASE_VARIABLE, book_of, path_from
from harness.report.notebooks.execution import failed
from harness.report.pieces import Piece
from harness.report.section import Section
from harness.report.tables import markdown_text
from harness.results.targets import is_server

EXECUTED_UP_TO = 10_000
"""Trials of a study whose notebook is executed; beyond, its outputs are those of the page (see `fill`)."""


def make(study: str, target: str | Path, folder: Path, sections: Sequence[Section], texts: bool = True) -> Any:
    """A notebook that is not executed yet: a cell that opens the study, then one cell a section.

    Args:
        study: its name.
        target: path of results.db, or the URL of a server.
        folder: where the notebook will lie.
        sections: in their order.
        texts: whether texts of examples may be shown.
    """
    opening, database = ["from harness.report import interactive", ""], ""
    if is_server(target):
        opening.insert(0, "import os\n")
        database = f"os.environ[{DATABASE_VARIABLE!r}]"  # a URL may hold a password: it is never written down
    else:
        database = repr(path_from(folder, target))
    without = "" if texts else ", texts=False"
    opening.append(f"report = interactive.open_report({study!r}, {database}{without})")
    cells = [
        v4.new_markdown_cell(f"# {markdown_text(study)}\n\nEach cell calls one section of the report."),
        v4.new_code_cell("\n".join(opening)),
    ]
    for section in sections:
        cells.append(v4.new_markdown_cell(f"## {section.title}\n\n{section.doc}"))
        cells.append(v4.new_code_cell(f'report.show("{section.name}")'))
    return book_of(cells)


def fill(book: Any, pieces: Sequence[Piece], trials: int) -> list[str]:
    """Give each cell the outputs that running it would give, from sections that are built already.

    Of a study with very many trials a section takes seconds, and the kernel would build all of them a second time.
    The notebook says so, and running its cells works as in any other.
    """
    said = (
        f"This study has {trials:,} trials: the outputs were written together with the page, from the same sections, "
        "instead of building each of them twice. Running the cells builds them anew."
    )
    book.cells[0].source += f"\n\n{said}"
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    for cell, piece in zip(code[1:], pieces, strict=True):
        shown = display_data(piece)
        cell.outputs = [v4.new_output("display_data", data=each.data, metadata=each.metadata) for each in shown]
    return failed(book)

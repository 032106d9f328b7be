"""What every notebook has in common: its cells in order, where it finds the database, how it becomes a file."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nbformat
from nbformat import v4

from harness.results.targets import Target, database_path

DATABASE_VARIABLE = "HARNESS_DB"
"""Environment variable that names a server; its URL may hold a password, and is never written down."""
_CODE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def book_of(cells: Sequence[Any]) -> Any:
    """A notebook of these cells, not executed."""
    for position, cell in enumerate(cells):
        cell["id"] = f"cell-{position:02d}"  # random ids would make equal notebooks differ
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return v4.new_notebook(cells=list(cells), metadata={"kernelspec": kernel, "language_info": {"name": "python"}})


def cells_of(text: str) -> list[Any]:
    """The cells that a Markdown text describes: its ```python blocks are code, what stands between them is text."""
    cells = []
    for place, part in enumerate(_CODE.split(text)):
        if part.strip():
            cells.append((v4.new_code_cell if place % 2 else v4.new_markdown_cell)(part.strip()))
    return cells


def path_from(folder: Path, target: Target) -> str:
    """Where a database file lies, seen from the notebook's folder: no folder of this machine is named."""
    return Path(os.path.relpath(database_path(target), folder.absolute())).as_posix()


def save(book: Any, path: Path) -> Path:
    """Write the notebook."""
    path.write_text(nbformat.writes(book) + "\n", encoding="utf-8")
    return path

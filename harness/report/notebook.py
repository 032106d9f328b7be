"""The notebook: thin cells that call one section each, executed under time limits.

A kernel that dies or hangs leaves the notebook as far as it came, with a note, and a named failure.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nbformat
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import v4

from harness.report.display_data import FAILURE, display_data
from harness.report.pieces import Piece
from harness.report.section import Section
from harness.report.tables import markdown_text
from harness.results.engine import is_server

EXECUTED_UP_TO = 10_000
"""Trials of a study whose notebook is executed; beyond, its outputs are those of the page (see `fill`)."""
START_SECONDS, CELL_SECONDS = 60, 180
DATABASE_VARIABLE = "HARNESS_DB"


class _ThisPython(KernelSpecManager):
    """Starts the kernel with the interpreter that runs now, whatever kernels are installed."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        arguments = [
            "-m",
            "ipykernel_launcher",
            "-f",
            "{connection_file}",
            "--HistoryManager.enabled=False",
            "--log-level=50",
        ]
        return KernelSpec(argv=[sys.executable, *arguments], display_name="Python 3", language="python")


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
        database = repr(Path(os.path.relpath(Path(target).absolute(), folder.absolute())).as_posix())
    without = "" if texts else ", texts=False"
    opening.append(f"report = interactive.open_report({study!r}, {database}{without})")
    cells = [
        v4.new_markdown_cell(f"# {markdown_text(study)}\n\nEach cell calls one section of the report."),
        v4.new_code_cell("\n".join(opening)),
    ]
    for section in sections:
        cells.append(v4.new_markdown_cell(f"## {section.title}\n\n{section.doc}"))
        cells.append(v4.new_code_cell(f'report.show("{section.name}")'))
    for position, cell in enumerate(cells):
        cell["id"] = f"cell-{position:02d}"  # random ids would make equal reports differ
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return v4.new_notebook(cells=cells, metadata={"kernelspec": kernel, "language_info": {"name": "python"}})


def execute(book: Any, target: str | Path, folder: Path, cell_seconds: int = CELL_SECONDS) -> list[str]:
    """Run every cell in place; returns what failed, in words."""
    with tempfile.TemporaryDirectory() as scratch:
        manager = AsyncKernelManager(kernel_name="python3", kernel_spec_manager=_ThisPython())
        manager.transport = "ipc"  # no port: nobody else on the machine can talk to the kernel
        manager.connection_file = str(Path(scratch) / "kernel.json")
        client = NotebookClient(
            book,
            km=manager,
            timeout=cell_seconds,
            startup_timeout=START_SECONDS,
            allow_errors=True,
            record_timing=False,
            resources={"metadata": {"path": str(folder)}},
        )
        environment = {
            **os.environ,
            "IPYTHONDIR": scratch,
            "PYDEVD_DISABLE_FILE_VALIDATION": "1",
            # tqdm, which Optuna imports, warns of a missing widget with a path of this machine
            "PYTHONWARNINGS": "ignore:IProgress not found",
        }
        if is_server(target):
            environment[DATABASE_VARIABLE] = str(target)
        stopped = ""
        try:
            client.execute(env=environment, cleanup_kc=True)
        except DeadKernelError:
            stopped = "the notebook's kernel died"
        except CellTimeoutError:
            stopped = f"a cell of the notebook ran longer than {cell_seconds} s"
        except (CellExecutionError, RuntimeError, OSError) as error:
            stopped = f"the notebook could not be executed: {error}"
    if stopped:
        _say(book, stopped)
    return [*([stopped] if stopped else []), *_failed(book)]


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
    return _failed(book)


def _say(book: Any, words: str) -> None:
    """Leave a note at the first cell that was not finished."""
    code = [place for place, cell in enumerate(book.cells) if cell.cell_type == "code"]
    undone = [place for place in code if not book.cells[place].outputs and place != code[0]]
    at = undone[0] if undone else len(book.cells)
    note = v4.new_markdown_cell(f"**Stopped here:** {markdown_text(words)}. The cells below were not run.")
    note["id"] = "stopped"
    book.cells.insert(at, note)


def _failed(book: Any) -> list[str]:
    found = []
    for cell in book.cells:
        for output in cell.get("outputs", []):
            if output.output_type == "error" and output.ename != "KeyboardInterrupt":  # how a hung cell is stopped
                found.append(f"notebook cell {cell.source.splitlines()[-1]!r}: {output.ename}: {output.evalue}")
            elif FAILURE in output.get("metadata", {}):
                found.append(f"notebook cell {cell.source!r}: {output.metadata[FAILURE]}")
    return found


def save(book: Any, path: Path) -> Path:
    """Write the notebook."""
    path.write_text(nbformat.writes(book) + "\n", encoding="utf-8")
    return path

"""Running a notebook's cells in a kernel of their own, under time limits.

A kernel that dies or hangs leaves the notebook as far as it came, with a note, and a named failure.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import v4

from harness.report.display_data import FAILURE
from harness.report.notebooks.books import DATABASE_VARIABLE
from harness.report.tables import markdown_text
from harness.results.targets import is_server

START_SECONDS, CELL_SECONDS = 60, 180


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
            # Warnings name paths of this machine: tqdm's, which Optuna imports, of a missing widget, and matplotlib's
            # of letters that its font lacks.
            "PYTHONWARNINGS": "ignore:IProgress not found,ignore:Glyph",
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
    return [*([stopped] if stopped else []), *failed(book)]


def _say(book: Any, words: str) -> None:
    """Leave a note at the first cell that was not finished."""
    code = [place for place, cell in enumerate(book.cells) if cell.cell_type == "code"]
    undone = [place for place in code if not book.cells[place].outputs and place != code[0]]
    at = undone[0] if undone else len(book.cells)
    note = v4.new_markdown_cell(f"**Stopped here:** {markdown_text(words)}. The cells below were not run.")
    note["id"] = "stopped"
    book.cells.insert(at, note)


def failed(book: Any) -> list[str]:
    """The cells that failed, in words; of a cell that hung the kernel's own word is enough."""
    found = []
    for cell in book.cells:
        for output in cell.get("outputs", []):
            if output.output_type == "error" and output.ename != "KeyboardInterrupt":  # how a hung cell is stopped
                found.append(f"notebook cell {cell.source.splitlines()[-1]!r}: {output.ename}: {output.evalue}")
            elif FAILURE in output.get("metadata", {}):
                found.append(f"notebook cell {cell.source!r}: {output.metadata[FAILURE]}")
    return found

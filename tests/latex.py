"""LaTeX, where it is installed: documents are compiled as an author would."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

NO_LATEX = "NO WRITE-UP WAS COMPILED: neither pdflatex with bibtex nor tectonic is installed"
PDFLATEX = bool(shutil.which("pdflatex") and shutil.which("bibtex"))
needs_latex = pytest.mark.skipif(not (PDFLATEX or shutil.which("tectonic")), reason=NO_LATEX)


def compiled(folder: Path, into: Path) -> str:
    """The log of main.tex after LaTeX, BibTeX and LaTeX again, in a copy of the folder."""
    shutil.copytree(folder, into)
    latex = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "main"]
    tectonic = ["tectonic", "--keep-logs", "main.tex"]
    for step in [latex, ["bibtex", "main"], latex, latex] if PDFLATEX else [tectonic]:
        done = subprocess.run(step, cwd=into, capture_output=True, text=True, errors="replace", timeout=60, check=False)
        assert done.returncode == 0, done.stdout[-3000:]
    assert (into / "main.pdf").read_bytes().startswith(b"%PDF")
    return (into / "main.log").read_text(errors="replace")

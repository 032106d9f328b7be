"""Build the write-up pack of one study below a folder, from the record alone.

What fails is named and left out; the rest stays readable.
"""

from __future__ import annotations

from pathlib import Path

from harness.errors import StorageError
from harness.report.build import Built, remove_others
from harness.report.paper import document, methods, results
from harness.report.paper.document import Paper
from harness.report.paper.prose import Paragraph, Sentence
from harness.report.paper.references import Reference
from harness.report.pieces import explain, guarded
from harness.report.study_frames import StudyFrames, opened


def build(target: str | Path, study: str, folder: str | Path) -> Built:
    """Write main.tex, main.md, their parts, `figures/*.pdf`, `tables/` and references.bib; main.tex is the first path.

    No text of an example is in them.

    Args:
        target: path of results.db, or the URL of a server.
        study: its name.
        folder: made if it is not there.

    Raises:
        UsageError: there is no such study.
        StorageError: the folder cannot be written.
    """
    folder = Path(folder)
    frames = opened(target, study, texts=False)
    try:
        paper, failures = _assemble(frames)
    finally:
        frames.close()
    try:
        paths = document.save(paper, folder)
        remove_others(folder / "figures", ("pdf",), paths)
        remove_others(folder / "tables", ("csv", "md", "tex"), paths)
    except OSError as error:
        raise StorageError(f"the write-up cannot be written below {folder}: {error}") from error
    return Built(tuple(paths), tuple(failures))


def _assemble(frames: StudyFrames) -> tuple[Paper, list[str]]:
    shown = guarded("results", "Results", lambda: results.content(frames))
    paragraphs, cited, failure = _methods(frames)
    failures = [f"results: {shown.failure}"] if shown.failure else []
    failures += [f"methods: {failure}"] if failure else []
    said, tables = shown.content.findings, [table for table, _ in shown.tables]
    return Paper(frames.name, frames.question, said, paragraphs, shown.drawn, tables, cited), failures


def _methods(frames: StudyFrames) -> tuple[list[Paragraph], list[Reference], str]:
    try:
        return methods.paragraphs(frames), methods.cited(frames), ""
    except Exception as error:  # a record may be another's and damaged: tables and figures have to be there
        return [[Sentence("The methods could not be written from this record.")]], [], explain(error)

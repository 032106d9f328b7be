"""Build a report: page, notebook, figures and tables of one study, from the record alone.

A section that fails leaves a readable report and a named failure; nothing here trains or writes to results.db.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from harness.errors import StorageError
from harness.report import page, section, tables
from harness.report.notebooks import of_sections
from harness.report.notebooks.books import save
from harness.report.notebooks.execution import execute
from harness.report.pieces import Piece, assemble
from harness.report.study_frames import opened


class Built(NamedTuple):
    """What a build left behind.

    Attributes:
        paths: files written, the page first.
        failures: what could not be made, one sentence each; empty when all went well.
    """

    paths: tuple[Path, ...]
    failures: tuple[str, ...]


def build(engine_target: str | Path, study: str, folder: str | Path, texts: bool = True) -> Built:
    """Write `report.html`, `report.ipynb`, `figures/` and `tables/` below `folder`.

    Args:
        engine_target: path of results.db, or the URL of a server.
        study: its name.
        folder: made if it is not there.
        texts: whether texts of examples may be shown.

    Raises:
        UsageError: there is no such study.
        StorageError: the folder cannot be written.
    """
    with _uncollected():
        return _build(engine_target, study, Path(folder), texts)


@contextmanager
def _uncollected() -> Iterator[None]:
    """No search for reference cycles meanwhile: it went through all that was read again and again, and found nothing.

    With 100,000 trials it was a sixth of the time.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _build(engine_target: str | Path, study: str, folder: Path, texts: bool) -> Built:
    frames = opened(engine_target, study, texts)
    try:
        built = [(each, assemble(each, frames)) for each in section.sections()]
    finally:
        frames.close()
    kept = [(each, piece) for each, piece in built if not piece.empty]
    pieces = [piece for _, piece in kept]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        paths = write(folder, study, frames.question, pieces)
        book = of_sections.make(study, engine_target, folder, [each for each, _ in kept], texts)
        if len(frames.summary) > of_sections.EXECUTED_UP_TO:
            failures = of_sections.fill(book, pieces, len(frames.summary))
        else:
            failures = execute(book, engine_target, folder)
        paths.insert(1, save(book, folder / "report.ipynb"))
    except OSError as error:
        raise StorageError(f"the report cannot be written below {folder}: {error}") from error
    named = [f"section {each.name}: {each.failure}" for each in pieces if each.failure]
    return Built(tuple(paths), (*named, *failures))


def write(folder: Path, title: str, subtitle: str, pieces: Sequence[Piece]) -> list[Path]:
    """Page, figures and tables of built pieces; what an earlier report left in the two folders goes."""
    paths = [folder / "report.html"]
    for each in pieces:
        for drawn in each.drawn:
            paths += drawn.save(folder / "figures")
        for table, _ in each.tables:
            paths += tables.save(table.frame, folder / "tables", table.name, table.caption, table.once)
    paths[0].write_text(page.render(title, subtitle, pieces), encoding="utf-8", errors="replace")
    remove_others(folder / "figures", ("png", "svg"), paths)
    remove_others(folder / "tables", ("csv", "md", "tex"), paths)
    return paths


def remove_others(folder: Path, endings: Iterable[str], kept: Sequence[Path]) -> None:
    """Delete files of a folder that have one of the endings and were not written this time."""
    for ending in endings:
        for path in folder.glob(f"*.{ending}"):
            if path not in kept:
                path.unlink()

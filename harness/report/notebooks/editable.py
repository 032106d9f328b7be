"""Notebooks to edit: cells of plain pandas and seaborn that need results.db and nothing of this package."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from nbformat import v4

from harness.analysis.sentences import unit
from harness.errors import StorageError
from harness.ranking import plan_of
from harness.report import best
from harness.report.notebooks.books import DATABASE_VARIABLE, book_of, cells_of, path_from, save
from harness.report.notebooks.execution import CELL_SECONDS, execute
from harness.report.notebooks.kinds import KINDS, objective_of
from harness.report.study_frames import StudyFrames, opened
from harness.report.tables import markdown_text
from harness.results.targets import Target, database_path, is_server

FOLDER = Path(__file__).parent


class Written(NamedTuple):
    """A notebook file, and what failed in it, one sentence each."""

    path: Path
    failures: tuple[str, ...]


def write(target: Target, study: str, kind: str, folder: Path, cell_seconds: int = CELL_SECONDS) -> Written:
    """Write `KIND.ipynb` below `folder`, executed.

    Args:
        target: path of results.db, or the URL of a server.
        study: its name.
        kind: one of KINDS.
        folder: made if it is not there.
        cell_seconds: time that a cell may take.

    Raises:
        UsageError: there is no such study, or nothing in it that this kind speaks of.
        StorageError: the folder cannot be written.
    """
    frames = opened(target, study)
    try:
        book = make(frames, target, kind, folder)
    finally:
        frames.close()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        failures = execute(book, target, folder, cell_seconds)
        path = save(book, folder / f"{kind}.ipynb")
    except OSError as error:
        raise StorageError(f"the notebook cannot be written below {folder}: {error}") from error
    return Written(path, tuple(failures))


def make(study: StudyFrames, target: Target, kind: str, folder: Path) -> Any:
    """A notebook of that kind that is not executed yet, to lie in `folder`."""
    chosen = KINDS[kind]
    texts = [(FOLDER / f"{part}.md").read_text("utf-8") for part in ("start", *chosen.parts(study))]
    title = f"# {markdown_text(study.name)}: {kind}\n\n{chosen.question} Findings are worked out when the cells run."
    cells = [v4.new_markdown_cell(title), v4.new_code_cell(_opening(study, target, folder))]
    return book_of([*cells, *(cell for text in texts for cell in cells_of(text))])


def _opening(study: StudyFrames, target: Target, folder: Path) -> str:
    """The first cell: whose record this is, and where it lies."""
    server = is_server(target)
    imported = ["import os", "", "from sqlalchemy import create_engine"]
    if not server:
        imported = ["from pathlib import Path", "", "from sqlalchemy import URL, create_engine"]
    found = _of_server() if server else _of_file(database_path(target).name, path_from(folder, target))
    return "\n".join([*imported, "", *_subject(study), "", *found])


def _subject(study: StudyFrames) -> list[str]:
    """The study, and the manners of its metric."""
    objective = objective_of(study)
    scale, decimals, words = unit(objective.metric)
    axis = best.words_of(objective) + (" (%)" if scale > 1 else "")
    return [
        f"STUDY = {study.name!r}",
        f"METRIC, DIRECTION, AT = {objective.metric!r}, {objective.direction!r}, {objective.at!r}  # the objective",
        f"AXIS, SCALE = {axis!r}, {scale:g}  # how it is drawn",
        f"UNIT, DECIMALS = {words!r}, {decimals}  # how differences of it are written",
        f"RUNS = {plan_of(study.spec).searched}  # seeds times folds that the search owes each configuration",
    ]


def _of_server() -> list[str]:
    return [f'engine = create_engine(os.environ["{DATABASE_VARIABLE}"])  # its URL may hold a password']


def _of_file(name: str, path: str) -> list[str]:
    """A file beside the notebook comes first, so that the two can be taken elsewhere."""
    elsewhere = [
        "if not database.exists():",
        f"    database = Path({path!r})  # where it lay when this notebook was written",
    ]
    return [
        f"database = Path({name!r})  # beside this notebook",
        *(elsewhere if path != name else []),
        'read_only = {"mode": "ro", "uri": "true"}',
        'engine = create_engine(URL.create("sqlite", database=database.resolve().as_uri(), query=read_only))',
    ]

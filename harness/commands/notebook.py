"""Notebooks for the morning after: one question each, in cells that a person goes on to edit."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from harness.commands.options import DEFAULT_DB, REPORTS, Db, Out, StudyArgument, folder_in, name_of
from harness.errors import HarnessError


def notebook(
    study: StudyArgument,
    kind: Annotated[Literal["overfitting", "speed", "comparison"], typer.Option("--kind", help="what it is about")],
    db: Db = DEFAULT_DB,
    out: Out = REPORTS,
    cell_seconds: Annotated[int, typer.Option("--cell-seconds", min=1, help="time that a cell may take")] = 180,
) -> None:
    """Write an executed notebook of plain pandas cells to edit; to run again it needs the database alone."""
    from harness.report.notebooks.editable import write

    name = name_of(study)
    written = write(db, name, kind, folder_in(out, name), cell_seconds)
    typer.echo(str(written.path))
    if written.failures:
        raise HarnessError("the notebook is written, but: " + "; ".join(written.failures))

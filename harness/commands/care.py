"""Care of the record and the machine: what is wrong with them, and mending what a killed night left."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from harness.commands.options import DEFAULT_DB, Db, Json, terminal

Study = Annotated[
    str | None, typer.Argument(metavar="[STUDY]", help="a study file, or the name of a study; all without it")
]


def doctor(study: Study = None, as_json: Json = False, db: Db = DEFAULT_DB) -> None:
    """Examine the database, kept models and this machine; say what is wrong and what mends it."""
    from harness.doctor import examine, study_in
    from harness.errors import UsageError
    from harness.findings import exit_code
    from harness.results.targets import public
    from harness.spec import read_study
    from harness.terminal import examination

    if study is None:
        file = None
    elif Path(study).suffix in (".yaml", ".yml"):
        file = read_study(Path(study))
    else:
        file = study_in(db, study)
    found = list(examine(db, file))
    if study is not None and file is None and not exit_code(found):
        raise UsageError(f"{study!r} is neither a study file nor a study in {public(db)}")
    if as_json:
        typer.echo(json.dumps([finding.as_dict() for finding in found], indent=2))
    else:
        terminal().print(examination(found))
    raise typer.Exit(exit_code(found))


def repair(db: Db = DEFAULT_DB) -> None:
    """Mend what a killed night left: after a backup, and without deleting anything recorded."""
    from harness.repair import repair as mend

    repaired = mend(db)
    if repaired.backup is not None:
        typer.echo(f"as it was before: {repaired.backup}")
    for line in repaired.done or ("nothing to mend",):
        typer.echo(line)

"""The morning after: reports and comparisons."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.commands.options import (
    DEFAULT_DB,
    REPORTS,
    Db,
    Out,
    StudyArgument,
    fail_if_any,
    folder_in,
    name_of,
    trial_of,
)
from harness.errors import UsageError


def report(
    study: StudyArgument,
    db: Db = DEFAULT_DB,
    out: Out = REPORTS,
    no_text: Annotated[
        bool, typer.Option("--no-text", help="leave the texts of examples out of page, notebook and tables")
    ] = False,
    paper: Annotated[
        bool,
        typer.Option("--paper", help="beside them paper/: LaTeX, figures as pdf, methods, references, checklist"),
    ] = False,
) -> None:
    """Write notebook, page, figures and tables of a study."""
    from harness.report.build import build
    from harness.report.paper.build import build as build_paper

    name = name_of(study)
    folder = folder_in(out, name)
    built = build(db, name, folder, texts=not no_text)
    for kind in ("report.html", "report.ipynb"):
        typer.echo(str(folder / kind))
    failures = built.failures
    if paper:
        written = build_paper(db, name, folder / "paper")
        typer.echo(str(written.paths[0]))
        failures += tuple(f"paper: {failure}" for failure in written.failures)
    fail_if_any(failures)


def compare(
    trials: Annotated[list[str], typer.Argument(metavar="STUDY:TRIAL...", help="two or more trials")],
    db: Db = DEFAULT_DB,
    out: Out = REPORTS,
) -> None:
    """Print and draw chosen trials side by side, across studies too."""
    from harness.report.comparison import compare as compare_trials

    chosen = [trial_of(trial) for trial in trials]
    if len(chosen) < 2:
        raise UsageError(f"compare takes two or more trials, got {len(chosen)}")
    folder = folder_in(out / "compare", "-".join(f"{name}.{number}" for name, number in chosen)[:120])
    compared = compare_trials(db, chosen, folder)
    typer.echo(compared.text)
    typer.echo(str(folder / "report.html"))
    fail_if_any(compared.failures)

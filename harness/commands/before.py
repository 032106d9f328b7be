"""Before the night: write a study file, look at the data, say what it will cost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from harness.commands.options import (
    DEFAULT_DB,
    REPORTS,
    CacheBudget,
    Db,
    Exact,
    Json,
    NoCache,
    Out,
    Set,
    StudyArgument,
    Workers,
    bytes_of,
    stop_on_signals,
    study_of,
    terminal,
)
from harness.errors import UsageError


def init(
    path: Annotated[Path, typer.Argument(help="the file to write")] = Path("studies/my-study.yaml"),
) -> None:
    """Write a commented study file for your own data."""
    from harness.spec import init_template

    if path.exists():
        raise UsageError(f"{path} exists and is not overwritten; name another file")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(init_template(path.stem), encoding="utf-8")
    typer.echo(f"wrote {path}; edit it, then: harness audit {path} and harness run {path}")


def schema() -> None:
    """Print the JSON Schema of study files, for editors that complete them."""
    from harness.study_reference import schema as json_schema

    typer.echo(json.dumps(json_schema(), indent=2))


def audit(study: StudyArgument, sets: Set = None, db: Db = DEFAULT_DB, out: Out = REPORTS) -> None:
    """Look at the data before the night: lengths, truncation, balance, duplicates, overlap."""
    from harness.auditor import audit_study
    from harness.report.audit import draw_audit
    from harness.results.targets import files_folder

    file = study_of(study, sets, db)
    counts = audit_study(file, files_folder(db) / "logs", stop_on_signals())
    drawn = draw_audit(counts, out / file.spec.study / "audit")
    _print_audit(counts)
    for path in drawn:
        typer.echo(str(path))


def plan(
    study: StudyArgument,
    sets: Set = None,
    workers: Workers = None,
    no_cache: NoCache = False,
    cache_budget: CacheBudget = None,
    exact: Exact = False,
    as_json: Json = False,
    db: Db = DEFAULT_DB,
) -> None:
    """Say what a study will cost before the night: trials, steps, time, memory, disk, what fits the deadline."""
    from harness.coming import begun
    from harness.executors.local import LocalExecutor
    from harness.plan import plan_study
    from harness.results.targets import files_folder
    from harness.study import sharing

    budget = bytes_of(cache_budget)
    file, files = study_of(study, sets, db), files_folder(db)
    record = begun(db, file)
    shared = sharing(files, file.spec, cache=not no_cache, exact=exact, budget=budget)
    typer.echo("measuring a few steps of what the study will do …", err=True)
    with LocalExecutor(files / "logs", workers) as executor:
        planned = plan_study(file, record, shared, files, executor, stop_on_signals())
    if as_json:
        typer.echo(json.dumps({"study": file.spec.study} if planned is None else planned.as_dict(), indent=2))
    elif planned is None:
        typer.echo(f"{file.spec.study}: nothing is left to run")
    else:
        _print_plan(planned)


def _print_audit(counts: Any) -> None:
    from harness.terminal import audit_tables

    console = terminal()
    for table in audit_tables(counts):
        console.print(table)
        console.print()


def _print_plan(planned: Any) -> None:
    from harness.plan_tables import plan_tables

    console = terminal()
    for each in plan_tables(planned, console.width):
        console.print(each)

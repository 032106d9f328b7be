"""Runs made elsewhere: their figures come into the database as a study that is marked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.commands.options import DEFAULT_DB, Db
from harness.errors import UsageError

if TYPE_CHECKING:
    from harness.published import PublishedFile

KINDS = "a .yaml or .csv table, or the output folder of Trainer or MLflow (mlruns)"


def import_runs(
    file: Annotated[Path, typer.Argument(metavar="FILE", help=KINDS)],
    study: Annotated[
        str | None, typer.Option("--study", help="name of the new study; else that of the file or folder")
    ] = None,
    source: Annotated[
        str | None, typer.Option("--source", help="where the figures of a csv table or a folder come from")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", help="pretrained model of runs that do not say theirs")
    ] = None,
    db: Db = DEFAULT_DB,
) -> None:
    """Take runs made elsewhere into the database, marked as published: shown and judged like others, never run."""
    from harness.results.store import Store

    read = _read(file, study, source, model)
    with Store.open(db) as store:
        known = store.study(read.spec.published)
        if known is not None and (known.source, known.fingerprint) == ("published", read.fingerprint):
            typer.echo(f"{known.name} is there already, figure for figure; nothing was changed")
            return
        if known is not None:
            raise UsageError(
                f"{db} holds another study {known.name!r} ({known.source}), which is not overwritten; "
                "give these runs another name, or another database with --db"
            )
        store.publish(read)
    count = len(read.spec.runs)
    typer.echo(f"{read.spec.published}: {count} published run{'' if count == 1 else 's'}")
    typer.echo(f"report: harness report {read.spec.published}")


def _read(path: Path, study: str | None, source: str | None, model: str | None) -> PublishedFile:
    from harness.published import of_values, parse_published, read_text
    from harness.published_folders import runs_of_folder
    from harness.published_tables import runs_of_csv

    if not path.exists():
        raise UsageError(f"{path}: there is no such file or folder; name {KINDS}")
    if path.suffix in (".yaml", ".yml"):
        said = [name for name, given in (("--study", study), ("--source", source), ("--model", model)) if given]
        if said:
            raise UsageError(f"{', '.join(said)}: {path} says this itself; edit it there")
        return parse_published(read_text(path), str(path))
    if path.is_dir():
        runs = runs_of_folder(path)
    elif path.suffix == ".csv":
        runs = runs_of_csv(read_text(path), str(path))
    else:
        raise UsageError(f"{path}: is of no kind that can be imported; name {KINDS}")
    return of_values(_values(path, runs, study, source, model), str(path))


def _values(
    path: Path, runs: list[dict[str, Any]], study: str | None, source: str | None, model: str | None
) -> dict[str, Any]:
    """A table of published runs around runs that say nothing of where they come from."""
    name = path.resolve().name
    answers = any("exact_match" in figures for run in runs for figures in (run["by_epoch"], run["at_end"]))
    return {
        "published": study or (path.stem if path.is_file() else name),
        "source": source or name,
        "task": "question-answering" if answers else "sequence-classification",
        **({"fixed": {"model": model}} if model else {}),
        "runs": runs,
    }

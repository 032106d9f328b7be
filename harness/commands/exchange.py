"""To and from other tools: a study's record and models as files and runs of theirs, and runs made elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from harness.commands.options import DEFAULT_DB, Db, StudyArgument, folder_in, name_of
from harness.errors import UsageError

if TYPE_CHECKING:
    from harness.published import PublishedFile

KINDS = "a .yaml or .csv table, or the output folder of Trainer or MLflow (mlruns)"


Format = Literal["csv", "parquet", "json", "mlflow", "tensorboard", "wandb"]


def export(
    study: StudyArgument,
    file_format: Annotated[
        Format, typer.Option("--format", help="kind of the files; the last three are runs of those tools")
    ] = "csv",
    model: Annotated[Path | None, typer.Option("--model", help="copy the best model here instead")] = None,
    db: Db = DEFAULT_DB,
    out: Annotated[Path, typer.Option("--out", help="folder for the files")] = Path("exports"),
) -> None:
    """Write a study's frames as files, its trials as runs of another tool, or copy its best model."""
    from harness.results.engine import open_engine
    from harness.results.exports import export as export_frames
    from harness.results.exports import export_model
    from harness.results.store import Store

    name = name_of(study)
    if model is not None:
        with Store.open(db, create=False) as store:
            trial, of_best = export_model(store, name, model)
        words = "" if of_best else "; the best configuration kept no weights, a larger `keep` would have"
        typer.echo(f"{model}: the model of trial {trial.number}, as of epoch {trial.best_epoch}{words}")
        return
    if file_format == "mlflow" or file_format == "tensorboard" or file_format == "wandb":
        _export_runs(name, file_format, db, out)
        return
    folder = folder_in(out, name)
    for path in export_frames(open_engine(db, read_only=True), name, file_format, folder):
        typer.echo(str(path))


def _export_runs(name: str, tool: str, db: str, out: Path) -> None:
    """The finished trials as runs of MLflow, TensorBoard or W&B; what is left out is said."""
    from harness.exchange import mlflow, tensorboard, wandb
    from harness.exchange.runs import runs_of
    from harness.results.engine import open_engine

    runs = runs_of(open_engine(db, read_only=True), name)
    if tool == "mlflow":
        written, then = mlflow.write(runs.finished, out), f"mlflow ui --backend-store-uri sqlite:///{out / mlflow.FILE}"
    elif tool == "tensorboard":
        written = tensorboard.write(runs.finished, folder_in(out / "tensorboard", name))
        then = f"tensorboard --logdir {out / 'tensorboard'}"
    else:
        written, then = wandb.write(runs.finished, out / "wandb"), f"wandb sync {out / 'wandb'}/offline-run-*"
    for path in written:
        typer.echo(str(path))
    typer.echo(f"{len(runs.finished)} run{'' if len(runs.finished) == 1 else 's'}; {then}")
    if runs.unfinished:
        who = "1 trial has" if runs.unfinished == 1 else f"{runs.unfinished} trials have"
        typer.echo(f"{who} not ended yet and will come with a later export")


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

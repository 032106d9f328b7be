"""The command line: arguments -> one call; the only print, the only exit code.

Commands import what they need when they run, so that `harness --help` answers at once.
"""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from harness.errors import HarnessError, Interrupted, UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from harness.deadline import Stop
    from harness.spec import StudyFile

app = typer.Typer(
    help="Fine-tuning studies of BERT-like models: run them overnight, and read the verdict in the morning.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Db = Annotated[str, typer.Option("--db", help="the database: a file, or the URL of a server")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="override a value of the study file: a.b=c", metavar="KEY=VALUE"),
]
Out = Annotated[Path, typer.Option("--out", help="folder that holds one folder a study")]
Json = Annotated[bool, typer.Option("--json", help="print JSON")]
Workers = Annotated[int | None, typer.Option(help="worker processes; by default one a GPU, or one", min=1)]
NoCache = Annotated[bool, typer.Option("--no-cache", help="work out the frozen part of a model anew in every trial")]
Exact = Annotated[bool, typer.Option("--exact", help="batches and dropout as the plain Trainer's; nothing is shared")]
StudyArgument = Annotated[
    str, typer.Argument(metavar="STUDY", help="a study file, or the name of a study in the database")
]
DEFAULT_DB = "results.db"
REPORTS = Path("reports")


@app.command()
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


@app.command()
def schema() -> None:
    """Print the JSON Schema of study files, for editors that complete them."""
    from harness.study_reference import schema as json_schema

    typer.echo(json.dumps(json_schema(), indent=2))


@app.command()
def audit(study: StudyArgument, sets: Set = None, db: Db = DEFAULT_DB, out: Out = REPORTS) -> None:
    """Look at the data before the night: lengths, truncation, balance, duplicates, overlap."""
    from harness.auditor import audit_study
    from harness.report.audit import draw_audit
    from harness.results.engine import files_folder

    file = _file(study, sets, db)
    counts = audit_study(file, files_folder(db) / "logs", _stop_on_signals())
    drawn = draw_audit(counts, out / file.spec.study / "audit")
    _print_audit(counts)
    for path in drawn:
        typer.echo(str(path))


@app.command()
def plan(
    study: StudyArgument,
    sets: Set = None,
    workers: Workers = None,
    no_cache: NoCache = False,
    exact: Exact = False,
    as_json: Json = False,
    db: Db = DEFAULT_DB,
) -> None:
    """Say what a study will cost before the night: trials, steps, time, memory, disk, what fits the deadline."""
    from harness.coming import begun
    from harness.executors.local import LocalExecutor
    from harness.plan import plan_study
    from harness.results.engine import files_folder
    from harness.study import sharing

    file, files = _file(study, sets, db), files_folder(db)
    record = begun(db, file)
    shared = sharing(files, file.spec, cache=not no_cache, exact=exact)
    typer.echo("measuring a few steps of what the study will do …", err=True)
    with LocalExecutor(files / "logs", workers) as executor:
        planned = plan_study(file, record, shared, files, executor, _stop_on_signals())
    if as_json:
        typer.echo(json.dumps({"study": file.spec.study} if planned is None else planned.as_dict(), indent=2))
    elif planned is None:
        typer.echo(f"{file.spec.study}: nothing is left to run")
    else:
        _print_plan(planned)


@app.command()
def run(
    study: StudyArgument,
    sets: Set = None,
    workers: Workers = None,
    no_cache: NoCache = False,
    exact: Exact = False,
    db: Db = DEFAULT_DB,
) -> None:
    """Run a study to its total, or go on where it stopped; does nothing when all is done."""
    from harness.executors.local import LocalExecutor
    from harness.grid import total
    from harness.live import LiveObserver, PlainObserver, headline
    from harness.results.store import Store
    from harness.study import run as run_study
    from harness.study import sharing

    file = _file(study, sets, db)
    if workers is not None:
        workers = min(workers, total(file.spec) or workers)  # one without a trial would only hold threads back
    stop = _stop_on_signals()
    console = _console()
    observer = LiveObserver(console) if console.is_terminal else PlainObserver(console)
    with Store.open(db) as store, LocalExecutor(store.files / "logs", workers) as executor, observer:
        shared = sharing(store.files, file.spec, cache=not no_cache, exact=exact)
        board = run_study(store, file, executor, observer, stop, shared)
    if file.spec.confirm is not None:
        console.print("confirm: is checked but not run yet; the trials above are the search alone", markup=False)
    console.print(headline(board), markup=False, highlight=False)
    console.print(f"report: harness report {board.study}", markup=False, highlight=False)


@app.command()
def status(
    study: Annotated[str | None, typer.Argument(metavar="[STUDY]", help="one study; all without it")] = None,
    as_json: Json = False,
    db: Db = DEFAULT_DB,
) -> None:
    """What runs, what is done, the best so far, time to finish, failures by reason."""
    from harness.grid import total
    from harness.results.engine import open_engine
    from harness.results.overview import overviews
    from harness.spec import parse_study
    from harness.terminal import remaining
    from harness.terminal import status as status_of

    engine = open_engine(db, read_only=True)
    found = overviews(engine, None if study is None else _name(study))
    if study is not None and not found:
        raise UsageError(f"there is no study {_name(study)!r} in {db}; harness status lists them")
    rests = [remaining(each, total(parse_study(each.text, name=f"study {each.study} in {db}").spec)) for each in found]
    if as_json:
        typer.echo(json.dumps([each.as_dict() | rest for each, rest in zip(found, rests, strict=True)], indent=2))
        return
    for each, rest in zip(found, rests, strict=True):
        _console().print(status_of(each, rest))


@app.command()
def report(
    study: StudyArgument,
    db: Db = DEFAULT_DB,
    out: Out = REPORTS,
) -> None:
    """Write notebook, page, figures and tables of a study."""
    from harness.report.build import build

    name = _name(study)
    built = build(db, name, out / name)
    for kind in ("report.html", "report.ipynb"):
        typer.echo(str(out / name / kind))
    _fail_if_any(built.failures)


@app.command()
def compare(
    trials: Annotated[list[str], typer.Argument(metavar="STUDY:TRIAL...", help="two or more trials")],
    db: Db = DEFAULT_DB,
    out: Out = REPORTS,
) -> None:
    """Print and draw chosen trials side by side, across studies too."""
    from harness.report.comparison import compare as compare_trials

    chosen = [_trial(trial) for trial in trials]
    if len(chosen) < 2:
        raise UsageError(f"compare takes two or more trials, got {len(chosen)}")
    folder = out / "compare" / "-".join(f"{name}.{number}" for name, number in chosen)[:120]
    compared = compare_trials(db, chosen, folder)
    typer.echo(compared.text)
    typer.echo(str(folder / "report.html"))
    _fail_if_any(compared.failures)


@app.command()
def export(
    study: StudyArgument,
    file_format: Annotated[
        Literal["csv", "parquet", "json"], typer.Option("--format", help="kind of the files")
    ] = "csv",
    model: Annotated[Path | None, typer.Option("--model", help="copy the best model here instead")] = None,
    db: Db = DEFAULT_DB,
    out: Annotated[Path, typer.Option("--out", help="folder for the files")] = Path("exports"),
) -> None:
    """Write a study's frames as files, or copy its best model."""
    from harness.results.engine import open_engine
    from harness.results.exports import export as export_frames
    from harness.results.exports import export_model
    from harness.results.store import Store

    name = _name(study)
    if model is not None:
        with Store.open(db, create=False) as store:
            trial, of_best = export_model(store, name, model)
        words = "" if of_best else "; the best configuration kept no weights, a larger `keep` would have"
        typer.echo(f"{model}: the model of trial {trial.number}, as of epoch {trial.best_epoch}{words}")
        return
    for path in export_frames(open_engine(db, read_only=True), name, file_format, out / name):
        typer.echo(str(path))


# --- shared by the commands ---------------------------------------------------------------------------


def _file(study: str, sets: list[str] | None, db: str) -> StudyFile:
    """A study file from disk, or from the database by the study's name."""
    from harness.results.engine import open_engine
    from harness.results.overview import overviews
    from harness.spec import parse_study, read_study

    if Path(study).suffix in (".yaml", ".yml") or Path(study).is_file():
        return read_study(Path(study), sets or [])
    found = overviews(open_engine(db, read_only=True), study) if _exists(db) else []
    if not found:
        raise UsageError(f"{study!r} is neither a study file nor a study in {db}")
    return parse_study(found[0].text, sets or [], name=f"study {study} in {db}")


def _exists(db: str) -> bool:
    return "://" in db or Path(db).exists()


def _name(study: str) -> str:
    """The study's name: as given, or as its file says."""
    from harness.spec import read_study

    if Path(study).suffix in (".yaml", ".yml"):
        return read_study(Path(study)).spec.study
    return study


def _trial(text: str) -> tuple[str, int]:
    name, _, number = text.rpartition(":")
    if not name or not number.isdigit():
        raise UsageError(f"a trial is named STUDY:NUMBER, got {text!r}")
    return name, int(number)


def _stop_on_signals() -> Stop:
    """Ctrl-C and SIGTERM become requests that the coordinator sees between two ticks."""
    from harness.deadline import Stop

    stop = Stop()
    signal.signal(signal.SIGINT, lambda *_: stop.ask(130))
    signal.signal(signal.SIGTERM, lambda *_: stop.ask(143))
    signal.signal(signal.SIGHUP, lambda *_: stop.ask(129))  # the terminal or the connection is gone
    return stop


def _console() -> Console:
    from rich.console import Console

    return Console()


def _print_audit(counts: Any) -> None:
    from harness.terminal import audit_tables

    console = _console()
    for table in audit_tables(counts):
        console.print(table)
        console.print()


def _print_plan(planned: Any) -> None:
    from harness.plan_tables import plan_tables

    console = _console()
    for each in plan_tables(planned):
        console.print(each)


def _fail_if_any(failures: Any) -> None:
    if failures:
        raise HarnessError("the report is written, but: " + "; ".join(failures))


def _interrupted(*_: object) -> None:
    raise Interrupted("interrupted")


def main() -> None:
    """Entry of the `harness` command: every error becomes one message and its exit code."""
    signal.signal(signal.SIGINT, _interrupted)
    try:
        app()
    except HarnessError as error:
        from harness.terminal import printable

        typer.echo(f"harness: {printable(str(error))}", err=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.stderr.close()  # the reader has seen enough
        sys.exit(0)


if __name__ == "__main__":
    main()

"""Arguments and options that several commands take, and what they stand for."""

from __future__ import annotations

import re
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.errors import HarnessError, UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from harness.deadline import Stop
    from harness.spec import StudyFile

Db = Annotated[str, typer.Option("--db", help="the database: a file, or the URL of a server")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="override a value of the study file: a.b=c", metavar="KEY=VALUE"),
]
Out = Annotated[Path, typer.Option("--out", help="folder that holds one folder a study")]
Json = Annotated[bool, typer.Option("--json", help="print JSON")]
Workers = Annotated[int | None, typer.Option(help="worker processes; by default one a GPU, or one", min=1)]
ExecutorName = Annotated[
    str, typer.Option("--executor", metavar="NAME", help="where trials run: local, or ray for the nodes of a cluster")
]
Address = Annotated[
    str | None, typer.Option(help="the Ray cluster: HOST:PORT; by default the one that this machine belongs to")
]
NoCache = Annotated[bool, typer.Option("--no-cache", help="work out the frozen part of a model anew in every trial")]
CacheBudget = Annotated[
    str | None,
    typer.Option(
        "--cache-budget",
        metavar="SIZE",
        help="disk that the cache may take, as in 50GB; else 20 GB, or half of what is free where that is less",
    ),
]
Exact = Annotated[bool, typer.Option("--exact", help="batches and dropout as the plain Trainer's; nothing is shared")]
StudyArgument = Annotated[
    str, typer.Argument(metavar="STUDY", help="a study file, or the name of a study in the database")
]
UNITS = {"kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
DEFAULT_DB = "results.db"
REPORTS = Path("reports")
LONGEST_NAME = 200  # characters; systems end at 255 bytes


def study_of(study: str, sets: list[str] | None, db: str) -> StudyFile:
    """A study file from disk, or from the database by the study's name."""
    from harness.results.engine import open_engine
    from harness.results.overview import overviews
    from harness.results.rows import SCRIPT
    from harness.results.targets import public
    from harness.spec import parse_study, read_study

    if published_name(study) is not None:
        raise UsageError(f"{study} holds published runs, and there is nothing to run; harness import {study} takes it")
    if Path(study).suffix in (".yaml", ".yml") or Path(study).is_file():
        return read_study(Path(study), sets or [])
    found = overviews(open_engine(db, read_only=True), study) if exists(db) else []
    if not found:
        raise UsageError(f"{study!r} is neither a study file nor a study in {public(db)}")
    if found[0].source == "published":
        raise UsageError(f"study {study!r} is published, and there is nothing to run; harness report {study} shows it")
    file = parse_study(found[0].text, sets or [], name=f"study {study} in {public(db)}")
    if file.spec.data.path.startswith(SCRIPT):
        raise UsageError(f"study {study!r} was written down by a script; run the script again, or see harness report")
    return file


def exists(db: str) -> bool:
    """Whether there is a database; of a server it is taken for granted."""
    return "://" in db or Path(db).exists()


def bytes_of(size: str | None) -> int | None:
    """Bytes of a size such as 500MB, 20GB or 1.5 TB."""
    if size is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(kB|MB|GB|TB)", size.strip(), re.IGNORECASE)
    if found is None:
        raise UsageError(f"--cache-budget takes a size such as 500MB or 20GB, got {size!r}; for none: --no-cache")
    return int(float(found[1]) * UNITS[found[2].lower()])


def name_of(study: str) -> str:
    """The study's name: as given, or as its file says."""
    from harness.spec import read_study

    if Path(study).suffix in (".yaml", ".yml"):
        return published_name(study) or read_study(Path(study)).spec.study
    return study


def published_name(study: str) -> str | None:
    """The name that a file of published runs gives them; None for any other file or word."""
    from harness.published import is_published, parse_published, read_text

    path = Path(study)
    if path.suffix not in (".yaml", ".yml") or not path.is_file():
        return None
    text = read_text(path)
    return parse_published(text, study).spec.published if is_published(text) else None


def folder_in(out: Path, name: str) -> Path:
    """Where the files of a study go: a folder of its own below `out`, whatever a database of others calls it."""
    if name != Path(name).name or name in ("", ".", "..") or not name.isprintable() or len(name) > LONGEST_NAME:
        raise UsageError(f"{name[:LONGEST_NAME]!r} can be no name of a folder, so nothing is written for it")
    return out / name


def trial_of(text: str) -> tuple[str, int]:
    """Study and number of STUDY:NUMBER."""
    name, _, number = text.rpartition(":")
    if not name or not number.isdigit():
        raise UsageError(f"a trial is named STUDY:NUMBER, got {text!r}")
    return name, int(number)


def stop_on_signals() -> Stop:
    """Ctrl-C and SIGTERM become requests that the coordinator sees between two ticks."""
    from harness.deadline import Stop

    stop = Stop()
    signal.signal(signal.SIGINT, lambda *_: stop.ask(130))
    signal.signal(signal.SIGTERM, lambda *_: stop.ask(143))
    signal.signal(signal.SIGHUP, lambda *_: stop.ask(129))  # the terminal or the connection is gone
    return stop


def terminal() -> Console:
    """Where tables and progress are drawn."""
    from harness.terminal import Terminal

    return Terminal()


def fail_if_any(failures: Any) -> None:
    """A report with gaps is written, and still an error."""
    if failures:
        raise HarnessError("the report is written, but: " + "; ".join(failures))

"""The night: run a study, see how it stands."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.commands.options import (
    DEFAULT_DB,
    Address,
    CacheBudget,
    Db,
    Exact,
    ExecutorName,
    Json,
    NoCache,
    Set,
    StudyArgument,
    Workers,
    bytes_of,
    name_of,
    stop_on_signals,
    study_of,
    terminal,
)
from harness.errors import UsageError

if TYPE_CHECKING:
    from harness.deadline import Stop
    from harness.executors.base import Executor
    from harness.spec import StudyFile


def run(
    study: StudyArgument,
    sets: Set = None,
    workers: Workers = None,
    executor: ExecutorName = "local",
    address: Address = None,
    no_cache: NoCache = False,
    cache_budget: CacheBudget = None,
    exact: Exact = False,
    db: Db = DEFAULT_DB,
) -> None:
    """Run a study to its total, or go on where it stopped; does nothing when all is done."""
    budget = bytes_of(cache_budget)
    file = study_of(study, sets, db)  # a mistake in the file is told before seconds go into what a night needs
    spend(file, db, Placing(executor, address, workers), Caching(not no_cache, budget, exact))


@dataclass(frozen=True)
class Placing:
    """Where trials run, as the command line asks for it."""

    executor: str
    address: str | None
    workers: int | None


@dataclass(frozen=True)
class Caching:
    """What is worked out once and shared, as the command line asks for it."""

    on: bool
    budget: int | None
    exact: bool


def spend(file: StudyFile, db: str, placing: Placing, caching: Caching, searching: bool = True) -> None:
    """Spend a night on a study: its search and its confirmation, or its confirmation alone."""
    from harness.grid import whole
    from harness.live import Watched, headline
    from harness.results.store import Store
    from harness.study import confirmable, sharing
    from harness.study import run as run_study

    if placing.workers is not None:  # one without a trial would only hold threads back
        trials = whole(file.spec) if searching else None
        placing = replace(placing, workers=min(placing.workers, trials or placing.workers))
    stop = stop_on_signals()
    observer = Watched(terminal())
    with Store.open(db, create=searching) as store:
        if not searching:
            confirmable(store, file)
        shared = sharing(store.files, file.spec, cache=caching.on, exact=caching.exact, budget=caching.budget)
        with executor_of(placing, store.files, stop) as executor, observer:
            board = run_study(store, file, executor, observer, stop, shared, searching=searching)
    observer.note(headline(board))
    observer.note(f"report: harness report {board.study}")


def executor_of(placing: Placing, files: Path, stop: Stop) -> Executor:
    """The executor that the command line asks for."""
    if placing.executor == "ray":
        from harness.executors.ray import RayExecutor

        return RayExecutor(files, placing.address or "auto", placing.workers, stop)
    if placing.executor != "local":
        raise UsageError(f"--executor is local or ray, got {placing.executor!r}")
    if placing.address is not None:
        raise UsageError("--address names a Ray cluster: give --executor ray with it")
    from harness.executors.local import LocalExecutor

    return LocalExecutor(files / "logs", placing.workers)


def status(
    study: Annotated[str | None, typer.Argument(metavar="[STUDY]", help="one study; all without it")] = None,
    morning: Annotated[
        bool, typer.Option("--morning", help="the best with its interval, what failed and was mended, what to run next")
    ] = False,
    as_json: Json = False,
    db: Db = DEFAULT_DB,
) -> None:
    """What runs, what is done, the best so far, time to finish, failures by reason."""
    from harness.grid import whole
    from harness.results.engine import open_engine
    from harness.results.overview import overviews
    from harness.results.targets import public
    from harness.spec import parse_study
    from harness.terminal import remaining
    from harness.terminal import status as status_of

    engine = open_engine(db, read_only=True)
    found = overviews(engine, None if study is None else name_of(study))
    if study is not None and not found:
        raise UsageError(f"there is no study {name_of(study)!r} in {public(db)}; harness status lists them")
    if morning:
        show_mornings(db, [each.study for each in found], as_json)
        return
    totals = [
        sum(each.states.values())  # nothing is to come of published runs, and nobody knows how often a script runs
        if each.source == "published" or each.of_script
        else whole(parse_study(each.text, name=f"study {each.study} in {public(db)}").spec, each.confirming)
        for each in found
    ]
    rests = [remaining(each, trials) for each, trials in zip(found, totals, strict=True)]
    if as_json:
        typer.echo(json.dumps([each.as_dict() | rest for each, rest in zip(found, rests, strict=True)], indent=2))
        return
    for each, rest in zip(found, rests, strict=True):
        terminal().print(status_of(each, rest))


def show_mornings(db: str, studies: Sequence[str], as_json: bool) -> None:
    """The first screen of each study's report, in words or as JSON."""
    from harness.report import morning
    from harness.report.plain import morning as in_words
    from harness.report.study_frames import opened

    found = []
    for study in studies:
        frames = opened(db, study)
        try:
            found.append(morning.of(frames))
        finally:
            frames.close()
    if as_json:
        typer.echo(json.dumps([each.as_dict() for each in found], indent=2))
        return
    for each in found:
        typer.echo(in_words(each.study, [("Best so far", each.best), *each.groups()], terminal().width))

"""A study from its file to its end: made, extended or refused, held by one process, run, judged."""

from __future__ import annotations

import shutil
from pathlib import Path

import harness.disk as disk
from harness.board import Board, Observer
from harness.deadline import Stop
from harness.errors import AllTrialsFailed, HeldError, SpecError, UsageError
from harness.executors.base import Executor
from harness.jobs import Sharing
from harness.night import Night, times_its_trials
from harness.results import mirror
from harness.results.rows import StudyRow
from harness.results.store import Store
from harness.spec import StudyFile, StudySpec, changes, extends_only, parse_study

MOST_CACHE_BYTES = 20_000_000_000
ALONE = Sharing()  # nothing is taken from another trial


def agree(store: Store, row: StudyRow, file: StudyFile) -> StudyRow:
    """The study's row as the file has it; once it has a trial, an edited file must only extend.

    Raises:
        SpecError: with the differences, when the file asks for another study under the same name.
    """
    if row.fingerprint == file.spec.fingerprint:
        return row
    refuse_another(store, row, file)
    store.extend_study(row.id, file)
    return known(store, file)


def refuse_another(store: Store, row: StudyRow, file: StudyFile) -> None:
    """Once a study has a trial, a file must ask for the same trials or more.

    Raises:
        SpecError: with the differences.
    """
    old = file_of(row)
    if not extends_only(old.spec, file.spec) and store.trials(row.id):
        listed = "\n  ".join(changes(old.spec, file.spec))
        raise SpecError(
            f"study {row.name!r} exists and was run with another study file:\n  {listed}\n"
            "An edit may only extend (more trials, more time). For another study: --set study=NEW-NAME"
        )


def known(store: Store, file: StudyFile) -> StudyRow:
    """The study of the file's name, made on first sight."""
    row = store.study(file.spec.study)
    if row is None:
        store.create_study(file)
        row = store.study(file.spec.study)
    assert row is not None
    refuse_published(row)
    return row


def refuse_published(row: StudyRow) -> None:
    """Runs made elsewhere are figures, which nothing here goes on with.

    Raises:
        SpecError: with the remedy.
    """
    if row.source == "published":
        raise SpecError(
            f"study {row.name!r} is published: its figures were imported and there is nothing to run. "
            "For a study of your own: --set study=NEW-NAME"
        )
    if row.of_script:
        raise SpecError(
            f"study {row.name!r} was written down by a script, which alone knows its data and model: run the script "
            "again. For a study that is run from here: --set study=NEW-NAME"
        )


def file_of(row: StudyRow) -> StudyFile:
    """The study file as the record keeps it."""
    refuse_published(row)
    return parse_study(row.text, name=f"study {row.name} in the database")


def confirmable(store: Store, file: StudyFile) -> None:
    """Refuse a study without a trial that could be chosen.

    Raises:
        UsageError: with what comes first.
    """
    name = file.spec.study
    row = store.study(name)
    if row is None or not any(trial.state == "complete" for trial in store.trials(row.id)):
        raise UsageError(f"study {name!r} has no complete trial to confirm; harness run {name} comes first")


def sharing(
    files: Path, spec: StudySpec, *, cache: bool = True, exact: bool = False, budget: int | None = None
) -> Sharing:
    """What the trials of a study may take from each other's work.

    Where an objective is a time or a rate nothing is shared: who comes first would pay for the others.

    Args:
        files: the folder beside the database, which holds the cache.
        spec: of the study.
        cache: whether frozen prefixes are worked out once for all trials.
        exact: whether batches and dropout are the plain Trainer's.
        budget: bytes of the cache at most; None for `MOST_CACHE_BYTES`, or half of the free disk if that is less.
    """
    if not cache or exact or times_its_trials(spec):
        return Sharing(exact=exact)
    files.mkdir(parents=True, exist_ok=True)
    if budget is None:
        budget = min(MOST_CACHE_BYTES, shutil.disk_usage(files).free // 2)
    return Sharing(str(files / "cache"), budget, spec.freezes())


def run(
    store: Store,
    file: StudyFile,
    executor: Executor,
    observer: Observer,
    stop: Stop,
    sharing: Sharing = ALONE,
    searching: bool = True,
) -> Board:
    """Continue a study to its total; the last board tells how it ended.

    Args:
        store: the record.
        file: the study.
        executor: where trials run.
        observer: who shows how it goes.
        stop: how an end is asked for.
        sharing: what trials may take from each other's work.
        searching: false leaves the search as it is and confirms what it has found, whatever the budget.

    Raises:
        HeldError: another process runs this study, or a disk is full.
        Interrupted: after Ctrl-C or SIGTERM, with everything recorded.
        AllTrialsFailed: no trial succeeded.
        HarnessError: what the preparation found wrong with data, models or settings.
    """
    try:
        board = _run(store, file, executor, observer, stop, sharing, searching)
    except Exception as error:
        if disk.is_full(error) and not isinstance(error, HeldError):
            raise disk.full(store.files, str(error).partition("\n")[0]) from error
        raise
    if board.states.get("failed") and not board.states.get("complete") and not board.states.get("pruned"):
        name = file.spec.study
        raise AllTrialsFailed(f"all {board.states['failed']} trials of {name} failed: harness status {name}")
    return board


def _run(
    store: Store,
    file: StudyFile,
    executor: Executor,
    observer: Observer,
    stop: Stop,
    sharing: Sharing,
    searching: bool,
) -> Board:
    row = known(store, file)
    with store.hold(row.id):  # before the file is looked at: another process may be running it
        row = agree(store, row, file)
        night = Night(store, row, file, executor, observer, stop, sharing, searching)
        if night.work_left():
            night.through()
        else:
            mirror.sync(store, row.id)
        return night.board()

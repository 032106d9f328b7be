"""Mending what a killed night left over: found by reading, done after a backup, told in words.

No recorded row is ever deleted, and no file that a row speaks of. What cannot be mended is the doctor's to tell.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import sqlalchemy as sa

from harness.errors import HeldError, StorageError, UsageError
from harness.results import mirror, schema, soundness
from harness.results.engine import revision_of
from harness.results.holders import living_holders, open_sessions
from harness.results.mirrored import mirrored
from harness.results.ownership import process_started
from harness.results.rows import StudyRow, TrialRow
from harness.results.store import Store
from harness.results.study_writes import studies
from harness.results.targets import database_path, files_folder, is_server, public, trial_folder
from harness.results.trial_writes import trials

UNCLAIMED = "unclaimed"  # where files go that no row speaks of


Act = Callable[[Store], object]


class Mending(NamedTuple):
    """Something to mend: what was found, what is done about it, and whether the database changes."""

    found: str
    done: str
    act: Act
    in_database: bool = False

    def __str__(self) -> str:
        return f"{self.found}: {self.done}"


class Repaired(NamedTuple):
    """What was mended, in words, and the copy of the database as it was before, where it was changed."""

    done: tuple[str, ...]
    backup: Path | None


def repair(target: str | Path) -> Repaired:
    """Mend everything that can be mended.

    Raises:
        HeldError: a study is being run; nothing was changed.
        HarnessError: the database cannot be used as it is; nothing was changed.
    """
    done = []
    revision = revision_of(target)
    if revision is None:
        raise UsageError(f"{public(target)} holds no study of this harness yet; `harness run` makes its tables")
    backup = None
    if revision != schema.HEAD:
        Store.open(target, create=False).close()
        done.append(f"schema {revision} was brought to {schema.HEAD}")
        backup = None if is_server(target) else database_path(target).with_name(_copy_before(target))
    with Store.open(target, create=False) as store:
        _refuse_held(store.engine)
        todo = wanted(store.engine, target)
        if any(mending.in_database for mending in todo) and not is_server(target):
            backup = soundness.make_backup(database_path(target))
        for mending in todo:
            mending.act(store)
            done.append(str(mending))
    return Repaired(tuple(done), backup)


def _copy_before(target: str | Path) -> str:
    return f"{database_path(target).name}.before-{schema.HEAD}"


def _refuse_held(engine: sa.Engine) -> None:
    with engine.connect() as connection:
        for row in studies(connection):
            for holder in living_holders(connection, row.id):
                raise HeldError(f"study {row.name!r} is being run by {holder}; repair when it has ended")


def wanted(engine: sa.Engine, target: str | Path) -> list[Mending]:
    """What there is to mend in a database of our schema and in the files beside it; reads only."""
    files = files_folder(target)
    found = list(_of_cache(files))
    if not is_server(target):
        found += _of_file(engine, database_path(target))
    with engine.connect() as connection:
        of_studies = [(row, trials(connection, row.id)) for row in studies(connection)]
        every = [trial for _, rows in of_studies for trial in rows]
        seen = any(_has_weights(files, trial) for trial in every)
        held = False
        for row, rows in of_studies:
            if living_holders(connection, row.id):
                held = True
                continue
            found += [*_left_running(connection, row, rows), *_unmirrored(connection, row, rows)]
            found += [mending for trial in rows for mending in _of_trial(files, trial, seen)]
    known = {trial_folder(files, trial.id).name for trial in every}
    return found if held else [*found, *_unclaimed(files, known)]


# --- the database -------------------------------------------------------------------------------------


def _of_file(engine: sa.Engine, path: Path) -> Iterator[Mending]:
    faults = soundness.integrity_faults(engine)
    if soundness.only_indexes(faults):
        yield Mending(f"indexes do not fit their tables ({faults[0]})", "made anew", _reindex, in_database=True)
    if size := soundness.write_ahead_log(path):
        words = f"{size:,} bytes lie in the write-ahead log beside {path.name}"
        yield Mending(words, "brought into the file itself", _checkpoint, in_database=True)
    for draft in soundness.drafts(path):
        yield Mending(f"{draft.name} is a database that was never finished", "removed", _removing(draft))
    if path.stat().st_mode & 0o077:
        yield Mending(f"others may read {path.name}", "for its owner alone now", lambda _: path.chmod(0o600))


def _reindex(store: Store) -> None:
    store.close()
    soundness.reindex(database_path(store.target))


def _checkpoint(store: Store) -> None:
    store.close()
    soundness.empty_write_ahead_log(database_path(store.target))


def _left_running(connection: sa.Connection, row: StudyRow, rows: list[TrialRow]) -> Iterator[Mending]:
    """Sessions and trials of a coordinator that is gone; the caller knows that no living one holds the study."""
    gone = [f"process {owner.pid} on {owner.host}" for _, owner, _ in open_sessions(connection, row.id)]
    left = [str(trial.number) for trial in rows if trial.state == "running"]
    if gone or left:
        who = f"{', '.join(gone) or 'a process'} left {row.name} without a word"
        words = f"{who}, with running trials {', '.join(left)}" if left else who
        done = "they wait again" if left else "its session is closed"
        yield Mending(words, done, lambda store: store.release(row.id), in_database=True)


def _unmirrored(connection: sa.Connection, row: StudyRow, rows: list[TrialRow]) -> Iterator[Mending]:
    there = mirrored(connection, row.name)
    lacking = [trial.number for trial in rows if trial.finished and trial.number not in there]
    if lacking and row.source == "own":
        words = f"Optuna's tables lack {len(lacking)} finished trials of {row.name}"
        yield Mending(words, "added", lambda store: mirror.sync(store, row.id), in_database=True)


# --- files ----------------------------------------------------------------------------------------------


def _unclaimed(files: Path, known: set[str]) -> Iterator[Mending]:
    """Folders of trials that the record does not know, as after an older copy of it was put back."""
    for folder in sorted((files / "trials").glob("t" + "[0-9]" * 6 + "*")):
        if folder.name not in known:
            words = f"trials/{folder.name} belongs to no trial of the record"
            yield Mending(words, f"moved to {files.name}/{UNCLAIMED}", _setting_aside(folder))


def _setting_aside(folder: Path) -> Act:
    """Moves a trial's folder to those that nobody claims."""

    def act(_: Store) -> None:
        place = folder.parent.parent / UNCLAIMED
        place.mkdir(exist_ok=True)
        folder.rename(next(place / name for name in _names(folder.name) if not (place / name).exists()))

    return act


def _names(name: str) -> Iterator[str]:
    yield name
    number = 2
    while True:
        yield f"{name}-{number}"
        number += 1


def _has_weights(files: Path, trial: TrialRow) -> bool:
    return trial.model_folder is not None and (trial_folder(files, trial.id) / trial.model_folder).is_dir()


def _of_trial(files: Path, trial: TrialRow, seen: bool) -> Iterator[Mending]:
    """What a trial needs no more, and weights that the record believes in and that are gone.

    Weights that are only out of sight must not be forgotten, for what is forgotten the next night deletes: they are
    gone where the trial's folder lies without them, or where weights of other trials are `seen`.
    """
    folder = trial_folder(files, trial.id)
    kept = trial.model_folder
    if trial.finished:
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if path.name != kept:
                words = f"{path.name} of the finished trial {trial.number} lies in {folder.name}"
                yield Mending(words, "removed", _removing(path))
        looked_at = folder.is_dir() or (seen and not folder.is_symlink())
        if kept is not None and looked_at and not (folder / kept).is_dir():
            words = f"the weights of trial {trial.number} are gone from {folder.name}"
            yield Mending(words, "the record says so now", lambda store: store.forget_model(trial.id), in_database=True)
    elif trial.state == "waiting":
        for path in sorted([*folder.glob(".draft-*"), *folder.glob("*/.draft-*"), *folder.glob("*/.old-*")]):
            words = f"{path.name} in {folder.name} was never finished"
            yield Mending(words, "removed", _removing(path))


def _of_cache(files: Path) -> Iterator[Mending]:
    """Files that a worker which is gone was writing into the cache."""
    for path in sorted((files / "cache").glob(".*.safetensors.*")):
        process = path.name.rpartition(".")[2]
        if process.isdigit() and process_started(int(process)) is None:
            yield Mending(f"cache/{path.name} was never finished", "removed", _removing(path))


def _removing(path: Path) -> Act:
    """Removes a file, or a folder with everything in it."""

    def act(_: Store) -> None:
        try:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        except OSError as error:
            raise StorageError(f"{path} cannot be removed: {error}") from error

    return act

"""Whether a record can be believed and a study left alone tonight: every check in turn, with what mends it.

Reads only, never for long at a time, and goes on after what it finds: a database that cannot be opened is a finding,
not an end. Without torch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa

import harness.machine as machine
from harness.errors import HarnessError, StorageError
from harness.findings import Finding, good, note, wrong
from harness.repair import wanted
from harness.results import frames, recomputed, schema, soundness
from harness.results.engine import closing, open_engine, revision_of
from harness.results.invariants import violations_of_rows
from harness.results.rows import StudyRow
from harness.results.study_writes import studies
from harness.results.tables import model
from harness.results.targets import database_path, files_folder, is_server, public, storage_errors, trial_folder
from harness.results.trial_writes import trials
from harness.spec import StudyFile, parse_study

RECOVER = "`sqlite3 FILE .recover` saves what can be read, a backup beside it has what was"
REPAIR = "harness repair"


def examine(target: str | Path, file: StudyFile | None = None) -> Iterator[Finding]:
    """Look at a database and at this machine.

    Args:
        target: the database; one that does not exist yet is no fault.
        file: the study that is to run; the checks of trials then keep to it.
    """
    name = None if file is None else file.spec.study
    yield from record(target, name)
    folder = Path.cwd() if is_server(target) else database_path(target).parent
    yield machine.place(folder)
    parameters, facts = _known(target, name)
    yield machine.space(files_folder(target), parameters, 0 if file is None else file.spec.keep)
    yield machine.device()
    yield from machine.packages()
    if facts is not None:
        yield machine.changed_packages(facts)
    yield machine.hub(None if file is None else file.spec)


# --- the record ---------------------------------------------------------------------------------------


def record(target: str | Path, study: str | None) -> Iterator[Finding]:
    """Every check of the database, as far as it can be opened."""
    if not is_server(target) and not database_path(target).exists():
        yield note("database", f"there is no database {database_path(target)} yet", "harness run makes it")
        return
    try:
        with storage_errors(target):
            yield from _opened(target, study)
    except HarnessError as error:
        yield wrong("database", error, str(error), _mend_of(error))
    except Exception as error:  # what a changed bit in a row makes of the code that reads it is a finding too
        words = f"the record holds what no harness wrote: {type(error).__name__}: {error}"
        yield wrong("database", StorageError, words, RECOVER)


def _mend_of(error: HarnessError) -> str:
    return RECOVER if isinstance(error, StorageError) and "damaged" in str(error) else ""


def _opened(target: str | Path, study: str | None) -> Iterator[Finding]:
    found = revision_of(target)
    if found is None:
        yield note("database", f"{public(target)} holds no study of this harness yet", "harness run makes its tables")
        return
    if found != schema.HEAD:
        words = f"{public(target)} has schema {found} of an older harness, this one has {schema.HEAD}"
        copy = "; copy it with pg_dump before" if is_server(target) else " after a copy"
        yield note("database", words, f"`{REPAIR}`, or the next `harness run`, brings it forward{copy}")
        return
    engine = open_engine(target, read_only=True)
    with closing(engine):
        yield good("database", f"{public(target)} has schema {found}")
        faults = list(_of_file(engine))
        yield from faults
        if any(RECOVER == fault.mend for fault in faults):
            return  # what is read from a damaged file says nothing
        yield from _of_trials(engine, study)
        with engine.connect() as connection:
            chosen = [row for row in studies(connection) if study in (None, row.name)]
        for row in chosen:
            yield from _outputs(engine, row)
            yield from _weights(engine, row, files_folder(target))
        todo = wanted(engine, target)
        yield from (note("left over", mending.found, f"{REPAIR}: {mending.done}") for mending in todo)
        if not todo:
            yield good("left over", "nothing is left to mend")


def _of_file(engine: sa.Engine) -> Iterator[Finding]:
    """What SQLite says of the file; in a damaged one it cannot look for rows that refer to nothing."""
    faults = soundness.integrity_faults(engine)
    mend = REPAIR if soundness.only_indexes(faults) else RECOVER
    yield from (wrong("file", StorageError, fault, mend) for fault in faults)
    references = [] if faults else soundness.broken_references(engine)
    yield from (wrong("file", StorageError, fault, RECOVER) for fault in references)
    for name in soundness.changed_definitions(engine) if not faults else ():
        faults.append(name)
        yield wrong("file", StorageError, f"{name} is not defined as schema {schema.HEAD} defines it", RECOVER)
    if not faults and not references:
        yield good("file", "it passes its own checks, and every row refers to one that is there")


def _of_trials(engine: sa.Engine, study: str | None) -> Iterator[Finding]:
    found = violations_of_rows(engine, study)
    for each in found:
        if each.mend:
            yield note("trials", str(each), each.mend)
        else:
            mend = "do not trust this trial; a backup of the database may still have it right"
            yield wrong("trials", StorageError, str(each), mend)
    if not found:
        yield good("trials", "epochs, states, holders and Optuna's tables agree")


def _outputs(engine: sa.Engine, row: StudyRow) -> Iterator[Finding]:
    faults = list(recomputed.faults(engine, row))
    yield from (wrong("outputs", StorageError, fault, "do not trust this epoch") for fault in faults)
    if not faults:
        yield good("outputs", f"stored outputs of {row.name} have their checksums, and its losses follow from them")


def _weights(engine: sa.Engine, row: StudyRow, files: Path) -> Iterator[Finding]:
    """Kept models against the checksums that were written with them."""
    with engine.connect() as connection:  # closed before the files are read, for a night may want to write
        kept = [each for each in trials(connection, row.id) if each.model_folder is not None]
    folders = [(each, trial_folder(files, each.id) / str(each.model_folder)) for each in kept]
    there = [(each, folder) for each, folder in folders if folder.is_dir()]
    faults = 0
    for each, folder in there:
        if differing := differing_files(folder):
            faults += 1
            words = f"kept weights of {row.name}:{each.number} are damaged: {', '.join(differing)} in {folder}"
            yield wrong("weights", StorageError, words, f"do not use them; remove the folder, then `{REPAIR}`")
    if missing := len(kept) - len(there):
        words = f"{missing} of {len(kept)} kept models of {row.name} are not in {files / 'trials'}"
        yield note("weights", words, "bring back what was moved or is not mounted")
    if there and not faults:
        yield good("weights", f"{len(there)} kept models of {row.name} are as they were written")


def differing_files(folder: Path) -> list[str]:
    """Files of a kept model that are not as its manifest says; the manifest itself when it cannot be read."""
    try:
        sums = json.loads((folder / "manifest.json").read_text("utf-8"))["sha256"].items()
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return ["manifest.json"]
    return [name for name, expected in sums if _sha256(folder / name) != expected]


def _sha256(path: Path) -> str | None:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:
        return None


# --- what the record knows of a study -----------------------------------------------------------------


def _known(target: str | Path, study: str | None) -> tuple[int, dict[str, object] | None]:
    """Parameters of the study's largest model, and the environment of its last trial, as far as they are recorded."""
    if study is None or (not is_server(target) and not database_path(target).exists()):
        return 0, None
    try:
        engine = open_engine(target, read_only=True)
        with closing(engine), engine.connect() as connection:
            row = next((each for each in studies(connection) if each.name == study), None)
            if row is None:
                return 0, None
            largest = connection.scalar(
                sa.select(sa.func.max(model.c.total_parameters)).where(model.c.study_id == row.id)
            )
            environments = frames.environment(engine, study)["facts"]
            return int(largest or 0), dict(environments.iloc[-1]) if len(environments) else None
    except HarnessError:
        return 0, None  # why it cannot be read is told already


def study_in(target: str | Path, name: str) -> StudyFile | None:
    """The file of a study in the database; None where it cannot be had, which the examination tells."""
    try:
        engine = open_engine(target, read_only=True)
        with closing(engine), engine.connect() as connection:
            own = (row for row in studies(connection) if row.source == "own")
            text = next((row.text for row in own if row.name == name), None)
        return None if text is None else parse_study(text, name=f"study {name} in {public(target)}")
    except HarnessError:
        return None

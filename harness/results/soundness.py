"""An SQLite file as a file: its own checks, the files beside it, a copy, and what SQLite can mend by itself.

The other module with SQLite-only SQL beside `engine.py`; a database server looks after its files itself.
"""

from __future__ import annotations

import re
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa

from harness.results import definitions
from harness.results.engine import back_up, draft_prefix

MOST_FAULTS = 100
# An index can be made anew from its table, so these faults lose nothing.
_OF_AN_INDEX = re.compile(r"missing from index|wrong # of entries in index|non-unique entry in index")


def integrity_faults(engine: sa.Engine) -> list[str]:
    """What SQLite's integrity_check says of the whole file, indexes included; empty when it is sound."""
    if engine.dialect.name != "sqlite":
        return []
    with engine.connect() as connection:
        answers = connection.exec_driver_sql(f"PRAGMA integrity_check({MOST_FAULTS})").scalars().all()
    return [str(answer) for answer in answers if answer != "ok"]


def broken_references(engine: sa.Engine) -> list[str]:
    """Rows that refer to a row that is not there."""
    if engine.dialect.name != "sqlite":
        return []
    with engine.connect() as connection:
        rows = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
    return [f"row {rowid} of {table} refers to a row of {parent} that is not there" for table, rowid, parent, _ in rows]


def changed_definitions(engine: sa.Engine) -> list[str]:
    """Tables, indexes and views of ours that are not defined as this schema defines them."""
    if engine.dialect.name != "sqlite":
        return []
    with engine.connect() as connection:
        return definitions.changed(connection)


def only_indexes(faults: list[str]) -> bool:
    """Whether REINDEX mends all of these faults."""
    return bool(faults) and all(_OF_AN_INDEX.search(fault) for fault in faults)


def reindex(path: Path) -> None:
    """Make every index anew from its table."""
    connection = sqlite3.connect(path)
    try:
        connection.execute("REINDEX")
    finally:
        connection.close()


def write_ahead_log(path: Path) -> int:
    """Bytes that lie in the write-ahead log beside a database file; 0 without one."""
    log = path.with_name(path.name + "-wal")
    return log.stat().st_size if log.exists() else 0


def empty_write_ahead_log(path: Path) -> None:
    """Bring what the write-ahead log holds into the file itself."""
    connection = sqlite3.connect(path)
    try:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    finally:
        connection.close()


def drafts(path: Path) -> list[Path]:
    """What a process that was killed while it made this database left beside it."""
    return sorted(path.parent.glob(f"{_literal(draft_prefix(path))}*"))


def _literal(text: str) -> str:
    """A file name as a pattern that matches itself alone."""
    return re.sub(r"([*?[])", r"[\1]", text)


def make_backup(path: Path) -> Path:
    """A copy of the database beside it, named by the moment; readable by its owner alone."""
    copy = path.with_name(f"{path.name}.backup-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}")
    back_up(path, copy)
    return copy

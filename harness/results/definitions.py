"""How the tables and views of an SQLite file are defined, and how they should be."""

from __future__ import annotations

import functools
import hashlib
import json

import sqlalchemy as sa

from harness.results import schema

# `digest` of a new database, by which most files are known without making one in memory to compare with.
USUAL = "8a0a374faa58373f565f922eb85912944bf80b0a7a8673ef01db03a5a259b373"


@functools.cache
def expected() -> dict[str, str]:
    """Name -> definition in a new database."""
    engine = sa.create_engine("sqlite://")
    with engine.begin() as connection:
        schema.upgrade(connection)
        found = defined(connection)
    engine.dispose()
    return found


def defined(connection: sa.Connection) -> dict[str, str]:
    """Name -> definition of our tables, views and indexes in an SQLite file."""
    rows = connection.exec_driver_sql("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").all()
    return {name: " ".join(sql.split()) for name, sql in rows if "harness_" in name}


def changed(connection: sa.Connection) -> list[str]:
    """Names of ours that are not defined as this schema defines them, indexes included."""
    found = defined(connection)
    if digest(found) == USUAL:
        return []
    return sorted(name for name, sql in expected().items() if found.get(name) != sql)


def digest(definitions: dict[str, str]) -> str:
    """SHA-256 of names and definitions."""
    return hashlib.sha256(json.dumps(definitions, sort_keys=True).encode()).hexdigest()

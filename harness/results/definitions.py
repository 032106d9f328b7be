"""How the tables and views of an SQLite file are defined, and how they should be."""

from __future__ import annotations

import functools

import sqlalchemy as sa

from harness.results import schema


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
    return sorted(name for name, sql in expected().items() if found.get(name) != sql)

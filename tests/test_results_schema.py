"""The revisions, run one after another, make exactly what `tables.py` and `views.py` describe."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from harness.results import definitions, schema, tables, views
from harness.results.engine import open_engine

# SQLite cannot tell of an index on an expression; the statements are compared to the letter as well.
unread = pytest.mark.filterwarnings("ignore:.*expression-based index")
REVISIONS = sorted((schema.SCRIPTS / "versions").glob("r*.py"))


@pytest.fixture
def migrated(tmp_path: Path) -> Iterator[sa.Connection]:
    engine = open_engine(tmp_path / "results.db")
    with engine.connect() as connection:
        yield connection
    engine.dispose()


@pytest.fixture
def described(tmp_path: Path) -> Iterator[sa.Connection]:
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'described.db'}")
    tables.metadata.create_all(engine)
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def statements(connection: sa.Connection) -> dict[str, list[str]]:
    """Name -> the parts of the statement that made a table, index or view; a later column stands last in its text."""
    listing = connection.exec_driver_sql("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").all()
    return {name: sorted(parts(" ".join(sql.split()))) for name, sql in listing if name != schema.VERSION_TABLE}


def parts(statement: str) -> list[str]:
    """A statement cut at the commas and brackets of its outermost list."""
    found, depth = [""], 0
    for character in statement:
        depth += {"(": 1, ")": -1}.get(character, 0)
        if (character == "," and depth == 1) or character in "()" and depth + (character == ")") == 1:
            found.append("")
        else:
            found[-1] += character
    return [part.strip() for part in found if part.strip()]


def test_a_new_database_is_known_by_its_digest(migrated: sa.Connection) -> None:
    """Where this fails the schema or its writers have changed: write the new digest into `definitions.USUAL`."""
    assert definitions.digest(definitions.defined(migrated)) == definitions.USUAL
    assert definitions.digest(definitions.expected()) == definitions.USUAL


def test_what_has_another_digest_is_compared_one_by_one(migrated: sa.Connection) -> None:
    assert definitions.changed(migrated) == []
    migrated.exec_driver_sql("CREATE TABLE harness_of_mine (a)")
    assert definitions.changed(migrated) == []  # one more changes none of ours
    migrated.exec_driver_sql("ALTER TABLE harness_incident ADD COLUMN b TEXT")
    assert definitions.changed(migrated) == ["harness_incident"]


def differences(connection: sa.Connection, metadata: sa.MetaData) -> list[object]:
    def ours(_thing: object, name: str | None, kind: str, *_: object) -> bool:
        return kind != "table" or (str(name) not in views.VIEWS and name != schema.VERSION_TABLE)

    context = MigrationContext.configure(connection, opts={"include_object": ours})
    return list(compare_metadata(context, metadata))


@unread
def test_the_migrations_make_every_table_that_is_described(migrated):
    assert differences(migrated, tables.metadata) == []


@unread
def test_a_column_without_a_migration_is_noticed(migrated):
    later = sa.MetaData(naming_convention=tables.metadata.naming_convention)
    for table in tables.metadata.sorted_tables:
        table.to_metadata(later)
    later.tables["harness_trial"].append_column(sa.Column("mood", sa.Text()))
    assert [change[0] for change in differences(migrated, later)] == ["add_column"]


def test_tables_checks_indexes_and_views_are_the_described_ones_to_the_letter(migrated, described):
    ours, theirs = statements(migrated), statements(described)
    assert set(views.VIEWS) | {"harness_trial", "uq_harness_trial_identity"} <= ours.keys()
    assert ours == theirs


@pytest.mark.parametrize("path", REVISIONS, ids=lambda path: path.stem)
def test_a_revision_is_frozen_and_reads_nothing_of_the_present_harness(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert not str(node.module).startswith("harness"), f"{path.name}:{node.lineno}"
        if isinstance(node, ast.Import):
            assert not any(alias.name.startswith("harness") for alias in node.names), f"{path.name}:{node.lineno}"

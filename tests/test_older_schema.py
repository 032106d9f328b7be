"""A database of an older harness: doctor says what brings it forward, and that does, on a file and on a server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from harness.doctor import record
from harness.errors import UsageError
from harness.repair import repair
from harness.results import schema
from harness.results.engine import closing, open_engine, revision_of
from harness.results.store import Store
from harness.results.targets import is_server

ON_A_SERVER = (pytest.mark.postgres, pytest.mark.slow)
OLD = "0005"


@pytest.fixture
def old(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A database as an older harness made it, on a file or on a server."""
    if request.param == "sqlite":
        target, url = tmp_path / "results.db", f"sqlite:///{tmp_path / 'results.db'}"
    else:
        monkeypatch.chdir(tmp_path)
        target = url = request.getfixturevalue("server_database")
    engine = sa.create_engine(url)
    with closing(engine), engine.begin() as connection:
        schema.upgrade(connection, OLD)
    return target


BOTH = pytest.mark.parametrize("old", ["sqlite", pytest.param("postgresql", marks=ON_A_SERVER)], indirect=True)


@BOTH
def test_repair_does_what_doctor_says(old: Any) -> None:
    (found,) = record(old, None)
    assert f"has schema {OLD} of an older harness" in found.words
    assert found.mend.startswith("`harness repair`, or the next `harness run`, brings it forward")
    assert found.mend.endswith("; copy it with pg_dump before" if is_server(old) else " after a copy")
    repaired = repair(old)
    assert repaired.done[0] == f"schema {OLD} was brought to {schema.HEAD}"
    assert (repaired.backup is None) == is_server(old)
    assert revision_of(old) == schema.HEAD
    assert {finding.state for finding in record(old, None)} == {"good"}


@BOTH
def test_whoever_only_writes_to_what_is_there_brings_it_forward_and_whoever_reads_does_not(old: Any) -> None:
    with pytest.raises(Exception, match=f"has schema {OLD} of an older harness; `harness run` brings it"):
        open_engine(old, read_only=True)
    assert revision_of(old) == OLD
    Store.open(old, create=False).close()
    assert revision_of(old) == schema.HEAD


@pytest.mark.postgres
@pytest.mark.slow
def test_tables_are_not_made_on_a_server_where_nothing_is_to_be_made(server_database: str) -> None:
    with pytest.raises(UsageError, match="holds no study of this harness yet"):
        open_engine(server_database, create=False)
    assert revision_of(server_database) is None

"""A server that dies in a transaction before a study is held: it is waited for, and nothing is left half or twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from results_support import running, study_file
from servers import Server

from harness.errors import UnavailableError
from harness.results import frames, schema
from harness.results.store import Store

pytestmark = [pytest.mark.postgres, pytest.mark.slow]

Death = Callable[[sa.Connection], None]


def end_session(postgres: Server, connection: sa.Connection) -> None:
    """As an administrator does, or a network between the two."""
    pid = connection.connection.dbapi_connection.info.backend_pid  # type: ignore[union-attr]
    with psycopg.connect(postgres.dsn(), autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))


@pytest.fixture
def death(request: pytest.FixtureRequest, postgres: Server) -> Death:
    """Ends the session of a connection: alone, or with all others as a crash does."""

    def of_server(_: sa.Connection) -> None:
        postgres.stop()
        postgres.start()

    return of_server if request.param == "server" else partial(end_session, postgres)


@contextmanager
def dying(death: Death, at: str, most: int = 1) -> Iterator[list[str]]:
    """Whoever is about to execute a statement that begins so loses its session first; the statements it happened at."""
    met: list[str] = []

    def before(connection: sa.Connection, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.strip().startswith(at) and len(met) < most:
            met.append(statement)
            death(connection)

    sa.event.listen(sa.Engine, "before_cursor_execute", before)
    try:
        yield met
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", before)


def held_twice_running(store: Store, study_id: int) -> None:
    """The study can be held, worked at, and held again."""
    for number in range(2):
        with store.hold(study_id):
            assert running(store, study_id, epochs=number + 1).number == number


@pytest.mark.parametrize(
    ("at", "death"),
    [("CREATE TABLE harness_trial", "session"), ("INSERT INTO harness_alembic", "session"), ("COMMENT ON", "server")],
    indirect=["death"],
)
def test_a_server_that_dies_while_tables_are_made_makes_them_all_the_next_time(
    server_database: str, death: Death, at: str
) -> None:
    with dying(death, at) as met, Store.open(server_database) as store:
        assert len(met) == 1
        with store.engine.connect() as connection:
            assert schema.revision(connection, "it") == schema.HEAD
        held_twice_running(store, store.create_study(study_file()))


@pytest.mark.parametrize(
    ("at", "death"),
    [
        ("INSERT INTO harness_study", "server"),
        ("SELECT pg_try_advisory_lock", "session"),
        ("INSERT INTO harness_session", "session"),
    ],
    indirect=["death"],
)
def test_a_server_that_dies_while_a_study_begins_has_it_once(server_database: str, death: Death, at: str) -> None:
    with Store.open(server_database) as store, dying(death, at) as met:
        study_id = store.create_study(study_file())
        held_twice_running(store, study_id)
        assert len(met) == 1
        assert [row.name for row in store.studies()] == ["probe"]
        assert list(frames.sessions(store.engine, "probe")["exit_state"]) == ["finished"] * 2


@pytest.mark.parametrize(
    ("when", "death"),
    [("before", "session"), ("before", "server"), ("after", "server")],
    indirect=["death"],
)
def test_a_study_whose_commit_was_not_answered_is_there_once(server_database: str, death: Death, when: str) -> None:
    """Made again it would be refused, for its name is taken."""
    with Store.open(server_database) as store:
        lost: list[sa.Connection] = []

        @sa.event.listens_for(store.engine, "commit")
        def lose_the_answer(connection: sa.Connection) -> None:
            if lost:
                return
            lost.append(connection)
            if when == "after":  # it happens, and then the answer is lost on its way
                connection.connection.dbapi_connection.commit()  # type: ignore[union-attr]
            death(connection)

        store.create_study(study_file())
        assert lost
        assert [row.name for row in store.studies()] == ["probe"]


def test_what_the_server_dies_of_each_time_ends_the_beginning_by_name_and_leaves_nothing(
    server_database: str, postgres: Server
) -> None:
    with dying(partial(end_session, postgres), "CREATE TABLE harness_study", most=100) as met:
        with pytest.raises(UnavailableError, match="went away 5 times") as caught:
            Store.open(server_database)
        assert (caught.value.exit_code, len(met)) == (69, 5)
    with psycopg.connect(server_database.replace("postgresql+psycopg", "postgresql")) as connection:
        assert connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone() == (0,)
    with Store.open(server_database) as store:
        held_twice_running(store, store.create_study(study_file()))

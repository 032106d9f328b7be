"""Transactions on a database server that may restart just now: it is waited for, and what it cut short begins again.

How a study that is held outlives a restart is `server.py`'s work.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

import sqlalchemy as sa

from harness.errors import UnavailableError

OPENING_SECONDS = 30.0  # about what a server takes to restart; a wrong address is told after as long
TRY_SECONDS = 0.5
ENDING_SECONDS = 60.0  # for a session to end that lost its client; behind a dead network it may last for hours
FORGOTTEN = "22023"  # a crash lost the number itself, "in the future" now, and with it all that it wrote
MOST_RESTARTS = 5  # in one transaction: it might be what the server dies of
NOT_YET = ("refused", "starting up", "shutting down", "not yet accepting", "recovery mode", "closed the connection")

P = ParamSpec("P")
R = TypeVar("R")


class NotCommitted(Exception):
    """The server went away and is back; the transaction left nothing behind and is to be begun again."""


def outlives_restarts(work: Callable[P, R]) -> Callable[P, R]:
    """Begin a function of one transaction again when the server restarted in it; a file never does."""

    @functools.wraps(work)
    def again(*arguments: P.args, **keywords: P.kwargs) -> R:
        for _ in range(MOST_RESTARTS):
            try:
                return work(*arguments, **keywords)
            except NotCommitted:
                continue
        raise UnavailableError(
            f"the database server went away {MOST_RESTARTS} times in {work.__name__}; everything recorded before is "
            "safe. Look at the server's log, then run again"
        )

    return again


@contextmanager
def nothing_left() -> Iterator[None]:
    """Work that the end of its sessions undoes.

    Raises:
        NotCommitted: the server ended one.
    """
    try:
        yield
    except sa.exc.DBAPIError as error:
        if error.connection_invalidated:
            raise NotCommitted from error
        raise


def connected(engine: sa.Engine, waiting: Callable[[str], None] = lambda words: None) -> sa.Connection:
    """A new connection.

    Args:
        engine: of a server.
        waiting: called with a sentence before each new try; what it raises ends the waiting.

    Raises:
        OperationalError: the server refuses for another reason than that it is not there yet, or for too long.
    """
    began = time.monotonic()
    while True:
        try:
            return engine.connect()
        except sa.exc.OperationalError as error:
            waited = time.monotonic() - began
            if waited > OPENING_SECONDS or not any(words in str(error.orig) for words in NOT_YET):
                raise
            waiting(f"the database server is not there since {waited:.0f} s; waiting for it")
            time.sleep(TRY_SECONDS)


@contextmanager
def transaction(engine: sa.Engine, waiting: Callable[[str], None]) -> Iterator[sa.Connection]:
    """One transaction, for which the server is waited for.

    Raises:
        NotCommitted: the server restarted meanwhile, and nothing of the transaction is there.
    """
    number, done = None, False
    try:
        with connected(engine, waiting) as connection, connection.begin():
            yield connection
            number = number_of(connection)
            done = True
    except sa.exc.DBAPIError as error:
        if not error.connection_invalidated:
            raise
        with connected(engine, waiting) as connection:
            if not (done and has_happened(connection, number, waiting)):
                raise NotCommitted from error


def number_of(connection: sa.Connection) -> str | None:
    """What the server calls the transaction at hand; none that wrote nothing."""
    found = connection.scalar(sa.text("SELECT pg_current_xact_id_if_assigned()::text"))
    return None if found is None else str(found)


def has_happened(connection: sa.Connection, number: str | None, waiting: Callable[[str], None]) -> bool:
    """Whether a transaction whose commit was not answered is there; waits for a session that is about to end.

    Args:
        connection: a new one.
        number: of the transaction, or None where it wrote nothing.
        waiting: as `connected` calls it.

    Raises:
        UnavailableError: the old session does not end.
    """
    began = time.monotonic()
    while number is not None:
        try:
            with connection.begin():
                state = connection.scalar(sa.text("SELECT pg_xact_status(CAST(:n AS xid8))"), {"n": number})
        except sa.exc.DBAPIError as error:
            if getattr(error.orig, "sqlstate", "") == FORGOTTEN:
                return False
            raise
        if state != "in progress":
            return bool(state == "committed")
        waited = time.monotonic() - began
        if waited > ENDING_SECONDS:
            raise UnavailableError(
                f"the connection to the database server broke in a commit, and for {waited:.0f} s the server has kept "
                "the broken session open, so that nobody knows whether the commit happened; what was recorded before "
                f"is safe. Run again once the session is gone: transaction {number}, in pg_stat_activity as backend_xid"
            )
        waiting(f"the database server has not noticed since {waited:.0f} s that a session is gone; waiting for it")
        time.sleep(TRY_SECONDS)
    return True

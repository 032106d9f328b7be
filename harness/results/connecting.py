"""Connections to a database server that may be starting just now: it is waited for, within bounds.

How a study that is held outlives a restart is `server.py`'s work.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import sqlalchemy as sa

OPENING_SECONDS = 30.0  # about what a server takes to restart; a wrong address is told after as long
TRY_SECONDS = 0.5
NOT_YET = ("refused", "starting up", "shutting down", "not yet accepting", "recovery mode", "closed the connection")


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
    """One transaction, for which the server is waited for before it begins."""
    with connected(engine, waiting) as connection, connection.begin():
        yield connection

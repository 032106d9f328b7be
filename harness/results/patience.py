"""Transactions of a coordinator on an SQLite file: somebody who reads or writes it for long holds them up, no more.

Without a write-ahead log nothing can be committed while anybody reads.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TypeVar

import sqlalchemy as sa

MOST_SECONDS = 600.0  # whoever keeps the file for longer ends the night, which goes on with the next run

R = TypeVar("R")


@contextmanager
def transaction(engine: sa.Engine, waiting: Callable[[str], None]) -> Iterator[sa.Connection]:
    """One transaction that waits for whoever has the file.

    Args:
        engine: of an SQLite file; it waits a while by itself.
        waiting: called with a sentence after each such while; what it raises ends the waiting.

    Raises:
        OperationalError: the file was not free for very long; nothing was written.
    """
    with ExitStack() as stack:
        connection = _when_free(lambda: stack.enter_context(engine.begin()), waiting)
        yield connection
        # a commit that finds the file in use leaves the transaction as it is, to be committed later
        _when_free(lambda: connection.exec_driver_sql("COMMIT"), waiting)


def _when_free(work: Callable[[], R], waiting: Callable[[str], None]) -> R:
    began = time.monotonic()
    while True:
        try:
            return work()
        except sa.exc.OperationalError as error:
            seconds = time.monotonic() - began
            if not _is_busy(error.orig) or seconds > MOST_SECONDS:
                raise
            waiting(f"another process has kept the database locked for {seconds:.0f} s; waiting for it")


def _is_busy(error: BaseException | None) -> bool:
    return isinstance(error, sqlite3.Error) and str(getattr(error, "sqlite_errorname", "")).startswith("SQLITE_BUSY")

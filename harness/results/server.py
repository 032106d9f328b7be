"""The one session of a database server that holds a study and writes for it; it outlives restarts of the server.

Who has the study's lock and who writes are the same session, so that nobody writes who has lost the lock.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from harness.errors import HeldError
from harness.results.connecting import NotCommitted, connected, has_happened, nothing_left, number_of, outlives_restarts
from harness.results.ownership import lock_on_server
from harness.results.tables import session

RESTART_SECONDS = 600.0  # a server that is away for longer ends the night, which goes on with the next run
TRY_SECONDS = 1.0
NOTICE_SECONDS = 2.0  # in which a server notices that a killed coordinator of this machine is gone


class HeldSession:
    """A study's lock and the connection that has it.

    Attributes:
        waiting: called with a sentence every second while the server is away; what it raises ends the waiting.
        session: our row of harness_session, once there is one; another coordinator that takes the study closes it.
        lost: the server is away, or another process has the study.
    """

    def __init__(self, engine: sa.Engine, study_id: int, connection: sa.Connection) -> None:
        self.engine = engine
        self.study_id = study_id
        self.connection = connection
        self.session: int | None = None
        self.waiting: Callable[[str], None] = lambda words: None
        self.lost = False

    @classmethod
    def take(cls, engine: sa.Engine, study_id: int, waiting: Callable[[str], None]) -> HeldSession | None:
        """The lock of a study, or None where another session has it; `waiting` as `connected` calls it."""
        end = time.monotonic() + NOTICE_SECONDS
        while True:
            connection = lock_of_study(engine, study_id, waiting)
            if connection is not None:
                return cls(engine, study_id, connection)
            if time.monotonic() > end:
                return None
            time.sleep(0.1)

    def close(self) -> None:
        """Give the lock back by ending the session."""
        if not self.connection.closed:
            self.connection.invalidate()
            self.connection.close()

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """One transaction of this session.

        Raises:
            NotCommitted: the server restarted meanwhile, and nothing of the transaction is there.
            HeldError: another process took the study while the server was away.
        """
        done, number = False, None
        try:
            with self.connection.begin():
                yield self.connection
                number = number_of(self.connection)
                done = True
        except sa.exc.DBAPIError as error:
            if not error.connection_invalidated:
                raise
            self._return(error)
            # the old session has ended, as its lock is ours: there is nothing to wait for
            if not (done and has_happened(self.connection, number, self.waiting)):
                raise NotCommitted from error

    def _return(self, error: sa.exc.DBAPIError) -> None:
        """Wait for the server and take the lock again; give up after minutes, or when another has the study."""
        self.connection.close()
        self.lost = True
        began = time.monotonic()
        while True:
            try:
                if self._locked_again():
                    self.lost = False
                    return
            except sa.exc.OperationalError as refused:
                error = refused
            if time.monotonic() - began > RESTART_SECONDS:
                raise error
            self.waiting(f"the database server is away since {time.monotonic() - began:.0f} s; waiting for it")
            time.sleep(TRY_SECONDS)

    def _locked_again(self) -> bool:
        """Take the lock, which may for a while belong to what the server thinks is left of us.

        Whoever took the study meanwhile has closed our row, even if it has left again.
        """
        connection = lock_on_server(self.engine.connect(), self.study_id)
        asked = connection or self.engine.connect()
        try:
            ended = asked.scalar(sa.select(session.c.exit_state).where(session.c.id == self.session))
            asked.rollback()
            if ended is not None:
                raise HeldError("another process took the study while the database server was away; this one ends")
        except BaseException:
            asked.invalidate()
            asked.close()
            raise
        if connection is None:
            asked.close()
            return False
        self.connection = connection
        return True


@outlives_restarts
def lock_of_study(engine: sa.Engine, study_id: int, waiting: Callable[[str], None]) -> sa.Connection | None:
    """A new connection that holds the study's lock, or None where another session has it."""
    with nothing_left():
        return lock_on_server(connected(engine, waiting), study_id)

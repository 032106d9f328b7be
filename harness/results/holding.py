"""An open database: its transactions, which outlast what they can, and one process at a time that holds a study.

What is written in them is the work of `store.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Self

import sqlalchemy as sa

from harness.errors import Interrupted
from harness.results import connecting, patience, session_writes
from harness.results.connecting import outlives_restarts
from harness.results.engine import open_engine
from harness.results.server import HeldSession
from harness.results.session_writes import Session
from harness.results.targets import Target, files_folder, storage_errors


class Holder:
    """An open database of which one process at a time holds a study.

    Attributes:
        files: the folder of checkpoints, caches and kept models that belongs to it.
        waiting: called with a sentence now and then while a server is away or another process has locked the file;
            what it raises ends the waiting.
    """

    def __init__(self, engine: sa.Engine, target: Target) -> None:
        self.engine = engine
        self.target = target
        self.files = files_folder(target)
        self.waiting: Callable[[str], None] = lambda words: None
        self._session: Session | None = None
        self._held: HeldSession | None = None

    @classmethod
    def open(cls, target: Target, create: bool = True) -> Self:
        """Open for writing; a missing database is made unless `create` is false.

        Raises:
            HarnessError: as `engine.open_engine` says.
        """
        store = cls(open_engine(target, create=create), target)
        with storage_errors(store.files):
            for folder in ("trials", "cache", "models"):
                (store.files / folder).mkdir(parents=True, exist_ok=True)
        return store

    def close(self) -> None:
        """Release every connection."""
        self.engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """One transaction; for the mirror beside our own tables.

        While a study is held it outlasts those who lock the file, and on a server it is of the session that holds it.
        """
        if self._held is not None:
            begun = self._held.transaction()
        elif self._session is not None:
            begun = patience.transaction(self.engine, lambda words: self.waiting(words))
        elif self.engine.dialect.name == "sqlite":
            begun = self.engine.begin()
        else:
            begun = connecting.transaction(self.engine, lambda words: self.waiting(words))
        with storage_errors(self.engine.url.set(password=None)), begun as connection:
            yield connection

    # --- holding a study ---------------------------------------------------------------------------

    @contextmanager
    def hold(self, study_id: int) -> Iterator[None]:
        """Be the study's one coordinator; trials that a dead one left running go back to waiting.

        Raises:
            HeldError: another live process holds it: its id, machine and start.
        """
        with self._locked(study_id) as (elsewhere, locked):
            state = "error"
            try:
                self._take(study_id, elsewhere, locked)
                yield
                state = "finished"
            except (KeyboardInterrupt, Interrupted):
                state = "interrupted"
                raise
            finally:
                self._leave(state)

    @outlives_restarts
    def _take(self, study_id: int, elsewhere: bool, locked: bool) -> None:
        with self.transaction() as connection:
            self._session = session_writes.take(connection, study_id, elsewhere, locked)
        if self._held is not None:
            self._held.session = self._session.id

    @outlives_restarts
    def release(self, study_id: int) -> None:
        """Trials that a dead coordinator left running go back to waiting.

        Raises:
            HeldError: a live process holds the study.
        """
        with self._locked(study_id) as (elsewhere, locked), self.transaction() as connection:
            session_writes.release(connection, study_id, elsewhere, locked)

    @contextmanager
    def _locked(self, study_id: int) -> Iterator[tuple[bool, bool]]:
        """On a server: whether another session has the study's lock, and whether ours has it now."""
        if self.engine.dialect.name == "sqlite":
            yield False, False
            return
        with storage_errors(self.engine.url.set(password=None)):
            held = HeldSession.take(self.engine, study_id, lambda words: self.waiting(words))
        if held is None:
            yield True, False
            return
        held.waiting, self._held = lambda words: self.waiting(words), held
        try:
            yield False, True
        finally:
            self._held = None
            held.close()

    def _touch(self, connection: sa.Connection) -> None:
        if self._session is not None:
            session_writes.touch(connection, self._session)

    @outlives_restarts
    def _leave(self, state: str) -> None:
        if self._session is not None and not (self._held is not None and self._held.lost):
            with self.transaction() as connection:
                session_writes.end(connection, self._session, state)
        self._session = None

    @outlives_restarts
    def invocation_seconds(self, study_id: int) -> float:
        """Seconds that all invocations of the study took so far, the one at hand included."""
        with self.transaction() as connection:
            others = session_writes.seconds_of_others(connection, study_id, self._session)
        return others + (0.0 if self._session is None else self._session.seconds)

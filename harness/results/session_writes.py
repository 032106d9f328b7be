"""How an invocation is written: who holds a study, since when, and how long.

Functions over a connection that `store.py` has opened.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import sqlalchemy as sa

from harness.errors import HeldError
from harness.records import Incident
from harness.results.columns import utc_now
from harness.results.holders import open_sessions
from harness.results.ownership import Owner
from harness.results.study_writes import key_of
from harness.results.tables import session, trial
from harness.results.trial_writes import insert_incident, move


@dataclass(frozen=True)
class Session:
    """This process's hold on a study: the row's id, and the clock at its start, which does not jump."""

    id: int
    began: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Seconds that it has lasted."""
        return time.monotonic() - self.began


def take(connection: sa.Connection, study_id: int, elsewhere: bool, locked: bool) -> Session:
    """Write this process down as the holder, in the transaction that looks for another.

    Args:
        elsewhere: a server says that another session has the study's lock.
        locked: a server says that we have it, so that no older row can be a living holder's.

    Raises:
        HeldError: another live process holds it: its id, machine and start.
    """
    release(connection, study_id, elsewhere, locked)
    me = Owner.me()
    added = connection.execute(
        sa.insert(session).values(
            study_id=study_id,
            pid=me.pid,
            boot_id=me.boot_id,
            process_started=me.started,
            host=me.host,
            started_at=utc_now(),
            seconds=0.0,
        )
    )
    return Session(key_of(added))


def release(connection: sa.Connection, study_id: int, elsewhere: bool, locked: bool) -> None:
    """Take a study from holders that are gone: their sessions have vanished, their trials wait again.

    Raises:
        HeldError: as for `take`, which takes the same arguments.
    """
    for key, owner, since in open_sessions(connection, study_id):
        if elsewhere or (not locked and owner.lives()):
            raise HeldError(
                f"the study is held by process {owner.pid} on {owner.host} since {since}; "
                "wait for it, or stop it with Ctrl-C there"
            )
        vanished = {"exit_state": "vanished", "ended_at": utc_now()}
        connection.execute(sa.update(session).where(session.c.id == key).values(**vanished))
    if elsewhere:
        raise HeldError("the study is held by another process; wait for it")
    _release_running(connection, study_id)


def _release_running(connection: sa.Connection, study_id: int) -> None:
    """Trials that nobody runs any more wait again."""
    left = sa.select(trial.c.id).where(trial.c.study_id == study_id, trial.c.state == "running")
    for trial_id in connection.scalars(left).all():
        move(connection, trial_id, ("running",), state="waiting", worker=None)
        what = Incident("interrupted", "its coordinator ended without a word; the trial waits again")
        insert_incident(connection, study_id, trial_id, what)


def touch(connection: sa.Connection, held: Session) -> None:
    """Renew the duration, so that a killed session has counted until its last record."""
    connection.execute(sa.update(session).where(session.c.id == held.id).values(seconds=held.seconds))


def end(connection: sa.Connection, held: Session, state: str) -> None:
    """Write down when and how it ended."""
    touch(connection, held)
    connection.execute(sa.update(session).where(session.c.id == held.id).values(exit_state=state, ended_at=utc_now()))


def seconds_of_others(connection: sa.Connection, study_id: int, held: Session | None) -> float:
    """Seconds of all invocations of the study but the one at hand."""
    others = (session.c.study_id == study_id, session.c.id != (-1 if held is None else held.id))
    return float(connection.scalar(sa.select(sa.func.sum(session.c.seconds)).where(*others)) or 0.0)

"""Who holds a study: one coordinator at a time, known by process id, boot and start time.

A holder that died is taken over; one that lives is named. On a database server, where processes of
other machines cannot be looked at, a session lock decides.
"""

from __future__ import annotations

import functools
import os
import socket
from dataclasses import dataclass
from pathlib import Path

import psutil
import sqlalchemy as sa

from harness.results.engine import LOCK_KEY

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Owner:
    """A process that cannot be mistaken for a later one with the same number.

    Attributes:
        started: start time as the system counts it (Linux: clock ticks since boot).
    """

    pid: int
    boot_id: str
    started: float
    host: str

    @classmethod
    def me(cls) -> Owner:
        """This process."""
        return cls(os.getpid(), boot_id(), process_started(os.getpid()) or 0.0, socket.gethostname())

    def lives(self) -> bool:
        """Whether that very process still runs on this boot of this machine."""
        if self.boot_id != boot_id():
            return False
        started = process_started(self.pid)
        return started is not None and abs(started - self.started) < 1.0


@functools.cache
def boot_id() -> str:
    """Identity of this boot of this machine."""
    try:
        return BOOT_ID.read_text("ascii").strip()
    except OSError:  # not Linux; the boot time is the same for every process within a second or so
        return f"{socket.gethostname()}-{round(psutil.boot_time(), -1):.0f}"


def process_started(pid: int) -> float | None:
    """When a process started; None when there is none, or only its corpse."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
        return None if fields[0] in "ZX" else float(fields[19])
    except (OSError, IndexError):
        pass  # no such process, or a system without /proc: psutil tells which
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.NoSuchProcess:
        return None


def lock_on_server(connection: sa.Connection, study_id: int) -> sa.Connection | None:
    """The connection, which holds the study's session lock until it is closed, or None when another holds it."""
    if connection.scalar(sa.select(sa.func.pg_try_advisory_lock(LOCK_KEY + study_id))):
        connection.commit()  # the lock belongs to the session; an open transaction would only keep old rows alive
        return connection
    connection.close()
    return None


def held_on_server(connection: sa.Connection, study_id: int) -> bool:
    """Whether some session of the server has the study's lock; never on SQLite, which has none."""
    if connection.dialect.name == "sqlite":
        return False
    query = sa.text(
        "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND granted "
        "AND (classid::bigint << 32) + objid::bigint = :key "
        "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    return connection.scalar(query, {"key": LOCK_KEY + study_id}) is not None

"""Which processes hold a study now, read from its sessions; `session_writes.py` writes them."""

from __future__ import annotations

import sqlalchemy as sa

from harness.results.ownership import Owner, held_on_server
from harness.results.tables import session


def open_sessions(connection: sa.Connection, study_id: int) -> list[tuple[int, Owner, str]]:
    """Id, process and start (UTC) of every session of a study that has not written down its end."""
    query = sa.select(session).where(session.c.study_id == study_id, session.c.exit_state.is_(None))
    return [
        (row["id"], Owner(row["pid"], row["boot_id"], row["process_started"], row["host"]), row["started_at"])
        for row in connection.execute(query).mappings()
    ]


def living_holders(connection: sa.Connection, study_id: int) -> list[str]:
    """Who runs a study now: one process at most, unless something is wrong."""
    if held_on_server(connection, study_id):
        return ["a process that has the server's lock"]
    return [
        f"process {owner.pid} on {owner.host} since {since}"
        for _, owner, since in open_sessions(connection, study_id)
        if owner.lives()
    ]

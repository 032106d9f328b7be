"""For how long a worker has been silent: while the coordinator waits for something else, nobody could have heard it.

A locked database, a server that is away or a slow sampler keep the coordinator from listening, and a worker that has
told of an epoch waits for its answer meanwhile. A job that a scheduler suspends and a paused container or machine stop
coordinator and workers together, mostly while it listens: what that takes beyond its time is not listening either.
"""

from __future__ import annotations

import time

from harness.executors.base import Executor
from harness.records import Message

TICK_SECONDS = 0.5  # a coordinator that has ears again within this was never away: a busy one is still a watchdog


class Listening:
    """One coordinator's ear at its workers."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._missed = 0.0
        self._until = time.monotonic()

    def messages(self) -> list[tuple[int, Message]]:
        """What workers said, as (slot, message); waits a moment for it."""
        began = time.monotonic()
        found = self._executor.messages(TICK_SECONDS)
        ended = time.monotonic()
        lost = (began - self._until, ended - began - TICK_SECONDS)
        self._missed = sum(seconds for seconds in lost if seconds > TICK_SECONDS)
        self._until = ended
        return found

    def excused(self, heard: float) -> float:
        """When a worker was heard last, later by the time for which nobody listened up to the end of `messages`.

        Args:
            heard: by the monotonic clock, as what is returned.
        """
        return max(heard, min(self._until, heard + self._missed))

    def silence(self, heard: float) -> float:
        """Seconds without a word, up to the last time that somebody listened; negative for a word since then."""
        return self._until - heard

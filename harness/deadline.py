"""When a study must end: a budget of time over all invocations, an hour of the clock, a person's wish."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from harness.spec import BudgetSpec


@dataclass(frozen=True)
class Deadline:
    """The earlier of both limits, each on its own clock.

    Attributes:
        at: end of the budget, on the monotonic clock: it counts work, so a suspended machine loses none of it.
        until: the hour, on the wall clock: a suspended machine wakes up late and must know it.
        now: what the wall clock shows.
    """

    at: float | None = None
    until: datetime | None = None
    now: Callable[[], datetime] = datetime.now

    @classmethod
    def of(cls, budget: BudgetSpec, spent_seconds: float, now: Callable[[], datetime] = datetime.now) -> Deadline:
        """From a study's budget and the seconds that earlier invocations took."""
        at = None if budget.time is None else time.monotonic() + budget.time - spent_seconds
        return cls(at, None if budget.until is None else next_time(budget.until, now()), now)

    def seconds_left(self) -> float | None:
        """To the earlier limit, negative beyond it; None without a limit."""
        limits = [] if self.at is None else [self.at - time.monotonic()]
        limits += [] if self.until is None else [(self.until - self.now()).total_seconds()]
        return min(limits, default=None)

    def passed(self) -> bool:
        """Whether no trial may start or go on."""
        left = self.seconds_left()
        return left is not None and left <= 0

    def words(self) -> str:
        """How much is left, for people; empty without a limit."""
        left = self.seconds_left()
        return "" if left is None else f"{timedelta(seconds=round(max(0.0, left)))} left"


def next_time(clock: str, now: datetime) -> datetime:
    """The next time that a wall clock shows HH:MM."""
    hours, minutes = map(int, clock.split(":"))
    then = now.replace(hour=hours, minute=minutes, second=0, microsecond=0)
    return then if then > now else then + timedelta(days=1)


@dataclass
class Stop:
    """Set by signal handlers: how often an end was asked for, and the exit code it stands for."""

    asked: int = 0
    exit_code: int = 130

    def ask(self, exit_code: int) -> None:
        """Once: checkpoint and end. Twice: end now."""
        self.asked += 1
        self.exit_code = exit_code

"""When a study must end: a budget of time over all invocations, an hour of the clock, a person's wish."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime, timedelta

from harness.spec import BudgetSpec


@dataclass(frozen=True)
class Deadline:
    """The earlier of both limits, on the monotonic clock: a changed clock moves nothing.

    Attributes:
        at: monotonic seconds; None without a limit.
    """

    at: float | None

    @classmethod
    def of(cls, budget: BudgetSpec, spent_seconds: float, now: datetime | None = None) -> Deadline:
        """From a study's budget and the seconds that earlier invocations took."""
        start = time.monotonic()
        limits = []
        if budget.time is not None:
            limits.append(start + budget.time - spent_seconds)
        if budget.until is not None:
            limits.append(start + seconds_until(budget.until, now or datetime.now()))
        return cls(min(limits) if limits else None)

    def passed(self) -> bool:
        """Whether no trial may start or go on."""
        return self.at is not None and time.monotonic() >= self.at

    def words(self) -> str:
        """How much is left, for people; empty without a limit."""
        if self.at is None:
            return ""
        left = max(0.0, self.at - time.monotonic())
        return f"{timedelta(seconds=round(left))} left"


def seconds_until(clock: str, now: datetime) -> float:
    """Seconds from `now` to the next time that a wall clock shows HH:MM."""
    hours, minutes = map(int, clock.split(":"))
    then = now.replace(hour=hours, minute=minutes, second=0, microsecond=0)
    if then <= now:
        then += timedelta(days=1)
    return (then - now).total_seconds()


@dataclass
class Stop:
    """Set by signal handlers: how often an end was asked for, and the exit code it stands for."""

    asked: int = 0
    exit_code: int = 130

    def ask(self, exit_code: int) -> None:
        """Once: checkpoint and end. Twice: end now."""
        self.asked += 1
        self.exit_code = exit_code

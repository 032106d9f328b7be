"""The study's end: a budget summed over invocations, and an hour of the clock."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from harness.deadline import Deadline, next_time
from harness.spec import BudgetSpec


class Clock:
    """A wall clock that a test sets."""

    def __init__(self, shows: datetime) -> None:
        self.shows = shows

    def __call__(self) -> datetime:
        return self.shows


def test_an_hour_that_is_still_to_come_is_today() -> None:
    assert next_time("07:30", datetime(2026, 3, 1, 6, 0)) == datetime(2026, 3, 1, 7, 30)


def test_an_hour_that_has_passed_is_tomorrow() -> None:
    assert next_time("07:30", datetime(2026, 3, 1, 22, 30)) == datetime(2026, 3, 2, 7, 30)


def test_a_machine_that_slept_past_the_hour_ends_when_it_wakes() -> None:
    clock = Clock(datetime(2026, 3, 1, 22, 30))
    deadline = Deadline.of(BudgetSpec(until="07:30"), spent_seconds=0, now=clock)
    assert deadline.words() == "9:00:00 left"
    clock.shows += timedelta(hours=8, minutes=59)  # the monotonic clock stood still meanwhile
    assert not deadline.passed()
    clock.shows += timedelta(minutes=1)
    assert deadline.passed()
    assert deadline.words() == "0:00:00 left"


def test_a_changed_wall_clock_moves_no_budget() -> None:
    clock = Clock(datetime(2026, 3, 1, 22, 30))
    deadline = Deadline.of(BudgetSpec(time=3600), spent_seconds=0, now=clock)
    clock.shows += timedelta(days=1)
    assert not deadline.passed()


def test_no_limit_never_passes() -> None:
    deadline = Deadline.of(BudgetSpec(trials=3), spent_seconds=1e9)
    assert not deadline.passed()
    assert deadline.words() == ""


def test_time_of_earlier_invocations_counts() -> None:
    assert Deadline.of(BudgetSpec(time=3600), spent_seconds=3601).passed()
    assert not Deadline.of(BudgetSpec(time=3600), spent_seconds=3590).passed()


@pytest.mark.parametrize(("budget", "hours"), [(60, 60 / 3600), (10 * 3600, 9)])
def test_the_earlier_limit_holds(budget: float, hours: float) -> None:
    clock = Clock(datetime(2026, 3, 1, 22, 30))
    both = Deadline.of(BudgetSpec(time=budget, until="07:30"), spent_seconds=0, now=clock)
    assert both.seconds_left() == pytest.approx(hours * 3600, abs=1)

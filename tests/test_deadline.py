"""The study's end: a budget summed over invocations, and an hour of the clock."""

from __future__ import annotations

from datetime import datetime

import pytest

from harness.deadline import Deadline, seconds_until
from harness.spec import BudgetSpec


def test_an_hour_that_is_still_to_come_is_today() -> None:
    assert seconds_until("07:30", datetime(2026, 3, 1, 6, 0)) == 90 * 60


def test_an_hour_that_has_passed_is_tomorrow() -> None:
    assert seconds_until("07:30", datetime(2026, 3, 1, 22, 30)) == 9 * 3600


def test_no_limit_never_passes() -> None:
    deadline = Deadline.of(BudgetSpec(trials=3), spent_seconds=1e9)
    assert not deadline.passed()
    assert deadline.words() == ""


def test_time_of_earlier_invocations_counts() -> None:
    assert Deadline.of(BudgetSpec(time=3600), spent_seconds=3601).passed()
    assert not Deadline.of(BudgetSpec(time=3600), spent_seconds=3590).passed()


def test_the_earlier_limit_holds() -> None:
    now = datetime(2026, 3, 1, 22, 30)
    both = Deadline.of(BudgetSpec(time=60, until="07:30"), spent_seconds=0, now=now)
    clock = Deadline.of(BudgetSpec(until="07:30"), spent_seconds=0, now=now)
    assert both.at is not None and clock.at is not None
    assert clock.at - both.at == pytest.approx(9 * 3600 - 60, abs=1)

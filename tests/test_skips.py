"""No test is skipped in silence: the summary of a run names each reason, and the faults that were not tried."""

from __future__ import annotations

import pytest
from skips import NOT_MEANT, untested
from small_disks import NO_DISKS


def skipped(words: str) -> pytest.TestReport:
    return pytest.TestReport("t.py::t", ("t.py", 1, "t"), {}, "skipped", ("t.py", 1, f"Skipped: {words}"), "call")


def test_each_reason_is_told_once_with_how_many_tests_it_took() -> None:
    told = untested([skipped("no strace"), skipped(NO_DISKS), skipped("no strace")])
    assert told == ["2 SKIPPED: no strace", f"1 SKIPPED: {NO_DISKS}"]


def test_a_case_that_a_test_is_not_meant_for_is_none_of_them() -> None:
    assert untested([skipped(f"{NOT_MEANT}: this architecture runs as a whole")]) == []


def test_without_disks_of_ones_own_the_faults_are_named_that_were_not_tried() -> None:
    assert all(fault in NO_DISKS for fault in ("F8", "F9", "F24"))

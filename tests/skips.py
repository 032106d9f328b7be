"""What was not tested, told at the end: a skipped test is a claim that nobody has checked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import pytest

NOT_MEANT = "not meant for this case"  # begins the reason of a skip that leaves nothing unchecked


def untested(skipped: Iterable[pytest.TestReport | pytest.CollectReport]) -> list[str]:
    """A line for each reason for which tests were skipped, with their number."""
    reasons = Counter(reason(report) for report in skipped)
    return [f"{count} SKIPPED: {words}" for words, count in reasons.items() if not words.startswith(NOT_MEANT)]


def reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    """Why a test, or a whole file of them, was skipped."""
    assert isinstance(report.longrepr, tuple)  # file, line, words
    return report.longrepr[2].removeprefix("Skipped: ")

"""What every test may ask for: how often a fault is tried."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from servers import database, postgres, server_database
from skips import untested

__all__ = ["database", "postgres", "server_database"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--soak", action="store_true", help="the large counts of tests/reliability, for hours")
    parser.addoption("--few", action="store_true", help="a twentieth of the counts, while a test is being written")


@pytest.fixture(scope="session")
def times(request: pytest.FixtureRequest) -> Callable[[int, int], int]:
    """How often a fault is tried: the first number in every run, the second with --soak."""
    soak, few = request.config.getoption("--soak"), request.config.getoption("--few")
    return lambda usual, soaked: soaked if soak else max(1, usual // 20) if few else usual


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What could not be tested here is told at the end, where it cannot be overlooked."""
    for line in untested(terminalreporter.stats.get("skipped", [])):
        terminalreporter.write_line(line, red=True, bold=True)

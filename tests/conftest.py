"""What every test may ask for: how often a fault is tried."""

from __future__ import annotations

from collections.abc import Callable

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--soak", action="store_true", help="the large counts of tests/reliability, for hours")


@pytest.fixture(scope="session")
def times(request: pytest.FixtureRequest) -> Callable[[int, int], int]:
    """How often a fault is tried: the first number in every run, the second with --soak."""
    soak = bool(request.config.getoption("--soak"))
    return lambda usual, soaked: soaked if soak else usual

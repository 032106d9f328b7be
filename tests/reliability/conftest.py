"""What the tests of nights share: a process that forks them, and what an undisturbed one gives."""

from __future__ import annotations

import time

import pytest
from forked_nights import ForkedNight, Straight
from forking import Zygote, shared
from records import violated


@pytest.fixture(scope="session")
def parent() -> Zygote:
    return shared()


@pytest.fixture(scope="session")
def straight(parent: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Straight:
    """What the study gives without trouble, and its seconds; of two, for kills must fall all over it."""
    outcomes, seconds = [], []
    for _ in range(2):
        night = ForkedNight(tmp_path_factory.mktemp("straight"), parent)
        began = time.monotonic()
        assert night.through() == 0, night.output
        seconds.append(time.monotonic() - began)
        assert violated(night.db) == []
        outcomes.append(night.outcome())
    assert outcomes[0] == outcomes[1]
    assert len(outcomes[0]["metrics"]) > 50
    assert len(outcomes[0]["weights"]) == 1
    return Straight(outcomes[0], min(seconds))

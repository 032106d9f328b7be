"""The watchdog counts silence that somebody listened to: what holds the coordinator up makes no worker a hung one."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from results_support import epoch, facts
from scripted import Notes, Scripted, Words, study, through

import harness.listening
from harness.jobs import TrialJob
from harness.listening import Listening
from harness.records import Message, Progress, TrialOutcome

SHORT = "watchdog: 0.02\n"  # minutes: 1.2 s
LOCKED_SECONDS = 2.5
KEEPER = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=60)
connection.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
time.sleep(float(sys.argv[2]))
"""


class Quiet(Scripted):
    """Workers some of whose turns pass without a word: `yield None`."""

    def messages(self, timeout: float) -> list[tuple[int, Message]]:
        """What was said; a twentieth of a second passes where nothing was."""
        found = [(slot, message) for slot, message in super().messages(timeout) if message.event is not None]
        if not found:
            time.sleep(0.05)
        return found


@pytest.fixture
def lock(tmp_path: Path) -> Iterator[Callable[[], None]]:
    """Has another process lock the database for longer than the watchdog waits."""

    keepers: list[subprocess.Popen[str]] = []

    def locked() -> None:
        command = [sys.executable, "-c", KEEPER, str(tmp_path / "r.db"), str(LOCKED_SECONDS)]
        keepers.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        stdout = keepers[-1].stdout
        assert stdout is not None and stdout.readline() == "locked\n"

    yield locked
    for keeper in keepers:
        keeper.communicate()


def test_a_locked_database_makes_no_healthy_worker_a_hung_one(tmp_path: Path, lock: Callable[[], None]) -> None:
    """Trial 1's epoch cannot be committed while trial 2 is in a step: neither can have been heard of meanwhile."""

    def held_up(job: TrialJob) -> Words:
        yield facts(job.config)
        if job.trial == 1:
            lock()
            yield epoch(1)
            yield None
        else:
            yield Progress(1, 1, 9)
            yield None
            yield None
            yield epoch(1)
        yield TrialOutcome("complete", seconds={"total": 1.0})

    began, file = time.monotonic(), study(SHORT + "configurations: [{epochs: 1}, {epochs: 2}]\n")
    assert through(tmp_path / "r.db", file, Quiet(held_up, slots=2)) == [("complete", None)] * 2
    assert time.monotonic() - began > LOCKED_SECONDS


def test_a_worker_that_hangs_is_found_although_the_database_was_locked(
    tmp_path: Path, lock: Callable[[], None]
) -> None:
    def hangs_after_its_first_epoch(job: TrialJob) -> Words:
        yield facts(job.config)
        lock()
        yield epoch(1)
        while True:
            yield None

    observer = Notes()
    file = study(SHORT + "configurations: [{epochs: 2}]\n")
    assert through(tmp_path / "r.db", file, Quiet(hangs_after_its_first_epoch), observer) == [("failed", "hung")]
    assert "no step for 0.02 minutes" in observer.notes[-1]


# --- seconds by hand ---------------------------------------------------------------------------------------


class Clock:
    """A monotonic clock that a test moves; listening takes as long as it says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.listening = 100.0, 0.5
        monkeypatch.setattr(harness.listening.time, "monotonic", lambda: self.now)

    def messages(self, timeout: float) -> list[tuple[int, Message]]:
        """Of no worker."""
        self.now += self.listening
        return []


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_seconds_away_are_excused_and_seconds_of_listening_are_not(clock: Clock) -> None:
    ear, heard = Listening(clock), clock.now  # type: ignore[arg-type]
    for away in (0.0, 60.0, 0.4, 3.0):  # 0.4 s are what a busy coordinator takes
        clock.now += away
        ear.messages()
        heard = ear.excused(heard)
    assert ear.silence(heard) == pytest.approx(4 * 0.5 + 0.4)


def test_a_suspension_that_falls_into_listening_is_excused_and_a_tick_too_long_is_not(clock: Clock) -> None:
    ear, heard = Listening(clock), clock.now  # type: ignore[arg-type]
    for clock.listening in (0.5, 60.0, 0.9, 0.1):  # 59.5 s more than it was asked to take, and 0.4 s of a busy machine
        ear.messages()
        heard = ear.excused(heard)
    assert ear.silence(heard) == pytest.approx(0.5 + 0.5 + 0.9 + 0.1)


def test_a_suspension_is_excused_whether_it_began_while_listening_or_before(clock: Clock) -> None:
    ear, heard = Listening(clock), clock.now  # type: ignore[arg-type]
    clock.now, clock.listening = clock.now + 30, 40.0
    ear.messages()
    assert ear.silence(ear.excused(heard)) == pytest.approx(0.5)


def test_a_worker_that_began_while_nobody_listened_is_not_excused_into_the_future(clock: Clock) -> None:
    ear = Listening(clock)  # type: ignore[arg-type]
    clock.now += 60
    began = clock.now - 1
    ear.messages()
    assert 0 <= ear.silence(ear.excused(began)) <= 0.5


def test_what_was_said_since_the_last_listening_is_no_silence(clock: Clock) -> None:
    ear = Listening(clock)  # type: ignore[arg-type]
    ear.messages()
    clock.now += 60
    assert ear.silence(clock.now) < 0

"""SIGTERM, Ctrl-C once and twice, SIGSTOP: an end that is asked for is clean, in time, and costs no result."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
from forked_nights import ForkedNight, Pace, Straight, worker_of
from forking import Zygote

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
Times = Callable[[int, int], int]
GRACE_SECONDS = 5.0  # what a cluster gives before it kills; more than any checkpoint here takes


def signalled(
    night: ForkedNight, after: float, number: signal.Signals, pauses: Sequence[float] = ()
) -> tuple[int, float]:
    """Send a signal some time after the start, and again after each pause: the exit code, and how long it took."""
    pid = night.begin()
    time.sleep(after)
    asked = time.monotonic()
    try:
        os.kill(pid, number)
        for pause in pauses:
            time.sleep(pause)
            os.kill(pid, number)
    except ProcessLookupError:
        pass  # it had ended by itself
    return night.end(pid), time.monotonic() - asked


def left_clean(night: ForkedNight) -> None:
    """What must hold after an end that was asked for: nothing runs, and nothing is half trained and complete."""
    assert "Traceback" not in night.output
    night.only_passing()
    if night.db.exists():
        states = {state for (state,) in night.rows("SELECT state FROM harness_trial")}
        assert states <= {"waiting", "complete"}, states
        open_sessions = "SELECT count(*) FROM harness_session WHERE ended_at IS NULL"
        assert night.rows(open_sessions) == [(0,)]


class Manner(NamedTuple):
    """How an end is asked for.

    Attributes:
        number, code: the signal, and the exit code that it gives.
        counts: how often in every run, and with --soak.
        again: whether it is sent a second time.
    """

    number: signal.Signals
    code: int
    counts: tuple[int, int]
    again: bool = False


MANNERS = {
    "SIGTERM": Manner(signal.SIGTERM, 143, (40, 500)),
    "Ctrl-C": Manner(signal.SIGINT, 130, (20, 300)),
    "Ctrl-C twice": Manner(signal.SIGINT, 130, (20, 300), again=True),
}
PAUSES = (0.0, 0.05, 0.5)  # between the first Ctrl-C and the second


def test_an_end_that_is_asked_for_is_clean_and_resumed_exactly(
    parent: Zygote, straight: Straight, tmp_path: Path, times: Times
) -> None:
    dice, pace, nights = random.Random(6), Pace(straight), 0
    left = {name: times(*manner.counts) for name, manner in MANNERS.items()}
    longest, saved, resumed = 0.0, 0, 0
    while any(left.values()):
        night, ended, hits = ForkedNight(tmp_path / str(nights), parent), -1, 0
        while ended != 0 and any(left.values()):
            name = max(left, key=lambda each: left[each])
            manner = MANNERS[name]
            again = [dice.choice(PAUSES)] if manner.again else []
            ended, seconds = signalled(night, dice.uniform(0.05, pace.seconds), manner.number, again)
            # until the command has looked at its arguments a signal ends it as it ends any program
            assert ended in (manner.code, -manner.number, 0), night.output
            left_clean(night)
            resumed += night.went_on()
            if not manner.again:  # whoever asks twice does not wait for a checkpoint
                saved, longest = saved + night.saved_at_its_end(), max(longest, seconds)
            hit = ended == manner.code
            left[name], hits = left[name] - hit, hits + hit
        night.ends_as(straight.outcome)
        resumed += night.went_on()
        pace.after(hits)
        nights += 1
    assert longest < max(GRACE_SECONDS, 3 * straight.seconds)
    assert min(saved, resumed) >= times(40, 400) // 8  # the other stops came before training, or between trials


def stopped(pid: int) -> bool:
    """Whether the system says so of a process."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


STORE = "harness.results.store:Store"
STOPS = [
    "harness.executors.local:LocalExecutor.decide before 1",
    "harness.executors.local:LocalExecutor.submit after 2",
    *(f"{STORE}.record_epoch {when} {count}" for when in ("before", "after") for count in range(1, 6)),
    *(f"{STORE}.{name} {when} 1" for name in ("start_trial", "finish_trial") for when in ("before", "after")),
    *(f"{STORE}.{name} after 2" for name in ("add_trial", "start_trial", "record_facts", "finish_trial")),
]


def test_a_stopped_coordinator_still_holds_its_study_and_goes_on_when_it_may(
    parent: Zygote, straight: Straight, tmp_path: Path
) -> None:
    """A process that may come back is no dead one: nobody writes meanwhile, so there is nothing that it overwrites."""
    night = ForkedNight(tmp_path, parent)
    pid = night.begin([f"{place} SIGSTOP" for place in STOPS])
    for stops in range(1, len(STOPS) + 1):
        while len(list(tmp_path.glob("died*"))) < stops or not stopped(pid):
            time.sleep(0.01)
        before = night.curves()
        assert night.end(night.begin(output="second.txt")) == 75
        said = (tmp_path / "second.txt").read_text()
        assert f"held by process {pid} " in said and "Traceback" not in said
        assert night.curves() == before
        os.kill(pid, signal.SIGCONT)
    assert night.end(pid) == 0, night.output
    night.ends_as(straight.outcome)


WATCHDOG_SECONDS = 4.2
LONG = f"""
study: night
task: sequence-classification
model: builtin:tiny
data: {{path: "builtin:reviews", rows: 64, validation: 16}}
fixed: {{max_length: 16, batch_size: 8, dtype: fp32}}
configurations: [{{epochs: 12}}]
objective: accuracy
keep: 0
watchdog: {WATCHDOG_SECONDS / 60}
"""


def test_a_job_that_is_suspended_for_longer_than_the_watchdog_goes_on_as_if_nothing_had_been(
    parent: Zygote, tmp_path: Path
) -> None:
    """`scontrol suspend`, `docker pause`, a paused machine: coordinator and worker stop together, and nobody hangs."""
    night = ForkedNight(tmp_path, parent, LONG)
    pid = night.begin()
    while not (night.db.exists() and night.rows("SELECT 1 FROM sqlite_master WHERE name = 'harness_epoch'")):
        time.sleep(0.02)
    while night.epochs_of(0) < 1:
        time.sleep(0.02)
    worker = worker_of(pid)
    assert worker is not None
    os.kill(worker, signal.SIGSTOP)
    time.sleep(1.5)  # what it said has been heard, and the coordinator listens
    os.kill(pid, signal.SIGSTOP)
    assert night.epochs_of(0) < 12, "it was over before it could be stopped"
    time.sleep(1.5 * WATCHDOG_SECONDS)
    os.kill(pid, signal.SIGCONT)
    os.kill(worker, signal.SIGCONT)
    assert night.end(pid) == 0, night.output
    assert night.rows("SELECT state, reason FROM harness_trial") == [("complete", None)]
    assert night.rows("SELECT * FROM harness_incident") == []
    assert night.epochs_of(0) == 12

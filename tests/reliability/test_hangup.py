"""Whoever watched a night goes: a closed pipe, a full log, a lost connection. None of them costs a result."""

from __future__ import annotations

import os
import select
import signal
import time
from pathlib import Path

import pytest
from forked_nights import ForkedNight
from forking import Zygote

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
LONG = """
study: night
task: sequence-classification
model: builtin:tiny
data: {path: "builtin:reviews", rows: 64, validation: 16}
fixed: {max_length: 16, batch_size: 8, dtype: fp32}
configurations: [{epochs: 200}]
objective: accuracy
"""


def test_a_night_goes_on_when_its_reader_has_seen_enough(parent: Zygote, tmp_path: Path) -> None:
    """As in `harness run night.yaml | head -1`."""
    night = ForkedNight(tmp_path, parent)
    os.mkfifo(tmp_path / "pipe")
    pid = night.begin(output="pipe")
    with (tmp_path / "pipe").open() as pipe:
        assert pipe.readline() != ""
    assert night.end(pid) == 0
    assert night.rows("SELECT state FROM harness_trial") == [("complete",)] * 2


def test_a_lost_connection_ends_a_night_as_a_signal_does(parent: Zygote, tmp_path: Path) -> None:
    """SIGHUP arrives, and whatever is printed from then on is an error."""
    night = ForkedNight(tmp_path, parent, LONG)
    ours, theirs = os.openpty()
    pid = night.begin(output=os.ttyname(theirs))
    shown, end = b"", time.monotonic() + 60
    while b"trial 0 starts" not in shown or not night.epochs_of(0):
        assert time.monotonic() < end, shown
        readable, _, _ = select.select([ours], [], [], 0.2)
        shown += os.read(ours, 10_000) if readable else b""
    os.close(theirs)
    os.close(ours)
    os.kill(pid, signal.SIGHUP)  # as the system does where the terminal is the process's own
    assert night.end(pid) == 129
    assert night.rows("SELECT state FROM harness_trial") == [("waiting",)]
    assert night.rows("SELECT kind FROM harness_incident") == [("interrupted",)]
    assert night.rows("SELECT exit_state FROM harness_session") == [("interrupted",)]
    assert list(tmp_path.glob("results.files/trials/*/checkpoints/*"))

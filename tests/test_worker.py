"""The process that does one job after another: when it stops listening, whoever speaks to it knows at once."""

from __future__ import annotations

from multiprocessing import Pipe
from typing import Any

import pytest
import torch

from harness.records import JobDone
from harness.worker import Worker


class ToldToEnd(Worker):
    """SIGTERM comes during its first job."""

    def do(self, job: Any) -> None:
        """Nothing else."""
        self.interrupt(15, None)


class Idle(Worker):
    """Its jobs are nothing."""

    def do(self, job: Any) -> None:
        """Nothing."""


def test_a_worker_whose_device_answers_no_more_ends_after_its_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """After an illegal access a process cannot use CUDA again: each later trial would fail at once."""

    def lost(_: torch.device) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    ours, theirs = Pipe()
    ours.send("a job")
    monkeypatch.setattr("harness.devices.synchronise", lost)
    Idle(theirs).serve()
    assert ours.recv().event == JobDone()
    with pytest.raises(BrokenPipeError):
        ours.send("the next job")


def test_a_worker_that_is_told_to_end_hangs_up_before_it_has_ended() -> None:
    """Else the next job would go to a process that reads no more, for as long as torch takes to end."""
    ours, theirs = Pipe()
    ours.send("a job")
    ToldToEnd(theirs).serve()
    assert ours.recv().event == JobDone()
    with pytest.raises(BrokenPipeError):
        ours.send("the next job")

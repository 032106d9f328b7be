"""The process that does one job after another: when it stops listening, whoever speaks to it knows at once."""

from __future__ import annotations

from multiprocessing import Pipe
from typing import Any

import pytest

from harness.records import JobDone
from harness.worker import Worker


class ToldToEnd(Worker):
    """SIGTERM comes during its first job."""

    def do(self, job: Any) -> None:
        """Nothing else."""
        self.interrupt(15, None)


def test_a_worker_that_is_told_to_end_hangs_up_before_it_has_ended() -> None:
    """Else the next job would go to a process that reads no more, for as long as torch takes to end."""
    ours, theirs = Pipe()
    ours.send("a job")
    ToldToEnd(theirs).serve()
    assert ours.recv().event == JobDone()
    with pytest.raises(BrokenPipeError):
        ours.send("the next job")

"""The contract of an executor: slots that each hold one worker, jobs in, messages out.

An executor starts workers and carries messages. It knows nothing of studies, and it never
imports what a worker imports.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Self

from harness.answers import PredictJob
from harness.explanations import ExplainJob
from harness.jobs import AdaptJob, AuditJob, PrepareJob, ProbeJob, TrainJob
from harness.records import Message

Job = PrepareJob | AuditJob | ProbeJob | ExplainJob | PredictJob | AdaptJob | TrainJob


class Executor(ABC):
    """Places jobs on workers. `slots` workers at most work at the same time."""

    slots: int

    @abstractmethod
    def submit(self, slot: int, job: Job) -> None:
        """Give a job to the worker of a slot, starting the worker if there is none."""

    @abstractmethod
    def decide(self, slot: int, *, prune: bool) -> None:
        """Answer an epoch record: go on or prune. A worker waits for this after each epoch."""

    @abstractmethod
    def messages(self, timeout: float) -> list[tuple[int, Message]]:
        """What workers said, as (slot, message); waits up to `timeout` seconds. A dead worker says `WorkerDied`."""

    @abstractmethod
    def interrupt(self, slot: int) -> None:
        """Ask the worker to checkpoint and end; it answers with an outcome of state waiting."""

    @abstractmethod
    def kill(self, slot: int) -> None:
        """End the worker at once; the next job starts a fresh one."""

    @abstractmethod
    def close(self) -> None:
        """End all workers."""

    def ready(self, slot: int) -> bool:
        """Whether a job of that slot would begin at once; a slot of a cluster may wait for a node."""
        return True

    def name(self, slot: int) -> str:
        """What the record calls the worker of a slot."""
        return f"local-{slot}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

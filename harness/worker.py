"""A long-lived process that does one job after another with warm weights and caches.

Started as `python -m harness.worker FD THREADS COORDINATOR`, with a socket to the process COORDINATOR as FD. It reads
jobs, answers with messages, and knows neither Optuna nor the database. SIGTERM asks for a checkpoint
and an early end of the trial; a coordinator that is gone ends it at once.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from types import FrameType

import torch

import harness.devices as devices
from harness.adaptation import adapt
from harness.answers import Answer, PredictJob
from harness.auditing import audit
from harness.errors import HarnessError
from harness.explained import explain
from harness.explanations import ExplainJob, Explanations
from harness.group import run_group
from harness.jobs import AdaptJob, AuditCounts, AuditJob, Prepared, PrepareJob, Probed, ProbeJob, TrainJob, TrialJob
from harness.predicting import predict
from harness.preparation import prepare
from harness.probing import probe
from harness.records import EpochRecord, JobDone, JobFailed, Message
from harness.trial import Control, Warm

PR_SET_PDEATHSIG = 1
Question = PrepareJob | AuditJob | ProbeJob | ExplainJob | PredictJob


class Worker:
    """One connection, one warm state, one job at a time."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.warm = Warm()
        self.interrupted = False

    def interrupt(self, signum: int, frame: FrameType | None) -> None:
        """SIGTERM: the trial at hand checkpoints at its next step and goes back to waiting."""
        self.interrupted = True

    def serve(self) -> None:
        """Do jobs until the coordinator hangs up or someone asks for an end; then hang up, as the end takes seconds.

        It ends by itself when its device has stopped to answer, so that the next job gets a new process.
        """
        with self.connection:
            usable = True
            while usable and not self.interrupted:
                job = self.connection.recv()
                self.do(job)
                usable = devices.answers(self.warm.device)
                self.connection.send(Message(None, JobDone()))

    def do(self, job: Question | AdaptJob | TrainJob) -> None:
        """One job; an error of a job that is no trial is sent, not raised."""
        if isinstance(job, TrainJob):
            self.train(job.trials)
            return
        try:
            for answer in self.answers(job):
                self.connection.send(Message(None, answer))
        except HarnessError as error:
            self.connection.send(Message(None, JobFailed(type(error).__name__, str(error))))
        except Exception as error:  # the coordinator shows it with its traceback and ends
            self.connection.send(
                Message(None, JobFailed("", f"{type(error).__name__}: {error}", traceback.format_exc()))
            )

    def answers(self, job: Question | AdaptJob) -> Iterator[object]:
        """What a job that is no trial has to say; the last word is its answer."""
        if isinstance(job, AdaptJob):
            yield from adapt(job, self.warm, Control(interrupted=lambda: self.interrupted))
        else:
            yield answer_to(job, self.warm)

    def train(self, jobs: Sequence[TrialJob]) -> None:
        """Run a trial, or several together; after each epoch the coordinator says whether to prune."""
        controls = {job.trial: Control(interrupted=lambda: self.interrupted) for job in jobs}
        for trial, event in run_group(jobs, self.warm, controls):
            self.connection.send(Message(trial, event))
            if isinstance(event, EpochRecord):
                controls[trial].prune = self.connection.recv()


def answer_to(job: Question, warm: Warm) -> Prepared | AuditCounts | Probed | Explanations | tuple[Answer, ...]:
    """What a job that is no trial asks for."""
    if isinstance(job, PrepareJob):
        return prepare(job)
    if isinstance(job, ExplainJob):
        return explain(job, warm)
    if isinstance(job, PredictJob):
        return predict(job, warm)
    return audit(job) if isinstance(job, AuditJob) else probe(job)


def die_with_the_coordinator() -> None:
    """Ask Linux for SIGKILL when the parent ends: an orphan would train on, unheard."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def main() -> None:
    """Entry of `python -m harness.worker`."""
    descriptor, threads, coordinator = map(int, sys.argv[1:])
    die_with_the_coordinator()
    if os.getppid() != coordinator:  # which is 1 where it is all that a container runs
        return  # it died before the line above could notice
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the coordinator decides
    torch.set_num_threads(threads)
    worker = Worker(Connection(descriptor))
    signal.signal(signal.SIGTERM, worker.interrupt)
    try:
        worker.serve()
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return


if __name__ == "__main__":
    main()

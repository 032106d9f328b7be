"""One question to one worker: a job that is no trial, its answer or its error."""

from __future__ import annotations

from typing import Any

import harness.errors as errors
from harness.answers import PredictJob
from harness.deadline import Stop
from harness.errors import HarnessError, Interrupted
from harness.executors.base import Executor
from harness.explanations import ExplainJob
from harness.jobs import AuditJob, PrepareJob, ProbeJob
from harness.records import JobDone, JobFailed, WorkerDied

TICK_SECONDS = 0.5


def ask_worker(executor: Executor, job: PrepareJob | AuditJob | ProbeJob | ExplainJob | PredictJob, stop: Stop) -> Any:
    """Give slot 0 a job that is no trial and wait for its answer.

    Raises:
        HarnessError: as the worker raised it.
        Interrupted: when an end was asked for meanwhile.
    """
    executor.submit(0, job)
    answer: Any = None
    while True:
        if stop.asked:
            executor.kill(0)
            raise Interrupted("interrupted", stop.exit_code)
        for _, message in executor.messages(TICK_SECONDS):
            if isinstance(message.event, JobDone):
                if isinstance(answer, JobFailed):
                    raise error_of(answer)
                return answer
            if isinstance(message.event, WorkerDied):
                raise HarnessError(f"the worker died with {message.event.exit_code}:\n{message.event.log_tail}")
            answer = message.event


def error_of(failure: JobFailed) -> HarnessError:
    """The exception that a worker's failure stands for; unexpected ones keep their traceback."""
    if failure.error:
        kind = getattr(errors, failure.error)
        return kind(failure.message)  # type: ignore[no-any-return]
    return HarnessError(f"{failure.message}\n{failure.traceback}")

"""One question to one worker: a job that is no trial, its answer or its error.

A worker that is killed meanwhile, as by a machine that is short of memory, is replaced as one is in a trial.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import harness.errors as errors
from harness.answers import PredictJob
from harness.deadline import Stop
from harness.errors import HarnessError, Interrupted
from harness.executors.base import Executor
from harness.explanations import ExplainJob
from harness.jobs import AuditJob, PrepareJob, ProbeJob
from harness.records import Incident, JobDone, JobFailed, WorkerDied

TICK_SECONDS = 0.5
Question = PrepareJob | AuditJob | ProbeJob | ExplainJob | PredictJob


def ask_worker(
    executor: Executor, job: Question, stop: Stop, told: Callable[[Incident], None] = lambda incident: None
) -> Any:
    """Give slot 0 a job that is no trial and wait for its answer.

    Args:
        executor, job: who is asked, and what.
        stop: an end that is asked for ends the worker.
        told: hears of each worker that was killed and replaced.

    Raises:
        HarnessError: as the worker raised it; or it died of the job, or one after another was killed.
        Interrupted: when an end was asked for meanwhile.
    """
    executor.submit(0, job)
    answer: Any = None
    deaths: Counter[str] = Counter()
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
                death = message.event
                if not death.forgiven(deaths[death.kind]):
                    raise _died(death, deaths.total())
                deaths[death.kind] += 1
                words = f"{death.words} before it had answered{death.why}; another one goes on"
                told(Incident(death.kind, words, death.details))
                executor.submit(0, job)
            answer = message.event


def _died(death: WorkerDied, before: int) -> HarnessError:
    also = f", as {before} before it" if before else ""
    why = death.why or (": look at what ends them, say a limit on memory or time" if before else "")
    return HarnessError(f"the {death.words}{also}{why}\n{death.log_tail}")


def error_of(failure: JobFailed) -> HarnessError:
    """The exception that a worker's failure stands for; unexpected ones keep their traceback."""
    if failure.error:
        kind = getattr(errors, failure.error)
        return kind(failure.message)  # type: ignore[no-any-return]
    return HarnessError(f"{failure.message}\n{failure.traceback}")

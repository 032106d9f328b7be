"""An executor whose workers say what a test writes down, for tests of the night's supervision."""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

from results_support import epoch, facts, prepared

from harness.board import Board
from harness.deadline import Stop
from harness.executors.base import Executor, Job
from harness.jobs import Prepared, PrepareJob, Sharing, TrainJob, TrialJob
from harness.night import Night
from harness.records import JobDone, Message, TrialOutcome
from harness.results.store import Store
from harness.spec import StudyFile, parse_study

Words = Generator[Any, bool | None, None]
HEAD = """
study: s
task: sequence-classification
model: builtin:tiny
data: {path: "builtin:reviews", validation: 0.2}
objective: {metric: accuracy, direction: maximize}
"""


class Scripted(Executor):
    """Workers that run `script` for every trial; after an epoch `yield` gives what the night decided."""

    def __init__(self, script: Callable[[TrialJob], Words], slots: int = 1, found: Prepared | None = None) -> None:
        self.script = script
        self.slots = slots
        self.found = found or prepared()
        self.jobs: list[TrialJob] = []
        self.interrupted: list[int] = []
        self._running: dict[int, Words] = {}
        self._trials: dict[int, int] = {}
        self._answers: dict[int, bool | None] = {}

    def submit(self, slot: int, job: Job) -> None:
        """Begin a script."""
        if isinstance(job, PrepareJob):
            self._running[slot] = (event for event in [self.found])
        else:
            assert isinstance(job, TrainJob)
            self.jobs += job.trials
            self._trials[slot] = job.trials[0].trial
            self._running[slot] = self.script(job.trials[0])
        self._answers[slot] = None

    def decide(self, slot: int, *, prune: bool) -> None:
        """Keep it for the script."""
        self._answers[slot] = prune

    def messages(self, timeout: float) -> list[tuple[int, Message]]:
        """One word of every worker."""
        found = []
        for slot, words in list(self._running.items()):
            try:
                event = words.send(self._answers.pop(slot, None))
            except StopIteration:
                del self._running[slot]
                event = JobDone()
            of_trial = None if isinstance(event, JobDone | Prepared) else self._trials[slot]
            found.append((slot, Message(of_trial, event)))
        return found

    def interrupt(self, slot: int) -> None:
        """Take note."""
        self.interrupted.append(slot)

    def kill(self, slot: int) -> None:
        """The script goes no further."""
        self._running.pop(slot, None)

    def close(self) -> None:
        """Nothing to close."""


class Notes:
    """An observer that remembers."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        """Remember."""
        self.notes.append(text)

    def tick(self, board: Board) -> None:
        """Not looked at."""


def complete(job: TrialJob) -> Words:
    """A trial of one epoch that ends well."""
    yield facts(job.config)
    yield epoch(1)
    yield TrialOutcome("complete", seconds={"total": 1.0})


def failing(job: TrialJob) -> Words:
    """A trial that diverges at once."""
    yield facts(job.config)
    yield TrialOutcome("failed", "diverged", "loss became nan at epoch 1, step 1")


def study(text: str) -> StudyFile:
    """A study file with the usual head."""
    return parse_study(HEAD + text)


def night(store: Store, file: StudyFile, executor: Executor, observer: Notes | None = None) -> Night:
    """A night on the study of that file, made on first sight."""
    found = store.study(file.spec.study)
    if found is None:
        store.create_study(file)
        found = store.study(file.spec.study)
    assert found is not None
    return Night(store, found, file, executor, observer or Notes(), Stop(), Sharing())


def through(path: Path, file: StudyFile, executor: Executor, observer: Notes | None = None) -> list[tuple[Any, ...]]:
    """State and reason of every trial after one invocation on a database at `path`."""
    with Store.open(path) as store:
        found = store.study(file.spec.study)
        key = store.create_study(file) if found is None else found.id
        with store.hold(key):
            night(store, file, executor, observer).through()
        return [(trial.state, trial.reason) for trial in store.trials(key)]

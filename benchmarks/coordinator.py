"""What the coordinator itself costs: workers that answer at once, a real database, more and more trials and workers.

    python -m benchmarks.coordinator --trials 500 1000 2000 4000 --sampler random tpe
    python -m benchmarks.coordinator --trials 100000 --workers 1000
    python -m benchmarks.coordinator --trials 10000 --workers 1000 --db postgresql+psycopg://USER@HOST/SCRATCH

Each line is a study of its own in a process of its own. An epoch's cost is that of recording and answering it, a
trial's what is left when epochs and the sampler's asks are taken off; both as means over all trials and over the last
tenth, which are equal where the cost does not grow with what the database holds. Milliseconds are of the processor;
what the wall clock of a whole trial has beyond them is waiting for the disk (eight commits) and for other processes.
Memory is the process's largest, and what every thousand trials added to it. TMPDIR says where the databases are made;
on a server each study is added to the database that --db names. Workers that answer at once make the coordinator the
bottleneck: trials a second are the most that it can do, however many workers there are.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from harness.deadline import Stop
from harness.executors.base import Executor, Job
from harness.jobs import ModelSummary, Prepared, SplitSummary, TrainJob, TrialJob
from harness.live import PlainObserver
from harness.night import Night
from harness.records import EpochRecord, JobDone, Message, MetricValue, SpeedWindow, TrialFacts, TrialOutcome
from harness.results.store import Store
from harness.sampling import Sampling
from harness.spec import parse_study
from harness.study import run

EPOCHS, TRAIN_ROWS, VALIDATION_ROWS = 3, 14_000, 1_000
TEXT = """\
study: {name}
task: sequence-classification
model: builtin:tiny
data: {{path: "builtin:reviews", train: 100, validation: 50}}
fixed: {{epochs: {epochs}}}
search:
  learning_rate: {{low: 1.0e-5, high: 1.0e-3, log: true}}
  batch_size: [8, 16, 32]
  dropout: {{low: 0.0, high: 0.3}}
objective: {{metric: loss, direction: minimize, at: best}}
pruner: median
sampler: {sampler}
budget: {{trials: {trials}}}
"""
SPANS = ("trial", "epoch", "ask")


class AtOnce(Executor):
    """Workers that have every answer ready, with as many rows as a real one's."""

    def __init__(self, slots: int = 1) -> None:
        self.slots = slots
        rng = np.random.default_rng(0)
        self._losses = rng.random(1000) + 0.3
        self._logits = rng.normal(size=(VALIDATION_ROWS, 2)).astype(np.float32)
        self._margins = rng.normal(size=TRAIN_ROWS).astype(np.float32)
        self._said: dict[int, Iterator[Message]] = {}

    def submit(self, slot: int, job: Job) -> None:
        """Have the job's messages ready."""
        if isinstance(job, TrainJob):
            self._said[slot] = self._train(job.trials[0])
        else:
            self._said[slot] = iter([Message(None, prepared()), Message(None, JobDone())])

    def decide(self, slot: int, *, prune: bool) -> None:
        """A pruned trial goes on all the same: every trial shall cost the same."""

    def messages(self, timeout: float) -> list[tuple[int, Message]]:
        """The next one of every worker that has a job."""
        found = [(slot, next(said)) for slot, said in self._said.items()]
        for slot, message in found:
            if isinstance(message.event, JobDone):
                del self._said[slot]
        return found

    def interrupt(self, slot: int) -> None:
        """Never asked."""

    def kill(self, slot: int) -> None:
        """Never asked."""

    def close(self) -> None:
        """Nothing to close."""

    def _train(self, job: TrialJob) -> Iterator[Message]:
        yield Message(job.trial, facts(job))
        for epoch in range(1, EPOCHS + 1):
            yield Message(job.trial, self._epoch(job, epoch))
        yield Message(job.trial, TrialOutcome("complete", seconds={"train": 3.0, "total": 5.0}))
        yield Message(None, JobDone())

    def _epoch(self, job: TrialJob, epoch: int) -> EpochRecord:
        loss = float(self._losses[(job.trial * EPOCHS + epoch) % 1000])
        names = ("accuracy", "f1", "precision", "recall", "mcc", "macro_f1")
        return EpochRecord(
            epoch=epoch,
            steps=875 * epoch,
            learning_rate=1e-5,
            metrics=(
                MetricValue("train", "loss", 0.6 / epoch),
                MetricValue("validation", "loss", loss),
                *(MetricValue("validation", name, 1 - loss / 2) for name in names),
            ),
            train_seconds=1.0,
            evaluate_seconds=0.3,
            save_seconds=0.1,
            validation_seconds=0.3,
            evaluated_samples=VALIDATION_ROWS,
            windows=tuple(SpeedWindow(0.1, 80, 1280, 40_000, 48_000) for _ in range(8)),
            peak_memory_bytes=300_000_000,
            flops=1e12,
            load=0.05,
            outputs={"logits": self._logits * np.float32(1 / loss)},
            margins=self._margins * np.float32(1 / loss),
        )


def prepared() -> Prepared:
    """Data as large as that of the comparison with the Trainer."""
    labels = ("negative", "positive")
    rows = {"train": TRAIN_ROWS, "validation": VALIDATION_ROWS}
    return Prepared(
        fingerprint="f" * 16,
        label_names=labels,
        positive="positive",
        splits={name: SplitSummary(count, {}, {label: count // 2 for label in labels}) for name, count in rows.items()},
        warnings=(),
        models=(ModelSummary("builtin:tiny", "BertModel", 4, 400_000, 512, None, "a" * 64),),
        examples={name: [(i, labels[i % 2], "", f"text {i}") for i in range(count)] for name, count in rows.items()},
        environment={"python": sys.version.split()[0]},
    )


def facts(job: TrialJob) -> TrialFacts:
    """What was run is what was asked."""
    ran = ("cpu", "fp32", "sdpa", 2, 875 * EPOCHS, TRAIN_ROWS, VALIDATION_ROWS, "f" * 16, None, "a" * 64)
    return TrialFacts(job.config, *ran, total_parameters=400_000, trainable_parameters=400_000)


# --- measuring ----------------------------------------------------------------------------------------


@contextmanager
def timed(owner: type, name: str, spans: list[float]) -> Iterator[None]:
    """Append the processor seconds of every call of a method."""
    method: Callable[..., Any] = getattr(owner, name)

    def measured(*arguments: Any, **keywords: Any) -> Any:
        began = time.process_time()
        try:
            return method(*arguments, **keywords)
        finally:
            spans.append(time.process_time() - began)

    setattr(owner, name, measured)
    try:
        yield
    finally:
        setattr(owner, name, method)


def measure(trials: int, sampler: str, workers: int = 1, db: str | None = None) -> dict[str, Any]:
    """One study from nothing to its end: milliseconds a trial, an epoch and an ask, and memory."""
    name = f"cost-{time.time_ns()}"
    file = parse_study(TEXT.format(name=name, trials=trials, sampler=sampler, epochs=EPOCHS))
    epochs: list[float] = []
    asks: list[float] = []
    ends: list[float] = []
    with tempfile.TemporaryDirectory() as folder, Store.open(db or Path(folder) / "results.db") as store:
        begun_with = megabytes()
        observer = PlainObserver(Console(file=io.StringIO()))
        with timed(Night, "_epoch", epochs), timed(Sampling, "ask", asks), marked(ends):
            began = time.perf_counter()
            ends.append(time.process_time())
            run(store, file, AtOnce(workers), observer, Stop())
            seconds = time.perf_counter() - began
    cost = {"trial": rest(ends, epochs, asks, workers), "epoch": np.asarray(epochs), "ask": np.asarray(asks)}
    return {
        "sampler": sampler,
        "database": "PostgreSQL" if db else "SQLite",
        "workers": workers,
        "trials": trials,
        "growth": 1000 * (megabytes() - begun_with) / trials,
        "rate": trials / seconds,
        "whole": 1000 * seconds / trials,
        **{name: milliseconds(values) for name, values in cost.items()},
        "megabytes": megabytes(),
    }


def rest(ends: list[float], epochs: list[float], asks: list[float], workers: int) -> np.ndarray:
    """Seconds of a trial without its epochs and asks, over stretches in which every worker ends one.

    `ends` begins with the clock at the start of the study.
    """
    marks = np.asarray(ends)[::workers]
    parts = (sum(epochs) + sum(asks)) / (len(ends) - 1)
    return np.diff(marks) / workers - parts


def megabytes() -> float:
    """The largest that this process has been."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


@contextmanager
def marked(ends: list[float]) -> Iterator[None]:
    """Append the processor's clock at the end of every trial."""
    finish = Night._finish

    def marking(night: Night, *arguments: Any) -> None:
        finish(night, *arguments)
        ends.append(time.process_time())

    Night._finish = marking  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        Night._finish = finish  # type: ignore[method-assign]


def milliseconds(values: np.ndarray) -> tuple[float, float]:
    """Mean over all, and over the last tenth."""
    last = values[-max(1, len(values) // 10) :]
    return (1000 * float(values.mean()), 1000 * float(last.mean())) if len(values) else (0.0, 0.0)


def line(found: dict[str, Any]) -> str:
    """A row of the table."""
    parts = [f"{found[name][0]:.1f} ({found[name][1]:.1f})" for name in SPANS]
    names = [found["database"], found["sampler"], f"{found['workers']:,}", f"{found['trials']:,}"]
    memory = f"{found['megabytes']:.0f} ({found['growth']:.1f})"
    return f"| {' | '.join([*names, *parts, format(found['whole'], '.0f'), format(found['rate'], '.0f'), memory])} |"


HEAD = """\
| database | sampler | workers | trials | ms a trial (last tenth) | ms an epoch | ms an ask | whole trial (ms) \
| trials a second | MB (a thousand trials) |
|---|---|---|---|---|---|---|---|---|---|"""


def main() -> None:
    """Measure every pair in a fresh process and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, nargs="+", default=[500, 1000, 2000, 4000])
    parser.add_argument("--sampler", nargs="+", default=["random"])
    parser.add_argument("--workers", type=int, nargs="+", default=[1])
    parser.add_argument("--db", help="URL of a scratch database on a server; else SQLite in a temporary folder")
    parser.add_argument("--one", action="store_true", help="measure the first pair here and print it as JSON")
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measure(given.trials[0], given.sampler[0], given.workers[0], given.db)))
        return
    print(HEAD)
    for sampler, workers, trials in itertools.product(given.sampler, given.workers, given.trials):
        command = [sys.executable, "-m", "benchmarks.coordinator", "--one"]
        command += ["--trials", str(trials), "--sampler", sampler, "--workers", str(workers)]
        command += ["--db", given.db] if given.db else []
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603
        print(line(json.loads(done.stdout)), flush=True)


if __name__ == "__main__":
    main()

"""A worker whose allocations really fail, at a limit on its address space as `ulimit -v` and some clusters set it."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.configuration import Objective, TrialConfig
from harness.executors.local import LocalExecutor
from harness.jobs import TrainJob, TrialJob
from harness.records import EpochRecord, Incident, JobDone, TrialFacts, TrialOutcome

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
JOB = TrialJob(
    trial=1,
    task="sequence-classification",
    data={"path": "builtin:reviews", "rows": 144, "validation": 16},
    data_seed=1,
    config=TrialConfig(model="builtin:tiny", epochs=1, batch_size=8, max_length=64, dtype="fp32"),
    seed=1,
    fold=None,
    objective=Objective(),
    folder="",
    keep=False,
)


@pytest.fixture
def executor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalExecutor]:
    """One worker, whose libc gives back at once what was freed: what fails is what does not fit."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("MALLOC_ARENA_MAX", "1")
    monkeypatch.setenv("MALLOC_MMAP_THRESHOLD_", "65536")
    with LocalExecutor(tmp_path / "logs", 1, threads=1) as made:
        yield made
        made.kill(0)  # it may have too little memory to end by itself


def limit(executor: LocalExecutor, megabytes: int) -> None:
    """Let the worker's address space grow by so much from now on."""
    (process,) = executor._processes.values()
    pid = process.popen.pid
    now = int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * resource.getpagesize()
    _, hard = resource.prlimit(pid, resource.RLIMIT_AS)
    resource.prlimit(pid, resource.RLIMIT_AS, (now + megabytes * 10**6, hard))


def events(executor: LocalExecutor, folder: Path, **values: Any) -> list[Any]:
    """What the worker says of a trial."""
    job = replace(JOB, config=replace(JOB.config, **values), folder=str(folder))
    executor.submit(0, TrainJob((job,)))
    found: list[Any] = []
    while not found or not isinstance(found[-1], JobDone):
        for _, message in executor.messages(60):
            found.append(message.event)
            if isinstance(message.event, EpochRecord):
                executor.decide(0, prune=False)
    return found[:-1]


def test_an_allocation_that_really_fails_halves_the_batch_until_it_fits_or_not_one_row_does(
    executor: LocalExecutor, tmp_path: Path
) -> None:
    assert events(executor, tmp_path / "first", train=8)[-1].state == "complete"  # all libraries are loaded
    limit(executor, 200)
    found = events(executor, tmp_path / "halved", batch_size=128)
    sizes = [event.config.batch_size for event in found if isinstance(event, TrialFacts)]
    assert 1 < sizes[-1] < sizes[0] == 128
    incidents = [event for event in found if isinstance(event, Incident)]
    assert {incident.kind for incident in incidents} == {"oom"}
    assert "can't allocate memory" in incidents[0].details["error"]
    assert found[-1].state == "complete"
    limit(executor, 5)
    (*halvings, ended) = events(executor, tmp_path / "nothing", batch_size=4, train=16)
    assert [event.details["batch_size"] for event in halvings if isinstance(event, Incident)] == [[4, 2], [2, 1]]
    assert isinstance(ended, TrialOutcome)
    assert (ended.state, ended.reason) == ("failed", "oom")
    assert "batches of one row of 64 tokens" in ended.message

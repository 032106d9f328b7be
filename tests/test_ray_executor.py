"""The same night on a Ray cluster: two nodes of this machine, one of which is killed while a trial trains on it."""

from __future__ import annotations

import gc
import os
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import nights
import pytest
import scripted

from harness.deadline import Stop
from harness.errors import Interrupted, UnavailableError, UsageError
from harness.executors.base import Job
from harness.executors.ray import RayExecutor
from harness.jobs import PrepareJob, Sharing, TrainJob
from harness.night import Night
from harness.records import EpochRecord, Message, Progress, TrialFacts
from harness.results.engine import open_engine
from harness.results.invariants import violations
from harness.results.store import Store
from harness.spec import parse_study

ray = pytest.importorskip("ray", reason="ray is not installed here: nothing was tested on a cluster")
cluster_utils = pytest.importorskip("ray.cluster_utils")

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::ResourceWarning")]

STUDY = """
study: night
task: sequence-classification
model: builtin:tiny
data: {path: "builtin:reviews", rows: 90, validation: 30}
fixed: {max_length: 24, batch_size: 16, dtype: fp32}
configurations:
  - {epochs: 8, learning_rate: 5e-4}
  - {epochs: 8, learning_rate: 1e-3}
objective: accuracy
keep: 1
"""
EPOCHS = 8
NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head and a second node, each with one CPU."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    made = cluster_utils.Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
    made.add_node(**NODE)
    yield made
    made.shutdown()
    del made
    with warnings.catch_warnings():  # Ray leaves its processes and logs to the garbage collection
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


class Watched(RayExecutor):
    """Trials write a checkpoint at every step; what they said is remembered, and a look may be had between."""

    def __init__(self, files: Path, address: str, look: Callable[[Watched], None]) -> None:
        super().__init__(files, address)
        self.look = look
        self.said: list[Message] = []

    def submit(self, slot: int, job: Job) -> None:
        if isinstance(job, TrainJob):
            job = TrainJob(tuple(replace(trial, checkpoint_seconds=0.0) for trial in job.trials))
        super().submit(slot, job)

    def messages(self, timeout: float) -> list[tuple[int, Message]]:
        found = super().messages(timeout)
        self.said += [message for _, message in found]
        self.look(self)
        return found

    def epochs_of(self, trial: int) -> list[int]:
        return [said.event.epoch for said in self.said if said.trial == trial and isinstance(said.event, EpochRecord)]

    def resumed_at(self, trial: int) -> int:
        """The epoch in which its last attempt began to train; the last one if all had been trained by then."""
        events = [said.event for said in self.said if said.trial == trial]
        last = max(position for position, event in enumerate(events) if isinstance(event, TrialFacts))
        return next((event.epoch for event in events[last:] if isinstance(event, Progress)), EPOCHS)


def test_a_trial_goes_on_elsewhere_when_its_node_dies(cluster: Any, tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "local").mkdir()
    undisturbed = nights.Night(tmp_path / "local", STUDY)
    monkeypatch.chdir(tmp_path)
    night = nights.Night(tmp_path, STUDY)
    killed: list[tuple[int, int]] = []

    def kill_a_node(executor: Watched) -> None:
        node = next(node for node in cluster.list_all_nodes() if node is not cluster.head_node) if not killed else None
        slot = next((s for s, at in executor._slots.items() if node and at.place and at.place.node == node.node_id), -1)
        running = [row for row in store.trials(1) if row.state == "running" and slot >= 0]
        on_node = [row.id for row in running if workers()[row.id] == executor.name(slot)]
        if on_node and len(executor.epochs_of(on_node[0])) >= 3:
            killed.append((on_node[0], len(executor.epochs_of(on_node[0]))))
            cluster.remove_node(node, allow_graceful=False)

    def workers() -> dict[int, str]:
        return dict(night.rows("SELECT id, worker FROM harness_trial"))

    notes = scripted.Notes()
    with Store.open(night.db) as store:
        file = parse_study(STUDY)
        key = store.create_study(file)
        row = store.study("night")
        assert row is not None
        with Watched(store.files, cluster.address, kill_a_node) as executor, store.hold(key):
            assert executor.slots == 2
            Night(store, row, file, executor, notes, Stop(), Sharing()).through()
    ((trial, before),) = killed
    assert night.rows("SELECT kind, trial_id FROM harness_incident") == [("node_died", trial)]
    assert any("node" in note and "died in trial" in note for note in notes.notes)
    assert executor.epochs_of(trial)[-1] == EPOCHS
    assert executor.resumed_at(trial) >= before, "it began again from nothing"
    assert night.rows("SELECT state, attempt FROM harness_trial WHERE id = ?", trial) == [("complete", 2)]
    engine = open_engine(night.db, read_only=True)
    assert violations(engine) == []
    engine.dispose()
    assert not list((tmp_path / "results.files" / "logs").glob("shared-*"))
    assert undisturbed.run()[0] == 0
    assert night.curves() == undisturbed.curves()


def test_the_command_runs_a_study_on_a_cluster(cluster: Any, tmp_path: Path) -> None:
    text = STUDY.replace("  - {epochs: 8, learning_rate: 5e-4}\n", "").replace("epochs: 8", "epochs: 1")
    night = nights.Night(tmp_path, text)
    code, output = night.run("--executor", "ray", "--address", cluster.address)
    assert code == 0, output
    assert night.rows("SELECT state FROM harness_trial") == [("complete",)]
    assert night.rows("SELECT worker FROM harness_trial")[0][0] != "local-0"


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("--executor", "ray", "--address", "127.0.0.1:1"), 69, "no Ray cluster at '127.0.0.1:1'"),
        (("--executor", "slurm"), 2, "--executor is local or ray, got 'slurm'"),
        (("--address", "auto"), 2, "give --executor ray"),
    ],
)
def test_what_cannot_be_is_refused_in_words(options: tuple[str, ...], code: int, words: str, tmp_path: Path) -> None:
    found, output = nights.Night(tmp_path).run(*options)
    assert (found, words in output) == (code, True), output


def test_a_node_without_the_shared_folder_is_refused(cluster: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    mark = RayExecutor._mark
    monkeypatch.setattr(RayExecutor, "_mark", lambda executor: mark(executor)._replace(word="another"))
    with pytest.raises(UnavailableError, match="is another one than the coordinator's.*network file system"):
        RayExecutor(tmp_path / "results.files", cluster.address)
    monkeypatch.setattr(RayExecutor, "_mark", lambda executor: mark(executor)._replace(folder="/not/there"))
    with pytest.raises(UnavailableError, match="it has no folder /not/there"):
        RayExecutor(tmp_path / "results.files", cluster.address)


class Full(RayExecutor):
    """On a cluster that has no room."""

    def _connect(self, address: str) -> None:
        pass

    def _plan(self, workers: int | None) -> tuple[int, dict[str, float], int]:
        return 0, {"num_cpus": 1}, 1

    def ready(self, slot: int) -> bool:
        return False


def test_who_asks_for_an_end_does_not_wait_for_room(tmp_path: Path) -> None:
    with pytest.raises(Interrupted) as caught:
        Full(tmp_path / "results.files", stop=Stop(1, 143))
    assert caught.value.exit_code == 143


def test_without_ray_the_extra_is_named(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install '\.\[ray\]'"):
        RayExecutor(tmp_path)


def test_a_lost_answer_is_asked_for_again_and_nothing_is_done_twice(
    cluster: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    """Every other answer is thrown away, as a broken connection would."""
    monkeypatch.chdir(tmp_path)
    lost: list[int] = []
    executor = RayExecutor(tmp_path / "results.files", cluster.address)
    get = executor.ray.get

    def forgetful(call: Any) -> Any:
        answer = get(call)
        if isinstance(answer, tuple) and len(lost) < 3 and answer[1]:
            lost.append(1)
            raise executor.ray.exceptions.ActorUnavailableError("lost", None)
        return answer

    monkeypatch.setattr(executor.ray, "get", forgetful)
    with executor:
        executor.submit(0, PrepareJob("sequence-classification", {"path": "builtin:reviews", "rows": 60}, 1,
                                      ["builtin:tiny"], [], ["loss"], False))  # fmt: skip
        said, end = [], time.monotonic() + 120
        while not any(type(message.event).__name__ == "JobDone" for message in said):
            assert time.monotonic() < end
            said += [message for _, message in executor.messages(1.0)]
    assert len(lost) == 3
    assert [type(message.event).__name__ for message in said] == ["Prepared", "JobDone"]

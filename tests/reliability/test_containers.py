"""Harness as all that a container runs: it is process 1 there, and its memory has a limit that the kernel enforces."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import scripted
from nights import Night

from harness.oom_kills import oom_kills
from harness.records import MEMORY_REMEDY, WorkerDied
from harness.results.store import Store

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
STUDY = """
study: night
task: sequence-classification
model: builtin:tiny
data: {path: "builtin:reviews", rows: 64, validation: 16}
fixed: {max_length: 16, batch_size: 8, dtype: fp32}
configurations: [{epochs: 1}]
objective: accuracy
"""
ALONE = ["unshare", "--map-root-user", "--pid", "--fork", "--mount-proc"]


def test_a_night_that_is_process_1_is_a_night_like_another(tmp_path: Path) -> None:
    """Docker's exec form and a Kubernetes Job begin it so; a parent that is process 1 is no sign of an orphan there."""
    if shutil.which("unshare") is None or os.system(f"{' '.join(ALONE)} true 2>/dev/null") != 0:
        pytest.skip("no process name spaces here: a night that is process 1 was NOT tested")
    night = Night(tmp_path, STUDY)
    night.within = ALONE
    code, output = night.run()
    assert code == 0, output
    assert night.rows("SELECT state FROM harness_trial") == [("complete",)]


# --- memory ---------------------------------------------------------------------------------------------------

LIMIT_BYTES = 400_000_000
PARENT = {1: Path("/sys/fs/cgroup/memory"), 2: Path("/sys/fs/cgroup")}
LIMIT = {1: "memory.limit_in_bytes", 2: "memory.max"}
COORDINATOR = """
import sys
from pathlib import Path
from harness.executors.local import LocalExecutor

class Programs(LocalExecutor):
    def _command(self, descriptor):
        return [sys.executable, "-S", "-c", self.program, str(descriptor)]

Path(sys.argv[1], "cgroup.procs").write_text("0")
with Programs(Path(sys.argv[2]), 2) as executor:
    greedy, patient = "held = [bytes(10**7) + b'x' for _ in range(1000)]", "import time; time.sleep(1000)"
    for slot, executor.program in enumerate([greedy, patient]):
        executor.submit(slot, "a job")
    ((slot, message),) = executor.messages(60)
    print(slot, message.event.exit_code, message.event.out_of_memory)
    executor._processes[1].popen.kill()
    ((slot, message),) = executor.messages(60)
    print(slot, message.event.exit_code, message.event.out_of_memory)
"""


@pytest.fixture
def group() -> Iterator[Path]:
    """A control group of this machine with little memory."""
    version = 1 if (PARENT[1] / LIMIT[1]).exists() else 2
    folder = PARENT[version] / f"harness-test-{os.getpid()}"
    try:
        folder.mkdir()
    except OSError as error:
        pytest.skip(
            f"no control groups of one's own here ({error.strerror}): an end by the OOM killer was NOT tested (F13)"
        )
    try:
        if not (folder / LIMIT[version]).exists():
            pytest.skip("control groups here count no memory: an end by the OOM killer was NOT tested (F13)")
        (folder / LIMIT[version]).write_text(str(LIMIT_BYTES))
        yield folder
    finally:
        folder.rmdir()


def test_a_worker_that_the_kernel_ends_for_its_memory_is_told_from_one_that_somebody_kills(
    group: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", COORDINATOR, str(group), str(tmp_path)]
    told = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert told.stdout.splitlines() == ["0 -9 True", "1 -9 False"], told.stderr


@pytest.mark.parametrize(
    ("ours", "file"),
    [
        ("0::/jobs/mine\n", "jobs/mine/memory.events"),
        ("0::/jobs/mine\n", "memory.events"),
        ("12:cpu:/x\n5:hugetlb,memory:/docker/c0ffee\n0::/\n", "memory/docker/c0ffee/memory.oom_control"),
        ("5:memory:/docker/c0ffee\n0::/\n", "memory/memory.oom_control"),
        ("12:cpu:/x\n0::/\n", None),
    ],
    ids=["version 2", "version 2 in a container", "version 1", "version 1 in a container", "no memory"],
)
def test_the_count_of_the_group_is_found_where_the_kernel_keeps_it(tmp_path: Path, ours: str, file: str | None) -> None:
    (tmp_path / "cgroup").write_text(ours)
    if file is not None:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text("max 7\noom_kill_disable 0\noom 4\noom_kill 3\noom_group_kill 1\n")
    assert oom_kills(tmp_path / "cgroup", tmp_path) == (None if file is None else 3)
    assert oom_kills(tmp_path / "absent", tmp_path) is None


def test_a_trial_whose_workers_run_out_of_memory_says_so_and_what_helps(tmp_path: Path) -> None:
    def too_large(job: object) -> scripted.Words:
        yield WorkerDied(-9, out_of_memory=True)

    file = scripted.study("configurations: [{epochs: 1}]\n")
    assert scripted.through(tmp_path / "r.db", file, scripted.Scripted(too_large)) == [("failed", "oom")]
    words = f"worker died with signal 9 in trial 0: memory ran out, {MEMORY_REMEDY}"
    with Store.open(tmp_path / "r.db") as store, store.engine.connect() as connection:
        assert [trial.message for trial in store.trials(1)] == [words]
        incidents = connection.exec_driver_sql("SELECT message FROM harness_incident").scalars().all()
        assert incidents == [f"{words}; the trial goes on later"] * 2

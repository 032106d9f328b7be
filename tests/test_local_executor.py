"""Workers as processes: they answer, they die, and the next job finds a fresh one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from multiprocessing import Pipe
from pathlib import Path

import pytest

from harness.asking import ask_worker
from harness.deadline import Stop
from harness.errors import DataError, HarnessError, Interrupted
from harness.executors.local import KEPT_LOGS, LocalExecutor, _Process
from harness.jobs import Prepared, PrepareJob
from harness.records import WorkerDied

pytestmark = pytest.mark.slow


@pytest.fixture
def executor(tmp_path: Path) -> Iterator[LocalExecutor]:
    made = LocalExecutor(tmp_path / "logs", 1)
    yield made
    made.close()


def job(**data: object) -> PrepareJob:
    return PrepareJob(
        task="sequence-classification",
        data={"path": "builtin:reviews", "rows": 60, "validation": 20, **data},
        seed=1,
        models=["builtin:tiny"],
        demands=[],
        metrics=["loss"],
        with_texts=False,
    )


def only_worker(executor: LocalExecutor) -> int:
    (process,) = executor._processes.values()
    return process.popen.pid


def test_a_worker_answers_one_job_after_another(executor: LocalExecutor) -> None:
    first = ask_worker(executor, job(), Stop())
    pid = only_worker(executor)
    second = ask_worker(executor, job(), Stop())
    assert isinstance(first, Prepared)
    assert first == second
    assert only_worker(executor) == pid
    assert {name: split.rows for name, split in first.splits.items()} == {"train": 40, "validation": 20}


def test_a_mistake_in_the_data_arrives_as_the_error_it_is(executor: LocalExecutor) -> None:
    with pytest.raises(DataError, match="txet"):
        ask_worker(executor, job(text="txet"), Stop())


def test_a_worker_that_died_between_jobs_is_replaced(executor: LocalExecutor) -> None:
    ask_worker(executor, job(), Stop())
    (process,) = executor._processes.values()
    pid = process.popen.pid
    process.popen.kill()
    process.popen.wait()
    assert isinstance(ask_worker(executor, job(), Stop()), Prepared)
    assert only_worker(executor) != pid


def test_an_interrupted_question_raises_and_leaves_no_worker(executor: LocalExecutor) -> None:
    with pytest.raises(Interrupted) as caught:
        ask_worker(executor, job(), Stop(asked=1, exit_code=143))
    assert caught.value.exit_code == 143
    assert not executor._processes


HALF_A_MESSAGE = """
import os, signal, struct, sys
os.read(int(sys.argv[1]), 65536)
os.write(int(sys.argv[1]), struct.pack("!i", 1000) + b"the first words")
os.kill(os.getpid(), signal.SIGKILL)
"""


class Programs(LocalExecutor):
    """Workers that run a program of the test's instead of serving jobs."""

    program = ""

    def _command(self, descriptor: int) -> Sequence[str]:
        return [sys.executable, "-S", "-c", self.program, str(descriptor)]


def test_a_worker_that_is_killed_in_mid_message_is_a_death_like_any_other(tmp_path: Path) -> None:
    executor = Programs(tmp_path / "logs", 1)
    executor.program = HALF_A_MESSAGE
    with executor:
        executor.submit(0, job())
        assert [message.event for _, message in executor.messages(60)] == [WorkerDied(-9, "")]


CRASH = """
import os, signal, sys
os.read(int(sys.argv[1]), 65536)
print("asked", flush=True)
os.kill(os.getpid(), signal.SIGSEGV)
"""


def test_a_worker_that_dies_of_a_question_says_how_and_no_other_is_asked(tmp_path: Path) -> None:
    """That it was killed may be chance; that it crashed is not."""
    with Programs(tmp_path / "logs", 1) as executor:
        executor.program = CRASH
        with pytest.raises(HarnessError, match="the worker died with signal 11\nasked\n$"):
            ask_worker(executor, job(), Stop())
    assert [log.read_text() for log in (tmp_path / "logs").iterdir()] == ["asked\n"]


LAST_WORDS = """
import os, sys
print("last words of", os.getpid(), flush=True)
os.read(int(sys.argv[1]), 65536)
os._exit(3)
"""


def dying(executor: Programs) -> tuple[int, str]:
    """Give it a job that ends it: which process it was, and what the executor says of it."""
    executor.program = LAST_WORDS
    executor.submit(0, job())
    pid = only_worker(executor)
    ((_, message),) = executor.messages(60)
    assert isinstance(message.event, WorkerDied)
    return pid, message.event.log_tail


def test_each_coordinator_writes_logs_of_its_own_and_takes_none_away(tmp_path: Path) -> None:
    """A study may be confirmed, and another one planned, beside a night on the same database."""
    with Programs(tmp_path, 1) as mine:
        pid, tail = dying(mine)
        assert tail == f"last words of {pid}\n"
        child = os.fork()
        if child == 0:
            right = False
            try:
                other, its_tail = dying(Programs(tmp_path, 1))
                right = its_tail == f"last words of {other}\n"
            finally:
                os._exit(not right)
        assert os.waitpid(child, 0)[1] == 0
        again, tail = dying(mine)
        assert tail == f"last words of {again}\n"
    told = {path.read_text() for path in tmp_path.iterdir()}
    assert f"last words of {pid}\nlast words of {again}\n" in told and len(told) == 2


def test_of_old_logs_the_newest_stay(tmp_path: Path) -> None:
    for number in range(KEPT_LOGS + 20):
        path = tmp_path / f"worker-{number}-0.log"
        path.write_text("of some night")
        os.utime(path, (number, number))
    (tmp_path / "shared-0").write_text("not a log")
    with Programs(tmp_path, 1) as executor:
        dying(executor)
    there = {path.name for path in tmp_path.iterdir()}
    assert len(there) == KEPT_LOGS + 2
    assert {"shared-0", f"worker-{KEPT_LOGS + 19}-0.log", "worker-20-0.log"} <= there


class Stillborn(Programs):
    """Workers that have ended before they can be given a job."""

    program = "raise SystemExit(3)"

    def _start(self, slot: int) -> _Process:
        process = super()._start(slot)
        process.popen.wait()
        return process


def test_workers_that_cannot_begin_are_deaths_too(tmp_path: Path) -> None:
    with Stillborn(tmp_path / "logs", 1) as executor:
        executor.submit(0, job())
        assert [message.event for _, message in executor.messages(60)] == [WorkerDied(3, "")]


def test_a_worker_dies_with_its_coordinator(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:  # a coordinator that starts a worker and is killed
        made = LocalExecutor(tmp_path / "logs", 1)
        made.submit(0, job())
        made.messages(60)
        os.write(writer, str(only_worker(made)).encode())
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    pid = int(os.read(reader, 100))
    end = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists() and time.monotonic() < end:
        time.sleep(0.05)
    assert not Path(f"/proc/{pid}").exists()


def test_a_worker_whose_coordinator_died_before_it_could_notice_does_no_job() -> None:
    """Linux tells it of a death that comes later; its job lies in the socket already."""
    ours, theirs = Pipe()
    before = subprocess.Popen([sys.executable, "-S", "-c", ""])
    before.wait()
    ours.send(job())
    command = [sys.executable, "-m", "harness.worker", str(theirs.fileno()), "1", str(before.pid)]
    with theirs:
        worker = subprocess.Popen(command, pass_fds=[theirs.fileno()])
    assert worker.wait(60) == 0
    with pytest.raises((EOFError, ConnectionResetError)):  # the latter, as the job was not read
        ours.recv()

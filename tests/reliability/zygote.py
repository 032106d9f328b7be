"""A process that has imported everything and forks nights: the command line without the seconds that imports take.

Reads one JSON request a line and answers with one line. The coordinator of a forked night forks its workers instead of
starting them; all the rest is the product's own. `deaths` names the places where a process kills itself.
"""

from __future__ import annotations

import ctypes
import functools
import gc
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from types import ModuleType
from typing import Any

import alembic.util
from nights import STEPS
from places import plant
from records import finished_study

import harness.cli
import harness.night
import harness.results.connecting
import harness.trial
import harness.worker
from harness.configuration import Objective
from harness.executors.local import LocalExecutor, _Process
from harness.jobs import PrepareJob, Sharing, TrialJob
from harness.preparation import prepare
from harness.records import Progress, TrialOutcome
from harness.spec import parse_study
from harness.trial import Control, Warm, run

FORKED = {
    "OMP_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}  # a forked process has none of its parent's threads

SERVER_SECONDS = 1.0  # how long a server that is not there is waited for


class Forked:
    """What `LocalExecutor` asks of a started process."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        if self.returncode is None:
            found, status = os.waitpid(self.pid, os.WNOHANG)
            if found:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        end = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if end is not None and time.monotonic() > end:
                raise subprocess.TimeoutExpired("worker", timeout or 0.0)
            time.sleep(0.002)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def fork_worker(executor: LocalExecutor, slot: int) -> _Process:
    """`LocalExecutor._start` by forking."""
    ours, theirs = socket.socketpair()
    executor.logs.mkdir(parents=True, exist_ok=True)
    log = executor.logs / f"worker-{slot}.log"
    log.touch()  # as `LocalExecutor` does: it is there before the worker is
    pid = forked(functools.partial(be_a_worker, ours, theirs, executor.threads, os.getpid()), log)
    theirs.close()
    process = _Process(Forked(pid), Connection(ours.detach()), log)  # type: ignore[arg-type]
    executor._processes[slot] = process
    return process


def be_a_worker(ours: socket.socket, theirs: socket.socket, threads: int, coordinator: int) -> None:
    ours.close()
    sys.argv = ["worker", str(theirs.detach()), str(threads), str(coordinator)]
    harness.worker.main()


def forked(act: Callable[[], None], output: Path) -> int:
    """Process id of a child in a session of its own that acts, says what it says into a file, and ends."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.setsid()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        with output.open("wb") as stream:
            os.dup2(stream.fileno(), 1)
            os.dup2(stream.fileno(), 2)
        sys.stdout = open(1, "w", closefd=False)
        sys.stderr = open(2, "w", closefd=False)
        act()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


# --- nights --------------------------------------------------------------------------------------------------


def note_steps(path: Path) -> None:
    """Let every worker say into a file which step of which trial it has taken.

    Numbers do not tell a trial that went on from one that began anew: they are the same, bit for bit.
    """
    passing_on, training = harness.trial._train, harness.trial.train

    def noted(trial: int, *arguments: Any) -> Iterator[Any]:
        for event in training(*arguments):
            if isinstance(event, Progress):
                with path.open("a") as file:
                    file.write(f"{os.getpid()} {trial} {event.step}\n")
            yield event

    def train(attempt: harness.trial.Attempt, *arguments: Any) -> Any:
        harness.trial.train = functools.partial(noted, attempt.job.trial)
        return passing_on(attempt, *arguments)

    harness.trial._train = train


def be_a_night(
    folder: str,
    arguments: list[str],
    checkpoint_seconds: float | None = None,
    deaths: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    server_seconds: float = SERVER_SECONDS,
    within: int | None = None,
) -> None:
    if within is not None:
        enter(within)
    os.chdir(folder)
    if environment is not None:
        os.environ.clear()
        os.environ.update({**environment, **FORKED})
    LocalExecutor._start = fork_worker  # type: ignore[method-assign]
    note_steps(Path(folder) / STEPS)
    harness.results.connecting.OPENING_SECONDS = server_seconds
    if checkpoint_seconds is not None:
        harness.night.TrialJob = functools.partial(TrialJob, checkpoint_seconds=checkpoint_seconds)  # type: ignore[misc, assignment]
    for number, place in enumerate(deaths):  # one death at each
        plant(place, Path(folder) / f"died{number or ''}")
    sys.argv = ["harness", *arguments]
    harness.cli.main()


def enter(holder: int) -> None:
    """See the file systems that a process has mounted for itself, as `nsenter --user --mount` does."""
    system = ctypes.CDLL(None, use_errno=True)
    spaces = [os.open(f"/proc/{holder}/ns/{kind}", os.O_RDONLY) for kind in ("user", "mnt")]
    for space in spaces:
        if system.setns(space, 0):
            raise OSError(ctypes.get_errno(), f"the namespaces of process {holder} cannot be entered")
        os.close(space)


def read_once(real: Callable[[str, str], ModuleType]) -> Callable[[str, str], ModuleType]:
    """Files of migrations say the same to every night; `env.py` acts when it is read."""
    kept = functools.cache(real)
    return lambda folder, name: real(folder, name) if name == "env.py" else kept(folder, name)


def warm_up() -> None:
    """Import what only a night imports, by preparing, training and mirroring."""
    alembic.util.load_python_file = read_once(alembic.util.load_python_file)
    for name in ("harness.live", "harness.study", "harness.grid", "harness.commands.night", "rich.live"):
        importlib.import_module(name)
    file = parse_study(
        "study: warm\nmodel: builtin:tiny\ndata: {path: 'builtin:reviews', rows: 40, validation: 10}\n"
        "configurations: [{epochs: 1, max_length: 16, batch_size: 8, freeze: top-1, dtype: fp32}]\n"
    )
    spec = file.spec
    (config,) = spec.explicit()
    asked = spec.data.model_dump(mode="json")
    prepare(PrepareJob(spec.task, asked, 42, spec.models(), spec.demands(), ["loss"], True, {}))
    with tempfile.TemporaryDirectory() as folder:
        finished_study(Path(folder) / "results.db")
        sharing = Sharing(folder + "/cache", 10**9, ("top-1",))
        job = TrialJob(1, spec.task, asked, 42, config, 42, None, Objective(), folder, True, sharing=sharing)
        *_, ended = run(job, Warm(), Control())
        assert isinstance(ended, TrialOutcome) and ended.state == "complete", ended
    gc.collect()
    gc.freeze()  # what is here now no forked process looks through again, and so its pages stay shared


def serve() -> None:
    """Answer requests: a night to begin, or one to wait for."""
    for line in sys.stdin:
        asked = json.loads(line)
        if "folder" in asked:
            output = Path(asked["folder"]) / asked.pop("output")
            answer = forked(functools.partial(be_a_night, **asked), output)
        else:
            _, status = os.waitpid(asked["wait"], 0)
            answer = os.waitstatus_to_exitcode(status)
        print(answer, flush=True)


if __name__ == "__main__":
    warm_up()
    serve()

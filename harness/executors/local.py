"""Workers as processes of this machine: one a device, or several that share the CPU's threads."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path

import psutil
import pynvml

from harness.environment import without_secrets
from harness.executors.base import Executor, Job
from harness.oom_kills import oom_kills
from harness.records import Message, WorkerDied

LOG_TAIL_BYTES = 4_000
KEPT_LOGS = 100  # of workers that came before
GRACE_SECONDS = 5.0
SPINS = "1000"  # of a thread at a barrier, before it sleeps


@dataclass
class _Process:
    popen: subprocess.Popen[bytes]
    connection: Connection
    log: Path
    begins: int = 0  # where its own words begin in the log
    oom_kills: int | None = field(default_factory=oom_kills)  # that were no end of its own


def visible_gpus() -> list[str]:
    """Ids of the NVIDIA devices that a worker may use, empty without any; asks the driver, not torch."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    try:
        pynvml.nvmlInit()
        count = pynvml.nvmlDeviceGetCount()
    except pynvml.NVMLError:
        return []
    if chosen is None:
        return [str(i) for i in range(count)]
    return [device for device in chosen.split(",") if device.strip() not in ("", "-1")]


class LocalExecutor(Executor):
    """One long-lived worker process a slot.

    Args:
        workers: number of slots; by default one a GPU, or one on a machine without.
        logs: folder for what the workers print.
        threads: of each worker; by default the cores that we may use, shared by all.
    """

    def __init__(self, logs: Path, workers: int | None = None, threads: int | None = None) -> None:
        self.gpus = visible_gpus()
        self.slots = workers or max(1, len(self.gpus))
        self.logs = logs
        cores = len(psutil.Process().cpu_affinity()) if hasattr(psutil.Process, "cpu_affinity") else os.cpu_count()
        self.threads = threads or max(1, (cores or 1) // self.slots)
        self._processes: dict[int, _Process] = {}

    def submit(self, slot: int, job: Job) -> None:
        """See the contract."""
        process = self._processes.get(slot) or self._start(slot)
        try:
            process.connection.send(job)
        except (BrokenPipeError, ConnectionResetError):  # it died idle, between two jobs
            self._bury(slot)
            with suppress(BrokenPipeError, ConnectionResetError):  # `messages` tells of a death at once
                self._start(slot).connection.send(job)

    def decide(self, slot: int, *, prune: bool) -> None:
        """See the contract; a worker that died meanwhile is reported by `messages`."""
        try:
            self._processes[slot].connection.send(prune)
        except (BrokenPipeError, ConnectionResetError):
            return

    def messages(self, timeout: float) -> list[tuple[int, Message]]:
        """See the contract."""
        slots = {process.connection: slot for slot, process in self._processes.items()}
        ready = wait(list(slots), timeout)
        found: list[tuple[int, Message]] = []
        for connection in ready:
            assert isinstance(connection, Connection)
            slot = slots[connection]
            try:
                found.append((slot, connection.recv()))
            except (EOFError, OSError):  # between two messages, or in the middle of one
                found.append((slot, Message(None, self._bury(slot))))
        return found

    def interrupt(self, slot: int) -> None:
        """See the contract."""
        if slot in self._processes:
            self._processes[slot].popen.send_signal(signal.SIGTERM)

    def kill(self, slot: int) -> None:
        """See the contract."""
        if slot in self._processes:
            self._processes[slot].popen.kill()
            self._bury(slot)

    def close(self) -> None:
        """Hang up; a worker that does not end by itself within seconds is killed."""
        for process in self._processes.values():
            process.connection.close()
        for process in self._processes.values():
            try:
                process.popen.wait(GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                process.popen.kill()
                process.popen.wait()
        self._processes.clear()

    def _start(self, slot: int) -> _Process:
        ours, theirs = socket.socketpair()
        log = self._log_of(slot)
        with log.open("ab") as stream, theirs:
            begins = stream.tell()
            popen = subprocess.Popen(  # noqa: S603 our own interpreter and module
                self._command(theirs.fileno()),
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                env=self._environment(slot),
                start_new_session=True,  # Ctrl-C in the terminal is for the coordinator alone
            )
        process = _Process(popen, Connection(ours.detach()), log, begins)
        self._processes[slot] = process
        return process

    def _log_of(self, slot: int) -> Path:
        """A file that no other coordinator writes, who may be at work on the same database; the oldest go."""
        self.logs.mkdir(parents=True, exist_ok=True)
        log = self.logs / f"worker-{os.getpid()}-{slot}.log"
        if not log.exists():
            newest_first = sorted(self.logs.glob("worker-*.log"), key=_changed, reverse=True)
            for old in newest_first[KEPT_LOGS:]:
                old.unlink(missing_ok=True)
        return log

    def _command(self, descriptor: int) -> Sequence[str]:
        return [sys.executable, "-m", "harness.worker", str(descriptor), str(self.threads), str(os.getpid())]

    def _environment(self, slot: int) -> dict[str, str]:
        environment = without_secrets(os.environ)
        environment["TOKENIZERS_PARALLELISM"] = "false"
        environment["OMP_NUM_THREADS"] = str(self.threads)
        # Threads that spin at barriers for long make a step 3 to 30 times slower beside one busy process, threads
        # that sleep at once cost small steps a quarter of their time: benchmarks/LOG.md has the figures.
        if "OMP_WAIT_POLICY" not in environment:
            environment.setdefault("GOMP_SPINCOUNT", SPINS)
        if self.gpus:
            environment["CUDA_VISIBLE_DEVICES"] = self.gpus[slot % len(self.gpus)]
        return environment

    def _bury(self, slot: int) -> WorkerDied:
        process = self._processes.pop(slot)
        process.connection.close()
        try:
            code = process.popen.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            process.popen.kill()
            code = process.popen.wait()
        tail = _words(process.log, process.begins)
        return WorkerDied(code, tail, out_of_memory=code == -signal.SIGKILL and self._ran_out_of_memory(process))

    def _ran_out_of_memory(self, dead: _Process) -> bool:
        """Whether a process of our control group was ended for that; one such end explains one death."""
        kills = oom_kills()
        if kills is None or dead.oom_kills is None or kills <= dead.oom_kills:
            return False
        for process in self._processes.values():
            process.oom_kills = None if process.oom_kills is None else process.oom_kills + 1
        return True


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # another coordinator was faster
        return 0.0


def _words(log: Path, begins: int) -> str:
    """The end of what a worker printed; nothing where its log was cleared away."""
    try:
        return log.read_bytes()[begins:][-LOG_TAIL_BYTES:].decode(errors="replace")
    except FileNotFoundError:
        return ""

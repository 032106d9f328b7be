"""Real nights for tests: the command line in a process of its own, on the built-in data and model."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import forking
import psutil

import harness.checkpoints as checkpoints

STUDY = """
study: night
task: sequence-classification
model: builtin:tiny
data: {path: "builtin:reviews", rows: 160, validation: 40}
fixed: {max_length: 24, batch_size: 8, dtype: fp32}
configurations:
  - {epochs: 2, learning_rate: 1e-3}
  - {epochs: 12, learning_rate: 5e-4}
  - {epochs: 2, learning_rate: 2e-4, freeze: top-2}
objective: accuracy
keep: 2
"""
CHECKPOINTS = "results.files/trials/t*/checkpoints/[0-9]*"
STEPS = "steps.txt"  # of a forked night: every step that its workers have taken


class ForkedCommand:
    """`harness ARGUMENTS` in the background, forked from the process that has imported everything."""

    def __init__(self, folder: Path, said: Path, *arguments: str, **more: float) -> None:
        self.said = said
        self.returncode: int | None = None
        asked = {"folder": str(folder), "arguments": arguments, "environment": dict(os.environ), **more}
        self.pid = forking.shared().ask(**asked, output=str(self.said))

    def poll(self) -> int | None:
        """Exit code, once it has ended."""
        if self.returncode is None and psutil.Process(self.pid).status() == psutil.STATUS_ZOMBIE:
            self.returncode = forking.shared().ask(wait=self.pid)
        return self.returncode

    def communicate(self, *, timeout: float | None = None) -> tuple[str, None]:
        """Everything that it said, when it has ended."""
        end = time.monotonic() + (600 if timeout is None else timeout)
        while self.poll() is None:
            assert time.monotonic() < end, self.said.read_text()
            time.sleep(0.02)
        return self.said.read_text(), None

    def send_signal(self, sig: int) -> None:
        """To the coordinator alone."""
        os.kill(self.pid, sig)

    def kill(self) -> None:
        """Without a chance to clean up."""
        self.send_signal(signal.SIGKILL)


Command = subprocess.Popen[str] | ForkedCommand


class Step(NamedTuple):
    """An optimiser step that a worker has taken; steps of a trial count from 1."""

    worker: int
    trial: int
    step: int


class Night:
    """A folder with a study file and its database."""

    def __init__(self, folder: Path, text: str = STUDY) -> None:
        self.folder = folder
        self.file = folder / "night.yaml"
        self.file.write_text(text)
        self.db = folder / "results.db"
        self.within: list[str] = []  # what goes before every command

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """`harness ARGUMENTS` in the background; two nights compute the same with one thread each."""
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}
        command = [*self.within, sys.executable, "-m", "harness", *arguments]
        return subprocess.Popen(
            command, cwd=self.folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def forked(self, *arguments: str, **more: float) -> ForkedCommand:
        """As `start`, without the seconds that the imports of coordinator and workers take.

        `more` is for `be_a_night` of tests/reliability/zygote.py.
        """
        return ForkedCommand(self.folder, self.folder / "said.txt", *arguments, **more)

    def harness(self, *arguments: str) -> tuple[int, str]:
        """Exit code and output of `harness ARGUMENTS`."""
        if not self.within:
            return command(self.folder, *arguments)
        process = self.start(*arguments)
        output, _ = process.communicate(timeout=300)
        return process.returncode, output

    def run(self, *more: str) -> tuple[int, str]:
        """`harness run` on the study file, on two workers' share of the threads so that runs compare."""
        return self.harness("run", "night.yaml", *more)

    def rows(self, query: str, *values: object) -> list[Any]:
        """Rows of a query, read from the file as any program would."""
        connection = sqlite3.connect(f"file:{self.db}?mode=ro", uri=True, timeout=30)
        try:
            return connection.execute(query, values).fetchall()
        finally:
            connection.close()

    def wait_for(self, process: Command, seen: Callable[[], bool], seconds: float = 120) -> None:
        """Poll until something is true of the database."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if process.poll() is not None:
                raise AssertionError(f"ended too early with {process.returncode}:\n{process.communicate()[0]}")
            if self.db.exists() and seen():
                return
            time.sleep(0.02)
        process.kill()
        raise AssertionError("it never happened")

    def epochs_of(self, number: int) -> int:
        """Committed epochs of a trial."""
        query = "SELECT count(*) FROM harness_epoch WHERE study = 'night' AND trial = ?"
        return int(self.rows(query, number)[0][0])

    def steps(self) -> list[Step]:
        """Every optimiser step that the workers of forked nights have taken, in order."""
        path = self.folder / STEPS
        lines = path.read_text().splitlines() if path.exists() else []
        return [Step(*map(int, line.split())) for line in lines]

    def checkpointed(self) -> dict[int, int]:
        """Trial -> how many steps the newest whole checkpoint of it holds."""
        whole = [path for path in sorted(self.folder.glob(CHECKPOINTS)) if checkpoints.verify(path) == ""]
        return {int(path.parts[-3][1:]): steps_held(path) for path in whole}

    def curves(self) -> list[Any]:
        """Everything that must not depend on interruptions: metrics of all epochs, in order."""
        return self.rows(
            "SELECT t.number, m.epoch, m.split, m.name, m.grp, m.value FROM harness_metric m "
            "JOIN harness_trial t ON t.id = m.trial_id ORDER BY 1, 2, 3, 4, 5"
        )


def steps_held(checkpoint: Path) -> int:
    """Optimiser steps that a checkpoint holds, by what it says itself."""
    document = json.loads((checkpoint / "state.json").read_text())
    ended = document["records"][-1]["steps"] if document["records"] else 0
    return int(ended + (document["running"]["step"] if document["running"] else 0))


def command(folder: Path, *arguments: str) -> tuple[int, str]:
    """Exit code and output of `harness ARGUMENTS` in a folder: forked, without the seconds that imports take."""
    with tempfile.NamedTemporaryFile() as said:
        parent = forking.shared()
        asked = {"folder": str(folder), "arguments": arguments, "environment": dict(os.environ)}
        return parent.ask(wait=parent.ask(**asked, output=said.name)), Path(said.name).read_text()


def worker_of(coordinator: int) -> int:
    """Process id of the worker that a coordinator started or forked."""
    children = Path(f"/proc/{coordinator}/task/{coordinator}/children").read_text().split()
    commands = {int(pid): Path(f"/proc/{pid}/cmdline").read_bytes() for pid in children}
    workers = [pid for pid, command in commands.items() if b"harness.worker" in command or b"zygote" in command]
    assert len(workers) == 1
    return workers[0]


def end(process: Command, number: int = signal.SIGKILL) -> int:
    """Send a signal and wait; the exit code."""
    process.send_signal(number)
    process.communicate(timeout=120)
    return process.returncode

"""A process that has imported everything and forks the command line: see tests/reliability/zygote.py."""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


class Zygote:
    """The process that forks, with one night at a time."""

    def __init__(self) -> None:
        # one thread each: a forked process has none of its parent's threads
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        environment |= {"TOKENIZERS_PARALLELISM": "false", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        command = [sys.executable, str(HERE / "reliability" / "zygote.py")]
        self.process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, **request: Any) -> int:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def close(self) -> None:
        self.process.communicate()


@contextmanager
def zygote() -> Iterator[Zygote]:
    """One of its own, with the environment of this moment."""
    one = Zygote()
    try:
        yield one
    finally:
        one.close()


@cache
def shared() -> Zygote:
    """The one of all tests of this process."""
    one = Zygote()
    atexit.register(one.close)
    return one

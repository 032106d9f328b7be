"""Tensors that were worked out once, in files: found by key, checked, bounded, the least recently used leave first.

What the tensors mean and how they are worked out again is the caller's knowledge. Several processes may use
one folder: an entry appears by renaming, and `take_turn` lets one of them work at a time.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import socket
from pathlib import Path
from typing import IO, NamedTuple

import psutil
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from harness.errors import StorageError

ENDING = ".safetensors"
MEMORY_SHARE = 0.25  # of the machine's, for values that the disk does not take


class NoRoom(StorageError):
    """Neither the disk nor memory takes the values."""


class Entry(NamedTuple):
    """Values, mapped from their file where they have one, and the seconds that working them out took."""

    values: torch.Tensor
    seconds: float


class Cache:
    """A folder of entries.

    Args:
        folder: made when it is not there.
        budget: bytes on disk at most.
        memory: bytes at most of values that the disk does not take; by default a quarter of the machine's.

    Attributes:
        damaged: keys of entries that were found damaged, and removed, since the last time someone looked.
        held: bytes in memory alone, since the last time someone let go of what was saved before.
    """

    def __init__(self, folder: Path, budget: int, memory: int | None = None) -> None:
        self.folder = folder
        self.budget = budget
        self.held = 0
        self._memory = int(MEMORY_SHARE * psutil.virtual_memory().total) if memory is None else memory
        self.damaged: list[str] = []
        self._checked: set[tuple[str, int, int]] = set()

    def load(self, key: str) -> Entry | None:
        """The entry of that key; None when there is none that is whole."""
        path = self._path(key)
        try:
            with safe_open(path, framework="pt") as file:
                metadata, values = file.metadata() or {}, file.get_tensor("values")
            entry = Entry(values, float(metadata["seconds"]))
            self._check(path, values, metadata["sha256"])
            with contextlib.suppress(OSError):  # in a folder of someone else's, or one that cannot be written
                os.utime(path)  # the time of last use, which decides who leaves first
        except FileNotFoundError:
            return None
        except (OSError, SafetensorError, KeyError, ValueError):
            self.damaged.append(key)
            with contextlib.suppress(OSError):  # in a folder that cannot be written it stays, and is never read
                path.unlink()
            return None
        return entry

    def save(self, key: str, values: torch.Tensor, seconds: float) -> Entry:
        """Keep values under a key; where the disk does not take them they stay in memory alone.

        Raises:
            NoRoom: where that would be more than memory may take.
        """
        values = values.detach().cpu().contiguous()
        kept = Entry(values, seconds)
        path = self._path(key)
        part = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}")  # nodes may share the folder
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if not self._make_room(values.nbytes):
                return self._in_memory(kept, f"budget of {self.budget:,} bytes")
            save_file({"values": values}, part, metadata={"sha256": _sha256(values), "seconds": repr(seconds)})
            part.rename(path)
        except (OSError, SafetensorError) as error:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
            return self._in_memory(kept, str(error))
        return self.load(key) or kept

    def _in_memory(self, kept: Entry, reason: str) -> Entry:
        self.held += kept.values.nbytes
        if self.held > self._memory:
            words = f"the disk does not take them ({reason}), and memory at most {self._memory:,} bytes of them"
            raise NoRoom(words)
        return kept

    def take_turn(self, name: str) -> IO[bytes] | None:
        """Hold the turn of that name until the answer is closed or the process ends; None while another one has it.

        Raises:
            OSError: where nothing can be written.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        handle = (self.folder / f"{name}.turn").open("wb")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                handle.close()
                return None
        return handle  # a file system without locks lets everyone work: the same work twice does no harm

    def _check(self, path: Path, values: torch.Tensor, expected: str) -> None:
        """Compare the checksum, once a process for each file as it stands."""
        state = path.stat()
        mark = (path.name, state.st_ino, state.st_size)
        if mark in self._checked:
            return
        if _sha256(values) != expected:
            raise ValueError("checksum differs")
        self._checked.add(mark)

    def _make_room(self, needed: int) -> bool:
        """Let the least recently used entries go until so many bytes fit; False when they never will."""
        if needed > self.budget:
            return False
        files = sorted((path.stat().st_mtime, path.stat().st_size, path) for path in self._files())
        used = sum(size for _, size, _ in files)
        for _, size, path in files:
            if used + needed <= self.budget:
                break
            path.unlink(missing_ok=True)  # a process that has it mapped keeps it until it lets go
            used -= size
        return True

    def _files(self) -> list[Path]:
        return [path for path in self.folder.glob(f"*{ENDING}") if not path.name.startswith(".")]

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}{ENDING}"


def _sha256(values: torch.Tensor) -> str:
    return hashlib.sha256(values.view(torch.uint8).numpy().data).hexdigest()

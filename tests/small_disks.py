"""Real file systems of a few kilobytes, for tests of what happens when one is full."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

NO_DISKS = "no file systems of one's own here (unshare, mount): full and read-only disks were NOT tested (F8, F9, F24)"


@contextmanager
def small_disk(folder: Path, kilobytes: int) -> Iterator[Path]:
    """An empty file system of that size, as a folder; it goes with the process in whose namespace it is mounted."""
    if shutil.which("unshare") is None:
        pytest.skip(NO_DISKS)
    mount = f"mount -t tmpfs -o size={kilobytes}k tmpfs '{folder}' && echo mounted && exec sleep 1000"
    command = ["unshare", "--map-root-user", "--mount", "sh", "-c", mount]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert holder.stdout is not None
        if holder.stdout.readline().strip() != "mounted":
            pytest.skip(NO_DISKS)
        yield Path(f"/proc/{holder.pid}/root{folder}")
    finally:
        holder.kill()
        holder.communicate()


def mounted(disk: Path) -> tuple[int, Path]:
    """In whose namespace a small file system is, and as which folder there."""
    return int(disk.parts[2]), Path("/", *disk.parts[4:])


def inside(disk: Path) -> list[str]:
    """What to put before a command so that it runs where the file system is mounted, with it as working folder.

    SQLite needs this: it resolves the link within the path, which leads it out of the namespace.
    """
    holder, folder = mounted(disk)
    enter = ["nsenter", "--target", str(holder), "--user", "--mount", "--preserve-credentials"]
    return [*enter, "sh", "-c", 'cd "$0" && exec "$@"', str(folder)]


def fill(folder: Path, leave: int = 0) -> Path:
    """Take all space, but for `leave` kilobytes, with one file; removing it frees the space."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(1024))
        except OSError:
            file.truncate(max(0, file.tell() - leave * 1024))
    return ballast

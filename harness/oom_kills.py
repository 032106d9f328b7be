"""How often Linux has ended a process of our control group because memory ran out.

A process that is ended so hears nothing of it: only this count tells its death from a SIGKILL that somebody sent.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

OURS = Path("/proc/self/cgroup")
GROUPS = Path("/sys/fs/cgroup")


def oom_kills(ours: Path = OURS, groups: Path = GROUPS) -> int | None:
    """The count so far; None where nobody counts, as without control groups.

    Args:
        ours: file that names the groups of this process.
        groups: folder where they are mounted.
    """
    for counts in _counts(ours, groups):
        try:
            lines = counts.read_text("ascii").splitlines()
        except OSError:
            continue
        for name, _, value in (line.partition(" ") for line in lines):
            if name == "oom_kill":
                return int(value)
    return None


def _counts(ours: Path, groups: Path) -> Iterator[Path]:
    """Where the count may stand, of version 1 and 2; in a container our group is what it sees as the root of all."""
    try:
        lines = ours.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            root, file = groups, "memory.events"
        elif "memory" in controllers.split(","):
            root, file = groups / "memory", "memory.oom_control"
        else:
            continue
        yield root / path.lstrip("/") / file
        yield root / file

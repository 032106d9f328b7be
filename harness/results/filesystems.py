"""Which file system a path lies on, so that a database is not put where locks do not hold.

Reads the lines of `/proc/self/mountinfo`; on a system without it nothing is known and nothing refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

MOUNTINFO = Path("/proc/self/mountinfo")
NETWORK = frozenset(
    "nfs nfs4 cifs smb3 smbfs smb 9p ceph lustre gpfs beegfs afs ncpfs glusterfs orangefs pvfs2 ocfs2 gfs2".split()
)


def unescape(field: str) -> str:
    r"""A mountinfo field without its octal escapes (`\040` is a space)."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)


def file_system(path: Path, lines: Iterable[str]) -> str | None:
    """Type of the file system that holds an absolute path: the deepest mount point above it, the latest of equals."""
    found: tuple[int, str] | None = None
    for line in lines:
        fields, separator, rest = line.partition(" - ")
        parts = fields.split()
        if not separator or len(parts) < 5 or not rest.split():
            continue
        mount = Path(unescape(parts[4]))
        if path.is_relative_to(mount) and (found is None or len(mount.parts) >= found[0]):
            found = (len(mount.parts), rest.split()[0])
    return found[1] if found else None


def loses_locks(kind: str) -> bool:
    """Whether file locks of that file system cannot be trusted: network and FUSE mounts."""
    return kind in NETWORK or kind == "fuse" or kind.startswith("fuse.")


def network_file_system(path: Path) -> str | None:
    """The type of the network file system that holds `path`, or None on a local one."""
    try:
        lines = MOUNTINFO.read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return None
    kind = file_system(path.resolve(), lines)
    return kind if kind and loses_locks(kind) else None

"""A full disk: how it is recognised whatever library met it, and what to say about it."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

from harness.errors import HeldError

FULL = (errno.ENOSPC, errno.EDQUOT)
FAULTY = (errno.EIO, errno.EROFS, errno.EFBIG)  # space would not help


def is_full(error: BaseException | None) -> bool:
    """Whether an error, or what caused it, says that no space is left.

    By words as well as by number: tokenizers and safetensors raise errors of their own that carry only the
    system's words, and Optuna and SQLAlchemy wrap what SQLite says.
    """
    while error is not None:
        if getattr(error, "errno", None) in FULL or getattr(error, "sqlite_errorname", "") == "SQLITE_FULL":
            return True
        if any(os.strerror(number) in str(error) for number in FULL):
            return True
        error = error.__cause__ or error.__context__
    return False


def full(place: Path, met: str = "") -> HeldError:
    """The error that ends a command on a full disk: where, how much is left, what to do.

    Args:
        place: a file or folder on that disk; it need not exist.
        met: what was being done, when that says more.
    """
    there = next(folder for folder in (place, *place.absolute().parents) if folder.is_dir())
    left = shutil.disk_usage(there).free / 1e6
    said = f": {met}" if met else ""
    return HeldError(
        f"no space is left for {place} ({left:,.1f} MB free on its disk){said}. Everything recorded is safe and "
        "unfinished trials wait; free some space and run the same command again"
    )

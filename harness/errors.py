"""The exception tree. Every message says what was wrong, the value, and what is allowed.

HarnessError
├── UsageError          2    the command line asks for something that cannot be
├── AllTrialsFailed     3    the study ran and no trial succeeded
├── DataError          65    rows, labels or splits that cannot be trained on
├── UnavailableError   69    Hub, device or server out of reach
├── StorageError       73    a file or database that cannot be written
├── HeldError          75    another process holds the study, or the disk is full: try again later
├── SpecError          78    the study file, or a database of another schema
└── Interrupted   130/143    Ctrl-C or SIGTERM: everything recorded is safe, `harness run` goes on

TrialFailure is no HarnessError: it ends one trial with a named reason and the night goes on.
"""

from __future__ import annotations

from typing import ClassVar


class HarnessError(Exception):
    """Base of every error that the command line shows without a traceback."""

    exit_code: ClassVar[int] = 70


class UsageError(HarnessError):
    """The command line asks for something that cannot be."""

    exit_code = 2


class AllTrialsFailed(HarnessError):
    """The study ran to its end and not one trial succeeded."""

    exit_code = 3


class DataError(HarnessError):
    """Rows, labels or splits that cannot be trained on."""

    exit_code = 65


class UnavailableError(HarnessError):
    """A Hub, a device or a server that cannot be reached."""

    exit_code = 69


class StorageError(HarnessError):
    """A file or a database that cannot be written."""

    exit_code = 73


class HeldError(HarnessError):
    """Another process holds the study, or the disk is full; the same command works later."""

    exit_code = 75


class SpecError(HarnessError):
    """A study file that means nothing, or a database of another schema."""

    exit_code = 78


class Interrupted(HarnessError):
    """Ctrl-C (130) or SIGTERM (143); what was recorded is safe and `harness run` goes on."""

    exit_code = 130

    def __init__(self, message: str, exit_code: int = 130) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc]


class TrialFailure(Exception):
    """Ends one trial as `failed` with a reason of the rulings; the night goes on.

    Args:
        reason: one of oom, diverged, hung, crashed, data, disk.
        message: what was seen, with the value and where.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason

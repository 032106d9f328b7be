"""What an examination tells of one thing that it looked at: how it stands, in words, and what mends it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

from harness.errors import HarnessError

State = Literal["good", "note", "wrong"]


class Finding(NamedTuple):
    """One line of an examination.

    Attributes:
        check: what was looked at, in one word.
        state: good; a note, which stops nothing; or wrong.
        words: what was found.
        mend: what to do about it; empty where nothing is to be done.
        exit_code: of a command that ends with it; 0 unless it is wrong.
    """

    check: str
    state: State
    words: str
    mend: str = ""
    exit_code: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return self._asdict()


def good(check: str, words: str) -> Finding:
    """All is as it should be."""
    return Finding(check, "good", words)


def note(check: str, words: str, mend: str = "") -> Finding:
    """Worth knowing, and nothing that stops a night."""
    return Finding(check, "note", words, mend)


def wrong(check: str, error: type[HarnessError] | HarnessError, words: str, mend: str = "") -> Finding:
    """Something that has to be mended; the exit code is that of an error of the same kind."""
    return Finding(check, "wrong", words, mend, error.exit_code)


def exit_code(findings: Iterable[Finding]) -> int:
    """Of the first finding that is wrong; 0 without one."""
    return next((finding.exit_code for finding in findings if finding.state == "wrong"), 0)

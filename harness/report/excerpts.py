"""Texts of examples made fit to be shown: one line, nothing that steers a reader's screen, not too long."""

from __future__ import annotations

import unicodedata

AT_MOST = 300
# Marks that turn the direction of what follows them, beyond the text itself.
_TURNING = frozenset(map(chr, (*range(0x202A, 0x202F), *range(0x2066, 0x206A))))


def excerpt(text: object, at_most: int = AT_MOST) -> str:
    """The text's beginning; letters of any script stay as they are."""
    line = cleaned(str(text))
    return line if len(line) <= at_most else f"{line[: at_most - 1]}…"


def around(text: str, start: int, end: int, at_most: int = AT_MOST) -> str:
    """The stretch of a text that holds the characters from `start` to `end` in its middle."""
    spare = max(0, at_most - (end - start)) // 2
    first, last = max(0, start - spare), min(len(text), end + spare)
    before, after = "…" if first > 0 else "", "…" if last < len(text) else ""
    return excerpt(f"{before}{cleaned(text[first:last])}{after}", at_most + 2)


def cleaned(text: str) -> str:
    """On one line, without control characters and without marks that turn the direction of writing."""
    line = " ".join(text.split())
    return "".join(c for c in line if unicodedata.category(c) not in ("Cc", "Cs") and c not in _TURNING)

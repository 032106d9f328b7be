"""What text may enter the record: no NUL, no lone surrogates, no secrets, no non-finite numbers in JSON.

Pure functions. `columns.py` applies them to every bound value, so no writer has to remember them. What
leaves the record for a spreadsheet is `guard`ed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

# Each pattern is specific enough that a sentence of a data set does not look like it.
SECRETS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\bhf_[A-Za-z0-9]{20,}"), "hf_***"),
    (re.compile(r"\b(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,})"), "gh_***"),
    (re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"), "AKIA***"),
    (re.compile(r"\bsk-[A-Za-z0-9_-]{20,}"), "sk-***"),
    (re.compile(r"\bxox[abprs]-[A-Za-z0-9-]{10,}"), "xox-***"),
    (re.compile(r"\beyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]*"), "jwt***"),
    (
        re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"),
        "private key ***",
    ),
    (re.compile(r"(?i)(\b[a-z][a-z0-9+.-]*://[^\s/:@]*):[^\s/@]+@"), r"\1:***@"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{16,}"), r"\1 ***"),
    (
        re.compile(
            r"(?i)([a-z0-9_-]*(?:api_?key|secret(?:_?(?:access_?)?key)?|passw(?:or)?d|auth_?token|access_?token|_token))"
            r"(['\"]?\s*[=:]\s*['\"]?)[^\s'\",;&}]{6,}"
        ),
        r"\1\2***",
    ),
)


def normalise(text: str) -> str:
    r"""Text that SQLite and PostgreSQL both take: NUL removed, a lone surrogate written as `\udXXX`."""
    return text.replace("\x00", "").encode("utf-8", "backslashreplace").decode("utf-8")


def scrub(text: str) -> str:
    """The text with what looks like a token, key or password replaced by `***`."""
    for pattern, replacement in SECRETS:
        text = pattern.sub(replacement, text)
    return text


def guard(text: str) -> str:
    """Text for a cell of a CSV file: a spreadsheet takes it for no formula, and no reader for two rows."""
    # A bare carriage return ends a row for most readers, and pandas does not quote it.
    text = text.replace("\0", "").replace("\r\n", "\n").replace("\r", "\n")
    # Spreadsheets skip leading blanks before they look for a formula.
    return f"'{text}" if text.lstrip(" \n").startswith(("=", "+", "-", "@", "\t")) else text


def plain(value: Any) -> Any:
    """A value that strict JSON can hold: mappings, lists, text, numbers; a non-finite number becomes null.

    Raises:
        TypeError: for anything else, naming its type.
    """
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, str):
        return scrub(normalise(value))
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, (np.integer, np.bool_)):
        return value.item()
    if isinstance(value, Mapping):
        return {plain(str(key)): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset, np.ndarray)):
        return [plain(item) for item in (sorted(value) if isinstance(value, (set, frozenset)) else value)]
    raise TypeError(f"cannot store a {type(value).__name__} as JSON: {value!r}")

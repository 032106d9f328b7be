"""JSON that others wrote: no key stands twice, and whatever the reader cannot take is a ValueError in words."""

from __future__ import annotations

import json
from typing import Any


def parse(text: str) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: what is no JSON, nests too deep, has a number of thousands of digits, or names a key twice:
            Python's reader would keep the last of the two and not tell. A JSONDecodeError knows the line.
    """
    try:
        return json.loads(text, object_pairs_hook=_once)
    except RecursionError:
        raise ValueError("nested too deep") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r} stands twice in one object")
    return found

"""Named places in the product at which a test lets a process die or fail, without a word of it in the product."""

from __future__ import annotations

import functools
import importlib
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any


def plant(place: str, marker: Path) -> None:
    """Let the process die or fail at `module:name before|after COUNT [SIGNAL|ERROR]`, around that call of the function.

    The first process of all that comes there does, and no other. A name that does not exist is an error.
    """
    target, when, count, *number = place.split()
    assert when in ("before", "after")
    module_name, _, path = target.partition(":")
    holder: Any = importlib.import_module(module_name)
    *parents, name = path.split(".")
    for parent in parents:
        holder = getattr(holder, parent)
    kind = None if number == ["ERROR"] else signal.Signals[number[0]] if number else signal.SIGKILL
    setattr(holder, name, deadly(getattr(holder, name), when, int(count), kind, marker))


def deadly(
    real: Callable[..., Any], when: str, count: int, number: signal.Signals | None, marker: Path
) -> Callable[..., Any]:
    """The function, and at one of its calls the signal."""
    calls = 0

    @functools.wraps(real)
    def called(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        mine = calls == count
        if mine and when == "before":
            die(number, marker)
        answer = real(*arguments, **options)
        if mine and when == "after":
            die(number, marker)
        return answer

    return called


def die(number: signal.Signals | None, marker: Path) -> None:
    """The signal to this process, or an error for want of one, unless some process had it before."""
    try:
        marker.touch(exist_ok=False)
    except FileExistsError:
        return
    if number is None:
        raise RuntimeError("planted by a test")
    os.kill(os.getpid(), number)

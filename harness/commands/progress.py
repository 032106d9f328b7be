"""What a command tells while it answers or explains many rows."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer

TOLD_SECONDS = 5.0  # between two lines of progress


@contextmanager
def progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """How much is done and the time to finish: a bar on a terminal, else a line every few seconds; both on stderr.

    Args:
        what: is counted, in the plural.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    from harness.terminal import duration

    console = Console(stderr=True)
    if console.is_terminal:
        columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task("")
            yield lambda done, total: bar.update(task, completed=done, total=total)
        return
    last = time.monotonic()
    first: tuple[float, int] | None = None  # loading the model is over when the first are done

    def tell(done: int, total: int) -> None:
        nonlocal last, first
        now = time.monotonic()
        if not done or now - last < TOLD_SECONDS:
            return
        left = ""
        if first is not None and done > first[1]:
            left = f", {duration((now - first[0]) / (done - first[1]) * (total - done))} to finish"
        last, first = now, first or (now, done)
        typer.echo(f"{done:,} of {total:,} {what}{left}", err=True)

    yield tell

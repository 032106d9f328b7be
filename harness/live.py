"""The night on a terminal: one live table, plain lines where there is no terminal, silence once nobody reads."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from harness.board import Board, Slot
from harness.terminal import duration, printable, silence

REDRAW_SECONDS = 0.25
PLAIN_SECONDS = 60.0  # without a terminal a line a minute is enough to see that it lives


class Watched:
    """The observer that suits a console; when its terminal or pipe is gone the night goes on in silence."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._observer = LiveObserver(console) if console.is_terminal else PlainObserver(console)

    def __enter__(self) -> Watched:
        self._show(self._observer.__enter__)
        return self

    def __exit__(self, *exc: object) -> None:
        self._show(self._observer.__exit__)

    def note(self, text: str) -> None:
        """One line of news."""
        self._show(lambda: self._observer.note(text))

    def tick(self, board: Board) -> None:
        """The state of things."""
        self._show(lambda: self._observer.tick(board))

    def _show(self, act: Callable[[], object]) -> None:
        try:
            act()
        except OSError:  # the reader of a pipe has gone, or a terminal
            silence(self.console.file)


class PlainObserver:
    """Lines for a log file: news as it comes, and one line a minute."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._told = time.monotonic()

    def __enter__(self) -> PlainObserver:
        return self

    def __exit__(self, *exc: object) -> None:
        return

    def note(self, text: str) -> None:
        """One line of news."""
        self.console.print(Text(printable(text)))

    def tick(self, board: Board) -> None:
        """The state of things, once a minute."""
        if time.monotonic() - self._told >= PLAIN_SECONDS:
            self._told = time.monotonic()
            self.console.print(Text(headline(board)))


class LiveObserver:
    """One table that stays in place, with news scrolling above it."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._drawn = 0.0

    def __enter__(self) -> LiveObserver:
        self._live.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._live.stop()

    def note(self, text: str) -> None:
        """One line of news, above the table."""
        self.console.print(Text(printable(text)))

    def tick(self, board: Board) -> None:
        """Redraw, as often as eyes can follow."""
        if time.monotonic() - self._drawn >= REDRAW_SECONDS:
            self._drawn = time.monotonic()
            self._live.update(board_table(board), refresh=True)


def headline(board: Board) -> str:
    """The study in one line."""
    finished = sum(board.states.get(state, 0) for state in ("complete", "pruned", "failed"))
    parts = [f"{board.study}: {finished} of {board.total or '?'} trials"]
    parts += [f"{board.states[state]} {state}" for state in ("pruned", "failed", "waiting") if board.states.get(state)]
    if board.best is not None:
        parts.append(f"best {board.best.mean:.4f} ({board.best.named})")
    if board.eta_seconds is not None:
        parts.append(f"{duration(board.eta_seconds)} to go")
    if board.deadline:
        parts.append(board.deadline)
    return ", ".join(parts)


def board_table(board: Board) -> RenderableType:
    """Running trials with their progress, below the headline."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("worker", "trial", "epoch", "step", "", "quiet for"):
        table.add_column(column, justify="right" if column in ("trial", "step") else "left")
    for slot, running in sorted(board.running.items()):
        table.add_row(*_slot_cells(slot, running))
    return Group(Text(headline(board), style="bold"), table)


def _slot_cells(slot: int, running: Slot) -> Sequence[RenderableType]:
    progress, trial = running.progress, running.trial
    quiet = duration(time.monotonic() - running.heard)
    if trial is None:
        return str(slot), "", "ending", "", "", quiet
    number = f"{trial.number} and {len(running.trials) - 1} more" if len(running.trials) > 1 else str(trial.number)
    if progress is None:
        return str(slot), number, "loading", "", "", quiet
    return (
        str(slot),
        number,
        f"{progress.epoch} of {trial.config.epochs}" if progress.epoch else "frozen part",
        f"{progress.step}/{progress.steps}",
        ProgressBar(total=progress.steps, completed=progress.step, width=24),
        quiet,
    )

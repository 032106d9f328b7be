"""The study at a glance while it runs: what an observer of the night is shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from harness.deadline import Deadline
from harness.ranking import Standing
from harness.records import Progress
from harness.results.rows import TrialRow
from harness.roster import Roster


@dataclass
class Slot:
    """What a worker does at the moment.

    Attributes:
        trials: those of its job that have not ended, by id.
        heard: monotonic clock of its last word.
    """

    trials: dict[int, TrialRow]
    heard: float
    progress: Progress | None = None

    @property
    def trial(self) -> TrialRow | None:
        """The first of its trials; None when all have ended."""
        return next(iter(self.trials.values()), None)


@dataclass(frozen=True)
class Board:
    """The study at a glance, for a terminal.

    Attributes:
        total: trials that the study will have; None while only time bounds it.
        best: the best configuration by the rule of `ranking`; None without a complete trial.
        eta_seconds: expected time to finish; None while nothing is known.
    """

    study: str
    total: int | None
    states: Mapping[str, int]
    running: Mapping[int, Slot]
    best: Standing | None
    eta_seconds: float | None
    deadline: str


class Observer(Protocol):
    """Whoever watches the night."""

    def note(self, text: str) -> None:
        """One line of news."""

    def tick(self, board: Board) -> None:
        """The state of things, about twice a second."""


def board(
    study: str, total: int | None, roster: Roster, running: Mapping[int, Slot], slots: int, deadline: Deadline
) -> Board:
    """Counts, the best, and an estimate of the time to finish."""
    return Board(
        study=study,
        total=total,
        states={state: count for state, count in roster.states.items() if count},
        running=dict(running),
        best=roster.best,
        eta_seconds=_eta_seconds(total, roster, running, slots),
        deadline=deadline.words(),
    )


def _eta_seconds(total: int | None, roster: Roster, running: Mapping[int, Slot], slots: int) -> float | None:
    """What is left, at the mean duration of complete trials, shared by all slots."""
    mean = roster.mean_seconds
    if mean is None or total is None:
        return None
    begun = sum(
        len(slot.trials) * slot.progress.step / slot.progress.steps
        for slot in running.values()
        if slot.progress and slot.progress.epoch
    )
    return max(0.0, total - roster.finished - begun) * mean / slots

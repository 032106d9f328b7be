"""The study at a glance while it runs: what an observer of the night is shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from harness.deadline import Deadline
from harness.records import Objective, Progress
from harness.results.rows import TrialRow
from harness.spec import StudySpec


@dataclass
class Slot:
    """What a worker does at the moment."""

    trial: TrialRow
    heard: float  # monotonic clock of the last word
    progress: Progress | None = None
    ended: bool = False


@dataclass(frozen=True)
class Board:
    """The study at a glance, for a terminal.

    Attributes:
        total: trials that the study will have; None while only time bounds it.
        eta_seconds: expected time to finish; None while nothing is known.
    """

    study: str
    total: int | None
    states: Mapping[str, int]
    running: Mapping[int, Slot]
    best: TrialRow | None
    eta_seconds: float | None
    deadline: str


class Observer(Protocol):
    """Whoever watches the night."""

    def note(self, text: str) -> None:
        """One line of news."""

    def tick(self, board: Board) -> None:
        """The state of things, about twice a second."""


def board(
    spec: StudySpec,
    total: int | None,
    trials: Sequence[TrialRow],
    running: Mapping[int, Slot],
    slots: int,
    deadline: Deadline,
) -> Board:
    """Count, find the best, and estimate the time to finish."""
    return Board(
        study=spec.study,
        total=total,
        states=Counter(trial.state for trial in trials),
        running=dict(running),
        best=best_of(trials, spec.objectives[0]),
        eta_seconds=_eta_seconds(total, trials, running, slots),
        deadline=deadline.words(),
    )


def best_of(trials: Sequence[TrialRow], objective: Objective) -> TrialRow | None:
    """The complete trial with the best value, the earliest of equals; None without one."""
    best: TrialRow | None = None
    for trial in trials:
        if trial.state == "complete" and trial.objective is not None:
            if best is None or best.objective is None or objective.better(trial.objective, best.objective):
                best = trial
    return best


def _eta_seconds(
    total: int | None, trials: Sequence[TrialRow], running: Mapping[int, Slot], slots: int
) -> float | None:
    """What is left, at the mean duration of complete trials, shared by all slots."""
    durations = [t.total_seconds for t in trials if t.state == "complete" and t.total_seconds is not None]
    if not durations or total is None:
        return None
    left = total - sum(trial.finished for trial in trials)
    begun = sum(slot.progress.step / slot.progress.steps for slot in running.values() if slot.progress)
    return max(0.0, left - begun) * sum(durations) / len(durations) / slots

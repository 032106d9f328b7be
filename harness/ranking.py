"""Which configuration is best: one rule for the terminal, `harness status`, the report and `harness compare`.

A configuration is ranked by the mean objective of its complete trials, its replicates and folds, so that it cannot
win by its luckiest seed or easiest fold. Those with the full number of complete trials come first; one with fewer is
ranked behind them and marked. The full number is what the study file owes every configuration (replicates times
folds), or the most that any has reached of it; once a configuration has been confirmed with more seeds, it is
theirs. Pure functions of values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from harness.configuration import Objective


class Run(NamedTuple):
    """A complete trial with a finite objective; `trial` is its number."""

    configuration: int
    trial: int
    objective: float
    replicate: int
    fold: int | None


class Plan(NamedTuple):
    """Complete trials that a configuration is owed, by the search and by its confirmation (0 without one)."""

    searched: int = 1
    confirmed: int = 0

    def full(self, counts: Iterable[int]) -> int:
        """The full number, given the complete trials of every configuration.

        A sampler that comes upon a configuration again gives it another seed; those beyond the plan raise no bar
        for the others. Two and more beyond it, where a confirmation was asked for, are one that was interrupted.
        """
        most = max(counts, default=0)
        begun = self.confirmed > self.searched and most > self.searched + 1
        return min(most, self.confirmed if begun else self.searched)


def plan_of(spec: Mapping[str, Any]) -> Plan:
    """The plan of a study file as understood (`harness_study.spec`); one trial each where it does not say."""
    seed, data, confirm = spec.get("seed"), spec.get("data"), spec.get("confirm")
    folds = (data.get("folds") if isinstance(data, Mapping) else None) or 1
    seeds = max(spec.get("replicates") or 1, len(seed) if isinstance(seed, list | tuple) else 1)
    return Plan(seeds * folds, (confirm.get("seeds") or 0) * folds if isinstance(confirm, Mapping) else 0)


@dataclass(frozen=True, slots=True)
class Standing:
    """A configuration with its complete trials.

    Attributes:
        mean: of the objective over `runs`.
        deviation: sample standard deviation of the objective; None with one run.
        runs: complete trials, in the order of their numbers.
        full: number of complete trials that makes it rank before those with fewer.
        best: number of its trial with the best objective, whose curve and weights stand for the configuration.
    """

    configuration: int
    mean: float
    deviation: float | None
    runs: tuple[Run, ...]
    full: int
    best: int

    @property
    def marked(self) -> bool:
        """Fewer complete trials than the full number: ranked behind those that have it."""
        return len(self.runs) < self.full

    @property
    def over(self) -> str:
        """What the mean is of: 3 seeds, 5 folds, 2 seeds x 5 folds."""
        seeds = len({run.replicate for run in self.runs})
        folds = len({run.fold for run in self.runs if run.fold is not None})
        if seeds * max(folds, 1) != len(self.runs):
            return f"{len(self.runs)} trials"
        parts = [_counted(seeds, "seed")] if seeds > 1 or not folds else []
        return " x ".join([*parts, *([_counted(folds, "fold")] if folds else [])])

    def words(self, written: Callable[[float], str] = "{:.4f}".format) -> str:
        """Mean of how many, spread, and the mark; empty where one trial is all that there should be."""
        if len(self.runs) == 1 and not self.marked:
            return ""
        said = f"mean of {self.over}" if len(self.runs) > 1 else f"{self.over} only"
        said += f", standard deviation {written(self.deviation)}" if self.deviation is not None else ""
        return said + (f"; {len(self.runs)} of {self.full} trials complete" if self.marked else "")

    @property
    def named(self) -> str:
        """Its trial where it has one, else its number with what its value is the mean of."""
        words = self.words()
        return f"configuration {self.configuration}, {words}" if words else f"trial {self.best}"


def standing(runs: Sequence[Run], objective: Objective, full: int) -> Standing:
    """The standing of one configuration, given its complete trials (at least one) and the full number."""
    ordered = tuple(sorted(runs, key=lambda run: run.trial))
    mean, deviation, best = _mean(ordered), None, ordered[0]
    if len(ordered) > 1:
        deviation = math.sqrt(math.fsum((run.objective - mean) ** 2 for run in ordered) / (len(ordered) - 1))
    for run in ordered[1:]:
        best = run if objective.better(run.objective, best.objective) else best
    return Standing(ordered[0].configuration, mean, deviation, ordered, full, best.trial)


def ranked(runs: Iterable[Run], objective: Objective, plan: Plan) -> list[Standing]:
    """Every configuration with a complete trial, best first; of equals the one that was begun first."""
    found = _grouped(runs)
    full = plan.full(map(len, found.values()))
    order = sorted(found.values(), key=lambda group: _place(group, objective, full))
    return [standing(group, objective, full) for group in order]


def leader(runs: Iterable[Run], objective: Objective, plan: Plan) -> Standing | None:
    """The first of `ranked`, in one pass over however many trials; None without a complete one."""
    found = _grouped(runs)
    full = plan.full(map(len, found.values()))
    first = min(found.values(), key=lambda group: _place(group, objective, full), default=None)
    return None if first is None else standing(first, objective, full)


def _grouped(runs: Iterable[Run]) -> dict[int, list[Run]]:
    found: dict[int, list[Run]] = {}
    for run in runs:
        found.setdefault(run.configuration, []).append(run)
    return found


def _place(group: list[Run], objective: Objective, full: int) -> tuple[bool, float, int]:
    mean = _mean(group)
    return len(group) < full, mean if objective.direction == "minimize" else -mean, min(run.trial for run in group)


def _mean(group: Sequence[Run]) -> float:
    return math.fsum(run.objective for run in group) / len(group)


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"

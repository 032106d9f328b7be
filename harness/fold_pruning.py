"""Pruning between folds: a configuration that is worse than the best one, fold by fold, gets no further folds.

The rule is that of Optuna's `WilcoxonPruner`, on scores paired by seed and fold. Optuna takes a cross-validation for
one trial with a score a step; here every fold is a trial, so the rule stands here and is tested against Optuna's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from harness.configuration import Direction, Objective
from harness.grid import runs
from harness.records import State
from harness.sampling import Tried
from harness.spec import StudySpec

Run = tuple[int, int | None]  # replicate and fold


class Evidence(NamedTuple):
    """How a configuration does beside the best one: p of the one-sided test that it is no worse, over the pairs."""

    p: float
    pairs: int
    worse_in: int
    difference: float


def compared(own: Mapping[Run, float], best: Mapping[Run, float], direction: Direction) -> Evidence | None:
    """The evidence that `own` is worse; None where there is none: no two pairs, or its mean is not the worse one.

    Equal pairs count half for each side, as in Optuna's pruner, so that equal scores prune nothing.

    References: Wilcoxon, "Individual comparisons by ranking methods", 1945
    """
    import scipy.stats  # tens of megabytes that most nights have no use for

    common = sorted(own.keys() & best.keys(), key=str)
    if len(common) < 2 or not all(map(math.isfinite, (*own.values(), *best.values()))):
        return None
    sign = 1.0 if direction == "minimize" else -1.0
    if sign * (_mean(own) - _mean(best)) <= 0.0:
        return None
    differences = [own[run] - best[run] for run in common]
    worse: Literal["greater", "less"] = "greater" if direction == "minimize" else "less"
    p = float(scipy.stats.wilcoxon(differences, alternative=worse, zero_method="zsplit").pvalue)
    worse_in = sum(sign * difference > 0.0 for difference in differences)
    return Evidence(p, len(common), worse_in, math.fsum(differences) / len(differences))


class FoldPruner:
    """What the folds of each configuration have scored, and which configurations need no more of them."""

    def __init__(self, spec: StudySpec) -> None:
        self._rule = spec.pruner if spec.pruner.name == "wilcoxon" else None
        self._objective: Objective = spec.objectives[0]
        self._owed = frozenset(runs(spec))
        self._of: dict[int, tuple[str, Run]] = {}  # trial -> its configuration and its run
        self._first: dict[str, int] = {}  # number of a configuration's first trial
        self._open: dict[str, set[Run]] = {}
        self._scores: dict[str, dict[Run, float]] = {}
        self._spared: dict[str, dict[Run, str]] = {}
        self._best: str | None = None

    def add(self, trial: Tried) -> None:
        """Take note of a trial, whatever its state."""
        run = (trial.replicate, trial.fold)
        if self._rule is None or run not in self._owed:
            return
        identity = trial.config.fingerprint
        self._of[trial.number] = identity, run
        self._first.setdefault(identity, trial.number)
        if trial.spared:
            self._spared.setdefault(identity, {})[run] = trial.spared
        elif trial.state in ("waiting", "running"):
            self._open.setdefault(identity, set()).add(run)
        else:
            self.finish(trial.number, trial.state, trial.values)

    def finish(self, number: int, state: State, values: Sequence[float]) -> None:
        """Take note of how a trial ended; one that failed has no score."""
        if number not in self._of:
            return
        identity, run = self._of[number]
        self._open.get(identity, set()).discard(run)
        if state != "complete" or not values or not math.isfinite(values[0]):
            return
        scores = self._scores.setdefault(identity, {})
        scores[run] = values[0]
        if scores.keys() == self._owed and (self._best is None or self._place(identity) < self._place(self._best)):
            self._best = identity

    def _place(self, identity: str) -> tuple[float, int]:
        mean = _mean(self._scores[identity])
        return mean if self._objective.direction == "minimize" else -mean, self._first[identity]

    def spared(self, identity: str) -> list[Run]:
        """The runs of a configuration that were not trained."""
        return list(self._spared.get(identity, ()))

    def undecided(self, identity: str) -> bool:
        """Whether the trials of a configuration that are not over may yet make its other ones needless."""
        if self._rule is None or self._best in (None, identity):
            return False
        unfinished = len(self._open.get(identity, ()))
        return unfinished > 0 and len(self._scores.get(identity, ())) + unfinished >= self._rule.fewest_pairs

    def verdict(self, identity: str) -> str:
        """Why a configuration needs no more folds, in words; empty where it does."""
        if self._rule is None or self._best is None:
            return ""
        for words in self._spared.get(identity, {}).values():  # decided, perhaps against a best that has changed since
            return words
        if identity == self._best:
            return ""
        found = compared(self._scores.get(identity, {}), self._scores[self._best], self._objective.direction)
        if found is None or found.pairs < self._rule.fewest_pairs or found.p >= self._rule.p_threshold:
            return ""
        return (
            f"not trained: its configuration is worse than that of trial {self._first[self._best]} in {found.worse_in} "
            f"of {found.pairs} pairs of folds, by {abs(found.difference):.4f} of {self._objective.metric} on average "
            f"(Wilcoxon signed-rank, one-sided p = {found.p:.4f}, pruned below {self._rule.p_threshold:g})"
        )


def _mean(scores: Mapping[Run, float]) -> float:
    return math.fsum(scores.values()) / len(scores)

"""What to try next: explicit configurations, replicates, folds, enumerated grids, sampled points.

Everything is decided from the study file and the trials that the record holds, so that a study can
be taken up by a new process at any point. Optuna itself is sampling.py's work.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from harness.configuration import TrialConfig
from harness.fold_pruning import FoldPruner
from harness.grid import enumerated, folds, points, runs, total
from harness.records import State
from harness.results.store import Origin
from harness.sampling import Sampling, Tried, mix
from harness.spec import StudySpec

Runs = frozenset[tuple[int, int | None]]  # replicate and fold


@dataclass(frozen=True)
class Proposal:
    """A trial to add to the plan.

    Attributes:
        origin: where it came from.
        spared: why it is not to be trained, in words; empty for one that is.
    """

    config: TrialConfig
    seed: int
    replicate: int
    fold: int | None
    origin: Origin
    spared: str = ""


class Search:
    """Decides the next trial of a study from its spec and everything tried so far.

    Attributes:
        samples: a sampler has the last word, so that the plan has no end of its own.
        total: trials that the search will have; None while only time bounds it.

    Args:
        spec: of the study.
        tried: the search's own trials, by number.
        beside: trials that are not the search's.
    """

    def __init__(self, spec: StudySpec, tried: Iterable[Tried], beside: Iterable[Tried] = ()) -> None:
        self.spec = spec
        self.sampling = Sampling(spec)
        self.folds = FoldPruner(spec)
        self.samples = bool(spec.search) and not enumerated(spec)
        self.total = total(spec)
        self._known: dict[str, Runs] = {}
        self._same: dict[Runs, Runs] = {}  # most configurations have had the same runs: each set once in memory
        self._proposed = 0
        self._runs = runs(spec)
        # What is certain to be run; the first is dropped when all its replicates and folds are known.
        self._owed: deque[tuple[TrialConfig, Origin]] = deque((config, "explicit") for config in spec.explicit())
        self._owed.extend((config, "grid") for config in points(spec))
        for trial in beside:
            self.pass_by(trial)
        for trial in tried:
            self.add(trial)

    def add(self, trial: Tried) -> None:
        """Take note of a trial, running or finished, in the order of their numbers."""
        identity = trial.config.fingerprint
        first = identity not in self._known
        self._know(identity, trial)
        self._proposed += 1
        self.folds.add(trial)
        within = not trial.spared and self.sampling.add(trial)  # nothing was measured that a sampler could learn from
        if first and within and self.samples and len(self._runs) > 1:
            self._owed.append((trial.config, "sampled"))

    def pass_by(self, trial: Tried) -> None:
        """Know of a trial that is not the search's, so that it is not proposed again."""
        self._know(trial.config.fingerprint, trial)

    def _know(self, identity: str, trial: Tried) -> None:
        had = self._known.get(identity, frozenset()) | {(trial.replicate, trial.fold)}
        self._known[identity] = self._same.setdefault(had, had)

    def more(self) -> bool:
        """Whether the plan has another trial to offer; asks no sampler."""
        return self._within_budget() and (self.samples or next(self._unfinished(), None) is not None)

    def next(self) -> Proposal | None:
        """The next trial to add, or None when the plan has nothing more to offer."""
        if not self._within_budget():
            return None
        return self._owed_next() or (self._sampled() if self._affordable() else None) or self._held_back()

    def independent(self) -> bool:
        """Whether the next proposal is what it is whatever the running trials come to."""
        return self._within_budget() and (self._owed_next() is not None or (self.samples and self.sampling.blind))

    def restart(self, number: int) -> None:
        """Forget the epochs that a trial has reported: it begins again from nothing."""
        self.sampling.restart(number)

    def report(self, number: int, epoch: int, value: float) -> bool:
        """Tell the pruner an epoch's objective; True asks to prune."""
        return self.sampling.report(number, epoch, value)

    def finish(self, number: int, state: State, values: Sequence[float]) -> None:
        """Tell the sampler how a trial ended, and the pruner between folds."""
        self.sampling.finish(number, state, values)
        self.folds.finish(number, state, values)

    def _within_budget(self) -> bool:
        return self.spec.budget.trials is None or self._proposed < self.spec.budget.trials

    def _unfinished(self) -> Iterator[tuple[TrialConfig, Origin]]:
        """Configurations that are owed replicates or folds, in order."""
        while self._owed and self._missing(self._owed[0][0]) is None:
            self._owed.popleft()
        return (owed for owed in self._owed if self._missing(owed[0]) is not None)

    def _owed_next(self) -> Proposal | None:
        """Of the first configuration whose next fold is not made needless by one that runs."""
        for config, origin in self._unfinished():
            if not self.folds.undecided(config.fingerprint):
                return self._owed_of(config, origin)
        return None

    def _held_back(self) -> Proposal | None:
        """A fold that may prove needless is better than a worker without work."""
        first = next(self._unfinished(), None)
        return None if first is None else self._owed_of(*first)

    def _owed_of(self, config: TrialConfig, origin: Origin) -> Proposal:
        missing = self._missing(config)
        assert missing is not None
        return replace(self._proposal(config, *missing, origin), spared=self.folds.verdict(config.fingerprint))

    def _affordable(self) -> bool:
        """Whether a new point may be sampled: what is held back must still fit the budget, and the point's own runs."""
        if not self.samples or self.spec.budget.trials is None:
            return self.samples
        held_back = [config for config, _ in self._unfinished()]
        if not held_back:
            return True
        owed = sum(run not in self._known[config.fingerprint] for config in held_back for run in self._runs)
        return self._proposed + owed + len(self._runs) <= self.spec.budget.trials

    def _missing(self, config: TrialConfig) -> tuple[int, int | None] | None:
        """First replicate and fold that a configuration still owes."""
        done = self._known.get(config.fingerprint, frozenset())
        return next((run for run in self._runs if run not in done), None)

    def _sampled(self) -> Proposal:
        config = self.spec.complete(self.sampling.ask(mix(self.spec.seeds[0], self._proposed)))
        missing = self._missing(config)
        if missing is None:
            missing = self._repeat(config.fingerprint)
        return self._proposal(config, *missing, "sampled")

    def _repeat(self, identity: str) -> tuple[int, int | None]:
        """A repeat of the sampler says more as a new seed than as the same trial again.

        One that was pruned between folds gets a fold that it lacks: more of the others would make it look whole.
        """
        done, owed = self._known[identity], set(self._runs)
        had = {fold for replicate, fold in done if (replicate, fold) not in owed}
        lacking = [fold for _, fold in self.folds.spared(identity) if fold not in had]
        return 1 + max(replicate for replicate, _ in done), (lacking or folds(self.spec))[0]

    def _proposal(self, config: TrialConfig, replicate: int, fold: int | None, origin: Origin) -> Proposal:
        return Proposal(config, self.seed_of(replicate), replicate, fold, origin)

    def seed_of(self, replicate: int) -> int:
        """Replicate r runs with the r-th listed seed; beyond the list they count on from the largest."""
        seeds = self.spec.seeds
        return seeds[replicate] if replicate < len(seeds) else max(seeds) + 1 + replicate - len(seeds)

"""What to try next: explicit configurations, replicates, folds, enumerated grids, sampled points.

Everything is decided from the study file and the trials that the record holds, so that a study can
be taken up by a new process at any point. Optuna itself is sampling.py's work.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harness.grid import enumerated, folds, points, runs, total
from harness.records import State, TrialConfig
from harness.results.store import Origin
from harness.sampling import Sampling, Tried, mix
from harness.spec import StudySpec


@dataclass(frozen=True)
class Proposal:
    """A trial to add to the plan; `origin` says where it came from."""

    config: TrialConfig
    seed: int
    replicate: int
    fold: int | None
    origin: Origin


class Search:
    """Decides the next trial of a study from its spec and everything tried so far."""

    def __init__(self, spec: StudySpec, tried: Sequence[Tried]) -> None:
        self.spec = spec
        self.sampling = Sampling(spec)
        self._known: dict[str, list[tuple[int, int | None]]] = {}
        self._proposed = 0
        self._runs = runs(spec)
        self._enumerated = enumerated(spec)
        self.total = total(spec)
        self._grid = deque(points(spec))
        for trial in sorted(tried, key=lambda t: t.number):
            self.add(trial)

    def add(self, trial: Tried) -> None:
        """Take note of a trial, running or finished, in the order of their numbers."""
        self._known.setdefault(trial.config.fingerprint, []).append((trial.replicate, trial.fold))
        self._proposed += 1
        self.sampling.add(trial)

    def next(self) -> Proposal | None:
        """The next trial to add, or None when the plan has nothing more to offer."""
        if self.spec.budget.trials is not None and self._proposed >= self.spec.budget.trials:
            return None
        return next(self._candidates(), None)

    def report(self, number: int, epoch: int, value: float) -> bool:
        """Tell the pruner an epoch's objective; True asks to prune."""
        return self.sampling.report(number, epoch, value)

    def finish(self, number: int, state: State, values: Sequence[float]) -> None:
        """Tell the sampler how a trial ended."""
        self.sampling.finish(number, state, values)

    def _candidates(self) -> Iterator[Proposal]:
        for config in self.spec.explicit():
            yield from self._missing(config, "explicit")
        yield from self._unfinished()
        if self._enumerated:
            while self._grid:
                yield from self._missing(self._grid[0], "grid")
                self._grid.popleft()
        elif self.spec.search:
            yield self._sampled()

    def _missing(self, config: TrialConfig, origin: Origin) -> Iterator[Proposal]:
        done = self._known.get(config.fingerprint, [])
        for replicate, fold in self._runs:
            if (replicate, fold) not in done:
                yield self._proposal(config, replicate, fold, origin)

    def _unfinished(self) -> Iterator[Proposal]:
        """Replicates and folds still owed to sampled configurations that were begun."""
        if len(self._runs) == 1:
            return
        for config in self.sampling.configurations():
            yield from self._missing(config, "sampled")

    def _sampled(self) -> Proposal:
        config = self.spec.complete(self.sampling.ask(mix(self.spec.seeds[0], self._proposed)))
        done = self._known.get(config.fingerprint, [])
        for replicate, fold in self._runs:
            if (replicate, fold) not in done:
                return self._proposal(config, replicate, fold, "sampled")
        # a repeat of the sampler says more as a new seed than as the same trial again
        replicate = 1 + max(replicate for replicate, _ in done)
        return self._proposal(config, replicate, folds(self.spec)[0], "sampled")

    def _proposal(self, config: TrialConfig, replicate: int, fold: int | None, origin: Origin) -> Proposal:
        return Proposal(config, self.seed_of(replicate), replicate, fold, origin)

    def seed_of(self, replicate: int) -> int:
        """Replicate r runs with the r-th listed seed; beyond the list they count on from the largest."""
        seeds = self.spec.seeds
        return seeds[replicate] if replicate < len(seeds) else max(seeds) + 1 + replicate - len(seeds)

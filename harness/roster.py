"""A study's trials in memory: who waits, how many of each state, whose weights are kept, which configuration leads.

The answers are kept up to date with each trial that changes, for a study may have very many; of those that have ended
little is held.
"""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator

from harness.ranking import Plan, Run, Standing, leader, plan_of
from harness.results.rows import Known, StudyRow, TrialRow
from harness.results.trial_writes import best_kept_first
from harness.spec import StudySpec


class Roster:
    """All trials of one study.

    Attributes:
        states: how many trials are in each state.
        best: the best configuration by the rule of `ranking`; None without a complete trial.
    """

    def __init__(self, row: StudyRow, spec: StudySpec, trials: Iterable[TrialRow] = ()) -> None:
        self.row = row
        self.spec = spec
        self.states: Counter[str] = Counter()
        self.best: Standing | None = None
        self._plan = _plan(spec)
        self._open: dict[int, TrialRow] = {}
        self._ended: dict[int, Known] = {}
        self._queue: list[tuple[int, int]] = []  # heap of (number, id) of trials that wait, or did when they came in
        self._kept: dict[int, TrialRow] = {}
        self._seconds: list[float] = [0.0, 0.0]  # how many complete trials have a duration, and the sum
        self._complete: dict[int, tuple[Known, ...]] = {}  # with an objective, by configuration
        self._longest: tuple[Known, ...] = ()  # of `_complete`
        for trial in trials:
            self.put(trial)

    def __iter__(self) -> Iterator[Known]:
        return itertools.chain(self._ended.values(), map(Known.of, self._open.values()))

    def open(self, trial_id: int) -> TrialRow | None:
        """A trial to which something may still happen; None for any other."""
        return self._open.get(trial_id)

    def folder(self, trial_id: int) -> str | None:
        """Name of the folder with the kept weights of a trial; None where none are kept."""
        kept = self._kept.get(trial_id)
        return None if kept is None else kept.model_folder

    def put(self, trial: TrialRow) -> None:
        """Take a new or changed trial."""
        before = self._open.pop(trial.id, None) or self._ended.pop(trial.id, None)
        if before is not None:
            self.states[before.state] -= 1
        if trial.finished:
            self._ended[trial.id] = Known.of(trial)
        else:
            self._open[trial.id] = trial
        self.states[trial.state] += 1
        if trial.state == "waiting" and (before is None or before.state != "waiting"):
            heapq.heappush(self._queue, (trial.number, trial.id))
        if trial.model_folder is not None:
            self._kept[trial.id] = trial
        else:
            self._kept.pop(trial.id, None)
        if trial.state == "complete" and (before is None or before.state != "complete"):
            self._take_complete(trial)

    def _take_complete(self, trial: TrialRow) -> None:
        if trial.total_seconds is not None:
            self._seconds = [self._seconds[0] + 1, self._seconds[1] + trial.total_seconds]
        if trial.objective is None:
            return
        own = (*self._complete.get(trial.configuration, ()), self._ended[trial.id])
        self._complete[trial.configuration] = own
        if len(own) > len(self._longest):
            self._longest = own
        rivals = self._complete.values()
        if self.best is not None and self.best.configuration != trial.configuration:
            # all others rank as they did: a full number that rises, which the longest says, is reached by `own` alone
            few = (own, self._complete[self.best.configuration], self._longest)
            rivals = {each[0].configuration: each for each in few}.values()
        self.best = _leader(itertools.chain.from_iterable(rivals), self.spec, self._plan)

    def waiting(self) -> TrialRow | None:
        """The waiting trial with the smallest number."""
        while self._queue:
            trial = self._open.get(self._queue[0][1])
            if trial is not None and trial.state == "waiting":
                return trial
            heapq.heappop(self._queue)
        return None

    def queue(self) -> Iterator[TrialRow]:
        """All waiting trials, by number."""
        found = (self._open.get(trial_id) for _, trial_id in sorted(self._queue))
        return (trial for trial in found if trial is not None and trial.state == "waiting")

    def kept(self) -> list[TrialRow]:
        """Trials whose weights are on disk, best first."""
        return best_kept_first(self.row, list(self._kept.values()))

    @property
    def begun(self) -> bool:
        """Whether any trial was ever started."""
        return any(trial.begun for trial in self)

    @property
    def finished(self) -> int:
        """Trials to which nothing more will happen."""
        return self.states["complete"] + self.states["pruned"] + self.states["failed"]

    @property
    def mean_seconds(self) -> float | None:
        """Mean duration of complete trials; None without one."""
        count, total = self._seconds
        return total / count if count else None


def best_of(trials: Iterable[TrialRow], spec: StudySpec) -> Standing | None:
    """The best configuration by the first objective; None without a complete trial."""
    return _leader(map(Known.of, trials), spec, _plan(spec))


def _plan(spec: StudySpec) -> Plan:
    return plan_of(spec.model_dump(mode="json", include={"seed", "replicates", "data", "confirm"}))


def _leader(trials: Iterable[Known], spec: StudySpec, plan: Plan) -> Standing | None:
    runs = (
        Run(trial.configuration, trial.number, trial.objective, trial.replicate, trial.fold)
        for trial in trials
        if trial.state == "complete" and trial.objective is not None
    )
    return leader(runs, spec.objectives[0], plan)

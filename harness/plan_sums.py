"""Adding up what the trials of a night cost, in time, memory and disk, as the night would place them on its workers.

What each of them costs is measured before (`plan.py`); when each begins is `schedule.py`'s knowledge.
"""

from __future__ import annotations

import bisect
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

import harness.grouping as grouping
from harness.coming import COSTLY, Ahead, Begun, Coming
from harness.configuration import TrialConfig
from harness.deadline import Deadline
from harness.grid import runs
from harness.jobs import ModelCost, Probed, TrialCost
from harness.schedule import CHECKPOINT_PARTS, CHECKPOINT_SECONDS, Bill, Placed, place
from harness.spec import StudySpec

GENERATIONS = 2  # of checkpoints that a trial keeps
Course = tuple[TrialConfig, int | None]


@dataclass(frozen=True)
class Group:
    """Trials that cost alike, folds put together.

    Attributes:
        part: search, or confirm for the trials after it.
        values: the hyperparameters that their cost depends on.
        steps: optimiser steps of one of them.
        seconds: of one of them on average, all included.
        step_seconds: of an optimiser step on average.
        how, fits, peak_memory_bytes, note: as in `TrialCost`.
        restarts_with: batch_size with which it begins again where it does not fit; None where it never fits.
    """

    part: str
    values: Mapping[str, Any]
    trials: int
    train_rows: int
    validation_rows: int
    steps: int
    seconds: float
    step_seconds: float
    how: str
    fits: bool | None
    restarts_with: int | None
    peak_memory_bytes: int | None
    note: str


@dataclass(frozen=True)
class StudyPlan:
    """The night to come.

    Attributes:
        finished: trials that the record has already.
        trials: still to come, those that confirm included; None while only time bounds them.
        confirming: of these, the trials after the search.
        confirming_seconds: from the end of the search to theirs.
        drawn: of the search's looked at one by one; each of the others is taken to cost their mean.
        exact: whether the drawn trials are these and no others, whatever comes out.
        steps: optimiser steps of the trials drawn and of those that confirm.
        seconds: to the end of all trials; of the drawn ones where there is no end.
        unshared_seconds: the same if every trial worked everything out itself.
        opening_seconds: of these, before the first trial starts.
        adapting_seconds: of these, for `adapt:`; none of them are needed where it was done before.
        at_most: what may make it less, in words; empty without it.
        seconds_left: to the end of the budget; None without one.
        in_time: trials that end before that; None without one.
        memory_bytes: free on the device, or of the machine where that is a CPU.
        disk: what for -> bytes.
        shapes, probed: different shapes of steps, and how many of them were measured.
    """

    study: str
    finished: int
    trials: int | None
    confirming: int
    confirming_seconds: float
    drawn: int
    exact: bool
    steps: int
    seconds: float
    unshared_seconds: float
    opening_seconds: float
    adapting_seconds: float
    at_most: str
    seconds_left: float | None
    in_time: int | None
    workers: int
    device: str
    memory_bytes: int
    disk: Mapping[str, int]
    disk_free_bytes: int
    shapes: int
    probed: int
    groups: tuple[Group, ...]
    warnings: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Measured:
    """What a worker found: the cost of every course, and the seconds that the night takes before its first trial.

    Attributes:
        adaptations: of every model that is pretrained further.
    """

    costs: Mapping[Course, TrialCost]
    probed: Probed
    opening_seconds: float
    adaptations: Probed | None = None

    @property
    def adapting_seconds(self) -> float:
        """Of pretraining further: one trial a model, evaluated once more, its weights written twice."""
        if self.adaptations is None:
            return 0.0
        found = zip(self.adaptations.costs, self.adaptations.models.values(), strict=True)
        return self.adaptations.data_seconds + sum(_adapting_seconds(cost, model) for cost, model in found)


def _adapting_seconds(cost: TrialCost, model: ModelCost) -> float:
    epochs = len(cost.train_seconds)
    each = cost.evaluate_seconds * (epochs + 1) + cost.save_seconds * epochs + sum(cost.train_seconds)
    return model.load_seconds + cost.tokenise_seconds + cost.begin_seconds + each + 2 * model.keep_seconds


def add_up(
    spec: StudySpec,
    record: Begun,
    coming: Ahead,
    measured: Measured,
    slots: int,
    disk_free_bytes: int,
    cache_budget: int,
) -> StudyPlan:
    """The plan, from what was measured."""
    drawn, probed = coming.drawn, measured.probed
    again = coming.confirming + stand_ins(coming, measured.costs)
    trials = [*drawn, *again]
    opening_seconds = measured.opening_seconds + measured.adapting_seconds
    bills = _bills(spec, record, trials, measured.costs)
    times = [
        place(bills, slots, opening_seconds, probed.models, probed.data_seconds, shared) for shared in (True, False)
    ]
    total = None if coming.total is None else coming.total + len(again)
    more = 0 if total is None else total - len(trials)
    ends = [_end(placed, len(drawn), more, slots) for placed in times]
    searched = _end(times[0][: len(drawn)], len(drawn), more, slots) if drawn else opening_seconds
    left = Deadline.of(spec.budget, record.seconds).seconds_left()
    disk = _disk(spec, coming, again, measured, times[0], slots)
    return StudyPlan(
        study=spec.study,
        finished=record.finished,
        trials=total,
        confirming=len(again),
        confirming_seconds=ends[0] - searched,
        drawn=len(drawn),
        exact=coming.exact,
        steps=sum(steps_of(measured.costs[trial.course]) for trial in trials),
        seconds=ends[0],
        unshared_seconds=ends[1],
        opening_seconds=opening_seconds,
        adapting_seconds=measured.adapting_seconds,
        at_most=_at_most(spec, trials),
        seconds_left=left,
        in_time=None if left is None else in_time(times[0], left, total, slots),
        workers=slots,
        device=probed.device,
        memory_bytes=probed.memory_bytes,
        disk=disk,
        disk_free_bytes=disk_free_bytes,
        shapes=probed.shapes,
        probed=probed.probed,
        groups=_groups(trials, len(drawn), measured.costs, times[0]),
        warnings=_warnings(spec, disk, disk_free_bytes, cache_budget),
    )


def steps_of(cost: TrialCost) -> int:
    """Optimiser steps of one trial."""
    return cost.steps_per_epoch * len(cost.train_seconds)


def stand_ins(coming: Ahead, costs: Mapping[Course, TrialCost]) -> list[Coming]:
    """For each trial that confirms what is not found yet the one of the search whose cost is nearest to the mean."""
    if not coming.unknown:
        return []
    seconds = [_seconds_of(costs[trial.course]) for trial in coming.drawn]
    mean = fmean(seconds)
    _, place_in_line = min((abs(each - mean), number) for number, each in enumerate(seconds))
    return [coming.drawn[place_in_line]._replace(independent=False)] * coming.unknown


def _seconds_of(cost: TrialCost) -> float:
    return sum(cost.train_seconds) + cost.evaluate_seconds * len(cost.train_seconds)


def _bills(spec: StudySpec, record: Begun, drawn: Sequence[Coming], costs: Mapping[Course, TrialCost]) -> list[Bill]:
    bills, seen = [], set[Course]()
    for place_in_line, trial in enumerate(drawn, 1 + record.finished):
        config, cost = trial.config, costs[trial.course]
        # the chance that the n-th of equal trials is among the best k so far
        keeps = min(1.0, spec.keep / place_in_line)
        may = trial.independent and cost.fusible
        group = grouping.key(spec.task, config, trial.seed, trial.fold) if may else None
        bills.append(
            Bill(config.model, config.max_length, config.dropout, cost, trial.course not in seen, keeps, group)
        )
        seen.add(trial.course)
    return bills


def _end(placed: Sequence[Placed], drawn: int, more: int, slots: int) -> float:
    """Seconds to the end when so many more trials of the search run that cost the mean of those drawn, the first."""
    last = max(each.end for each in placed)
    return last + (more * fmean(each.seconds for each in placed[:drawn]) / slots if more else 0.0)


def in_time(placed: Sequence[Placed], left: float, total: int | None, slots: int) -> int:
    """Trials that end within so many seconds, further ones at the mean of these included."""
    ends = sorted(each.end for each in placed)
    found = bisect.bisect_right(ends, left)
    if found < len(ends):
        return found
    mean = sum(each.seconds for each in placed) / len(placed)
    found += int((left - ends[-1]) * slots / max(mean, 1e-9))
    return found if total is None else min(found, total)


def _at_most(spec: StudySpec, drawn: Sequence[Coming]) -> str:
    stops = [] if spec.pruner.name == "none" else [f"the {spec.pruner.name} pruner"]
    if spec.pruner.name == "wilcoxon":
        folds = len(runs(spec))
        stops = [f"the wilcoxon pruner (at most {folds - spec.pruner.fewest_pairs} of {folds} folds a configuration)"]
    stops += ["early stopping"] if any(trial.config.early_stopping for trial in drawn) else []
    return " and ".join(stops)


def _disk(
    spec: StudySpec, coming: Ahead, again: list[Coming], measured: Measured, placed: Sequence[Placed], slots: int
) -> dict[str, int]:
    """What for -> bytes. A running trial has two checkpoints, once it takes longer than from one to the next."""
    drawn, costs = coming.drawn, measured.costs
    trials = [*drawn, *again]
    scale = (coming.total or len(drawn)) / max(len(drawn), 1)
    searched, confirmed = (
        sum(costs[trial.course].row_bytes * trial.config.epochs for trial in part) for part in (drawn, again)
    )
    kept = max(measured.probed.models[trial.config.model].kept_bytes for trial in trials)
    long = [costs[trial.course].trained_bytes for trial, each in zip(trials, placed, strict=True)
            if each.seconds > CHECKPOINT_SECONDS]  # fmt: skip
    return {
        "cache": sum(cost.cache_bytes for cost in costs.values()),
        "kept models": kept * min(spec.keep, len(trials)),
        "checkpoints": slots * GENERATIONS * CHECKPOINT_PARTS * max(long, default=0),
        "database": round(searched * scale + confirmed),
    }


def _groups(
    trials: Sequence[Coming], drawn: int, costs: Mapping[Course, TrialCost], placed: Sequence[Placed]
) -> tuple[Group, ...]:
    """Of the search's trials, so many first ones, and of those that confirm."""
    members: dict[tuple[str, TrialConfig], list[tuple[TrialCost, float]]] = {}
    for number, (trial, each) in enumerate(zip(trials, placed, strict=True)):
        part = "search" if number < drawn else "confirm"
        members.setdefault((part, trial.course[0]), []).append((costs[trial.course], each.seconds))
    groups = []
    for (part, config), found in members.items():
        cost = found[0][0]
        peaks = [each.peak_memory_bytes for each, _ in found if each.peak_memory_bytes is not None]
        groups.append(
            Group(
                part=part,
                values={name: getattr(config, name) for name in COSTLY},
                trials=len(found),
                train_rows=cost.train_rows,
                validation_rows=cost.validation_rows,
                steps=steps_of(cost),
                seconds=sum(seconds for _, seconds in found) / len(found),
                step_seconds=sum(cost.train_seconds) / max(steps_of(cost), 1),
                how=cost.how,
                fits=cost.fits,
                restarts_with=cost.batch_size,
                peak_memory_bytes=max(peaks, default=None),
                note=cost.note,
            )
        )
    return tuple(groups)


def _warnings(spec: StudySpec, disk: Mapping[str, int], free: int, cache_budget: int) -> tuple[str, ...]:
    found = []
    if sum(disk.values()) > free:
        found.append(
            f"the disk has {free / 1e9:.1f} GB free, and the study will want {sum(disk.values()) / 1e9:.1f} GB"
        )
    if disk["cache"] > cache_budget:
        found.append(
            f"the states of frozen prefixes take {disk['cache'] / 1e9:.1f} GB, and at most {cache_budget / 1e9:.1f} GB "
            "are kept: some will be worked out again"
        )
    if spec.sampler == "gp":
        found.append("gp was not asked: random points stand for its own")
    return tuple(found)

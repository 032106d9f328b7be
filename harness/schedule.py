"""How long the trials of a night take together: each goes to the worker that is free first, as `night.py` does it.

What a worker has loaded and tokenised it need not do again. Workers are taken not to slow each other.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import harness.grouping as grouping
from harness.jobs import ModelCost, TrialCost

LENGTHS_HELD = 4  # a worker holds training and validation rows at so many lengths
CHECKPOINT_SECONDS = 300.0
CHECKPOINT_PARTS = 4  # weights that train, AdamW's two moments of them, and the best epoch's


class Bill(NamedTuple):
    """One trial to place.

    Attributes:
        model, max_length, dropout: what has to be loaded for it.
        cost: of it.
        first: whether it is the first of its kind, which works out what all of them share.
        keeps: chance that its weights are written.
        group: trials with equal ones are trained together; None where a trial goes alone.
    """

    model: str
    max_length: int
    dropout: float | None
    cost: TrialCost
    first: bool
    keeps: float
    group: Hashable | None = None


class Placed(NamedTuple):
    """When a trial ends, and how long it took, both in seconds; of trials trained together, each its share."""

    end: float
    seconds: float


@dataclass(order=True)
class _Worker:
    free_at: float
    begun: bool = field(default=False, compare=False)
    encoder: Hashable = field(default=None, compare=False)
    lengths: OrderedDict[Hashable, None] = field(default_factory=OrderedDict, compare=False)

    def take(self, bill: Bill, model: ModelCost, data_seconds: float, tokenise_seconds: float) -> float:
        """Seconds of making a trial ready."""
        seconds = 0.0 if self.begun else data_seconds
        self.begun = True
        encoder = (bill.model, bill.dropout)
        seconds += 0.0 if encoder == self.encoder else model.load_seconds
        self.encoder = encoder
        length = (bill.model, bill.max_length)
        seconds += 0.0 if length in self.lengths else tokenise_seconds
        self.lengths[length] = None
        self.lengths.move_to_end(length)
        if len(self.lengths) > LENGTHS_HELD:
            self.lengths.popitem(last=False)
        return seconds


def place(
    bills: Sequence[Bill],
    slots: int,
    opening_seconds: float,
    models: Mapping[str, ModelCost],
    data_seconds: float,
    shared: bool = True,
) -> list[Placed]:
    """When each trial ends.

    Args:
        bills: in the order of the study.
        slots: workers.
        opening_seconds: before the first trial starts.
        models: name -> cost.
        data_seconds: of reading the rows, once a worker.
        shared: whether trials share what they can; else every epoch of every trial goes through the whole model.
    """
    tokenise: dict[tuple[str, int], float] = {}
    for bill in bills:
        key = (bill.model, bill.max_length)
        tokenise[key] = max(tokenise.get(key, 0.0), bill.cost.tokenise_seconds)
    workers = [_Worker(opening_seconds) for _ in range(slots)]
    placed: dict[int, Placed] = {}
    for members in _jobs(bills, shared):
        worker = heapq.heappop(workers)
        group = [bills[number] for number in members]
        first = group[0]
        model = models[first.model]
        seconds = worker.take(first, model, data_seconds, tokenise[first.model, first.max_length])
        seconds += group_seconds(group, model, shared)
        worker.free_at += seconds
        placed |= dict.fromkeys(members, Placed(worker.free_at, seconds / len(group)))
        heapq.heappush(workers, worker)
    return [placed[number] for number in range(len(bills))]


def _jobs(bills: Sequence[Bill], shared: bool) -> list[list[int]]:
    """Numbers of the trials that a worker is given at once, as `night.py` finds companions for the first in line."""
    waiting = list(range(len(bills)))
    found = []
    while waiting:
        first = bills[waiting[0]]
        alike = [
            number for number in waiting if shared and first.group is not None and bills[number].group == first.group
        ]
        members = alike[: grouping.MOST] or waiting[:1]
        found.append(members)
        waiting = [number for number in waiting if number not in members]
    return found


def group_seconds(group: Sequence[Bill], model: ModelCost, shared: bool = True) -> float:
    """Of trials trained together, loading and tokenising left out: a step of all takes what a step of one takes."""
    if len(group) == 1:
        return trial_seconds(group[0], model, shared)
    longest = max(group, key=lambda bill: sum(bill.cost.train_seconds)).cost
    share = sum(bill.cost.fill_seconds for bill in group if bill.first)
    own = sum(_own_seconds(bill, model) for bill in group)
    return longest.begin_seconds + share + sum(longest.train_seconds) + own


def trial_seconds(bill: Bill, model: ModelCost, shared: bool = True) -> float:
    """Of one trial alone, loading and tokenising left out."""
    cost = bill.cost
    train = sum(cost.train_seconds) + (0.0 if shared else cost.spared_seconds)
    share = cost.fill_seconds if shared and bill.first else 0.0
    written = CHECKPOINT_PARTS * cost.trained_bytes / max(model.total_bytes, 1) * int(train / CHECKPOINT_SECONDS)
    return cost.begin_seconds + share + train + written * model.keep_seconds + _own_seconds(bill, model)


def _own_seconds(bill: Bill, model: ModelCost) -> float:
    """What a trial costs though it is trained together with others: its metrics and its weights."""
    cost = bill.cost
    epochs = len(cost.train_seconds)
    return epochs * (cost.evaluate_seconds + cost.save_seconds) + bill.keeps * model.keep_seconds

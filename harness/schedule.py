"""How long the trials of a night take together: each goes to the worker that is free first, as `night.py` does it.

What a worker has loaded and tokenised it need not do again. Workers are taken not to slow each other.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

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
    """

    model: str
    max_length: int
    dropout: float | None
    cost: TrialCost
    first: bool
    keeps: float


class Placed(NamedTuple):
    """When a trial ends, and how long it took, both in seconds."""

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
    placed = []
    for bill in bills:
        worker = heapq.heappop(workers)
        model = models[bill.model]
        seconds = worker.take(bill, model, data_seconds, tokenise[bill.model, bill.max_length])
        seconds += trial_seconds(bill, model, shared)
        worker.free_at += seconds
        placed.append(Placed(worker.free_at, seconds))
        heapq.heappush(workers, worker)
    return placed


def trial_seconds(bill: Bill, model: ModelCost, shared: bool = True) -> float:
    """Of one trial, loading and tokenising left out."""
    cost = bill.cost
    epochs = len(cost.train_seconds)
    train = sum(cost.train_seconds) + (0.0 if shared else cost.spared_seconds)
    share = cost.fill_seconds if shared and bill.first else 0.0
    written = CHECKPOINT_PARTS * cost.trained_bytes / max(model.total_bytes, 1) * int(train / CHECKPOINT_SECONDS)
    saving = epochs * cost.save_seconds + (bill.keeps + written) * model.keep_seconds
    return cost.begin_seconds + share + train + epochs * cost.evaluate_seconds + saving

"""What a trial takes from a cache of frozen prefixes' states, for the tests of the torch side."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.cache import Cache
from harness.jobs import Sharing
from harness.prefix import Recipe
from harness.sharing import Rows, Shared, share
from harness.training_plan import Plan

BUDGET = 10_000_000
SHARING = ("embeddings", "top-1", "head", "classifier", "gradual")


def shared_of(plan: Plan, cache_folder: Path, cache: Cache | None = None, **values: Any) -> tuple[Shared, list]:
    """What a trial of that plan takes from a cache in a folder, and the events on the way."""
    options = replace(Sharing(str(cache_folder), BUDGET, ("none", *SHARING)), **values)
    cache = cache or Cache(cache_folder, options.budget)
    rows = Rows(plan.train.features, plan.probe.features, plan.validation.features)
    work = share(options, cache, Recipe(plan.encoder, "fp32", 64), plan.config, rows, plan.seed)
    events = []
    while True:
        try:
            events.append(next(work))
        except StopIteration as end:
            return end.value, events


def with_shared(plan: Plan, shared: Shared) -> Plan:
    """The plan, reading what was taken."""
    return replace(
        plan,
        train=replace(plan.train, states=shared.train),
        probe=replace(plan.probe, states=shared.probe),
        validation=replace(plan.validation, states=shared.validation),
    )

"""What the states of frozen prefixes cost and spare over a study: worked out once, read by every trial that wants them.

Follows what `sharing.share` will do, trial by trial, in names of entries of the cache; few rows are really worked out.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from harness.batches import TokenTable
from harness.cache import ENDING, Cache
from harness.devices import autocast
from harness.encoder import Encoder
from harness.jobs import TrialJob
from harness.loading import Loaded
from harness.prefix import Filled, Group, Recipe, digests, fill, groups, joined
from harness.profiling import layer_shape
from harness.rehearsal import FloatArray, Law, clock, fit, timed
from harness.sharing import Rows, worth_keeping
from harness.tasks.base import Features
from harness.warm import Encoded, take

LENGTHS = 4  # at which filling is timed
TIMED_TOKENS = 1_024  # of each of them
NO_LIMIT = 1 << 40


class Filling(NamedTuple):
    """What working out states costs, up to one cut.

    Attributes:
        fill: of a group of rows, keeping included (`fill_work`).
        forward: the forward pass alone.
        entry_seconds: of reading one entry that is there.
        dtype: of the states.
    """

    fill: Law
    forward: Law
    entry_seconds: float
    dtype: torch.dtype


def rehearse_filling(recipe: Recipe, encoded: Encoded, cut: int, folder: Path) -> Filling:
    """Work out states of a few rows at some of the lengths that occur, in a folder of its own."""
    encoder, features = recipe.encoder, encoded.features
    encoder.reset(0)
    ascending = np.sort(features.lengths)
    chosen = np.unique(ascending[np.linspace(0, len(ascending) - 1, LENGTHS).round().astype(int)])
    longest = _rows_of(encoded, int(chosen[-1]), TIMED_TOKENS // 4)
    finish(fill(recipe, longest, [cut], [cut], Cache(folder / "warm", NO_LIMIT)))
    parts = [_rows_of(encoded, length, tokens) for length in chosen.tolist() for tokens in (1, TIMED_TOKENS)]
    parts = [part for n, part in enumerate(parts) if not n % 2 or len(part) > 1]  # some lengths have one row alone
    rounds = np.array([[_time_filling(recipe, part, cut, Cache(folder / name, NO_LIMIT)) for part in parts]
                       for name in ("first", "second")]).min(axis=0)  # fmt: skip
    sizes = [groups(part, digests(part))[0] for part in parts]
    work = fill_work([(group.length, len(group.rows)) for group in sizes])
    tokens = TokenTable(longest, encoder.device)
    with torch.no_grad(), autocast(encoder.device, recipe.dtype):
        hidden = encoder.states(tokens.batch(np.array([0])), [cut])[cut]
    return Filling(fit(work, rounds[:, 0]), fit(work, rounds[:, 1]), float(np.median(rounds[:, 2])), hidden.dtype)


def _time_filling(recipe: Recipe, features: Features, cut: int, cache: Cache) -> tuple[float, float, float]:
    """Seconds of filling, of the forward passes in it, and of reading what was filled."""
    began = clock()
    filled = finish(fill(recipe, features, [cut], [cut], cache))
    spent = clock() - began
    read = timed(lambda: finish(fill(recipe, features, [cut], [cut], cache)), recipe.encoder.device)
    return max(spent - read, 0.0), filled.cost[cut], read


def _rows_of(encoded: Encoded, length: int, tokens: int) -> Features:
    """Features of one length, about so many tokens of them."""
    features = encoded.features
    rows = np.flatnonzero(features.lengths == length)[: max(1, tokens // length)]
    return take(encoded, np.unique(features.example[rows])).features


def finish(work: Generator[Any, None, Filled]) -> Filled:
    """Run a generator to its end and give what it returns."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            value: Filled = end.value
            return value


def fill_work(lengths: Sequence[tuple[int, int]]) -> FloatArray:
    """Groups of equal length: group, tokens, tokens times length. Each is given as (length, rows)."""
    return np.array([(1.0, n * rows, n * rows * n) for n, rows in lengths], dtype=float).reshape(-1, 3)


# --- over a study ---------------------------------------------------------------------------------------


class SharedCost(NamedTuple):
    """Of one trial.

    Attributes:
        fill_seconds: of states that no trial before it has worked out.
        read_seconds: of taking its states from the cache.
        spared_seconds: of the passes through the prefix that its epochs do without.
        new_bytes: that it adds to the cache.
    """

    fill_seconds: float
    read_seconds: float
    spared_seconds: float
    new_bytes: int


@dataclass
class StatesCost:
    """The states of one model in one number format, over the trials of a study in their order.

    Attributes:
        filling: what filling costs up to the end of the layers.
        there: names of the entries that trials before have left.
    """

    dtype: str
    places: int
    filling: Filling
    there: set[str] = field(default_factory=set)
    _groups: dict[tuple[int, ...], tuple[tuple[Features, ...], list[Group]]] = field(default_factory=dict)

    @classmethod
    def measure(cls, recipe: Recipe, encoded: Encoded, folder: Path) -> StatesCost:
        """Work out states of a few rows in a folder of their own."""
        return cls(recipe.dtype, recipe.places, rehearse_filling(recipe, encoded, recipe.encoder.layers, folder))

    def of(self, job: TrialJob, loaded: Loaded, rows: Rows, cuts: Mapping[int, int]) -> SharedCost:
        """What the next trial of the study takes, and what it leaves."""
        assert job.sharing.folder is not None
        encoder, folder = loaded.encoder, Path(job.sharing.folder)
        adapted = job.config.adapt  # then the names are the original's, whose states in the folder are not its own
        recipe = Recipe(encoder, self.dtype, self.places)
        wanted = sorted(set(cuts.values()))
        kept = worth_keeping(encoder, wanted, job.sharing, job.config, rows)
        fill, read, spared, new_bytes = 0.0, 0.0, 0.0, 0
        for features, passes in ((rows.train, 1.0 + len(rows.probe) / len(rows.train)), (rows.validation, 1.0)):
            work = fill_work([(group.length, len(group.rows)) for group in self._parts(features)])
            spared += self.filling.forward.seconds(work) * passes * sum(_share(cut, encoder) for cut in cuts.values())
        for parts in self._filled(rows):
            work = fill_work([(group.length, len(group.rows)) for group in parts])
            read += self.filling.entry_seconds * len(parts) * len(wanted)
            for group, amount in zip(parts, work, strict=True):
                keys = {cut: recipe.key(group.digests, cut) for cut in kept}
                missing = [cut for cut, key in keys.items() if not self._has(None if adapted else folder, key)]
                if missing:
                    share = _share(max(missing), encoder)
                    fill += self.filling.fill.seconds(amount * np.array([len(missing), share, share]))
                    new_bytes += sum(self._bytes(group, cut, encoder) for cut in missing)
                    self.there |= {keys[cut] for cut in missing}
        return SharedCost(fill, read, spared, new_bytes)

    def _filled(self, rows: Rows) -> list[list[Group]]:
        """Groups of what is filled in one go."""
        if rows.crossed:
            return [self._parts(rows.train, rows.validation)]
        return [self._parts(rows.train), self._parts(rows.validation)]

    def _parts(self, *splits: Features) -> list[Group]:
        """Groups of one split or of two as one; looked up by identity, and held so that it stays theirs."""
        key = tuple(map(id, splits))
        if key not in self._groups:
            features = joined(*splits) if len(splits) > 1 else splits[0]
            self._groups[key] = splits, groups(features, digests(features))
        return self._groups[key][1]

    def _has(self, folder: Path | None, key: str) -> bool:
        return key in self.there or (folder is not None and (folder / f"{key}{ENDING}").exists())

    def _bytes(self, group: Group, cut: int, encoder: Encoder) -> int:
        vectors = len(group.rows) * (1 if encoder.is_vector(cut) else group.length)
        return vectors * layer_shape(encoder.config).width * self.filling.dtype.itemsize


def _share(cut: int, encoder: Encoder) -> float:
    """Part of the layers that lies below a cut."""
    return min(cut, encoder.layers) / encoder.layers

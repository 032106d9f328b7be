"""What the states of frozen prefixes cost and spare over a study: worked out once, read by every trial that wants them.

Follows what `sharing.share` will do, trial by trial, in names of entries of the cache; few rows are really worked out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from harness.cache import ENDING
from harness.encoder import Encoder
from harness.loading import Loaded
from harness.prefix import Group, Recipe, digests, groups
from harness.profiling import layer_shape
from harness.records import TrialJob
from harness.rehearsal import Filling, fill_work, rehearse_filling
from harness.sharing import Rows, worth_keeping
from harness.tasks.base import Features
from harness.warm import Encoded


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
    _groups: dict[int, tuple[Features, list[Group]]] = field(default_factory=dict)

    @classmethod
    def measure(cls, recipe: Recipe, encoded: Encoded, folder: Path) -> StatesCost:
        """Work out states of a few rows in a folder of their own."""
        return cls(recipe.dtype, recipe.places, rehearse_filling(recipe, encoded, recipe.encoder.layers, folder))

    def of(self, job: TrialJob, loaded: Loaded, rows: Rows, cuts: Mapping[int, int]) -> SharedCost:
        """What the next trial of the study takes, and what it leaves."""
        assert job.sharing.folder is not None
        encoder, folder = loaded.encoder, Path(job.sharing.folder)
        recipe = Recipe(encoder, self.dtype, self.places)
        wanted = sorted(set(cuts.values()))
        kept = worth_keeping(encoder, wanted, job.sharing, job.config, rows)
        fill, read, spared, new_bytes = 0.0, 0.0, 0.0, 0
        for features, passes in ((rows.train, 1.0 + len(rows.probe) / len(rows.train)), (rows.validation, 1.0)):
            parts = self._parts(features)
            work = fill_work([(group.length, len(group.rows)) for group in parts])
            spared += self.filling.forward.seconds(work) * passes * sum(_share(cut, encoder) for cut in cuts.values())
            read += self.filling.entry_seconds * len(parts) * len(wanted)
            for group, amount in zip(parts, work, strict=True):
                keys = {cut: recipe.key(group.digests, cut) for cut in kept}
                missing = [cut for cut, key in keys.items() if not self._has(folder, key)]
                if missing:
                    share = _share(max(missing), encoder)
                    fill += self.filling.fill.seconds(amount * np.array([len(missing), share, share]))
                    new_bytes += sum(self._bytes(group, cut, encoder) for cut in missing)
                    self.there |= {keys[cut] for cut in missing}
        return SharedCost(fill, read, spared, new_bytes)

    def _parts(self, features: Features) -> list[Group]:
        """Groups of a split; looked up by identity, and the features held so that it stays theirs."""
        if id(features) not in self._groups:
            self._groups[id(features)] = features, groups(features, digests(features))
        return self._groups[id(features)][1]

    def _has(self, folder: Path, key: str) -> bool:
        return key in self.there or (folder / f"{key}{ENDING}").exists()

    def _bytes(self, group: Group, cut: int, encoder: Encoder) -> int:
        vectors = len(group.rows) * (1 if cut >= encoder.layers else group.length)
        return vectors * layer_shape(encoder.config).width * self.filling.dtype.itemsize


def _share(cut: int, encoder: Encoder) -> float:
    """Part of the layers that lies below a cut."""
    return min(cut, encoder.layers) / encoder.layers

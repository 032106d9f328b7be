"""What a trial takes from work that other trials have done or will take: today the states of frozen prefixes.

It decides which cuts are worth keeping and tells the record what was taken; working them out is `prefix.py`.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.cache import Cache, NoRoom
from harness.configuration import TrialConfig
from harness.encoder import Encoder
from harness.freezing import parse
from harness.jobs import Sharing
from harness.prefix import Filled, Recipe, StateTable, digests, fill, joined
from harness.profiling import layer_shape
from harness.records import EpochRecord, Incident, Progress
from harness.tasks.base import Features

FLOAT_BYTES = 4


@dataclass(frozen=True)
class Rows:
    """The features of a trial's three splits.

    Attributes:
        crossed: whether other folds have the same rows in training and validation together.
    """

    train: Features
    probe: Features
    validation: Features
    crossed: bool = False


@dataclass(frozen=True)
class Shared:
    """What a trial starts from, by split and cut; empty tables where it works everything out itself.

    Attributes:
        cuts: epoch -> the cut that it runs from.
        filled: of training and validation rows.
        note: why nothing is shared although something could be, in words.
    """

    train: Mapping[int, StateTable] = field(default_factory=dict)
    probe: Mapping[int, StateTable] = field(default_factory=dict)
    validation: Mapping[int, StateTable] = field(default_factory=dict)
    cuts: Mapping[int, int] = field(default_factory=dict)
    filled: tuple[Filled, ...] = ()
    note: str = ""

    def record(self, records: Sequence[EpochRecord]) -> dict[str, Any]:
        """What was taken and what it cost, for `TrialOutcome.shared_work`; empty when nothing was.

        `saved_seconds` is what the forward passes through the prefix would have taken in the epochs of `records`, at
        the rate at which the states were worked out; what filling cost this trial is `fill_seconds`, not subtracted.
        """
        if not self.filled:
            return {}
        train, validation = self.filled
        saved = 0.0
        for cut in (self.cuts[r.epoch] for r in records if r.epoch in self.cuts):
            probe = len(self.probe[cut]) / len(self.train[cut])
            saved += train.cost[cut] * (1.0 + probe) + validation.cost[cut]
        return {
            "prefix": {
                "cut": max(self.train),
                "rows": len(self.train[max(self.train)]) + len(self.validation[max(self.train)]),
                "computed_rows": train.computed + validation.computed,
                "fill_seconds": train.seconds + validation.seconds,
                "saved_seconds": saved,
                "bytes": train.stored_bytes + validation.stored_bytes,
            }
        }


def share(
    sharing: Sharing, cache: Cache, recipe: Recipe, config: TrialConfig, rows: Rows, seed: int
) -> Generator[Progress | Incident, None, Shared]:
    """Bring together what the trial can take, and work out what is missing.

    Sets the encoder back to its pretrained weights.

    Args:
        sharing: what may be shared.
        cache: where states are kept.
        recipe: how states are worked out.
        config: of the trial.
        rows: of the trial.
        seed: of the trial.
    """
    encoder = recipe.encoder
    cuts, note = taken(sharing, encoder, config, rows)
    if not cuts:
        return Shared(note=note)
    wanted = sorted(set(cuts.values()))
    kept = worth_keeping(encoder, wanted, sharing, config, rows)
    encoder.reset(seed)
    cache.held = 0  # the last trial has let go of its states
    try:
        if rows.crossed:
            both = yield from fill(recipe, joined(rows.train, rows.validation), kept, wanted, cache)
            train, validation = both.divided(rows.train, rows.validation)
        else:
            train = yield from fill(recipe, rows.train, kept, wanted, cache)
            validation = yield from fill(recipe, rows.validation, kept, wanted, cache)
    except NoRoom as error:
        return Shared(note=f"the frozen prefix's states are not kept: {error}")
    if cache.damaged:
        words = f"{len(cache.damaged)} damaged entries of the cache were worked out again"
        yield Incident("cache_damaged", words, {"keys": list(cache.damaged)})
        cache.damaged.clear()
    probe = _subset(train, rows)
    return Shared(train.tables, probe, validation.tables, cuts, (train, validation))


def taken(sharing: Sharing, encoder: Encoder, config: TrialConfig, rows: Rows) -> tuple[dict[int, int], str]:
    """Epoch -> cut that a trial runs from; and why there is none, where there could be one."""
    if config.frozen_mode != "eval" or sharing.exact or sharing.folder is None:
        return {}, ""
    if rows.train.vocabulary is not None:  # other tokens are hidden in every epoch
        return {}, ""
    cuts = _cuts(encoder, config.freeze, config.epochs)
    if _bytes(encoder, set(cuts.values()), rows) > sharing.budget:
        return {}, f"the frozen prefix's states would take more than {sharing.budget:,} bytes: not kept"
    return cuts, ""


def _cuts(encoder: Encoder, freeze: str, epochs: int) -> dict[int, int]:
    """Epoch -> cut, for the epochs that have one."""
    found = {epoch: encoder.cut(freeze, epoch, epochs) for epoch in range(1, epochs + 1)}
    return {epoch: cut for epoch, cut in found.items() if cut is not None}


def worth_keeping(
    encoder: Encoder, wanted: Sequence[int], sharing: Sharing, config: TrialConfig, rows: Rows
) -> list[int]:
    """The trial's own cuts, and those of the study's other strategies as long as half of the budget lasts."""
    others: set[int] = set()
    for freeze in sharing.freezes:
        if parse(freeze).top <= encoder.layers:
            others |= set(_cuts(encoder, freeze, config.epochs).values())
    kept = list(wanted)
    for cut in sorted(others - set(wanted), reverse=True):  # the highest one spares most and takes least
        if _bytes(encoder, [*kept, cut], rows) <= sharing.budget // 2:
            kept.append(cut)
    return sorted(kept)


def _bytes(encoder: Encoder, cuts: Iterable[int], rows: Rows) -> int:
    """Bytes of the states at some cuts at most, in float32."""
    lengths = [features.lengths for features in (rows.train, rows.validation)]
    tokens, count = sum(int(part.sum()) for part in lengths), sum(len(part) for part in lengths)
    width = layer_shape(encoder.config).width
    return sum((count if encoder.is_vector(cut) else tokens) * width * FLOAT_BYTES for cut in cuts)


def _subset(filled: Filled, rows: Rows) -> dict[int, StateTable]:
    """The probe's states: its rows are training rows."""
    place = {digest: row for row, digest in enumerate(digests(rows.train))}
    picked = [place[digest] for digest in digests(rows.probe)]
    return {cut: table.subset(rows.probe, picked) for cut, table in filled.tables.items()}

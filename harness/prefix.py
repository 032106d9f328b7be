"""The output of a model's frozen prefix, worked out once for each row and taken by every trial that can use it.

Rows of equal length go through the prefix together and without padding, in an order that their content alone
decides: a row has the same states whatever max_length, trial, epoch or seed asks for it. They are kept
unpadded, one entry of the cache for each group of rows and each cut.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
import transformers
from torch.nn.utils.rnn import pad_sequence

from harness.batches import Batch, TokenTable, by_length
from harness.cache import Cache, Entry
from harness.configuration import canonical_json
from harness.devices import autocast, name
from harness.encoder import Encoder
from harness.records import Progress
from harness.tasks.base import Features, IntArray

VERSION = 2  # of what an entry means
TURN_SECONDS = 0.2
GROUP_TOKENS = 65_536  # what memory holds at once, and what an interruption may lose


class StateTable:
    """The states of all features of a split at one cut: a `batches.Table` that starts above the prefix.

    Args:
        features: as encoded.
        cut: see `freezing.cut`.
        vectors: whether there is one vector for each feature there (`Encoder.is_vector`).
        states: of each feature, (tokens, width), or (width,) where there is one vector.
        device: where batches are wanted.
    """

    def __init__(
        self,
        features: Features,
        cut: int,
        vectors: bool,
        states: Sequence[torch.Tensor] | torch.Tensor,
        device: torch.device,
    ) -> None:
        self.device = device
        self.cut = cut
        self.lengths = features.lengths
        self.labels = torch.from_numpy(features.labels).to(device)
        self._lengths = torch.from_numpy(self.lengths).to(device)
        self._states = [] if vectors else list(states)
        self._vectors = _stacked(states).to(device) if vectors else None

    def __len__(self) -> int:
        return len(self.lengths)

    def batch(self, rows: IntArray) -> Batch:
        """The features `rows`, padded to the longest of them where they are sequences."""
        chosen = torch.from_numpy(rows).to(self.device, non_blocking=True)
        lengths = self.lengths[rows]
        tokens = padded = int(lengths.sum())
        mask = None
        if self._vectors is not None:
            hidden = self._vectors[chosen]
        else:
            hidden = pad_sequence([self._states[row] for row in rows.tolist()], batch_first=True).to(self.device)
            padded = hidden.shape[0] * hidden.shape[1]
            if padded > tokens:
                mask = torch.arange(hidden.shape[1], device=self.device) < self._lengths[chosen, None]
        return Batch(None, mask, None, self.labels[chosen], chosen, tokens, padded, hidden, self.cut)

    def subset(self, features: Features, rows: Sequence[int]) -> StateTable:
        """The table of other features with the content of `rows`."""
        if self._vectors is None:
            return StateTable(features, self.cut, False, [self._states[row] for row in rows], self.device)
        return StateTable(features, self.cut, True, self._vectors[list(rows)], self.device)

    def by_length(self, places: int) -> Iterator[IntArray]:
        """All rows in batches of at most `places` places, as `TokenTable.by_length`."""
        return by_length(self.lengths, places)


def _stacked(states: Sequence[torch.Tensor] | torch.Tensor) -> torch.Tensor:
    return states if isinstance(states, torch.Tensor) else torch.stack(list(states))


# --- keys ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Recipe:
    """How states are worked out: everything but the rows.

    Attributes:
        dtype: number format of the forward pass.
        places: tokens of one batch at most.
    """

    encoder: Encoder
    dtype: str
    places: int

    def key(self, rows: Sequence[bytes], cut: int) -> str:
        """Name of the entry of some rows, given by digest and in the order in which they are worked out."""
        said = {
            "version": VERSION,
            "weights": self.encoder.weights_hash,
            "config": self.encoder.config_hash,
            "transformers": transformers.__version__,
            "kernel": str(self.encoder.config._attn_implementation),
            "dtype": self.dtype,
            "device": name(self.encoder.device),
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
            "places": self.places,
            "pooled": self.encoder.pooled,
        }
        digest = hashlib.sha256(canonical_json(said).encode())
        for row in rows:
            digest.update(row)
        return f"{digest.hexdigest()[:40]}-{cut}"


class Group(NamedTuple):
    """Different rows of one length, in canonical order, `GROUP_TOKENS` tokens at most.

    Attributes:
        digests: of each row.
        rows: a feature with that content, for each.
    """

    length: int
    digests: list[bytes]
    rows: IntArray


def digests(features: Features) -> list[bytes]:
    """A digest of what the model reads of each feature."""
    types: Sequence[np.ndarray | None] = features.token_type_ids or [None] * len(features)
    return [
        hashlib.blake2b(ids.tobytes() + (b"" if kinds is None else b"/" + kinds.tobytes()), digest_size=16).digest()
        for ids, kinds in zip(features.input_ids, types, strict=True)
    ]


def joined(first: Features, second: Features) -> Features:
    """The rows of two splits as one, as far as a prefix reads them."""
    types = first.token_type_ids, second.token_type_ids
    return Features(
        input_ids=[*first.input_ids, *second.input_ids],
        token_type_ids=None if types[0] is None or types[1] is None else [*types[0], *types[1]],
        labels=np.zeros(len(first) + len(second), dtype=np.int64),
        example=np.arange(len(first) + len(second)),
        truncated=np.concatenate([first.truncated, second.truncated]),
        pad_id=first.pad_id,
    )


def groups(features: Features, contents: Sequence[bytes]) -> list[Group]:
    """Rows by length, repeated ones once, in the order of their digests; truncation makes one length frequent."""
    by_length: dict[int, dict[bytes, int]] = {}
    for row, (length, digest) in enumerate(zip(features.lengths.tolist(), contents, strict=True)):
        by_length.setdefault(length, {}).setdefault(digest, row)
    found = []
    for length in sorted(by_length):
        order, size = sorted(by_length[length]), max(1, GROUP_TOKENS // length)
        for start in range(0, len(order), size):
            part = order[start : start + size]
            found.append(Group(length, part, np.array([by_length[length][digest] for digest in part], dtype=np.int64)))
    return found


# --- filling ------------------------------------------------------------------------------------------


@dataclass
class Filled:
    """What a fill has brought together for one split.

    Attributes:
        tables: cut -> states of every feature.
        computed: features that went through the prefix now.
        seconds: spent on it now.
        cost: cut -> seconds that working the states of this split out took, now or before.
        stored_bytes: of all states in `tables`.
    """

    tables: dict[int, StateTable]
    computed: int = 0
    seconds: float = 0.0
    cost: dict[int, float] = field(default_factory=dict)
    stored_bytes: int = 0

    def divided(self, *parts: Features) -> tuple[Filled, ...]:
        """What belongs to each of the splits that were filled as one, in their order.

        Costs and bytes go by tokens; what was worked out now is told of the first one.
        """
        starts = np.cumsum([0, *(len(features) for features in parts)]).tolist()
        tokens = [int(features.lengths.sum()) for features in parts]
        found = []
        for features, start, own in zip(parts, starts, tokens, strict=False):
            rows, share = range(start, start + len(features)), own / sum(tokens)
            tables = {cut: table.subset(features, rows) for cut, table in self.tables.items()}
            spent = (self.computed, self.seconds) if start == 0 else (0, 0.0)
            cost = {cut: seconds * share for cut, seconds in self.cost.items()}
            found.append(Filled(tables, *spent, cost, round(self.stored_bytes * share)))
        return tuple(found)


def fill(
    recipe: Recipe, features: Features, cuts: Sequence[int], wanted: Sequence[int], cache: Cache
) -> Generator[Progress, None, Filled]:
    """Bring together the states of every feature, and work out what the cache does not have.

    The encoder must stand at its pretrained weights. Yields a `Progress` of epoch 0 after every batch, and now and
    then while another process works on the same model. Closed at any of them it leaves every finished group.

    Args:
        recipe: how states are worked out.
        features: of one split.
        cuts: every cut that is to be kept; one pass writes them all.
        wanted: those of them that this trial uses.
        cache: where states are kept.
    """
    encoder = recipe.encoder
    contents = digests(features)
    parts = groups(features, contents)
    filled = Filled({}, cost=dict.fromkeys(wanted, 0.0))
    states: dict[int, list[torch.Tensor]] = {cut: [torch.empty(0)] * len(features) for cut in wanted}
    rows_of: dict[bytes, list[int]] = {}
    for row, digest in enumerate(contents):
        rows_of.setdefault(digest, []).append(row)
    tokens = TokenTable(features, encoder.device)
    done = 0
    for group in parts:
        entries = yield from _entries(recipe, tokens, group, cuts, cache, filled, done)
        for cut in wanted:
            values, seconds = entries[cut]
            filled.cost[cut] += seconds
            filled.stored_bytes += values.nbytes
            for digest, state in zip(group.digests, values, strict=True):
                for row in rows_of[digest]:
                    states[cut][row] = state
        done += sum(len(rows_of[digest]) for digest in group.digests)
        yield Progress(0, done, len(features))
    filled.tables = {
        cut: StateTable(features, cut, encoder.is_vector(cut), states[cut], encoder.device) for cut in wanted
    }
    return filled


def _share(cut: int, highest: int, layers: int) -> float:
    """Part of a pass up to the highest cut that lies below another one, counted in layers."""
    return min(cut, layers) / max(min(highest, layers), 1)


def _entries(
    recipe: Recipe, tokens: TokenTable, group: Group, cuts: Sequence[int], cache: Cache, filled: Filled, done: int
) -> Generator[Progress, None, Mapping[int, Entry]]:
    """The entries of a group at every cut, from the cache as far as it has them; `done` features came before it."""
    keys = {cut: recipe.key(group.digests, cut) for cut in cuts}
    found = {cut: entry for cut, key in keys.items() if (entry := cache.load(key)) is not None}
    if len(found) == len(cuts):
        return found
    while (turn := _turn(cache, recipe.encoder.weights_hash[:16])) is None:
        yield Progress(0, done, len(tokens))
        time.sleep(TURN_SECONDS)
    with turn:  # meanwhile another process may have worked them out
        found |= {cut: entry for cut in cuts if cut not in found and (entry := cache.load(keys[cut])) is not None}
        missing = [cut for cut in cuts if cut not in found]
        if missing:
            began = time.perf_counter()
            values = yield from _work_out(recipe, tokens, group, missing, done)
            seconds = time.perf_counter() - began
            for cut in missing:
                share = _share(cut, max(missing), recipe.encoder.layers)
                found[cut] = cache.save(keys[cut], values[cut], seconds * share)
            filled.computed += len(group.rows)
            filled.seconds += time.perf_counter() - began
    return found


def _turn(cache: Cache, name: str) -> AbstractContextManager[object] | None:
    """The cache's turn; where nothing can be written everyone works for himself."""
    try:
        return cache.take_turn(name)
    except OSError:
        return nullcontext()


def _work_out(
    recipe: Recipe, tokens: TokenTable, group: Group, cuts: Sequence[int], done: int
) -> Generator[Progress, None, dict[int, torch.Tensor]]:
    """States of a group's rows: cut -> (rows, length, width), or (rows, width) from the end of the layers on."""
    encoder = recipe.encoder
    encoder.model.eval()
    size = max(1, recipe.places // group.length)
    parts: dict[int, list[torch.Tensor]] = {cut: [] for cut in cuts}
    for start in range(0, len(group.rows), size):
        rows = group.rows[start : start + size]
        with torch.no_grad(), autocast(encoder.device, recipe.dtype):  # not around the yield: it would reach outside
            seen = encoder.states(tokens.batch(rows), cuts)
        for cut, values in seen.items():
            parts[cut].append(values.cpu())
        yield Progress(0, done + start + len(rows), len(tokens))
    return {cut: torch.cat(values) for cut, values in parts.items()}

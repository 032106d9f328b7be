"""Tokenised rows as flat tensors on the device, and batches cut out of them without a host loop.

Padding reaches only to the longest row of a batch. Lengths are known on the host, so that cutting a
batch never waits for the device.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import numpy as np
import torch

from harness.masking import NOT_ASKED
from harness.tasks.base import Features, IntArray


class Batch(NamedTuple):
    """One batch as the model takes it.

    Attributes:
        input_ids: (batch, sequence); None where `hidden` holds what a frozen prefix made of them.
        attention_mask: True where there is a token, (batch, sequence); None when nothing is padded.
        token_type_ids: (batch, sequence), or None where the model has none.
        labels: (batch,) or (batch, k).
        rows: which features, (batch,), on the device.
        tokens, padded_tokens: real tokens, and places that the batch takes.
        hidden: states at the cut, (batch, sequence, width), or (batch, width) from the end of the layers on.
        cut: how far the prefix reaches, as `freezing.cut` counts.
        asked: tokens that the model is asked for, (batch, k) as the labels; None where all are read, or the first.
    """

    input_ids: torch.Tensor | None
    attention_mask: torch.Tensor | None
    token_type_ids: torch.Tensor | None
    labels: torch.Tensor
    rows: torch.Tensor
    tokens: int
    padded_tokens: int
    hidden: torch.Tensor | None = None
    cut: int = 0
    asked: torch.Tensor | None = None


class Table(Protocol):
    """Rows of a split on their way into the model: as tokens, or as states at a cut.

    Attributes:
        lengths: tokens of each feature, (features,), on the host.
        labels: on the device.
    """

    lengths: IntArray
    labels: torch.Tensor

    def __len__(self) -> int: ...

    def batch(self, rows: IntArray) -> Batch:
        """The features `rows`, padded to the longest of them."""
        ...

    def by_length(self, places: int) -> Iterator[IntArray]:
        """All rows in batches of at most `places` places."""
        ...


def by_length(lengths: IntArray, places: int) -> Iterator[IntArray]:
    """Rows in batches of at most `places` padded tokens, longest first; at least one row a batch."""
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        count = max(1, places // int(lengths[order[start]]))
        yield order[start : start + count]
        start += count


class TokenTable:
    """All features of a split, put on the device once."""

    def __init__(self, features: Features, device: torch.device) -> None:
        self.device = device
        self.pad_id = features.pad_id
        self.lengths = features.lengths  # (features,), host
        starts = np.concatenate([[0], np.cumsum(self.lengths)[:-1]]).astype(np.int64)
        self._ids = self._put(np.concatenate(features.input_ids))  # (tokens,)
        types = features.token_type_ids
        self._types = None if types is None else self._put(np.concatenate(types))
        self._starts = self._put(starts)
        self._lengths = self._put(self.lengths)
        self.labels = self._put(features.labels)
        self._asked = None if features.asked is None else self._put(features.asked)
        self._asked_counts = None if features.asked is None else (features.labels != NOT_ASKED).sum(axis=1)

    def _put(self, values: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(self.device, non_blocking=True)

    def __len__(self) -> int:
        return len(self.lengths)

    def batch(self, rows: IntArray) -> Batch:
        """The features `rows`, padded to the longest of them."""
        lengths = self.lengths[rows]
        width = int(lengths.max())
        tokens = int(lengths.sum())
        chosen = self._put(rows)
        places = torch.arange(width, device=self.device)
        mask = places < self._lengths[chosen, None]  # (batch, sequence)
        index = (self._starts[chosen, None] + places) * mask
        ids = self._ids[index].long().masked_fill_(~mask, self.pad_id)
        types = None if self._types is None else self._types[index].long() * mask
        padded = width * len(rows)
        batch = Batch(ids, None if tokens == padded else mask, types, self.labels[chosen], chosen, tokens, padded)
        if self._asked is None or self._asked_counts is None:
            return batch
        most = max(1, int(self._asked_counts[rows].max()))  # known on the host, as the lengths are
        return batch._replace(labels=batch.labels[:, :most], asked=self._asked[chosen, :most])

    def by_length(self, places: int) -> Iterator[IntArray]:
        """Rows in batches of at most `places` padded tokens, longest first; at least one row a batch."""
        return by_length(self.lengths, places)

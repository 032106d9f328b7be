"""The rows of an embedding matrix that a trial's texts use, trained alone, and the whole matrix afterwards.

A row whose token never occurs has no gradient: AdamW's moments stay zero and nothing but weight decay moves it. So
the optimiser, the gradient and its norm can leave it out, and its decay is one product in the end. This is exact up
to rounding where nothing else reads the matrix; a tied output layer reads it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from harness.tasks.base import IntArray

FIRST_ROWS = 1_000  # a padding id below this keeps its number: RoBERTa counts positions by it


class UsedRows:
    """A model's input embeddings cut down to some rows, from `take` until `whole` puts them back.

    Args:
        model: whose embedding matrix is replaced.
        used: ids that occur, any order.
        pad_id: id that fills batches up.

    Attributes:
        used: as given.
    """

    def __init__(self, model: Any, used: IntArray, pad_id: int) -> None:
        self._embedding: nn.Embedding = model.get_input_embeddings()
        self._full = self._embedding.weight
        self._padding = self._embedding.padding_idx
        self.used, self._pad_id = used, pad_id
        padding = {pad_id, model.config.pad_token_id or 0}
        kept = [np.arange(pad + 1) if pad < FIRST_ROWS else np.array([pad]) for pad in padding]
        rows = np.unique(np.concatenate([used, *kept]))
        self._rows = torch.from_numpy(rows).to(self._full.device)
        self._places = torch.zeros(len(self._full), dtype=torch.long, device=self._full.device)
        self._places[self._rows] = torch.arange(len(rows), device=self._full.device)
        self._weight = nn.Parameter(torch.empty_like(self._full[self._rows]))
        self._place_of_padding = int(self._places[self._padding]) if self._padding in rows else None

    def are_those_of(self, used: IntArray, pad_id: int) -> bool:
        """Whether these are the rows that such texts use."""
        return self._pad_id == pad_id and np.array_equal(self.used, used)

    def hold(self, used: IntArray, pad_id: int) -> bool:
        """Whether such texts use no other rows than these."""
        return self._pad_id == pad_id and bool(np.isin(used, self.used).all())

    def take(self) -> None:
        """Put the rows, as they are in the whole matrix, in its place; always at the same address."""
        self._weight.requires_grad_(self._full.requires_grad)
        self._weight.grad = None  # a trial that crashed in mid-step has left one
        with torch.no_grad():
            self._weight.copy_(self._full[self._rows])
        self._set(self._weight)
        if self._padding is not None:
            self._embedding.padding_idx = self._place_of_padding

    def places(self, input_ids: torch.Tensor) -> torch.Tensor:
        """Ids of the whole matrix -> rows of the one that trains."""
        return self._places[input_ids]

    def whole(self, decay: float) -> None:
        """Put the whole matrix back: used rows as trained, the others shrunk by `decay`."""
        with torch.no_grad():
            self._full.mul_(decay)
            self._full[self._rows] = self._embedding.weight
        self._set(self._full)
        self._embedding.padding_idx = self._padding

    def _set(self, weight: nn.Parameter) -> None:
        self._embedding.weight = weight
        self._embedding.num_embeddings = len(weight)


def can_be_cut(model: Any) -> bool:
    """Whether nothing but the input reads the embedding matrix."""
    return model.get_output_embeddings() is None

"""Which tokens a masked language model has to guess, and what it sees in their place.

Of every 20 tokens 3 are asked for; a mask stands in for 80% of these, any word for 10%, and 10% stay as they are.

References: Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding", 2019,
arXiv:1810.04805, section 3.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

SHARE = 0.15
NOT_ASKED = -100  # the target that torch's cross-entropy leaves out
Ids = npt.NDArray[np.int64]


class Vocabulary(NamedTuple):
    """What has to be known of a tokeniser: the mask's id, its number of ids, and those that are never asked for."""

    mask: int
    size: int
    special: tuple[int, ...]


def asked_of(maskable: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """How many tokens are asked for where so many may be: 15%, but at least one, and none of none."""
    wanted: Ids = np.maximum(1, np.rint(SHARE * maskable)).astype(np.int64)
    asked: Ids = np.minimum(maskable, wanted)
    return asked


def choose(
    lengths: Sequence[int] | Ids, maskable: npt.NDArray[np.bool_], generator: np.random.Generator
) -> npt.NDArray[np.bool_]:
    """Choose the tokens that are asked for: of every text `asked_of` many, each maskable one equally likely.

    Args:
        lengths: tokens of each text, (texts,).
        maskable: of all texts one behind the other, (tokens,).
        generator: draws.

    Returns:
        Whether each token is asked for, (tokens,).
    """
    text = np.repeat(np.arange(len(lengths)), lengths)
    dice = np.where(maskable, generator.random(len(maskable)), np.inf)
    order = np.lexsort((dice, text))
    starts = np.cumsum(lengths) - lengths
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order)) - np.repeat(starts, lengths)
    count = asked_of(np.bincount(text, weights=maskable, minlength=len(lengths)).astype(np.int64))
    chosen: npt.NDArray[np.bool_] = rank < count[text]
    return chosen


def hide(
    ids: npt.NDArray[np.integer],
    asked: npt.NDArray[np.bool_],
    generator: np.random.Generator,
    *,
    mask: int,
    words: tuple[int, int],
) -> Ids:
    """What the model sees: of the tokens asked for 80% a mask, 10% any word, 10% themselves.

    Args:
        ids: of any shape.
        asked: which of them are asked for, the same shape.
        generator: draws.
        mask: id of the mask.
        words: first id of a word, and the one behind the last.
    """
    dice = generator.random(ids.shape)
    hidden = np.where(asked & (dice < 0.8), mask, ids)
    return np.where(asked & (dice >= 0.9), generator.integers(*words, ids.shape), hidden).astype(np.int64)

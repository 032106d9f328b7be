"""Texts that were tokenised once, cut to any length as the tokeniser itself would have cut them.

Truncation takes tokens away and changes none: what a text is at one length is part of what it is at a larger one.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from harness.tasks.base import Features

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def shorten(whole: Features, tokenizer: PreTrainedTokenizerBase, length: int) -> Features:
    """Features of single texts of at most `length` tokens.

    Args:
        whole: the same of the whole texts.
        tokenizer: that made them; its special tokens stay, and it says which end of a text goes.
        length: at least as many as there are special tokens.
    """
    before, after = special_tokens(tokenizer)
    long = np.flatnonzero(whole.lengths > length)
    if not len(long):
        return whole
    left = tokenizer.truncation_side == "left"
    head, tail = (before, length - before) if left else (length - after, after)

    def cut(rows: list[np.ndarray]) -> list[np.ndarray]:
        for row in long.tolist():
            rows[row] = np.concatenate([rows[row][:head], rows[row][len(rows[row]) - tail :]])
        return rows

    types = whole.token_type_ids
    return replace(
        whole,
        input_ids=cut(list(whole.input_ids)),
        token_type_ids=None if types is None else cut(list(types)),
        truncated=whole.lengths > length,
    )


def special_tokens(tokenizer: PreTrainedTokenizerBase) -> tuple[int, int]:
    """How many special tokens a tokeniser puts before and after a single text."""
    mask = tokenizer("a", return_special_tokens_mask=True)["special_tokens_mask"]
    before = mask.index(0)
    return before, len(mask) - before - mask.count(0)

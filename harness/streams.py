"""Random streams: every purpose and every step has its own seed, so nothing depends on what was drawn before.

A resumed trial needs no saved generator, and neither evaluation nor another trial of the process
can shift the batch order or the dropout of this one.
"""

from __future__ import annotations

import hashlib

import numpy as np

from harness.tasks.base import IntArray


def derive(seed: int, purpose: str, index: int = 0) -> int:
    """A 63-bit seed that depends on the three arguments alone."""
    digest = hashlib.blake2b(f"{seed}/{purpose}/{index}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def permutation(rows: int, seed: int, purpose: str, index: int = 0) -> IntArray:
    """A random order of `rows` row numbers, shape (rows,)."""
    return np.random.default_rng(derive(seed, purpose, index)).permutation(rows).astype(np.int64)


def epoch_order(rows: int, seed: int, epoch: int) -> IntArray:
    """The order in which a trial sees its training rows in one epoch (from 1)."""
    return permutation(rows, seed, "order", epoch)

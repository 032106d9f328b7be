"""Random streams: every purpose and every step has its own seed, so nothing depends on what was drawn before.

A resumed trial needs no saved generator, and neither evaluation nor another trial of the process
can shift the batch order or the dropout of this one.
"""

from __future__ import annotations

import hashlib

import numpy as np

from harness.tasks.base import IntArray

BATCHES_A_POOL = 50  # at most, and
FEWEST_POOLS = 4  # at least, as the plain Trainer's group_by_length has them


def derive(seed: int, purpose: str, index: int = 0) -> int:
    """A 63-bit seed that depends on the three arguments alone."""
    digest = hashlib.blake2b(f"{seed}/{purpose}/{index}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def permutation(rows: int, seed: int, purpose: str, index: int = 0) -> IntArray:
    """A random order of `rows` row numbers, shape (rows,)."""
    return np.random.default_rng(derive(seed, purpose, index)).permutation(rows).astype(np.int64)


def epoch_order(rows: int, seed: int, epoch: int) -> IntArray:
    """A random order of the training rows for one epoch (from 1), as the plain Trainer's."""
    return permutation(rows, seed, "order", epoch)


def pool_rows(rows: int, size: int) -> int:
    """Rows that are sorted by length together: of few rows not all, or the same ones would meet in every epoch."""
    return size * max(1, min(BATCHES_A_POOL, rows // (size * FEWEST_POOLS)))


def bucketed_order(lengths: IntArray, seed: int, epoch: int, size: int) -> IntArray:
    """A random order in which every `size` rows that follow each other have about the same length.

    The random order of `epoch_order` is cut into pools (`pool_rows`); each is sorted by length and cut into
    batches; whole batches are then shuffled, because batches sorted by length would make training see long
    and short texts in waves. What is left over comes last.

    Args:
        lengths: tokens of each row, shape (rows,).
        seed: of the trial.
        epoch: counted from 1.
        size: rows of one optimiser step.
    """
    order = epoch_order(len(lengths), seed, epoch)
    pool = pool_rows(len(order), size)
    parts = [order[start : start + pool] for start in range(0, len(order), pool)]
    order = np.concatenate([part[np.argsort(-lengths[part], kind="stable")] for part in parts])
    whole = len(order) // size
    batches = order[: whole * size].reshape(whole, size)
    mixed = batches[permutation(whole, seed, "batches", epoch)]
    return np.concatenate([mixed.ravel(), order[whole * size :]])

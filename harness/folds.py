"""Which training rows each fold of a cross-validation holds out: a pure function of labels, seed and number."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def held_out(labels: npt.NDArray[np.int64], fold: int, folds: int, seed: int) -> npt.NDArray[np.bool_]:
    """True for the rows on which that fold validates, shape (rows,); each row is held out by exactly one fold.

    Args:
        labels: class ids of the training rows, shape (rows,).
        fold: from 0.
        folds: how many.
        seed: of the study, so that every configuration and replicate has the same folds.
    """
    # Class by class, each in random order, every folds-th row: sizes and classes differ by at most one row.
    order = np.lexsort((np.random.default_rng(seed).random(len(labels)), labels))
    found = np.zeros(len(order), dtype=bool)
    found[order[fold::folds]] = True
    return found

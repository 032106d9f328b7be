"""Metrics of guessed tokens: how far a masked language model is surprised, and how often it is right.

Pure functions over three numbers an example: the summed loss of its hidden tokens in nats, how many of them were
guessed right, and how many there are. The references are not read, since the numbers come from comparing with them.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from harness.metrics.registry import metric


@metric(output="tokens", higher_is_better=False, unit="tokens")
def perplexity(predictions: Any, references: Any) -> float:
    """Words of the vocabulary between which the model is as unsure: exp of the mean loss of all hidden tokens.

    NaN when nothing was hidden. It compares between models only where these have one vocabulary.

    Args:
        predictions: summed nats, right guesses, hidden tokens of each example, shape (examples, 3).
        references: not read.
    """
    nats, _, count = _sums(predictions)
    if not count:
        return math.nan
    mean = nats / count
    return math.exp(mean) if mean < 700 else math.inf  # beyond that it is no number of a computer


@metric(output="tokens", higher_is_better=True, unit="fraction")
def accuracy(predictions: Any, references: Any) -> float:
    """Share of the hidden tokens that were guessed right; NaN when nothing was hidden.

    Args:
        predictions: summed nats, right guesses, hidden tokens of each example, shape (examples, 3).
        references: not read.
    """
    _, right, count = _sums(predictions)
    return right / count if count else math.nan


def _sums(predictions: Any) -> tuple[float, float, float]:
    nats, right, count = np.asarray(predictions, np.float64).reshape(-1, 3).sum(axis=0).tolist()
    return nats, right, count

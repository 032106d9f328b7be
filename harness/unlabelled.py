"""The texts of a study without their labels, as further pretraining reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from harness.data import Splits
from harness.tasks.base import Examples


def texts_alone(splits: Splits) -> Splits:
    """Training and validation texts, each once; pairs are two texts, and what is also trained on is not held out.

    Where all validation texts are training texts too, they stay: their perplexity says what was learnt by heart.
    """
    train = distinct(splits.train)
    known = set(train)
    every = distinct(splits.validation)
    held_out = [text for text in every if text not in known]
    return replace(
        splits,
        train=_examples(train),
        validation=_examples(held_out or every),
        test=None,
        fingerprint=f"{splits.fingerprint}/texts",
        label_names=(),
        positive=None,
        warnings=(),
    )


def distinct(examples: Examples) -> list[str]:
    """Every text once, in order of appearance; those of pairs behind the others."""
    return list(dict.fromkeys([*examples.texts, *(examples.pairs or ())]))


def _examples(texts: Sequence[str]) -> Examples:
    rows = np.arange(len(texts), dtype=np.int64)
    return Examples(rows=rows, texts=texts, pairs=None, labels=np.zeros_like(rows), label_names=())

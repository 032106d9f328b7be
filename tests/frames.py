"""Constructed frames with the columns and types of `results.frames`, for the tests of analysis."""

from __future__ import annotations

from typing import Any

import pandas as pd

WHOLE = "configuration trial replicate fold epochs batch_size effective_batch_size max_length seed best_epoch".split()
WHOLE += "best_loss_epoch peak_memory_bytes trainable_parameters total_parameters train".split()
WORDS = "study source state reason model freeze verdict verdict_words".split()
DEFAULTS: dict[str, Any] = {
    "study": "s",
    "source": "own",
    "replicate": 0,
    "fold": None,
    "state": "complete",
    "reason": None,
    "model": "m",
    "epochs": 3,
    "batch_size": 16,
    "learning_rate": 2e-5,
    "max_length": 128,
    "freeze": "none",
    "seed": 42,
    "objective": None,
    "shared_work": None,
    "verdict": None,
}


def typed(frame: pd.DataFrame) -> pd.DataFrame:
    """The types that reading results.db gives: Int64 for counts, str for words, float64 else."""
    types: dict[str, Any] = {}
    for name in frame.columns:
        if name in WHOLE:
            types[name] = "Int64"
        elif name in WORDS:
            types[name] = "str"
        elif name != "shared_work":
            types[name] = "float64"
    return frame.astype(types)


def summary(*trials: dict[str, Any], **shared: Any) -> pd.DataFrame:
    """`harness_summary` with one row a mapping; the trials are numbered from 0."""
    rows = [{"configuration": i, "trial": i, **DEFAULTS, **shared, **trial} for i, trial in enumerate(trials)]
    return typed(pd.DataFrame(rows))


def epochs(*curves: tuple[tuple[float | None, ...], tuple[float | None, ...]], seconds: float = 10.0) -> pd.DataFrame:
    """`harness_epoch` of trials 0, 1, ...: (training losses, validation losses) by epoch."""
    rows = [
        {"trial": trial, "epoch": epoch, "train_loss": train, "validation_loss": validation}
        for trial, curve in enumerate(curves)
        for epoch, (train, validation) in enumerate(zip(*curve, strict=True), 1)
    ]
    frame = pd.DataFrame(rows, columns=["trial", "epoch", "train_loss", "validation_loss"]).assign(
        epoch_seconds=seconds
    )
    frame.insert(0, "study", "s")
    types = {"study": "str", "trial": "Int64", "epoch": "Int64", "train_loss": "float64", "validation_loss": "float64"}
    return frame.astype(types)

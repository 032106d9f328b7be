"""Which trials a worker trains together as one batched layer: linear classifiers that see the same batches."""

from __future__ import annotations

from collections.abc import Hashable

from harness.configuration import TrialConfig

TASK = "sequence-classification"  # whose classifier sees one vector a row; a head over tokens would see far too much
MOST = 64  # trials of one group; what is gained grows little beyond


def over_vectors(task: str, config: TrialConfig) -> bool:
    """Whether a step has nothing but one vector a row, which never changes, and the plain loss."""
    return (
        task == TASK
        and config.frozen_mode == "eval"
        and config.gradient_accumulation == 1
        and config.class_weights == "none"
        and config.dtype != "fp16"
    )


def key(task: str, config: TrialConfig, seed: int, fold: int | None) -> Hashable | None:
    """Trials with equal keys may go together; None where a trial goes alone.

    Batch order and dropout hang on the seed, on the batch size and on the rows. Learning rate, its schedule, weight
    decay, clipping, epochs and early stopping may differ.
    """
    if config.freeze != "classifier" or not over_vectors(task, config):
        return None
    weights = (config.model, config.adapt, config.dropout, config.dtype)
    return (*weights, config.train, config.max_length, config.batch_size, seed, fold)

"""Batches to logits, logits to losses and metrics: overall and per group."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch

from harness.batches import Batch, Table, TokenTable
from harness.configuration import TrialConfig
from harness.devices import autocast
from harness.encoder import Encoder
from harness.metrics import evaluate
from harness.records import MetricValue
from harness.tasks.base import Examples, Features, IntArray, Logits, Task, Values


@dataclass(frozen=True)
class Split:
    """One split, ready: as read, as encoded, on the device, and as far as frozen prefixes have brought it.

    Attributes:
        states: cut -> the features as they are there.
    """

    examples: Examples
    features: Features
    table: TokenTable
    states: Mapping[int, Table] = field(default_factory=dict)

    def at(self, cut: int | None) -> Table:
        """The features at a cut; as tokens for None."""
        return self.table if cut is None else self.states[cut]


Kept = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def all_of_them(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The logits themselves."""
    return logits


def predict(encoder: Encoder, table: Table, dtype: str, places: int, kept: Kept = all_of_them) -> Logits:
    """Logits of every feature in eval mode, shape (features, ...), float32; -inf where there is no token.

    The batches are sorted by length and depend on the split and `places` alone, so equal weights give
    equal bits.

    Args:
        encoder: the model.
        table: the features.
        dtype: number format of the forward pass.
        places: padded tokens of one batch at most.
        kept: (logits, labels) -> what is needed of a batch's logits (`Task.kept`).
    """
    encoder.model.eval()
    found: torch.Tensor | None = None
    with torch.inference_mode():
        for rows in table.by_length(places):
            batch = table.batch(rows)
            with autocast(encoder.device, dtype):
                logits = encoder.forward(batch).float()
            logits = kept(logits if encoder.pooled else without_padding(logits, batch), batch.labels)
            if found is None:
                found = logits.new_full((len(table), *logits.shape[1:]), -math.inf)
            found[batch.rows, : logits.shape[1]] = logits  # the longest batch came first
    if found is None:
        return np.zeros((0, int(encoder.config.num_labels)), dtype=np.float32)
    return found.cpu().numpy()


def without_padding(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Logits of tokens, (batch, sequence, ...), with -inf where there is no token: padding is no answer."""
    if batch.attention_mask is None or batch.asked is not None:  # what was asked for is no padding
        return logits
    return logits.masked_fill(~batch.attention_mask[:, :, None], -math.inf)


def mean_loss(task: Task, logits: Logits, labels: IntArray) -> float:
    """The task's plain mean loss, without class weights so that trials compare."""
    return float(task.mean_loss(torch.from_numpy(logits), torch.from_numpy(labels)))


def measure(
    task: Task,
    split: Split,
    logits: Logits,
    config: TrialConfig,
    name: str,
    positive: int | None,
    groups: bool = False,
) -> tuple[MetricValue, ...]:
    """Loss and all metrics of the task's output, overall and, if asked, per group.

    A metric that is not defined on these rows (NaN, such as MCC of a single class) is left out; the
    loss is always there, finite or not.
    """
    predictions = task.decode(logits, split.features, split.examples, config)
    references = task.references(split.examples)
    found = []
    for group, examples, features in _parts(split, groups):
        values = evaluate(
            task.output,
            _picked(predictions, examples),
            _picked(references, examples),
            positive=positive,
            num_labels=len(split.examples.label_names),
        )
        loss = mean_loss(task, logits[features], split.features.labels[features])
        found.append(MetricValue(name, "loss", loss, group))
        found += [MetricValue(name, metric, value, group) for metric, value in values.items() if math.isfinite(value)]
    return tuple(found)


def _parts(split: Split, groups: bool) -> Iterator[tuple[str, IntArray, IntArray]]:
    """Group name, its examples and its features: all of them first, under the empty name."""
    yield "", np.arange(len(split.examples)), np.arange(len(split.features))
    if groups and split.examples.groups:
        of_example = np.asarray(split.examples.groups)
        for group in sorted(set(split.examples.groups)):
            of_group = of_example == group
            yield group, np.flatnonzero(of_group), np.flatnonzero(of_group[split.features.example])


def _picked(values: Values, index: IntArray) -> Values:
    return values[index] if isinstance(values, np.ndarray) else [values[i] for i in index.tolist()]

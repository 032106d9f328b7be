"""Shapes of trials: what decides the cost of a step, and which of a study's shapes are worth measuring."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from harness.configuration import TrialConfig
from harness.devices import resolve_dtype
from harness.encoder import Encoder


class Kind(NamedTuple):
    """What shapes have in common whose steps follow one law: the model, what of it runs, and in which numbers."""

    model: str
    freeze: str
    cut: int | None
    dtype: str
    frozen_mode: str


class Shape(NamedTuple):
    """A kind, and the size of its batches."""

    kind: Kind
    batch_size: int
    gradient_accumulation: int
    max_length: int

    @property
    def places(self) -> int:
        """Tokens of one forward pass at most."""
        return self.batch_size * self.max_length


def shape_of(encoder: Encoder, config: TrialConfig, epoch: int, cut: int | None) -> Shape:
    """The shape of one epoch of a trial, which runs from `cut`."""
    freeze = frozen_in(config.freeze, epoch, encoder.layers)
    kind = Kind(config.model, freeze, cut, resolve_dtype(config.dtype, encoder.device), config.frozen_mode)
    return Shape(kind, config.batch_size, config.gradient_accumulation, config.max_length)


def frozen_in(freeze: str, epoch: int, layers: int) -> str:
    """What `freeze` says of one epoch, as a word for a whole trial: `gradual` thaws one more layer an epoch."""
    if freeze != "gradual":
        return freeze
    trained = epoch - 1
    if trained == 0:
        return "head"
    if trained < layers:
        return f"top-{trained}"
    return "embeddings" if trained == layers else "none"


def choose(shapes: Sequence[Shape], most: int) -> list[Shape]:
    """At most so many shapes to measure, or one a model: of each kind the largest, then the smallest, then the others.

    Where not all kinds have a place, a model's first ones have it; the order is that of the study.
    """
    kinds: dict[Kind, list[Shape]] = {}
    for shape in dict.fromkeys(shapes):
        kinds.setdefault(shape.kind, []).append(shape)
    of_model: dict[str, int] = {}
    ranked = []
    for kind, members in kinds.items():
        place = of_model[kind.model] = of_model.get(kind.model, -1) + 1
        ordered = sorted(members, key=lambda shape: -shape.places)
        ranked += [((turn, place), shape) for turn, shape in enumerate([ordered[0], *ordered[:0:-1]])]
    ranked.sort(key=lambda entry: entry[0])
    return [shape for _, shape in ranked[: max(most, len(of_model))]]

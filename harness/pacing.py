"""How fast a shape's steps are: as measured, or derived from other shapes of the same model.

A shape of a measured kind follows the law of that kind, by the passes, rows and tokens of its steps. Where its kind was
not measured, it lies between the kinds that need more and fewer floating-point operations, in proportion to these.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from harness.freezing import frozen
from harness.loading import Loaded
from harness.profiling import training_flops
from harness.rehearsal import Law, Measured, fit
from harness.shapes import Kind, Shape

NOTHING_RAN = Measured(np.zeros((0, 5)), np.zeros(0), 0.0, 0.0, 0.0, 0.0, 0)  # not one shape of a model fitted


@dataclass(frozen=True)
class Tried:
    """A shape that was measured: with batches of how many rows; None and nothing where not even one row fitted."""

    measured: Measured | None
    batch_size: int | None


@dataclass(frozen=True)
class Pace:
    """How fast a shape is taken to be.

    Attributes:
        kind: measured, that its evaluation is taken from.
        near: a measurement of it.
        law: of its steps.
        peak: bytes, where it was measured itself.
    """

    kind: Kind
    near: Measured
    law: Law
    peak: int | None


def pace_of(shape: Shape, all_tried: Mapping[Shape, Tried], loaded: Loaded) -> Pace:
    """The pace of a shape, from its own measurement or from those of others of its model."""
    own = all_tried.get(shape)
    if own is not None and own.measured is not None:
        return _pace_of(shape.kind, [own.measured], own.measured.peak_memory_bytes)
    kinds: dict[Kind, list[Measured]] = {}
    for other, tried in all_tried.items():
        if tried.measured is not None and other.kind.model == shape.kind.model:
            kinds.setdefault(other.kind, []).append(tried.measured)
    if shape.kind in kinds:
        return _pace_of(shape.kind, kinds[shape.kind])
    costs = {kind: _flops(kind, loaded) for kind in kinds}
    mine = _flops(shape.kind, loaded)
    above = min((kind for kind in kinds if costs[kind] >= mine), key=lambda k: costs[k], default=None)
    below = max((kind for kind in kinds if costs[kind] < mine), key=lambda k: costs[k], default=None)
    near = above or below
    if near is None:
        return Pace(shape.kind, NOTHING_RAN, Law((0.0,) * 5), None)
    pace = _pace_of(near, kinds[near])
    if above is None or below is None:
        return pace
    share = (mine - costs[below]) / (costs[above] - costs[below])
    return replace(pace, law=_pace_of(below, kinds[below]).law.blend(pace.law, share))


def _pace_of(kind: Kind, measured: Sequence[Measured], peak: int | None = None) -> Pace:
    work, seconds = (np.concatenate(parts) for parts in zip(*(each[:2] for each in measured), strict=True))
    return Pace(kind, measured[0], fit(work, seconds), peak)


def starts_from_vectors(kind: Kind, loaded: Loaded) -> bool:
    """Whether a step starts from one vector for each row, above the layers."""
    return kind.cut is not None and loaded.encoder.is_vector(kind.cut)


def _flops(kind: Kind, loaded: Loaded) -> float:
    """Of a step with one row of one token: what orders the kinds of a model."""
    encoder = loaded.encoder
    fixed = frozen(encoder.parameters, kind.freeze, 1, 1, encoder.layers)
    trained = {p.name for p in encoder.parameters} - fixed
    spared = 0 if kind.cut is None else min(kind.cut, encoder.layers)
    return training_flops(encoder.config, encoder.parameters, trained, np.array([1]), spared)

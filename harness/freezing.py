"""Freezing strategies: which parameters stay fixed in which epoch.

Pure functions over parameter descriptions. Applying the answer to a model is `encoder.py`'s work.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from harness.errors import SpecError

Part = Literal["embeddings", "layer", "pooler", "head", "classifier"]


class ParameterInfo(NamedTuple):
    """Where one parameter lies: its name, its part of the model, and the layer's number from below."""

    name: str
    part: Part
    layer: int | None = None


class Moment(NamedTuple):
    """What a strategy may look at: the epoch (from 1), the trial's epochs, the model's layers, and K of `top-K`."""

    epoch: int
    epochs: int
    layers: int
    top: int


Strategy = Callable[[Sequence[ParameterInfo], Moment], set[str]]
_STRATEGIES: dict[str, Strategy] = {}


def freezing_strategy(function: Strategy) -> Strategy:
    """Register a strategy under its name; a name that ends in `_k` takes a number: `top_k` is `top-K`."""
    name = re.sub(r"-k$", "-K", function.__name__.replace("_", "-"))
    _STRATEGIES[name] = function
    return function


def words() -> dict[str, str]:
    """Every word that `freeze` takes, with the first line of its documentation."""
    return {name: (function.__doc__ or "").strip().splitlines()[0] for name, function in _STRATEGIES.items()}


@freezing_strategy
def none(parameters: Sequence[ParameterInfo], moment: Moment) -> set[str]:
    """Everything trains."""
    return set()


@freezing_strategy
def embeddings(parameters: Sequence[ParameterInfo], moment: Moment) -> set[str]:
    """The embeddings are frozen; all layers, pooler and classifier train."""
    return {p.name for p in parameters if p.part == "embeddings"}


@freezing_strategy
def top_k(parameters: Sequence[ParameterInfo], moment: Moment) -> set[str]:
    """The K top layers, pooler and classifier train; the embeddings and the layers below are frozen.

    References: Lee, Tang and Lin, "What Would Elsa Do?", 2019, arXiv:1911.03090
    """
    return _below(parameters, moment.layers - moment.top)


@freezing_strategy
def head(parameters: Sequence[ParameterInfo], moment: Moment) -> set[str]:
    """Pooler and classifier train (DistilBERT: pre_classifier and classifier); the encoder is frozen."""
    return _below(parameters, moment.layers)


@freezing_strategy
def classifier(parameters: Sequence[ParameterInfo], moment: Moment) -> set[str]:
    """Only the last linear layer trains."""
    return {p.name for p in parameters if p.part != "classifier"}


@freezing_strategy
def gradual(parameters: Sequence[ParameterInfo], moment: Moment) -> set[str]:
    """One more layer trains each epoch, from the top: the head first, then the top layer too, the embeddings last.

    The embeddings join one epoch after the lowest layer, so a trial shorter than layers + 2 epochs
    never trains them.

    References: Howard and Ruder, "Universal Language Model Fine-tuning", 2018, arXiv:1801.06146
    """
    trained = moment.epoch - 1
    return set() if trained > moment.layers else _below(parameters, moment.layers - trained)


def _below(parameters: Sequence[ParameterInfo], layers: int) -> set[str]:
    """Names of the embeddings and of the first `layers` layers."""
    return {
        p.name
        for p in parameters
        if p.part == "embeddings" or (p.part == "layer" and p.layer is not None and p.layer < layers)
    }


class Freezing(NamedTuple):
    """A parsed `freeze`: the strategy's word and K where the word has one (0 elsewhere)."""

    word: str
    top: int


def parse(text: str) -> Freezing:
    """Read a value of `freeze`.

    Raises:
        SpecError: naming the value and every word that is allowed.
    """
    if text in _STRATEGIES and not text.endswith("-K"):
        return Freezing(text, 0)
    matched = re.fullmatch(r"(.+)-([1-9][0-9]*)", text)
    if matched and f"{matched[1]}-K" in _STRATEGIES:
        return Freezing(f"{matched[1]}-K", int(matched[2]))
    raise SpecError(f"freeze must be one of {', '.join(_STRATEGIES)} (K from 1), got {text!r}")


def frozen(parameters: Sequence[ParameterInfo], freeze: str, epoch: int, epochs: int, layers: int) -> set[str]:
    """Names of the parameters that stay fixed during one epoch.

    Args:
        parameters: every parameter of the model.
        freeze: a value that `parse` accepts.
        epoch: counted from 1.
        epochs: epochs of the trial.
        layers: layers of the model; of shared layers (ALBERT) their groups are counted.

    Raises:
        SpecError: for an unknown word, or for more layers than the model has.
    """
    word, top = parse(freeze)
    if top > layers:
        words = f"freeze: {freeze} asks for {top} layers, but this model has {layers}; embeddings trains all of them"
        raise SpecError(words)
    return _STRATEGIES[word](parameters, Moment(epoch, epochs, layers, top))


def cut(parameters: Sequence[ParameterInfo], fixed: set[str], layers: int) -> int | None:
    """How far the frozen prefix of a model reaches: the highest place below which nothing trains.

    Args:
        parameters: every parameter of the model.
        fixed: names of those that stay fixed, as `frozen` gives them.
        layers: layers of the model.

    Returns:
        0 above the embeddings, k above k layers, `layers` below the pooler, `layers + 1` right below the last
        linear layer; None when the embeddings train.
    """
    lowest = min((_stage(p, layers) for p in parameters if p.name not in fixed), default=layers + 2)
    return lowest - 1 if lowest else None


def _stage(parameter: ParameterInfo, layers: int) -> int:
    """Number of the stage from below: embeddings 0, then the layers, pooler and head, and the classifier last."""
    if parameter.part == "layer":
        assert parameter.layer is not None
        return parameter.layer + 1
    return {"embeddings": 0, "pooler": layers + 1, "head": layers + 1, "classifier": layers + 2}[parameter.part]

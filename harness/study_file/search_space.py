"""Search dimensions: lists of values and ranges of numbers, for every searchable hyperparameter."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from typing import Annotated, Any

import pydantic
from pydantic import AfterValidator, Discriminator, Field, GetPydanticSchema, Tag

from harness.configuration import hyperparameters
from harness.study_file.values import MARK, TYPES, VALUE_TYPES, Section, Values, built, refuse, values_model
from harness.yaml_reader import shown


@dataclasses.dataclass(frozen=True, slots=True)
class Choice:
    """A dimension of the search with listed values."""

    values: tuple[Any, ...]

    def written(self) -> Any:
        """As a study file writes it."""
        return list(self.values)


@dataclasses.dataclass(frozen=True, slots=True)
class Range:
    """A numeric dimension of the search, both ends included.

    Attributes:
        log: sampled uniformly in the logarithm.
        step: distance of neighbouring values counted from `low`; None is continuous, for integers 1.
        integer: values are whole numbers.
    """

    low: float
    high: float
    log: bool = False
    step: float | None = None
    integer: bool = False

    def written(self) -> Any:
        """As a study file writes it, options at their defaults left out."""
        written: dict[str, Any] = {"low": self.low, "high": self.high}
        return written | ({"log": True} if self.log else {}) | ({"step": self.step} if self.step is not None else {})

    @property
    def continuous(self) -> bool:
        """No list of its values can be made."""
        return self.log or (self.step is None and not self.integer)


def as_mapping(model: type[Values]) -> GetPydanticSchema:
    """Annotates a Mapping: validated by `model`, stored as the plain dict of what was given."""
    return built(model, lambda values: values.given(), written)


def written(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values and dimensions as a study file writes them."""
    return {k: v.written() if isinstance(v, Choice | Range) else v for k, v in values.items()}


def _shape(given: Any) -> str | None:
    if isinstance(given, list):
        return MARK + "list"
    return MARK + "range" if isinstance(given, dict) else None


def _choice(values: list[Any]) -> Choice:
    for index, value in enumerate(values):
        if any(value == other and type(value) is type(other) for other in values[:index]):
            raise refuse(f"must name every value once, but {shown(value)} stands twice; take one out")
    return Choice(tuple(values))


def _range_model(name: str, number: Any, value: Any) -> Any:
    """{low, high, log, step} of a numeric hyperparameter; ends are checked as values are."""
    step = Annotated[number, Field(gt=0)]
    fields: dict[str, Any] = {
        "low": (value, Field(description="smallest value, included")),
        "high": (value, Field(description="largest value, included")),
        "log": (bool, Field(default=False, description="sample uniformly in the logarithm")),
        "step": (step, Field(default=None, description="distance of neighbouring values, counted from low")),
    }
    model = pydantic.create_model(f"{name}_range", __base__=Section, **fields)
    return Annotated[model, AfterValidator(lambda given: _range(given, number is int))]


def _range(given: Any, integer: bool) -> Range:
    if given.low >= given.high:
        raise refuse(f"must have low < high, got low {given.low!r} and high {given.high!r}; swap them or fix the value")
    if given.log and given.low <= 0:
        raise refuse(f"must have low > 0 for log: true, got {given.low!r}; raise low or leave log out")
    if given.log and given.step is not None:
        raise refuse("must have log or step, not both; leave one out")
    if given.step is not None and given.step > given.high - given.low:
        raise refuse(f"must have a step that fits between low and high, got {given.step!r}; make it smaller")
    return Range(given.low, given.high, given.log, given.step, integer)


def _numeric(annotation: Any) -> Any:
    parts = [part for part in typing.get_args(annotation) or (annotation,) if part is not type(None)]
    return parts[0] if parts[0] in (int, float) else None


def dimension_type(name: str) -> Any:
    """The pydantic type of one key under `search`: a list of values, for numbers also a range."""
    bounds: Any = VALUE_TYPES[name]
    several: Any = types.GenericAlias(list, (bounds,))
    listed: Any = Annotated[several, Field(min_length=1, max_length=1000), AfterValidator(_choice), Tag(MARK + "list")]
    number = _numeric(TYPES[name])
    if number is None:
        return listed
    if isinstance(bounds, types.UnionType) or typing.get_origin(bounds) is typing.Union:
        bounds = next(part for part in typing.get_args(bounds) if part is not type(None))
    ranged: Any = Annotated[_range_model(name, number, bounds), Tag(MARK + "range")]
    return Annotated[listed | ranged, Discriminator(_shape)]


Search = values_model(
    "Search",
    "Hyperparameters to search: a list of values, or {low, high, log, step} for a number.",
    {
        name: (dimension_type(name), Field(default=None, description=manners.doc))
        for name, (_, manners) in hyperparameters().items()
        if manners.searchable
    },
)


def finite(space: Mapping[str, Choice | Range]) -> bool:
    """The search has a last point: every dimension can be listed."""
    return not any(isinstance(dimension, Range) and dimension.continuous for dimension in space.values())


def listed_values(dimension: Choice | Range) -> tuple[Any, ...]:
    """Every value of a dimension that can be listed; the two ends of one that cannot."""
    if isinstance(dimension, Choice):
        return dimension.values
    if dimension.continuous:
        return (dimension.low, dimension.high)
    step = dimension.step or 1
    count = math.floor((dimension.high - dimension.low) / step + 1e-9) + 1
    values = (dimension.low + index * step for index in range(count))
    return tuple(int(value) if dimension.integer else value for value in values)

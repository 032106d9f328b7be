"""Hyperparameters as study files write them: fixed values, explicit configurations, search dimensions.

Everything is generated from the fields of `records.TrialConfig` and their manners: a new field is
validated, searched, completed by editors and documented without a line here.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

import pydantic
from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, GetPydanticSchema, Tag
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from harness.errors import SpecError
from harness.freezing import parse as parse_freeze
from harness.freezing import words as freeze_words
from harness.metrics import known as known_metrics
from harness.records import Hyperparameter, TrialConfig, hyperparameters
from harness.yaml_reader import shown

MARK = "|"
"""Opens the tags of unions in pydantic's locations, so that messages can leave them out."""


class Section(BaseModel):
    """A part of a study file: frozen, strict, no unknown keys; an empty key is an absent key."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, populate_by_name=False)

    @pydantic.model_validator(mode="before")
    @classmethod
    def _empty_is_absent(cls, given: Any) -> Any:
        return {k: v for k, v in given.items() if v is not None} if isinstance(given, dict) else given


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


def refuse(words: str) -> PydanticCustomError:
    """An error whose text follows the key in the message: "must be ...; remedy"."""
    return PydanticCustomError("harness", "{words}", {"words": words})


def nearest(word: str, known: Sequence[str]) -> str:
    """A remedy: the most similar known word, or all of them."""
    longer = [name for name in known if len(word) > 1 and name.startswith(word)]
    close = longer or difflib.get_close_matches(word, known, n=1)
    return f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"


# --- one value ------------------------------------------------------------------------------------


def metric_name(name: str) -> str:
    """Refuses a metric that nobody computes."""
    if name not in known_metrics():
        raise refuse(f"must be a known metric, got {shown(name)}; {nearest(name, known_metrics())}")
    return name


def model_name(name: str) -> str:
    """Refuses an empty name and an unknown builtin; whether the Hub has it is seen when a worker asks."""
    if not name.strip():
        raise refuse("must name a model; bert-base-uncased is usual")
    if name.startswith("builtin:") and name != "builtin:tiny":
        raise refuse(f"must be builtin:tiny, the only builtin model, a Hub id or a folder, got {shown(name)}")
    return name


def freeze_word(word: str) -> str:
    """Refuses what no freezing strategy is called."""
    try:
        parse_freeze(word)
    except SpecError:
        words = list(freeze_words())
        raise refuse(
            f"must be one of {', '.join(words)} (K from 1), got {shown(word)}; {_nearest_freeze(word, words)}"
        ) from None
    return word


def _nearest_freeze(word: str, words: list[str]) -> str:
    examples = [w.replace("-K", "-2") for w in words]
    return nearest(word.strip().lower(), examples) if difflib.get_close_matches(word, examples) else "top-2 is usual"


_RULES: Mapping[str, Callable[[str], str]] = {"model": model_name, "freeze": freeze_word, "metric": metric_name}


def value_type(name: str, annotation: Any, manners: Hyperparameter) -> Any:
    """The pydantic type of one value, from the dataclass field's type and its manners."""
    if isinstance(annotation, types.UnionType):
        inner = [value_type(name, part, manners) for part in typing.get_args(annotation) if part is not type(None)]
        return inner[0] | None
    if manners.choices:
        return Literal[manners.choices]
    if dataclasses.is_dataclass(annotation):
        return _nested(typing.cast(type, annotation))
    if annotation is str:
        return Annotated[str, AfterValidator(_RULES[name])] if name in _RULES else str
    lower: dict[str, Any] = (
        {"gt" if manners.exclusive_minimum else "ge": manners.minimum} if manners.minimum is not None else {}
    )
    upper: dict[str, Any] = {"le": manners.maximum} if manners.maximum is not None else {}
    return Annotated[annotation, Field(**lower, **upper)]


def _nested(kind: type) -> Any:
    """A small dataclass among the hyperparameters, as a section that becomes a plain dict; its numbers count."""
    hints = typing.get_type_hints(kind)
    counted = Hyperparameter("", minimum=1)
    fields: dict[str, Any] = {
        f.name: (value_type(f.name, hints[f.name], counted), f.default) for f in dataclasses.fields(kind)
    }
    model = pydantic.create_model(kind.__name__, __base__=Section, __doc__=kind.__doc__, **fields)
    return Annotated[model, AfterValidator(lambda section: section.model_dump())]


_TYPES = typing.get_type_hints(TrialConfig)
VALUE_TYPES = {name: value_type(name, _TYPES[name], manners) for name, (_, manners) in hyperparameters().items()}


# --- mappings of values ----------------------------------------------------------------------------


class _Values(BaseModel):
    """Hyperparameters by name. Here null is a value, where the hyperparameter has it."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    elsewhere: ClassVar[Mapping[str, str]] = {}

    def given(self) -> dict[str, Any]:
        """Only what was written, as plain values in the order of `records.TrialConfig`."""
        return {name: getattr(self, name) for name in type(self).model_fields if name in self.model_fields_set}


def _described(name: str) -> Any:
    field, manners = hyperparameters()[name]
    default = dataclasses.asdict(field.default) if dataclasses.is_dataclass(field.default) else field.default  # type: ignore[arg-type]
    return Field(default=default, description=manners.doc)


def _model(name: str, doc: str, names: Sequence[str], kinds: Mapping[str, Any]) -> type[_Values]:
    fields: dict[str, Any] = {key: (kinds[key], _described(key)) for key in names}
    return pydantic.create_model(name, __base__=_Values, __doc__=doc, **fields)


def built(model: type[BaseModel], make: Callable[[Any], Any], plain: Callable[[Any], Any]) -> GetPydanticSchema:
    """Annotates a plain type: validated by `model`, stored as `make` of it, dumped by `plain`."""

    def schema(_source: Any, handler: Callable[[Any], CoreSchema]) -> CoreSchema:
        dump = core_schema.plain_serializer_function_ser_schema(plain)
        return core_schema.no_info_after_validator_function(make, handler(model), serialization=dump)

    return GetPydanticSchema(schema)


def as_mapping(model: type[_Values]) -> GetPydanticSchema:
    """Annotates a Mapping: validated by `model`, stored as the plain dict of what was given."""
    return built(model, lambda values: values.given(), written)


def written(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values and dimensions as a study file writes them."""
    return {k: v.written() if isinstance(v, Choice | Range) else v for k, v in values.items()}


# --- search dimensions ------------------------------------------------------------------------------


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
    listed: Any = Annotated[several, Field(min_length=1), AfterValidator(_choice), Tag(MARK + "list")]
    number = _numeric(_TYPES[name])
    if number is None:
        return listed
    if isinstance(bounds, types.UnionType) or typing.get_origin(bounds) is typing.Union:
        bounds = next(part for part in typing.get_args(bounds) if part is not type(None))
    ranged: Any = Annotated[_range_model(name, number, bounds), Tag(MARK + "range")]
    return Annotated[listed | ranged, Discriminator(_shape)]


_NAMES = list(hyperparameters())
SEARCHABLE = [name for name, (_, manners) in hyperparameters().items() if manners.searchable]

Fixed = _model(
    "Fixed",
    "Hyperparameters that all trials share.",
    [name for name in _NAMES if name not in ("model", "frozen_mode")],
    VALUE_TYPES,
)
Configuration = _model("Configuration", "One trial, run as written; what it leaves out is fixed.", _NAMES, VALUE_TYPES)
Search = _model(
    "Search",
    "Hyperparameters to search: a list of values, or {low, high, log, step} for a number.",
    SEARCHABLE,
    {name: dimension_type(name) for name in SEARCHABLE},
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

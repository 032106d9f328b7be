"""Hyperparameters as study files write them: what a value may be, shared values, explicit configurations.

Everything is generated from the fields of `records.TrialConfig` and their manners: a new field is
validated, searched, completed by editors and documented without a line here.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

import pydantic
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, GetPydanticSchema
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from harness.configuration import Hyperparameter, TrialConfig, hyperparameters
from harness.errors import SpecError
from harness.freezing import parse as parse_freeze
from harness.freezing import words as freeze_words
from harness.metrics import known as known_metrics
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
    repository, revision = split_revision(name)
    if revision is not None and not re.fullmatch(r"[\w.-]+(/[\w.-]+)*", revision):
        raise refuse(f"must have a branch, tag or commit behind @, got {shown(name)}; {repository}@main, say")
    return name


def split_revision(name: str) -> tuple[str, str | None]:
    """A name on the Hub such as bert-base-uncased@main as repository and revision; None where none is asked for."""
    repository, mark, revision = name.partition("@")
    on_hub = re.fullmatch(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?", repository)
    return (repository, revision) if mark and on_hub else (name, None)


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


def completions(name: str) -> dict[str, Any]:
    """What an editor offers for a word with a rule of its own."""
    if name == "metric":
        return {"enum": list(known_metrics())}
    if name == "freeze":
        words = "|".join(freeze_words()).replace("-K", "-[1-9][0-9]*")
        return {"pattern": f"^({words})$", "examples": [word.replace("-K", "-2") for word in freeze_words()]}
    return {}


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
        if name not in _RULES:
            return str
        return Annotated[str, AfterValidator(_RULES[name]), Field(json_schema_extra=completions(name))]
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


TYPES = typing.get_type_hints(TrialConfig)
VALUE_TYPES = {name: value_type(name, TYPES[name], manners) for name, (_, manners) in hyperparameters().items()}


# --- mappings of values ----------------------------------------------------------------------------


class Values(BaseModel):
    """Hyperparameters by name. Here null is a value, where the hyperparameter has it."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    elsewhere: ClassVar[Mapping[str, str]] = {}

    def given(self) -> dict[str, Any]:
        """Only what was written, as plain values in the order of `records.TrialConfig`."""
        return {name: getattr(self, name) for name in type(self).model_fields if name in self.model_fields_set}


def _described(name: str) -> Any:
    field, manners = hyperparameters()[name]
    return Field(default=field.default, description=manners.doc)


def values_model(name: str, doc: str, fields: Mapping[str, tuple[Any, Any]]) -> type[Values]:
    """A model of hyperparameters by name, from (type, field) of each."""
    return pydantic.create_model(name, __base__=Values, __doc__=doc, **fields)  # type: ignore[call-overload,no-any-return]


def built(model: type[BaseModel], make: Callable[[Any], Any], plain: Callable[[Any], Any]) -> GetPydanticSchema:
    """Annotates a plain type: validated by `model`, stored as `make` of it, dumped by `plain`."""

    def schema(_source: Any, handler: Callable[[Any], CoreSchema]) -> CoreSchema:
        dump = core_schema.plain_serializer_function_ser_schema(plain)
        return core_schema.no_info_after_validator_function(make, handler(model), serialization=dump)

    return GetPydanticSchema(schema)


_DESCRIBED = {name: (kind, _described(name)) for name, kind in VALUE_TYPES.items()}

Fixed = values_model(
    "Fixed",
    "Hyperparameters that all trials share.",
    {name: field for name, field in _DESCRIBED.items() if name not in ("model", "frozen_mode")},
)
ADAPT: Mapping[str, Any] = {
    "epochs": 3,
    "batch_size": 32,
    "learning_rate": 5e-5,
    "max_length": 128,
    "weight_decay": 0.01,
    "warmup": 0.1,
    "lr_schedule": "linear",
    "dropout": None,
    "gradient_accumulation": 1,
    "dtype": "auto",
    "max_grad_norm": 1.0,
}
"""What pretraining further is told, and its defaults: those of a trial, with a larger batch and rate and a warm-up."""

Adapt = values_model(
    "Adapt",
    "How the encoder is pretrained further on the training texts, by masked language modelling, before the search.",
    {
        name: (VALUE_TYPES[name], Field(default=default, description=hyperparameters()[name][1].doc))
        for name, default in ADAPT.items()
    },
)
Configuration = values_model("Configuration", "One trial, run as written; what it leaves out is fixed.", _DESCRIBED)

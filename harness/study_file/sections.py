"""The sections of a study file as frozen models: data, budget, pruner, confirm, objective."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar

import pydantic
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    WithJsonSchema,
)
from pydantic_core import InitErrorDetails

from harness.configuration import Objective
from harness.metrics import direction, known
from harness.study_file.cross_checks import Fault, data_faults, split_faults
from harness.study_file.search_space import as_mapping
from harness.study_file.values import MARK, Configuration, Section, built, completions, metric_name, refuse
from harness.yaml_reader import shown

Model = TypeVar("Model", bound=BaseModel)

PRUNER_OPTIONS: Mapping[str, tuple[str, ...]] = {
    "none": (),
    "median": ("startup_trials", "warmup_epochs"),
    "hyperband": ("min_resource", "reduction_factor"),
    "patient": ("patience", "min_delta"),
    "wilcoxon": ("p_threshold", "startup_folds"),
}
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


# --- scalars with rules of their own ------------------------------------------------------------------


def study_name(name: str) -> str:
    """Refuses what is no name of a file on every system."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name) or name.endswith(".") or _DEVICES.fullmatch(name):
        shape = "letters, digits, '.', '_' and '-', at most 64, beginning with a letter or digit"
        raise refuse(f"must be {shape}, got {shown(name)}; imdb-five-models, say")
    return name


def seconds(given: Any) -> Any:
    """A duration such as 8h, 90m, 1h30m or a number of seconds, in seconds; anything else is refused."""
    if isinstance(given, int | float) and not isinstance(given, bool) and given > 0:
        return float(given)
    parts = re.fullmatch(r"(?:(\d{1,4})d)?(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,9})s)?", str(given).strip())
    total = (
        sum(int(n or 0) * unit for n, unit in zip(parts.groups(), (86400, 3600, 60, 1), strict=True)) if parts else 0
    )
    if total <= 0 or not isinstance(given, str):
        raise refuse(f"must be a duration such as 8h, 90m or 3600 (seconds), got {shown(given)}; 8h is a night")
    return float(total)


def clock(given: str) -> str:
    """Refuses what is no time of day."""
    if not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", given):
        raise refuse(f'must be a time of day as HH:MM, got {shown(given)}; "07:30", say')
    return given


def _label(given: Any) -> Any:
    if isinstance(given, bool) or not isinstance(given, int | str):
        raise refuse(f"must be a label as the data hold it, text or a whole number, got {shown(given)}")
    return given


def _amount(given: Any) -> str | None:
    kinds: tuple[tuple[Any, str], ...] = ((bool, ""), (int, "rows"), (float, "share"), ((dict, SplitSpec), "split"))
    return next((MARK + kind if kind else None for types, kind in kinds if isinstance(given, types)), None)


def _seed_shape(given: Any) -> str | None:
    kinds: tuple[tuple[Any, str], ...] = ((bool, ""), (int, "one"), (list, "several"))
    return next((MARK + kind if kind else None for types, kind in kinds if isinstance(given, types)), None)


def _distinct(seeds: list[int]) -> list[int]:
    if len(set(seeds)) < len(seeds):
        raise refuse(f"must name every seed once, got {shown(seeds)}; take one out")
    return seeds


def mapping_of(key: str, model: Any, words: Sequence[str]) -> BeforeValidator:
    """One of `words` alone stands for a mapping with that word under `key` of `model`."""
    allowed: Any = Literal[tuple(words)] | model
    return BeforeValidator(
        lambda given: {key: given} if isinstance(given, str) else given, json_schema_input_type=allowed
    )


def bare_word(given: Any) -> Any:
    """The mapping {name: word} stands for the word."""
    return given["name"] if isinstance(given, dict) and set(given) == {"name"} else given


_Name = Annotated[str, Field(min_length=1)]
_Rows = Annotated[int, Field(ge=1), Tag(MARK + "rows")]
_Share = Annotated[float, Field(gt=0, lt=1), Tag(MARK + "share")]
_Size = Annotated[_Rows | _Share, Discriminator(_amount)]
_OneSeed = Annotated[int, Field(ge=0, lt=2**31)]
_Seeds = Annotated[
    list[_OneSeed], Field(min_length=1, max_length=1000), AfterValidator(_distinct), Tag(MARK + "several")
]
Seed = Annotated[Annotated[_OneSeed, Tag(MARK + "one")] | _Seeds, Discriminator(_seed_shape)]
_DURATION = {"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "string", "pattern": "^([0-9]+[dhms])+$"}]}


def checked(model: Model, faults: Iterable[Fault]) -> Model:
    """The model itself, or one error that holds every fault with its place."""
    found = [InitErrorDetails(type=refuse(words), loc=path, input=None) for path, words in faults]
    if found:
        raise ValidationError.from_exception_data(type(model).__name__, found)
    return model


# --- data -------------------------------------------------------------------------------------------


class SplitSpec(Section):
    """Where a split comes from and how much of it is used."""

    split: _Name | None = Field(default=None, description="named split of the source; default the training split")
    size: _Size | None = Field(default=None, description="number of rows, or a share below 1; null takes all")
    stratify: bool = Field(default=True, description="keep the classes' shares; false: a plain shuffle")
    shuffle: bool = Field(
        default=True,
        description="draw the rows by the seed; false, with stratify: false, takes the first as they stand",
    )

    @pydantic.model_validator(mode="after")
    def _unshuffled_is_unstratified(self) -> SplitSpec:
        return checked(self, split_faults(self))


_Amount = Annotated[_Rows | _Share | Annotated[SplitSpec, Tag(MARK + "split")], Discriminator(_amount)]


class DataSpec(Section):
    """The data of a study and how they are split."""

    path: _Name = Field(description="Hub id, folder, parquet, csv, jsonl or SQuAD json file, or builtin:reviews")
    name: _Name | None = Field(default=None, description="configuration of a Hub data set")
    revision: _Name | None = Field(default=None, description="branch, tag or commit of a Hub data set; default newest")
    text: _Name = Field(default="text", description="column of the text")
    text_pair: _Name | None = Field(default=None, description="column of a second text, for tasks on pairs")
    label: _Name = Field(default="label", description="column of the label, text or numbers")
    positive: Annotated[int | str, BeforeValidator(_label)] | None = Field(
        default=None, description="class that binary f1, precision and recall speak of; default the highest label"
    )
    question: _Name = Field(default="question", description="question answering: column of the question")
    context: _Name = Field(default="context", description="question answering: column of the text to answer from")
    answers: _Name = Field(
        default="answers", description="question answering: column of the answers, as in SQuAD: text and answer_start"
    )
    id: _Name = Field(default="id", description="question answering: column of the question's id")
    unanswerable: bool = Field(
        default=False, description="question answering: questions may have no answer, as in SQuAD 2.0"
    )
    groups: _Name | None = Field(default=None, description="column such as language: every metric also by group")
    train: _Amount | None = Field(default=None, description="rows to train on: a number, share or split; default all")
    validation: _Amount = Field(default=0.1, description="rows to validate on: a number, share or split")
    test: _Amount | None = Field(
        default=None, description="rows that only the trials of confirm look at: a number, share or split"
    )
    folds: Annotated[int, Field(ge=2, le=100)] | None = Field(
        default=None, description="cross-validate with so many folds"
    )
    on_bad_row: Literal["error", "drop"] = Field(
        default="error",
        description="a row without text or label, or with an answer that its context lacks: refuse, or count and drop",
    )
    noise: Annotated[float, Field(ge=0, le=0.5)] | None = Field(
        default=None, description="builtin:reviews: share of wrong labels"
    )
    rows: Annotated[int, Field(ge=10, le=1_000_000)] | None = Field(
        default=None, description="builtin:reviews: rows made"
    )

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> DataSpec:
        return checked(self, data_faults(self))


# --- the night ----------------------------------------------------------------------------------------


class BudgetSpec(Section):
    """When a study is done; whatever is reached first."""

    trials: Annotated[int, Field(ge=1)] | None = Field(
        default=None,
        description="trials of the search: explicit ones, replicates and folds included; those of confirm come on top",
    )
    time: Annotated[float | None, BeforeValidator(seconds), WithJsonSchema(_DURATION)] = Field(
        default=None, description="duration such as 8h, 90m or seconds, summed over all runs of the study"
    )
    until: Annotated[str, AfterValidator(clock)] | None = Field(
        default=None, description='time of day, such as "07:30"'
    )

    @property
    def limitless(self) -> bool:
        """Nothing but an exhausted search ends the study."""
        return self.trials is None and self.time is None and self.until is None


class PrunerSpec(Section):
    """What stops a trial that will not become one of the best, or a configuration between its folds."""

    name: Literal["none", "median", "hyperband", "patient", "wilcoxon"] = Field(
        default="none", description="the pruner"
    )
    startup_trials: Annotated[int, Field(ge=0)] = Field(default=5, description="median: trials that are never pruned")
    warmup_epochs: Annotated[int, Field(ge=0)] = Field(default=1, description="median: epochs that are never pruned")
    min_resource: Annotated[int, Field(ge=1)] = Field(default=1, description="hyperband: epochs of the shortest trial")
    reduction_factor: Annotated[int, Field(ge=2)] = Field(default=3, description="hyperband: one in so many goes on")
    patience: Annotated[int, Field(ge=0)] = Field(default=2, description="patient: epochs without improvement")
    min_delta: Annotated[float, Field(ge=0)] = Field(default=0.0, description="patient: what counts as improvement")
    p_threshold: Annotated[float, Field(gt=0, lt=1)] = Field(
        default=0.1, description="wilcoxon: p below which a configuration gets no further folds"
    )
    startup_folds: Annotated[int, Field(ge=0)] = Field(
        default=2, description="wilcoxon: folds that every configuration gets"
    )

    @property
    def fewest_pairs(self) -> int:
        """Of folds, on which wilcoxon can prune: n pairs that all say worse have p = 1/2 to the n-th."""
        enough = math.floor(-math.log2(self.p_threshold) + 1e-12) + 1
        return max(2, self.startup_folds, enough)

    @pydantic.model_validator(mode="after")
    def _own_options(self) -> PrunerSpec:
        taken = ", ".join(PRUNER_OPTIONS[self.name]) or "no options"
        strange = self.model_fields_set - {"name", *PRUNER_OPTIONS[self.name]}
        words = f"is no option of {self.name}, which takes {taken}; take it out"
        return checked(self, (((key,), words) for key in sorted(strange)))


class ConfirmSpec(Section):
    """Which configurations are run again with more seeds once the search is over."""

    top: Annotated[int, Field(ge=1)] = Field(default=3, description="the best so many configurations")
    seeds: Annotated[int, Field(ge=2)] = Field(default=5, description="new seeds for each of them, the same for all")
    baseline: Annotated[Mapping[str, Any], as_mapping(Configuration)] | None = Field(
        default=None, description="a configuration to compare with, whatever its rank"
    )


class ObjectiveSpec(Section):
    """What is optimised."""

    metric: Annotated[str, AfterValidator(metric_name), Field(json_schema_extra=completions("metric"))] = Field(
        default="loss", description="a validation metric or a cost of the trial"
    )
    direction: Literal["minimize", "maximize"] | None = Field(
        default=None, description="default: the metric's own direction"
    )
    at: Literal["best", "last"] = Field(default="best", description="read at the best epoch or at the last")

    def objective(self) -> Objective:
        """With the metric's own direction where none is given."""
        return Objective(self.metric, self.direction or direction(self.metric), self.at)


_AS_OBJECTIVE = built(ObjectiveSpec, ObjectiveSpec.objective, dataclasses.asdict)
ObjectiveField = Annotated[Objective, _AS_OBJECTIVE, mapping_of("metric", ObjectiveSpec, known())]

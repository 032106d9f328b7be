"""Runs made elsewhere, as a document states them: read from YAML, checked, never run.

A figure that a source does not state is left out, and nothing takes its place.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import pydantic
from pydantic import AfterValidator, Field

from harness.configuration import Objective, fingerprint
from harness.errors import SpecError
from harness.metrics import costs, direction, known
from harness.study_file.explanations import explain, keys_at
from harness.study_file.search_space import as_mapping
from harness.study_file.sections import study_name
from harness.study_file.values import Configuration, Section, metric_name, nearest, refuse
from harness.yaml_reader import MAX_BYTES, read_yaml, write_yaml

Task = Literal["sequence-classification", "question-answering"]
Value = Annotated[float, Field(allow_inf_nan=False)] | Literal["nan", "inf", "-inf"]


class Figure(NamedTuple):
    """A figure of one epoch of a run."""

    epoch: int
    split: str
    name: str
    value: float


def place_of(figure: str) -> tuple[str, str]:
    """Split and metric that a figure's name speaks of: train_loss, validation_loss, accuracy, train_accuracy.

    Raises:
        PydanticCustomError: when nobody computes such a metric.
    """
    split, _, name = figure.partition("_")
    if split not in ("train", "validation") or figure in known():
        split, name = "validation", figure
    measured = [each for each in known() if each not in costs()]
    if name not in measured or figure == "loss":
        names = ["train_loss", "validation_loss", *(each for each in measured if each != "loss")]
        raise refuse(f"must be named after a figure, got {figure!r}; {nearest(figure, names)}")
    return split, name


def _figure_names(given: Mapping[str, Any]) -> Mapping[str, Any]:
    for name in given:
        place_of(name)
    return given


class PublishedRun(Section):
    """One run as its source states it."""

    name: Annotated[str, Field(min_length=1, max_length=200)] = Field(description="what the source calls it")
    config: Annotated[Mapping[str, Any], as_mapping(Configuration)] = Field(
        default_factory=dict, description="hyperparameters that the source states"
    )
    by_epoch: Annotated[dict[str, list[Value | None]], AfterValidator(_figure_names)] = Field(
        default_factory=dict, description="figure -> one value an epoch, null where the source has none"
    )
    at_end: Annotated[dict[str, Value], AfterValidator(_figure_names)] = Field(
        default_factory=dict, description="figure -> value of the finished run, stated without an epoch"
    )
    seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = Field(
        default=None, description="wall clock of the run"
    )
    note: str = Field(default="", description="what a reader must know of it")


class PublishedData(Section):
    """What the runs were trained and judged on."""

    name: str = Field(default="", description="the data set")
    train: Annotated[int, Field(ge=1)] | None = Field(default=None, description="training rows")
    validation: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="rows that the figures were measured on; shares are compared by them"
    )
    positive: str | None = Field(default=None, description="label that f1, precision and recall speak of")


class PublishedSpec(Section):
    """A table of published runs, which becomes a study that nobody here has run."""

    published: Annotated[str, AfterValidator(study_name)] = Field(description="name in results.db and below reports/")
    source: Annotated[str, Field(min_length=1)] = Field(description="where the figures were read")
    task: Task = Field(default="sequence-classification", description="kind of fine-tuning")
    objective: Annotated[str, AfterValidator(metric_name)] = Field(
        default="loss", description="figure that tells the best epoch"
    )
    data: PublishedData = Field(default_factory=lambda: PublishedData(), description="the data")
    beside: list[str] = Field(default_factory=list, description="studies of one's own whose reports show these runs")
    fixed: Annotated[Mapping[str, Any], as_mapping(Configuration)] = Field(
        default_factory=dict, description="hyperparameters that all runs share"
    )
    runs: Annotated[list[PublishedRun], Field(min_length=1, max_length=10_000)] = Field(description="the runs")

    @property
    def goal(self) -> Objective:
        """The objective, in the metric's own direction."""
        return Objective(self.objective, direction(self.objective))

    def stated(self, run: PublishedRun) -> dict[str, Any]:
        """Every hyperparameter of a run that the source states."""
        return {**self.fixed, **run.config}

    def content(self) -> dict[str, Any]:
        """Everything as plain JSON values."""
        return self.model_dump(mode="json")


@dataclass(frozen=True)
class PublishedFile:
    """Published runs, the text that says them, and its fingerprint."""

    spec: PublishedSpec
    text: str

    @property
    def fingerprint(self) -> str:
        """Identity of everything that the text says."""
        return fingerprint(self.spec.content())


def figures(run: PublishedRun, epochs: int | None) -> Iterator[Figure]:
    """Every figure with its epoch; what stands without one is the last epoch's, or the first's where none is known."""
    for name, values in run.by_epoch.items():
        for epoch, value in enumerate(values, start=1):
            if value is not None:
                yield Figure(epoch, *place_of(name), float(value))
    last = last_epoch(run, epochs)
    for name, value in run.at_end.items():
        yield Figure(last, *place_of(name), float(value))


def last_epoch(run: PublishedRun, epochs: int | None) -> int:
    """The last epoch that a source speaks of."""
    return max(epochs or 1, *(len(values) for values in run.by_epoch.values()), 1)


def is_published(text: str) -> bool:
    """Whether a YAML text opens a table of published runs and no study file."""
    return any(line.startswith("published:") for line in text.splitlines())


# --- reading ----------------------------------------------------------------------------------------------


def parse_published(text: str, name: str) -> PublishedFile:
    """Published runs from YAML.

    Raises:
        SpecError: naming file, line, key and remedy.
    """
    document = read_yaml(text, name)
    if not isinstance(document.value, dict):
        raise SpecError(f"{name}:1: holds no keys; begin with `published: NAME` and `source: WHERE THE FIGURES STAND`")

    def place(path: tuple[str | int, ...]) -> str:
        known_lines = [path[:length] for length in range(len(path), -1, -1) if path[:length] in document.lines]
        return f"{name}:{document.lines[known_lines[0]]}" if known_lines else name

    try:
        return PublishedFile(checked_spec(document.value), text)
    except pydantic.ValidationError as error:
        schema = PublishedSpec.model_json_schema()
        raise explain(error, place, lambda path: keys_at(schema, path)) from None


def checked_spec(values: Mapping[str, Any]) -> PublishedSpec:
    """The values as published runs, with what no single key can tell.

    Raises:
        SpecError: for a run without a model or a figure, a name twice, or two statements of one figure.
        ValidationError: for a key or value that no table of runs has.
    """
    spec = PublishedSpec.model_validate(dict(values))
    seen: set[str] = set()
    for run in spec.runs:
        where = f"run {run.name!r} of {spec.published}"
        if run.name in seen:
            raise SpecError(f"{where} is there twice; give each run a name of its own")
        seen.add(run.name)
        stated = spec.stated(run)
        if "model" not in stated:
            raise SpecError(f"{where} names no model; state it under `config` or `fixed`, or with --model")
        found = list(figures(run, stated.get("epochs")))
        if not found:
            raise SpecError(f"{where} has no figure; give it `by_epoch` or `at_end`")
        if len({each[:3] for each in found}) < len(found):
            raise SpecError(f"{where} states a figure of one epoch twice; leave it out of `at_end`")
        length = max((len(values) for values in run.by_epoch.values()), default=0)
        if stated.get("epochs") is not None and length > stated["epochs"]:
            raise SpecError(f"{where} has figures of {length} epochs and states {stated['epochs']}; mend one of them")
    return spec


def of_values(values: Mapping[str, Any], name: str) -> PublishedFile:
    """Published runs from values that were read elsewhere; the text is what a file of them would say.

    Raises:
        SpecError: naming what does not fit.
    """
    try:
        spec = checked_spec(values)
    except pydantic.ValidationError as error:
        schema = PublishedSpec.model_json_schema()
        raise explain(error, lambda path: name, lambda path: keys_at(schema, path)) from None
    return PublishedFile(spec, write_yaml(dict(values)))


def read_text(path: Path) -> str:
    """The text of a table.

    Raises:
        SpecError: when it cannot be read as UTF-8 text, or is too large.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise SpecError(f"{path}: is larger than {MAX_BYTES:,} bytes; import its runs in parts")
        return content.decode("utf-8-sig")
    except (OSError, ValueError) as error:
        raise SpecError(f"{path}: cannot be read as UTF-8 text: {error}") from None


def measured(value: float) -> float | str:
    """A number as a table of published runs says it, where a non-finite one is a word."""
    if math.isfinite(value):
        return value
    return "nan" if math.isnan(value) else ("inf" if value > 0 else "-inf")

"""Runs made elsewhere, as a document or a table states them: read from YAML or CSV, checked, never run.

A figure that a source does not state is left out, and nothing takes its place.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import pydantic
from pydantic import AfterValidator, Field

from harness.configuration import Objective, fingerprint, hyperparameters
from harness.errors import SpecError
from harness.metrics import costs, direction, known
from harness.study_file.explanations import explain, keys_at
from harness.study_file.search_space import as_mapping
from harness.study_file.sections import study_name
from harness.study_file.values import Configuration, Section, metric_name, nearest, refuse
from harness.yaml_reader import MAX_BYTES, plain_scalar, read_yaml, write_yaml

Task = Literal["sequence-classification", "question-answering"]
Value = Annotated[float, Field(allow_inf_nan=False)] | Literal["nan", "inf", "-inf"]
CSV_COLUMNS = ("run", "epoch", "note", "seconds")
"""Columns of a table of runs beside hyperparameters and figures."""


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


# --- a table with one row an epoch ------------------------------------------------------------------------


def runs_of_csv(text: str, name: str) -> list[dict[str, Any]]:
    """The runs of a table with one row an epoch: columns run, epoch, hyperparameters, figures, note and seconds.

    Raises:
        SpecError: naming file, line, column and remedy.
    """
    reader = csv.DictReader(io.StringIO(text), strict=True)
    try:
        columns = list(reader.fieldnames or ())
        _check_columns(columns, name)
        runs: dict[str, dict[str, Any]] = {}
        for row in reader:
            _take(runs, row, columns, f"{name}:{reader.line_num}")
    except csv.Error as error:
        raise SpecError(f"{name}:{reader.line_num}: is no table with commas: {error}") from None
    return list(runs.values())


def _check_columns(columns: Sequence[str], name: str) -> None:
    if "run" not in columns:
        raise SpecError(f"{name}:1: has no column `run`; its columns are {', '.join(columns) or 'none'}")
    if len(set(columns)) < len(columns):
        raise SpecError(f"{name}:1: names a column twice; give each a name of its own")
    for column in columns:
        if column not in CSV_COLUMNS and column not in hyperparameters():
            try:
                place_of(column)
            except ValueError as error:
                takes = f"a table takes {', '.join(CSV_COLUMNS)}, hyperparameters and figures"
                raise SpecError(f"{name}:1: column {column} {error}; {takes}") from None


def _take(runs: dict[str, dict[str, Any]], row: Mapping[str, Any], columns: Sequence[str], where: str) -> None:
    """Add one row to the run that it is of; a cell that is empty states nothing."""
    if None in row or any(row[column] is None for column in columns):
        raise SpecError(f"{where}: has not as many cells as the table has columns, {len(columns)}")
    cells = {column: row[column].strip() for column in columns if row[column].strip()}
    if "run" not in cells:
        raise SpecError(f"{where}: names no run; write its name into the column `run`")
    run = runs.setdefault(cells["run"], {"name": cells["run"], "config": {}, "by_epoch": {}, "at_end": {}})
    epoch = _whole(cells["epoch"], where) if "epoch" in cells else None
    for column, cell in cells.items():
        if column in hyperparameters():
            _agree(run["config"], column, _scalar(cell), where)
        elif column in ("note", "seconds"):
            _agree(run, column, cell if column == "note" else _number(cell, column, where), where)
        elif column not in CSV_COLUMNS:
            _place(run, column, epoch, _number(cell, column, where), where)


def _place(run: dict[str, Any], column: str, epoch: int | None, value: float | str, where: str) -> None:
    if epoch is None:
        _agree(run["at_end"], column, value, where)
        return
    values = run["by_epoch"].setdefault(column, [])
    values += [None] * (epoch - len(values))
    if values[epoch - 1] is not None:
        raise SpecError(f"{where}: epoch {epoch} of {run['name']} has a {column} already; keep one of the two rows")
    values[epoch - 1] = value


def _agree(values: dict[str, Any], key: str, value: Any, where: str) -> None:
    if values.setdefault(key, value) != value:
        raise SpecError(f"{where}: {key} is {value!r} here and {values[key]!r} in a row of the same run; mend one")


def _whole(cell: str, where: str) -> int:
    if not cell.isascii() or not cell.isdigit() or not 1 <= int(cell[:6]) <= 10_000 or len(cell) > 5:
        raise SpecError(f"{where}: epoch must be a whole number from 1 to 10,000, got {cell!r}")
    return int(cell)


def _scalar(cell: str) -> Any:
    try:
        return plain_scalar(cell)
    except ValueError:
        return cell  # the check of the values tells what is wrong with it


def _number(cell: str, column: str, where: str) -> float | str:
    try:
        return measured(float(cell))
    except ValueError:
        raise SpecError(f"{where}: {column} must be a number, got {cell!r}; leave out what is not known") from None


def measured(value: float) -> float | str:
    """A number as a table of published runs says it, where a non-finite one is a word."""
    if math.isfinite(value):
        return value
    return "nan" if math.isnan(value) else ("inf" if value > 0 else "-inf")

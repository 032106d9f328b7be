"""A table of published runs with one row an epoch, as CSV: columns run, epoch, hyperparameters, figures, note, seconds.

An empty cell states nothing; a row without an epoch holds what is stated of the finished run.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from harness.configuration import hyperparameters
from harness.errors import SpecError
from harness.published import measured, place_of
from harness.yaml_reader import plain_scalar

CSV_COLUMNS = ("run", "epoch", "note", "seconds")
"""Columns beside hyperparameters and figures."""


def runs_of_csv(text: str, name: str) -> list[dict[str, Any]]:
    """The runs of a table, in the order of their first rows.

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

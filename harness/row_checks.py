"""Reading rows: every text and label is checked before anything trains, and what is left out is counted.

Shared by the tasks. Splitting is data.py's work; nothing here draws a random number.
"""

from __future__ import annotations

import difflib
import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.errors import DataError
from harness.tasks.base import Examples

if TYPE_CHECKING:
    import pyarrow as pa

    from harness.spec import DataSpec

EMPTY_GROUP = "(empty)"  # in the record "" stands for all rows together


@dataclass
class BadRows:
    """Rows that cannot be used: the first is refused under `error`, all are counted under `drop`.

    Attributes:
        split: where the rows come from, for the messages.
        policy: `data.on_bad_row`, error or drop.
        reasons: row -> why it is left out; the first reason counts.
    """

    split: str
    policy: str
    reasons: dict[int, str] = field(default_factory=dict)
    _first: dict[str, str] = field(default_factory=dict)

    def add(self, row: int, reason: str, column: str, value: Any) -> None:
        """Note a row that cannot be used."""
        if row not in self.reasons:
            self.reasons[row] = reason
            self._first.setdefault(reason, f"row {row} (counted from 0): {reason} in column {column!r}: {shown(value)}")

    def settle(self) -> dict[str, int]:
        """Reason -> rows left out.

        Raises:
            DataError: under the policy `error`, with the first row of each reason and the number of rows.
        """
        counts = dict(Counter(self.reasons.values()))
        if counts and self.policy != "drop":
            found = "; ".join(f"{self._first[reason]} ({n} such row{'s' * (n > 1)})" for reason, n in counts.items())
            raise DataError(f"split {self.split!r}, {found}. Mend the rows, or write data.on_bad_row: drop")
        return counts


def shown(value: Any) -> str:
    """A value as an error message shows it, at most 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def column_values(table: pa.Table, column: str, key: str, split: str) -> list[Any]:
    """A column as plain Python values.

    Raises:
        DataError: when there is no such column, with those that there are.
    """
    if column not in table.column_names:
        near = difflib.get_close_matches(column, table.column_names, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise DataError(
            f"data.{key} is {column!r}, but split {split!r} has the columns {', '.join(table.column_names)}{hint}"
        )
    try:
        values: list[Any] = table.column(column).to_pylist()
    except (ValueError, OverflowError) as error:  # bytes that are no UTF-8, a date that no calendar has
        raise DataError(f"split {split!r}: column {column!r} cannot be read: {error}") from error
    return values


def read_texts(table: pa.Table, column: str, key: str, bad: BadRows, what: str = "text") -> list[str]:
    """The texts of a column; what is no text with at least one visible character is a bad row.

    Args:
        what: the field's word for such a text, for the reasons.
    """
    values = column_values(table, column, key, bad.split)
    for row, value in enumerate(values):
        if value is None:
            bad.add(row, f"missing {what}", column, value)
        elif not isinstance(value, str):
            bad.add(row, f"{what} that is no string", column, value)
        elif not value.strip():
            bad.add(row, f"empty {what}", column, value)
    return values


def read_groups(table: pa.Table, column: str, bad: BadRows) -> list[str]:
    """The group name of each row; a missing one is a bad row, an empty one has a name that no record confuses."""
    values = column_values(table, column, "groups", bad.split)
    for row, value in enumerate(values):
        if value is None:
            bad.add(row, "missing group", column, value)
    return [str(value).replace("\0", "") or EMPTY_GROUP for value in values]  # no database takes a NUL


def label_name(value: Any) -> str | None:
    """The one name of a label: 4, 4.0 and "4" are the class "4"; None when it is missing.

    Raises:
        ValueError: when it is neither a string nor a whole number nor a truth value.
    """
    if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return value.replace("\0", "").strip() or None  # no database takes a NUL
    raise ValueError(f"{value!r} is no label")


def class_names(table: pa.Table, column: str) -> tuple[str, ...] | None:
    """Names that a Hub data set declares for the numbers of a label column; None when it declares none."""
    metadata = table.schema.metadata or {}
    if b"huggingface" not in metadata:
        return None
    try:
        features = json.loads(metadata[b"huggingface"]).get("info", {}).get("features", {})
        declared = features.get(column)
    except (ValueError, AttributeError, RecursionError) as error:
        raise DataError(
            f"what the data say of their own columns (huggingface in the schema) is damaged: {error!r}; write them anew"
        ) from None
    names = declared.get("names") if isinstance(declared, dict) else None
    if names is None:
        return None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or len({*names}) < len(names):
        raise DataError(f"column {column!r} declares the class names {shown(names)}; each must be text, and stand once")
    return tuple(names)


def read_labels(table: pa.Table, column: str, bad: BadRows) -> list[str | None]:
    """The label name of each row, None where the row is bad; numbers with declared names get those."""
    values = column_values(table, column, "label", bad.split)
    declared = class_names(table, column)
    labels: list[str | None] = []
    for row, value in enumerate(values):
        label = None
        try:
            label = label_name(value)
        except ValueError:
            bad.add(row, "label that is neither a word nor a whole number", column, value)
        if label is None:
            bad.add(row, "missing label", column, value)
        elif declared and isinstance(value, int):
            label = declared[value] if 0 <= value < len(declared) else None
            if label is None:  # -1 is how the Hub marks rows whose labels are kept secret
                bad.add(row, "label outside the declared classes", column, value)
        labels.append(label)
    return labels


def sorted_names(names: set[str]) -> tuple[str, ...]:
    """Label names in the order of their ids: numbers by value, words by alphabet."""
    try:
        return tuple(sorted(names, key=int))
    except ValueError:
        return tuple(sorted(names))


def read_classification(
    table: pa.Table, data: DataSpec, *, split: str, label_names: tuple[str, ...] | None
) -> Examples:
    """Examples of all good rows of a split, in the order of the source.

    Args:
        table: the whole split.
        data: which columns to read, and the policy for bad rows.
        split: its name, for the messages.
        label_names: the mapping of the training split; None while reading the training split itself.

    Raises:
        DataError: for an absent column, for a bad row under the policy `error`, for a split that is left empty,
            for a training split with a single class.
    """
    bad = BadRows(split, data.on_bad_row)
    texts = read_texts(table, data.text, "text", bad)
    pairs = None if data.text_pair is None else read_texts(table, data.text_pair, "text_pair", bad)
    groups: Sequence[str] = () if data.groups is None else read_groups(table, data.groups, bad)
    labels = read_labels(table, data.label, bad)
    if label_names is None:
        found = {label for row, label in enumerate(labels) if label is not None and row not in bad.reasons}
        label_names = ordered_classes(found, class_names(table, data.label))
    ids = {name: i for i, name in enumerate(label_names)}
    for row, label in enumerate(labels):
        if label is not None and label not in ids:
            bad.add(row, f"label unknown in the training split ({', '.join(label_names)})", data.label, label)
    dropped = bad.settle()
    keep = np.array([row for row in range(len(texts)) if row not in bad.reasons], dtype=np.int64)
    check_split(len(keep), label_names, split, dropped)
    return Examples(
        rows=np.arange(len(texts), dtype=np.int64),
        texts=texts,
        pairs=pairs,
        labels=np.array([ids.get(label or "", -1) for label in labels], dtype=np.int64),
        label_names=label_names,
        groups=groups,
        dropped=dropped,
    ).take(keep)


def read_unlabelled(table: pa.Table, data: DataSpec, *, split: str) -> Examples:
    """Examples of all rows of a split with a text, whatever their labels; the arguments are `read_classification`'s.

    Raises:
        DataError: for an absent column, for a bad row under the policy `error`, for a split that is left empty.
    """
    bad = BadRows(split, data.on_bad_row)
    texts = read_texts(table, data.text, "text", bad)
    pairs = None if data.text_pair is None else read_texts(table, data.text_pair, "text_pair", bad)
    groups: Sequence[str] = () if data.groups is None else read_groups(table, data.groups, bad)
    dropped = bad.settle()
    keep = np.array([row for row in range(len(texts)) if row not in bad.reasons], dtype=np.int64)
    check_rows(len(keep), split, dropped)
    return Examples(
        rows=np.arange(len(texts), dtype=np.int64),
        texts=texts,
        pairs=pairs,
        labels=np.zeros(len(texts), dtype=np.int64),
        label_names=(),
        groups=groups,
        dropped=dropped,
    ).take(keep)


def ordered_classes(found: set[str], declared: tuple[str, ...] | None) -> tuple[str, ...]:
    """The classes found, in the declared order where there is one."""
    if declared is not None and found <= set(declared):
        return tuple(name for name in declared if name in found)
    return sorted_names(found)


def check_rows(rows: int, split: str, dropped: dict[str, int]) -> None:
    """Refuse a split without rows."""
    if rows == 0:
        why = "; ".join(f"{n} dropped: {reason}" for reason, n in dropped.items()) or "the source has none"
        raise DataError(f"split {split!r} has no rows left ({why})")


def check_split(rows: int, label_names: tuple[str, ...], split: str, dropped: dict[str, int]) -> None:
    """Refuse a split without rows, or a training split with fewer than two classes."""
    check_rows(rows, split, dropped)
    if len(label_names) < 2:
        raise DataError(
            f"split {split!r} has the single class {', '.join(label_names)!r}; classification needs at least two"
        )

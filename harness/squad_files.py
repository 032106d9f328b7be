"""SQuAD's own JSON files, versions 1.1 and 2.0, as one flat Arrow table with a row a question.

The columns are those of the Hub's copies of SQuAD. Only the shape is checked here; whether an answer lies where it
says is question_rows.py's work.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from harness.errors import DataError
from harness.strict_json import parse

ANSWERS = pa.struct([("text", pa.list_(pa.string())), ("answer_start", pa.list_(pa.int32()))])
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("title", pa.string()),
        ("context", pa.string()),
        ("question", pa.string()),
        ("answers", ANSWERS),
    ]
)
_KINDS = {str: "a text", int: "a whole number", bool: "true or false", list: "a list", dict: "an object"}
_INT32 = 2**31


def read_squad(path: Path) -> pa.Table:
    """The questions of a SQuAD file; `is_impossible` is a column where the file has it (version 2.0).

    Raises:
        DataError: for another kind of JSON, or a structure that is damaged, naming article, paragraph, question, key.
    """
    content = _read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get("data"), list):
        raise DataError(
            f'{path}: a .json file must be a SQuAD file, {{"version": ..., "data": [...]}}; save other rows as .jsonl '
            "(one object a line) or .parquet"
        )
    rows = [row for number, article in enumerate(content["data"]) for row in _article(path, number, article)]
    schema = SCHEMA
    if any("is_impossible" in row for row in rows):
        schema = SCHEMA.append(pa.field("is_impossible", pa.bool_()))
    return pa.Table.from_pylist(rows, schema=schema)


def read_mapping(path: Path, kind: str) -> dict[str, Any]:
    """A file of predictions or of null probabilities, {"id": value, ...}; the values are checked where they count.

    Args:
        kind: what a value should be, for the message.

    Raises:
        DataError: for a damaged file or another shape.
    """
    content = _read_json(path)
    if not isinstance(content, dict):
        raise DataError(f'{path}: must be one object, {{"id": {kind}, ...}}, got {_shown(content)}')
    return content


def _read_json(path: Path) -> Any:
    try:
        return parse(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 at byte {error.start}; save it as UTF-8") from error
    except json.JSONDecodeError as error:
        raise DataError(f"{path}, line {error.lineno}: not JSON: {error.msg}") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error


def _article(path: Path, number: int, article: Any) -> Iterator[dict[str, Any]]:
    place = f"{path}: article {number} (counted from 0)"
    title = _value(place, article, "title", str, default="")
    for index, paragraph in enumerate(_value(place, article, "paragraphs", list)):
        below = f"{place}, paragraph {index}"
        context = _value(below, paragraph, "context", str)
        for position, question in enumerate(_value(below, paragraph, "qas", list)):
            yield _question(f"{below}, question {position}", title, context, question)


def _question(place: str, title: str, context: str, question: Any) -> dict[str, Any]:
    answers = _value(place, question, "answers", list)
    texts, starts = [], []
    for index, answer in enumerate(answers):
        below = f"{place}, answer {index}"
        texts.append(_value(below, answer, "text", str))
        start = _value(below, answer, "answer_start", int)
        if not -_INT32 <= start < _INT32:
            raise DataError(f"{below}: 'answer_start' is {start}, which is no place in a text")
        starts.append(start)
    row = {
        "id": _value(place, question, "id", str),
        "title": title,
        "context": context,
        "question": _value(place, question, "question", str),
        "answers": {"text": texts, "answer_start": starts},
    }
    if "is_impossible" in question:
        row["is_impossible"] = _value(place, question, "is_impossible", bool)
    return row


def _value(place: str, holder: Any, key: str, kind: type, default: Any = None) -> Any:
    """The value of a key, of that type; an absent one is its default where it has one."""
    if not isinstance(holder, Mapping):
        raise DataError(f"{place} must be an object, got {_shown(holder)}")
    if key not in holder:
        if default is not None:
            return default
        raise DataError(f"{place} has no {key!r}; it has {', '.join(map(repr, holder)) or 'nothing'}")
    value = holder[key]
    if type(value) is not kind:  # true is no whole number here
        raise DataError(f"{place}: {key!r} must be {_KINDS[kind]}, got {_shown(value)}")
    return value


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."

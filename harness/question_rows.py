"""Reading questions: each question, context and answer is checked before anything trains, what is left out is counted.

The columns are those of SQuAD as the Hub has it. An answer has to stand in its context at the place that it names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.errors import DataError
from harness.row_checks import BadRows, check_rows, column_values, read_groups, read_texts, shown
from harness.tasks.base import Examples

if TYPE_CHECKING:
    import pyarrow as pa

    from harness.spec import DataSpec

IMPOSSIBLE = "is_impossible"  # version 2.0's own column, where the data have it
CLASSES = ("no answer", "answer")  # of data in which both occur
NO_ANSWER = "question without an answer (version 2.0 data? then write data.unanswerable: true)"


def read_questions(table: pa.Table, data: DataSpec, *, split: str) -> Examples:
    """Examples of all good rows of a split, in the order of the source.

    Texts are the questions, pairs the contexts, labels 1 where the question has an answer and 0 where it has none; the
    labels have names only where both may occur.
    `extra` holds "id", "answers" (the texts of an example's answers) and "starts" (where in the context each begins).

    Args:
        table: the whole split.
        data: which columns to read, whether questions may have no answer, and the policy for bad rows.
        split: its name, for the messages.

    Raises:
        DataError: for an absent column, for a bad row under the policy `error`, for a split that is left empty.
    """
    bad = BadRows(split, data.on_bad_row)
    questions = read_texts(table, data.question, "question", bad, what="question")
    contexts = read_texts(table, data.context, "context", bad, what="context")
    groups: Sequence[str] = () if data.groups is None else read_groups(table, data.groups, bad)
    answers, starts = _read_answers(table, data, contexts, bad)
    ids = _read_ids(table, data.id, bad)
    dropped = bad.settle()
    keep = np.array([row for row in range(len(questions)) if row not in bad.reasons], dtype=np.int64)
    check_rows(len(keep), split, dropped)
    return Examples(
        rows=np.arange(len(questions), dtype=np.int64),
        texts=questions,
        pairs=contexts,
        labels=np.array([bool(texts) for texts in answers], dtype=np.int64),
        label_names=CLASSES if data.unanswerable else (),
        groups=groups,
        dropped=dropped,
        extra={"id": ids, "answers": answers, "starts": starts},
    ).take(keep)


def _read_answers(
    table: pa.Table, data: DataSpec, contexts: Sequence[Any], bad: BadRows
) -> tuple[list[tuple[str, ...]], list[tuple[int, ...]]]:
    """Texts and places of each row's answers; both empty where the row is bad."""
    values = column_values(table, data.answers, "answers", bad.split)
    impossible = table.column(IMPOSSIBLE).to_pylist() if IMPOSSIBLE in table.column_names else [None] * len(values)
    answers: list[tuple[str, ...]] = []
    starts: list[tuple[int, ...]] = []
    for row, (value, context) in enumerate(zip(values, contexts, strict=True)):
        texts, places = _texts_and_places(value)
        fault = _fault(texts, places, context)
        if fault is None and not texts and not data.unanswerable:
            fault = NO_ANSWER, value
        if fault is None and impossible[row] is not None and bool(impossible[row]) == bool(texts):
            fault = f"{'answers' if texts else 'no answer'} though {IMPOSSIBLE} is {bool(impossible[row])}", value
        if fault is not None:
            bad.add(row, fault[0], data.answers, fault[1])
        answers.append(() if fault else tuple(texts or ()))
        starts.append(() if fault else tuple(places or ()))
    return answers, starts


def _texts_and_places(value: Any) -> tuple[Any, Any]:
    """Of {"text": [...], "answer_start": [...]}, or of [{"text": ..., "answer_start": ...}, ...]; None for what is not.

    The former is how the Hub has it, the latter how SQuAD's files do.
    """
    if isinstance(value, Mapping):
        return value.get("text"), value.get("answer_start")
    if isinstance(value, list) and all(isinstance(answer, Mapping) for answer in value):
        return [answer.get("text") for answer in value], [answer.get("answer_start") for answer in value]
    return None, None


def _fault(texts: Any, places: Any, context: Any) -> tuple[str, Any] | None:
    """Why the answers of a row cannot be used, and the value that shows it."""
    if not isinstance(texts, list) or not isinstance(places, list) or len(texts) != len(places):
        return "answers that are no texts with a place (answer_start) each", {"text": texts, "answer_start": places}
    for text, start in zip(texts, places, strict=True):
        if not isinstance(text, str) or not text.strip():
            return "answer without text", text
        if not isinstance(start, int) or isinstance(start, bool):
            return "answer whose answer_start is no whole number", start
        if not isinstance(context, str):
            continue  # the context is at fault, and said to be
        if not 0 <= start <= len(context) - len(text):
            return "answer that begins or ends outside of its context", (start, text)
        if (there := context[start : start + len(text)]) != text:
            return "answer that is not what its context has at answer_start", (start, text[:20], there[:20])
    return None


def _read_ids(table: pa.Table, column: str, bad: BadRows) -> list[str]:
    """The id of each row as text; a missing one is a bad row, as is one that an earlier good row has."""
    values = column_values(table, column, "id", bad.split)
    seen: set[str] = set()
    for row, value in enumerate(values):
        if value is None or value == "":
            bad.add(row, "missing id", column, value)
        elif isinstance(value, bool) or not isinstance(value, str | int):
            bad.add(row, "id that is neither text nor a whole number", column, value)
        elif str(value) in seen:
            bad.add(row, "id that an earlier row has", column, value)
        elif row not in bad.reasons:
            seen.add(str(value))
    return [str(value) for value in values]


# --- for scoring a file of predictions ------------------------------------------------------------------


def read_references(table: pa.Table, where: str) -> tuple[dict[str, tuple[str, ...]], bool]:
    """Question id -> right answers, in order, and whether the data are of version 2.0.

    Ids and answers alone are looked at, as the official scripts do: where an answer stands does not matter here.

    Args:
        table: the questions.
        where: what they were read from, for the messages.

    Raises:
        DataError: for an absent column, an id that is missing or repeated, answers that are no texts.
    """
    ids, values = (column_values(table, column, column, where) for column in ("id", "answers"))
    found: dict[str, tuple[str, ...]] = {}
    for row, (key, value) in enumerate(zip(ids, values, strict=True)):
        if key is None or key == "" or str(key) in found:
            raise DataError(
                f"{where}, row {row} (counted from 0) must have an id that no earlier row has, got {shown(key)}"
            )
        texts, _ = _texts_and_places(value)
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise DataError(f"{where}, row {row} (counted from 0): the answers must be texts, got {shown(value)}")
        found[str(key)] = tuple(texts)
    return found, IMPOSSIBLE in table.column_names or not all(found.values())

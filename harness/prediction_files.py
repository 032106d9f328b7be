"""Rows to answer from a file, and answers into files: JSON lines, and SQuAD's own format for predictions."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

from harness.answers import Answer, SpanAnswer
from harness.drafts import draft_of
from harness.errors import DataError, UsageError
from harness.predictor import Chosen, Inputs, Predictor
from harness.results.targets import storage_errors
from harness.row_checks import BadRows, read_texts
from harness.sources import read_file

if TYPE_CHECKING:
    import pyarrow as pa


def read_inputs(path: Path, chosen: Chosen) -> Inputs:
    """The rows of a csv, tsv, jsonl, parquet or SQuAD json file, in the columns that the study names.

    Raises:
        UsageError: when there is no such file.
        DataError: for another ending, an absent column, a text that is missing or empty.
    """
    if not path.is_file():
        raise UsageError(f"--input {path}: there is no such file")
    table, data = read_file(path), chosen.data
    keys = {"question": data.question, "context": data.context} if chosen.asks else {"text": data.text}
    if data.text_pair is not None and not chosen.asks:
        keys["text_pair"] = data.text_pair
    bad = BadRows(str(path), "drop")
    columns = [tuple(_texts(table, path, key, column, bad)) for key, column in keys.items()]
    if bad.reasons:
        row, reason = min(bad.reasons.items())
        raise DataError(
            f"{path}, row {row} (counted from 0): {reason}; so it is with {len(bad.reasons)} of {len(table)} rows. "
            "Mend them or take them out"
        )
    return Inputs(columns[0], columns[1] if len(columns) > 1 else None, _ids(table, data.id))


def _texts(table: pa.Table, path: Path, key: str, column: str, bad: BadRows) -> list[str]:
    if column not in table.column_names:
        raise DataError(
            f"{path} has no column {column!r}, which is data.{key} of the study; it has "
            f"{', '.join(table.column_names) or 'none'}. Rename the column of the file"
        )
    return read_texts(table, column, key, bad, what=key.replace("_", " "))


def _ids(table: pa.Table, column: str) -> tuple[str, ...] | None:
    if column not in table.column_names:
        return None
    return tuple("" if value is None else str(value) for value in table.column(column).to_pylist())


def as_line(row: int, inputs: Inputs, answer: Answer) -> str:
    """One line of the output: the number of the row in its file, its id where it has one, the answer."""
    known = {} if inputs.ids is None else {"id": inputs.ids[row]}
    return json.dumps({"row": row, **known, **answer.as_dict()}, ensure_ascii=False, allow_nan=False) + "\n"


def check_ids(path: Path, inputs: Inputs, column: str) -> None:
    """Refuse rows that a file of predictions by id could not tell apart."""
    if inputs.ids is None:
        raise DataError(f"{path} has no column {column!r}, by which --predictions and --na-probs name their answers")
    seen: set[str] = set()
    for row, key in enumerate(inputs.ids):
        if not key or key in seen:
            fault = f"the id {key!r} of an earlier row" if key else "no id"
            raise DataError(f"{path}, row {row} (counted from 0) has {fault}; --predictions needs one for each row")
        seen.add(key)


class Targets(NamedTuple):
    """Files that the answers go to: JSON lines, SQuAD's predictions and null probabilities."""

    output: Path | None = None
    predictions: Path | None = None
    na_probs: Path | None = None

    def by_option(self) -> dict[str, Path | None]:
        """Option of the command -> file."""
        return {"--output": self.output, "--predictions": self.predictions, "--na-probs": self.na_probs}

    def check(self, chosen: Chosen) -> None:
        """Refuse files that exist, folders that do not, and a format that the model's answers do not fit."""
        for option, path in self.by_option().items():
            if path is not None and path.exists():
                raise UsageError(f"{option} {path} exists and is not overwritten; name another file or remove it")
            if path is not None and not path.absolute().parent.is_dir():
                raise UsageError(f"{option} {path}: there is no folder {path.parent}; make it or name another")
        if (self.predictions or self.na_probs) and not chosen.asks:
            raise UsageError(
                f"--predictions and --na-probs are SQuAD's formats for answers to questions; study {chosen.study!r} "
                "labels texts, for which there is --output"
            )
        if self.na_probs and not chosen.model.label_names:
            raise UsageError(
                f"--na-probs: study {chosen.study!r} has no questions without answer (data.unanswerable is false), so "
                "its models always answer; leave the option out"
            )


class Done(NamedTuple):
    """Rows that were answered, and how many of them were not read whole."""

    rows: int
    cut: int


def answer_file(
    predictor: Predictor, chosen: Chosen, path: Path, targets: Targets, told: Callable[[int, int], None]
) -> Done:
    """Answer every row of a file, a job at a time; each file is there when all of its rows are.

    Args:
        predictor, chosen: who answers.
        path: of the rows.
        targets: where the answers go.
        told: called with the rows done and all rows, after each job.

    Raises:
        UsageError, DataError: for files and rows that cannot be used, before anything is answered.
        StorageError: when a file cannot be written.
    """
    targets.check(chosen)
    inputs = read_inputs(path, chosen)
    if targets.predictions or targets.na_probs:
        check_ids(path, inputs, chosen.data.id)
    texts: dict[str, str] = {}
    null: dict[str, float] = {}
    row = cut = 0
    with whole_file(targets.output) if targets.output else nullcontext() as lines:
        for answers in predictor.answers(inputs):
            for answer in answers:
                if lines is not None:
                    lines.write(as_line(row, inputs, answer))
                if isinstance(answer, SpanAnswer) and inputs.ids is not None:
                    texts[inputs.ids[row]] = answer.answer
                    null[inputs.ids[row]] = answer.null_probability or 0.0
                cut += answer.cut_tokens > 0
                row += 1
            told(row, len(inputs.texts))
    for file, values in ((targets.predictions, texts), (targets.na_probs, null)):
        if file is not None:
            with whole_file(file) as stream:
                json.dump(values, stream, ensure_ascii=False, allow_nan=False)
                stream.write("\n")
    return Done(row, cut)


@contextmanager
def whole_file(path: Path) -> Iterator[IO[str]]:
    """A file that gets its name when everything in it is written; of one that fails nothing is left.

    Raises:
        StorageError: when it cannot be written.
    """
    with storage_errors(path), draft_of(path) as draft, io.TextIOWrapper(draft, encoding="utf-8") as stream:
        yield stream

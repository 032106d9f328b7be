"""Data files that are damaged: refused in words before anything trains, and never read as other rows than they hold."""

from __future__ import annotations

import csv
import io
import json
import random
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from nights import Night

from harness.data import load
from harness.errors import DataError, HarnessError
from harness.spec import DataSpec
from harness.tasks import base as tasks

ROWS = [{"text": f'some, "quoted" text {n}', "label": n % 2} for n in range(20)]
QUESTIONS = 12
CLASSES = "sequence-classification"
TASKS = {"rows.json": "question-answering"}


def rows_of(path: Path, task: str = CLASSES) -> int:
    """How many rows a study would use."""
    splits = load(DataSpec.model_validate({"path": str(path), "validation": 0.3}), tasks.load(task), seed=1)
    assert all(isinstance(text, str) for part in splits.parts().values() for text in part.texts)
    return len(splits.train) + len(splits.validation)


# --- three hundred damaged files -----------------------------------------------------------------------------


def squad() -> dict[str, Any]:
    paragraphs = [
        {
            "context": f"the answer {n} is here",
            "qas": [
                {"id": f"q{n}", "question": "which?", "answers": [{"text": f"answer {n}", "answer_start": 4}]},
            ],
        }
        for n in range(QUESTIONS)
    ]
    return {"version": "1.1", "data": [{"title": "t", "paragraphs": paragraphs}]}


def write_csv(path: Path) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["text", "label"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(ROWS)


def write_saved(path: Path) -> None:
    datasets.Dataset.from_list(ROWS).save_to_disk(path.parent)


WRITERS: dict[str, Callable[[Path], object]] = {
    "rows.csv": write_csv,
    "rows.jsonl": lambda path: path.write_text("\n".join(json.dumps(row) for row in ROWS)),
    "rows.json": lambda path: path.write_text(json.dumps(squad())),
    "rows.parquet": lambda path: pq.write_table(pa.Table.from_pylist(ROWS), path, compression="none"),
    "packed.parquet": lambda path: pq.write_table(datasets.Dataset.from_list(ROWS).data.table, path),
    "data-00000-of-00001.arrow": write_saved,
    "dataset_info.json": write_saved,
    "state.json": write_saved,
}
MUTATIONS = (b'"', b",", b"\n", b"\0", b"\xff", b"{", b"[", b"NA", b"\r", b"9" * 30, b"\xed\xa0\x80", b"null")


def damaged(content: bytes, draw: random.Random) -> bytes:
    """Cut, flipped, shortened, with something put in, or with a part doubled."""
    kind, made = draw.randrange(5), bytearray(content)
    if kind == 0:
        return content[: draw.randrange(len(content))]
    for _ in range(draw.randrange(1, 4)):
        place = draw.randrange(len(made))
        if kind == 1:
            made[place] ^= 1 << draw.randrange(8)
        elif kind == 2:
            del made[place : place + draw.randrange(1, 9)]
        elif kind == 3:
            made[place:place] = draw.choice(MUTATIONS)
        else:
            other = draw.randrange(len(made))
            made[place:place] = made[other : other + draw.randrange(1, 60)]
    return bytes(made)


def rows_meant(name: str, content: bytes) -> set[int]:
    """How many rows the bytes hold, as read by other means than the product's."""
    if name == "rows.csv":
        return {sum(bool(row) for row in csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""))) - 1}
    if name == "rows.jsonl":
        return {sum(bool(line.strip()) for line in io.StringIO(content.decode("utf-8-sig")))}
    if name == "rows.json":
        articles = json.loads(content)["data"]
        return {sum(len(part["qas"]) for article in articles for part in article["paragraphs"])}
    return {len(ROWS)}


@pytest.mark.parametrize("name", WRITERS)
def test_a_damaged_file_is_refused_or_has_the_rows_that_it_holds(
    name: str, tmp_path: Path, times: Callable[[int, int], int]
) -> None:
    draw, seen = random.Random(name), Counter[str]()
    whole = tmp_path / "whole"
    whole.mkdir()
    WRITERS[name](whole / name)
    content = (whole / name).read_bytes()
    saved = len(list(whole.iterdir())) > 1
    for number in range(times(40, 2_000)):
        folder = tmp_path / str(number)  # a new one each time: what was read before may still be mapped into memory
        shutil.copytree(whole, folder)
        changed = damaged(content, draw)
        (folder / name).write_bytes(changed)
        try:
            found = rows_of(folder if saved else folder / name, TASKS.get(name, CLASSES))
        except DataError as error:
            seen["refused"] += 1
            assert len(str(error)) < 2_000 and "Traceback" not in str(error), error
        else:
            seen["read"] += 1
            assert found in rows_meant(name, changed), (number, found)
        shutil.rmtree(folder)
    assert seen["refused"] > 10, seen


# --- one by one: what a damaged or odd file is told ----------------------------------------------------------

LINES = [json.dumps(row) for row in ROWS]


@pytest.mark.parametrize(
    ("last", "words"),
    [
        ('{"text": "a", "lab', "line 21: not JSON"),
        ('{"text": "a", "label": ' + "[" * 100_000, "line 21: not JSON: nested too deep"),
        ('{"text": "a", "label": ' + "9" * 5_000 + "}", "line 21: not JSON: Exceeds the limit"),
        ('{"text": "a", "label": ' + "9" * 30 + "}", "'label' holds 9{30}, which is too large"),
        ('{"text": "a", "label": 0, "label": 1}', "line 21: not JSON: the key 'label' stands twice"),
        ('{"text": "a", "label": "1"}', "'label' begins with int values, but row 20 .* has the str '1'"),
        ('{"text": "a", "label": true}', "row 20 .* has the bool True"),
        ('{"text": "a", "label": 0.5}', "row 20 .* neither a word nor a whole number .* 0.5"),
        ('{"text": "a", "label": NaN}', "row 20 .* missing label"),
        ('{"text": "\\ud800", "label": 1}', "half of a character"),
        ("[1]", "line 21: expected an object"),
    ],
)
def test_a_bad_line_is_told_with_its_number(tmp_path: Path, last: str, words: str) -> None:
    (tmp_path / "rows.jsonl").write_text("\n".join([*LINES, last]))
    with pytest.raises(DataError, match=words):
        rows_of(tmp_path / "rows.jsonl")


@pytest.mark.parametrize(
    "said", [b"{", b"[]", b'{"info": 3}', b'{"info": {"features": [1]}}', b"\xff\xfe", b"[" * 100_000]
)
def test_a_damaged_description_of_columns_is_refused(tmp_path: Path, said: bytes) -> None:
    table = pa.Table.from_pylist(ROWS).replace_schema_metadata({b"huggingface": said})
    pq.write_table(table, tmp_path / "rows.parquet")
    with pytest.raises(DataError, match=r"huggingface in the schema\) is damaged"):
        rows_of(tmp_path / "rows.parquet")


@pytest.mark.parametrize("names", [[1, 2], [None, {}], ["a", "a"], "ab"])
def test_class_names_that_name_no_classes_are_refused(tmp_path: Path, names: Any) -> None:
    said = json.dumps({"info": {"features": {"label": {"names": names}}}}).encode()
    pq.write_table(
        pa.Table.from_pylist(ROWS).replace_schema_metadata({b"huggingface": said}), tmp_path / "rows.parquet"
    )
    with pytest.raises(DataError, match="'label' declares the class names"):
        rows_of(tmp_path / "rows.parquet")


def test_text_that_is_no_utf_8_inside_of_arrow_is_refused(tmp_path: Path) -> None:
    raw = pa.array([b"\xff\xfe"] * len(ROWS), pa.binary())
    texts = pa.Array.from_buffers(pa.string(), len(ROWS), raw.buffers())
    pq.write_table(pa.table({"text": texts, "label": [0, 1] * 10}), tmp_path / "rows.parquet")
    with pytest.raises(DataError, match="[Uu][Tt][Ff]"):
        rows_of(tmp_path / "rows.parquet")


@pytest.mark.parametrize("path", ["~nobody_such/rows.csv", "x" * 5_000, "x" * 5_000 + ".csv", "a\0b.csv"])
def test_a_path_that_no_system_takes_is_refused(path: str) -> None:
    with pytest.raises(DataError, match=r"data.path"):
        load(DataSpec.model_validate({"path": path, "validation": 1}), tasks.load(CLASSES), seed=1)


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".jsonl", ".json", ".parquet"])
@pytest.mark.parametrize("content", [b"", b"\n", b"\0" * 100, b"PAR1", b"\x1f\x8b\x08\x00", b"\xff\xfea\0,\0b\0"])
def test_what_is_no_data_file_is_refused_whatever_its_ending(tmp_path: Path, ending: str, content: bytes) -> None:
    path = tmp_path / f"rows{ending}"
    path.write_bytes(content)
    with pytest.raises(HarnessError) as refused:
        rows_of(path)
    assert refused.value.exit_code == 65


# --- the command ---------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_command_refuses_a_damaged_file_before_the_first_trial(tmp_path: Path) -> None:
    night = Night(tmp_path)
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "rows.parquet")
    (tmp_path / "rows.parquet").write_bytes((tmp_path / "rows.parquet").read_bytes()[:-60])
    code, output = night.run("--set", "data.path=rows.parquet", "--set", "data.validation=6", "--set", "data.rows=null")
    assert code == 65 and "rows.parquet" in output and "Traceback" not in output
    assert night.rows("SELECT count(*) FROM harness_trial") == [(0,)]

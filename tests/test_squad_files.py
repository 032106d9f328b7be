"""SQuAD's own files become the rows that the Hub has of them, and damaged ones are refused with place and key."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from harness.errors import DataError
from harness.sources import open_source, read_file
from harness.spec import DataSpec
from harness.squad_files import read_squad

V1: dict[str, Any] = {
    "version": "1.1",
    "data": [
        {
            "title": "Rivers",
            "paragraphs": [
                {
                    "context": "The Elbe rises in the mountains.",
                    "qas": [
                        {"id": "e1", "question": "What rises?", "answers": [{"text": "The Elbe", "answer_start": 0}]},
                        {
                            "id": "e2",
                            "question": "Where?",
                            "answers": [
                                {"text": "mountains", "answer_start": 22},
                                {"text": "in the mountains", "answer_start": 15},
                            ],
                        },
                    ],
                }
            ],
        },
        {"title": "Empty", "paragraphs": []},
    ],
}


def v2() -> dict[str, Any]:
    found = copy.deepcopy(V1)
    first, second = found["data"][0]["paragraphs"][0]["qas"]
    first["is_impossible"] = False
    second |= {"is_impossible": True, "answers": [], "plausible_answers": [{"text": "Elbe", "answer_start": 4}]}
    return found


def write(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def test_a_file_becomes_one_row_a_question_in_the_columns_of_the_hub(tmp_path: Path):
    table = read_file(write(tmp_path / "train.json", V1))
    assert table.column_names == ["id", "title", "context", "question", "answers"]
    assert table.to_pylist()[1] == {
        "id": "e2",
        "title": "Rivers",
        "context": "The Elbe rises in the mountains.",
        "question": "Where?",
        "answers": {"text": ["mountains", "in the mountains"], "answer_start": [22, 15]},
    }


def test_version_2_says_which_questions_are_impossible(tmp_path: Path):
    table = read_squad(write(tmp_path / "train.json", v2()))
    assert table["is_impossible"].to_pylist() == [False, True]
    assert table["answers"].to_pylist()[1] == {"text": [], "answer_start": []}


def test_a_folder_of_squad_files_has_their_splits(tmp_path: Path):
    write(tmp_path / "train-v1.1.json", V1)
    write(tmp_path / "dev-v1.1.json", V1)
    source = open_source(DataSpec(path=str(tmp_path)))
    assert set(source.splits) == {"train", "dev"}
    assert source.read("dev").num_rows == 2


def test_beside_other_data_a_json_file_is_no_split(tmp_path: Path):
    write(tmp_path / "train.csv", "text,label\na,b\n")
    write(tmp_path / "dataset_infos.json", {"features": {}})
    assert set(open_source(DataSpec(path=str(tmp_path))).splits) == {"train"}


def test_an_answer_in_another_script_keeps_its_place(tmp_path: Path):
    content = copy.deepcopy(V1)
    paragraph = content["data"][0]["paragraphs"][0]
    paragraph["context"] = "𝔈lbe – 易北河"
    paragraph["qas"] = [{"id": "x", "question": "?", "answers": [{"text": "易北河", "answer_start": 7}]}]
    row = read_squad(write(tmp_path / "x.json", content)).to_pylist()[0]
    assert row["context"][7:] == row["answers"]["text"][0]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([{"text": "a"}], r"must be a SQuAD file.*\.jsonl.*\.parquet"),
        ({"rows": []}, "must be a SQuAD file"),
        ({"data": {"a": 1}}, "must be a SQuAD file"),
        ('{"data": [\n{"title": }', "line 2: not JSON"),
        ("", "not JSON"),
        ("[" * 100_000, "nested too deep"),
        ("9" * 5000, "cannot be read"),
    ],
)
def test_another_json_file_is_refused_with_a_remedy(tmp_path: Path, content: Any, words: str):
    with pytest.raises(DataError, match=words) as error:
        read_file(write(tmp_path / "rows.json", content))
    assert "rows.json" in str(error.value)


def paragraph(content: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = content["data"][0]["paragraphs"][0]
    return found


def remove(holder: Any, key: str) -> None:
    del holder[key]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda c: c["data"].__setitem__(1, "x"), r"article 1 \(counted from 0\) must be an object, got 'x'"),
        (lambda c: remove(c["data"][0], "paragraphs"), r"article 0 .* has no 'paragraphs'; it has 'title'"),
        (lambda c: c["data"][0].update(title=3), "article 0 .*'title' must be a text, got 3"),
        (lambda c: c["data"][0]["paragraphs"].append(None), "article 0 .*, paragraph 1 must be an object, got None"),
        (lambda c: remove(paragraph(c), "context"), "paragraph 0 has no 'context'; it has 'qas'"),
        (lambda c: paragraph(c).update(context=None), "paragraph 0: 'context' must be a text, got None"),
        (lambda c: paragraph(c).update(qas={}), "paragraph 0: 'qas' must be a list"),
        (lambda c: remove(paragraph(c)["qas"][1], "id"), "paragraph 0, question 1 has no 'id'"),
        (lambda c: remove(paragraph(c)["qas"][1], "answers"), "question 1 has no 'answers'"),
        (lambda c: paragraph(c)["qas"][0].update(id=7), "question 0: 'id' must be a text, got 7"),
        (
            lambda c: paragraph(c)["qas"][0].update(is_impossible="no"),
            "'is_impossible' must be true or false, got 'no'",
        ),
        (lambda c: remove(paragraph(c)["qas"][1]["answers"][1], "text"), "question 1, answer 1 has no 'text'"),
        (
            lambda c: paragraph(c)["qas"][0]["answers"][0].update(answer_start="0"),
            "answer 0: 'answer_start' must be a whole number, got '0'",
        ),
        (
            lambda c: paragraph(c)["qas"][0]["answers"][0].update(answer_start=True),
            "'answer_start' must be a whole number, got True",
        ),
        (lambda c: paragraph(c)["qas"][0]["answers"][0].update(answer_start=2**31), "no place in a text"),
    ],
)
def test_a_damaged_structure_is_refused_with_its_place_and_key(tmp_path: Path, damage: Any, words: str):
    content = copy.deepcopy(V1)
    damage(content)
    with pytest.raises(DataError, match=words):
        read_squad(write(tmp_path / "rows.json", content))


@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl"])
def test_half_a_character_is_refused(tmp_path: Path, name: str):
    content = copy.deepcopy(V1)
    paragraph(content)["context"] = "\ud83d"
    path = write(tmp_path / name, json.dumps(content if name == "rows.json" else {"text": "\ud83d"}))
    with pytest.raises(DataError, match="half of a character"):
        read_file(path)


def test_flat_rows_of_a_jsonl_file_keep_their_nested_answers(tmp_path: Path):
    nested = [{"text": ["a"], "answer_start": [0]}, {"text": [], "answer_start": []}]
    listed = [[{"text": "a", "answer_start": 0}], []]
    lines = [json.dumps({"answers": a, "listed": b}) for a, b in zip(nested, listed, strict=True)]
    table = read_file(write(tmp_path / "rows.jsonl", "\n".join(lines)))
    assert table["answers"].to_pylist() == nested
    assert table["listed"].to_pylist() == listed

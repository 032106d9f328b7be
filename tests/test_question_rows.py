"""Rows of questions are read in the shapes that data sets have, and a bad one is refused by its number or counted."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from harness.data import choose, planned
from harness.errors import DataError, SpecError
from harness.question_rows import read_questions, read_references
from harness.spec import DataSpec, parse_study
from harness.tasks.base import Examples

CONTEXT = "The Elbe rises in the mountains."
ANSWERS = {"text": ["The Elbe", "Elbe"], "answer_start": [0, 4]}
NONE: dict[str, list[Any]] = {"text": [], "answer_start": []}
STRUCT = pa.struct([("text", pa.list_(pa.string())), ("answer_start", pa.list_(pa.int32()))])


def rows(count: int = 3, **columns: list[Any]) -> pa.Table:
    """Good rows, with other values for some columns."""
    values: dict[str, Any] = {
        "id": [f"q{i}" for i in range(count)],
        "context": [CONTEXT] * count,
        "question": [f"What rises, asked the {i}th time?" for i in range(count)],
        "answers": [ANSWERS] * count,
    } | columns
    return pa.table(values)


def read(table: pa.Table, **data: Any) -> Examples:
    return read_questions(table, DataSpec.model_validate({"path": "rows.jsonl", **data}), split="train")


def answer(text: Any, start: Any) -> dict[str, Any]:
    return {"text": [text], "answer_start": [start]}


def test_a_question_is_the_text_and_its_context_the_second_text():
    examples = read(rows())
    assert examples.texts[1] == "What rises, asked the 1th time?"
    assert examples.pairs == [CONTEXT] * 3
    assert examples.labels.tolist() == [1, 1, 1]
    assert examples.label_names == ()
    assert examples.extra == {
        "id": ["q0", "q1", "q2"],
        "answers": [("The Elbe", "Elbe")] * 3,
        "starts": [(0, 4)] * 3,
    }


def test_columns_may_have_other_names_and_ids_be_numbers():
    table = rows(id=[3, 1, 2]).rename_columns(["key", "passage", "query", "spans"])
    examples = read(table, id="key", context="passage", question="query", answers="spans")
    assert examples.extra["id"] == ["3", "1", "2"]
    with pytest.raises(DataError, match="data.answers is 'answers', but split 'train' has the columns key, passage"):
        read(table, id="key", context="passage", question="query")


def test_answers_may_be_a_list_of_texts_with_their_places_as_in_squads_files():
    listed = [{"text": "The Elbe", "answer_start": 0}, {"text": "Elbe", "answer_start": 4}]
    assert read(rows(answers=[listed] * 3)).extra == read(rows()).extra


def test_places_are_counted_in_characters_whatever_their_width():
    examples = read(rows(1, context=["𝔈lbe – 易北河"], answers=[answer("易北河", 7)]))
    assert examples.extra["starts"] == [(7,)]


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("question", None, "missing question in column 'question'"),
        ("question", " ", "empty question"),
        ("context", "", "empty context in column 'context'"),
        ("context", None, "missing context"),
        ("id", None, "missing id"),
        ("id", "", "missing id"),
        ("id", "q0", "id that an earlier row has in column 'id': 'q0'"),
        ("answers", answer("The Elbe", 1), r"not what its context has at answer_start.*\(1, 'The Elbe', 'he Elbe '\)"),
        ("answers", answer("the elbe", 0), "not what its context has"),
        ("answers", answer("The Elbe", -1), "outside of its context"),
        ("answers", answer("mountains.", 23), "outside of its context"),
        ("answers", answer("x", 2**31 - 1), "outside of its context"),
        ("answers", answer("", 0), "answer without text"),
        ("answers", answer(" ", 3), "answer without text"),
        ("answers", answer(None, 0), "answer without text"),
        ("answers", answer("The Elbe", None), "answer_start is no whole number"),
        ("answers", {"text": ["The Elbe", "Elbe"], "answer_start": [0]}, "no texts with a place"),
        ("answers", {"text": ["The Elbe"], "answer_start": None}, "no texts with a place"),
        ("answers", None, "no texts with a place"),
        ("answers", NONE, "question without an answer .*data.unanswerable: true"),
        ("answers", {"text": ["Elbe", "Rhine"], "answer_start": [4, 4]}, r"\(4, 'Rhine', 'Elbe '\)"),
    ],
)
def test_a_bad_row_is_refused_with_its_number_and_value_or_counted_and_dropped(column: str, value: Any, words: str):
    values = {**rows().to_pydict()}[column]
    values[1] = value
    table = rows(**{column: pa.array(values, STRUCT) if column == "answers" else values})
    with pytest.raises(DataError, match=rf"split 'train', row 1 \(counted from 0\): .*{words}.*data.on_bad_row: drop"):
        read(table)
    examples = read(table, on_bad_row="drop")
    assert examples.rows.tolist() == [0, 2]
    assert examples.extra["id"] == ["q0", "q2"]
    assert sum(examples.dropped.values()) == 1


def test_an_answers_column_of_another_kind_is_refused():
    with pytest.raises(DataError, match=r"no texts with a place.*\(3 such rows\)"):
        read(rows(answers=["The Elbe"] * 3))
    with pytest.raises(DataError, match="answer_start is no whole number"):
        read(rows(answers=[answer("The Elbe", 0.0)] * 3))


def test_the_id_of_a_dropped_row_may_be_used_again():
    table = rows(2, id=["a", "a"], question=["", "What?"])
    assert read(table, on_bad_row="drop").rows.tolist() == [1]


def test_questions_without_an_answer_are_read_where_the_study_says_so():
    table = rows(answers=pa.array([ANSWERS, NONE, ANSWERS], STRUCT))
    examples = read(table, unanswerable=True)
    assert examples.labels.tolist() == [1, 0, 1]
    assert (examples.extra["answers"][1], examples.extra["starts"][1]) == ((), ())


@pytest.mark.parametrize(
    ("answers", "impossible", "words"),
    [(ANSWERS, True, "answers though is_impossible is True"), (NONE, False, "no answer though is_impossible is False")],
)
def test_is_impossible_must_agree_with_the_answers(answers: Any, impossible: bool, words: str):
    table = rows(1, answers=pa.array([answers], STRUCT), is_impossible=[impossible])
    with pytest.raises(DataError, match=words):
        read(table, unanswerable=True)
    agreed = rows(1, answers=pa.array([answers], STRUCT), is_impossible=[not impossible])
    assert len(read(agreed, unanswerable=True)) == 1


def test_a_split_without_a_good_row_is_refused():
    with pytest.raises(DataError, match="no rows left .*3 dropped: empty context"):
        read(rows(context=["", "", ""]), on_bad_row="drop")
    with pytest.raises(DataError, match="no rows left"):
        read(rows(0, answers=pa.array([], STRUCT)))


def test_groups_are_read_too():
    assert read(rows(language=["de", "", "en"]), groups="language").groups == ["de", "(empty)", "en"]


def test_a_stratified_split_keeps_the_share_of_questions_without_an_answer():
    table = rows(30, answers=pa.array(([ANSWERS] * 2 + [NONE]) * 10, STRUCT))
    examples = read(table, unanswerable=True)
    data = DataSpec(path="rows.jsonl", train=18, validation=12)
    chosen = choose(planned(data), {"train": examples}, seed=3)
    assert examples.labels[chosen["train"][1]].sum() == 12
    assert examples.labels[chosen["validation"][1]].sum() == 8


# --- for scoring ----------------------------------------------------------------------------------------


def test_references_are_the_answers_by_id_wherever_they_stand():
    table = rows(2, answers=pa.array([answer("Rhine", 99), ANSWERS], STRUCT))
    assert read_references(table, "dev.json") == ({"q0": ("Rhine",), "q1": ("The Elbe", "Elbe")}, False)


def test_data_are_of_version_2_by_their_column_or_by_a_question_without_an_answer():
    assert read_references(rows(1, is_impossible=[False]), "dev.json")[1]
    assert read_references(rows(2, answers=pa.array([ANSWERS, NONE], STRUCT)), "dev.json")[1]


@pytest.mark.parametrize(
    ("column", "values", "words"),
    [
        ("id", ["a", None], "dev.json, row 1 .*id that no earlier row has, got None"),
        ("id", ["a", "a"], "row 1 .*got 'a'"),
        ("answers", ["a", "b"], "row 0 .*the answers must be texts, got 'a'"),
    ],
)
def test_references_that_cannot_be_told_apart_or_read_are_refused(column: str, values: list[Any], words: str):
    with pytest.raises(DataError, match=words):
        read_references(rows(2, **{column: values}), "dev.json")


# --- in a study file ------------------------------------------------------------------------------------

STUDY = """
study: questions
task: TASK
model: builtin:tiny
data: {path: rows.jsonl, KEY: VALUE}
configurations: [{epochs: 1}]
"""


def study(task: str, key: str, value: str) -> DataSpec:
    text = STUDY.replace("TASK", task).replace("KEY", key).replace("VALUE", value)
    return parse_study(text, [], "questions.yaml").spec.data


@pytest.mark.parametrize("key", ["question", "context", "answers", "id", "unanswerable"])
def test_keys_of_questions_are_refused_in_a_classification(key: str):
    value = "true" if key == "unanswerable" else "column"
    assert getattr(study("question-answering", key, value), key) in (True, "column")
    with pytest.raises(SpecError, match=rf"yaml:5: data.{key} is not read by task sequence-classification.*text_pair"):
        study("sequence-classification", key, value)


@pytest.mark.parametrize("key", ["text", "text_pair", "label", "positive"])
def test_keys_of_a_classification_are_refused_for_questions(key: str):
    assert getattr(study("sequence-classification", key, "column"), key) == "column"
    with pytest.raises(SpecError, match=rf"yaml:5: data.{key} is not read by task question-answering.*answers and id"):
        study("question-answering", key, "column")


def test_two_keys_cannot_mean_one_column():
    with pytest.raises(SpecError, match="data.context must be another column than question, got 'question'"):
        study("question-answering", "context", "question")


def test_the_first_rows_cannot_be_stratified():
    with pytest.raises(SpecError, match=r"data.train.shuffle must be true beside stratify: true.*stratify: false too"):
        study("question-answering", "train", "{size: 5, shuffle: false}")

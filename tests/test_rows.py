"""Texts and labels are read alike whatever their types; bad rows are refused by place or dropped and counted."""

from __future__ import annotations

from typing import Any

import datasets
import pyarrow as pa
import pytest

from harness.errors import DataError
from harness.row_checks import read_classification
from harness.spec import DataSpec
from harness.tasks.base import Examples

GOOD: dict[str, list[Any]] = {"text": ["one", "two", "three"], "label": [0, 1, 0]}


def read(
    columns: dict[str, Any], *, split: str = "train", known: tuple[str, ...] | None = None, **data: Any
) -> Examples:
    spec = DataSpec.model_validate({"path": "rows.csv", **data})
    return read_classification(pa.table(columns), spec, split=split, label_names=known)


def test_numbers_such_as_0_and_4_are_mapped_in_order_of_value():
    examples = read({"text": ["a", "b", "c"], "label": [4, 0, 4]})
    assert examples.label_names == ("0", "4")
    assert examples.labels.tolist() == [1, 0, 1]


def test_numbers_sort_as_numbers_and_words_by_alphabet():
    assert read({"text": ["a", "b", "c"], "label": [10, 9, -1]}).label_names == ("-1", "9", "10")
    assert read({"text": ["a", "b"], "label": ["pos", "neg"]}).label_names == ("neg", "pos")


@pytest.mark.parametrize("labels", [[0, 1], [0.0, 1.0], ["0", "1"], [" 0", "1 "]])
def test_the_same_label_has_the_same_name_whatever_its_type(labels: list[Any]):
    assert read({"text": ["a", "b"], "label": labels}).label_names == ("0", "1")


def test_truth_values_are_labels():
    examples = read({"text": ["a", "b"], "label": [True, False]})
    assert (examples.label_names, examples.labels.tolist()) == (("false", "true"), [1, 0])


def test_class_names_that_a_data_set_declares_are_kept_in_their_order():
    features = datasets.Features(text=datasets.Value("string"), label=datasets.ClassLabel(names=["spam", "ham"]))
    table = datasets.Dataset.from_dict({"text": ["a", "b"], "label": [1, 0]}, features=features)
    arrow = table.with_format("arrow")[:].replace_schema_metadata(table.features.arrow_schema.metadata)
    examples = read_classification(arrow, DataSpec(path="rows.csv"), split="train", label_names=None)
    assert (examples.label_names, examples.labels.tolist()) == (("spam", "ham"), [1, 0])


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("text", None, "missing text"),
        ("text", "", "empty text"),
        ("text", " \n", "empty text"),
        ("label", None, "missing label"),
    ],
)
def test_a_bad_row_is_refused_with_split_row_column_and_remedy(column: str, value: Any, words: str):
    columns = {name: list(values) for name, values in GOOD.items()}
    columns[column][1] = value
    with pytest.raises(DataError) as error:
        read(columns)
    for part in ("'train'", "row 1", words, f"'{column}'", "on_bad_row: drop"):
        assert part in str(error.value)


@pytest.mark.parametrize("label", [float("nan"), 0.5])
def test_a_label_that_is_no_whole_number_is_refused(label: float):
    with pytest.raises(DataError, match="row 2"):
        read({"text": ["a", "b", "c"], "label": [0.0, 1.0, label]})


def test_texts_that_are_numbers_are_refused():
    with pytest.raises(DataError, match="no string"):
        read({"text": [1, 2], "label": [0, 1]})


def test_an_empty_string_is_a_missing_label():
    with pytest.raises(DataError, match="row 0.*missing label"):
        read({"text": ["a", "b", "c"], "label": ["", "x", "y"]})


def test_dropped_rows_are_counted_by_reason_and_the_others_keep_their_numbers():
    columns = {"text": ["a", None, "", "d", "e"], "label": [0, 1, 1, None, 1]}
    examples = read(columns, on_bad_row="drop")
    assert examples.rows.tolist() == [0, 4]
    assert examples.dropped == {"missing text": 1, "empty text": 1, "missing label": 1}


def test_a_class_whose_rows_are_all_dropped_is_no_class():
    examples = read({"text": ["a", "b", ""], "label": [0, 1, 2]}, on_bad_row="drop")
    assert examples.label_names == ("0", "1")


def test_a_label_unknown_in_training_is_refused_with_row_and_value():
    with pytest.raises(DataError, match=r"'validation', row 1 .*unknown in the training split \(0, 4\).*'2'"):
        read({"text": ["a", "b"], "label": [0, 2]}, split="validation", known=("0", "4"))


def test_a_hidden_label_of_the_hub_is_refused():
    features = datasets.Features(text=datasets.Value("string"), label=datasets.ClassLabel(names=["no", "yes"]))
    table = datasets.Dataset.from_dict({"text": ["a", "b", "c"], "label": [0, 1, -1]}, features=features)
    arrow = table.with_format("arrow")[:].replace_schema_metadata(table.features.arrow_schema.metadata)
    with pytest.raises(DataError, match="row 2.*outside the declared classes"):
        read_classification(arrow, DataSpec(path="rows.csv"), split="train", label_names=None)


def test_an_absent_column_is_refused_with_the_columns_there_are():
    with pytest.raises(DataError, match=r"data.text is 'txet'.*columns text, label; did you mean 'text'\?"):
        read(GOOD, text="txet")


def test_a_single_class_is_refused():
    with pytest.raises(DataError, match="single class '1'"):
        read({"text": ["a", "b"], "label": [1, 1]})


def test_an_empty_split_is_refused():
    with pytest.raises(DataError, match="no rows left"):
        read({"text": pa.array([], pa.string()), "label": pa.array([], pa.int64())})
    with pytest.raises(DataError, match="2 dropped: empty text"):
        read({"text": ["", " "], "label": [0, 1]}, on_bad_row="drop")


def test_pairs_and_groups_are_read_and_checked_too():
    columns = {**GOOD, "other": ["x", "y", "z"], "language": ["de", "fr", "de"]}
    examples = read(columns, text_pair="other", groups="language")
    assert examples.pairs == ["x", "y", "z"]
    assert examples.groups == ["de", "fr", "de"]
    with pytest.raises(DataError, match="row 1.*'other'"):
        read({**columns, "other": ["x", "", "z"]}, text_pair="other")
    with pytest.raises(DataError, match="missing group"):
        read({**columns, "language": ["de", None, "de"]}, groups="language")


def test_an_empty_group_has_a_name_since_the_empty_one_means_all_rows():
    assert read({**GOOD, "language": ["de", "", "de"]}, groups="language").groups == ["de", "(empty)", "de"]


def test_groups_that_the_record_could_not_tell_apart_are_one_group():
    assert read({**GOOD, "language": ["de", "\0", "d\0e"]}, groups="language").groups == ["de", "(empty)", "de"]

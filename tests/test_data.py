"""Splits have the sizes asked for and never overlap, draws hang on the seed alone, and leaks are seen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest

from harness.data import (
    Splits,
    conflicts,
    duplicates,
    fingerprint,
    fold,
    load,
    overlap,
    shuffled_order,
    stratified_order,
)
from harness.errors import DataError
from harness.spec import DataSpec
from harness.tasks.base import Examples
from harness.tasks.sequence_classification import SequenceClassification


def splits(seed: int = 0, **data: Any) -> Splits:
    spec = DataSpec.model_validate({"path": "builtin:reviews", "rows": 600, **data})
    return load(spec, SequenceClassification(), seed)


def examples(texts: list[str], labels: list[int] | None = None) -> Examples:
    labels = labels or [0] * len(texts)
    return Examples(np.arange(len(texts)), texts, None, np.array(labels), ("a", "b"))


def test_splits_have_the_sizes_asked_for_in_numbers_and_in_shares():
    found = splits(train=200, validation=0.1, test=50)
    assert {name: len(part) for name, part in found.parts().items()} == {"train": 200, "validation": 60, "test": 50}


def test_without_a_number_train_takes_what_is_left():
    assert len(splits(validation=100).train) == 500


def test_splits_carved_from_one_source_never_overlap():
    for stratify in (True, False):
        found = splits(train={"stratify": stratify}, validation={"size": 100, "stratify": False}, test=0.2)
        rows = [set(part.rows.tolist()) for part in found.parts().values()]
        assert sum(map(len, rows)) == len(set.union(*rows)) == 600


def test_the_same_seed_draws_the_same_rows_and_another_seed_others():
    assert splits(seed=1, train=100, validation=50).fingerprint == splits(seed=1, train=100, validation=50).fingerprint
    assert splits(seed=1, train=100, validation=50).fingerprint != splits(seed=2, train=100, validation=50).fingerprint


def test_a_smaller_training_set_is_the_beginning_of_a_larger_one():
    small, large = splits(train=80, validation=100), splits(train=300, validation=100)
    assert large.train.rows[:80].tolist() == small.train.rows.tolist()
    assert large.validation.rows.tolist() == small.validation.rows.tolist()


def test_every_prefix_of_a_stratified_order_holds_the_classes_in_proportion():
    labels = np.array([0] * 90 + [1] * 30 + [2] * 9)
    order = stratified_order(labels, seed=3)
    assert sorted(order.tolist()) == list(range(129))
    for rows in range(1, 130):
        counts = np.bincount(labels[order[:rows]], minlength=3)
        assert np.all(np.abs(counts - rows * np.array([90, 30, 9]) / 129) <= 1)


def test_a_stratified_split_holds_the_classes_in_proportion():
    found = splits(train=100, validation=50)
    assert np.bincount(found.train.labels).tolist() == [50, 50]
    assert np.bincount(found.validation.labels).tolist() == [25, 25]


def test_an_unstratified_split_is_what_datasets_shuffles():
    """Published subsets were drawn by shuffle(seed).select(range(n))."""
    published = datasets.Dataset.from_dict({"row": range(1000)}).shuffle(seed=42).select(range(100))
    assert shuffled_order(1000, 42)[:100].tolist() == list(published["row"])


def test_the_first_rows_are_taken_as_they_stand_where_nothing_is_shuffled():
    first = {"stratify": False, "shuffle": False}
    found = splits(train={"size": 30, **first}, validation={"size": 20, **first}, seed=5)
    assert found.validation.rows.tolist() == list(range(20))
    assert found.train.rows.tolist() == list(range(20, 50))


def test_a_published_subset_is_drawn_again(tmp_path: Path):
    for name, rows in (("train", 300), ("test", 200)):
        lines = [f"{name} {i},{i % 2}" for i in range(rows)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["text,label", *lines]))
    found = splits(
        seed=42,
        path=str(tmp_path),
        rows=None,
        train={"size": 100, "stratify": False},
        validation={"split": "test", "size": 50, "stratify": False},
    )
    for part, name in ((found.train, "train"), (found.validation, "test")):
        whole = datasets.Dataset.from_csv(
            str(tmp_path / f"{name}.csv"), keep_in_memory=True, cache_dir=str(tmp_path / "cache")
        )
        assert list(part.texts) == list(whole.shuffle(seed=42).select(range(len(part)))["text"])


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"train": 91}, "data.train asks for 91 rows of split 'train', where 90 of 100 good rows are left"),
        ({"validation": 101}, "data.validation asks for 101 rows"),
        ({"train": 0.95}, "data.train asks for 95 rows"),
    ],
)
def test_more_rows_than_there_are_are_refused_with_the_number(asked: dict[str, Any], words: str, tmp_path: Path):
    (tmp_path / "rows.csv").write_text("\n".join(["text,label", *(f"t{i},{i % 2}" for i in range(100))]))
    with pytest.raises(DataError, match=words):
        splits(path=str(tmp_path / "rows.csv"), rows=None, **{"validation": 10, **asked})


def test_a_split_left_with_a_single_class_is_refused():
    with pytest.raises(DataError, match="data.validation: all 1 rows have the label"):
        splits(train=100, validation={"size": 1, "stratify": False})


def test_the_higher_label_is_the_positive_one_unless_told():
    assert splits(validation=50).positive == 1
    assert splits(validation=50, positive="negative").positive == 0
    with pytest.raises(DataError, match="data.positive is 'good', but the labels are negative, positive"):
        splits(validation=50, positive="good")


def test_beyond_two_classes_there_is_no_positive_one():
    assert splits(label="product", validation=100).positive is None


def test_the_fingerprint_changes_with_text_label_order_and_split():
    parts = {"train": examples(["x", "y"], [0, 1]), "validation": examples(["z", "v"], [0, 1])}
    others = [
        {**parts, "train": examples(["x", "Y"], [0, 1])},
        {**parts, "train": examples(["x", "y"], [1, 0])},
        {**parts, "train": examples(["y", "x"], [1, 0])},
        {**parts, "train": examples(["xy", ""], [0, 1])},
        {"train": parts["validation"], "validation": parts["train"]},
    ]
    assert len({fingerprint(p) for p in [parts, *others]}) == 6
    assert fingerprint(dict(parts)) == fingerprint(parts)


def test_overlap_and_duplicates_see_through_spaces_and_capitals():
    first, second = examples(["A  b", "c", "c ", "d"]), examples(["a B\n", "C", "e"])
    assert overlap(second, first) == 2
    assert duplicates(first) == 1


def test_a_pair_is_the_same_only_if_both_texts_are():
    first = replace(examples(["a", "a"]), pairs=["x", "y"])
    assert duplicates(first) == 0


def test_conflicts_are_texts_with_several_labels():
    assert conflicts(examples(["a", "a", "b", "b", "c"], [0, 1, 1, 1, 0])) == 1


def test_a_reader_is_warned_of_overlap_and_of_rows_left_out(tmp_path: Path):
    lines = ["text,label", "a,0", "b,1", "c,0", "d,1", ",0", "e,"]
    (tmp_path / "train.csv").write_text("\n".join(lines))
    (tmp_path / "test.csv").write_text("text,label\nA,0\nnew,1\n")
    found = splits(path=str(tmp_path), rows=None, validation={"split": "test"}, on_bad_row="drop")
    assert any("1 of 2 validation rows have a text that is also in train" in w for w in found.warnings)
    assert any("1 empty text, 1 missing label" in w for w in found.warnings)
    assert found.train.dropped == {"empty text": 1, "missing label": 1}


def test_rows_left_out_of_one_source_are_counted_once(tmp_path: Path):
    (tmp_path / "rows.csv").write_text("\n".join(["text,label", ",1", *(f"t{i},{i % 2}" for i in range(20))]))
    found = splits(path=str(tmp_path / "rows.csv"), rows=None, validation=6, on_bad_row="drop")
    assert sum(sum(part.dropped.values()) for part in found.parts().values()) == 1


def test_every_training_row_validates_in_exactly_one_fold():
    whole = splits(train=203, validation=100, test=50)
    held_out = []
    for number in range(5):
        part = fold(whole, number, 5, seed=7)
        assert not set(part.train.rows.tolist()) & set(part.validation.rows.tolist())
        assert len(part.train) + len(part.validation) == 203
        assert part.test is whole.test
        assert abs(int((part.validation.labels == 0).sum()) - int((part.validation.labels == 1).sum())) <= 1
        held_out += part.validation.rows.tolist()
    assert sorted(held_out) == sorted(whole.train.rows.tolist())


def test_folds_are_drawn_by_the_seed():
    whole = splits(train=100, validation=100)
    assert fold(whole, 0, 4, seed=1).fingerprint == fold(whole, 0, 4, seed=1).fingerprint
    assert fold(whole, 0, 4, seed=1).fingerprint != fold(whole, 0, 4, seed=2).fingerprint


@pytest.mark.parametrize(("number", "folds"), [(5, 5), (-1, 5), (0, 1), (0, 101)])
def test_impossible_folds_are_refused(number: int, folds: int):
    with pytest.raises(DataError, match="folds"):
        fold(splits(train=100, validation=100), number, folds, seed=1)


def test_groups_and_pairs_come_along():
    found = splits(validation=100, groups="product", text_pair="title")
    assert len(found.validation.groups) == 100
    assert found.validation.pairs is not None and all(found.validation.pairs)

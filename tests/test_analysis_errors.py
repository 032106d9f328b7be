"""Where a classifier errs: confusions, classes, confident errors, near misses and lengths, by hand and by SciPy."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from harness.analysis import errors
from harness.analysis.statistics import wilson

NAMES = ["cat", "dog", "owl"]
TABLE = np.array([[8, 2, 0], [1, 5, 4], [0, 0, 0]])  # no owl, four taken for one


def answered(
    logits: list[list[float]], gold: list[int], texts: list[str | None] | None = None, group: str = ""
) -> pd.DataFrame:
    """Answers to examples whose source rows are 100, 101, ..."""
    count = len(gold)
    examples = pd.DataFrame(
        {
            "source_row": pd.Series(range(100, 100 + count), dtype="Int64"),
            "group": pd.Series([group] * count, dtype="str"),
            "text": pd.Series(["four"] * count if texts is None else texts, dtype="str"),
        }
    )
    return errors.answers(np.array(logits, np.float32).reshape(count, -1), gold, examples)


def of_lengths(lengths: list[int], wrong: list[bool]) -> pd.DataFrame:
    logits = [[0.0, 1.0] if each else [1.0, 0.0] for each in wrong]
    return answered(logits, [0] * len(wrong), ["x" * length for length in lengths])


# --- answers ------------------------------------------------------------------------------------------


def test_an_answer_is_the_likeliest_class_with_its_probability_and_that_of_the_right_one():
    row = answered([[math.log(2), math.log(5), math.log(3)]], [0]).iloc[0]
    assert (row["predicted"], row["gold"], row["wrong"]) == (1, 0, True)
    assert (row["probability"], row["gold_probability"]) == (pytest.approx(0.5), pytest.approx(0.2))
    assert row["gold_rank"] == 3 and row["characters"] == 4 and row["source_row"] == 100


def test_of_equal_logits_the_lower_id_is_the_answer_and_comes_first():
    found = answered([[1.0, 1.0, 0.0], [0.0, 1.0, 1.0]], [1, 1])
    assert found["predicted"].tolist() == [0, 1] and found["gold_rank"].tolist() == [2, 1]


def test_an_example_without_finite_logits_is_left_out():
    found = answered([[1.0, 0.0], [math.nan, 0.0], [0.0, 1.0]], [0, 0, 0], ["a", "bb", "ccc"])
    assert found["text"].tolist() == ["a", "ccc"] and found["wrong"].tolist() == [False, True]
    assert len(answered([[math.nan, math.nan]], [1])) == 0


def test_without_texts_there_are_no_lengths():
    found = answered([[1.0, 0.0]], [1], [None])
    assert found["characters"].isna().all() and errors.by_length(found).empty


# --- classes ------------------------------------------------------------------------------------------


def test_the_matrix_counts_gold_by_row():
    found = answered([[1, 0], [0, 1], [0, 1]], [0, 0, 1])
    assert errors.matrix(found, 2).tolist() == [[1, 1], [0, 1]]


def test_each_class_has_precision_recall_and_f1_with_their_intervals():
    frame = errors.by_class(TABLE, NAMES).set_index("class")
    assert frame.loc["cat", "precision"] == pytest.approx(8 / 9) and frame.loc["cat", "recall"] == pytest.approx(8 / 10)
    assert frame.loc["dog", "f1"] == pytest.approx(2 * 5 / (10 + 7))
    assert (
        frame.loc["dog", "recall_low"] == wilson(5, 10).low and frame.loc["cat", "precision_high"] == wilson(8, 9).high
    )
    assert frame["examples"].tolist() == [10, 10, 0] and frame["predicted_so"].tolist() == [9, 7, 4]


def test_a_class_that_never_occurs_has_no_recall():
    owl = errors.by_class(TABLE, NAMES).set_index("class").loc["owl"]
    assert math.isnan(owl["recall"]) and owl["precision"] == 0.0 and owl["f1"] == 0.0
    nothing = errors.by_class(np.zeros((1, 1), int), ["cat"]).iloc[0]
    assert all(math.isnan(nothing[name]) for name in ("precision", "recall", "f1"))


def test_the_interval_of_f1_is_that_of_the_share_of_hits_among_those_concerned():
    found = errors.f1_interval(5, 12)  # 5 hits, 3 missed, 4 taken for it by mistake
    assert found.estimate == pytest.approx(2 * 5 / (2 * 5 + 3 + 4))
    low = wilson(5, 12).low
    assert found.low == pytest.approx(2 * low / (1 + low)) and found.low < found.estimate < found.high


def test_the_interval_of_f1_covers_the_true_f1_in_about_95_of_100_samples():
    rng, cells = np.random.default_rng(0), [0.30, 0.08, 0.12, 0.50]  # hit, missed, false alarm, neither
    truth = 2 * cells[0] / (2 * cells[0] + cells[1] + cells[2])
    covered = 0
    for hit, missed, alarm, _ in rng.multinomial(150, cells, size=1000):
        interval = errors.f1_interval(int(hit), int(hit + missed + alarm))
        covered += interval.low <= truth <= interval.high
    assert 930 <= covered <= 970


def test_the_most_frequent_confusion_comes_first_with_its_share_of_the_gold_class():
    frame = errors.confusions(TABLE, NAMES)
    assert frame[["gold", "predicted", "examples", "of"]].values.tolist() == [
        ["dog", "owl", 4, 10],
        ["cat", "dog", 2, 10],
        ["dog", "cat", 1, 10],
    ]
    assert frame["share_high"][0] == wilson(4, 10).high
    assert errors.confusions(np.diag([3, 3]), NAMES).empty


# --- single errors --------------------------------------------------------------------------------------


def test_the_most_confident_errors_are_wrong_and_in_order():
    found = answered([[0, 1], [0, 5], [3, 0], [0, 2]], [0, 0, 0, 0], ["1", "5", "right", "2"])
    assert errors.most_confident(found)["text"].tolist() == ["5", "2", "1"]
    assert errors.most_confident(found, 1)["text"].tolist() == ["5"]


def test_a_near_miss_gave_the_gold_class_almost_as_much():
    # By how much the answer beats the gold class, not by how little it is believed.
    found = answered([[2.0, 2.1, 0.0], [0.9, 1.0, 1.1]], [0, 0], ["close", "unsure"])
    near = errors.near_misses(found)
    assert near["text"].tolist() == ["close", "unsure"]
    assert near["margin"].tolist() == pytest.approx((found["probability"] - found["gold_probability"]).tolist())


# --- kinds of examples ------------------------------------------------------------------------------------


def test_fifths_of_length_hold_as_many_texts_as_each_other():
    found = errors.by_length(of_lengths(list(range(1, 11)), [False] * 8 + [True, True]))
    assert found["part"].tolist() == ["1 to 2", "3 to 4", "5 to 6", "7 to 8", "9 to 10"]
    assert found["examples"].tolist() == [2] * 5 and found["wrong"].tolist() == [0, 0, 0, 0, 2]
    assert found["error_share_high"][4] == wilson(2, 2).high


def test_equal_lengths_are_in_one_part():
    assert errors.by_length(of_lengths([7] * 9, [True] * 9))["part"].tolist() == ["7"]
    parts = errors.fifths(np.array([1, 1, 1, 1, 1, 1, 9]))
    assert [(name, int(chosen.sum())) for name, chosen in parts] == [("1", 6), ("9", 1)]
    assert errors.fifths(np.array([], dtype=np.int64)) == []


def test_groups_come_with_most_errors_first():
    easy = answered([[1, 0]] * 4, [0] * 4, group="en")
    hard = answered([[0, 1]] * 3 + [[1, 0]], [0] * 4, group="de")
    found = errors.by_group(pd.concat([easy, hard], ignore_index=True))
    assert found[["part", "examples", "wrong", "error_share"]].values.tolist() == [
        ["de", 4, 3, 0.75],
        ["en", 4, 0, 0.0],
    ]
    assert errors.by_group(answered([[1, 0]], [0])).empty


@pytest.mark.parametrize("seed", range(5))
def test_the_test_of_lengths_is_that_of_scipy(seed: int):
    rng = np.random.default_rng(seed)
    first, second = rng.integers(0, 20, 30), rng.integers(0, 24, 45)  # many ties
    slow = stats.mannwhitneyu(first, second, method="asymptotic")
    found = errors.tends_larger(first, second)
    assert found.share == pytest.approx(slow.statistic / (30 * 45)) and found.p_value == pytest.approx(slow.pvalue)


def test_lengths_that_are_all_equal_or_missing_have_no_test():
    assert errors.tends_larger([3, 3], [3]).share == 0.5 and math.isnan(errors.tends_larger([3, 3], [3]).p_value)
    assert math.isnan(errors.tends_larger([], [1]).share)

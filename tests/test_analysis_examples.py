"""Training dynamics, churn and flips: each against its slow twin, and by numbers small enough to check by hand."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from harness.analysis import examples

RNG = np.random.default_rng(3)


def slow_map(runs: list[np.ndarray]) -> list[tuple[float, ...]]:
    """The definitions, one example and one pass at a time."""
    found = []
    for place in range(runs[0].shape[1]):
        means, spreads, right, passes = [], [], 0, 0
        for run in runs:
            seen = [float(epoch[place]) for epoch in run if not math.isnan(epoch[place])]
            chances = [1 / (1 + math.exp(-margin)) for margin in seen]
            right, passes = right + sum(margin > 0 for margin in seen), passes + len(seen)
            if chances:
                mean = sum(chances) / len(chances)
                means.append(mean)
                spreads.append(math.sqrt(sum((chance - mean) ** 2 for chance in chances) / len(chances)))
        if passes:
            confidence, variability = sum(means) / len(means), sum(spreads) / len(spreads)
            found.append((place, confidence, variability, right / passes, passes))
    return found


def test_the_data_map_is_that_of_a_slow_twin_with_runs_of_other_lengths_and_passes_that_were_not_seen() -> None:
    runs = [RNG.normal(0, 2, (epochs, 12)) for epochs in (3, 5)]
    runs[0][1, 4] = runs[1][0, 4] = np.nan
    runs[0][:, 7] = np.nan
    for run in runs:
        run[:, 9] = np.nan
    mapped = examples.data_map(runs)
    assert 9 not in mapped["position"].tolist() and len(mapped) == 11
    np.testing.assert_allclose(mapped.to_numpy(np.float64), slow_map(runs), rtol=1e-12)


def test_an_example_that_is_half_believed_in_one_epoch_and_wholly_in_another_is_ambiguous() -> None:
    (row,) = examples.data_map([np.array([[0.0], [math.log(9)]])]).to_dict("records")
    assert row["confidence"] == pytest.approx(0.7)
    assert row["variability"] == pytest.approx(0.2)
    assert (row["right_share"], row["passes"]) == (0.5, 2)


def test_margins_are_those_against_the_best_other_class() -> None:
    table = RNG.normal(size=(30, 4))
    table[5, 2] = np.nan
    gold = RNG.integers(0, 4, 30)
    expected = [
        math.nan if row == 5 else table[row, label] - max(table[row, k] for k in range(4) if k != label)
        for row, label in enumerate(gold)
    ]
    np.testing.assert_array_equal(examples.margins(table, gold), expected)


def test_never_right_needs_more_than_one_pass_and_puts_the_least_believed_first() -> None:
    never = examples.never_right(examples.data_map([np.array([[-1.0, -3.0, -2.0, -9.0], [-1.0, -3.0, 0.5, np.nan]])]))
    assert never["position"].tolist() == [1, 0]


def test_without_a_run_there_is_no_map() -> None:
    assert examples.data_map([]).empty


def test_churn_and_agreement_are_those_of_slow_twins() -> None:
    answers = RNG.integers(0, 3, (4, 25))
    found = examples.churn(answers)
    pairs = [
        sum(int(answers[a][i] != answers[b][i]) for i in range(25)) / 25 for a in range(4) for b in range(a + 1, 4)
    ]
    assert (found.mean, found.low, found.high) == pytest.approx((sum(pairs) / 6, min(pairs), max(pairs)))
    assert found.pairs == 6
    changing = sum(len({run[i] for run in answers.tolist()}) > 1 for i in range(25))
    assert found.changing.estimate == pytest.approx(changing / 25)
    agree = [max(answers[:, i].tolist().count(label) for label in range(3)) / 4 for i in range(25)]
    assert examples.agreement(answers).tolist() == agree


def answered(rows: list[int], predicted: list[int], gold: list[int]) -> pd.DataFrame:
    wrong = [answer != label for answer, label in zip(predicted, gold, strict=True)]
    return pd.DataFrame({"source_row": rows, "predicted": predicted, "wrong": wrong, "probability": 0.9, "gold": gold})


def test_flips_are_told_by_what_they_do_and_examples_of_one_side_alone_are_left_out() -> None:
    first = answered([10, 11, 12, 13, 14], [0, 0, 1, 2, 0], [0, 1, 1, 1, 0])
    other = answered([13, 12, 11, 10, 99], [0, 0, 1, 0, 0], [1, 1, 1, 0, 0])
    found = examples.flips(first, other)
    assert found[["source_row", "way"]].values.tolist() == [
        [11, "becomes right"],
        [12, "becomes wrong"],
        [13, "wrong in another way"],
    ]


def test_flips_are_those_of_a_slow_twin() -> None:
    gold = RNG.integers(0, 3, 60).tolist()
    one, two = (answered(list(range(60)), RNG.integers(0, 3, 60).tolist(), gold) for _ in range(2))
    expected = []
    for row in range(60):
        before, after = one["predicted"][row], two["predicted"][row]
        if before != after:
            way = 0 if after == gold[row] else 1 if before == gold[row] else 2
            expected.append((row, examples.FLIPS[way]))
    found = examples.flips(one, two)
    assert list(zip(found["source_row"], found["way"], strict=True)) == expected


def test_other_words_for_a_right_answer_are_no_flip() -> None:
    first, other = answered([1], [0], [0]), answered([1], [1], [1])
    assert examples.flips(first, other).empty


def test_answers_are_brought_into_one_order() -> None:
    first, other = answered([3, 1, 2], [0, 1, 0], [0, 1, 0]), answered([1, 2, 3], [1, 1, 0], [1, 0, 0])
    rows, ids = examples.answers_alike([first, other])
    assert rows == [3, 1, 2]
    assert (ids[0] == ids[1]).tolist() == [True, True, False]

"""A family of comparisons, corrected together, and the sentence that each becomes."""

from __future__ import annotations

import math

import numpy as np
import pytest

from harness.analysis.families import (
    TABLE,
    corrected,
    over_examples,
    over_other_seeds,
    over_seeds,
    over_shares,
    table,
)
from harness.analysis.paired import discordant, equivalence, mcnemar, paired_t, sign_flip_p
from harness.analysis.power import detectable_difference
from harness.analysis.sentences import equivalence_sentence, sentence
from harness.analysis.statistics import holm, paired_bootstrap
from harness.analysis.unpaired import probability_of_superiority, welch_t

BASE = np.array([0.840, 0.846, 0.838, 0.851, 0.843])
BETTER = BASE + [0.008, 0.009, 0.006, 0.010, 0.007]


def said(*family):
    return [sentence(each) for each in corrected(family)]


# --- which test ----------------------------------------------------------------------------------------


def test_several_seeds_are_compared_by_their_means():
    found = over_seeds("A", "B", "f1", BETTER, BASE, examples=1000)
    assert (found.test, found.seeds, found.planned_in) == ("paired t", 5, "seeds")
    assert found.difference == paired_t(BETTER, BASE)
    assert found.wins.estimate == 1.0


def test_other_seeds_on_each_side_are_compared_by_welch():
    found = over_other_seeds("A", "B", "f1", BETTER[:3], BASE)
    assert (found.test, found.seeds, found.planned_in) == ("Welch's t", 3, "seeds")
    assert found.difference == welch_t(BETTER[:3], BASE)
    assert found.wins == probability_of_superiority(BETTER[:3], BASE)
    assert math.isnan(over_other_seeds("A", "B", "f1", [0.9], BASE).spread)


def test_one_seed_is_compared_by_its_examples():
    rng = np.random.default_rng(0)
    right = rng.random((2, 200)) < [[0.8], [0.7]]
    assert over_examples("A", "B", "accuracy", *right).difference == mcnemar(discordant(*right))
    losses = rng.random((2, 200))
    found = over_examples("A", "B", "loss", *losses)
    assert (found.test, found.seeds, found.planned_in) == ("paired bootstrap", 1, "examples")
    assert found.difference == paired_bootstrap(*losses)


def test_a_score_that_is_not_finite_is_refused_not_left_out():
    with pytest.raises(ValueError, match="1 scores of A and B are not finite"):
        over_examples("A", "B", "loss", [0.1, math.nan], [0.1, 0.2])


# --- the family ----------------------------------------------------------------------------------------


def test_a_family_is_corrected_by_holm_and_what_has_no_p_value_counts_for_nothing():
    rng = np.random.default_rng(1)
    family = [over_seeds("A", str(i), "f1", rng.normal(0.01, 0.01, 5), np.zeros(5)) for i in range(3)]
    alone = over_seeds("A", "x", "f1", [0.9], [0.8])
    found = corrected([*family, alone])
    assert [each.adjusted_p for each in found[:3]] == holm([each.difference.p_value for each in family])
    assert [each.tests for each in found] == [3, 3, 3, 3] and math.isnan(found[3].adjusted_p)
    assert not found[3].told_apart


def test_a_permutation_test_stands_beside_only_where_it_can_pass_the_correction():
    """Six seeds reach 0.031: alone it can pass, as one of two it cannot, and five seeds never can."""
    a, b = np.arange(1.0, 7.0), np.zeros(6)
    six = over_seeds("A", "B", "f1", a, b)
    assert corrected([six])[0].sign_flip_p == sign_flip_p(a, b) == 0.03125
    assert [each.sign_flip_p for each in corrected([six, six])] == [None, None]
    assert corrected([over_seeds("A", "B", "f1", a[:5], b[:5])])[0].sign_flip_p is None
    eight = over_seeds("A", "B", "f1", np.arange(1.0, 9.0), np.zeros(8))
    assert corrected([eight, six])[0].sign_flip_p == pytest.approx(2 * 2 / 2**8)


def test_the_table_has_one_row_a_comparison_and_says_what_is_unreplicated():
    family = corrected([over_seeds("A", "B", "f1", BETTER, BASE), over_shares("C", "D", "accuracy", 8, 10, 7, 10)])
    frame = table(family)
    assert list(frame.columns) == TABLE
    assert frame["replicated"].tolist() == [True, False]
    assert frame["needed"].dtype == "Int64" and frame["examples"].isna().tolist() == [True, False]
    assert list(table([]).columns) == TABLE


# --- the sentence --------------------------------------------------------------------------------------


def test_who_wins_is_said_with_size_interval_test_seeds_and_examples():
    family = [
        over_seeds("A", "B", "f1", BETTER, BASE, 1000),
        over_seeds("C", "B", "f1", BASE + 0.001, BASE[::-1], 1000),
    ]
    first, second = said(*family)
    assert first == "A beats B by 0.8 ± 0.2 points of F1 (p < 0.001, Holm, 5 seeds, 1,000 examples)"
    assert second.startswith("cannot tell C from B (0.1 ± ") and second.endswith(" seeds would be needed")


def test_a_loss_is_better_when_it_is_lower_and_the_winner_stands_first():
    losses = np.array([0.41, 0.40, 0.42])
    assert said(over_seeds("A", "B", "loss", losses + [0.10, 0.11, 0.105], losses)) == [
        "B beats A by 0.105 ± 0.012 in validation loss (p < 0.001, 3 seeds)"
    ]


def test_published_0_84_and_0_85_on_500_reviews_cannot_be_told_apart():
    """P2 in the published runs: model 2 against the refined run; nothing but two accuracies is known."""
    (words,) = said(over_shares("the refined run", "model 2", "accuracy", 425, 500, 420, 500))
    assert words == (
        "cannot tell the refined run from model 2 (1.0 ± 4.5 points of accuracy, p = 0.73, Fisher, no pairs, "
        "1 seed: unreplicated, 500 examples); about 21,000 examples would be needed"
    )


def test_the_number_needed_for_published_shares_is_that_of_the_formula():
    (found,) = corrected([over_shares("a", "b", "accuracy", 425, 500, 420, 500)])
    z, power = 1.959964, 0.841621
    middle = 0.845
    expected = (z * math.sqrt(2 * middle * (1 - middle)) + power * math.sqrt(0.84 * 0.16 + 0.85 * 0.15)) ** 2 / 0.01**2
    assert found.needed == math.ceil(expected)


def test_one_seed_is_called_unreplicated_even_where_it_wins():
    right = np.r_[np.ones(90), np.zeros(10)], np.r_[np.ones(60), np.zeros(40)]
    (words,) = said(over_examples("A", "B", "accuracy", *right))
    assert words.startswith("A beats B by 30.0 [") and "1 seed: unreplicated, 100 examples" in words


def test_what_is_missing_is_said():
    assert said(over_seeds("A", "B", "f1", [math.nan], [0.8])) == ["cannot tell A from B: F1 is missing"]
    assert said(over_seeds("A", "B", "f1", [0.9], [0.8])) == [
        "cannot tell A from B (10.0 points of F1, no interval, 1 seed: unreplicated); more seeds would be needed"
    ]


def test_runs_that_never_differ_need_no_number():
    assert said(over_seeds("A", "B", "f1", BASE, BASE)) == [
        "cannot tell A from B (0.0 ± 0.0 points of F1, p = 1.00, 5 seeds)"
    ]


def test_the_number_needed_is_more_than_there_was():
    close = over_seeds("A", "B", "f1", BASE + [0.004, 0.008, 0.001, 0.009, 0.002], BASE)
    loose = over_seeds("C", "B", "f1", BASE + [0.5, -0.4, 0.3, -0.2, 0.1], BASE)
    found = corrected([close, loose])
    if not found[0].told_apart:
        assert int(sentence(found[0]).split("; ")[1].split()[0]) > 5
    assert not found[1].told_apart and "seeds would be needed" in sentence(found[1])


def test_what_other_seeds_would_find_is_planned_for_the_smaller_side():
    few, many = np.array([0.80, 0.82, 0.81]), np.linspace(0.7, 0.9, 20)
    found = over_other_seeds("A", "B", "f1", few, many)
    assert found.detectable == pytest.approx(detectable_difference(found.spread, 3))
    assert found.detectable > 2 * detectable_difference(found.spread, 23)


def test_equivalence_is_said_of_what_lies_within_the_margin():
    (found,) = corrected([over_seeds("A", "B", "f1", BASE + [0.001, -0.001, 0.0, 0.001, -0.001], BASE)])
    alike = equivalence(BASE + [0.001, -0.001, 0.0, 0.001, -0.001], BASE, 0.01)
    assert equivalence_sentence(found, alike, 0.01) == (
        "A and B differ by less than 1.0 points of F1 (p < 0.001, TOST, 5 seeds)"
    )
    unlike = equivalence(BASE + [0.02, -0.03, 0.01, 0.04, -0.02], BASE, 0.01)
    assert equivalence_sentence(found, unlike, 0.01).startswith("it is not shown that A and B differ by less than")

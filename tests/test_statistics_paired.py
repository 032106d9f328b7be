"""Tests and intervals for pairs: published worked examples, and slow twins that anybody can read."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import optimize, stats

from harness.analysis.crossed import crossed_t, hierarchical_bootstrap, pigeonhole_means, spread
from harness.analysis.paired import (
    Discordant,
    differences,
    discordant,
    effect_size,
    equivalence,
    mcnemar,
    paired_t,
    share_of_wins,
    sign_flip_p,
    smallest_sign_flip_p,
)

# Student, 1908: additional hours of sleep with two drugs; R's data set `sleep`.
SLEEP = (
    [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4],
    [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0],
)
# Darwin's crossed and self-fertilised maize in eighths of an inch, as in Fisher, 1935, section 17.
MAIZE = [49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]
# Lakens, 2013, table 1: ten people judge two movies.
MOVIES = ([9, 7, 8, 9, 8, 9, 9, 10, 9, 9], [9, 6, 7, 8, 7, 9, 8, 8, 8, 7])


# --- Student's t ---------------------------------------------------------------------------------------


def test_paired_t_gives_students_sleep_data():
    """R, help of t.test: t = 4.0621 on 9 degrees, p = 0.002833, 95% interval 0.7001142 to 2.4598858."""
    found = paired_t(*SLEEP)
    assert found[:4] == pytest.approx((1.58, 0.7001142, 2.4598858, 0.002833), abs=5e-7)
    assert found.n == 10


def test_paired_t_gives_fishers_maize():
    """Fisher, 1935, section 17: t = 2.148 on 14 degrees, just beyond the 5% point."""
    found = paired_t(MAIZE, np.zeros(15))
    assert found.estimate == pytest.approx(20.933, abs=5e-4)
    assert found.p_value == pytest.approx(0.0497, abs=5e-5)


@pytest.mark.parametrize("seed", range(5))
def test_paired_t_is_that_of_scipy(seed):
    a, b = np.random.default_rng(seed).normal(size=(2, 3 + seed))
    expected = stats.ttest_rel(a, b)
    bounds = expected.confidence_interval(0.9)
    assert paired_t(a, b, level=0.9)[1:4] == pytest.approx((bounds.low, bounds.high, expected.pvalue))


def test_a_diverged_seed_is_left_out_with_its_pair():
    assert differences([0.8, math.nan, 0.9, 0.7], [0.7, 0.6, math.inf, 0.5]) == pytest.approx([0.1, 0.2])
    assert paired_t([0.8, math.nan, 0.9, 0.7], [0.7, 0.6, math.inf, 0.5]).n == 2


def test_a_spread_that_is_not_known_gives_no_p_value():
    one = paired_t([0.9], [0.8])
    assert one.estimate == pytest.approx(0.1) and math.isnan(one.p_value) and math.isnan(one.low)
    alike = paired_t([0.9, 0.8], [0.8, 0.7])  # the same difference twice, but for rounding
    assert alike.estimate == pytest.approx(0.1) and math.isnan(alike.p_value)
    assert paired_t([0.9, 0.8], [0.9, 0.8])[:4] == (0.0, 0.0, 0.0, 1.0)
    assert paired_t([], []).n == 0 and math.isnan(paired_t([], []).estimate)


def test_pairs_of_unlike_number_are_refused():
    with pytest.raises(ValueError, match=r"pairs need one shape \(pairs,\), got \(2,\) and \(3,\)"):
        paired_t([1, 2], [1, 2, 3])


# --- permutations of seeds -----------------------------------------------------------------------------


def test_sign_flips_give_fishers_count_of_the_maize():
    """Fisher, 1935, section 21: 1,726 of the 32,768 ways to swap signs give a sum as large as 314."""
    assert sign_flip_p(MAIZE, np.zeros(15)) == 1726 / 32768


@pytest.mark.parametrize("seed", range(3))
def test_sign_flips_are_an_enumeration(seed):
    a, b = np.random.default_rng(seed).normal(size=(2, 7)).round(1)  # rounded, so that sums tie
    found = [round(x - y, 1) for x, y in zip(a, b, strict=True)]
    sums = [
        abs(sum(s * d for s, d in zip(signs, found, strict=True))) for signs in itertools.product((1, -1), repeat=7)
    ]
    reached = sum(each >= abs(sum(found)) - 1e-9 for each in sums)
    assert sign_flip_p(a, b) == reached / 2**7


def test_random_sign_flips_come_close_to_all_of_them():
    """Sixteen pairs are enumerated; the same and a pair without a difference are seventeen, and are drawn."""
    a = np.random.default_rng(5).normal(0.4, 1, 16)
    all_of_them = sign_flip_p(a, np.zeros(16))
    drawn = sign_flip_p(np.append(a, 0.0), np.zeros(17))
    assert drawn == pytest.approx(all_of_them, abs=4 * math.sqrt(all_of_them / 65_536))


def test_five_seeds_can_never_pass_the_permutation_test():
    assert smallest_sign_flip_p(5) == sign_flip_p(np.arange(1, 6), np.zeros(5)) == 0.0625
    assert smallest_sign_flip_p(6) == sign_flip_p(np.arange(1, 7), np.zeros(6)) == 0.03125
    assert math.isnan(smallest_sign_flip_p(0)) and math.isnan(sign_flip_p([], []))


# --- right and wrong on the same examples --------------------------------------------------------------


def test_mcnemar_gives_fays_exact_p_value():
    """Fay, "Two-sided Exact Tests", The R Journal 2/1, 2010: 21, 9, 2 and 12 give 0.06543."""
    assert mcnemar(Discordant(21, 9, 2, 12)).p_value == pytest.approx(0.06543, abs=5e-6)


def test_mcnemar_gives_newcombes_published_interval():
    """Newcombe, 1998 (pairs), method 10: of 50 pairs, 36 both, 12 and 2 one alone, give 0.0569 to 0.3404."""
    found = mcnemar(Discordant(36, 12, 2, 0))
    assert found.estimate == pytest.approx(0.2)
    assert (found.low, found.high) == (pytest.approx(0.0569, abs=5e-5), pytest.approx(0.3404, abs=5e-5))


@pytest.mark.parametrize("counts", [(36, 12, 2, 0), (20, 12, 2, 16), (1, 1, 7, 12), (794, 86, 150, 570), (5, 9, 9, 4)])
def test_the_interval_of_mcnemar_adds_two_arms_that_are_correlated(counts):
    """The twin takes scipy's Wilson intervals, and the arms' length from the quadratic form of their correlation."""
    both, only_a, only_b, neither = counts
    n = sum(counts)
    a, b = (stats.binomtest(both + only, n).proportion_ci(method="wilson") for only in (only_a, only_b))
    share_a, share_b = (both + only_a) / n, (both + only_b) / n
    product = both * neither - only_a * only_b
    product = max(product - n / 2, 0) if product > 0 else product
    phi = product / math.sqrt(math.prod([both + only_a, only_b + neither, both + only_b, only_a + neither]))
    form = np.array([[1, -phi], [-phi, 1]])
    below, above = np.array([share_a - a.low, b.high - share_b]), np.array([share_b - b.low, a.high - share_a])
    expected = share_a - share_b - math.sqrt(below @ form @ below), share_a - share_b + math.sqrt(above @ form @ above)
    assert mcnemar(Discordant(*counts))[1:3] == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(5))
def test_mcnemar_is_a_sign_test_of_the_examples_that_differ(seed):
    a, b = np.random.default_rng(seed).random((2, 60)) < 0.7
    counts = discordant(a, b)
    assert sum(counts) == 60
    assert counts.only_a == sum(x and not y for x, y in zip(a, b, strict=True))
    expected = stats.binomtest(counts.only_a, counts.only_a + counts.only_b).pvalue
    assert mcnemar(counts).p_value == pytest.approx(expected)
    assert mcnemar(counts).estimate == pytest.approx(a.mean() - b.mean())


def test_mcnemar_turned_round_is_the_same_turned_round():
    one, other = mcnemar(Discordant(30, 9, 2, 4)), mcnemar(Discordant(30, 2, 9, 4))
    assert (one.low, one.high, one.p_value) == pytest.approx((-other.high, -other.low, other.p_value))


def test_classifiers_that_never_differ_have_p_1_and_no_examples_no_p():
    assert mcnemar(Discordant(50, 0, 0, 10)).p_value == 1.0
    assert math.isnan(mcnemar(Discordant(0, 0, 0, 0)).p_value)
    with pytest.raises(ValueError, match="one shape"):
        discordant([True], [True, False])


# --- sizes ---------------------------------------------------------------------------------------------


def test_effect_size_gives_lakens_movies():
    """Lakens, 2013: t(9) = 4.74, d_z = 1.50, uncorrected."""
    found = effect_size(*MOVIES)
    uncorrected = paired_t(*MOVIES).estimate / differences(*MOVIES).std(ddof=1)
    assert uncorrected == pytest.approx(1.50, abs=5e-3)
    assert found.estimate == pytest.approx(uncorrected * (1 - 3 / (4 * 9 - 1)), rel=1e-3)  # Hedges' approximation


def test_effect_size_ends_where_a_noncentral_t_would_hardly_give_the_t_value():
    found, t_value = effect_size(*MOVIES), 1.5 * math.sqrt(10)
    for bound, tail in ((found.low, 0.975), (found.high, 0.025)):
        root = optimize.brentq(lambda shift, tail=tail: stats.nct.cdf(t_value, 9, shift) - tail, -5, 20)
        assert bound == pytest.approx(root / math.sqrt(10), abs=1e-6)


def test_effect_size_of_two_pairs_is_undefined():
    assert math.isnan(effect_size([1, 2], [0, 0]).estimate)
    assert math.isnan(effect_size([1, 2, 3], [0, 1, 2]).estimate)


def test_wins_count_a_tie_half_and_have_wilsons_interval():
    found = share_of_wins([3, 2, 2, 5], [1, 1, 2, 9])
    assert found[:1] + found[3:] == (0.625, 4)
    whole = share_of_wins(np.ones(29), np.r_[0.0, np.full(28, 2.0)])
    assert (whole.low, whole.high) == (pytest.approx(0.0061, abs=5e-5), pytest.approx(0.1718, abs=5e-5))  # Newcombe


# --- equivalence -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("margin", [0.2, 0.5, 1.0])
def test_equivalence_is_two_one_sided_t_tests(margin):
    a, b = np.random.default_rng(1).normal(size=(2, 12))
    below = stats.ttest_1samp(a - b, -margin, alternative="greater").pvalue
    above = stats.ttest_1samp(a - b, margin, alternative="less").pvalue
    found = equivalence(a, b, margin)
    assert found.p_value == pytest.approx(max(below, above))
    assert (found.p_value <= 0.05) == (-margin <= found.low and found.high <= margin)


def test_equal_runs_are_equivalent_and_a_margin_of_0_is_refused():
    assert math.isnan(equivalence([0.5, 0.6], [0.5, 0.6], 0.01).p_value)  # of two runs that agree no spread is known
    assert math.isnan(equivalence([0.5], [0.6], 0.01).p_value)
    with pytest.raises(ValueError, match="above 0, got 0"):
        equivalence([0.5, 0.6], [0.5, 0.6], 0)


# --- seeds and examples at once --------------------------------------------------------------------------


def table(seed=0, seeds=4, examples=30):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(seeds, 1)) + rng.normal(size=examples) + rng.normal(size=(seeds, examples))


def test_spread_is_the_analysis_of_variance_written_out():
    """Sums over every cell, as a book would write them; the three sums of squares add up to the whole."""
    values = table()
    mean = values.mean()
    by_seed = sum((row.mean() - mean) ** 2 for row in values for _ in row)
    by_example = sum((column.mean() - mean) ** 2 for column in values.T for _ in column)
    whole = sum((x - mean) ** 2 for x in values.flat)
    found = spread(values)
    assert found == pytest.approx((by_seed / 3, by_example / 29, (whole - by_seed - by_example) / (3 * 29)))


def test_crossed_t_of_examples_that_are_all_alike_is_the_paired_t_of_the_seeds():
    seeds = np.array([0.3, 0.1, 0.4, 0.2])
    scores = np.repeat(seeds[:, None], 50, axis=1)
    assert crossed_t(scores, np.zeros((4, 50)))[:4] == pytest.approx(paired_t(seeds, np.zeros(4))[:4])


def test_crossed_t_of_seeds_that_are_all_alike_is_the_paired_t_of_the_examples():
    examples = np.random.default_rng(2).normal(0.2, 1, 40)
    found = crossed_t(np.tile(examples, (3, 1)), np.zeros((3, 40)))
    assert found.estimate == pytest.approx(examples.mean())
    assert found.p_value == pytest.approx(paired_t(examples, np.zeros(40)).p_value)


def test_crossed_t_counts_what_the_seeds_alone_forget():
    values = table(seeds=8) * [[1]] + np.random.default_rng(9).normal(0, 3, 30)
    crossed, seeds_alone = crossed_t(values, np.zeros((8, 30))), paired_t(values.mean(axis=1), np.zeros(8))
    assert crossed.high - crossed.low > 1.3 * (seeds_alone.high - seeds_alone.low)


def test_a_table_that_says_nothing_of_its_spread_has_no_bounds():
    ones = np.ones((3, 5))
    assert math.isnan(crossed_t(ones, 0 * ones).p_value)
    assert crossed_t(ones, ones)[:4] == (0.0, 0.0, 0.0, 1.0)
    for compare in (crossed_t, hierarchical_bootstrap):
        assert math.isnan(compare(ones[:1], 0 * ones[:1]).low) and math.isnan(compare(ones, 0 * ones).low)
    with pytest.raises(ValueError, match=r"scores of seeds \[1\] are not finite"):
        crossed_t(np.where(np.arange(3)[:, None] == 1, np.nan, ones), ones)


def test_pigeonhole_means_are_those_of_rows_and_columns_drawn_one_by_one():
    """The slow twin draws row and column numbers in two loops; mean and spread of many draws agree."""
    values, rng = table(examples=6), np.random.default_rng(3)
    slow = []
    for _ in range(4000):
        rows, columns = [rng.integers(4) for _ in range(4)], [rng.integers(6) for _ in range(6)]
        slow.append(np.mean([values[r, c] for r in rows for c in columns]))
    fast = pigeonhole_means(values, 4000, 0)
    assert fast.mean() == pytest.approx(np.mean(slow), abs=4 * np.std(slow) / math.sqrt(2000))
    assert fast.std() == pytest.approx(np.std(slow), rel=0.06)


def test_the_hierarchical_bootstrap_of_examples_that_are_all_alike_is_the_paired_t():
    seeds = np.array([0.3, 0.1, 0.4, 0.2, 0.9])
    scores = np.repeat(seeds[:, None], 20, axis=1)
    found, exact = hierarchical_bootstrap(scores, np.zeros((5, 20)), 20_000), paired_t(seeds, np.zeros(5))
    assert found[:3] == pytest.approx(exact[:3], abs=0.02 * (exact.high - exact.low))
    assert found.p_value == pytest.approx(exact.p_value, rel=0.1)


def test_the_hierarchical_bootstrap_rejects_where_its_interval_leaves_0_out():
    for shift in np.linspace(0, 4, 9):
        found = hierarchical_bootstrap(table(4) + shift, np.zeros((4, 30)), 500)
        assert (found.p_value < 0.05) == (not found.low <= 0 <= found.high)
    same = table(4)
    assert hierarchical_bootstrap(same, same).p_value == 1.0

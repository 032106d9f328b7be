"""Comparisons without pairs, power, and what many trials do to the best: published figures and slow twins."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import optimize, stats

from harness.analysis.power import (
    detectable_difference,
    detectable_share,
    examples_needed,
    pairs_needed,
    power_of_pairs,
)
from harness.analysis.selection import (
    error_of_scores,
    expected_best,
    expected_largest_normal,
    one_standard_error,
    shrunken,
)
from harness.analysis.unpaired import probability_of_superiority, shares, welch_t

SLEEP = (
    [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0],
    [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4],
)


# --- without pairs -------------------------------------------------------------------------------------


def test_welch_t_gives_rs_sleep_example():
    """R, help of t.test, extra ~ group: t = -1.8608, df = 17.776, p = 0.07939, -3.3654832 to 0.2054832."""
    found = welch_t(*SLEEP)
    assert found[:4] == pytest.approx((-1.58, -3.3654832, 0.2054832, 0.07939), abs=5e-6)


def test_welch_t_is_that_of_scipy_for_unlike_numbers():
    a, b = np.random.default_rng(0).normal(size=5), np.random.default_rng(1).normal(0, 3, size=9)
    expected = stats.ttest_ind(a, b, equal_var=False)
    bounds = expected.confidence_interval(0.9)
    assert welch_t(a, b, level=0.9)[1:4] == pytest.approx((bounds.low, bounds.high, expected.pvalue))
    assert welch_t([*a, math.nan], b) == welch_t(a, b)


def test_welch_t_without_a_spread_has_no_bounds():
    for a, b in (([1.0], [2.0, 3.0]), ([1.0, 1.0], [2.0, 2.0]), ([], [1.0, 2.0])):
        assert math.isnan(welch_t(a, b).p_value)
    assert welch_t([1.0], [2.0, 4.0]).estimate == -2.0


@pytest.mark.parametrize(
    ("counts", "low", "high"),
    [
        ((56, 70, 48, 80), 0.0524, 0.3339),
        ((9, 10, 3, 10), 0.1705, 0.8090),
        ((6, 7, 2, 7), 0.0582, 0.8062),
        ((5, 56, 0, 29), -0.0381, 0.1926),
        ((0, 10, 0, 20), -0.1611, 0.2775),
        ((10, 10, 0, 10), 0.6075, 1.0000),
    ],
)
def test_shares_give_newcombes_published_intervals(counts, low, high):
    """Newcombe, 1998 (independent proportions), table II, method 10."""
    found = shares(*counts)
    assert (found.low, found.high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


def test_shares_give_the_p_value_of_the_lady_tasting_tea():
    """Fisher, 1935: three of four cups told right; 34 of 70 ways to guess do as well, on either side."""
    assert shares(3, 4, 1, 4).p_value == pytest.approx(34 / 70)


def test_fishers_p_value_is_a_sum_over_all_tables_of_those_margins():
    a, n, b, m = 11, 15, 4, 13
    weights = {k: math.comb(n, k) * math.comb(m, a + b - k) for k in range(a + b + 1) if k <= n and 0 <= a + b - k <= m}
    as_rare = sum(w for w in weights.values() if w <= weights[a])
    assert shares(a, n, b, m).p_value == pytest.approx(as_rare / sum(weights.values()))


def test_a_side_without_examples_is_undefined():
    assert math.isnan(shares(0, 0, 3, 4).estimate)
    with pytest.raises(ValueError, match=r"0 \.\. 4, got 5"):
        shares(5, 4, 1, 4)


def test_probability_of_superiority_is_a_count_over_all_pairs():
    a, b = np.random.default_rng(0).integers(0, 9, (2, 8))
    count = sum((x > y) + (x == y) / 2 for x, y in itertools.product(a, b))
    found = probability_of_superiority(a, b)
    assert found.estimate == count / 64 == stats.mannwhitneyu(a, b).statistic / 64


def test_the_interval_of_superiority_ends_where_the_standard_error_reaches_the_estimate():
    """Newcombe, 2006, method 5: Hanley and McNeil's variance with (m + n) / 2 in place of m and n."""
    a, b = [3, 5, 6, 7, 9], [1, 2, 4, 5, 8, 6]
    found = probability_of_superiority(a, b)

    def error(theta):
        star = (5 + 6) / 2 - 1
        spread = 1 + star * ((1 - theta) / (2 - theta) + theta / (1 + theta))
        return math.sqrt(theta * (1 - theta) * spread / 30)

    z = stats.norm.ppf(0.975)
    low = optimize.bisect(lambda theta: found.estimate - theta - z * error(theta), 1e-6, found.estimate)
    high = optimize.bisect(lambda theta: theta - found.estimate - z * error(theta), found.estimate, 1 - 1e-6)
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-6)


def test_superiority_has_a_width_even_where_all_are_above_all():
    found = probability_of_superiority([4, 5, 6], [1, 2, 3])
    assert found.estimate == found.high == 1.0 and 0.4 < found.low < 0.6
    turned = probability_of_superiority([1, 2, 3], [4, 5, 6])
    assert (turned.low, turned.high) == pytest.approx((1 - found.high, 1 - found.low))
    assert math.isnan(probability_of_superiority([], [1]).estimate)


# --- how much evidence -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("effect", "pairs"), [(0.2, 199), (0.5, 34), (0.8, 15)])
def test_pairs_needed_are_those_of_cohens_tables(effect, pairs):
    """Cohen's small, medium and large effect at 80%: R's pwr.t.test(type = "paired") gives 198.2, 33.4 and 14.3."""
    assert pairs_needed(effect, 1.0) == pairs


def test_power_is_that_of_the_manual_of_gpower():
    """G*Power 3.1 manual, two dependent means: d_z = 0.421637, 50 pairs, power 0.832114."""
    assert power_of_pairs(0.421637, 1.0, 50) == pytest.approx(0.832114, abs=5e-7)


def test_power_is_the_share_of_simulated_tests_that_reject():
    rng = np.random.default_rng(0)
    p_values = stats.ttest_1samp(rng.normal(0.9, 1, (20_000, 6)), 0, axis=1).pvalue
    assert power_of_pairs(0.9, 1.0, 6) == pytest.approx((p_values <= 0.05).mean(), abs=0.01)
    assert power_of_pairs(0.9, 1.0, 6, tests=3) == pytest.approx((p_values <= 0.05 / 3).mean(), abs=0.01)


@pytest.mark.parametrize("ratio", [0.5, 1, 3, 13.9, 14.3, 30])
def test_pairs_needed_are_the_fewest_with_that_power(ratio):
    """Beyond 200 pairs a formula takes over from the search; on both sides of it one pair less is too few."""
    found = pairs_needed(1.0, ratio)
    assert power_of_pairs(1.0, ratio, found) >= 0.7999
    assert found == 2 or power_of_pairs(1.0, ratio, found - 1) < 0.8001


def test_a_family_of_tests_needs_more_pairs():
    assert pairs_needed(1.0, 1.0, tests=5) > pairs_needed(1.0, 1.0)
    assert pairs_needed(1.0, 1.0, power=0.95) > pairs_needed(1.0, 1.0)


def test_no_number_of_pairs_finds_no_difference():
    assert pairs_needed(0.0, 1.0) is None and pairs_needed(math.nan, 1.0) is None
    assert math.isnan(power_of_pairs(1.0, 1.0, 1)) and power_of_pairs(1.0, 0.0, 3) == 1.0
    assert math.isnan(detectable_difference(1.0, 1)) and detectable_difference(0.0, 5) == 0.0


@pytest.mark.parametrize("pairs", [2, 5, 20, 500])
def test_the_detectable_difference_is_found_with_that_power(pairs):
    assert power_of_pairs(detectable_difference(0.3, pairs), 0.3, pairs) == pytest.approx(0.8, abs=1e-6)


def test_examples_needed_are_those_of_rs_power_prop_test():
    """R, help of power.prop.test: p1 = 0.50, p2 = 0.75, power = 0.90 gives n = 76.7."""
    assert examples_needed(0.50, 0.75, power=0.90) == 77


def test_examples_needed_give_that_power_in_a_simulation():
    n = examples_needed(0.84, 0.90)
    rng = np.random.default_rng(0)
    a, b = rng.binomial(n, 0.84, 20_000) / n, rng.binomial(n, 0.90, 20_000) / n
    error = np.sqrt((a + b) / 2 * (1 - (a + b) / 2) * 2 / n)
    assert (np.abs(a - b) / error > 1.959964).mean() == pytest.approx(0.8, abs=0.015)


def test_the_detectable_share_is_the_inverse():
    above = detectable_share(0.84, 500)
    assert examples_needed(0.84, 0.84 + above + 1e-6) <= 500 < examples_needed(0.84, 0.84 + above - 1e-4)
    assert math.isnan(detectable_share(0.99, 10)) and examples_needed(0.5, 0.5) is None


# --- the best of many ------------------------------------------------------------------------------------


def test_expected_best_is_the_mean_over_all_subsets():
    values = [0.71, 0.9, 0.83, 0.83, 0.4, 0.77]
    for direction, best in (("maximize", max), ("minimize", min)):
        slow = [np.mean([best(s) for s in itertools.combinations(values, k)]) for k in range(1, 7)]
        assert expected_best([*values, math.nan], direction) == pytest.approx(slow)


def test_expected_best_of_thousands_stays_exact_at_both_ends():
    values = np.random.default_rng(0).normal(size=3000)
    found = expected_best(values)
    assert found[0] == pytest.approx(values.mean()) and found[-1] == pytest.approx(values.max())
    assert (np.diff(found) > -1e-12).all()


@pytest.mark.parametrize(
    ("n", "published"), [(2, 0.56419), (3, 0.84628), (5, 1.16296), (10, 1.53875), (100, 2.50759), (1000, 3.24144)]
)
def test_luck_of_the_best_is_that_of_tippetts_table(n, published):
    """Tippett, 1925, table of the mean range, halved; five digits as in Teichroew, 1956."""
    assert expected_largest_normal(n) == pytest.approx(published, abs=6e-6)


def test_luck_of_the_best_is_what_a_simulation_shows():
    drawn = np.random.default_rng(0).normal(size=(20_000, 7)).max(axis=1).mean()
    assert expected_largest_normal(7) == pytest.approx(drawn, abs=0.02)
    assert expected_largest_normal(1) == pytest.approx(0, abs=1e-9) and math.isnan(expected_largest_normal(0))


def test_shrinking_gives_efron_and_morris_batting_averages():
    """Efron and Morris, 1977: 18 players after 45 times at bat, mean 0.265, factor 0.212, 0.400 becomes 0.294."""
    hits = [18, 17, 16, 15, 14, 14, 13, 12, 11, 11, 10, 10, 10, 10, 10, 9, 8, 7]
    averages = np.array(hits) / 45
    found = shrunken(averages, math.sqrt(averages.mean() * (1 - averages.mean()) / 45))
    assert found.centre == pytest.approx(0.265, abs=5e-4)
    assert found.factor == pytest.approx(0.212, abs=5e-3)
    assert (found.estimates[0], found.estimates[-1]) == (pytest.approx(0.294, abs=1e-3), pytest.approx(0.242, abs=1e-3))


def test_the_shrunken_best_is_not_too_good_where_the_best_is():
    """Twenty configurations of truly unlike worth: the best's score flatters, its shrunken one hardly."""
    rng = np.random.default_rng(0)
    flattered, honest = [], []
    for _ in range(2000):
        worth = rng.normal(0.85, 0.01, 20)
        scores = worth + rng.normal(0, 0.01, 20)
        best = int(scores.argmax())
        flattered.append(scores[best] - worth[best])
        honest.append(shrunken(scores, 0.01).estimates[best] - worth[best])
    assert np.mean(flattered) > 0.008 and abs(np.mean(honest)) < 0.002


def test_few_trials_cannot_be_shrunken():
    assert np.isnan(shrunken([0.8, 0.9, 0.7], 0.01).estimates).all()
    assert np.isnan(shrunken([0.8, 0.9, 0.7, 0.6], math.nan).estimates).all()
    assert math.isnan(shrunken([0.8, 0.9, 0.7, 0.6, math.nan], 0.01).estimates[4])


def test_error_of_scores_leaves_out_what_all_trials_share():
    rng = np.random.default_rng(0)
    table = rng.normal(0, 5, (2000, 1)) + rng.normal(0, 0.3, (2000, 8))
    assert error_of_scores(table) == pytest.approx(0.3 / math.sqrt(2000), rel=0.05)
    two = table[:, :2]  # of two trials it is that of their difference, by the square root of 2
    assert error_of_scores(two) == pytest.approx((two[:, 0] - two[:, 1]).std(ddof=1) / math.sqrt(2 * 2000))
    assert math.isnan(error_of_scores(table[:, :1]))


def test_the_cheapest_within_one_standard_error_is_chosen():
    values, seconds = [0.90, 0.895, 0.87, math.nan], [100, 40, 5, 1]
    assert one_standard_error(values, 0.006, seconds) == 1
    assert one_standard_error(values, 0.004, seconds) == 0
    assert one_standard_error(values, 0.05, seconds) == 2
    assert one_standard_error([-v for v in values], 0.006, seconds, "minimize") == 1
    assert one_standard_error(values, math.nan, seconds) == 0
    assert one_standard_error(values, [0, 0.001, 0.04, 0], seconds) == 2  # each its own
    assert one_standard_error([math.nan], 0.1, [1]) is None


@pytest.mark.parametrize("seed", range(10))
def test_the_choice_is_that_of_a_loop(seed):
    rng = np.random.default_rng(seed)
    values, costs, error = rng.random(6).round(2), rng.integers(1, 4, 6), 0.15
    best = max(values)
    chosen = None
    for i in range(6):
        if best - values[i] <= error and (chosen is None or (costs[i], -values[i]) < (costs[chosen], -values[chosen])):
            chosen = i
    assert one_standard_error(values, error, costs) == chosen

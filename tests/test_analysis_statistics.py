"""Intervals, corrections, bootstraps and fronts are those of published examples, of SciPy and of slow twins."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from harness.analysis.statistics import (
    holm,
    paired_bootstrap,
    pareto_front,
    ratio_interval,
    ratio_intervals,
    resampled_means,
    resampled_rows,
    simultaneous_differences,
    t_interval,
    wilson,
)


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0000, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_gives_newcombes_published_intervals(successes, n, low, high):
    interval = wilson(successes, n)
    assert (interval.low, interval.high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


def test_wilson_is_that_of_scipy_at_other_levels():
    expected = stats.binomtest(420, 500).proportion_ci(0.9, method="wilson")
    assert wilson(420, 500, 0.9)[1:3] == pytest.approx((expected.low, expected.high))


def test_84_and_85_percent_of_500_reviews_lie_in_each_others_interval():
    assert wilson(420, 500).high > 0.85
    assert wilson(425, 500).low < 0.84


def test_wilson_of_nothing_is_undefined_and_impossible_counts_are_refused():
    assert math.isnan(wilson(0, 0).estimate)
    with pytest.raises(ValueError, match=r"0 \.\. 10, got 11"):
        wilson(11, 10)


def test_t_interval_gives_students_sleep_data():
    """Student 1908: extra hours of sleep, difference of two drugs; mean 1.58, 95% interval 0.70 to 2.46."""
    interval = t_interval([1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4])
    assert interval[:3] == pytest.approx((1.58, 0.7001, 2.4599), abs=5e-5)


def test_t_interval_of_one_value_has_no_bounds_and_of_none_no_mean():
    assert t_interval([3.0]).estimate == 3.0
    assert math.isnan(t_interval([3.0]).low)
    assert math.isnan(t_interval([math.nan]).estimate)
    assert t_interval([1.0, math.nan, 3.0]).n == 2


def test_a_rate_weighs_its_windows_by_their_seconds():
    interval = ratio_interval([10, 90], [1.0, 3.0])
    assert interval.estimate == 25.0
    error = math.sqrt(2 / 1 * (15**2 + 15**2)) / 4.0  # residuals 10 - 25 and 90 - 75
    assert interval.high - interval.estimate == pytest.approx(stats.t.ppf(0.975, 1) * error)


def test_a_rate_interval_covers_the_true_rate_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(1000):
        seconds = rng.uniform(1, 3, 12)
        interval = ratio_interval(40 * seconds + rng.normal(0, 2, 12), seconds)
        covered += interval.low <= 40 <= interval.high
    assert covered / 1000 == pytest.approx(0.95, abs=0.02)


def test_windows_that_do_not_vary_have_an_interval_without_width():
    assert ratio_interval([20, 40], [1.0, 2.0])[:3] == (20.0, 20.0, 20.0)


def test_one_window_has_no_interval_and_none_no_rate():
    assert ratio_interval([20], [2.0]).estimate == 10.0
    assert math.isnan(ratio_interval([20], [2.0]).low)
    assert math.isnan(ratio_interval([], []).estimate)


def test_holm_gives_the_textbook_adjustment():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_never_exceeds_one_and_leaves_missing_out():
    adjusted = holm([0.9, math.nan, 0.8])
    assert adjusted[0] == adjusted[2] == 1.0
    assert math.isnan(adjusted[1])
    assert holm([0.02, math.nan]) == pytest.approx([0.02, math.nan], nan_ok=True)
    assert holm([]) == []


def test_holm_rejects_what_the_stepwise_procedure_rejects():
    rng = np.random.default_rng(0)
    for _ in range(50):
        p_values = rng.uniform(0, 0.1, 6)
        rejected = set()
        for rank, place in enumerate(np.argsort(p_values)):
            if p_values[place] > 0.05 / (6 - rank):
                break
            rejected.add(place)
        assert {i for i, p in enumerate(holm(list(p_values))) if p <= 0.05} == rejected


def test_bootstrap_means_are_those_of_a_slow_loop():
    scores = np.random.default_rng(1).random((30, 2))
    slow = np.array([[scores[rows, k].mean() for k in range(2)] for rows in resampled_rows(30, 50, seed=7)])
    assert resampled_means(scores, 50, seed=7) == pytest.approx(slow)


def test_the_paired_bootstrap_is_that_of_a_loop():
    """The slow twin draws rows one by one and measures each mean in its own standard error."""
    rng = np.random.default_rng(2)
    a = rng.random(60)
    b = a - 0.02 + rng.normal(0, 0.1, 60)
    ours, found = paired_bootstrap(a, b, resamples=2000), a - b
    distances = []
    for _ in range(2000):
        drawn = [found[rng.integers(60)] for _ in range(60)]
        distances.append(abs(np.mean(drawn) - found.mean()) / np.std(drawn))
    half = np.quantile(distances, 0.95) * found.std()
    assert (ours.low, ours.high) == pytest.approx((found.mean() - half, found.mean() + half), abs=0.1 * half)
    assert ours.p_value == pytest.approx(np.mean(np.array(distances) >= abs(found.mean()) / found.std()), abs=0.03)


def test_the_paired_bootstrap_of_many_well_behaved_scores_is_the_t_test():
    rng = np.random.default_rng(2)
    a = rng.random(2000)
    b = a - 0.004 + rng.normal(0, 0.1, 2000)
    ours, theirs = paired_bootstrap(a, b, resamples=8000), stats.ttest_rel(a, b)
    bounds = theirs.confidence_interval()
    assert (ours.low, ours.high) == pytest.approx((bounds.low, bounds.high), abs=0.0003)
    assert ours.p_value == pytest.approx(theirs.pvalue, abs=0.01)


def test_where_one_example_differs_the_paired_bootstrap_has_no_bounds():
    found = paired_bootstrap(np.r_[0.5, np.zeros(99)], np.zeros(100))
    assert found.estimate == 0.005 and math.isnan(found.low) and found.p_value > 0.3


def test_the_paired_bootstrap_says_nothing_of_two_equal_models():
    scores = np.random.default_rng(0).random(50)
    difference = paired_bootstrap(scores, scores)
    assert (difference.estimate, difference.low, difference.high, difference.p_value) == (0.0, 0.0, 0.0, 1.0)


def test_the_paired_bootstrap_rejects_by_chance_as_often_as_it_says():
    rng = np.random.default_rng(5)
    p_values = [paired_bootstrap(rng.normal(size=100), rng.normal(size=100), resamples=300).p_value for _ in range(400)]
    assert np.mean(np.array(p_values) < 0.05) == pytest.approx(0.05, abs=0.03)


def test_a_paired_p_value_is_never_zero():
    assert paired_bootstrap(np.ones(20), np.zeros(20), resamples=99).p_value == 0.01
    assert paired_bootstrap(np.ones(20) + np.arange(20) / 100, np.zeros(20), resamples=99).p_value == 0.01
    assert paired_bootstrap([1.0, 1.0], [0.0, 0.0]).p_value == 0.5 and paired_bootstrap([1.0], [0.0]).p_value == 1.0


def test_pairs_that_do_not_match_are_refused():
    with pytest.raises(ValueError, match="one shape"):
        paired_bootstrap([1.0, 0.0], [1.0])
    with pytest.raises(ValueError, match="one shape"):
        paired_bootstrap([], [])


def test_simultaneous_bounds_are_wider_than_single_ones_and_hold_together():
    rng = np.random.default_rng(0)
    missed = {"single": 0, "joint": 0}
    for repeat in range(200):
        scores = rng.normal(size=(150, 12))
        draws = resampled_means(scores, 300, seed=repeat)
        joint = simultaneous_differences(scores.mean(axis=0), draws, to=0)
        shift = draws - draws[:, [0]]
        low, high = np.quantile(shift[:, 1:], [0.025, 0.975], axis=0)
        missed["single"] += bool(((low > 0) | (high < 0)).any())
        missed["joint"] += bool(((joint.low[1:] > 0) | (joint.high[1:] < 0)).any())
    assert missed["joint"] / 200 < 0.1 < missed["single"] / 200


def test_bounds_that_hold_at_once_leave_0_out_exactly_where_their_p_value_rejects():
    rng = np.random.default_rng(3)
    told = []
    for repeat in range(60):
        scores = rng.normal(size=(80, 6)) + rng.uniform(0, 0.7, 6)
        draws = resampled_means(scores, 200, seed=repeat)
        found = simultaneous_differences(scores.mean(axis=0), draws, to=0)
        slow = []
        for a, b in itertools.combinations(range(6), 2):
            apart = draws[:, a] - draws[:, b]
            slow.append(np.abs(apart - (scores[:, a] - scores[:, b]).mean()) / apart.std(ddof=1))
        size = np.abs(found.estimate[1:]) / found.error[1:]
        expected = [(1 + sum(max(draw) >= each for draw in zip(*slow, strict=True))) / 201 for each in size]
        assert found.p_value[1:].tolist() == pytest.approx(expected) and math.isnan(found.p_value[0])
        apart = (found.low[1:] > 0) | (found.high[1:] < 0)
        assert apart.tolist() == (found.p_value[1:] <= 0.05).tolist()
        told += apart.tolist()
    assert 30 < sum(told) < 270  # both happen


def test_a_column_that_equals_the_best_has_bounds_of_no_width():
    draws = resampled_means(np.tile(np.random.default_rng(0).random((40, 1)), (1, 2)), 100)
    found = simultaneous_differences(draws.mean(axis=0), draws, to=0)
    assert (found.low[1], found.high[1]) == pytest.approx((0.0, 0.0), abs=1e-12)


def test_the_pareto_front_by_hand():
    frame = pd.DataFrame({"f1": [0.8, 0.9, 0.7, 0.9, math.nan], "seconds": [10.0, 30.0, 20.0, 30.0, 1.0]})
    front = pareto_front(frame, {"f1": "maximize", "seconds": "minimize"})
    assert front.tolist() == [True, True, False, True, False]


def test_the_pareto_front_is_that_of_the_definition():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.integers(0, 6, (40, 3)), columns=["a", "b", "c"]).astype("Int64")
    rows = [(-a, b, c) for a, b, c in frame.itertuples(index=False)]
    slow = [not any(all(x <= y for x, y in zip(o, r, strict=True)) and o != r for o in rows) for r in rows]
    assert pareto_front(frame, {"a": "maximize", "b": "minimize", "c": "minimize"}).tolist() == slow


def test_nothing_is_not_on_a_front():
    assert pareto_front(pd.DataFrame({"a": []}), {"a": "minimize"}).tolist() == []


def test_rates_of_many_groups_are_those_of_one_after_the_other():
    rng = np.random.default_rng(0)
    groups = np.repeat([3, 1, 2, 7], [1, 2, 5, 40])
    frame = pd.DataFrame({"g": groups, "a": rng.uniform(50, 60, 48), "b": rng.uniform(1, 2, 48)})
    found = ratio_intervals(frame, "g", "a", "b")
    for group, rows in frame.groupby("g"):
        slow = ratio_interval(rows["a"].to_numpy(), rows["b"].to_numpy())
        assert found.loc[group, ["estimate", "low", "high", "n"]].tolist() == pytest.approx(list(slow), nan_ok=True)


def test_the_front_is_that_of_comparing_every_pair():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.integers(0, 8, 60).astype(float), "b": rng.integers(0, 8, 60).astype(float)})
    frame.loc[5, "a"] = math.nan
    slow = [
        not math.isnan(x) and not any((a <= x and b >= y) and (a < x or b > y) for a, b in frame.values.tolist())
        for x, y in frame.values.tolist()
    ]
    assert pareto_front(frame, {"a": "minimize", "b": "maximize"}).tolist() == slow

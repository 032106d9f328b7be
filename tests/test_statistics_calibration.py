"""What the headline tests promise, measured: wrong rejections at most 5%, intervals that hold in 93 to 97%.

Thousands of studies in which the truth is known. docs/statistics.md states what `benchmarks/coverage.py` measures with
many more; here it is few enough for every run of the tests, and the bounds leave room for chance.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.coverage import (
    SCENARIOS,
    chosen_is_told_apart,
    crossed_tables,
    equal_configurations,
    family_of_seeds,
    first_rejection,
    paired_answers,
)
from harness.analysis.crossed import crossed_t, hierarchical_bootstrap
from harness.analysis.families import corrected
from harness.analysis.paired import discordant, mcnemar, paired_t, sign_flip_p
from harness.analysis.statistics import paired_bootstrap
from harness.analysis.unpaired import shares, welch_t


def holds(found, truth=0.0):
    return found.low <= truth <= found.high


def at_most(share, count, limit=0.05):
    """Whether a share of that many is not above the limit by more than chance: three standard errors."""
    return share <= limit + 3 * math.sqrt(limit * (1 - limit) / count)


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_paired_t_over_seeds_keeps_its_promises(scenario, seeds):
    a, b = SCENARIOS[scenario](np.random.default_rng(0), 3000, seeds)
    found = [paired_t(*pair) for pair in zip(a, b, strict=True)]
    assert at_most(np.mean([each.p_value <= 0.05 for each in found]), 3000)
    if scenario != "collapsing":  # where runs collapse the interval is wider than it needs to be
        assert 0.93 <= np.mean([holds(each) for each in found]) <= 0.98


def test_welch_t_keeps_its_promises():
    rng = np.random.default_rng(1)
    found = [welch_t(*pair) for pair in zip(rng.normal(0, 1, (3000, 5)), rng.normal(0, 2, (3000, 7)), strict=True)]
    assert at_most(np.mean([each.p_value <= 0.05 for each in found]), 3000)
    assert 0.93 <= np.mean([holds(each) for each in found]) <= 0.97


def test_sign_flips_never_reject_too_often():
    rng = np.random.default_rng(2)
    rejected = [sign_flip_p(a, np.zeros(8)) <= 0.05 for a in rng.standard_t(3, (2000, 8))]
    assert 0.03 <= np.mean(rejected) and at_most(np.mean(rejected), 2000)


@pytest.mark.parametrize(("examples", "alike"), [(200, 0.5), (500, 0.8), (1000, 0.5)])
def test_mcnemar_keeps_its_promises(examples, alike):
    found = [
        mcnemar(discordant(a, b)) for a, b in paired_answers(np.random.default_rng(3), 2000, examples, 0.85, alike)
    ]
    assert at_most(np.mean([each.p_value <= 0.05 for each in found]), 2000)
    assert 0.93 <= np.mean([holds(each) for each in found]) <= 0.98


@pytest.mark.parametrize("examples", [200, 500])
def test_shares_without_pairs_keep_their_promises(examples):
    right = np.random.default_rng(4).binomial(examples, 0.85, (1500, 2))
    found = [shares(int(a), examples, int(b), examples) for a, b in right]
    assert at_most(np.mean([each.p_value <= 0.05 for each in found]), 1500)
    assert 0.93 <= np.mean([holds(each) for each in found]) <= 0.97


def test_the_paired_bootstrap_of_skewed_losses_keeps_its_promises():
    rng = np.random.default_rng(5)
    losses = rng.gamma(0.5, 1.0, (600, 1, 120)) * rng.lognormal(0, 0.5, (600, 2, 120))
    found = [paired_bootstrap(a, b, resamples=200) for a, b in losses]
    assert at_most(np.mean([each.p_value <= 0.05 for each in found]), 600)
    assert 0.93 <= np.mean([holds(each) for each in found]) <= 0.97


def test_of_a_family_without_any_difference_one_in_twenty_rejects_anything():
    """Four configurations against one baseline on the same seeds, after Holm."""
    families = list(family_of_seeds(np.random.default_rng(6), 1500, compared=4, seeds=5))
    wrong = [any(each.told_apart for each in corrected(family)) for family in families]
    assert at_most(np.mean(wrong), 1500)
    uncorrected = [any(each.difference.p_value <= 0.05 for each in family) for family in families]
    assert np.mean(uncorrected) > 0.1  # what the correction is for


def test_the_best_of_equal_configurations_is_rarely_told_apart_on_the_rows_that_chose_it():
    """Bounds for a best one that had been named beforehand reject in three of ten here.

    So few bootstrap samples leave the standard errors restless: up to 7% instead of 5%.
    """
    drawn = enumerate(equal_configurations(np.random.default_rng(10), 150, 20, 200))
    assert at_most(np.mean([chosen_is_told_apart(scores, 400, i) for i, scores in drawn]), 150, limit=0.07)


def test_testing_again_after_every_few_seeds_rejects_little_more_often_than_testing_once():
    """Of p values that are not corrected for it, 20% of these studies would have one of 0.05 or less."""
    looks = (3, 4, 5, 6, 7, 8, 9, 10, 15, 20)
    drawn = np.random.default_rng(11).normal(size=(1000, 20))
    assert at_most(np.mean([first_rejection(each, looks) for each in drawn]), 1000, limit=0.062)


@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize("kind", ["seeds", "examples", "both"])
def test_crossed_t_holds_for_further_seeds_and_examples(kind, seeds):
    tables = crossed_tables(np.random.default_rng(7), 1000, seeds, 300, kind)
    found = [crossed_t(table, np.zeros_like(table)) for table in tables]
    assert 0.93 <= np.mean([holds(each) for each in found]) <= 0.985
    assert at_most(np.mean([each.p_value <= 0.05 for each in found]), 600)


def test_seeds_alone_say_nothing_of_further_examples():
    """Why `crossed_t` is there: with easy and hard examples the seeds' interval is far too narrow for others."""
    tables = list(crossed_tables(np.random.default_rng(8), 500, 10, 300, "examples"))
    assert np.mean([holds(paired_t(table.mean(axis=1), np.zeros(10))) for table in tables]) < 0.8


@pytest.mark.parametrize("kind", ["seeds", "examples", "both"])
def test_the_hierarchical_bootstrap_is_never_too_narrow(kind):
    tables = crossed_tables(np.random.default_rng(9), 150, 5, 200, kind)
    found = [hierarchical_bootstrap(table, np.zeros_like(table), 200, i) for i, table in enumerate(tables)]
    assert np.mean([holds(each) for each in found]) >= 0.91  # 150 studies: four points of chance

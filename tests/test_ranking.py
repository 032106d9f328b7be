"""Configurations are ranked by the mean of all their seeds and folds, so that no lucky trial leads."""

from __future__ import annotations

import pytest

from harness.configuration import Objective
from harness.ranking import Plan, Run, leader, plan_of, ranked

LOSS, ACCURACY = Objective("loss", "minimize"), Objective("accuracy", "maximize")


def seeds(configuration: int, first: int, *objectives: float) -> list[Run]:
    return [Run(configuration, first + r, objective, r, None) for r, objective in enumerate(objectives)]


def test_the_mean_decides_and_not_the_luckiest_seed():
    steady, lucky = seeds(0, 0, 0.40, 0.42, 0.41), seeds(1, 3, 0.30, 0.50, 0.52)
    first, second = ranked([*steady, *lucky], LOSS, Plan(3))
    assert (first.configuration, first.mean) == (0, pytest.approx(0.41))
    assert (second.configuration, second.mean) == (1, pytest.approx(0.44))
    assert first.deviation == pytest.approx(0.01)
    assert first.words() == "mean of 3 seeds, standard deviation 0.0100"


def test_a_maximised_objective_is_ranked_by_the_highest_mean():
    both = [*seeds(0, 0, 0.9, 0.5), *seeds(1, 2, 0.8, 0.8)]
    assert [found.configuration for found in ranked(both, ACCURACY, Plan(2))] == [1, 0]


def test_a_configuration_with_its_lucky_seed_alone_is_marked_and_ranked_behind():
    first, second = ranked([*seeds(0, 0, 0.5, 0.5, 0.5), *seeds(1, 3, 0.1)], LOSS, Plan(3))
    assert (first.configuration, first.marked) == (0, False)
    assert (second.configuration, second.marked) == (1, True)
    assert second.words() == "1 seed only; 1 of 3 trials complete"


def test_those_with_fewer_trials_are_ranked_by_their_mean_among_themselves():
    runs = [*seeds(0, 0, 0.5, 0.5), *seeds(1, 2, 0.3), *seeds(2, 3, 0.2)]
    assert [found.configuration for found in ranked(runs, LOSS, Plan(2))] == [0, 2, 1]


def test_while_no_configuration_has_all_its_trials_the_most_that_one_has_is_the_full_number():
    first, second = ranked([*seeds(0, 0, 0.5, 0.5), *seeds(1, 2, 0.3)], LOSS, Plan(5))
    assert (first.configuration, first.full, first.marked, second.marked) == (0, 2, False, True)


def test_a_configuration_that_the_sampler_came_upon_twice_raises_no_bar():
    found = ranked([*seeds(0, 0, 0.3), *seeds(1, 1, 0.9, 0.9)], LOSS, Plan(1))
    assert [(each.configuration, each.marked) for each in found] == [(0, False), (1, False)]
    assert found[0].words() == ""


def test_a_lucky_trial_of_the_search_does_not_beat_what_was_confirmed():
    confirmed, lucky = seeds(0, 0, *[0.5] * 5), seeds(1, 5, 0.4)
    assert leader([*confirmed, *lucky], LOSS, Plan(1, confirmed=5)).configuration == 0
    assert leader([*confirmed[:1], *lucky], LOSS, Plan(1, confirmed=5)).configuration == 1


def test_a_lucky_trial_of_the_search_does_not_beat_what_an_interrupted_confirmation_has():
    runs = [*seeds(0, 0, *[0.5] * 4), *seeds(1, 4, *[0.6] * 4), *seeds(2, 8, 0.4)]
    found = ranked(runs, LOSS, Plan(1, confirmed=5))
    assert [(each.configuration, each.marked) for each in found] == [(0, False), (1, False), (2, True)]
    assert leader([*seeds(0, 0, 0.5, 0.5), *seeds(1, 2, 0.4)], LOSS, Plan(1, confirmed=5)).configuration == 1


def test_folds_of_one_configuration_are_averaged_and_named():
    runs = [Run(0, fold, 0.1 * (fold + 1), 0, fold) for fold in range(3)]
    (found,) = ranked(runs, LOSS, Plan(3))
    assert found.mean == pytest.approx(0.2)
    assert found.words() == "mean of 3 folds, standard deviation 0.1000"
    assert found.best == 0


def test_seeds_and_folds_are_both_named():
    runs = [Run(0, 3 * seed + fold, 0.5, seed, fold) for seed in range(2) for fold in range(3)]
    (found,) = ranked(runs, LOSS, Plan(6))
    assert found.over == "2 seeds x 3 folds"


def test_equal_means_keep_the_order_in_which_they_were_begun():
    assert leader([*seeds(4, 1, 0.5), *seeds(7, 0, 0.5)], LOSS, Plan()).configuration == 7


def test_the_leader_is_the_first_of_the_ranking():
    runs = [*seeds(0, 0, 0.5, 0.3), *seeds(1, 2, 0.2), *seeds(2, 3, 0.45, 0.25)]
    assert leader(runs, LOSS, Plan(2)) == ranked(runs, LOSS, Plan(2))[0]
    assert leader([], LOSS, Plan()) is None


@pytest.mark.parametrize(
    ("spec", "plan"),
    [
        ({}, Plan(1, 0)),
        ({"seed": 42, "replicates": 3}, Plan(3, 0)),
        ({"seed": [1, 2, 3, 4], "replicates": 1}, Plan(4, 0)),
        ({"replicates": 2, "data": {"folds": 5}}, Plan(10, 0)),
        ({"data": {"folds": None}, "confirm": {"top": 3, "seeds": 5}}, Plan(1, 5)),
        ({"confirm": None, "data": None}, Plan(1, 0)),
    ],
)
def test_the_plan_is_read_from_the_study_file_as_understood(spec, plan):
    assert plan_of(spec) == plan

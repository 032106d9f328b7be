from __future__ import annotations

from harness.board import Board
from harness.configuration import Objective
from harness.live import headline
from harness.ranking import Plan, Run, leader


def board(*objectives: float) -> Board:
    runs = [Run(3, 5 + seed, objective, seed, None) for seed, objective in enumerate(objectives)]
    best = leader(runs, Objective("loss", "minimize"), Plan(len(objectives)))
    return Board("probe", 9, {"complete": len(runs)}, {}, best, None, "")


def test_the_headline_says_of_how_many_seeds_the_best_value_is_the_mean() -> None:
    said = "best 0.4200 (configuration 3, mean of 3 seeds, standard deviation 0.0200)"
    assert said in headline(board(0.40, 0.42, 0.44))


def test_the_headline_names_the_trial_of_a_configuration_that_has_but_one() -> None:
    assert "best 0.4000 (trial 5)" in headline(board(0.40))


def test_without_a_complete_trial_the_headline_has_no_best() -> None:
    assert "best" not in headline(board())

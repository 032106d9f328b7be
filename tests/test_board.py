"""The headline of a running night names the best and of how many seeds; a lost terminal takes nothing with it."""

from __future__ import annotations

import os
import sys

from rich.console import Console

from harness.board import Board
from harness.configuration import Objective
from harness.live import Watched, headline
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


def test_a_terminal_that_goes_takes_nothing_with_it_and_leaves_the_streams_as_they_were() -> None:
    ours, theirs = os.openpty()
    stdout, stderr = sys.stdout, sys.stderr
    with os.fdopen(theirs, "w") as terminal:
        console = Console(file=terminal, width=80, _environ={"TERM": "xterm"})
        assert console.is_terminal
        with Watched(console) as observer:
            observer.tick(board(0.40))
            observer.note("trial 1 starts")
            shown = b""
            while b"trial 1 starts" not in shown:
                shown += os.read(ours, 10_000)
            assert b"probe: 1 of 9 trials" in shown
            os.close(ours)
            observer.note("said to nobody")
            observer.tick(board(0.40))
        observer.note("nor is this an error")
    assert (sys.stdout, sys.stderr) == (stdout, stderr)

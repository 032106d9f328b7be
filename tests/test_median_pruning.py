"""The median rule is Optuna's, trial by trial and bit by bit, and asks no more of the coordinator in a long night."""

from __future__ import annotations

import sys
from array import array

import numpy as np
import optuna
import pytest

from harness.median_pruning import MedianPruner, median

STATES = optuna.trial.TrialState
EPOCHS = 6


def trials(seed: int, count: int) -> list[tuple[dict[int, float], STATES]]:
    """Epochs and ends of made-up trials; ties are frequent, and some trials end early."""
    random = np.random.default_rng(seed)
    ends = [STATES.COMPLETE, STATES.COMPLETE, STATES.PRUNED, STATES.FAIL]
    made = []
    for _ in range(count):
        last = int(random.integers(0, EPOCHS + 1))
        values = np.round(random.normal(size=last), int(random.integers(1, 12)))
        made.append(({epoch: float(v) for epoch, v in enumerate(values, 1)}, ends[int(random.integers(0, 4))]))
    return made


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
@pytest.mark.parametrize(("startup", "warmup"), [(0, 0), (5, 0), (0, 2), (8, 1)])
@pytest.mark.parametrize("seed", range(4))
def test_every_answer_is_that_of_optunas_pruner(direction, startup, warmup, seed):
    theirs = optuna.pruners.MedianPruner(n_startup_trials=startup, n_warmup_steps=warmup + 1)
    study = optuna.create_study(direction=direction)
    ours = MedianPruner(startup, warmup, direction)
    answers = []
    for epochs, state in trials(seed, 60):
        for last in range(1, len(epochs) + 1):
            running = optuna.trial.create_trial(
                state=STATES.RUNNING, intermediate_values={epoch: epochs[epoch] for epoch in range(1, last + 1)}
            )
            answers.append(ours.prune(study, running))
            assert answers[-1] == theirs.prune(study, running)
        study.add_trial(
            optuna.trial.create_trial(
                state=state, value=1.0 if state == STATES.COMPLETE else None, intermediate_values=epochs
            )
        )
        if state == STATES.COMPLETE:
            ours.add(epochs)
    assert 0 < sum(answers) < len(answers)


@pytest.mark.parametrize("count", range(1, 12))
def test_the_median_is_numpys_to_the_last_bit(count):
    for seed in range(50):
        values = np.sort(np.random.default_rng([count, seed]).normal(size=count))
        assert median(array("d", values.tolist())) == float(np.nanpercentile(values, 50))


def steps_of(work) -> int:
    """Calls of functions, Python's and C's, during some work."""
    count = 0

    def look(frame, event, argument) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(look)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


def test_an_answer_costs_the_same_beside_ten_trials_and_beside_ten_thousand():
    pruner = MedianPruner(0, 0, "minimize")
    study = optuna.create_study()
    running = optuna.trial.create_trial(state=STATES.RUNNING, intermediate_values={1: 0.5, 2: 0.4})
    costs = []
    for count in (10, 10_000):
        while pruner._complete < count:
            pruner.add({1: 0.1, 2: 0.2 + pruner._complete})
        costs.append(steps_of(lambda: pruner.prune(study, running)) + steps_of(lambda: pruner.add({1: 0.3, 2: 0.3})))
    assert costs[0] == costs[1] > 0

"""What is tried next: explicit configurations, grids, replicates, folds, samplers, resumed searches."""

from __future__ import annotations

from collections import Counter

import pytest

from harness.configuration import TrialConfig
from harness.grid import enumerated, grid_size, total
from harness.sampling import Tried, mix, quasi_random
from harness.search import Proposal, Search
from harness.spec import Range, StudySpec, parse_study

HEAD = """
study: s
task: sequence-classification
model: builtin:tiny
data: {path: "builtin:reviews", validation: 0.2}
seed: 7
objective: {metric: accuracy, direction: maximize}
"""

CONTINUOUS = "search: {learning_rate: {low: 1e-5, high: 1e-3, log: true}, batch_size: [8, 16, 32]}\n"


def spec(text: str) -> StudySpec:
    return parse_study(HEAD + text).spec


def score(config: TrialConfig) -> float:
    """An objective that any sampler can climb."""
    return 1 - abs(config.learning_rate - 3e-4) * 1000 - (0.05 if config.batch_size == 8 else 0.0)


def walk(search: Search, trials: int, number: int = 0) -> list[Proposal]:
    """Ask and finish up to `trials` trials in turn."""
    done = []
    for n in range(number, number + trials):
        proposal = search.next()
        if proposal is None:
            break
        search.add(tried(n, proposal))
        search.finish(n, "complete", [score(proposal.config)])
        done.append(proposal)
    return done


def tried(number: int, proposal: Proposal, **changes: object) -> Tried:
    values: dict[str, object] = {
        "number": number,
        "config": proposal.config,
        "seed": proposal.seed,
        "replicate": proposal.replicate,
        "fold": proposal.fold,
        "state": "running",
    }
    return Tried(**(values | changes))  # type: ignore[arg-type]


def test_explicit_configurations_come_first_and_in_order() -> None:
    search = Search(spec("configurations: [{epochs: 9}, {epochs: 2}]\n" + CONTINUOUS + "budget: {trials: 4}\n"), [])
    proposals = walk(search, 9)
    assert [p.config.epochs for p in proposals[:2]] == [9, 2]
    assert [p.origin for p in proposals] == ["explicit", "explicit", "sampled", "sampled"]


def test_a_small_grid_is_walked_through_once() -> None:
    study = spec("search: {epochs: [1, 2], batch_size: [8, 16], freeze: [none, head]}\n")
    proposals = walk(Search(study, []), 99)
    points = Counter((p.config.epochs, p.config.batch_size, p.config.freeze) for p in proposals)
    assert len(points) == 8 == total(study)
    assert set(points.values()) == {1}


def test_a_grid_larger_than_the_budget_is_sampled() -> None:
    assert not enumerated(spec("search: {epochs: [1, 2, 3, 4]}\nbudget: {trials: 3}\n"))
    assert enumerated(spec("search: {epochs: [1, 2, 3, 4]}\nbudget: {trials: 4}\n"))


def test_a_continuous_dimension_has_no_grid() -> None:
    assert grid_size({"learning_rate": Range(low=1e-5, high=1e-3, log=True)}) is None
    assert grid_size({"epochs": Range(low=2, high=4, integer=True)}) == 3
    assert grid_size({"dropout": Range(low=0.0, high=0.3, step=0.1)}) == 4


def test_replicates_run_each_configuration_with_following_seeds() -> None:
    proposals = walk(Search(spec("configurations: [{epochs: 1}, {epochs: 2}]\nreplicates: 3\n"), []), 99)
    assert [(p.config.epochs, p.seed) for p in proposals] == [(1, 7), (1, 8), (1, 9), (2, 7), (2, 8), (2, 9)]


def test_a_list_of_seeds_means_replicates() -> None:
    study = parse_study(HEAD.replace("seed: 7", "seed: [5, 50]") + "configurations: [{epochs: 1}]\n").spec
    assert [p.seed for p in walk(Search(study, []), 99)] == [5, 50]


def test_folds_are_trials_of_one_configuration() -> None:
    study = parse_study(HEAD.replace("validation: 0.2", "folds: 3") + "configurations: [{epochs: 1}]\n").spec
    assert [p.fold for p in walk(Search(study, []), 99)] == [0, 1, 2]


def test_a_repeat_of_the_sampler_becomes_a_replicate() -> None:
    study = spec("search: {epochs: [1, 2, 3]}\nsampler: random\nbudget: {trials: 2}\n")
    # with two of three points allowed, some seed proposes a point twice; its second run has another seed
    for seed in range(20):
        again = study.model_copy(update={"seed": seed})
        first, second = walk(Search(again, []), 2)
        if first.config == second.config:
            assert (first.seed, second.seed) == (seed, seed + 1)
            return
    pytest.fail("no seed of 20 repeated a point of three")


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc"])
def test_an_interrupted_search_asks_for_the_same_points(sampler: str) -> None:
    study = spec(CONTINUOUS + f"sampler: {sampler}\nbudget: {{trials: 24}}\n")
    straight = walk(Search(study, []), 24)
    history: list[Tried] = []
    for start in range(0, 24, 4):  # a new process every four trials
        for n, proposal in enumerate(walk(Search(study, history), 4, start), start):
            history.append(tried(n, proposal, state="complete", values=[score(proposal.config)]))
    assert [t.config for t in history] == [p.config for p in straight]


def test_points_of_one_search_differ() -> None:
    study = spec(CONTINUOUS + "budget: {trials: 20}\n")
    assert len({p.config.learning_rate for p in walk(Search(study, []), 20)}) == 20


def test_tpe_climbs() -> None:
    study = spec(CONTINUOUS + "budget: {trials: 40}\n")
    scores = [score(p.config) for p in walk(Search(study, []), 40)]
    assert sum(scores[-10:]) > sum(scores[:10])


def test_a_failed_trial_is_not_asked_for_again_but_counts() -> None:
    study = spec("search: {epochs: [1, 2]}\n")
    search = Search(study, [])
    first = search.next()
    assert first is not None
    search.add(tried(0, first))
    search.finish(0, "failed", [])
    second = search.next()
    assert second is not None and second.config != first.config
    search.add(tried(1, second))
    assert search.next() is None


def test_the_median_pruner_stops_the_worst() -> None:
    study = spec(CONTINUOUS + "pruner: {name: median, startup_trials: 3, warmup_epochs: 0}\nbudget: {trials: 9}\n")
    search = Search(study, [])
    for n in range(4):
        proposal = search.next()
        assert proposal is not None
        search.add(tried(n, proposal))
        pruned = search.report(n, 1, [0.8, 0.9, 0.85, 0.1][n])
        assert pruned == (n == 3)
        if not pruned:
            search.finish(n, "complete", [0.9])


PRUNERS = {
    "median": "{name: median, startup_trials: 2, warmup_epochs: 0}",
    "hyperband": "{name: hyperband, min_resource: 1, reduction_factor: 2}",
}


def pruned_walk(search: Search, history: list[Tried], trials: int) -> None:
    """Ask, report four epochs each, end as the pruner says; every third fails."""
    for n in range(len(history), len(history) + trials):
        proposal = search.next()
        assert proposal is not None
        search.add(tried(n, proposal))
        epochs: dict[int, float] = {}
        state: str = "failed" if n % 3 == 2 else "complete"
        for epoch in (1, 2, 3, 4):
            epochs[epoch] = score(proposal.config) + 0.01 * epoch - 0.2 * (n % 2)
            if search.report(n, epoch, epochs[epoch]):
                state = "pruned"
                break
        values = [max(epochs.values())] if state == "complete" else []
        search.finish(n, state, values)  # type: ignore[arg-type]
        history.append(tried(n, proposal, state=state, values=values, epochs=epochs))


def seen_by_optuna(search: Search) -> list[tuple[object, ...]]:
    """Everything of Optuna's trials that a sampler or pruner may look at."""
    return [
        (t.number, t.state, t.values, t.params, t.intermediate_values, t.system_attrs)
        for t in search.sampling.study.get_trials()
    ]


@pytest.mark.parametrize("pruner", PRUNERS)
def test_a_rebuilt_search_shows_optuna_what_the_interrupted_one_did(pruner: str) -> None:
    text = CONTINUOUS + f"fixed: {{epochs: 4}}\nsampler: random\npruner: {PRUNERS[pruner]}\nbudget: {{trials: 40}}\n"
    straight, history = Search(spec(text), []), []
    pruned_walk(straight, history, 24)
    assert {t.state for t in history} >= {"pruned", "complete", "failed"}
    again = Search(spec(text), history)
    assert seen_by_optuna(again) == seen_by_optuna(straight)
    if pruner == "hyperband":  # its rungs are attributes that only asking writes
        assert any(key.startswith("completed_rung") for trial in seen_by_optuna(again) for key in trial[5])


@pytest.mark.parametrize("warmup", [0, 1, 2])
def test_the_median_pruner_leaves_the_epochs_of_its_warmup_alone(warmup: int) -> None:
    text = CONTINUOUS + f"fixed: {{epochs: 4}}\npruner: {{name: median, startup_trials: 2, warmup_epochs: {warmup}}}\n"
    search = Search(spec(text + "sampler: random\nbudget: {trials: 9}\n"), [])
    for n in range(3):
        proposal = search.next()
        assert proposal is not None
        search.add(tried(n, proposal))
        asked = [search.report(n, epoch, 0.9 if n < 2 else 0.1) for epoch in (1, 2, 3)]
        search.finish(n, "complete", [0.9])
    assert asked == [epoch > warmup for epoch in (1, 2, 3)]


def test_an_epoch_that_is_reported_again_keeps_its_first_value() -> None:
    search = Search(spec(CONTINUOUS + "pruner: median\nbudget: {trials: 9}\n"), [])
    proposal = search.next()
    assert proposal is not None
    search.add(tried(0, proposal))
    search.report(0, 1, 0.5)
    search.report(0, 1, 0.7)
    assert search.sampling.study.get_trials()[0].intermediate_values == {1: 0.5}


def test_whether_there_is_more_is_known_without_asking_a_sampler() -> None:
    search = Search(spec(CONTINUOUS + "sampler: random\nbudget: {trials: 2}\n"), [])
    assert search.more()
    assert search.sampling.study.get_trials() == []
    walk(search, 2)
    assert not search.more()
    grid = Search(spec("search: {epochs: [1, 2]}\n"), [])
    walk(grid, 2)
    assert not grid.more() and grid.next() is None


def test_replicates_asked_for_later_come_before_new_points() -> None:
    text = CONTINUOUS + "sampler: random\nbudget: {trials: 9}\n"
    first = walk(Search(spec(text), []), 3)
    history = [tried(n, p, state="complete", values=[score(p.config)]) for n, p in enumerate(first)]
    later = walk(Search(spec(text + "replicates: 2\n"), history), 5, 3)
    assert [(p.config, p.replicate) for p in later[:3]] == [(p.config, 1) for p in first]
    assert later[3].config == later[4].config
    assert (later[3].replicate, later[4].replicate) == (0, 1)


def test_the_gaussian_process_asks_from_a_child_process() -> None:
    study = spec(CONTINUOUS + "sampler: gp\nbudget: {trials: 3}\n")
    proposal = Search(study, []).next()
    assert proposal is not None and 1e-5 <= proposal.config.learning_rate <= 1e-3


def test_sobol_points_fill_the_unit_square_evenly() -> None:
    space = {"dropout": Range(low=0.0, high=1.0), "warmup": Range(low=0.0, high=1.0)}
    points = [quasi_random(space, 3, n) for n in range(16)]
    quadrants = Counter((p["dropout"] > 0.5, p["warmup"] > 0.5) for p in points)
    assert set(quadrants.values()) == {4}


def test_seeds_of_asks_are_mixed() -> None:
    assert len({mix(0, n) for n in range(1000)} | {mix(1, n) for n in range(1000)}) == 2000

"""Pruning between folds: the rule beside Optuna's and a slow twin, the search that obeys it, a real night."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import scipy.stats
from nights import Night
from results_support import epoch, facts
from scripted import Scripted, Words, through

from harness.coming import Begun, ahead
from harness.configuration import Direction
from harness.errors import SpecError
from harness.fold_pruning import Run, compared
from harness.jobs import TrialJob
from harness.ranking import plan_of
from harness.records import MetricValue, TrialOutcome
from harness.results.engine import open_engine
from harness.results.invariants import violations
from harness.results.overview import overviews
from harness.results.store import Store
from harness.roster import best_of
from harness.sampling import Tried
from harness.search import Search
from harness.spec import PrunerSpec, StudySpec, parse_study

HEAD = """
study: s
task: sequence-classification
model: builtin:tiny
data: {path: "builtin:reviews", folds: 10}
objective: {metric: accuracy, direction: maximize}
pruner: wilcoxon
"""
THREE = "configurations: [{epochs: 1}, {epochs: 2}, {epochs: 3}]\n"
MEAN = {1: 0.8, 2: 0.6, 3: 0.9}  # epochs -> score; the second configuration is the bad one


def scores(*values: float) -> dict[Run, float]:
    return {(0, fold): value for fold, value in enumerate(values)}


def spec(text: str = THREE, head: str = HEAD) -> StudySpec:
    return parse_study(head + text).spec


# --- the rule -----------------------------------------------------------------------------------------


def slow_p(differences: Sequence[float]) -> float:
    """Share of all ways to give the ranks signs whose sum of positive ranks is at least the one found."""
    ranks = scipy.stats.rankdata(np.abs(differences))
    found = sum(rank for rank, each in zip(ranks, differences, strict=True) if each > 0)
    ways = [sum(itertools.compress(ranks, signs)) for signs in itertools.product((0, 1), repeat=len(ranks))]
    return sum(way >= found - 1e-9 for way in ways) / len(ways)


@pytest.mark.parametrize("pairs", [2, 3, 4, 5, 8])
def test_p_is_the_share_of_all_signs_that_are_as_bad(pairs: int) -> None:
    random = np.random.default_rng(pairs)
    for _ in range(20):
        own, best = random.normal(0.5, 1, pairs), random.normal(0, 1, pairs)
        found = compared(scores(*own), scores(*best), "minimize")
        if own.mean() <= best.mean():
            assert found is None
        else:
            assert found is not None
            assert found.p == pytest.approx(slow_p(own - best))


def optuna_prunes(own: Mapping[Run, float], best: Mapping[Run, float], direction: Direction, rule: PrunerSpec) -> bool:
    """What Optuna's pruner says of a running trial beside a complete one with these scores, a fold a step."""
    states = optuna.trial.TrialState
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # experimental, it says
        pruner = optuna.pruners.WilcoxonPruner(p_threshold=rule.p_threshold, n_startup_steps=rule.startup_folds)
        study = optuna.create_study(direction=direction, pruner=pruner)
        steps = {fold or 0: value for (_, fold), value in best.items()}
        mean = sum(steps.values()) / len(steps)
        study.add_trial(optuna.create_trial(state=states.COMPLETE, value=mean, intermediate_values=steps))
        running = {fold or 0: value for (_, fold), value in own.items()}
        trial = optuna.trial.FrozenTrial(
            1, states.RUNNING, None, None, None, {}, {}, {}, {}, intermediate_values=running, trial_id=1
        )
        return pruner.prune(study, trial)


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
@pytest.mark.parametrize("grain", [1, 9])
def test_the_decision_is_that_of_optunas_pruner(direction: Direction, grain: int) -> None:
    random = np.random.default_rng(7)
    decided = []
    for _ in range(150):
        rule = PrunerSpec(
            name="wilcoxon", p_threshold=random.choice([0.05, 0.1, 0.3]), startup_folds=int(random.integers(0, 5))
        )
        folds, known = int(random.integers(2, 9)), int(random.integers(1, 9))
        # with one decimal many pairs are equal
        best = scores(*np.round(random.normal(0, 1, folds), grain))
        own = scores(*np.round(random.normal(random.choice([-1.0, 0.0, 1.0]), 1, min(known, folds)), grain))
        found = compared(own, best, direction)
        ours = found is not None and found.pairs >= max(2, rule.startup_folds) and found.p < rule.p_threshold
        assert ours == optuna_prunes(own, best, direction, rule)
        if ours:
            assert found is not None
            assert found.pairs >= rule.fewest_pairs
        decided.append(ours)
    assert 10 < sum(decided) < 140


@pytest.mark.parametrize("threshold", [0.5, 0.3, 0.25, 0.125, 0.1, 0.05, 0.0625])
def test_the_fewest_pairs_are_those_on_which_all_saying_worse_is_enough(threshold: float) -> None:
    fewest = PrunerSpec(name="wilcoxon", p_threshold=threshold, startup_folds=0).fewest_pairs
    enough = [
        n for n in range(2, 9) if compared(scores(*range(1, n + 1)), scores(*[0.0] * n), "minimize").p < threshold
    ]  # type: ignore[union-attr]
    assert fewest == enough[0]


def test_equal_scores_prune_nothing() -> None:
    assert compared(scores(*[0.5] * 9), scores(*[0.5] * 9), "minimize") is None


# --- the study file -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (HEAD.replace("folds: 10", "validation: 0.2"), r"pruner.*without data.folds.*set data.folds: 10"),
        (HEAD.replace("folds: 10", "folds: 4"), r"nothing before 4 folds.*got 4 folds.*data.folds to 5"),
        (HEAD.replace("wilcoxon", "{name: wilcoxon, patience: 2}"), r"patience.*p_threshold, startup_folds"),
        (HEAD.replace("wilcoxon", "{name: wilcoxon, p_threshold: 1.0}"), r"p_threshold"),
    ],
)
def test_what_could_never_prune_is_refused(head: str, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        spec(head=head)


def test_seeds_times_folds_are_what_there_is_to_prune() -> None:
    assert spec("replicates: 2\n" + THREE, HEAD.replace("folds: 10", "folds: 3")).pruner.fewest_pairs == 4


# --- the search ---------------------------------------------------------------------------------------


def score(epochs: int, fold: int | None) -> float:
    return MEAN[epochs] + 0.01 * (fold or 0) + 0.001 * epochs * ((fold or 0) % 3)


def walk(search: Search, history: list[Tried], steps: int = 999) -> list[Tried]:
    """Ask and finish in turn."""
    for _ in range(steps):
        proposal = search.next()
        if proposal is None:
            break
        run = (proposal.config, proposal.seed, proposal.replicate, proposal.fold)
        values = [] if proposal.spared else [score(proposal.config.epochs, proposal.fold)]
        done = Tried(
            len(history), *run, "pruned" if proposal.spared else "complete", values, {}, spared=proposal.spared
        )
        history.append(done)
        search.add(done if proposal.spared else Tried(done.number, *run, "running"))
        if not proposal.spared:
            search.finish(done.number, "complete", values)
    return history


def ended(history: Sequence[Tried]) -> list[tuple[int, int | None, str]]:
    return [(trial.config.epochs, trial.fold, trial.spared) for trial in history]


def test_the_worse_configuration_gets_four_of_ten_folds_and_the_others_all() -> None:
    history = walk(Search(spec(), []), [])
    trained = [sum(t.config.epochs == epochs and not t.spared for t in history) for epochs in (1, 2, 3)]
    assert trained == [10, 4, 10]
    assert len(history) == 30
    words = next(t.spared for t in history if t.spared)
    assert words.startswith("not trained: its configuration is worse than that of trial 0 in 4 of 4 pairs of folds, by")
    assert "one-sided p = 0.0625, pruned below 0.1" in words


def test_without_the_pruner_every_fold_is_trained() -> None:
    history = walk(Search(spec(head=HEAD.replace("pruner: wilcoxon\n", "")), []), [])
    assert not any(t.spared for t in history)


@pytest.mark.parametrize("steps", [1, 3])
def test_a_search_that_is_taken_up_again_and_again_decides_the_same(steps: int) -> None:
    straight = walk(Search(spec(), []), [])
    history: list[Tried] = []
    for _ in range(40):
        history = walk(Search(spec(), history), history, steps)
    assert ended(history) == ended(straight)


def test_a_decision_stands_though_the_best_has_changed_since() -> None:
    straight = walk(Search(spec(), []), [])
    first = next(i for i, trial in enumerate(straight) if trial.spared)
    history = walk(Search(spec(), straight[: first + 1]), straight[: first + 1])
    assert {trial.spared for trial in history if trial.config.epochs == 2 and trial.spared} == {straight[first].spared}


def test_a_fold_that_may_prove_needless_waits_while_there_is_other_work() -> None:
    history: list[Tried] = []
    search = Search(spec(), history)
    walk(search, history, 13)  # all of the first configuration, three folds of the second
    started = []
    for number in (13, 14, 15):
        proposal = search.next()
        assert proposal is not None
        started.append((proposal.config.epochs, proposal.fold))
        search.add(Tried(number, proposal.config, proposal.seed, proposal.replicate, proposal.fold, "running"))
    assert started == [(2, 3), (3, 0), (3, 1)]
    search.finish(13, "complete", [score(2, 3)])
    proposal = search.next()
    assert proposal is not None
    assert (proposal.config.epochs, proposal.fold, bool(proposal.spared)) == (2, 4, True)


def test_a_worker_without_other_work_gets_the_fold_that_may_prove_needless() -> None:
    two = spec("configurations: [{epochs: 1}, {epochs: 2}]\n")
    history: list[Tried] = []
    search = Search(two, history)
    walk(search, history, 13)
    folds = []
    for number in (13, 14):
        proposal = search.next()
        assert proposal is not None
        folds.append(proposal.fold)
        search.add(Tried(number, proposal.config, proposal.seed, proposal.replicate, proposal.fold, "running"))
    assert folds == [3, 4]


def test_a_point_that_the_sampler_repeats_gets_a_fold_that_it_lacks() -> None:
    # a grid would be walked through, so the budget is below that of all three points
    text = "search: {epochs: [1, 2, 3]}\nsampler: random\nbudget: {trials: 17}\n"
    for seed in range(60):
        history = walk(Search(spec(f"seed: {seed}\n" + text, HEAD.replace("folds: 10", "folds: 6")), []), [])
        spared = [trial.fold for trial in history if trial.spared]
        again = [trial.fold for trial in history if trial.replicate > 0 and trial.config.epochs == 2]
        if len(spared) == len(again) == 2:
            assert again == spared
            return
    pytest.fail("no seed of 60 repeated a pruned point twice")


def test_a_sampler_is_not_told_of_folds_that_were_not_trained() -> None:
    text = "search: {epochs: [1, 2, 3]}\nsampler: random\nbudget: {trials: 29}\n"
    for seed in range(9):
        search = Search(spec(f"seed: {seed}\n" + text), [])
        history = walk(search, [])
        trained = [trial for trial in history if not trial.spared]
        assert len(search.sampling.study.trials) == len(trained)
        if len(trained) < len(history):
            return
    pytest.fail("no seed of 9 pruned a configuration")


def test_the_plan_counts_every_fold_as_the_most_there_can_be() -> None:
    assert len(ahead(spec(), Begun()).drawn) == 30


# --- nights -------------------------------------------------------------------------------------------


LOSSES = (MetricValue("train", "loss", 0.5), MetricValue("validation", "loss", 0.6))


def fold_of_a_trial(job: TrialJob) -> Words:
    yield facts(job.config)
    for number in range(1, job.config.epochs + 1):
        yield epoch(
            number, metrics=(*LOSSES, MetricValue("validation", "accuracy", score(job.config.epochs, job.fold)))
        )
    yield TrialOutcome("complete", seconds={"total": 1.0})


def dying_after(trials: int) -> Callable[[TrialJob], Words]:
    """Workers that go home after so many trials: the process is gone, the record is what it was."""
    count = itertools.count()

    def script(job: TrialJob) -> Words:
        if next(count) >= trials:
            raise KeyboardInterrupt
        yield from fold_of_a_trial(job)

    return script


def rows(path: Path) -> list[tuple[Any, ...]]:
    with Store.open(path) as store:
        study = store.study("s")
        assert study is not None
        return [(t.number, t.config.epochs, t.fold, t.state, t.message, t.objective) for t in store.trials(study.id)]


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("straight") / "r.db"
    through(path, parse_study(HEAD + THREE), Scripted(fold_of_a_trial))
    return path


def test_a_night_ends_the_needless_folds_as_pruned_with_words_and_no_epoch(straight: Path) -> None:
    found = rows(straight)
    assert [row[3] for row in found].count("pruned") == 6
    assert all(row[4].startswith("not trained: ") for row in found if row[3] == "pruned")
    engine = open_engine(straight, read_only=True)
    assert violations(engine) == []
    assert overviews(engine)[0].spared == 6


@pytest.mark.parametrize("trials", [3, 14])
def test_a_night_that_was_cut_off_decides_the_same(straight: Path, tmp_path: Path, trials: int) -> None:
    path = tmp_path / "r.db"
    with pytest.raises(KeyboardInterrupt):
        through(path, parse_study(HEAD + THREE), Scripted(dying_after(trials)))
    through(path, parse_study(HEAD + THREE), Scripted(fold_of_a_trial))
    assert rows(path) == rows(straight)


def test_two_workers_prune_the_same_configuration(tmp_path: Path) -> None:
    path = tmp_path / "r.db"
    through(path, parse_study(HEAD + THREE), Scripted(fold_of_a_trial, slots=2))
    assert {row[1] for row in rows(path) if row[3] == "pruned"} == {2}
    assert violations(open_engine(path, read_only=True)) == []


def test_a_pruned_configuration_never_ranks_above_one_with_all_folds(straight: Path) -> None:
    """Even where the folds that it has are the easy ones."""
    with Store.open(straight) as store:
        study = store.study("s")
        assert study is not None
        trials = store.trials(study.id)
    best = best_of(trials, spec())
    assert best is not None
    assert (best.configuration, len(best.runs), best.full) == (2, 10, 10)
    assert plan_of(study.spec).searched == 10


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Night]:
    """Five folds of a configuration that learns, three of one whose learning rate is absurd; the budget ends there."""
    text = """
study: night
task: sequence-classification
model: builtin:tiny
data: {path: "builtin:reviews", rows: 100, folds: 5}
fixed: {max_length: 16, batch_size: 8, dtype: fp32, epochs: 1}
configurations: [{learning_rate: 1e-3}, {learning_rate: 0.5}]
objective: loss
pruner: wilcoxon
keep: 0
"""
    night = Night(tmp_path_factory.mktemp("folds"), text)
    code, output = night.run("--set", "budget.trials=8")
    assert code == 0, output
    yield night


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_real_night_prunes_the_bad_configuration_before_its_last_fold(real: Night) -> None:
    assert [state for (state,) in real.rows("SELECT state FROM harness_trial")] == ["complete"] * 8
    code, output = real.run("--set", "budget.trials=10")
    assert code == 0, output
    assert "trial 9, fold 4: not trained: its configuration is worse" in " ".join(output.split())
    (row,) = real.rows("SELECT number, fold, attempt, message FROM harness_trial WHERE state = 'pruned'")
    assert row[:3] == (9, 4, 0)
    assert "in 4 of 4 pairs of folds" in row[3]
    assert violations(open_engine(real.db, read_only=True)) == []
    code, output = real.harness("status", "night")
    assert "1 of the pruned were not trained" in " ".join(output.split())
    before = real.rows("SELECT number, state, attempt, ended_at FROM harness_trial ORDER BY number")
    assert real.run("--set", "budget.trials=10")[0] == 0
    assert real.rows("SELECT number, state, attempt, ended_at FROM harness_trial ORDER BY number") == before

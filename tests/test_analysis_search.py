"""The best so far, the parameters that mattered, and whether the best can be told apart, within chance."""

from __future__ import annotations

import math

import numpy as np
import optuna
import pandas as pd
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.importance import FanovaImportanceEvaluator, get_param_importances

import harness.analysis.fanova as fanova
import harness.analysis.search as search
import harness.metrics as metrics
from harness.analysis.search import AT_MOST, best_by_example, best_configuration, by_chance, history, importance
from harness.analysis.statistics import resampled_rows
from tests.frames import summary

# --- history --------------------------------------------------------------------------------------


def test_the_best_so_far_follows_the_direction():
    trials = summary({"objective": 0.5}, {"objective": 0.3}, {"objective": 0.4})
    assert history(trials, "minimize")["best_so_far"].tolist() == [0.5, 0.3, 0.3]
    assert history(trials, "maximize")["best_so_far"].tolist() == [0.5, 0.5, 0.5]
    assert history(trials, "minimize")["is_best"].tolist() == [False, True, False]


def test_trials_without_a_result_change_nothing():
    trials = summary(
        {"state": "failed", "reason": "oom"},
        {"objective": 0.5},
        {"objective": 0.1, "state": "pruned"},
        {"objective": 0.4},
        {"state": "waiting"},
    )
    frame = history(trials, "minimize")
    assert math.isnan(frame["best_so_far"].iloc[0])
    assert frame["best_so_far"].iloc[1:].tolist() == [0.5, 0.5, 0.4, 0.4]
    assert frame.loc[frame["is_best"], "trial"].tolist() == [3]


def test_the_first_of_equal_trials_leads():
    assert history(summary({"objective": 0.3}, {"objective": 0.3}), "minimize")["is_best"].tolist() == [True, False]


def test_history_is_in_the_order_of_the_trials():
    frame = history(summary({"objective": 0.5}, {"objective": 0.3})[::-1], "minimize")
    assert frame["trial"].tolist() == [0, 1]


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_a_study_without_results_has_no_best_configuration(direction):
    assert not history(summary({"state": "failed", "reason": "oom"}), direction)["is_best"].any()
    assert history(summary({}).iloc[:0], direction).empty


# --- importance -----------------------------------------------------------------------------------


def searched(count: int, seed: int = 0, effect: float = 1.0) -> pd.DataFrame:
    """Random trials whose objective hangs on log learning rate and on nothing else but noise."""
    rng = np.random.default_rng(seed)
    rates = 10 ** rng.uniform(-5, -4, count)
    rows = [
        {
            "learning_rate": float(rate),
            "batch_size": int(rng.choice([8, 16, 32])),
            "freeze": str(rng.choice(["none", "head"])),
            "objective": effect * float((np.log10(rate) + 4.5) ** 2) + float(rng.normal(0, 0.01)),
        }
        for rate in rates
    ]
    return summary(*rows)


def test_the_parameter_that_decides_is_the_most_important_one():
    frame, note = importance(searched(40))
    assert frame["parameter"].iloc[0] == "learning_rate"
    assert frame["importance"].iloc[0] > 0.8
    assert frame["importance"].sum() == pytest.approx(1.0)
    assert frame["clear"].tolist() == [True, False, False]
    assert "40 complete trials" in note


@pytest.mark.slow
def test_in_noise_few_parameters_are_called_important():
    clear = sum(int(importance(searched(12, seed, effect=0.0)).frame["clear"].sum()) for seed in range(4))
    assert clear <= 2  # of 12; the three shares sum to 1 each time


def test_of_many_parameters_that_do_nothing_one_in_twenty_studies_has_one_that_stands_out():
    """Against its own largest share in 20 shuffles, some parameter of six would in a quarter of the studies."""
    rng, wrong, wrong_alone = np.random.default_rng(0), 0, 0
    for _ in range(400):
        shares = rng.dirichlet([0.5, 1.0, 1.0, 2.0, 4.0, 8.0], 21)
        wrong += bool((shares[0] > by_chance(shares[1:])).any())
        wrong_alone += bool((shares[0] > shares[1:].max(axis=0)).any())
    assert wrong / 400 < 0.08 and wrong_alone / 400 > 0.2


def test_a_parameter_that_explains_nearly_all_stands_out_even_where_chance_gives_it_most():
    shuffled = np.random.default_rng(1).dirichlet([2.0, 2.0, 16.0], 20)
    bound = by_chance(shuffled)
    assert (bound > shuffled.mean(axis=0)).all() and bound[2] < 0.997  # though shares end at 1
    assert by_chance(np.ones((20, 1))).tolist() == [1.0]  # the only one varied always explains all


def test_importance_is_the_same_every_time():
    assert importance(searched(12)).frame.equals(importance(searched(12)).frame)


def test_shares_are_those_of_optuna_whose_code_walks_through_each_tree():
    trials = searched(60).assign(max_length=np.tile([32, 64, 128, 32, 64], 12))
    names = ["batch_size", "freeze", "learning_rate", "max_length"]
    target = trials["objective"].to_numpy(dtype=np.float64) + (trials["freeze"] == "head").to_numpy() * 0.05
    space: dict[str, BaseDistribution] = {
        name: FloatDistribution(float(trials[name].min()), float(trials[name].max()))
        for name in names
        if name != "freeze"
    }
    space["freeze"] = CategoricalDistribution(["head", "none"])
    study = optuna.create_study()
    for row, value in zip(trials[names].to_dict("records"), target, strict=True):
        study.add_trial(optuna.create_trial(value=value, params=row, distributions=space))
    evaluator = FanovaImportanceEvaluator(n_trees=fanova.TREES, max_depth=fanova.DEPTH, seed=3)
    expected = get_param_importances(study, evaluator=evaluator, params=names)
    found = fanova.shares(fanova.encoded(trials, names), target, seed=3)
    assert found == pytest.approx([expected[name] for name in names], rel=1e-9)
    assert found.min() > 0.001


def test_too_few_trials_say_nothing_and_the_number_needed_is_named():
    answer = importance(searched(11))
    assert answer.frame.empty
    assert answer.note == "too few trials: 11 complete, 12 needed for 3 parameters"


def test_failed_and_pruned_trials_do_not_count():
    trials = searched(12)
    trials["state"] = ["failed"] * 6 + ["pruned"] * 2 + ["complete"] * 4
    assert importance(trials).note.startswith("too few trials: 4 complete")


def test_parameters_that_did_not_vary_are_left_out():
    assert set(importance(searched(12)).frame["parameter"]) == {"learning_rate", "batch_size", "freeze"}
    alike = summary(*({"objective": 0.1 * i} for i in range(12)))
    assert importance(alike).note == "no parameter varied among the complete trials"


def test_equal_objectives_say_nothing():
    assert importance(searched(30).assign(objective=0.5)).note == "every complete trial has the same objective"


def test_a_parameter_that_may_be_missing_is_a_category():
    trials = searched(12).assign(dropout=[None, 0.1, 0.2] * 4)
    assert "dropout" in set(importance(trials, ["dropout", "batch_size"]).frame["parameter"])


def test_importance_of_very_many_trials_is_that_of_a_stated_sample(monkeypatch):
    monkeypatch.setattr(search, "SAMPLE", 20)
    frame, note = importance(searched(50))
    assert frame["parameter"].iloc[0] == "learning_rate"
    assert note.startswith("fANOVA on 20 of 50 complete trials, drawn at random")


# --- how sure the best is ----------------------------------------------------------------------------


def logits_of(hits: np.ndarray, references: np.ndarray) -> np.ndarray:
    """Logits that name the right class where `hits` is true and the other where not, shape (examples, 2)."""
    named = np.where(hits, references, 1 - references)
    return np.stack([named == 0, named == 1], axis=1) * 2.0


@pytest.fixture
def reviews() -> tuple[dict[int, list[np.ndarray]], np.ndarray]:
    """500 reviews: trial 0 at 85%, trial 1 at 84% with other mistakes, trial 2 at 60%."""
    rng = np.random.default_rng(0)
    references = rng.integers(2, size=500)
    hits = {0: np.arange(500) >= 75, 1: rng.permutation(500) >= 80, 2: np.arange(500) >= 200}
    return {trial: [logits_of(hit, references)] for trial, hit in hits.items()}, references


def test_84_and_85_percent_of_500_reviews_cannot_be_told_apart(reviews):
    sure = best_configuration(*reviews, "accuracy")
    assert sure.best == 0
    assert sure.not_distinguishable == [1]
    assert sure.frame["configuration"].tolist() == [0, 1, 2]
    assert sure.frame["value"].tolist() == pytest.approx([0.85, 0.84, 0.60])
    assert sure.frame["probability_best"].sum() == pytest.approx(1.0)
    assert 0.5 < sure.frame["probability_best"].iloc[0] < 0.95


def test_the_interval_of_the_best_value_is_that_of_its_examples(reviews):
    row = best_configuration(*reviews, "accuracy").frame.iloc[0]
    half = 1.96 * math.sqrt(0.85 * 0.15 / 500)
    assert (row["low"], row["high"]) == (pytest.approx(0.85 - half, abs=0.004), pytest.approx(0.85 + half, abs=0.004))


def test_a_small_lead_on_the_same_mistakes_is_certain_where_an_unpaired_look_sees_nothing():
    references = np.zeros(500, np.int64)
    better, worse = np.arange(500) >= 75, np.arange(500) >= 100  # worse has all mistakes of better, and 25 more
    sure = best_configuration(
        {0: [logits_of(better, references)], 1: [logits_of(worse, references)]}, references, "accuracy"
    )
    assert sure.not_distinguishable == []
    assert sure.frame["low"].iloc[0] < sure.frame["high"].iloc[1]  # the separate intervals overlap


def loss(table, true):
    return metrics.cross_entropy(table, true).mean()


def accuracy(table, true):
    return (table.argmax(axis=1) == true).mean()


def f1(table, true):
    return metrics.evaluate("labels", table.argmax(axis=1), true, positive=1, num_labels=2)["f1"]


@pytest.mark.parametrize("slow", [loss, accuracy, f1])
def test_bootstrap_intervals_are_those_of_a_slow_loop(reviews, slow):
    logits, references = reviews
    frame = best_configuration(logits, references, slow.__name__, resamples=50, seed=3).frame
    draws = [
        [slow(logits[t][0][rows], references[rows]) for t in frame["configuration"]]
        for rows in resampled_rows(500, 50, 3)
    ]
    assert frame["low"].tolist() == pytest.approx(np.quantile(draws, 0.025, axis=0).tolist())
    assert frame["high"].tolist() == pytest.approx(np.quantile(draws, 0.975, axis=0).tolist())


def test_the_loss_is_best_where_it_is_lowest(reviews):
    logits, references = reviews
    sure = best_configuration(logits, references, "loss", resamples=200)
    assert sure.best == 0
    assert sure.frame["value"].iloc[0] == pytest.approx(metrics.cross_entropy(logits[0][0], references).mean())
    assert sure.frame["difference_low"].iloc[2] > 0
    assert sure.not_distinguishable == [1]


def test_f1_speaks_of_the_positive_class(reviews):
    logits, references = reviews
    of = {
        k: best_configuration(logits, references, "f1", positive=k, resamples=50).frame["value"].iloc[0] for k in (0, 1)
    }
    predictions = logits[0][0].argmax(axis=1)
    for k, value in of.items():
        assert value == metrics.evaluate("labels", predictions, references, positive=k, num_labels=2)["f1"]


def test_trials_with_equal_predictions_share_the_probability_and_are_not_told_apart(reviews):
    logits, references = reviews
    sure = best_configuration({"a": logits[0], "b": logits[0]}, references, "accuracy", resamples=100)
    assert sure.frame["probability_best"].tolist() == [0.5, 0.5]
    assert sure.not_distinguishable == ["b"]


def test_equal_models_are_rarely_told_apart_though_there_are_many():
    told = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        references = rng.integers(2, size=200)
        logits = {t: [logits_of(rng.random(200) < 0.8, references)] for t in range(10)}
        told += (
            len(best_configuration(logits, references, "accuracy", resamples=300, seed=seed).not_distinguishable) < 9
        )
    assert told / 60 < 0.14  # one in twenty and chance, though the best of ten was chosen by the same examples


def test_seeds_are_averaged_example_by_example_before_the_bootstrap(reviews):
    logits, references = reviews
    pair = {"both": [logits[0][0], logits[2][0]], "one": logits[1]}
    frame = best_configuration(pair, references, "accuracy", resamples=50, seed=3).frame.set_index("configuration")
    assert frame.loc["both", "value"] == pytest.approx((0.85 + 0.60) / 2)
    hits = np.mean([accuracy_of_each(table, references) for table in pair["both"]], axis=0)
    draws = [hits[rows].mean() for rows in resampled_rows(500, 50, 3)]
    assert frame.loc["both", "low"] == pytest.approx(np.quantile(draws, 0.025))


def test_f1_of_seeds_is_the_mean_of_theirs(reviews):
    logits, references = reviews
    pair = {0: [logits[0][0], logits[2][0]]}
    value = best_configuration(pair, references, "f1", positive=1, resamples=20).frame["value"].iloc[0]
    assert value == pytest.approx(np.mean([f1(table, references) for table in pair[0]]))


def test_the_leader_is_compared_with_even_where_another_scores_better_here(reviews):
    sure = best_configuration(*reviews, "accuracy", leader=1)
    assert sure.frame["configuration"].tolist() == [1, 0, 2]
    assert sure.frame["difference"].iloc[1] == pytest.approx(0.01)
    assert best_configuration(*reviews, "accuracy", leader=9).best is None


def accuracy_of_each(table, true):
    return (table.argmax(axis=1) == true).astype(float)


def test_a_trial_whose_metric_is_undefined_is_left_out(reviews):
    logits, references = reviews
    constant = np.tile([1.0, 0.0], (500, 1))
    sure = best_configuration({0: logits[0], 9: [constant]}, references, "mcc", resamples=50)
    assert sure.frame["configuration"].tolist() == [0]
    assert "1 further behind or without a value are left out" in sure.note


def test_only_the_best_configurations_are_compared(reviews):
    logits, references = reviews
    sure = best_configuration({i: logits[i % 3] for i in range(AT_MOST + 10)}, references, "accuracy", resamples=20)
    assert len(sure.frame) == AT_MOST


def test_without_logits_nothing_is_best():
    sure = best_configuration({}, [0, 1], "loss")
    assert (sure.best, sure.frame.empty) == (None, True)
    assert best_configuration({0: [np.zeros((0, 2))]}, [], "loss").best is None


def test_logits_of_other_examples_and_unknown_metrics_are_refused(reviews):
    logits, references = reviews
    with pytest.raises(ValueError, match=r"configuration 0: logits \(500, 2\) do not match 3 references"):
        best_configuration(logits, references[:3], "loss")
    with pytest.raises(KeyError, match="train_seconds"):
        best_configuration(logits, references, "train_seconds")


def test_scores_by_example_say_the_same_as_logits(reviews):
    logits, references = reviews
    by_logits = best_configuration(logits, references, "accuracy", resamples=100, seed=5)
    hits = {key: [accuracy(table, references) for table in runs] for key, runs in logits.items()}
    by_example = best_by_example(
        {key: [(table.argmax(axis=1) == references).astype(float) for table in runs] for key, runs in logits.items()},
        "accuracy",
        resamples=100,
        seed=5,
    )
    pd.testing.assert_frame_equal(by_example.frame, by_logits.frame)
    assert by_example.frame["value"].iloc[0] == pytest.approx(max(np.mean(each) for each in hits.values()))
    assert by_example.note == by_logits.note


def test_scores_of_other_examples_are_refused():
    with pytest.raises(ValueError, match="scores of \\[3, 4\\] examples"):
        best_by_example({0: [np.zeros(3)], 1: [np.zeros(4)]}, "loss")

"""Curves give verdicts, wasted epochs, advice and a map of gaps, and of many curves a stated choice is shown."""

from __future__ import annotations

import math

import pandas as pd
import pytest

import harness.verdicts as verdicts
from harness.analysis.overfitting import advice, choose_curves, counted, gap_map, table, waste
from harness.curves import Curve
from harness.verdicts import LEARNT_NOTHING
from tests.frames import epochs, summary
from tests.published import TABLES

OVERFIT = ((0.60, 0.40, 0.20), (0.45, 0.40, 0.50))
HEALTHY = ((0.60, 0.45, 0.38), (0.50, 0.46, 0.459))


@pytest.fixture
def published() -> tuple[pd.DataFrame, pd.DataFrame]:
    """P1 to P4 as one study's frames, trial after trial."""
    curves = [(t.train_loss, t.validation_loss) for t in TABLES.values()]
    return summary(*({} for _ in curves)), epochs(*curves)


def test_the_published_tables_get_their_verdicts_through_frames(published):
    judged = table(*published)
    assert judged["words"].tolist() == [t.words for t in TABLES.values()]
    assert judged["strength"].tolist() == [t.strength for t in TABLES.values()]


def test_one_row_by_hand():
    row = table(summary({}), epochs(OVERFIT)).iloc[0]
    assert (row["words"], row["best_loss_epoch"], row["last_epoch"]) == ("overfitting after epoch 2", 2, 3)
    assert (row["best_validation_loss"], row["last_validation_loss"]) == (0.40, 0.50)
    assert row["gap_at_best"] == pytest.approx(0.0)
    assert row["gap_at_last"] == pytest.approx(0.3)
    assert row["relative_rise"] == pytest.approx(0.25)
    assert (row["epochs_after_best"], row["seconds_after_best"], row["seconds"]) == (1, 10.0, 30.0)


def test_waiting_trials_have_no_row_and_a_trial_that_diverged_at_once_has():
    trials = summary({}, {"state": "waiting"}, {"state": "failed", "reason": "diverged"})
    judged = table(trials, epochs(HEALTHY))
    assert judged["trial"].tolist() == [0, 2]
    assert judged["verdict"].tolist() == ["healthy", "diverged"]
    assert math.isnan(judged["best_validation_loss"].iloc[1])


def test_a_stored_verdict_outweighs_one_from_the_losses_alone():
    words = "healthy; rise after epoch 2 within noise"
    judged = table(summary({"verdict": "healthy", "verdict_words": words}), epochs(OVERFIT))
    assert (judged["verdict"].item(), judged["words"].item()) == ("healthy", words)
    assert judged["strength"].item() == ""


def test_a_stored_name_without_words_keeps_the_judged_words_when_they_agree():
    judged = table(summary({"verdict": "overfitting"}), epochs(OVERFIT))
    assert judged["words"].item() == "overfitting after epoch 2"


def test_epochs_without_a_row_count_as_missing():
    frame = epochs(OVERFIT)
    judged = table(summary({"verdict": None, "verdict_words": None}), frame[frame["epoch"] != 1])
    assert judged["words"].item() == "overfitting after epoch 2"


def test_epochs_may_come_in_any_order():
    assert table(summary({}), epochs(OVERFIT)[::-1])["words"].item() == "overfitting after epoch 2"


def test_trials_of_two_studies_are_told_apart():
    second = epochs(HEALTHY).assign(study="t")
    trials = pd.concat([summary({}), summary({}, study="t")], ignore_index=True)
    judged = table(trials, pd.concat([epochs(OVERFIT), second], ignore_index=True))
    assert judged["verdict"].tolist() == ["overfitting", "healthy"]


def test_waste_adds_up_epochs_and_seconds_after_the_best():
    judged = table(summary({}, {}, {}), epochs(OVERFIT, OVERFIT, HEALTHY))
    spent = waste(judged)
    assert (spent.trials, spent.epochs, spent.all_epochs) == (3, 2, 9)
    assert (spent.seconds, spent.all_seconds) == (20.0, 90.0)
    assert spent.counts == {"overfitting": 2, "healthy": 1}


def test_waste_leaves_out_what_was_not_timed():
    judged = table(summary({}, {}), epochs(OVERFIT, OVERFIT).assign(epoch_seconds=[math.nan] * 3 + [10.0] * 3))
    assert (waste(judged).epochs, waste(judged).seconds, waste(judged).all_seconds) == (2, 10.0, 30.0)


def test_waste_of_nothing_is_nothing():
    assert waste(table(summary({}, {}), epochs())).trials == 0


def test_advice_says_how_many_epochs_to_train_and_what_that_saves():
    lines = advice(table(summary({}, {}, {}), epochs(OVERFIT, OVERFIT, HEALTHY)))
    assert len(lines) == 1
    assert "2 of 3 trials overfit" in lines[0]
    assert "train for 2 epochs" in lines[0]
    assert "saved 20 s" in lines[0]


def test_advice_speaks_of_each_verdict_once_and_names_its_trials():
    learning = ((0.66, 0.60, 0.55), (0.65, 0.59, 0.54))
    carried_over = ((0.12, 0.11, 0.04), (0.59, 0.59, 0.57))
    lines = advice(table(summary({}, {}, {}, {}), epochs(OVERFIT, learning, carried_over, learning)))
    assert len(lines) == 3
    assert any(line.startswith("Trials 1, 3 (still learning): Train for more epochs") for line in lines)
    assert any(line.startswith("Trial 2 (overfitting): Freeze more, raise dropout") for line in lines)


def test_a_healthy_study_needs_no_advice():
    assert advice(table(summary({}, {}), epochs(HEALTHY, HEALTHY))) == []


# --- the gap over two parameters ------------------------------------------------------------------


def judged_with_gaps(*gaps: float) -> pd.DataFrame:
    curves = [((0.5, 0.5 - gap), (0.5, 0.5)) for gap in gaps]
    return table(summary(*({} for _ in gaps)), epochs(*curves))


def test_the_heat_map_holds_mean_gaps():
    trials = summary(
        {"batch_size": 16, "freeze": "none"},
        {"batch_size": 16, "freeze": "none"},
        {"batch_size": 32, "freeze": "none"},
        {"batch_size": 16, "freeze": "head"},
    )
    pivot = gap_map(trials, judged_with_gaps(0.1, 0.3, 0.4, 0.05)).frame
    assert (pivot.index.name, pivot.columns.name) == ("batch_size", "freeze")
    assert pivot.loc[16, "none"] == pytest.approx(0.2)
    assert pivot.loc[32, "none"] == pytest.approx(0.4)
    assert math.isnan(pivot.loc[32, "head"])


def test_the_two_parameters_with_most_levels_are_chosen():
    trials = summary(
        *({"batch_size": 8 + i % 2, "max_length": 100 + i % 3, "learning_rate": 1e-5 * i} for i in range(1, 7))
    )
    pivot = gap_map(trials, judged_with_gaps(*(0.1,) * 6)).frame
    assert (pivot.index.name, pivot.columns.name) == ("learning_rate", "max_length")


def test_a_parameter_given_keeps_its_place():
    trials = summary(*({"batch_size": 8 + i % 2, "max_length": 100 + i % 3} for i in range(6)))
    pivot = gap_map(trials, judged_with_gaps(*(0.1,) * 6), columns="batch_size").frame
    assert (pivot.index.name, pivot.columns.name) == ("max_length", "batch_size")


def test_many_values_are_cut_into_five_ranges():
    trials = summary(*({"learning_rate": 1e-5 * (i + 1), "batch_size": 8 + i % 2} for i in range(20)))
    pivot = gap_map(trials, judged_with_gaps(*(0.1,) * 20)).frame
    assert len(pivot) == 5
    assert pivot.index[0] == "1e-05 to 4.8e-05"


def test_a_missing_value_of_a_parameter_is_a_level_of_its_own():
    trials = summary({"batch_size": 8}, {"batch_size": 16}).assign(dropout=[0.1, math.nan])
    pivot = gap_map(trials, judged_with_gaps(0.1, 0.2), rows="dropout").frame
    assert sorted(str(level) for level in pivot.index) == ["0.1", "none given"]


def test_one_varied_parameter_makes_no_heat_map_and_says_so():
    answer = gap_map(summary({"batch_size": 8}, {"batch_size": 16}), judged_with_gaps(0.1, 0.2))
    assert answer.frame.empty
    assert "fewer than two parameters vary" in answer.note


# --- the choice of curves ---------------------------------------------------------------------------


def many(count: int, missed: tuple[int, ...] = ()) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Trials whose loss grows with their number and whose gap shrinks with it."""
    trials = summary(*({"state": "pruned" if i in missed else "complete"} for i in range(count)))
    curves = [((0.5, 0.01 * i), (0.6 + 0.001 * i, 0.5 + 0.001 * i)) for i in range(count)]
    return table(trials, epochs(*curves)), trials


def test_few_curves_are_all_shown():
    answer = choose_curves(*many(60))
    assert (len(answer.frame), answer.note) == (60, "")


def test_sixty_of_many_are_chosen_by_the_stated_rule():
    chosen = choose_curves(*many(200, missed=(70, 71))).frame
    counts = chosen["chosen_for"].value_counts().to_dict()
    assert len(chosen) == chosen["trial"].nunique() == 60
    assert counts == {"best": 15, "worst": 15, "most overfitting": 15, "near miss": 2, "by number": 13}
    by_reason = chosen.groupby("chosen_for")["trial"].apply(list)
    assert by_reason["best"] == list(range(15))
    assert by_reason["worst"] == list(range(185, 200))
    assert by_reason["most overfitting"] == list(range(15, 30))  # 0 to 14 are drawn already
    assert by_reason["near miss"] == [70, 71]
    assert by_reason["by number"] == list(range(30, 43))


def test_the_number_left_out_is_told():
    assert choose_curves(*many(70), at_most=20).note == "20 of 70 curves are shown"


def test_a_place_is_never_given_twice_when_there_are_few():
    assert len(choose_curves(*many(9), at_most=8).frame) == 8


def test_a_model_that_learnt_nothing_is_counted_apart_and_gets_advice():
    flat = ((0.69, 0.69), (0.69, 0.69))
    trials = summary({"verdict": "healthy", "verdict_words": LEARNT_NOTHING}, {})
    judged = table(trials, epochs(flat, flat))
    assert counted(judged) == ["2 healthy (1 of them learnt nothing yet)"]
    assert advice(judged)[0].startswith("Trial 0 (learnt nothing yet): Raise the learning rate")
    assert counted(table(summary({}), epochs(flat))) == ["1 healthy"]


def test_stored_evidence_of_the_present_rules_is_shown_and_nothing_is_judged_again(monkeypatch):
    trials = summary({}).assign(verdict="overfitting", verdict_words="overfitting after epoch 2")
    judged = table(summary({}), epochs(((0.5, 0.4, 0.3), (0.6, 0.5, 0.9)))).iloc[0]
    evidence = verdicts.judge(Curve([0.5, 0.4, 0.3], [0.6, 0.5, 0.9], [10.0] * 3)).evidence
    trials = trials.assign(verdict_evidence=[evidence], verdict_version=verdicts.VERSION)
    monkeypatch.setattr(verdicts, "judge", None)
    row = table(trials, epochs(((0.5, 0.4, 0.3), (0.6, 0.5, 0.9)))).iloc[0]
    shown = ["gap_at_best", "gap_at_last", "epochs_after_best", "seconds_after_best", "best_loss_epoch", "seconds"]
    assert row[shown].tolist() == pytest.approx(judged[shown].tolist())
    assert row["words"] == "overfitting after epoch 2"

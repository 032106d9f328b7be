"""Verdicts on curves: those of published tables, each threshold by hand, and how often noise is called overfitting."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import harness.verdicts as verdicts
from harness.curves import Curve, paired_rise
from harness.verdicts import judge
from tests.published import P1_GAPS, TABLES, Published

FALLING = (0.60, 0.45, 0.30)
"""A training loss that falls on, not yet far enough for a large gap."""


def words(train, validation, **more):
    return judge(Curve(train, validation, **more)).words


def judged(table: Published, factor=1.0, **more):
    def scale(losses):
        return [None if x is None else x * factor for x in losses]

    return judge(Curve(scale(table.train_loss), scale(table.validation_loss), **more))


# --- the published runs ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", TABLES)
def test_published_runs_get_their_readers_verdict(name):
    verdict = judged(TABLES[name])
    assert (verdict.words, verdict.strength) == (TABLES[name].words, TABLES[name].strength)


@pytest.mark.parametrize("name", TABLES)
def test_published_verdicts_do_not_hang_on_the_third_digit(name):
    rng = np.random.default_rng(1)
    table = TABLES[name]
    for _ in range(50):
        noisy = [
            [None if x is None else x + rng.uniform(-0.0005, 0.0005) for x in losses]
            for losses in (table.train_loss, table.validation_loss)
        ]
        assert words(*noisy) == table.words


@pytest.mark.parametrize("name", TABLES)
def test_published_verdicts_are_the_same_in_bits(name):
    assert judged(TABLES[name], factor=1 / math.log(2)).words == TABLES[name].words


def test_the_published_gaps_are_validation_minus_train():
    verdict = judged(TABLES["P1"])
    assert verdict.gap_at_best == pytest.approx(P1_GAPS[0], abs=0.005)
    assert verdict.gap_at_last == pytest.approx(P1_GAPS[2], abs=0.005)


def test_two_of_three_epochs_of_p1_were_wasted():
    verdict = judged(TABLES["P1"], epoch_seconds=(93.0, 93.0, 93.17))
    assert (verdict.best_epoch, verdict.turning_epoch, verdict.epochs_after_best) == (1, 1, 2)
    assert verdict.seconds_after_best == pytest.approx(186.17)


def test_the_gap_verdict_has_a_best_epoch_and_no_turning_epoch():
    verdict = judged(TABLES["P2 model 4"])
    assert (verdict.name, verdict.best_epoch, verdict.turning_epoch) == ("overfitting", 3, None)


# --- each rule at its border ------------------------------------------------------------------------


@pytest.mark.parametrize(("after", "expected"), [(0.4116, "healthy"), (0.4124, "overfitting after epoch 2")])
def test_a_rise_of_three_percent_is_overfitting(after, expected):
    assert words(FALLING, (0.45, 0.40, after)) == expected


@pytest.mark.parametrize(("after", "expected"), [(0.4196, "weakly"), (0.4204, "clearly")])
def test_from_five_percent_on_overfitting_is_clear(after, expected):
    assert judge(Curve(FALLING, (0.45, 0.40, after))).strength == expected


def test_the_mean_after_the_best_epoch_decides_not_one_lucky_epoch():
    train = (0.6, 0.5, 0.4, 0.35, 0.3)
    assert words(train, (0.40, 0.44, 0.44, 0.44, 0.405)) == "overfitting after epoch 1"
    assert words(train, (0.40, 0.402, 0.44, 0.402, 0.402)) == "healthy"


def test_a_tiny_loss_may_rise_unmentioned():
    assert words((0.09, 0.06, 0.03), (0.050, 0.040, 0.048)) == "healthy"


@pytest.mark.parametrize(
    ("train", "expected"), [(0.141, "healthy"), (0.139, "overfitting by its gap, no turning epoch")]
)
def test_a_training_loss_below_a_third_is_overfitting_by_its_gap(train, expected):
    assert words((0.5, 0.3, train), (0.50, 0.45, 0.42)) == expected


def test_a_large_share_of_a_small_loss_is_no_gap_to_speak_of():
    assert words((0.10, 0.02, 0.005), (0.09, 0.07, 0.065)) == "healthy"


@pytest.mark.parametrize(("train", "expected"), [(0.381, "still learning"), (0.379, "healthy")])
def test_still_learning_ends_where_a_gap_opens(train, expected):
    assert words((0.6, 0.5, train), (0.55, 0.45, 0.40)) == expected


@pytest.mark.parametrize(("last", "expected"), [(0.4845, "still learning"), (0.4865, "healthy")])
def test_still_learning_needs_a_fall_of_three_percent_over_three_epochs(last, expected):
    assert words((0.7, 0.6, 0.55, 0.54, 0.53), (0.6, 0.5, 0.495, 0.49, last)) == expected


def test_a_plateau_without_a_gap_is_healthy():
    assert words((0.7, 0.5, 0.5, 0.5, 0.5), (0.6, 0.5, 0.5, 0.5, 0.5)) == "healthy"


@pytest.mark.parametrize(("peak", "expected"), [(0.59, "healthy"), (0.61, "unstable")])
def test_a_spike_of_a_fifth_that_comes_back_is_unstable(peak, expected):
    assert words((0.7, 0.6, 0.4), (0.50, peak, 0.48)) == expected


def test_a_rise_that_never_comes_back_is_overfitting_and_not_unstable():
    assert words((0.5, 0.3, 0.1, 0.05), (0.4, 0.6, 0.8, 1.1)) == "overfitting after epoch 1"


def test_a_training_loss_that_jumps_is_unstable():
    assert words((0.5, 0.65, 0.45), (0.5, 0.49, 0.48)) == "unstable"


def test_both_losses_rising_together_is_unstable_and_not_overfitting():
    assert words((0.50, 0.45, 0.50), (0.50, 0.45, 0.50)) == "unstable"


@pytest.mark.parametrize("last", [0.449, 0.451])
def test_a_training_loss_that_stands_still_is_neither_overfitting_nor_unstable(last):
    assert words((0.50, 0.45, last), (0.50, 0.45, 0.47)) == "healthy"


def test_a_training_loss_that_doubles_has_diverged():
    assert words((0.5, 0.3, 0.69), (0.4, 0.35, 0.69)) == "diverged"


@pytest.mark.parametrize("curve", [Curve((0.5, math.inf), (0.4, None)), Curve((0.5, 0.4), (0.4, 0.3), diverged=True)])
def test_a_non_finite_loss_or_a_trial_ended_for_it_has_diverged(curve):
    verdict = judge(curve)
    assert (verdict.name, verdict.best_epoch) == ("diverged", 1 if not curve.diverged else 2)


def test_a_trial_that_diverged_before_its_first_evaluation_has_no_best_epoch():
    verdict = judge(Curve((), (), diverged=True))
    assert (verdict.words, verdict.best_epoch, verdict.gap_at_last) == ("diverged", None, None)


@pytest.mark.parametrize("validation", [(), (0.4,), (None, 0.4), (None, None)])
def test_fewer_than_two_validation_losses_are_too_short_to_tell(validation):
    assert words((0.5,) * len(validation), validation) == "too short to tell"


def test_curves_of_different_length_are_refused():
    with pytest.raises(ValueError, match="one length, got 2 and 1"):
        judge(Curve((0.5, 0.4), (0.4,)))


# --- missing values -----------------------------------------------------------------------------------


def test_missing_values_are_left_out_and_epochs_keep_their_numbers():
    verdict = judge(Curve((0.6, 0.5, 0.4, None, 0.2), (None, 0.40, None, 0.44, None)))
    assert (verdict.words, verdict.best_epoch, verdict.epochs_after_best) == ("overfitting after epoch 2", 2, 3)
    assert verdict.gap_at_best == pytest.approx(-0.10)
    assert verdict.gap_at_last == pytest.approx(-0.10)  # epoch 2 is the last with both losses


def test_nan_and_none_are_the_same_missing():
    with_nan = judge(Curve((0.6, math.nan, 0.4), (0.5, 0.45, 0.4)))
    assert with_nan == judge(Curve((0.6, None, 0.4), (0.5, 0.45, 0.4)))


def test_without_training_losses_the_rise_alone_decides():
    verdict = judge(Curve((None, None, None), (0.40, 0.45, 0.50)))
    assert (verdict.words, verdict.gap_at_best) == ("overfitting after epoch 1", None)


def test_the_first_of_equal_epochs_is_best():
    assert judge(Curve((0.6, 0.5, 0.4), (0.5, 0.4, 0.4))).best_epoch == 2


# --- the paired test ------------------------------------------------------------------------------------


def examples(rise, spread, count=400, seed=0):
    """Per-example losses at best and last epoch whose difference has that mean and that spread exactly."""
    rng = np.random.default_rng(seed)
    best = rng.exponential(0.4, count)
    noise = rng.standard_normal(count)
    noise = (noise - noise.mean()) / noise.std(ddof=1)
    return best, best + rise + spread * noise


def test_the_paired_test_is_that_of_scipy():
    best, last = examples(0.03, 0.25)
    expected = stats.ttest_rel(last, best, alternative="greater")
    assert paired_rise(best, last).p_value == pytest.approx(expected.pvalue, rel=1e-9)


def test_the_paired_test_by_hand():
    test = paired_rise([1.0, 1.0, 1.0], [1.0, 2.0, 3.0])
    assert (test.rise, test.standard_error) == (1.0, pytest.approx(1 / math.sqrt(3)))
    assert test.p_value == pytest.approx(stats.t.sf(math.sqrt(3), 2))


def test_choosing_the_best_of_many_epochs_makes_the_level_stricter():
    best, last = examples(0.03, 0.28)  # t = 2.14, p = 0.016
    assert paired_rise(best, last, 1).outcome == "clear"
    assert paired_rise(best, last, 10).outcome == "within noise"


def test_a_rise_within_noise_softens_overfitting_to_healthy():
    best, last = examples(0.02, 0.6)
    curve = {"train": FALLING, "validation": (0.45, 0.40, 0.42)}
    assert words(**curve) == "overfitting after epoch 2"
    assert words(**curve, best_examples=best, last_examples=last) == "healthy; rise after epoch 2 within noise"


def test_a_clear_rise_stays_overfitting_and_tells_its_p_value():
    best, last = examples(0.02, 0.1)
    verdict = judge(Curve(FALLING, (0.45, 0.40, 0.42), best_examples=best, last_examples=last))
    assert verdict.words == "overfitting after epoch 2"
    assert verdict.rise_test.outcome == "clear"
    assert "400 examples" in verdict.reason


def test_the_test_never_makes_a_verdict_sterner():
    best, last = examples(0.005, 0.001)
    assert words(FALLING, (0.45, 0.40, 0.405), best_examples=best, last_examples=last) == "healthy"


def test_equal_rises_of_all_examples_are_certain_and_no_rise_is_none():
    assert paired_rise([1.0, 2.0], [1.5, 2.5]).p_value == 0.0
    assert paired_rise([1.0, 2.0], [1.0, 2.0]).p_value == 1.0


def test_one_example_cannot_be_tested():
    assert paired_rise([1.0], [2.0]) is None


def test_examples_without_a_finite_loss_are_left_out():
    assert paired_rise([1.0, 1.0, math.nan, 1.0], [2.0, 3.0, 1.0, math.inf]).examples == 2


def test_examples_that_do_not_match_are_refused():
    with pytest.raises(ValueError, match="one shape"):
        paired_rise([1.0, 2.0], [1.0])


# --- noise --------------------------------------------------------------------------------------------------


def plateau(rng, epochs, noise):
    """The validation loss levels off while the training loss falls on: the hardest curve that does not overfit."""
    validation = 0.40 + 0.25 * np.exp(-np.arange(epochs)) + rng.normal(0, noise * 0.40, epochs)
    return np.linspace(0.65, 0.25, epochs), validation


@pytest.mark.parametrize("epochs", [3, 5, 10, 20])
def test_noise_of_one_percent_is_rarely_called_overfitting(epochs):
    rng = np.random.default_rng(epochs)
    called = [judge(Curve(*plateau(rng, epochs, 0.01))).name == "overfitting" for _ in range(500)]
    assert np.mean(called) < 0.05


@pytest.mark.parametrize("epochs", [3, 5, 10, 20])
def test_with_examples_larger_noise_is_rarely_called_overfitting(epochs):
    """200 examples whose losses wander by 0.3 from epoch to epoch: the mean by 0.02, 5% of the loss."""
    rng = np.random.default_rng(epochs)
    named = {"with": 0, "without": 0}
    for _ in range(300):
        losses = rng.exponential(0.4, 200) + rng.normal(0, 0.3, (epochs, 200))  # (epochs, examples)
        train, validation = np.linspace(0.4, 0.3, epochs), losses.mean(axis=1)
        pair = {"best_examples": losses[validation.argmin()], "last_examples": losses[-1]}
        named["with"] += judge(Curve(train, validation, **pair)).name == "overfitting"
        named["without"] += judge(Curve(train, validation)).name == "overfitting"
    assert named["with"] / 300 < 0.06 < named["without"] / 300


def test_real_overfitting_is_seen_through_noise():
    rng = np.random.default_rng(3)
    rising = np.array([0.50, 0.42, 0.40, 0.45, 0.50, 0.56])
    falling = np.array([0.60, 0.42, 0.33, 0.28, 0.24, 0.22])
    found = [words(falling, rising + rng.normal(0, 0.004, 6)) for _ in range(200)]
    assert np.mean([w == "overfitting after epoch 3" for w in found]) > 0.98


losses = st.lists(st.one_of(st.none(), st.floats(0.05, 5.0)), min_size=0, max_size=12)


@settings(max_examples=200, deadline=None)
@given(losses, st.randoms(use_true_random=False))
def test_every_curve_gets_a_known_verdict_whose_evidence_is_json(validation, random):
    train = [None if random.random() < 0.2 else random.uniform(0.05, 5.0) for _ in validation]
    verdict = judge(Curve(train, validation, epoch_seconds=[1.0] * len(train)))
    assert verdict.name in verdicts.NAMES
    assert verdict.words.startswith(verdict.name)
    json.dumps(verdict.evidence, allow_nan=False)


@settings(max_examples=200, deadline=None)
@given(losses, st.sampled_from([1.0, 2.0, 8.0]))
def test_above_the_floors_a_verdict_does_not_depend_on_the_scale_of_the_loss(validation, factor):
    def at(scale):
        values = [None if x is None else x * scale for x in validation]
        return judge(Curve([None if x is None else x * 0.6 for x in values], values)).words

    assert at(100 * factor) == at(100.0)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(0.3, 3.0), min_size=2, max_size=12))
def test_a_falling_validation_loss_with_a_small_gap_is_never_overfitting(values):
    validation = sorted(values, reverse=True)
    assert judge(Curve([0.8 * v for v in validation], validation)).name != "overfitting"


# --- a model that learnt nothing ------------------------------------------------------------------------------

FLAT = (0.695, 0.693, 0.694)


def test_losses_that_stay_at_chance_are_healthy_and_said_to_have_learnt_nothing():
    verdict = judge(Curve(FLAT, FLAT, chance_loss=math.log(2)))
    assert (verdict.name, verdict.words) == ("healthy", verdicts.LEARNT_NOTHING)
    assert "guess" in verdict.reason and "learning rate" in verdict.advice[0] and "labels" in verdict.advice[1]
    assert verdict.evidence["chance_loss"] == math.log(2)


def test_without_the_loss_of_a_guess_nothing_is_said_of_it():
    assert words(FLAT, FLAT) == "healthy"


@pytest.mark.parametrize(
    ("train", "validation"),
    [
        ((0.695, 0.60, 0.55), FLAT),  # the training rows are being learnt
        ((0.40, 0.40, 0.40), (0.45, 0.45, 0.45)),  # flat, but far below chance
        ((0.80, 0.75, 0.70), (0.70, 0.70, 0.70)),  # still on its way down to chance
    ],
)
def test_a_loss_that_fell_or_lies_below_chance_has_learnt_something(train, validation):
    assert words(train, validation, chance_loss=math.log(2)) == "healthy"


def test_one_epoch_is_too_short_even_for_nothing():
    assert words((0.69,), (0.69,), chance_loss=math.log(2)) == "too short to tell"


@pytest.mark.parametrize("name", TABLES)
def test_published_runs_have_all_learnt_something(name):
    assert judged(TABLES[name], chance_loss=math.log(2)).words == TABLES[name].words


# --- what is told ---------------------------------------------------------------------------------------------


def test_evidence_carries_the_figures_that_decided():
    best, last = examples(0.02, 0.1)
    verdict = judge(Curve(FALLING, (0.45, 0.40, 0.42), (10.0, 10.0, 11.0), best, last))
    assert verdict.evidence["relative_rise"] == pytest.approx(0.05)
    assert verdict.evidence["seconds_after_best"] == 11.0
    assert verdict.evidence["rise_test"]["outcome"] == "clear"
    assert verdict.version == verdicts.VERSION


def test_unknown_seconds_are_missing_and_not_zero():
    assert judge(Curve(FALLING, (0.45, 0.40, 0.42))).seconds_after_best is None
    assert judge(Curve(FALLING, (0.45, 0.40, 0.42), (1.0, 1.0, None))).seconds_after_best is None


def test_advice_names_the_epochs_to_train():
    assert judge(Curve(FALLING, (0.45, 0.40, 0.50))).advice[0].startswith("Train for 2 epochs,")


def test_a_healthy_curve_needs_no_advice():
    assert judge(Curve(FALLING, (0.45, 0.40, 0.401))).advice == ()


@pytest.mark.parametrize("name", verdicts.NAMES)
def test_every_verdict_but_healthy_has_advice(name):
    assert bool(verdicts.advice(name, None)) == (name != "healthy")

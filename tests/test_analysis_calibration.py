"""How sure a model may be: calibration error, its bins and what chance makes of them, Brier score, temperature."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import optimize

from harness.analysis.calibration import (
    Answers,
    against_chance,
    brier,
    equal_mass,
    equal_width,
    expected_error,
    log_odds,
    overconfidence,
    reliability,
    softmax,
    summary,
    temperature,
)
from harness.analysis.statistics import wilson


def drawn(examples: int = 500, labels: int = 4, seed: int = 0, scale: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """Logits and gold labels that follow them, so that dividing the logits by 1 is right."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, scale, (examples, labels))
    gold = np.array([rng.choice(labels, p=row) for row in softmax(logits)])
    return logits, gold


def slow_error(confidence: np.ndarray, right: np.ndarray, bins: int) -> float:
    """The expected calibration error as its paper writes it: the bins ((m - 1) / M, m / M]."""
    total = 0.0
    for m in range(1, bins + 1):
        inside = [i for i, sure in enumerate(confidence) if (m - 1) / bins < sure <= m / bins]
        if inside:
            accuracy = sum(right[i] for i in inside) / len(inside)
            sure = sum(confidence[i] for i in inside) / len(inside)
            total += len(inside) / len(confidence) * abs(accuracy - sure)
    return total


# --- the diagram --------------------------------------------------------------------------------------


def test_the_error_of_four_answers_by_hand():
    # (0.5, 1]: mean confidence 0.8, two of three right; (0, 0.5]: 0.4, none of one right.
    confidence, right = [0.7, 0.8, 0.9, 0.4], [True, True, False, False]
    assert expected_error(confidence, right, equal_width(2)) == pytest.approx(3 / 4 * (0.8 - 2 / 3) + 1 / 4 * 0.4)


@pytest.mark.parametrize("bins", [1, 10, 15])
@pytest.mark.parametrize("seed", range(5))
def test_the_error_is_that_of_the_slow_twin(bins: int, seed: int):
    rng = np.random.default_rng(seed)
    confidence = np.round(rng.random(200), 2)  # many of them on an edge
    confidence[confidence == 0] = 0.01
    right = rng.random(200) < confidence**2
    found = expected_error(confidence, right, equal_width(bins))
    assert found == pytest.approx(slow_error(confidence, right, bins), abs=1e-12)


def test_a_bin_holds_its_upper_edge_and_an_empty_one_has_no_values():
    frame = reliability([0.5, 0.51, 1.0], [True, False, True], equal_width(4))
    assert frame["examples"].tolist() == [0, 1, 1, 1]
    assert frame["right"].tolist()[1:] == [1.0, 0.0, 1.0] and math.isnan(frame["right"][0])
    assert frame["confidence"].tolist()[1:] == [0.5, 0.51, 1.0]


def test_each_bin_has_the_wilson_interval_of_its_share():
    frame = reliability([0.9] * 10, [True] * 7 + [False] * 3, equal_width())
    row = frame[frame["examples"] > 0].iloc[0]
    assert (row["right_low"], row["right_high"]) == (wilson(7, 10).low, wilson(7, 10).high)
    assert (row["low"], row["high"]) == pytest.approx((13 / 15, 14 / 15))


def test_the_table_gives_the_error_again():
    logits, gold = drawn()
    answers = Answers(logits, gold, logits.argmax(axis=1))
    frame = reliability(answers.confidence, answers.right, equal_width()).dropna()
    again = (frame["examples"] * (frame["right"] - frame["confidence"]).abs()).sum() / len(gold)
    assert again == pytest.approx(summary(answers).ece.error)


def test_adaptive_bins_hold_as_many_examples_as_each_other():
    confidence = np.random.default_rng(1).random(150)
    frame = reliability(confidence, confidence > 0.5, equal_mass(confidence))
    assert frame["examples"].tolist() == [10] * 15


def test_equal_confidences_share_an_adaptive_bin_whatever_their_order():
    confidence, right = np.array([0.9] * 40 + [0.6] * 5), np.array([True] * 45)
    right[:20] = False
    for order in (np.arange(45), np.arange(45)[::-1]):
        error = expected_error(confidence[order], right[order], equal_mass(confidence))
        assert error == pytest.approx((40 * (0.9 - 0.5) + 5 * (1 - 0.6)) / 45)
    assert reliability(confidence, right, equal_mass(confidence))["examples"].tolist() == [5, 40]


def test_a_confidence_above_one_by_rounding_is_in_the_last_bin():
    assert reliability([1.0000001], [True], equal_width())["examples"].tolist()[-1] == 1


# --- chance -------------------------------------------------------------------------------------------


def test_a_model_that_is_right_as_often_as_it_says_is_within_chance_mostly():
    beyond = 0
    for seed in range(40):
        logits, gold = drawn(200, seed=seed)
        answers = Answers(logits, gold, logits.argmax(axis=1))
        beyond += against_chance(answers.confidence, answers.right, equal_width(), draws=200).beyond_chance
    assert beyond <= 6  # 2 expected of 40; 7 or more come in 1 of 200 such tests


def test_a_model_that_is_too_sure_is_beyond_chance():
    logits, gold = drawn()
    hot = Answers(4 * logits, gold, logits.argmax(axis=1))
    found = against_chance(hot.confidence, hot.right, equal_width(), draws=200)
    assert found.beyond_chance and found.error > 2 * found.bound > 2 * found.chance


def test_the_simulated_errors_are_those_of_the_measured_one():
    # One example of confidence 0.8: the error is 0.2 when it is right (80%), else 0.8.
    found = against_chance([0.8], [True], equal_width(), draws=20_000)
    assert found.error == pytest.approx(0.2)
    assert found.chance == pytest.approx(0.8 * 0.2 + 0.2 * 0.8, abs=0.01) and found.bound == pytest.approx(0.8)


def test_equal_seeds_draw_equal_chances():
    logits, gold = drawn(50)
    answers = Answers(logits, gold, logits.argmax(axis=1))
    twice = [against_chance(answers.confidence, answers.right, equal_width()) for _ in range(2)]
    assert twice[0] == twice[1]


def test_overconfidence_is_confidence_minus_share_right():
    found = overconfidence([0.9, 0.8, 0.7, 0.6], [True, False, True, False])
    assert found.estimate == pytest.approx(0.75 - 0.5) and found.low < found.estimate < found.high and found.n == 4


# --- scores -------------------------------------------------------------------------------------------


def test_brier_scores_by_hand():
    assert brier([[0.7, 0.2, 0.1], [0.0, 1.0, 0.0]], [0, 0]).tolist() == pytest.approx([0.09 + 0.04 + 0.01, 2.0])


def test_brier_leaves_the_probabilities_as_they_are():
    given = np.array([[0.7, 0.3]])
    brier(given, [0])
    assert given.tolist() == [[0.7, 0.3]]


def test_log_odds_give_the_confidence_again():
    confidence = np.array([0.01, 0.5, 0.999])
    assert softmax(log_odds(confidence))[:, 1] == pytest.approx(confidence)
    assert softmax(log_odds([0.0, 1.0]))[:, 1] == pytest.approx([1e-7, 1 - 1e-7], rel=1e-6)


def test_softmax_does_not_overflow():
    assert softmax([[1e4, 0.0]]).tolist() == [[1.0, 0.0]]


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_temperature_is_where_a_general_minimiser_finds_the_smallest_nll(factor: float):
    logits, gold = drawn(400)
    scaled = factor * logits

    def nll(log_temperature: float) -> float:
        return float(-np.log(softmax(scaled / math.exp(log_temperature))[np.arange(400), gold]).mean())

    slow = math.exp(optimize.minimize_scalar(nll, bounds=(-3, 4), method="bounded", options={"xatol": 1e-9}).x)
    assert temperature(scaled, gold) == pytest.approx(slow, rel=1e-4)


def test_temperature_finds_the_factor_that_was_put_in():
    logits, gold = drawn(20_000, seed=3)
    assert temperature(2.5 * logits, gold) == pytest.approx(2.5, rel=0.05)


def test_temperature_of_two_answers_by_hand():
    # Log odds 2 for the answer, right in 3 of 4: the best log odds are log 3.
    logits, gold = np.array([[0.0, 2.0]] * 4), np.array([1, 1, 1, 0])
    assert temperature(logits, gold) == pytest.approx(2 / math.log(3))


def test_no_temperature_is_best_where_all_is_right_or_worse_than_guessing_or_there_is_nothing():
    sure = np.array([[0.0, 2.0]] * 4)
    assert math.isnan(temperature(sure, [1, 1, 1, 1]))
    assert math.isnan(temperature(sure, [0, 0, 0, 1]))
    assert math.isnan(temperature(np.zeros((0, 2)), []))


# --- all of it ----------------------------------------------------------------------------------------


def test_the_summary_of_a_model_that_is_too_sure():
    logits, gold = drawn(2000, seed=5)
    found = summary(Answers(3 * logits, gold, logits.argmax(axis=1)))
    assert found.examples == found.nll.n == 2000
    assert found.over.low > 0 and found.confidence - found.right.estimate == pytest.approx(found.over.estimate)
    assert found.temperature == pytest.approx(3, rel=0.1)
    assert found.cooled_nll < found.nll.low and found.cooled_ece < found.ece.error


def test_a_model_without_errors_has_no_temperature_and_the_rest_all_the_same():
    found = summary(Answers(np.array([[0.0, 3.0]] * 5), np.ones(5, int), np.ones(5, int)))
    assert math.isnan(found.temperature) and math.isnan(found.cooled_ece) and math.isnan(found.cooled_nll)
    assert found.right.estimate == 1.0 and found.ece.error == pytest.approx(1 - found.confidence)


def test_a_span_is_right_or_not_however_unsure_it_is():
    answers = Answers(log_odds([0.3, 0.9]), np.array([1, 0]), np.ones(2, int))
    assert answers.confidence.tolist() == pytest.approx([0.3, 0.9]) and answers.right.tolist() == [True, False]

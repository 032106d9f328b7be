"""The published scale of losses, and what this study measured beside it."""

from __future__ import annotations

import math

import pandas as pd
import pytest
from published import P1
from test_verdicts import judged

from harness.analysis import loss_scale


@pytest.mark.parametrize(
    ("loss", "name"),
    [(0.2, "excellent"), (0.999, "excellent"), (1.0, "very good"), (1.6476, "good"), (2.0, "fair"), (2.99, "fair")]
    + [(3.01, "poor"), (5.95, "poor"), (math.inf, "poor")],
)
def test_a_loss_has_the_word_of_the_scale(loss: float, name: str) -> None:
    assert loss_scale.band(loss) == name


def test_no_number_has_no_word() -> None:
    with pytest.raises(ValueError, match="stands on no scale"):
        loss_scale.band(math.nan)


def test_a_guess_over_384_positions_has_the_published_loss() -> None:
    assert loss_scale.uniform(384) == pytest.approx(5.95, abs=0.005)


def test_the_published_epochs_are_good_on_their_own_scale_and_overfitting_by_our_rules() -> None:
    epochs, train, validation = zip(*loss_scale.PUBLISHED, strict=True)
    assert (train, validation) == (P1.train_loss, P1.validation_loss) and epochs == (1, 2, 3)
    assert {loss_scale.band(loss) for loss in validation} == {"good"}
    verdict = judged(P1)
    assert (verdict.words, verdict.strength) == ("overfitting after epoch 1", "clearly")


def test_measured_answers_stand_beside_their_band() -> None:
    trials = pd.DataFrame(
        {
            "validation_loss": [1.6, 1.9, 2.5, math.nan],
            "exact_match": [0.50, 0.46, 0.30, 0.99],
            "f1": [0.62, 0.58, math.nan, 0.99],
        }
    )
    rows = loss_scale.measured(trials).set_index("band")
    assert rows["trials"].to_dict() == {"excellent": 0, "very good": 0, "good": 2, "fair": 1, "poor": 0}
    assert rows.loc["good", ["lowest_exact_match_share", "highest_exact_match_share"]].tolist() == [0.46, 0.50]
    assert rows.loc["good", ["lowest_f1_share", "highest_f1_share"]].tolist() == [0.58, 0.62]
    assert math.isnan(rows.loc["fair", "lowest_f1_share"]) and rows.loc["fair", "lowest_exact_match_share"] == 0.30
    assert rows["validation loss"].tolist()[0::4] == ["below 1.0", "3.0 and more"]


def test_lower_loss_with_more_exact_answers_is_minus_one() -> None:
    trials = pd.DataFrame({"validation_loss": [1.0, 2.0, 3.0], "exact_match": [0.6, 0.5, 0.1]})
    assert loss_scale.goes_with(trials) == pytest.approx(-1.0)
    assert math.isnan(loss_scale.goes_with(trials.head(2)))

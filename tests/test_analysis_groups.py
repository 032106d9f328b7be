"""Each group of the data has its value and its interval, and the spread between groups says which of them overlap."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from harness.analysis.groups import GROUPS, SPREAD, by_group, spread
from harness.analysis.statistics import wilson

ACCURACY = {"de": 0.9, "en": 0.8, "fr": 0.2}
EXAMPLES = pd.DataFrame({"group": ["de"] * 10 + ["en"] * 20 + ["fr"] * 40}, dtype="str")


def trials(best_epoch: int = 2, fold: int | None = None, number: int = 0) -> pd.DataFrame:
    row = {"trial": [number], "best_epoch": [best_epoch], "fold": [fold]}
    return pd.DataFrame(row, dtype="Int64")


def metrics(number: int = 0, values: dict[str, float] = ACCURACY) -> pd.DataFrame:
    """Accuracy as given at epoch 2, 0.5 at epoch 1, and the same of the training probe: 0."""
    rows = [
        (number, epoch, split, "accuracy", group, 0.0 if split == "probe" else 0.5 if epoch == 1 else value)
        for epoch in (1, 2)
        for split in ("probe", "validation")
        for group, value in {"": 0.6, **values}.items()
    ]
    return pd.DataFrame(rows, columns=["trial", "epoch", "split", "name", "group", "value"]).astype({"trial": "Int64"})


def test_each_group_has_its_value_at_the_best_epoch_and_its_examples():
    frame = by_group(metrics(), trials(), EXAMPLES)
    assert frame["group"].tolist() == ["de", "en", "fr"]
    assert frame["accuracy"].tolist() == [0.9, 0.8, 0.2]
    assert frame["examples"].tolist() == [10, 20, 40]
    assert by_group(metrics(), trials(best_epoch=1), EXAMPLES)["accuracy"].tolist() == [0.5] * 3


def test_accuracy_has_the_wilson_interval_of_its_right_answers():
    row = by_group(metrics(), trials(), EXAMPLES).iloc[0]
    assert (row["accuracy_low"], row["accuracy_high"]) == (wilson(9, 10).low, wilson(9, 10).high)


def test_trials_stay_in_the_order_given():
    both = pd.concat([metrics(0), metrics(1)])
    order = pd.concat([trials(number=1), trials(number=0)])
    assert by_group(both, order, EXAMPLES)["trial"].tolist() == [1, 1, 1, 0, 0, 0]


def test_a_fold_has_other_examples_so_it_gets_no_count_and_no_interval():
    frame = by_group(metrics(), trials(fold=1), EXAMPLES)
    assert frame["examples"].isna().all() and frame["accuracy_low"].isna().all()
    assert spread(frame, "accuracy", "maximize")["overlapping"].isna().all()


def test_a_study_without_groups_has_no_rows():
    assert list(by_group(metrics(values={}), trials(), EXAMPLES.iloc[:0])) == GROUPS
    assert list(spread(pd.DataFrame(columns=[*GROUPS, "accuracy"]), "accuracy", "maximize")) == SPREAD


def test_the_spread_is_best_minus_worst_with_the_groups_that_overlap_the_best():
    row = spread(by_group(metrics(), trials(), EXAMPLES), "accuracy", "maximize").iloc[0]
    assert (row["best_group"], row["worst_group"], row["groups"]) == ("de", "fr", 3)
    assert row["spread"] == pytest.approx(0.7)
    assert row["overlapping"] == 1  # 8 to 10 of 10 and of 20 overlap; 8 of 40 does not


def test_for_a_loss_the_lowest_group_is_the_best():
    frame = by_group(metrics(), trials(), EXAMPLES).rename(columns={"accuracy": "loss"})
    row = spread(frame, "loss", "minimize").iloc[0]
    assert (row["best_group"], row["worst_group"]) == ("fr", "de")
    assert row["spread"] == pytest.approx(0.7) and pd.isna(row["overlapping"])


def test_a_group_without_a_value_is_left_out_of_the_spread():
    frame = by_group(metrics(), trials(), EXAMPLES)
    frame.loc[2, "accuracy"] = math.nan
    assert spread(frame, "accuracy", "maximize").iloc[0]["worst_group"] == "en"

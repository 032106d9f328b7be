"""Cells know a metric by the registry: its unit says whether it is shown in percent, and a score may be marked."""

from __future__ import annotations

import harness.metrics as metrics
from harness.report.cells import cell, column, is_fraction, is_score


def test_every_metric_that_is_a_fraction_is_shown_in_percent() -> None:
    fractions = [each.name for each in metrics.registered() if each.unit == "fraction"]
    assert {"has_answer_f1", "has_answer_exact_match", "no_answer_accuracy"} <= set(fractions)
    assert all(is_fraction(name) and column(name).heading.endswith(" (%)") for name in fractions)
    assert cell("no_answer_accuracy", 0.8413) == "84.1"
    assert not is_fraction("loss") and not is_fraction("mcc")


def test_every_metric_of_what_a_model_is_worth_may_bear_the_mark_of_a_single_seed_and_no_cost_does() -> None:
    worth = [each.name for each in metrics.registered() if each.name not in metrics.costs()]
    assert all(is_score(name) for name in worth)
    assert not any(is_score(name) for name in metrics.costs())

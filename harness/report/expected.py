"""What the best of a search is expected to be worth again: the best of many looks better than it is."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from harness.analysis import search
from harness.analysis.selection import Shrunken, error_of_scores, expected_largest_normal, shrunken
from harness.analysis.statistics import Floats
from harness.metrics import cross_entropy
from harness.ranking import Standing
from harness.report import best, confirmed, outputs
from harness.report.cells import cell, is_fraction
from harness.report.naming import plural
from harness.report.study_frames import StudyFrames

SOURCE = (
    "Expected again: James and Stein's estimate, which pulls the scores that cannot be told apart from the best "
    "towards their mean by as much as their spread is noise of the examples (Efron and Morris, 1977). Luck among "
    "equals: the expected largest of as many normal values (Tippett, 1925) times the standard error of a score. "
    "Neither knows the luck of the seed, nor that of reading the best epoch on the same examples; new seeds and test "
    "rows tell."
)


class Expected(NamedTuple):
    """The best score as it was seen and as it is expected on other examples.

    Attributes:
        seen, again: in the metric's unit.
        error: standard error of one score.
        found: the shrinkage behind it.
    """

    seen: float
    again: float
    error: float
    found: Shrunken


def of(study: StudyFrames) -> Expected | None:
    """The estimate for the best configuration; None where it cannot honestly be made.

    It needs four configurations that cannot be told apart, the best among them, and a metric that is a mean over
    examples whose scores are stored. What is clearly worse says nothing of how good the best is: a few collapsed
    trials would make all spread look real. A study that was confirmed has better: its new seeds.
    """
    return study.once("expected", lambda: _find(study))


def _find(study: StudyFrames) -> Expected | None:
    alike = set(best.of(study).sureness.not_distinguishable)
    ranked = best.standings(study)
    places = [*ranked[:1], *(each for each in ranked[1:] if each.configuration in alike)]
    if len(places) < 4 or confirmed.of(study) is not None:
        return None
    tables = [scores for each in places[: search.AT_MOST] if (scores := _scores(study, each)) is not None]
    if len(tables) < 4 or len({len(table) for table in tables}) > 1:
        return None
    error = error_of_scores(np.stack(tables, axis=1))
    found = shrunken([each.mean for each in places], error)
    again = float(found.estimates[0])
    return Expected(places[0].mean, again, error, found) if np.isfinite(again) else None


def _scores(study: StudyFrames, standing: Standing) -> Floats | None:
    """The objective on each example, the mean over the configuration's seeds, shape (examples,)."""
    metric = study.objective.metric
    if outputs.answers_questions(study):
        runs: list[Floats] = outputs.scores_of_configuration(study, standing)
        return np.asarray(np.mean(runs, axis=0), np.float64) if runs else None
    gold = outputs.of_examples(study)
    if metric not in ("loss", "accuracy") or gold is None or not len(gold):
        return None
    logits = [np.asarray(table, np.float64) for table in outputs.of_configuration(study, standing)]
    fits = [table.ndim == 2 and len(table) == len(gold) and table.shape[1] > gold.max() for table in logits]
    if not logits or not all(fits):  # the record may be another's and damaged
        return None
    if metric == "loss":
        return np.asarray(np.mean([cross_entropy(table, gold) for table in logits], axis=0), np.float64)
    return np.asarray(np.mean([table.argmax(axis=1) == gold for table in logits], axis=0), np.float64)


def words(study: StudyFrames) -> str:
    """The estimate in a sentence; empty without one."""
    found = of(study)
    if found is None:
        return ""
    name = "validation_loss" if study.objective.metric == "loss" else study.objective.metric
    unit = "%" if is_fraction(name) else ""
    seen, again = cell(name, found.seen), cell(name, found.again)
    count = plural(len(best.standings(study)), best.noun(study))
    lucky = _among_equals(study, found.error, 100.0 if unit else 1.0)
    if seen == again:
        return f"Of {count} the best is seen at {seen}{unit}, and as much is expected again on other examples{lucky}."
    return (
        f"The best of {count} looks better than it is: {seen}{unit} is seen, about {again}{unit} expected again on "
        f"other examples{lucky}."
    )


def _among_equals(study: StudyFrames, error: float, factor: float) -> str:
    """How much luck would account for, were those that cannot be told apart from the best as good as it."""
    alike = len(best.of(study).sureness.not_distinguishable)
    luck = factor * error * expected_largest_normal(alike + 1)
    size = f"{luck:.1f} points" if factor > 1 else f"{luck:.4f}"
    return f"; were the {alike} that cannot be told apart from it just as good, luck would have lifted it by {size}"

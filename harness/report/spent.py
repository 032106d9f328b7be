"""What the trials of a study had spent, and what they had scored, by the end of each epoch; in words."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from harness.analysis import budgets, speed
from harness.configuration import Objective
from harness.metrics import costs
from harness.report.cells import duration, significant
from harness.report.section import Table
from harness.report.study_frames import StudyFrames
from harness.results import frames


def curves(study: StudyFrames, objective: Objective) -> pd.DataFrame:
    """Columns `budgets.CURVES`, the value being that objective."""

    def read() -> pd.DataFrame:
        values = frames.validation_curve(study.engine, study.name, objective.metric)
        return budgets.curves(values, study.epoch_records, study.windows)

    return study.once(f"spent until {objective.metric}", read)


def kinds(study: StudyFrames) -> dict[int, str]:
    """Trial -> how it shared work."""
    shared = zip(study.trials["trial"].tolist(), study.trials["shared_work"].tolist(), strict=True)
    return {int(trial): speed.sharing(work) for trial, work in shared}


def words(unit: str, amount: float) -> str:
    """A budget for a sentence: 30,000 training tokens, 12 min 05 s of training and evaluation, 5,120 joules."""
    if unit == "tokens":
        return f"{amount:,.0f} training tokens"
    return f"{significant(amount)} joules" if unit == "joules" else f"{duration(amount)} of training and evaluation"


def at_equal_budgets(trials: Sequence[tuple[str, StudyFrames, int]]) -> Table | None:
    """What each trial had reached when it had spent as much as the one that spent least; None without such a budget.

    Args:
        trials: name, study and number of each; their objective is the same, on the same rows.
    """
    objective = trials[0][1].objective
    if objective.metric in costs():
        return None
    own = [curves(study, objective) for _, study, _ in trials]
    parts = [
        part[part["trial"] == trial[2]].assign(trial=i) for i, (part, trial) in enumerate(zip(own, trials, strict=True))
    ]
    joined = pd.concat(parts, ignore_index=True)
    alike = len({kinds(study)[number] for _, study, number in trials}) == 1
    groups: budgets.Groups = {place: [place] for place in range(len(trials))}
    rows = []
    for unit in budgets.UNITS if alike else ("tokens",):
        between = budgets.equal(joined, groups, unit)
        if between is not None:
            found = budgets.reached(joined, groups, unit, between.most, objective)
            for row in found.to_dict("records"):
                name = trials[int(row["configuration"])][0]
                rows.append((words(unit, between.most), name, row["value"], row["epochs"]))
    if not rows:
        return None
    metric = "validation_loss" if objective.metric == "loss" else objective.metric
    caption = (
        "Scores when each trial had spent as much as the one that spent least, best first; as measured, not tested."
    )
    caption += "" if alike else " Seconds and energy are left out: the trials shared work in different ways."
    return Table("compare-budgets", pd.DataFrame(rows, columns=["budget", "trial", metric, "epoch_read"]), caption)

"""Trials: every trial's curve and values, to be sorted, filtered, chosen and compared on the page."""

from __future__ import annotations

import numpy as np
import pandas as pd

from harness.analysis import parameters
from harness.metrics import costs
from harness.report import best
from harness.report.cells import is_fraction
from harness.report.naming import plural
from harness.report.section import Content, Curves, Panel, Table, section
from harness.report.study_frames import StudyFrames

AT_MOST = 200
"""Curves in one panel; the table and its file hold all trials."""
_METRICS = ("accuracy", "exact_match", "f1")


@section(order=7, title="Trials")
def build(study: StudyFrames) -> Content:
    """All trials as a table, and their curves."""
    if study.trials.empty:
        return Content()
    return Content(tables=[_table(study)], curves=_curves(study))


def _ranked(study: StudyFrames) -> pd.DataFrame:
    """The trials, complete ones first, by the objective."""
    done = np.where(study.trials["state"] == "complete", 0, 1)
    ascending = [True, study.objective.direction == "minimize", True]
    order = study.trials.assign(rank=done)
    order = order.sort_values(["rank", "objective", "trial"], ascending=ascending, kind="stable")
    return order.drop(columns=["rank"]).reset_index(drop=True)


def _table(study: StudyFrames) -> Table:
    shown_anyway = study.objective.at == "best" and study.objective.metric in ("loss", *_METRICS)
    names = [
        *parameters.varied(study.trials),
        *([] if shown_anyway else ["objective"]),
        "best_epoch",
        "validation_loss",
        *(name for name in _METRICS if name in study.trials and study.trials[name].notna().any()),
    ]
    shown = ["trial", "state", *dict.fromkeys(names), "total_seconds", "verdict_words"]
    ranked = _ranked(study)
    frame = ranked[[name for name in shown if name in ranked]]
    return Table(
        "trials",
        frame.rename(columns={"verdict_words": "verdict"}),
        f"All {plural(len(frame), 'trial')}, complete ones first, by {best.words_of(study.objective)}; metrics are of "
        "the validation examples at the best epoch.",
    )


def _curves(study: StudyFrames) -> list[Curves]:
    """Losses by epoch, and what was optimised where that is no loss; none without a trial of two epochs."""
    numbers = [int(number) for number in _ranked(study)["trial"].tolist()][:AT_MOST]
    panels = [
        _panel(study.losses, "validation_loss", "validation loss", numbers),
        _panel(study.losses, "train_loss", "training loss", numbers),
    ]
    metric = study.objective.metric
    if metric != "loss" and metric not in costs() and metric in study.epochs:
        panels[1] = _panel(study.epochs, metric, best.words_of(study.objective), numbers)
    panels = [panel for panel in panels if any(len(points) > 1 for points in panel.values.values())]
    if not panels:
        return []
    drawn = {number for panel in panels for number in panel.values}
    of_all = "" if len(numbers) == len(study.trials) else f", the first {len(numbers)} of the table"
    caption = (
        f"Curves of {plural(len(drawn), 'trial')}{of_all}, on the validation rows unless they are of training; the "
        "best trial is drawn strong. A curve that leaves the frame belongs to a loss that exploded."
    )
    trials = {number: study.labels[number] for number in numbers if number in drawn}
    return [Curves("trials", study.name, "trials", trials, panels, caption)]


def _panel(epochs: pd.DataFrame, column: str, title: str, numbers: list[int]) -> Panel:
    """One column by epoch; fractions in percent."""
    factor, unit, decimals = (100.0, " (%)", 1) if is_fraction(column) else (1.0, "", 4)
    chosen = epochs[epochs["trial"].isin(numbers)].dropna(subset=[column]).sort_values(["trial", "epoch"])
    columns = (chosen[name].tolist() for name in ("trial", "epoch", column))
    values: dict[int, list[tuple[int, float]]] = {}
    for trial, epoch, value in zip(*columns, strict=True):
        if np.isfinite(value):
            values.setdefault(int(trial), []).append((int(epoch), factor * float(value)))
    return Panel(f"{title}{unit}", {number: values[number] for number in numbers if number in values}, decimals)

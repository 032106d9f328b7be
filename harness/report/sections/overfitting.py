"""Overfitting: loss curves, a verdict in words per trial, the gap, and what the epochs after the best one cost."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from harness.analysis import overfitting
from harness.report.cells import duration, points, signed
from harness.report.charts import curves
from harness.report.naming import listed, plural
from harness.report.section import Content, Drawing, Table, section
from harness.report.study_frames import StudyFrames
from harness.verdicts import LEARNT_NOTHING, VERSION

_SHOWN = [
    "trial",
    "words",
    "best_loss_epoch",
    "last_epoch",
    "best_validation_loss",
    "last_validation_loss",
    "gap_at_best",
    "gap_at_last",
    "epochs_after_best",
    "seconds_after_best",
]
_PANEL_RULE = (
    "Of more than 60 trials, 60 are drawn: a quarter each for the lowest validation loss, the highest, the largest gap "
    "at the last epoch, and failed or pruned near misses; then by number. The table holds all."
)


@section(order=10, title="Overfitting")
def build(study: StudyFrames) -> Content:
    """Where training stops helping: curves with the best epoch, verdicts in words, gaps, and wasted time."""
    judged = study.judged
    if judged.empty:
        return Content(findings=["No trial finished an epoch, so nothing can be said about overfitting."])
    chosen = overfitting.choose_curves(judged, study.summary)
    drawings = [_curves(study, judged, chosen.frame)]
    map_of_gap = overfitting.gap_map(study.trials, judged)
    if not map_of_gap.frame.empty:
        drawings.append(_heat(map_of_gap.frame, map_of_gap.note))
    notes = [note for note in (chosen.note, "" if len(drawings) > 1 else map_of_gap.note) if note]
    return Content(
        findings=[*_findings(judged), *overfitting.advice(judged)],
        drawings=drawings,
        tables=[
            Table(
                "overfitting",
                judged[_SHOWN].rename(columns={"words": "verdict"}),
                f"Verdict of each of {plural(len(judged), 'trial')} that trained. Gap is validation minus training "
                "loss in nats, the training loss being that of the training pass, with dropout; seconds after the best "
                "are wall clock of the epochs after the lowest validation loss.",
            )
        ],
        notes=[
            *notes,
            *([_PANEL_RULE] if len(judged) > overfitting.AT_MOST else []),
            f"Verdicts follow rules of version {VERSION}, from the losses alone.",
        ],
    )


def _findings(judged: pd.DataFrame) -> list[str]:
    spent = overfitting.waste(judged)
    sentences = [f"Of {plural(spent.trials, 'trial')} that trained: {listed(overfitting.counted(judged))}."]
    if spent.epochs:
        share = f" ({points(spent.seconds / spent.all_seconds)}% of the time in epochs)" if spent.all_seconds else ""
        cost = f" and cost {duration(spent.seconds)}{share}" if spent.all_seconds else ""
        sentences.append(f"{spent.epochs} of {spent.all_epochs} epochs came after the lowest validation loss{cost}.")
    gaps = judged.dropna(subset=["gap_at_last"])
    if len(gaps):
        widest = gaps.iloc[int(gaps["gap_at_last"].to_numpy(dtype=float).argmax())]
        sentences.append(
            f"The widest gap at the last epoch is {signed(widest['gap_at_last'])}, of trial {widest['trial']} "
            f"({widest['words']}); the median is {signed(gaps['gap_at_last'].median())}."
        )
    return sentences


def _curves(study: StudyFrames, judged: pd.DataFrame, chosen: pd.DataFrame) -> Drawing:
    short = judged["verdict"].where(judged["words"] != LEARNT_NOTHING, "learnt nothing yet")
    names = dict(zip(judged["trial"].tolist(), short.tolist(), strict=True))
    trials = [int(trial) for trial in chosen["trial"].tolist()]
    figure = curves.small_multiples(study.losses, trials, {trial: f"{trial}: {names[trial]}" for trial in trials})
    caption = (
        f"Training loss (dashed) and validation loss (solid) by epoch of {len(trials)} of {len(judged)} trials, on "
        "shared axes; a ring marks the lowest validation loss. The training loss is that of the training pass, a mean "
        "over the epoch with dropout, so it lags behind the validation loss early on."
    )
    return Drawing("overfitting-curves", figure, caption)


def _heat(pivot: pd.DataFrame, note: str) -> Drawing:
    figure: Figure = curves.heat_map(pivot, "gap at the last epoch")
    return Drawing("overfitting-gap", figure, f"{note[:1].upper()}{note[1:]}; empty cells have no trial.")

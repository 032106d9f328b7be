"""Loss scale: validation losses of question answering in the words of a published scale, beside exact match."""

from __future__ import annotations

import pandas as pd

from harness.analysis import loss_scale
from harness.report.cells import points, signed
from harness.report.naming import plural
from harness.report.outputs import answers_questions
from harness.report.section import Content, Table, section
from harness.report.study_frames import StudyFrames


@section(order=39, title="Loss on a published scale")
def build(study: StudyFrames) -> Content:
    """Where validation losses of question answering stand on a published scale, and which exact match went with it."""
    if not answers_questions(study):
        return Content()
    trials = study.trials[study.trials["validation_loss"].notna()]
    if trials.empty:
        return Content()
    return Content(
        findings=[*_best(trials), *_together(trials)],
        tables=[_bands(trials), _published()],
        notes=[
            "The scale comes from a run of bert-base-uncased on 3,000 questions of SQuAD in windows of 384 tokens "
            "(October 2025), whose author measured no exact match: its bands are words for a loss, and do not say how "
            "many answers are right. Losses of windows of another length compare loosely.",
        ],
    )


def _best(trials: pd.DataFrame) -> list[str]:
    best = trials.iloc[int(trials["validation_loss"].to_numpy(dtype=float).argmin())]
    loss, length = float(best["validation_loss"]), int(best["max_length"])
    name = loss_scale.band(loss)
    answers = ""
    if pd.notna(best["exact_match"]):
        answers = f", with exact match {points(best['exact_match'])} and F1 {points(best['f1'])} points"
    return [
        f"The lowest validation loss at a best epoch, {loss:.4f} of trial {best['trial']}, is {name} on the published "
        f"scale ({loss_scale.bounds(name)}){answers}; a uniform guess over {length} positions has "
        f"{loss_scale.uniform(length):.2f}."
    ]


def _together(trials: pd.DataFrame) -> list[str]:
    rank = loss_scale.goes_with(trials)
    if not rank == rank:
        return []
    return [
        f"Over {plural(len(trials), 'trial')} the rank correlation of validation loss and exact match is "
        f"{signed(rank, 2)}; −1 would mean that the lower loss always has more exact answers."
    ]


def _bands(trials: pd.DataFrame) -> Table:
    caption = (
        f"The published scale, and from where to where exact match and F1 went in {plural(len(trials), 'trial')} of "
        "this study, at the best epoch of each."
    )
    return Table("loss-scale", loss_scale.measured(trials), caption)


def _published() -> Table:
    rows = [
        {
            "epoch": epoch,
            "train_loss": train,
            "validation_loss": validation,
            "gap": validation - train,
            "band": loss_scale.band(validation),
        }
        for epoch, train, validation in loss_scale.PUBLISHED
    ]
    caption = (
        "The run that the scale was published with: all three epochs stand in one band, while the gap says that "
        "training stopped helping after the first."
    )
    return Table("loss-scale-published", pd.DataFrame(rows), caption)

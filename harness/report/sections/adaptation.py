"""Adaptation: what pretraining the encoder further on the training texts cost, and what it changed."""

from __future__ import annotations

from typing import Any

import pandas as pd

import harness.metrics as metrics
from harness.analysis import adaptation
from harness.report.cells import duration, is_fraction, is_missing, signed, significant
from harness.report.naming import plural
from harness.report.section import Content, Table, section
from harness.report.study_frames import StudyFrames

_COLUMNS = [
    "model",
    "texts",
    "held_out_texts",
    "epochs",
    "best_epoch",
    "steps",
    "perplexity_before",
    "perplexity_after",
    "seconds",
    "spent_seconds",
    "reused",
]


@section(order=32, title="Adaptation")
def build(study: StudyFrames) -> Content:
    """Perplexity before and after, seconds, and trials with and without adaptation side by side."""
    found = study.adaptations
    if found.empty:
        return Content()
    sentences = [_told(row) for row in found.to_dict("records")]
    shown = found[_COLUMNS].assign(reused=found["reused"].astype(bool))
    caption = (
        "Masked language modelling on the training texts before the first trial. Perplexity is of the validation "
        "texts that are no training texts, with the same tokens hidden before and after; seconds is what it took, "
        "spent what it took this study."
    )
    compared = _compared(study)
    return Content(
        findings=[*sentences, _cost(study), *compared.findings],
        tables=[Table("adaptation", shown, caption), *compared.tables],
        notes=_notes(bool(compared.tables)),
    )


def _told(row: dict[Any, Any]) -> str:
    before, after = row["perplexity_before"], row["perplexity_after"]
    done = f"Pretraining {row['model']} further on {plural(row['texts'], 'training text')}"
    if is_missing(before) or is_missing(after):
        return f"{done} ended without a finite perplexity on one of both sides."
    sides = f"the perplexity of {plural(row['held_out_texts'], 'held-out text')}"
    if row["fresh_head"]:
        return (
            f"{done} brought {sides} to {significant(after)}. The {significant(before)} before it are those of a new "
            "head: the model came without one for hidden words, so most of the fall is the head's, not the encoder's."
        )
    verb = "lowered" if after < before else "did not lower"
    return f"{done} {verb} {sides}: {significant(before)} before, {significant(after)} after."


def _cost(study: StudyFrames) -> str:
    spent = float(study.adaptations["spent_seconds"].sum())
    if study.adaptations["reused"].astype(bool).all():
        took = float(study.adaptations["seconds"].sum())
        return f"It cost this study nothing: it was made before, in {duration(took)}."
    trials = float(study.trials["total_seconds"].sum())
    share = f", {significant(100 * spent / (spent + trials), 2)}% of all that adapting and its trials took"
    return f"It cost {duration(spent)}{share if trials else ''}."


def _compared(study: StudyFrames) -> Content:
    pairs = adaptation.pairs(study.details, study.trials)
    metric, unit = study.objective.metric, ""
    if pairs.empty:
        words = (
            "no two complete trials differ in adaptation alone. `search: {adapt: [true, false]}` over a grid has them"
        )
        return Content(findings=[f"Whether it helped cannot be told: {words}."])
    mean = adaptation.mean_difference(pairs)
    factor, decimals = 1.0, 4
    if is_fraction(metric):
        factor, unit, decimals = 100.0, " points", 1
    size, low, high = (signed(factor * value, decimals) for value in (mean.estimate, mean.low, mean.high))
    counted = f"Over {plural(mean.n, 'pair')} of trials that differ in adaptation alone"
    if mean.n < 2:
        finding = f"{counted} it changed {metric} by {size}{unit}: one pair cannot tell this from chance."
    else:
        better = (mean.estimate < 0) == (metrics.direction(metric) == "minimize")
        told = "cannot tell" if mean.low <= 0 <= mean.high else f"it made it {'better' if better else 'worse'}"
        finding = f"{counted} it changed {metric} by {size}{unit} [{low}, {high}]: {told}."
    caption = (
        f"{metric} at the {study.objective.at} epoch of each trial that began from the adapted encoder, beside the "
        "trial that differs from it in nothing else."
    )
    return Content(findings=[finding], tables=[Table("adaptation-pairs", _shown(pairs, metric), caption)])


def _shown(pairs: pd.DataFrame, metric: str) -> pd.DataFrame:
    if not is_fraction(metric):
        return pairs
    names = {"adapted": "adapted_share", "not_adapted": "not_adapted_share", "difference": "difference_points"}
    return pairs.rename(columns=names)


def _notes(compared: bool) -> list[str]:
    notes = ["Validation texts chose the epoch that is used, by their own loss; no label was read."]
    if compared:
        notes.append(
            "All adapted trials begin from one and the same adaptation, so the interval speaks of other trials of this "
            "search, not of another seed of the adaptation or of other validation texts."
        )
    return notes

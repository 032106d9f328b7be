"""Adaptation: what pretraining the encoder further on the training texts cost, and what it changed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import pandas as pd

import harness.metrics as metrics
from harness.analysis import adaptation, families, parameters
from harness.analysis.families import Comparison
from harness.analysis.sentences import sentence
from harness.analysis.statistics import LEVEL
from harness.report import outputs
from harness.report.cells import duration, is_fraction, is_missing, signed, significant
from harness.report.naming import describe, plural
from harness.report.section import Content, Table, section
from harness.report.study_frames import StudyFrames

_COLUMNS = [
    "model",
    "texts",
    "held_out_texts",
    "epochs",
    "best_epoch",
    "perplexity_before",
    "perplexity_after",
    "seconds",
    "spent_seconds",
    "reused",
]
_COMPARED = [
    "a",
    "metric",
    "difference",
    "difference_low",
    "difference_high",
    "adjusted_p",
    "test",
    "seeds",
    "examples",
    "needed",
]
_COMPARISONS = (
    "Adaptation against none by what else was asked: over several seeds a paired t test, for one seed the same "
    "validation examples; p values are corrected for the number of comparisons (Holm). needed is how many seeds or "
    "examples a difference of that size would take."
)
MOST_SENTENCES = 5


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
    if not row["held_out_texts"]:
        sides = "the perplexity of the validation texts, which are all training texts too,"
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
    if pairs.empty:
        words = (
            "no two complete trials differ in adaptation alone. `search: {adapt: [true, false]}` over a grid has them"
        )
        return Content(findings=[f"Whether it helped cannot be told: {words}."])
    metric = study.objective.metric
    family = adaptation.compare(pairs, metric, _names(study, pairs), partial(_scores, study))
    told = (
        [f"{sentence(each)}." for each in family] if pairs["alike"].nunique() == 1 else _over_all(pairs, family, metric)
    )
    if not family:
        told.append("No pair can be compared example by example: outputs are not stored.")
    caption = (
        f"{metric} at the {study.objective.at} epoch of each trial that began from the adapted encoder, beside the "
        "trial that differs from it in nothing else."
    )
    tables = [Table("adaptation-pairs", _shown(pairs.drop(columns="alike"), metric), caption)]
    if family:
        tables.append(
            Table(
                "adaptation-compared", families.table(family)[_COMPARED].rename(columns={"a": "trials"}), _COMPARISONS
            )
        )
    return Content(findings=told, tables=tables)


def _over_all(pairs: pd.DataFrame, family: Sequence[Comparison], metric: str) -> list[str]:
    """All pairs together, and how many configurations say something on their own."""
    mean = adaptation.mean_difference(pairs)
    factor, unit, decimals = (100.0, " points", 1) if is_fraction(metric) else (1.0, "", 4)
    size, low, high = (signed(factor * value, decimals) for value in mean[:3])
    told = "cannot tell"
    if mean.p_value <= 1 - LEVEL:
        better = (mean.estimate < 0) == (metrics.direction(metric) == "minimize")
        told = f"it made it {'better' if better else 'worse'}"
    counted = f"Over {plural(mean.n, 'pair')} of trials that differ in adaptation alone it changed {metric}"
    apart = [each for each in family if each.told_apart]
    return [
        f"{counted} by {size}{unit} [{low}, {high}], p = {significant(mean.p_value, 2)}: {told}.",
        f"One by one, {len(apart) or 'none'} of {plural(len(family), 'configuration')} can be told apart (Holm).",
        *(f"{sentence(each)}." for each in apart[:MOST_SENTENCES]),
    ]


def _names(study: StudyFrames, pairs: pd.DataFrame) -> dict[int, str]:
    """What each group of pairs has in common: the hyperparameters that vary but adaptation; empty for one group."""
    varied = [name for name in parameters.varied(study.trials) if name != "adapt"]
    firsts = pairs.drop_duplicates("alike").set_index("trial")["alike"].to_dict()
    rows = study.trials[study.trials["trial"].isin(list(firsts))].to_dict("records")
    described = {firsts[row["trial"]]: describe(row, [name for name in varied if name != "seed"]) for row in rows}
    return {alike: f" ({words})" if words else "" for alike, words in described.items()}


def _scores(study: StudyFrames, trial: int, other: int) -> adaptation.Scores | None:
    """The objective on each example of both trials, or their loss where the objective is no mean over examples."""
    rows = {int(row["trial"]): row for row in study.trials.to_dict("records")}
    mine, theirs = (outputs.scores_by_example(study, rows[number]) for number in (trial, other))
    metric = next((name for name in (study.objective.metric, "loss") if name in mine and name in theirs), None)
    return (
        None if metric is None or len(mine[metric]) != len(theirs[metric]) else (metric, mine[metric], theirs[metric])
    )


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

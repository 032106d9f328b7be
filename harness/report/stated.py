"""What published runs state, beside what was measured here: scores, shares in counts, runs that correspond."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd

from harness.analysis import families
from harness.analysis.families import Comparison
from harness.report.cells import is_missing
from harness.report.study_frames import StudyFrames
from harness.results import frames

PUBLISHED = "published"
SHARES = ("accuracy", "exact_match")
SCORES = (*SHARES, "f1")
COMPARED = ("epochs", "batch_size", "learning_rate", "max_length", "freeze", "train", "gradient_accumulation")
"""Hyperparameters by which a trial is found that repeats a published run; what the run does not state is no matter."""


class Share(NamedTuple):
    """A share of examples as counts: so many of so many."""

    right: int
    examples: int


def is_published(study: StudyFrames) -> bool:
    """Whether the study's runs were made elsewhere."""
    return bool(study.row["source"] == PUBLISHED)


def beside(study: StudyFrames) -> list[StudyFrames]:
    """The published studies of the database that name this one as theirs, of the same task."""

    def find() -> list[StudyFrames]:
        rows = frames.studies(study.engine)
        rows = rows[(rows["source"] == PUBLISHED) & (rows["task"] == study.row["task"])]
        chosen = [str(row["name"]) for row in rows.to_dict("records") if study.name in _names_beside(row["spec"])]
        return [StudyFrames(study.engine, name, study.texts) for name in chosen]

    return study.once("published beside", find)


def _names_beside(spec: Any) -> list[str]:
    return list(spec.get("beside") or ()) if isinstance(spec, Mapping) else []


def runs(study: StudyFrames) -> list[Mapping[str, Any]]:
    """The runs of a published study as its file states them, by number of their trial; numbered where it names none."""
    named = list(study.spec.get("runs") or ())
    unnamed = [{"name": f"run {number}", "note": ""} for number in range(len(named), len(study.trials))]
    return [*named, *unnamed]


def source(study: StudyFrames) -> str:
    """Where the figures of a published study were read."""
    return str(study.spec.get("source") or "not stated")


def scores(study: StudyFrames) -> pd.DataFrame:
    """Trial -> the scores that its source states: those of the best epoch, else of the last one that has them."""

    def find() -> pd.DataFrame:
        measured = frames.metrics(study.engine, study.name)
        wanted = (measured["split"] == "validation") & measured["name"].isin(SCORES) & measured["value"].notna()
        best = study.trials[["trial", "best_epoch"]]
        found = measured[wanted].merge(best, on="trial").sort_values(["trial", "epoch"])
        found["at_best"] = (found["epoch"] == found["best_epoch"]).fillna(False).astype(bool)
        last = found.sort_values("at_best", kind="stable").groupby(["trial", "name"])["value"].last()
        return last.unstack("name").reindex(index=study.trials["trial"], columns=list(SCORES))

    return study.once("stated scores", find)


def share(study: StudyFrames, trial: int, metric: str) -> Share | None:
    """A share of a trial in counts; None where it, or the number of examples, is not known."""
    examples = _examples(study, trial)
    table = scores(study) if is_published(study) else study.trials.set_index("trial")
    value = table[metric].to_dict().get(trial) if metric in table else None
    if examples is None or value is None or is_missing(value):
        return None
    return Share(round(float(value) * examples), examples)


def _examples(study: StudyFrames, trial: int) -> int | None:
    """Rows that a trial was judged on; of a fold of one's own they are others in each, so that none are named."""
    if is_published(study):
        rows = (study.spec.get("data") or {}).get("validation")
        return None if rows is None else int(rows)
    fold = study.trials.loc[study.trials["trial"] == trial, "fold"].iloc[0]
    if not is_missing(fold) or not len(study.data):
        return None
    rows = study.data.iloc[0]["splits"].get("validation", {}).get("rows")
    return None if rows is None else int(rows)


def compared(a: str, b: str, metric: str, first: Share | None, second: Share | None) -> list[Comparison]:
    """One comparison of two shares without pairs; none where one of them is not known."""
    if first is None or second is None:
        return []
    return [families.over_shares(a, b, metric, first.right, first.examples, second.right, second.examples)]


def repeats(study: StudyFrames, published: StudyFrames) -> dict[int, int]:
    """Published trial -> the first complete trial of one's own with its model and every hyperparameter which it states.

    A model is known by its base name: elsewhere it may lie in another folder.
    """
    return {number: trial for number, (trial, same) in _alike(study, published).items() if same}


def with_another_model(study: StudyFrames, published: StudyFrames) -> dict[int, int]:
    """The same of those that no trial with their model repeats: the first trial with another model."""
    return {number: trial for number, (trial, same) in _alike(study, published).items() if not same}


def base_name(model: Any) -> str:
    """What a model is called wherever it lies: distilbert-base-uncased."""
    return str(model).rstrip("/").rpartition("/")[2]


def _alike(study: StudyFrames, published: StudyFrames) -> dict[int, tuple[int, bool]]:
    """Published trial -> the trial with all its stated hyperparameters, and whether the model is the same."""
    own = study.trials[study.trials["state"] == "complete"].to_dict("records")
    found = {}
    for number, asked in zip(published.details["trial"], published.details["asked"], strict=True):
        stated = {name: asked[name] for name in COMPARED if name in asked}
        alike = [row for row in own if stated and all(row.get(name) == value for name, value in stated.items())]
        if alike:
            model = base_name(asked["model"])
            first = min(alike, key=lambda row: (base_name(row["model"]) != model, row["trial"]))
            found[int(number)] = int(first["trial"]), base_name(first["model"]) == model
    return found

"""Examples: which change with the seed, and which no epoch of any seed answered rightly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from harness.analysis import examples
from harness.analysis.examples import Churn
from harness.errors import UsageError
from harness.report import answered, best, outputs
from harness.report.cells import is_missing, points
from harness.report.charts import data_map
from harness.report.error_words import interval, share
from harness.report.excerpts import excerpt
from harness.report.naming import plural
from harness.report.section import Content, Drawing, Table, section
from harness.report.study_frames import StudyFrames

AT_MOST = 20  # rows of a table


@section(order=37, title="Examples")
def build(study: StudyFrames) -> Content:
    """Which examples change with the seed, and which no epoch answered rightly: candidates for wrong labels."""
    rows = _rows(study)
    if not rows or study.row["task"] not in (answered.LABELS, answered.SPANS):
        return Content()
    if any(not is_missing(row["fold"]) for row in rows):
        told = "In a cross-validation every fold trains and validates on other examples: they are not told one by one."
        return Content(notes=[told])
    findings, tables = _seeds(study, rows)
    maps = _maps(study, rows) if study.row["task"] == answered.LABELS else {}
    for split, mapped in maps.items():
        findings.append(_never_words(split, mapped, len(rows)))
        tables.append(_never_table(study, split, mapped))
    drawings = [_drawing(maps, len(rows))] if maps else []
    if not findings:
        return Content()
    return Content(findings, (), drawings, [table for table in tables if len(table.frame)], _notes(study, bool(maps)))


def _rows(study: StudyFrames) -> list[Mapping[Any, Any]]:
    """The complete trials of the best configuration."""
    standing = best.of(study).standing
    if standing is None or study.row["source"] == "published":
        return []
    numbers = [run.trial for run in standing.runs]
    return list(study.trials[study.trials["trial"].isin(numbers)].to_dict("records"))


# --- seeds ----------------------------------------------------------------------------------------------


def _seeds(study: StudyFrames, rows: Sequence[Mapping[Any, Any]]) -> tuple[list[str], list[Table]]:
    given = [answered.of_trial(study, row, f"trial {row['trial']}") for row in rows]
    frames = [each.frame for each in given if each.frame is not None and each.frame["source_row"].is_unique]
    if len(frames) < 2:
        return [], []
    kept, ids = examples.answers_alike(frames)
    if not kept:
        return [], []
    found = examples.churn(ids)
    first = frames[0].set_index("source_row").loc[kept]
    right = np.stack([~frame.set_index("source_row").loc[kept, "wrong"].to_numpy(dtype=bool) for frame in frames])
    often = right.sum(axis=0)
    return [
        _churn_words(found, len(frames), len(kept)),
        f"{share(int((often == len(frames)).sum()), len(kept))} are right with every seed, "
        f"{share(int((often == 0).sum()), len(kept))} with none.",
    ], [_unstable(study, first, ids, often, given[0].names)]


def _churn_words(found: Churn, runs: int, count: int) -> str:
    spread = "" if found.pairs == 1 else f", {points(found.low)} to {points(found.high)}% over {found.pairs} pairs"
    return (
        f"Two seeds of the best configuration answer {points(found.mean)}% of {count:,} validation examples "
        f"differently (churn{spread}); {interval(found.changing)}, do not get the same answer from all {runs} seeds."
    )


def _unstable(
    study: StudyFrames,
    first: pd.DataFrame,
    ids: npt.NDArray[np.int64],
    often: npt.NDArray[np.int64],
    names: Sequence[str],
) -> Table:
    """Those on which the seeds agree least."""
    agree = examples.agreement(ids)
    places = [place for place in np.argsort(agree, kind="stable").tolist() if agree[place] < 1][:AT_MOST]
    chosen = first.iloc[places]
    frame = pd.DataFrame(
        {"source_row": chosen.index, "agree_share": agree[places], "right_share": often[places] / len(ids)}
    )
    if names:
        frame["gold"] = [excerpt(names[label], 60) for label in chosen["gold"].tolist()]
    if study.texts and chosen["text"].notna().any():
        frame["text"] = ["" if pd.isna(text) else excerpt(text) for text in chosen["text"].tolist()]
    caption = (
        f"The {len(frame)} validation examples on which {len(ids)} seeds of the best configuration agree least: the "
        "share of seeds with the most frequent answer, and of those that are right."
    )
    return Table("examples-seeds", frame, caption)


# --- the data map ---------------------------------------------------------------------------------------


def _maps(study: StudyFrames, rows: Sequence[Mapping[Any, Any]]) -> dict[str, pd.DataFrame]:
    """Split -> its map, of those splits whose margins can be had."""
    gold = outputs.gold_labels(study)
    runs = {
        "training": [_margins_of(study, row) for row in rows],
        "validation": [] if gold is None else [_validated(study, row, gold) for row in rows],
    }
    listed = {"training": len(study.training_examples), "validation": len(study.examples)}
    found = {}
    for split, parts in runs.items():
        whole = [part for part in parts if part.size]
        if whole and len({part.shape[1] for part in whole}) == 1 and whole[0].shape[1] <= listed[split]:
            found[split] = examples.data_map(whole)
    return {split: mapped for split, mapped in found.items() if len(mapped) and mapped["passes"].max() > 1}


def _epochs(row: Mapping[Any, Any]) -> range:
    return range(1, 1 + (0 if is_missing(row["last_epoch"]) else int(row["last_epoch"])))


def _margins_of(study: StudyFrames, row: Mapping[Any, Any]) -> npt.NDArray[np.float64]:
    """Of the training passes, shape (epochs, examples); empty where one is not stored."""
    try:
        return np.array([study.outputs(int(row["trial"]), epoch, "margins") for epoch in _epochs(row)], np.float64)
    except UsageError:
        return np.empty((0, 0))


def _validated(study: StudyFrames, row: Mapping[Any, Any], gold: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """The margins of the validation rows, shape (epochs, examples); empty where outputs of an epoch are not stored."""
    try:
        tables = [study.outputs(int(row["trial"]), epoch, "logits") for epoch in _epochs(row)]
    except UsageError:
        return np.empty((0, 0))
    if any(table.ndim != 2 or len(table) != len(gold) or table.shape[1] <= max(1, gold.max()) for table in tables):
        return np.empty((0, 0))
    return np.array([examples.margins(table, gold) for table in tables])


def _never_words(split: str, mapped: pd.DataFrame, runs: int) -> str:
    never, always = len(examples.never_right(mapped)), int((mapped["right_share"] == 1).sum())
    over = f"any epoch of {plural(runs, 'trial')}" if runs > 1 else "any epoch"
    return (
        f"{share(never, len(mapped))} {split} examples were not answered rightly in {over}, "
        f"{share(always, len(mapped))} in every one."
    )


def _never_table(study: StudyFrames, split: str, mapped: pd.DataFrame) -> Table:
    known = study.training_examples if split == "training" else study.examples
    never = examples.never_right(mapped)
    shown = never.head(AT_MOST)
    rows = known.iloc[shown["position"].tolist()].reset_index(drop=True)
    frame = pd.DataFrame({"source_row": rows["source_row"], "label": [excerpt(label, 60) for label in rows["label"]]})
    frame = frame.join(shown[["confidence", "variability", "passes"]])
    if study.texts and rows["text"].notna().any():
        frame["text"] = ["" if pd.isna(text) else excerpt(text) for text in rows["text"].tolist()]
    caption = (
        f"Candidates for wrong labels: the {len(shown)} of {plural(len(never), f'{split} example')} never answered "
        "rightly whose label was least believed, first; confidence is the mean probability of the label over all "
        "passes, variability its standard deviation over the epochs."
    )
    return Table(f"examples-never-{split}", frame, caption)


def _drawing(maps: Mapping[str, pd.DataFrame], runs: int) -> Drawing:
    caption = (
        f"Data map of the best configuration over {plural(runs, 'trial')}: each mark is an example, by the mean of the "
        "probability of its label over the epochs and by the standard deviation. Above are easy ones; to the right "
        "ambiguous ones; below on the left those that were never learned, among which wrong labels are found."
    )
    return Drawing("examples-map", data_map.panels(maps), caption)


def _notes(study: StudyFrames, mapped: bool) -> list[str]:
    said = ["Churn is the share of examples that two runs answer differently (Milani Fard et al., 2016)."]
    if mapped:
        said = [
            "Examples that are never answered rightly may be labelled wrongly, or hard, or rare; where a model has "
            "learned little, many are only not learned yet. They are to be looked at, not to be dropped.",
            "Of training examples the margins of the training passes are read, with dropout and before each step; of "
            "validation examples the evaluation after each epoch. The probability of a label is that against the best "
            "other class (data map: Swayamdipta et al., 2020).",
            *said,
        ]
    if not study.texts:
        said.append("Texts of examples are left out; source row counts the rows of the data as read, from 0.")
    return said

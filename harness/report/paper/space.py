"""The hyperparameters of a study: what was fixed, what was searched, and what the search's best configuration has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from harness.configuration import hyperparameters
from harness.report import best, confirmed
from harness.report.cells import is_missing
from harness.report.naming import listed, value
from harness.report.section import Table
from harness.report.study_frames import StudyFrames

HIDDEN = ("frozen_mode", "max_answer_length", "stride", "adapt", "class_weights", "early_stopping", "train")


def dimension(asked: Any) -> str:
    """A dimension of the search in words: one of 16 and 32; 1e-5 to 6e-4 (log scale)."""
    if isinstance(asked, Mapping):
        scale = " (log scale)" if asked.get("log") else ""
        step = f" in steps of {value(asked['step'])}" if asked.get("step") is not None else ""
        return f"{value(asked['low'])} to {value(asked['high'])}{scale}{step}"
    return f"one of {listed([value(each) for each in asked], 12)}"


def table(study: StudyFrames) -> Table:
    """One row a hyperparameter: searched over what, and the values of the best configuration and the baseline."""
    searched: Mapping[str, Any] = study.spec.get("search") or {}
    columns = {"best of the search": _best(study), "baseline": _baseline(study)}
    rows, published = [], str(study.row["source"]) == "published"
    for name, (declared, _) in hyperparameters().items():
        found = {title: row.get(name) for title, row in columns.items() if row is not None}
        plain = all(each in (None, declared.default) for each in found.values()) and name not in searched
        unknown = published and all(is_missing(each) for each in found.values())
        if name in HIDDEN and plain or unknown:
            continue
        asked = dimension(searched[name]) if name in searched else "not searched"
        rows.append({"hyperparameter": name, "search": asked, **{k: value(v) for k, v in found.items()}})
    caption = "Hyperparameters: what was searched, and what the search's best configuration has"
    caption += ", beside the baseline." if columns["baseline"] is not None else "."
    return Table("hyperparameters", pd.DataFrame(rows), f"{caption} none keeps the model's own value.")


def _best(study: StudyFrames) -> Mapping[str, Any] | None:
    found = confirmed.of(study)
    number = found.best[0] if found is not None and found.best else None
    if number is None:
        standing = best.of(study).standing
        number = standing.configuration if standing is not None else None
    return _row(study, number)


def _baseline(study: StudyFrames) -> Mapping[str, Any] | None:
    found = confirmed.of(study)
    return _row(study, found.baseline if found is not None else None)


def _row(study: StudyFrames, configuration: int | None) -> Mapping[str, Any] | None:
    rows: Sequence[Mapping[Any, Any]] = study.trials[study.trials["configuration"] == configuration].to_dict("records")
    return rows[0] if rows else None

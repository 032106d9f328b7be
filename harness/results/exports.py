"""The record for other programs: the frames of a study as CSV, Parquet or JSON, and its best model as a folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

import pandas as pd
import sqlalchemy as sa
from pandas.api.types import is_object_dtype, is_string_dtype

from harness.configuration import canonical_json
from harness.drafts import draft_of
from harness.errors import StorageError, UsageError
from harness.ranking import Run, leader, plan_of
from harness.results import frames
from harness.results.rows import TrialRow
from harness.results.store import Store
from harness.results.targets import storage_errors
from harness.results.text import guard, plain

Format = Literal["csv", "parquet", "json"]

FRAMES: dict[str, Callable[[sa.Engine, str], pd.DataFrame]] = {
    "summary": frames.summary,
    "epoch": frames.epochs,
    "metrics": frames.metrics,
    "windows": frames.windows,
    "epoch_records": frames.epoch_records,
    "trials": frames.trial_details,
    "incidents": frames.incidents,
    "data": frames.data,
    "models": frames.models,
    "adaptations": frames.adaptations,
    "environment": frames.environment,
    "sessions": frames.sessions,
}
"""File name -> frame. Texts of examples, predictions and explanations stay in the database."""


def export(engine: sa.Engine, study: str, format: Format, folder: Path) -> list[Path]:
    """Write every frame of a study as one file, atomically each; return the files.

    Raises:
        UsageError: for an unknown study or format.
        StorageError: when the folder cannot be written.
    """
    if format not in WRITERS:
        raise UsageError(f"--format must be one of {', '.join(WRITERS)}, got {format!r}")
    tables = {name: read(engine, study) for name, read in FRAMES.items()}
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        return [_write(folder / f"{name}.{format}", WRITERS[format](frame)) for name, frame in tables.items()]


def _write(path: Path, content: bytes) -> Path:
    with draft_of(path) as draft:
        draft.write(content)
    return path


def _flat(frame: pd.DataFrame) -> pd.DataFrame:
    """Parsed JSON back to text, for formats with flat cells."""
    frame = frame.copy()
    for name in frame.columns:
        if is_object_dtype(frame[name]):
            texts = [None if _missing(value) else canonical_json(plain(value)) for value in frame[name]]
            frame[name] = pd.Series(texts, index=frame.index, dtype="str")
    return frame


def _missing(value: object) -> bool:
    return value is None or (isinstance(value, float) and value != value)


def _csv(frame: pd.DataFrame) -> bytes:
    frame = _flat(frame)
    for name in frame.columns:
        if is_string_dtype(frame[name]):
            frame[name] = frame[name].map(guard, na_action="ignore")
    return frame.to_csv(index=False, lineterminator="\n").encode()


def _parquet(frame: pd.DataFrame) -> bytes:
    return bytes(_flat(frame).to_parquet(index=False))


def _json(frame: pd.DataFrame) -> bytes:
    rows = [{name: None if value is pd.NA else plain(value) for name, value in row.items()} for row in _records(frame)]
    return (json.dumps(rows, allow_nan=False, ensure_ascii=False, indent=1) + "\n").encode()


def _records(frame: pd.DataFrame) -> list[dict[str, object]]:
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


WRITERS: dict[str, Callable[[pd.DataFrame], bytes]] = {"csv": _csv, "parquet": _parquet, "json": _json}


class Exported(NamedTuple):
    """A kept model: its trial, and whether that trial ran the best configuration."""

    trial: TrialRow
    of_best: bool


def best_kept(store: Store, study: str) -> Exported:
    """The best trial whose weights are kept.

    It is the best trial of the best configuration (by the rule of `ranking`); where none of its trials kept weights,
    the best trial that did.

    Raises:
        UsageError: for an unknown study or one without kept weights.
    """
    row = store.study(study)
    if row is None:
        raise UsageError(f"no study {study!r} in the database")
    kept = [trial for trial in store.kept(row.id) if trial.state in ("complete", "pruned")]
    if not kept:
        raise UsageError(f"study {study!r} has kept no model; `keep` in the study file says how many it keeps")
    runs = [
        Run(trial.configuration, trial.number, trial.objective, trial.replicate, trial.fold)
        for trial in store.trials(row.id)
        if trial.state == "complete" and trial.objective is not None
    ]
    standing = leader(runs, row.objectives[0], plan_of(row.spec))
    of_best = [trial for trial in kept if standing is not None and trial.configuration == standing.configuration]
    return Exported((of_best or kept)[0], bool(of_best))


def kept_folder(store: Store, trial: TrialRow) -> Path:
    """Where the kept weights of a trial lie, a `from_pretrained` folder.

    Raises:
        StorageError: when they are gone.
    """
    source = (store.trial_folder(trial.id) / str(trial.model_folder)).resolve()
    if not source.is_relative_to(store.trial_folder(trial.id).resolve()) or not source.is_dir():
        raise StorageError(f"the weights of trial {trial.number} are not at {source}")
    return source


def export_model(store: Store, study: str, destination: Path) -> Exported:
    """Copy the best kept model, a `from_pretrained` folder; `best_kept` says which that is.

    Raises:
        UsageError: for an unknown study, one without kept weights, or a destination that exists.
        StorageError: when the weights are gone or the destination cannot be written.
    """
    best = best_kept(store, study)
    if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
        raise UsageError(f"{destination} exists and is not an empty folder; name another")
    source = kept_folder(store, best.trial)
    with storage_errors(destination):
        shutil.copytree(source, destination, dirs_exist_ok=True)
    return best

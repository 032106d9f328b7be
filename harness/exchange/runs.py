"""A study's finished trials as the runs that every experiment tracker knows: parameters, curves, last figures, tags.

Names are those of the database with their units; a number that is not finite is told in words and never a number.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import pandas as pd
import sqlalchemy as sa

from harness.results import frames

BY_EPOCH = (
    "learning_rate", "epoch_seconds", "train_seconds", "evaluate_seconds", "save_seconds", "train_samples_per_second",
    "peak_memory_bytes", "flops",
)  # fmt: skip
AT_END = (
    "objective", "best_epoch", "best_loss_epoch", "train_seconds", "total_seconds", "train_samples_per_second",
    "eval_samples_per_second", "peak_memory_bytes", "trainable_parameters", "total_parameters",
)  # fmt: skip
RAN = (
    "device", "dtype", "attention", "threads", "total_steps", "train_rows", "validation_rows", "data_fingerprint",
    "model_revision", "weights_hash", "notes",
)  # fmt: skip
FINISHED = ("complete", "pruned", "failed")


class Point(NamedTuple):
    """A finite value of one epoch, and when it was recorded, in seconds since 1970."""

    epoch: int
    at: float
    value: float


@dataclass(frozen=True)
class Run:
    """One trial.

    Attributes:
        key: 16 hex digits that are the same whenever the trial is exported.
        begun, ended: seconds since 1970, as recorded.
        parameters: the configuration as run, with seed, replicate and fold.
        curves: `split/metric` or a cost with its unit -> its points by epoch.
        finals: `final/...` -> the figure at the best epoch, or of the whole trial.
        tags: words: state, verdict, what it ran on, which trials repeat it.
    """

    study: str
    number: int
    key: str
    state: str
    configuration: int
    begun: float
    ended: float
    parameters: Mapping[str, Any]
    curves: Mapping[str, list[Point]]
    finals: Mapping[str, float]
    tags: Mapping[str, str]

    @property
    def name(self) -> str:
        """What people call it, as `harness compare` takes it."""
        return f"{self.study}:{self.number}"


class Runs(NamedTuple):
    """What is exported of a study, and how many trials have not ended and so are not."""

    finished: list[Run]
    unfinished: int


def runs_of(engine: sa.Engine, study: str) -> Runs:
    """Every finished trial of a study.

    Raises:
        UsageError: for an unknown study.
    """
    trials = frames.trial_details(engine, study)
    finished = trials[trials["state"].isin(FINISHED)]
    row = next(each for each in _records(frames.studies(engine)) if each["name"] == study)
    tables = _Tables(
        row=row,
        summary=_by_trial(frames.summary(engine, study)),
        metrics=_by_trial(frames.metrics(engine, study)),
        epochs=_by_trial(frames.epochs(engine, study)),
        costs=_by_trial(frames.epoch_records(engine, study)),
        environments={each["id"]: each["facts"] for each in _records(frames.environment(engine, study))},
        siblings={int(str(key)): list(part["trial"]) for key, part in trials.groupby("configuration")},
    )
    return Runs([_run(tables, each) for each in _records(finished)], len(trials) - len(finished))


class _Tables(NamedTuple):
    """The frames of a study, those of trials by number."""

    row: Mapping[str, Any]
    summary: Mapping[int, list[dict[str, Any]]]
    metrics: Mapping[int, list[dict[str, Any]]]
    epochs: Mapping[int, list[dict[str, Any]]]
    costs: Mapping[int, list[dict[str, Any]]]
    environments: Mapping[int, Mapping[str, Any]]
    siblings: Mapping[int, list[int]]


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows with None for what is missing."""
    found = []
    for row in frame.to_dict("records"):
        found.append({str(name): None if _missing(value) else value for name, value in row.items()})
    return found


def _missing(value: Any) -> bool:
    return value is None or value is pd.NA or (isinstance(value, float) and value != value)


def _by_trial(frame: pd.DataFrame) -> dict[int, list[dict[str, Any]]]:
    found: dict[int, list[dict[str, Any]]] = {}
    for row in _records(frame):
        found.setdefault(int(row["trial"]), []).append(row)
    return found


# --- one run ------------------------------------------------------------------------------------------


def _run(tables: _Tables, trial: Mapping[str, Any]) -> Run:
    number = int(trial["trial"])
    costs = tables.costs.get(number, [])
    recorded = {int(row["epoch"]): seconds_of(row["recorded_at"]) for row in costs}
    begun = seconds_of(trial["started_at"] or trial["created_at"])
    ended = seconds_of(trial["ended_at"]) if trial["ended_at"] else max(recorded.values(), default=begun)
    metrics = tables.metrics.get(number, [])
    identity = [tables.row["name"], tables.row["created_at"], number]
    return Run(
        study=str(tables.row["name"]),
        number=number,
        key=hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16],
        state=str(trial["state"]),
        configuration=int(trial["configuration"]),
        begun=begun,
        ended=max(begun, ended),
        parameters=_parameters(trial),
        curves=_curves(metrics, [*costs, *tables.epochs.get(number, [])], recorded),
        finals=_finals(tables.summary[number][0], metrics),
        tags=dict(_tags(tables, trial, metrics)),
    )


def seconds_of(at: str) -> float:
    """A time of the record in seconds since 1970."""
    return datetime.fromisoformat(at).timestamp()


def _parameters(trial: Mapping[str, Any]) -> dict[str, Any]:
    config = (trial["done"] or {}).get("config") or trial["asked"]
    more = {name: trial[name] for name in ("seed", "replicate", "fold")}
    if more["seed"] is not None and more["seed"] < 0:  # of a published run none is known
        del more["seed"], more["replicate"]
    return dict(config) | {name: int(value) for name, value in more.items() if value is not None}


def metric_name(row: Mapping[str, Any]) -> str:
    """validation/loss, train/accuracy, validation/f1/german; of a group's name what no tool refuses."""
    group = re.sub(r"[^\w. -]|^\.+", lambda found: f"_{ord(found[0][0]):x}_", row["group"])
    return "/".join(filter(None, (row["split"], row["name"], group)))


def _curves(
    metrics: list[dict[str, Any]], costs: list[dict[str, Any]], recorded: Mapping[int, float]
) -> dict[str, list[Point]]:
    found: dict[str, dict[int, float]] = {}
    for row in metrics:
        if row["kind"] == "finite":
            found.setdefault(metric_name(row), {})[int(row["epoch"])] = float(row["value"])
    for row in costs:
        for name in BY_EPOCH:
            if row.get(name) is not None:
                found.setdefault(name, {})[int(row["epoch"])] = float(row[name])
    return {
        name: [Point(epoch, recorded[epoch], value) for epoch, value in sorted(values.items())]
        for name, values in sorted(found.items())
    }


def _finals(summary: Mapping[str, Any], metrics: list[dict[str, Any]]) -> dict[str, float]:
    """The figures at the best epoch, and those of the whole trial."""
    best = summary["best_epoch"]
    at_best = {metric_name(row): row["value"] for row in metrics if row["epoch"] == best and row["kind"] == "finite"}
    whole = {name: summary[name] for name in AT_END}
    return {f"final/{name}": float(value) for name, value in (at_best | whole).items() if value is not None}


# --- its tags -------------------------------------------------------------------------------------------


def _tags(tables: _Tables, trial: Mapping[str, Any], metrics: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    done = trial["done"] or {}
    objective = tables.row["objectives"][0]
    siblings = [number for number in tables.siblings[int(trial["configuration"])] if number != trial["trial"]]
    said = {
        "trial": f"{tables.row['name']}:{trial['trial']}",
        "source": tables.row["source"],
        "task": tables.row["task"],
        "objective": f"{objective['direction']} {objective['metric']} at the {objective['at']} epoch",
        "configuration": str(trial["configuration"]),
        "origin": trial["origin"],
        "repeated_by": " ".join(f"{tables.row['name']}:{number}" for number in siblings),
        "state": trial["state"],
        "reason": trial["reason"],
        "message": trial["message"],
        "stopped_early": trial["stopped_early"],
        "verdict": trial["verdict_words"],
        "shared_work": None if trial["shared_work"] is None else json.dumps(trial["shared_work"], sort_keys=True),
        "not_finite": "; ".join(_not_finite(metrics)),
    }
    said |= {f"ran.{name}": _word(done.get(name)) for name in RAN}
    said |= {f"asked.{name}": _word(value) for name, value in _changed(trial["asked"], done.get("config")).items()}
    said |= dict(_flat("environment", tables.environments.get(trial["environment_id"], {})))
    for name, value in said.items():
        if value is not None and value != "":
            yield name, str(value)


def _not_finite(metrics: list[dict[str, Any]]) -> Iterator[str]:
    for row in metrics:
        if row["kind"] != "finite":
            yield f"{metric_name(row)} of epoch {row['epoch']} is {row['kind']}"


def _changed(asked: Mapping[str, Any], done: Mapping[str, Any] | None) -> dict[str, Any]:
    """What was asked where something else was run."""
    return {name: value for name, value in asked.items() if done is not None and done.get(name, value) != value}


def _flat(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, below in value.items():
            yield from _flat(f"{name}.{key}", below)
    elif (word := _word(value)) is not None:
        yield name, word


def _word(value: Any) -> str | None:
    """A value as text; None for what is not there."""
    if value is None or value in ("", [], {}):
        return None
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)

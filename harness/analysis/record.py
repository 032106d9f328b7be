"""The record of a study for readers: environment, data, what failed and why, asked against done."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

ENVIRONMENT = ["fact", "value"]
DATA = ["split", "rows", "dropped", "reasons", "labels"]
FAILURES = ["reason", "trials", "numbers", "message"]
INCIDENTS = ["kind", "count", "trials", "message"]
DIFFERENCES = ["trial", "what", "asked", "done"]


def environment(facts: Mapping[str, Any]) -> pd.DataFrame:
    """Facts about the machine and the software as (fact, value), nested names joined by dots.

    Args:
        facts: JSON values as stored with a trial.
    """
    rows = [{"fact": name, "value": _text(value)} for name, value in _flat(facts)]
    return pd.DataFrame(rows, columns=ENVIRONMENT)


def data(splits: Mapping[str, Any]) -> pd.DataFrame:
    """One row a split: rows used, rows dropped with the reasons, rows by label.

    Args:
        splits: split -> {rows, dropped: reason -> rows, labels: label -> rows}, as stored with a study.
    """
    rows = [
        {
            "split": name,
            "rows": int(split["rows"]),
            "dropped": sum(split.get("dropped", {}).values()),
            "reasons": _counts(split.get("dropped", {})),
            "labels": _counts(split.get("labels", {})),
        }
        for name, split in splits.items()
    ]
    return pd.DataFrame(rows, columns=DATA)


def failures(trials: pd.DataFrame) -> pd.DataFrame:
    """Failed trials by reason, most frequent first, with their numbers and the first message.

    Args:
        trials: columns trial, state, reason of `harness_summary`; `message` is read if there.
    """
    failed = trials[trials["state"] == "failed"]
    rows = [
        {"reason": str(reason), "trials": len(group), "numbers": _numbers(group["trial"]), "message": _first(group)}
        for reason, group in failed.groupby("reason", sort=True)
    ]
    return _most_frequent_first(pd.DataFrame(rows, columns=FAILURES), "trials")


def incidents(frame: pd.DataFrame) -> pd.DataFrame:
    """What went otherwise than asked and was dealt with, by kind, most frequent first.

    Args:
        frame: columns trial (missing when no trial was concerned), kind, message; one row an incident.
    """
    rows = [
        {"kind": str(kind), "count": len(group), "trials": _numbers(group["trial"]), "message": _first(group)}
        for kind, group in frame.groupby("kind", sort=True)
    ]
    return _most_frequent_first(pd.DataFrame(rows, columns=INCIDENTS), "count")


def asked_against_done(trials: pd.DataFrame) -> pd.DataFrame:
    """Every hyperparameter that was really run otherwise than asked, one row each.

    `auto` and null ask the harness to decide, and what it decided is no difference for null; for
    `auto` the row tells what came of it.

    Args:
        trials: columns trial, asked, done: JSON objects, or their text; one study. `done` is what was run:
            the configuration under `config` (or itself), beside facts such as `dtype`. Trials that
            never started have no `done`.

    Returns:
        Columns DIFFERENCES.
    """
    rows = []
    for number, *stored in zip(*(trials[name].tolist() for name in ("trial", "asked", "done")), strict=True):
        asked, facts = (_json(value) for value in stored)
        if asked is None or facts is None:
            continue
        done = {**facts, **facts.get("config", {})}
        if asked.get("dtype") == "auto" and facts.get("dtype") is not None:
            done["dtype"] = facts["dtype"]
        for name, value in asked.items():
            if value is not None and name in done and done[name] != value:
                row = {"what": name, "asked": _text(value), "done": _text(done[name])}
                rows.append({"trial": number, **row})
    return pd.DataFrame(rows, columns=DIFFERENCES)


def _flat(facts: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in facts.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _json(value: Any) -> dict[str, Any] | None:
    found = json.loads(value) if isinstance(value, str) else value
    return dict(found) if isinstance(found, Mapping) else None


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, sort_keys=True, default=str) if value is not None else ""


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name}: {count}" for name, count in counts.items())


def _numbers(trials: pd.Series) -> str:
    return ", ".join(str(number) for number in sorted({int(number) for number in trials.dropna()}))


def _first(group: pd.DataFrame) -> str:
    messages = group["message"].dropna() if "message" in group.columns else pd.Series(dtype="str")
    return str(messages.iloc[0]) if len(messages) else ""


def _most_frequent_first(frame: pd.DataFrame, count: str) -> pd.DataFrame:
    return frame.sort_values(count, ascending=False, kind="stable", ignore_index=True)

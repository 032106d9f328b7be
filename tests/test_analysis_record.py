"""What the record holds of facts, splits, failures, incidents and other settings becomes rows that a page can show."""

from __future__ import annotations

import json

import pandas as pd

from harness.analysis.record import asked_against_done, data, environment, failures, incidents
from harness.configuration import TrialConfig
from tests.frames import summary


def test_nested_facts_become_rows_with_dotted_names():
    frame = environment({"cpu": "AMD", "packages": {"torch": "2.13", "optuna": "5.0"}, "threads": 2, "commit": None})
    assert dict(zip(frame["fact"], frame["value"], strict=True)) == {
        "cpu": "AMD",
        "packages.torch": "2.13",
        "packages.optuna": "5.0",
        "threads": "2",
        "commit": "",
    }


def test_a_split_tells_rows_labels_and_why_rows_were_dropped():
    splits = {
        "train": {"rows": 90, "dropped": {"empty text": 2, "unknown label": 1}, "labels": {"neg": 40, "pos": 50}},
        "validation": {"rows": 10, "dropped": {}, "labels": {"neg": 5, "pos": 5}},
    }
    rows = data(splits).to_dict("records")
    assert rows[0] == {
        "split": "train",
        "rows": 90,
        "dropped": 3,
        "reasons": "empty text: 2, unknown label: 1",
        "labels": "neg: 40, pos: 50",
    }
    assert (rows[1]["dropped"], rows[1]["reasons"]) == (0, "")


def test_failures_are_counted_by_reason_most_frequent_first():
    trials = summary(
        {},
        {"state": "failed", "reason": "diverged"},
        {"state": "failed", "reason": "oom"},
        {"state": "pruned"},
        {"state": "failed", "reason": "oom"},
    ).assign(message=["", "loss became nan", "needs 9 GB", "", "needs 12 GB"])
    rows = failures(trials).to_dict("records")
    assert rows == [
        {"reason": "oom", "trials": 2, "numbers": "2, 4", "message": "needs 9 GB"},
        {"reason": "diverged", "trials": 1, "numbers": "1", "message": "loss became nan"},
    ]


def test_failures_without_messages_are_counted_too():
    assert failures(summary({"state": "failed", "reason": "oom"}))["message"].tolist() == [""]
    assert failures(summary({})).empty


def test_incidents_are_counted_by_kind_with_their_trials():
    frame = pd.DataFrame(
        {
            "trial": pd.Series([3, None, 3, 1], dtype="Int64"),
            "kind": ["oom_retry", "disk_low", "oom_retry", "oom_retry"],
            "message": ["batch 32 to 16", "1 GB left", "batch 16 to 8", "batch 64 to 32"],
        }
    )
    assert incidents(frame).to_dict("records") == [
        {"kind": "oom_retry", "count": 3, "trials": "1, 3", "message": "batch 32 to 16"},
        {"kind": "disk_low", "count": 1, "trials": "", "message": "1 GB left"},
    ]


def trial(asked: TrialConfig, done: TrialConfig, **facts: object) -> pd.DataFrame:
    return pd.DataFrame(
        {"trial": [4], "asked": [asked.as_dict()], "done": [{"config": done.as_dict(), "dtype": "fp32", **facts}]}
    )


def test_what_was_run_otherwise_than_asked_is_listed():
    frame = asked_against_done(
        trial(
            TrialConfig(batch_size=32, dtype="fp32"),
            TrialConfig(batch_size=16, gradient_accumulation=2, dtype="fp32"),
        )
    )
    assert frame.to_dict("records") == [
        {"trial": 4, "what": "batch_size", "asked": "32", "done": "16"},
        {"trial": 4, "what": "gradient_accumulation", "asked": "1", "done": "2"},
    ]


def test_what_came_of_auto_is_told():
    frame = asked_against_done(trial(TrialConfig(), TrialConfig(), dtype="bf16"))
    assert frame[["what", "asked", "done"]].to_numpy().tolist() == [["dtype", "auto", "bf16"]]


def test_null_asks_for_nothing_and_equal_is_no_difference():
    asked = TrialConfig(dropout=None, train=None, dtype="fp32")
    assert asked_against_done(trial(asked, TrialConfig(dropout=0.1, train=500, dtype="fp32"))).empty


def test_json_text_is_read_and_trials_that_never_started_are_skipped():
    asked, done = TrialConfig(dtype="fp32").as_dict(), TrialConfig(dtype="fp32", max_length=64).as_dict()
    frame = pd.DataFrame({"trial": [0, 1], "asked": [json.dumps(asked)] * 2, "done": [json.dumps(done), None]})
    assert asked_against_done(frame)["what"].tolist() == ["max_length"]

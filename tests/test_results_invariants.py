"""The invariants: silent about a sound record, and each of them able to speak."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from results_support import epoch, facts, study_file

from harness.configuration import TrialConfig
from harness.records import Incident, TrialOutcome
from harness.results import mirror
from harness.results.engine import open_engine
from harness.results.invariants import CHECKS, violations
from harness.results.ownership import Owner
from harness.results.store import Store


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    """A complete, a pruned, a failed, an early stopped and a waiting trial, mirrored where they belong."""
    with Store.open(tmp_path / "results.db") as store:
        key = store.create_study(study_file())
        ends = (
            (2, TrialOutcome("complete", seconds={"total": 3.0})),
            (1, TrialOutcome("pruned")),
            (1, TrialOutcome("failed", "diverged", "loss became nan")),
            (2, TrialOutcome("complete", stopped_early="no better loss for 1 epoch")),
            (1, TrialOutcome("waiting")),
        )
        with store.hold(key):
            for seed, (epochs, outcome) in enumerate(ends):
                config = TrialConfig(epochs=3 if outcome.stopped_early or outcome.state == "waiting" else 2)
                row = store.add_trial(key, config, seed, seed, None, "explicit")
                store.start_trial(row.id, "w0", None)
                store.record_facts(row.id, facts(config))
                for number in range(1, epochs + 1):
                    store.record_epoch(
                        row.id, epoch(number, validation=float("nan") if seed == 2 else 0.6 - number / 10)
                    )
                store.finish_trial(row.id, outcome)
            mirror.sync(store, key)
    yield tmp_path / "results.db"


def broken(path: Path, *statements: str) -> list[str]:
    """What is said after someone wrote into the file by hand."""
    with sqlite3.connect(path) as connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()
    return said(path)


def said(path: Path) -> list[str]:
    engine = open_engine(path, read_only=True)
    try:
        return [str(violation) for violation in violations(engine)]
    finally:
        engine.dispose()


def test_a_sound_record_violates_nothing(path: Path) -> None:
    assert said(path) == []


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("DELETE FROM harness_metric WHERE trial_id = 1 AND epoch = 1", "I1 probe:0: epoch 1 has no metrics"),
        (
            "UPDATE harness_trial SET configuration_id = 2 WHERE id = 1",
            "I3 probe:0: its configuration is another one's",
        ),
        ("UPDATE harness_trial SET stopped_early = '' WHERE id = 4", "I4 probe:3: complete after 2 of 3 epochs"),
        (
            "UPDATE harness_trial SET best_epoch = 1 WHERE id = 1",
            "I4 probe:0: best_epoch stored as 1, its epochs say 2",
        ),
        ("UPDATE harness_trial SET objective = 0.1 WHERE id = 1", "I4 probe:0: its objective 0.1 is not the first"),
        ("UPDATE harness_trial SET objective_values = '[0.1]' WHERE id = 1", "I4 probe:0: objective values stored as"),
        ("UPDATE harness_trial SET ended_at = 'now' WHERE id = 5", "I4 probe:4: waiting, and yet it has an end"),
        ("UPDATE harness_trial SET state = 'running' WHERE id = 5", "I6 probe:4: running, and nobody runs it any more"),
        ("DELETE FROM trial_user_attributes WHERE key = 'harness_trial'", "I6 probe:0: Optuna's tables lack it"),
        ("UPDATE trials SET state = 'RUNNING' WHERE number = 1", "I6 probe:1: Optuna's tables hold other numbers"),
        ("UPDATE trial_values SET value = 0.1", "I6 probe:0: Optuna's tables hold other numbers"),
        (
            "UPDATE trial_intermediate_values SET intermediate_value = 9",
            "I6 probe:0: Optuna's tables hold other numbers",
        ),
        (
            "UPDATE trial_user_attributes SET value_json = '4' WHERE key = 'harness_trial' AND value_json = '3'",
            "I6 probe:4: waiting, and Optuna's tables say COMPLETE",
        ),
        (
            "UPDATE trial_user_attributes SET value_json = '1' WHERE key = 'harness_trial' AND value_json = '0'",
            "I6 probe:1: Optuna's tables hold it 2 times",
        ),
        (
            "UPDATE trial_user_attributes SET value_json = '9' WHERE key = 'harness_trial' AND value_json = '0'",
            "I6 probe:9: Optuna's tables hold it, the record does not",
        ),
        ("UPDATE harness_trial SET study_id = 99 WHERE id = 5", "I7: row 5 of harness_trial refers to a row of"),
    ],
)
def test_what_does_not_hold_is_named(path: Path, statement: str, words: str) -> None:
    assert any(each.startswith(words) for each in broken(path, statement)), broken(path)


def test_a_gap_between_epochs_is_named(path: Path) -> None:
    moved = [
        f"UPDATE {table} SET epoch = 5 WHERE trial_id = 1 AND epoch = 2"
        for table in ("harness_epoch_record", "harness_metric", "harness_window", "harness_prediction")
    ]
    assert "I2 probe:0: its epochs are 1, 5" in broken(path, *moved)


def test_a_trial_that_is_there_twice_is_named(path: Path) -> None:
    found = broken(
        path,
        "DROP INDEX uq_harness_trial_identity",
        "UPDATE harness_trial SET seed = 0 WHERE id = 2",
    )
    assert "I3 probe:1: trial 0 has its configuration, seed and fold too" in found


def test_two_living_holders_are_named(path: Path) -> None:
    me = Owner.me()
    columns = "study_id, pid, boot_id, process_started, host, started_at, seconds"
    values = f"1, {me.pid}, '{me.boot_id}', {me.started}, '{me.host}', 'now', 0"
    insert = f"INSERT INTO harness_session ({columns}) VALUES ({values})"
    assert broken(path, insert) == []
    (found,) = broken(path, insert)
    assert found.startswith(f"I5 probe: several processes hold it: process {os.getpid()} on ")


def test_an_epoch_computed_again_with_other_numbers_is_named(path: Path) -> None:
    with Store.open(path) as store:
        store.record_incident(1, 5, Incident("recomputed epoch differs", "epoch 1 was computed again"))
    assert said(path) == ["I8 probe:4: epoch 1 was computed again"]


def test_only_what_a_killed_process_leaves_is_mended_by_going_on(path: Path) -> None:
    broken(
        path, "UPDATE harness_trial SET state = 'running' WHERE id = 5", "DELETE FROM harness_metric WHERE epoch = 1"
    )
    engine = open_engine(path, read_only=True)
    assert {each.invariant for each in violations(engine) if each.mend} == {"I6"}
    assert {each.invariant for each in violations(engine) if not each.mend} >= {"I1", "I4"}
    engine.dispose()


def test_another_study_is_not_looked_at(path: Path) -> None:
    broken(path, "UPDATE harness_trial SET best_epoch = 1 WHERE id = 1")
    engine = open_engine(path, read_only=True)
    assert violations(engine, "another") == []
    assert len(violations(engine, "probe")) == 1
    engine.dispose()


def test_every_invariant_says_what_it_is() -> None:
    assert all(check.__doc__ for check in CHECKS)

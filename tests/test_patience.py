"""A file that somebody reads for long: the coordinator of a study waits, and whoever examines the record is brief."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from results_support import epoch, running, study_file

import harness.results.engine as engines
from harness.doctor import record
from harness.errors import HeldError, Interrupted
from harness.records import TrialOutcome
from harness.results import patience, targets
from harness.results.store import Store

LONG = "SELECT count(*) FROM harness_trial"  # of a reader who does not end its transaction


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A database without a write-ahead log, on which a transaction waits by itself for a second."""
    monkeypatch.setattr(engines, "wal_is_safe", lambda: False)
    monkeypatch.setattr(targets, "BUSY_SECONDS", 1)
    with Store.open(tmp_path / "results.db") as store:
        store.create_study(study_file())
    return tmp_path / "results.db"


@pytest.fixture
def keeper(path: Path) -> Iterator[Callable[[str], sqlite3.Connection]]:
    """Begins transactions of another process, as it were."""
    made: list[sqlite3.Connection] = []

    def begin(*statements: str) -> sqlite3.Connection:
        made.append(sqlite3.connect(path, isolation_level=None))
        for statement in statements:
            made[-1].execute(statement).fetchall()
        return made[-1]

    yield begin
    for connection in made:
        connection.close()


@pytest.mark.parametrize("statements", [("BEGIN", LONG), ("BEGIN IMMEDIATE",)], ids=["a reader", "a writer"])
def test_an_epoch_waits_for_whoever_has_the_file_and_is_there_once(
    path: Path, keeper: Callable[..., sqlite3.Connection], statements: tuple[str, ...]
) -> None:
    told: list[str] = []
    with Store.open(path) as store, store.hold(1):
        trial = running(store, 1)
        other = keeper(*statements)

        def ends_after_a_while(words: str) -> None:
            told.append(words)
            if len(told) == 2:
                other.close()

        store.waiting = ends_after_a_while
        assert store.record_epoch(trial.id, epoch(1)) == "stored"
        assert store.record_epoch(trial.id, epoch(1)) == "same"
    assert len(told) == 2
    assert "kept the database locked" in told[0]


def test_the_waiting_can_be_ended_and_leaves_nothing_half(
    path: Path, keeper: Callable[..., sqlite3.Connection]
) -> None:
    def end(words: str) -> None:
        other.close()
        raise Interrupted(words, 130)

    with Store.open(path) as store:
        with pytest.raises(Interrupted), store.hold(1):
            trial = running(store, 1)
            other = keeper("BEGIN", LONG)
            store.waiting = end
            store.record_epoch(trial.id, epoch(1))
        store.waiting = lambda words: None
        assert store.epoch_values(trial.id, "train", "loss") == {}


def test_nobody_waits_for_ever(
    path: Path, keeper: Callable[..., sqlite3.Connection], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "MOST_SECONDS", 0.0)
    with Store.open(path) as store, store.hold(1):
        trial = running(store, 1)
        other = keeper("BEGIN", LONG)
        with pytest.raises(HeldError, match="was locked by another process for more than 1 seconds"):
            store.record_epoch(trial.id, epoch(1))
        other.close()


def test_between_two_findings_of_the_doctor_others_can_write(path: Path) -> None:
    with Store.open(path) as store, store.hold(1):
        for seed in range(2):
            trial = running(store, 1, epochs=1, learning_rate=1e-5 * (seed + 1))
            store.record_epoch(trial.id, epoch(1))
            folder = store.trial_folder(trial.id) / "model"
            folder.mkdir(parents=True)  # without a manifest: a finding each
            outcome = TrialOutcome("complete", seconds={"total": 1.0}, model_folder="model")
            store.finish_trial(trial.id, outcome)
    writer = sqlite3.connect(path, timeout=0, isolation_level=None)
    checks = []
    for finding in record(path, None):
        checks.append(finding.check)
        writer.execute("UPDATE harness_study SET created_at = 'now'")
    writer.close()
    assert checks.count("weights") == 2


def test_the_whole_file_is_read_in_no_transaction_that_would_keep_others_from_writing(path: Path) -> None:
    said: list[str] = []

    def trace(connection: sqlite3.Connection, _: object) -> None:
        connection.set_trace_callback(said.append)

    sa.event.listen(sa.pool.Pool, "connect", trace)
    try:
        engines.open_engine(path).dispose()
    finally:
        sa.event.remove(sa.pool.Pool, "connect", trace)
    assert said.index("PRAGMA quick_check(1)") < said.index("BEGIN IMMEDIATE")

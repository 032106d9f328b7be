"""The same record on a server: set HARNESS_POSTGRES to a `postgresql+psycopg://` URL of an empty scratch database."""

from __future__ import annotations

import math
import os
import signal
import time

import optuna
import pytest
import sqlalchemy as sa
from results_support import barrier, epoch, pipe, prepared, process, running, study_file

from harness.configuration import Objective
from harness.errors import HeldError, StorageError
from harness.records import Incident, TrialOutcome
from harness.results import frames, mirror, tables
from harness.results.engine import open_engine
from harness.results.store import Store

URL = os.environ.get("HARNESS_POSTGRES", "")
pytestmark = [pytest.mark.postgres, pytest.mark.skipif(not URL, reason="HARNESS_POSTGRES names no server")]


@pytest.fixture
def empty(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    engine = sa.create_engine(URL)
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP SCHEMA public CASCADE")
        connection.exec_driver_sql("CREATE SCHEMA public")
    engine.dispose()


@pytest.fixture
def store(empty):
    with Store.open(URL) as opened:
        yield opened


def test_a_trial_is_recorded_and_read_as_on_sqlite(store, tmp_path):
    study_id = store.create_study(study_file())
    with store.hold(study_id):
        store.record_prepared(study_id, prepared())
        row = running(store, study_id)
        assert store.record_epoch(row.id, epoch(1, validation=0.4)) == "stored"
        assert store.record_epoch(row.id, epoch(2, validation=math.nan)) == "stored"
        assert store.record_epoch(row.id, epoch(2, validation=math.nan)) == "same"
        store.record_incident(study_id, row.id, Incident("odd\x00", "a\ud800", {"x": math.inf}))
        objectives = (Objective(), Objective("train_samples_per_second", "maximize"))
        store.finish_trial(row.id, TrialOutcome("complete"), objectives)
    assert store.trial(row.id).objective_values == (0.4, 8.0)
    engine = open_engine(URL, read_only=True)
    shown = frames.summary(engine, "probe").iloc[0]
    assert (shown["validation_loss"], shown["train_samples_per_second"], shown["eval_samples_per_second"]) == (
        0.4,
        8,
        8,
    )
    assert frames.epochs(engine)["validation_loss"].isna().tolist() == [False, True]
    assert frames.predictions(engine, row.id, 1).tolist() == [[1.0, 1.0]] * 4
    with pytest.raises(sa.exc.DBAPIError, match="read-only"), engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM harness_metric")
    engine.dispose()
    assert store.files == tmp_path / "results.files"


def test_the_server_says_what_every_table_and_column_means(store):
    found = sa.inspect(store.engine)
    for table in (tables.metadata.tables[name] for name in found.get_table_names() if name in tables.metadata.tables):
        assert found.get_table_comment(table.name)["text"] == table.comment
        comments = {column["name"]: column["comment"] for column in found.get_columns(table.name)}
        assert comments == {column.name: column.comment for column in table.columns}


def test_what_is_there_is_refused_by_name(store):
    study_id = store.create_study(study_file())
    with pytest.raises(StorageError, match="there already"):
        store.create_study(study_file())
    row = running(store, study_id)
    with pytest.raises(StorageError, match="trial 0 has this configuration"):
        store.add_trial(study_id, row.config, row.seed, 0, None, "grid")


def test_finished_trials_are_mirrored_once(store):
    study_id = store.create_study(study_file())
    row = running(store, study_id)
    store.record_epoch(row.id, epoch(1))
    store.finish_trial(row.id, TrialOutcome("complete"))
    assert [mirror.sync(store, study_id) for _ in range(2)] == [1, 0]
    storage = optuna.storages.RDBStorage(URL)
    assert optuna.load_study(study_name="probe", storage=storage).best_value == 0.6
    storage.remove_session()
    storage.engine.dispose()


def hold_and_wait(sender) -> None:
    store = Store.open(URL)
    with store.hold(1):
        running(store, 1)
        sender.send(os.getpid())
        time.sleep(600)


def test_a_session_lock_decides_who_holds_a_study(store):
    study_id = store.create_study(study_file())
    receiver, sender = pipe()
    child = process(hold_and_wait, sender)
    child.start()
    pid = receiver.recv()
    with pytest.raises(HeldError, match=f"held by process {pid}"), store.hold(study_id):
        raise AssertionError("two coordinators hold one study")
    os.kill(pid, signal.SIGKILL)
    child.join()
    for _ in range(50):  # the server notices a closed connection within moments
        try:
            with store.hold(study_id):
                assert [row.state for row in store.trials(study_id)] == ["waiting"]
            break
        except HeldError:
            time.sleep(0.1)
    assert list(frames.sessions(store.engine, "probe")["exit_state"]) == ["vanished", "finished"]


def open_together(gate, sender) -> None:
    gate.wait()
    try:
        Store.open(URL).create_study(study_file(f"study-{os.getpid()}"))
        sender.send("made")
    except Exception as error:
        sender.send(repr(error))


def test_eight_processes_make_one_database_at_once(empty):
    gate, (receiver, sender) = barrier(8), pipe()
    children = [process(open_together, gate, sender) for _ in range(8)]
    for child in children:
        child.start()
    assert [receiver.recv() for _ in children] == ["made"] * 8
    for child in children:
        child.join()

"""The record: trials move only as they may, epochs are stored once, and no kill or full disk loses a commit."""

from __future__ import annotations

import dataclasses
import math
import os
import random
import signal
import socket
import sqlite3
import stat
import time
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from results_support import TEXT, epoch, facts, pipe, prepared, process, running, study_file

from harness.configuration import Objective, TrialConfig
from harness.errors import HeldError, Interrupted, StorageError, TrialFailure
from harness.folds import held_out
from harness.records import Incident, MetricValue, TrialOutcome
from harness.results import frames, outcomes
from harness.results.store import Store
from harness.results.tables import epoch_record, metadata, metric, prediction, session, trial
from harness.row_checks import EMPTY_GROUP
from harness.spec import parse_study
from harness.verdicts import LEARNT_NOTHING

OBJECTIVES = (Objective(),)
on_a_file = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


@pytest.fixture
def store(database):
    with Store.open(database) as opened:
        yield opened


@pytest.fixture
def study_id(store: Store) -> int:
    return store.create_study(study_file())


def incidents(store: Store) -> list[str]:
    return list(frames.incidents(store.engine, "probe")["kind"])


# --- studies -------------------------------------------------------------------------------------------


def test_a_study_is_found_by_its_name_as_it_was_stored(store, study_id):
    row = store.study("probe")
    assert row is not None
    assert (row.id, row.task, row.source) == (study_id, "sequence-classification", "own")
    assert row.text == study_file().text
    assert row.objectives == OBJECTIVES
    assert store.study("other") is None


def test_a_name_is_given_once(store, study_id):
    with pytest.raises(StorageError, match="there already"):
        store.create_study(study_file())


@on_a_file
def test_the_files_lie_beside_the_database(store, tmp_path):
    assert store.files == tmp_path / "results.files"
    assert {folder.name for folder in store.files.iterdir() if folder.is_dir()} == {"trials", "cache", "models"}


@on_a_file
def test_only_the_owner_may_read_the_database(store, tmp_path):
    assert stat.S_IMODE((tmp_path / "results.db").stat().st_mode) == 0o600


def test_a_corrected_study_file_brings_its_objectives_along(store, study_id):
    said = "objective: {metric: loss, direction: minimize, at: best}"
    corrected = parse_study(study_file().text.replace(said, "objectives: [accuracy, train_seconds]"))
    store.extend_study(study_id, corrected)
    row = store.study("probe")
    assert [(each.metric, each.direction) for each in row.objectives] == [
        ("accuracy", "maximize"),
        ("train_seconds", "minimize"),
    ]
    assert (row.text, row.fingerprint) == (corrected.text, corrected.spec.fingerprint)
    started = running(store, study_id)
    store.record_epoch(started.id, epoch(1))
    store.finish_trial(started.id, TrialOutcome("complete", seconds={"train": 7.0}))
    assert store.trial(started.id).objective_values == (0.5, 7.0)


def test_a_study_knows_the_weights_that_it_was_begun_with(store, study_id):
    assert store.weights_hashes(study_id) == {}
    first = prepared()
    models = (*first.models, dataclasses.replace(first.models[0], name="other", weights_hash="def"))
    store.record_prepared(study_id, dataclasses.replace(first, models=models))
    assert store.weights_hashes(study_id) == {"builtin:tiny": "abc", "other": "def"}
    assert store.weights_hashes(store.create_study(study_file("another"))) == {}


def test_preparing_again_replaces_what_was_prepared(store, study_id):
    assert store.data_fingerprint(study_id) is None
    store.record_prepared(study_id, prepared(4))
    store.record_prepared(study_id, prepared(6))
    assert store.data_fingerprint(study_id) == "f00d"
    assert len(frames.examples(store.engine, "probe")) == 6


def test_an_environment_is_stored_once(store):
    assert store.record_environment({"a": 1, "b": 2}) == store.record_environment({"b": 2, "a": 1})
    assert store.record_environment({"a": 2}) != store.record_environment({"a": 1})


# --- trials --------------------------------------------------------------------------------------------


def test_trials_of_one_configuration_share_its_number(store, study_id):
    first = store.add_trial(study_id, TrialConfig(), 1, 0, None, "grid")
    again = store.add_trial(study_id, TrialConfig(), 2, 1, None, "grid")
    other = store.add_trial(study_id, TrialConfig(epochs=5), 1, 0, None, "sampled")
    assert [(row.number, row.configuration, row.origin) for row in (first, again, other)] == [
        (0, 0, "grid"),
        (1, 0, "grid"),
        (2, 1, "sampled"),
    ]
    assert store.trials(study_id) == [first, again, other]


@pytest.mark.parametrize("fold", [None, 0])
def test_configuration_seed_and_fold_occur_once(store, study_id, fold):
    store.add_trial(study_id, TrialConfig(), 1, 0, fold, "grid")
    with pytest.raises(StorageError, match="trial 0 has this configuration with seed 1"):
        store.add_trial(study_id, TrialConfig(), 1, 0, fold, "grid")


def test_the_database_itself_refuses_a_second_trial_without_a_fold(store, study_id):
    store.add_trial(study_id, TrialConfig(), 1, 0, None, "grid")
    columns = [column for column in trial.c if column.name not in ("id", "number")]
    copy = sa.select(sa.literal(7), *columns)
    with pytest.raises(sa.exc.IntegrityError), store.engine.begin() as connection:
        connection.execute(sa.insert(trial).from_select(["number", *(c.name for c in columns)], copy))


def test_asked_and_done_are_both_stored(store, study_id):
    row = running(store, study_id, batch_size=16)
    store.record_facts(row.id, facts(dataclasses.replace(row.config, batch_size=8, gradient_accumulation=2)))
    shown = frames.summary(store.engine, "probe").iloc[0]
    details = frames.trial_details(store.engine, "probe").iloc[0]
    assert (shown["batch_size"], shown["effective_batch_size"]) == (8, 16)
    assert (details["asked"]["batch_size"], details["done"]["config"]["batch_size"]) == (16, 8)
    assert (shown["trainable_parameters"], shown["total_parameters"]) == (400, 1000)


@pytest.mark.parametrize("state", ["waiting", "complete", "failed"])
def test_only_a_running_trial_takes_epochs_and_ends(store, study_id, state):
    row = running(store, study_id)
    reason = "oom" if state == "failed" else None
    store.finish_trial(row.id, TrialOutcome(state, reason), OBJECTIVES)
    with pytest.raises(StorageError, match=f"must be running, it is {state}"):
        store.record_epoch(row.id, epoch(1))
    with pytest.raises(StorageError, match=f"it is {state}"):
        store.finish_trial(row.id, TrialOutcome("complete"), OBJECTIVES)


def test_a_finished_trial_never_starts_again(store, study_id):
    row = running(store, study_id)
    store.finish_trial(row.id, TrialOutcome("complete"), OBJECTIVES)
    with pytest.raises(StorageError, match="must be waiting, it is complete"):
        store.start_trial(row.id, "w1", None)


def test_an_interrupted_trial_waits_with_an_incident_and_counts_its_attempts(store, study_id):
    row = running(store, study_id)
    store.finish_trial(row.id, TrialOutcome("waiting", message="Ctrl-C"), OBJECTIVES)
    assert (store.trial(row.id).state, incidents(store)) == ("waiting", ["interrupted"])
    store.start_trial(row.id, "w1", None)
    assert store.trial(row.id).attempt == 2


# --- epochs -----------------------------------------------------------------------------------------------


def test_an_epoch_is_stored_once_and_compared_ever_after(store, study_id):
    row = running(store, study_id)
    assert store.record_epoch(row.id, epoch(1, validation=0.6)) == "stored"
    assert store.record_epoch(row.id, epoch(1, validation=0.6, train_seconds=99.0)) == "same"
    assert incidents(store) == []
    assert store.record_epoch(row.id, epoch(1, validation=math.nextafter(0.6, 1))) == "different"
    assert store.epoch_values(row.id, "validation", "loss") == {1: 0.6}
    details = frames.incidents(store.engine, "probe").iloc[0]["details"]
    assert [(m["split"], m["name"], m["stored"]) for m in details["metrics"]] == [("validation", "loss", 0.6)]


def test_the_values_of_several_trials_are_those_of_each_of_them(store, study_id):
    rows = [running(store, study_id, epochs=number + 1) for number in range(3)]
    elsewhere = running(store, store.create_study(study_file("another")))
    for row, losses in zip([*rows, elsewhere], [(0.5, math.inf), (0.4,), (), (0.3,)], strict=True):
        for number, loss in enumerate(losses, start=1):
            store.record_epoch(row.id, epoch(number, validation=loss))
    ids = [row.id for row in rows]
    found = store.epoch_values_of(ids, "validation", "loss")
    assert found == {rows[0].id: {1: 0.5, 2: math.inf}, rows[1].id: {1: 0.4}}
    assert {row.id: store.epoch_values(row.id, "validation", "loss") for row in rows} == {rows[2].id: {}} | found
    assert store.epoch_values_of(ids, "validation", "accuracy")[rows[1].id] == {1: 0.5}  # no group's


def test_a_metric_more_or_less_is_a_difference(store, study_id):
    row = running(store, study_id)
    store.record_epoch(row.id, epoch(1))
    fewer = dataclasses.replace(epoch(1), metrics=epoch(1).metrics[:-1])
    assert store.record_epoch(row.id, fewer) == "different"


def test_an_empty_group_by_its_name_is_not_all_rows(store, study_id):
    row = running(store, study_id)
    values = [MetricValue("validation", "loss", 0.5), MetricValue("validation", "loss", 0.9, EMPTY_GROUP)]
    store.record_epoch(row.id, epoch(1, metrics=tuple(values)))
    assert store.epoch_values(row.id, "validation", "loss") == {1: 0.5}
    store.finish_trial(row.id, TrialOutcome("complete"))
    assert list(frames.summary(store.engine, "probe")["validation_loss"]) == [0.5]


def test_an_epoch_recomputed_with_the_same_nan_is_the_same(store, study_id):
    row = running(store, study_id)
    store.record_epoch(row.id, epoch(1, validation=math.nan))
    assert store.record_epoch(row.id, epoch(1, validation=math.nan)) == "same"


def test_a_lost_epoch_ends_the_trial_by_name(store, study_id):
    row = running(store, study_id)
    store.record_epoch(row.id, epoch(1))
    with pytest.raises(TrialFailure, match="epoch 3 came where epoch 2 was due"):
        store.record_epoch(row.id, epoch(3))


@pytest.mark.parametrize(("value", "kind"), [(math.nan, "nan"), (math.inf, "+inf"), (-math.inf, "-inf")])
def test_a_non_finite_metric_is_missing_and_says_its_kind(store, study_id, value, kind):
    row = running(store, study_id)
    store.record_epoch(row.id, epoch(1, validation=value))
    query = sa.select(metric.c.value, metric.c.kind).where(metric.c.split == "validation", metric.c.name == "loss")
    with store.engine.connect() as connection:
        assert connection.execute(query).one() == (None, kind)
    assert repr(store.epoch_values(row.id, "validation", "loss")[1]) == repr(value)
    assert frames.summary(store.engine)["validation_loss"].isna().all()


def test_numpy_numbers_are_stored_as_numbers(store, study_id):
    row = running(store, study_id)
    values = (MetricValue("validation", "loss", np.float32(0.5)),)
    store.record_epoch(row.id, epoch(1, metrics=values, steps=np.int64(7), peak_memory_bytes=np.int64(9)))
    records = frames.epoch_records(store.engine, "probe").iloc[0]
    assert (records["steps"], records["peak_memory_bytes"]) == (7, 9)


def test_logits_lose_neither_tiny_nor_nearly_certain_values(store, study_id):
    row = running(store, study_id)
    logits = np.array([[1e-8, 0.9999], [-88.0, 3.4e38]], dtype=np.float32)
    store.record_epoch(row.id, epoch(1, outputs={"logits": logits}))
    assert frames.predictions(store.engine, row.id, 1).tobytes() == logits.tobytes()
    assert np.isnan(frames.predictions(store.engine, row.id, 1, "margins")[2])


def test_a_damaged_prediction_is_noticed(store, study_id, tmp_path):
    row = running(store, study_id)
    store.record_epoch(row.id, epoch(1))
    with store.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE harness_prediction SET crc32 = crc32 + 1")
    with pytest.raises(StorageError, match="does not match its checksum"):
        frames.predictions(store.engine, row.id, 1)


# --- beginning again ------------------------------------------------------------------------------------------

OOM = Incident("oom", "out of memory with batch_size 16; from the beginning with 8", {"batch_size": [16, 8]})


def rows_by_table(store: Store, trial_id: int) -> dict[str, int]:
    """Rows of every table that hangs on the epochs of a trial."""
    with store.engine.connect() as connection:
        return {
            table.name: connection.scalar(sa.select(sa.func.count()).where(table.c.trial_id == trial_id))
            for table in metadata.sorted_tables
            if "epoch" in table.c and "trial_id" in table.c
        }


def test_a_trial_that_begins_again_has_only_the_epochs_of_its_new_run(store, study_id):
    row = running(store, study_id, batch_size=16)
    for number in (1, 2):
        store.record_epoch(row.id, epoch(number, validation=0.6))
    store.restart_trial(row.id, OOM)
    assert set(rows_by_table(store, row.id).values()) == {0}
    assert store.record_epoch(row.id, epoch(1, validation=0.7)) == "stored"
    assert store.epoch_values(row.id, "validation", "loss") == {1: 0.7}
    assert incidents(store) == ["oom"]
    assert store.trial(row.id).state == "running"


def test_the_incident_keeps_what_the_epochs_before_it_said(store, study_id):
    row = running(store, study_id)
    store.record_epoch(row.id, epoch(1, train=math.inf, validation=0.6))
    store.record_epoch(row.id, epoch(2, validation=math.nan))
    with store.engine.connect() as connection:
        stored = connection.scalars(sa.select(prediction.c.data)).all()
    store.restart_trial(row.id, OOM)
    details = frames.incidents(store.engine, "probe").iloc[0]["details"]
    first, second = details["replaced_epochs"]
    values = {(m["split"], m["name"], m["group"]): m["value"] for m in first["metrics"]}
    assert values == {
        ("train", "loss", ""): "+inf",
        ("probe", "accuracy", ""): 0.75,
        ("validation", "loss", ""): 0.6,
        ("validation", "accuracy", ""): 0.5,
        ("validation", "accuracy", "german"): 0.25,
    }
    assert [w["seconds"] for w in first["windows"]] == [1.0, 3.0]
    assert (first["epoch"], first["steps"], first["train_seconds"], first["attempt"]) == (1, 10, 2.0, 1)
    assert (second["epoch"], second["metrics"][-1]["value"]) == (2, "nan")
    assert details["dropped_prediction_bytes"] == sum(len(content) for content in stored) > 0
    assert details["batch_size"] == [16, 8]


def test_beginning_again_leaves_the_epochs_of_other_trials(store, study_id):
    other, row = running(store, study_id, epochs=2), running(store, study_id, epochs=3)
    for each in (other, row):
        store.record_epoch(each.id, epoch(1))
    before = rows_by_table(store, other.id)
    store.restart_trial(row.id, OOM)
    assert rows_by_table(store, other.id) == before
    assert 0 not in before.values()


def test_a_trial_without_epochs_begins_again_with_nothing_to_keep(store, study_id):
    row = running(store, study_id)
    store.restart_trial(row.id, OOM)
    details = frames.incidents(store.engine, "probe").iloc[0]["details"]
    assert (details["replaced_epochs"], details["dropped_prediction_bytes"]) == ([], 0)


def test_only_a_running_trial_begins_again_and_a_refusal_changes_nothing(store, study_id):
    row = running(store, study_id)
    store.record_epoch(row.id, epoch(1))
    store.finish_trial(row.id, TrialOutcome("complete"), OBJECTIVES)
    with pytest.raises(StorageError, match="must be running, it is complete"):
        store.restart_trial(row.id, OOM)
    assert store.epoch_values(row.id, "validation", "loss") == {1: 0.6}
    assert incidents(store) == []


REFUSING = {
    "sqlite": ["CREATE TRIGGER refuse BEFORE INSERT ON harness_incident BEGIN SELECT RAISE(ABORT, 'no'); END"],
    "postgresql": [
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$",
        "CREATE TRIGGER refuse BEFORE INSERT ON harness_incident FOR EACH ROW EXECUTE FUNCTION refuse()",
    ],
}


def test_an_incident_that_cannot_be_stored_leaves_the_epochs_where_they_are(store, study_id):
    row = running(store, study_id)
    store.record_epoch(row.id, epoch(1))
    before = rows_by_table(store, row.id)
    with store.engine.begin() as connection:
        for statement in REFUSING[connection.dialect.name]:
            connection.exec_driver_sql(statement)
    with pytest.raises(StorageError):
        store.restart_trial(row.id, OOM)
    assert rows_by_table(store, row.id) == before


def test_deaths_count_killed_workers_and_not_polite_interruptions(store, study_id):
    row = running(store, study_id)
    for kind in ("interrupted", "worker_died", "interrupted", "worker_died"):
        store.requeue_trial(row.id, Incident(kind, "said"))
        store.start_trial(row.id, "w0", None)
    other = running(store, study_id, epochs=9)
    assert (store.trial(row.id).attempt, store.deaths(row.id), store.deaths(other.id)) == (5, 2, 0)


# --- text ----------------------------------------------------------------------------------------------------


def test_nul_and_lone_surrogates_are_normalised(store, study_id):
    store.record_incident(study_id, None, Incident("odd\x00", "a\ud800b", {"k\x00": "\udfff"}))
    row = frames.incidents(store.engine, "probe").iloc[0]
    assert (row["kind"], row["message"], row["details"]) == ("odd", "a\\ud800b", {"k": "\\udfff"})


def written(store: Store) -> bytes:
    """Everything that the database holds: the bytes of the file, or every row of every table of a server."""
    if store.engine.dialect.name == "sqlite":
        return Path(store.target).read_bytes()
    with store.engine.connect() as connection:
        return repr([connection.execute(sa.select(table)).all() for table in metadata.sorted_tables]).encode()


def test_secrets_reach_no_page_of_the_database(store, study_id):
    secrets = [
        "hf_" + "Ab1" * 10,
        "ghp_" + "Zz9" * 12,
        "AKIA" + "Q7" * 8,
        "sk-" + "m4" * 15,
        "hunter2hunter2",
    ]
    said = f"{secrets[0]} and {secrets[1]}, {secrets[2]} {secrets[3]} postgresql://me:{secrets[4]}@host/db"
    row = running(store, study_id)
    store.record_incident(study_id, row.id, Incident("leak", said, {"deep": [{"er": said}]}))
    store.record_environment({"line": said})
    store.finish_trial(row.id, TrialOutcome("failed", "crashed", message=said, traceback=said), OBJECTIVES)
    content = written(store)
    assert b"postgresql://me:***@host/db" in content
    assert [secret for secret in secrets if secret.encode() in content] == []
    assert "postgresql://me:***@host/db" in store.trial(row.id).message


def test_sql_in_a_text_is_only_a_text(store, study_id):
    said = "a'; DROP TABLE harness_trial; --"
    store.record_incident(study_id, None, Incident(said, said))
    assert incidents(store) == [said]
    assert store.trials(study_id) == []


# --- ends ----------------------------------------------------------------------------------------------------


def test_best_epochs_by_objective_and_by_loss(store, study_id):
    row = running(store, study_id, epochs=3)
    for number, (loss, accuracy) in enumerate([(0.5, 0.6), (0.4, 0.7), (0.6, 0.9)], start=1):
        metrics = (
            MetricValue("train", "loss", 0.5),
            MetricValue("validation", "loss", loss),
            MetricValue("validation", "accuracy", accuracy),
        )
        store.record_epoch(row.id, epoch(number, metrics=metrics))
    objectives = (Objective("accuracy", "maximize"), Objective("loss", at="last"), Objective("train_seconds"))
    store.finish_trial(row.id, TrialOutcome("complete", seconds={"train": 5.0, "total": 9.0}), objectives)
    ended = store.trial(row.id)
    assert (ended.best_epoch, ended.best_loss_epoch) == (3, 2)
    assert ended.objective_values == (0.9, 0.6, 5.0)
    assert (ended.objective, ended.train_seconds, ended.total_seconds) == (0.9, 5.0, 9.0)


def test_a_speed_objective_comes_from_the_windows(store, study_id):
    row = running(store, study_id)
    store.record_epoch(row.id, epoch(1))
    store.finish_trial(row.id, TrialOutcome("complete"), (Objective("train_samples_per_second", "maximize"),))
    assert store.trial(row.id).objective_values == (8.0,)  # 32 rows in 4 seconds


def test_a_failed_trial_has_no_objective_value(store, study_id):
    row = running(store, study_id)
    store.record_epoch(row.id, epoch(1, validation=0.01))
    store.record_epoch(row.id, epoch(2, validation=math.nan))
    store.finish_trial(row.id, TrialOutcome("failed", "diverged", "loss is nan at step 7"), OBJECTIVES)
    ended = store.trial(row.id)
    assert (ended.state, ended.reason, ended.objective, ended.objective_values) == ("failed", "diverged", None, ())
    assert ended.verdict_name == "diverged"


def finished_with_rise(store: Store, study_id: int, logits_last: np.ndarray) -> dict:
    """A curve that rises by half, with one sure example after another in the last epoch."""
    store.record_prepared(study_id, prepared(len(logits_last)))
    row = running(store, study_id)
    flat = np.zeros_like(logits_last)
    store.record_epoch(row.id, epoch(1, train=0.5, validation=0.6, outputs={"logits": flat}))
    store.record_epoch(row.id, epoch(2, train=0.3, validation=0.9, outputs={"logits": logits_last}))
    store.finish_trial(row.id, TrialOutcome("complete"), OBJECTIVES)
    return frames.trial_details(store.engine, "probe").iloc[0].to_dict()


def test_a_rise_on_every_example_is_clear(store, study_id):
    gold = np.arange(40) % 2
    wrong = np.zeros((40, 2), dtype=np.float32)
    wrong[np.arange(40), 1 - gold] = 1.0 + 0.01 * np.arange(40)
    ended = finished_with_rise(store, study_id, wrong)
    assert (ended["verdict_name"], ended["verdict_words"]) == ("overfitting", "overfitting after epoch 1")
    assert "clear" in str(ended["verdict_evidence"])


def test_a_rise_on_one_example_of_forty_is_noise(store, study_id):
    logits = np.zeros((40, 2), dtype=np.float32)
    logits[0, 1] = 12.0  # example 0 is negative
    ended = finished_with_rise(store, study_id, logits)
    assert "within noise" in str(ended["verdict_evidence"])
    assert ended["verdict_words"] != "overfitting after epoch 1"


def test_a_flat_loss_at_the_entropy_of_the_stored_labels_has_learnt_nothing(store, study_id):
    store.record_prepared(study_id, prepared(40))
    row = running(store, study_id)
    for number in (1, 2):
        store.record_epoch(row.id, epoch(number, train=0.694, validation=0.693))
    store.finish_trial(row.id, TrialOutcome("complete"), OBJECTIVES)
    ended = store.trial(row.id)
    assert (ended.verdict_name, ended.verdict_words) == ("healthy", LEARNT_NOTHING)


def test_kept_models_come_best_first_and_can_be_forgotten(store, study_id):
    rows = []
    for number, loss in enumerate([0.5, 0.3, 0.4]):
        row = running(store, study_id, epochs=number + 1)
        store.record_epoch(row.id, epoch(1, validation=loss))
        store.finish_trial(row.id, TrialOutcome("complete", model_folder="best"), OBJECTIVES)
        rows.append(row.id)
    assert [row.id for row in store.kept(study_id)] == [rows[1], rows[2], rows[0]]
    store.forget_model(rows[1])
    assert [row.id for row in store.kept(study_id)] == [rows[2], rows[0]]


@pytest.mark.parametrize(("direction", "order"), [("minimize", [1, 0, 3, 2]), ("maximize", [0, 1, 2, 3])])
def test_kept_models_of_complete_trials_come_before_those_of_pruned_ones(store, direction, order):
    text = (
        study_file()
        .text.replace("direction: minimize", f"direction: {direction}")
        .replace("metric: loss", "metric: accuracy")
    )
    study_id = store.create_study(parse_study(text))
    rows = []
    for number, (accuracy, state) in enumerate(
        [(0.6, "complete"), (0.5, "complete"), (0.9, "pruned"), (0.1, "pruned")]
    ):
        row = running(store, study_id, epochs=number + 1)
        store.record_epoch(row.id, epoch(1, metrics=(MetricValue("validation", "accuracy", accuracy),)))
        store.finish_trial(row.id, TrialOutcome(state, model_folder="best"))
        rows.append(row.id)
    assert [row.id for row in store.kept(study_id)] == [rows[place] for place in order]


def test_a_kept_model_without_a_value_comes_last_among_its_like(store, study_id):
    for number, losses in enumerate([(), (0.9,)]):
        row = running(store, study_id, epochs=number + 1)
        for loss in losses:
            store.record_epoch(row.id, epoch(1, validation=loss))
        store.finish_trial(row.id, TrialOutcome("complete", model_folder="best"))
    assert [row.objective for row in store.kept(study_id)] == [0.9, None]


# --- holding -------------------------------------------------------------------------------------------------


def hold_and_wait(database, sender) -> None:
    store = Store.open(database)
    row = store.study("probe")
    with store.hold(row.id):
        running(store, row.id)
        sender.send(os.getpid())
        time.sleep(600)


def test_a_second_holder_is_refused_and_told_who_holds_it(store, study_id, database):
    receiver, sender = pipe()
    child = process(hold_and_wait, database, sender)
    child.start()
    pid = receiver.recv()
    try:
        with pytest.raises(HeldError, match=f"held by process {pid} on {socket.gethostname()} since 20") as caught:
            with store.hold(study_id):
                raise AssertionError("two coordinators hold one study")
        assert caught.value.exit_code == 75
        other = store.create_study(study_file("another"))
        with store.hold(other):
            assert store.trials(other) == []
    finally:
        os.kill(pid, signal.SIGKILL)
        child.join()
    with store.hold(study_id):
        assert [row.state for row in store.trials(study_id)] == ["waiting"]
        assert incidents(store) == ["interrupted"]
    assert list(frames.sessions(store.engine, "probe")["exit_state"]) == ["vanished", "finished"]


def test_the_same_process_does_not_hold_twice(store, study_id):
    with store.hold(study_id), Store.open(store.target) as second:
        with pytest.raises(HeldError, match=f"process {os.getpid()}"), second.hold(study_id):
            raise AssertionError("held twice")


def test_another_process_with_the_number_of_a_dead_one_is_no_holder(store, study_id):
    with store.hold(study_id), store.engine.begin() as connection:
        connection.execute(sa.update(session).values(process_started=session.c.process_started - 5000))
        left = dict(connection.execute(sa.select(session)).mappings().one())
    with store.engine.begin() as connection:
        connection.execute(sa.update(session).values(exit_state=None, ended_at=None))
    assert left["pid"] == os.getpid()
    with store.hold(study_id):
        assert list(frames.sessions(store.engine, "probe")["exit_state"])[0] == "vanished"


@pytest.mark.parametrize(
    ("error", "state"),
    [(Interrupted("Ctrl-C"), "interrupted"), (KeyboardInterrupt(), "interrupted"), (ValueError(), "error")],
)
def test_a_session_says_how_it_ended(store, study_id, error, state):
    with pytest.raises(type(error)), store.hold(study_id):
        raise error
    assert list(frames.sessions(store.engine, "probe")["exit_state"]) == [state]


def test_seconds_add_up_over_invocations(store, study_id):
    for _ in range(2):
        with store.hold(study_id):
            time.sleep(0.05)
    with store.hold(study_id):
        assert 0.1 <= store.invocation_seconds(study_id) < 5
    stored = frames.sessions(store.engine, "probe")["seconds"]
    assert (stored[:2] >= 0.05).all()


# --- faults ---------------------------------------------------------------------------------------------------


@on_a_file
def test_a_full_disk_loses_nothing_and_says_try_again(store, study_id):
    row = running(store, study_id)
    store.record_epoch(row.id, epoch(1))
    store.engine.dispose()
    full = [True]

    @sa.event.listens_for(store.engine, "connect")
    def limit(connection, _record):
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count={pages if full[0] else 1_000_000}")

    noise = np.random.default_rng(0).normal(size=(5000, 2)).astype(np.float32)
    with pytest.raises(HeldError, match="no space is left for .*results.db") as caught:
        store.record_epoch(row.id, epoch(2, outputs={"logits": noise}))
    assert caught.value.exit_code == 75
    assert store.epoch_values(row.id, "validation", "loss") == {1: 0.6}
    full[0] = False
    store.engine.dispose()
    assert store.record_epoch(row.id, epoch(2, outputs={"logits": noise})) == "stored"


EPOCHS = 12


def write_epochs(database, sender) -> None:
    """A coordinator's inner loop: what is told through the pipe has been committed."""
    store = Store.open(database)
    row = store.study("probe")
    with store.hold(row.id):
        while True:
            waiting = [t for t in store.trials(row.id) if t.state == "waiting"]
            if not waiting:
                count = len(store.trials(row.id))
                waiting = [store.add_trial(row.id, TrialConfig(epochs=EPOCHS), count, count, None, "explicit")]
            at = waiting[0]
            store.start_trial(at.id, "w0", None)
            for number in range(len(store.epoch_values(at.id, "train", "loss")) + 1, EPOCHS + 1):
                store.record_epoch(at.id, epoch(number, train=at.id + number / 100))
                sender.send((at.id, number))
            store.finish_trial(at.id, TrialOutcome("complete"), OBJECTIVES)


def killed_runs(database, kills: int) -> list[tuple[int, int]]:
    """Kill the writer at random moments; return the epochs that it said were committed."""
    dice, told = random.Random(7), []
    for _ in range(kills):
        receiver, sender = pipe()
        child = process(write_epochs, database, sender)
        child.start()
        sender.close()
        if receiver.poll(20):  # the first word, then a moment of its own
            time.sleep(dice.uniform(0, 0.05))
        child.kill()
        child.join()
        try:
            while True:
                told.append(receiver.recv())
        except EOFError:
            receiver.close()
    return told


@pytest.mark.slow
def test_twenty_kills_lose_no_committed_epoch_and_double_none(store, study_id, database):
    store.engine.dispose()
    told = killed_runs(database, 20)
    assert len(told) >= 20
    assert len(told) == len(set(told)), "an epoch was committed twice"
    for row in store.trials(study_id):
        stored = store.epoch_values(row.id, "train", "loss")
        assert list(stored) == list(range(1, len(stored) + 1))
        assert stored == {number: row.id + number / 100 for number in stored}
        assert {number for trial_id, number in told if trial_id == row.id} <= stored.keys()
        assert (row.state == "complete") <= (len(stored) == EPOCHS)
    with store.engine.connect() as connection:
        epochs, metrics, predictions = (
            connection.scalar(sa.select(sa.func.count()).select_from(table))
            for table in (epoch_record, metric, prediction)
        )
    assert (metrics, predictions) == (5 * epochs, 2 * epochs)
    if store.engine.dialect.name == "sqlite":
        with sqlite3.connect(store.target) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        connection.close()
    assert "interrupted" in incidents(store)


@pytest.mark.parametrize("fold", [0, 1, 2])
def test_a_fold_is_judged_on_the_training_examples_that_it_holds_out(database, fold):
    text = TEXT.format(name="folds").replace("train: 100, validation: 50", "train: 9, folds: 3")
    names = ["negative", "positive", "positive", "negative", "positive", "negative", "negative", "positive", "positive"]
    rows = [(number, name, "", f"text {number}") for number, name in enumerate(names)]
    with Store.open(database) as opened:
        study_id = opened.create_study(parse_study(text))
        opened.record_prepared(study_id, dataclasses.replace(prepared(), examples={"train": rows}))
        row = opened.add_trial(study_id, TrialConfig(), 42, 0, fold, "grid")
        opened.start_trial(row.id, "w0", None)
        opened.record_facts(row.id, facts(TrialConfig()))
        logits = np.random.default_rng(0).normal(size=(3, 2)).astype(np.float32)
        opened.record_epoch(row.id, dataclasses.replace(epoch(1), outputs={"logits": logits}))
        with opened.engine.connect() as connection:
            losses = outcomes.example_losses(connection, row.id, 1)
            chance = outcomes.chance_loss(connection, row.id)
    labels = np.array([int(name == "positive") for name in names])
    held = labels[held_out(labels, fold, 3, 42)]
    expected = [math.log(sum(math.exp(x) for x in row)) - row[label] for row, label in zip(logits, held, strict=True)]
    assert losses == pytest.approx(expected, rel=1e-5)
    share = held.mean()
    assert chance == pytest.approx(-share * math.log(share) - (1 - share) * math.log(1 - share))


def test_trials_come_in_pages_by_number_and_none_twice(store, study_id, monkeypatch):
    monkeypatch.setattr("harness.results.store.PAGE", 2)
    running(store, store.create_study(study_file("another")))
    assert list(store.pages(study_id)) == []
    added = [running(store, study_id, epochs=number + 1).number for number in range(5)]
    assert [[trial.number for trial in page] for page in store.pages(study_id)] == [added[:2], added[2:4], added[4:]]

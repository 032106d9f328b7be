"""The views keep the columns that they promise, and every frame gives values as they were measured."""

from __future__ import annotations

import math

import pandas as pd
import pytest
import sqlalchemy as sa
from results_support import epoch, prepared, running, study_file

from harness.configuration import Objective
from harness.errors import UsageError
from harness.records import Incident, MetricValue, TrialOutcome
from harness.results import frames
from harness.results.engine import open_engine
from harness.results.store import Store

SUMMARY = (
    "study, source, configuration, trial, replicate, fold, state, reason, model, epochs, batch_size, "
    "effective_batch_size, learning_rate, max_length, freeze, seed, objective, best_epoch, best_loss_epoch, "
    "train_loss, validation_loss, accuracy, f1, precision, recall, mcc, exact_match, perplexity, "
    "last_validation_loss, train_seconds, total_seconds, train_samples_per_second, eval_samples_per_second, "
    "peak_memory_bytes, energy_joules, trainable_parameters, total_parameters, shared_work, verdict"
).split(", ")
EPOCH = (
    "study, trial, epoch, train_loss, validation_loss, train_accuracy, accuracy, f1, precision, recall, exact_match, "
    "learning_rate, epoch_seconds, train_samples_per_second, peak_memory_bytes, energy_joules"
).split(", ")


@pytest.fixture
def engine(database):
    """Two studies; the first with a complete trial of three epochs and a waiting one."""
    with Store.open(database) as store:
        study_id = store.create_study(study_file())
        store.create_study(study_file("empty"))
        with store.hold(study_id):
            store.record_prepared(study_id, prepared())
            row = running(store, study_id)
            for number, loss in enumerate([0.6, 0.4, 0.5], start=1):
                store.record_epoch(row.id, epoch(number, train=1.0 / number, validation=loss))
            shared = {"prefix": "embeddings"}
            outcome = TrialOutcome("complete", seconds={"train": 6.0, "total": 11.0}, shared_work=shared)
            store.finish_trial(row.id, outcome, (Objective(),))
            store.add_trial(study_id, row.config, 43, 1, None, "grid")
            store.record_incident(study_id, row.id, Incident("oom", "halved", {"batch_size": 8}))
    engine = open_engine(database, read_only=True)
    yield engine
    engine.dispose()


@pytest.mark.parametrize(("view", "columns"), [("harness_summary", SUMMARY), ("harness_epoch", EPOCH)])
def test_the_views_have_their_promised_columns_in_order(engine, view, columns):
    with engine.connect() as connection:
        found = connection.exec_driver_sql(f"SELECT * FROM {view}").keys()
    assert list(found) == columns


def test_frames_have_the_columns_of_the_views(engine):
    assert list(frames.summary(engine).columns) == SUMMARY
    assert list(frames.epochs(engine).columns) == EPOCH


def test_the_summary_shows_the_best_epoch_and_the_last(engine):
    best, waiting = (row for _, row in frames.summary(engine, "probe").iterrows())
    assert (best["best_epoch"], best["validation_loss"], best["train_loss"]) == (2, 0.4, 0.5)
    assert (best["last_validation_loss"], best["objective"]) == (0.5, 0.4)
    assert (best["accuracy"], best["peak_memory_bytes"]) == (0.5, 1003)
    assert (best["train_seconds"], best["total_seconds"]) == (6.0, 11.0)
    assert best["train_samples_per_second"] == 8.0  # 3 x 32 rows in 3 x 4 seconds
    assert best["eval_samples_per_second"] == 8.0  # 3 x 4 rows in 3 x 0.5 seconds
    assert best["shared_work"] == {"prefix": "embeddings"}
    assert (waiting["state"], waiting["replicate"], waiting["seed"]) == ("waiting", 1, 43)
    assert waiting[["objective", "validation_loss", "train_samples_per_second"]].isna().all()


def test_the_summary_of_one_study_has_the_rows_of_the_view(engine):
    both, empty = frames.summary(engine), frames.summary(engine, "empty")
    pd.testing.assert_frame_equal(frames.summary(engine, "probe"), both[both["study"] == "probe"])
    assert len(both) == 2 and len(empty) == 0


def test_curves_are_those_of_the_whole_frame(engine):
    epochs = frames.epochs(engine, "probe")
    losses = frames.losses(engine, "probe")
    assert list(losses) == ["study", "trial", "epoch", "train_loss", "validation_loss", "epoch_seconds"]
    pd.testing.assert_frame_equal(losses, epochs[list(losses)])
    assert frames.losses(engine, "empty").dtypes.equals(losses.dtypes)


def test_metrics_of_groups_can_be_had_alone(engine):
    assert set(frames.metrics(engine, "probe", of_groups=True)["group"]) == {"german"}


def test_groups_do_not_enter_the_views(engine):
    assert list(frames.epochs(engine, "probe")["accuracy"]) == [0.5, 0.5, 0.5]
    metrics = frames.metrics(engine, "probe")
    assert list(metrics.query("group == 'german'")["value"]) == [0.25, 0.25, 0.25]


def test_an_epoch_adds_up_its_seconds(engine):
    epochs = frames.epochs(engine, "probe")
    assert list(epochs["epoch"]) == [1, 2, 3]
    assert list(epochs["epoch_seconds"]) == [3.5] * 3
    assert list(epochs["train_accuracy"]) == [0.75] * 3
    assert list(epochs["train_samples_per_second"]) == [8.0] * 3


def test_types_do_not_depend_on_the_rows(engine):
    whole, empty = frames.summary(engine, "probe"), frames.summary(engine, "empty")
    assert len(empty) == 0
    assert (whole.dtypes == empty.dtypes).all()
    for read in (frames.metrics, frames.windows, frames.epoch_records, frames.trial_details, frames.incidents):
        assert (read(engine, "probe").dtypes == read(engine, "empty").dtypes).all()
    assert str(whole["fold"].dtype) == "Int64"
    assert str(whole["reason"].dtype) == "str"


def test_values_are_given_as_measured(database):
    values = [math.nan, math.inf, -math.inf, 0.25]
    with Store.open(database) as store:
        row = running(store, store.create_study(study_file()))
        metrics = tuple(MetricValue("validation", f"m{i}", value) for i, value in enumerate(values))
        store.record_epoch(row.id, epoch(1, metrics=metrics))
        frame = frames.metrics(store.engine, "probe").sort_values("name")
    assert frame["value"].isna().tolist() == [True, True, True, False]
    assert frame["kind"].tolist() == ["nan", "+inf", "-inf", "finite"]


def test_everything_else_that_the_record_holds(engine):
    assert list(frames.studies(engine)["name"]) == ["probe", "empty"]
    assert frames.studies(engine)["objectives"][0] == [{"metric": "loss", "direction": "minimize", "at": "best"}]
    assert frames.data(engine, "probe")["splits"][0]["validation"]["dropped"] == {"empty": 1}
    assert frames.data(engine, "probe")["label_names"][0] == ["negative", "positive"]
    assert list(frames.models(engine, "probe")["total_parameters"]) == [1000]
    assert list(frames.environment(engine, "probe")["facts"]) == [{"python": "3.11"}]
    assert list(frames.examples(engine, "probe")["label"]) == ["negative", "positive"] * 2
    assert list(frames.incidents(engine, "probe")["trial"]) == [0]
    assert list(frames.sessions(engine, "probe")["exit_state"]) == ["finished"]
    assert list(frames.windows(engine, "probe")["seconds"]) == [1.0, 3.0] * 3
    details = frames.trial_details(engine, "probe").iloc[0]
    assert details["verdict_evidence"]["best_epoch"] == 2
    assert details["origin"] == "explicit"


def test_predictions_keep_their_shape(engine):
    trial_id = int(frames.trial_details(engine, "probe")["trial_id"][0])
    assert frames.predictions(engine, trial_id, 3).tolist() == [[3.0, 3.0]] * 4
    assert frames.predictions(engine, trial_id, 3, "margins").shape == (3,)
    with pytest.raises(UsageError, match="no predictions are stored of trial id"):
        frames.predictions(engine, trial_id, 4)


def test_an_unknown_study_is_named_with_the_known_ones(engine):
    for read in (frames.summary, frames.epochs, frames.metrics, frames.data):
        with pytest.raises(UsageError, match="no study 'prob' in the database; it holds empty, probe"):
            read(engine, "prob")


def test_reading_waits_for_no_writer(engine, database):
    writer = open_engine(database)
    with writer.connect() as connection:
        connection.execute(sa.select(1))  # an open write transaction that has written nothing yet
        assert len(frames.summary(engine, "probe")) == 2
    writer.dispose()


def test_frames_read_in_several_parts_are_those_read_in_one(engine, monkeypatch):
    readers = (frames.metrics, frames.epoch_records, frames.trial_details, frames.examples, frames.incidents)
    whole = [read(engine, "probe") for read in readers]
    assert max(map(len, whole)) > 2
    monkeypatch.setattr(frames, "ROWS_AT_A_TIME", 1)
    for read, expected in zip(readers, whole, strict=True):
        pd.testing.assert_frame_equal(read(engine, "probe"), expected)

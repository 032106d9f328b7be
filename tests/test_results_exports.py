"""Every frame leaves as CSV, JSON or Parquet with the same numbers, and the best kept model is copied whole."""

from __future__ import annotations

import csv
import json
import math

import pandas as pd
import pytest
from results_support import TEXT, epoch, facts, running, study_file

from harness.configuration import Objective, TrialConfig
from harness.errors import UsageError
from harness.records import Incident, TrialOutcome
from harness.results import frames
from harness.results.exports import FRAMES, export, export_model
from harness.results.store import Store
from harness.spec import parse_study


@pytest.fixture
def store(database):
    with Store.open(database) as opened:
        study_id = opened.create_study(study_file())
        row = running(opened, study_id)
        opened.record_epoch(row.id, epoch(1, validation=0.3))
        opened.record_epoch(row.id, epoch(2, validation=math.nan))
        opened.record_incident(study_id, row.id, Incident("=HYPERLINK()", "-1+1", {"x": "@SUM"}))
        opened.finish_trial(row.id, TrialOutcome("complete", model_folder="best"), (Objective(),))
        yield opened


@pytest.mark.parametrize("format", ["csv", "parquet", "json"])
def test_every_frame_becomes_a_file(store, tmp_path, format):
    files = export(store.engine, "probe", format, tmp_path / "out")
    assert {file.name for file in files} == {f"{name}.{format}" for name in FRAMES}
    assert {file.name for file in (tmp_path / "out").iterdir()} == {file.name for file in files}


def test_csv_gives_the_same_numbers_back(store, tmp_path):
    export(store.engine, "probe", "csv", tmp_path)
    read, ours = pd.read_csv(tmp_path / "epoch.csv"), frames.epochs(store.engine, "probe")
    assert list(read.columns) == list(ours.columns)
    pd.testing.assert_series_equal(read["validation_loss"], ours["validation_loss"])


def test_parquet_gives_the_same_frame_back(store, tmp_path):
    export(store.engine, "probe", "parquet", tmp_path)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "epoch.parquet"), frames.epochs(store.engine, "probe"))


def test_json_is_strict_and_nested(store, tmp_path):
    def refuse(word):
        raise AssertionError(f"{word} is no JSON")

    export(store.engine, "probe", "json", tmp_path)
    epochs = json.loads((tmp_path / "epoch.json").read_text(), parse_constant=refuse)
    assert [row["validation_loss"] for row in epochs] == [0.3, None]
    trials = json.loads((tmp_path / "trials.json").read_text(), parse_constant=refuse)
    assert trials[0]["asked"]["batch_size"] == 16


def test_a_spreadsheet_sees_no_formula(store, tmp_path):
    export(store.engine, "probe", "csv", tmp_path)
    row = pd.read_csv(tmp_path / "incidents.csv").iloc[0]
    assert (row["kind"], row["message"]) == ("'=HYPERLINK()", "'-1+1")


@pytest.mark.parametrize("message", ["two\rlines", "two\r\nlines", "\r", "\r=1+1", 'a "quoted",\rrow'])
def test_a_carriage_return_in_a_text_makes_no_row_of_its_own(store, tmp_path, message):
    store.record_incident(1, None, Incident("odd", message))
    export(store.engine, "probe", "csv", tmp_path)
    with (tmp_path / "incidents.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert [len(row) for row in rows] == [5, 5, 5]
    assert rows[2][2].lstrip("'") == message.replace("\r\n", "\n").replace("\r", "\n")


def test_an_unknown_format_names_the_known_ones(store, tmp_path):
    with pytest.raises(UsageError, match="csv, parquet, json, got 'xls'"):
        export(store.engine, "probe", "xls", tmp_path)


def test_the_best_kept_model_is_copied(store, tmp_path):
    row = store.trials(1)[0]
    folder = store.trial_folder(row.id) / "best"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    trial, of_best = export_model(store, "probe", tmp_path / "model")
    assert (trial.number, of_best) == (0, True)
    assert (tmp_path / "model" / "config.json").read_text() == "{}"
    with pytest.raises(UsageError, match="exists and is not an empty folder"):
        export_model(store, "probe", tmp_path / "model")


def test_without_kept_weights_there_is_nothing_to_copy(store, tmp_path):
    store.forget_model(store.trials(1)[0].id)
    with pytest.raises(UsageError, match="has kept no model"):
        export_model(store, "probe", tmp_path / "model")


def two_seeds(store: Store, rate: float, losses: tuple[float, float]) -> list[int]:
    """A configuration with a trial of each seed, both with kept weights; the ids."""
    found = []
    for replicate, loss in enumerate(losses):
        row = store.add_trial(1, TrialConfig(learning_rate=rate), 42 + replicate, replicate, None, "explicit")
        store.start_trial(row.id, "w0", None)
        store.record_facts(row.id, facts(row.config))
        store.record_epoch(row.id, epoch(1, validation=loss))
        store.finish_trial(row.id, TrialOutcome("complete", model_folder="model"), (Objective(),))
        folder = store.trial_folder(row.id) / "model"
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(f"{rate}/{replicate}")
        found.append(row.id)
    return found


def test_the_copied_model_is_of_the_configuration_with_the_best_mean_and_not_of_the_luckiest_seed(tmp_path, database):
    with Store.open(database) as opened:
        opened.create_study(parse_study(TEXT.format(name="probe") + "replicates: 2\n"))
        two_seeds(opened, 1e-5, (0.10, 0.90))
        even = two_seeds(opened, 2e-5, (0.35, 0.30))
        assert export_model(opened, "probe", tmp_path / "model").of_best
        assert (tmp_path / "model" / "config.json").read_text() == "2e-05/1"
        for trial in even:
            opened.forget_model(trial)
        assert not export_model(opened, "probe", tmp_path / "other").of_best
        assert (tmp_path / "other" / "config.json").read_text() == "1e-05/0"

"""Runs made elsewhere: read as they are stated, judged like trials run here, shown beside them, and never run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import report_study
from published import P1, P2_2, P4_10_TRAIN_ACCURACY, P4_10_VALIDATION_ACCURACY, TABLES
from results_support import study_file
from transformers import TrainerState
from typer.testing import CliRunner, Result

from harness.cli import app
from harness.errors import HarnessError, SpecError, StorageError
from harness.published import parse_published, read_text
from harness.published_folders import runs_of_folder
from harness.published_tables import runs_of_csv
from harness.report import plain, stated
from harness.report.comparison import choose, content
from harness.report.pieces import assemble
from harness.report.section import sections
from harness.report.study_frames import StudyFrames, opened
from harness.results import frames
from harness.results.engine import open_engine
from harness.results.exports import export
from harness.results.invariants import violations
from harness.results.overview import overviews
from harness.results.store import Store

FILES = sorted((Path(__file__).parent.parent / "studies" / "published").glob("*.yaml"))
IMDB = "imdb-five-models-published"
RUNS = {
    "P1": ("squad-subset-published", 0),
    **{f"P2 model {number}": (IMDB, number - 1) for number in range(1, 6)},
    "P2 refined": (IMDB, 5),
    "P3": ("tweets-published", 0),
    "P4, 10 epochs": ("reviews-frozen-published", 0),
    "P4, 20 epochs": ("reviews-frozen-published", 1),
}
SMALL = """\
published: {name}
source: a table
beside: [reviews]
data: {{validation: 60}}
runs:
  - name: first
    config: {{model: builtin:tiny, epochs: 3, batch_size: 8, max_length: 32, train: 400}}
    by_epoch: {{train_loss: [0.5, 0.3, 0.1], validation_loss: [0.5, 0.6, 0.7]}}
    at_end: {{accuracy: 0.9}}
"""


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(each) for each in arguments])


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("published") / "results.db"
    with Store.open(path) as store:
        for file in FILES:
            store.publish(parse_published(read_text(file), file.name))
    return path


@pytest.fixture
def imdb(db: Path) -> Iterator[StudyFrames]:
    study = opened(db, IMDB)
    yield study
    study.close()


# --- the published tables ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TABLES)
def test_every_published_loss_is_in_the_record_and_gets_its_readers_verdict(db: Path, name: str) -> None:
    study, trial = RUNS[name]
    engine = open_engine(db, read_only=True)
    curve = frames.losses(engine, study)
    curve = curve[curve["trial"] == trial].sort_values("epoch")
    for column, expected in (
        ("train_loss", TABLES[name].train_loss),
        ("validation_loss", TABLES[name].validation_loss),
    ):
        np.testing.assert_array_equal(curve[column].to_numpy(float), np.array(expected, dtype=float))
    assert frames.summary(engine, study)["verdict"].iloc[trial] == TABLES[name].words


def test_other_figures_are_those_of_the_source_and_what_it_lacks_is_missing(db: Path) -> None:
    engine = open_engine(db, read_only=True)
    epochs = frames.epochs(engine, "reviews-frozen-published")
    first = epochs[epochs["trial"] == 0]
    np.testing.assert_array_equal(first["train_accuracy"].to_numpy(float), P4_10_TRAIN_ACCURACY)
    np.testing.assert_array_equal(first["accuracy"].to_numpy(float), np.array(P4_10_VALIDATION_ACCURACY, dtype=float))
    summary = frames.summary(engine, IMDB)
    assert summary["batch_size"].isna().tolist() == [False, False, False, True, False, False]  # "larger" is no number
    assert (summary["accuracy"].iloc[1], summary["f1"].iloc[1]) == (0.84, 0.8413)
    frozen = frames.summary(engine, "reviews-frozen-published")
    assert frozen["learning_rate"].isna().all()
    assert frozen["freeze"].tolist() == ["classifier"] * 3
    assert set(frames.summary(engine)["source"]) == {"published"}


def test_the_record_of_published_runs_is_sound(db: Path) -> None:
    assert violations(open_engine(db, read_only=True)) == []


def test_two_shares_on_500_reviews_cannot_be_told_apart(imdb: StudyFrames) -> None:
    (built,) = (assemble(each, imdb) for each in sections() if each.name == "published")
    told = plain.text(built)
    assert "cannot tell refined run from model 2 (1.0 ± 4.5 points of accuracy, p = 0.73, Fisher" in told
    assert "500 examples" in told


def test_a_share_of_an_unknown_number_of_examples_is_compared_with_nothing(db: Path) -> None:
    study = opened(db, "reviews-full-published")
    (built,) = (assemble(each, study) for each in sections() if each.name == "published")
    study.close()
    assert "is not stated, so it can be compared with nothing" in plain.text(built)


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_every_section_of_a_published_report_can_be_made_and_says_what_it_is(db: Path, file: Path) -> None:
    study = opened(db, f"{file.stem}-published")
    built = [assemble(each, study) for each in sections()]
    study.close()
    assert [each.failure for each in built if each.failure] == []
    words = "\n".join(plain.text(each) for each in built)
    assert "published: made elsewhere, nothing was trained here" in words
    assert str(study.spec["source"]) in words
    assert "The search came upon" not in words


def test_runs_of_several_published_studies_stand_side_by_side(db: Path) -> None:
    studies = {name: opened(db, name) for name in (IMDB, "squad-subset-published")}
    chosen = choose(studies, [(IMDB, 1), (IMDB, 5), ("squad-subset-published", 0)])
    built = content(chosen)
    for study in studies.values():
        study.close()
    names = f"{IMDB}:5 (published) from {IMDB}:1 (published)"
    assert any(each.startswith(f"cannot tell {names} (1.0 ± 4.5 points") for each in built.findings)
    assert any("state no share of a known number of examples" in each for each in built.notes)


# --- beside a study of one's own ----------------------------------------------------------------------------


@pytest.fixture
def own(tmp_path: Path) -> Iterator[StudyFrames]:
    path = report_study.make(tmp_path / "results.db", trials=4, states={})
    with Store.open(path) as store:
        store.publish(parse_published(SMALL.format(name="theirs"), "theirs.yaml"))
        store.publish(parse_published(SMALL.format(name="elsewhere").replace("[reviews]", "[other]"), "elsewhere.yaml"))
    study = opened(path, "reviews")
    yield study
    study.close()


def test_a_report_lays_published_runs_over_the_trial_that_repeats_them(own: StudyFrames) -> None:
    (built,) = (assemble(each, own) for each in sections() if each.name == "published")
    assert built.failure == ""
    assert [each.name for each in built.drawn] == ["published-1"]  # `elsewhere` names another study
    table = built.tables[0][0].frame
    assert (table["run"].item(), table["trial_here"].item()) == ("first", 0)
    assert table["published_verdict"].item() == "overfitting after epoch 1"
    assert table["verdict_here"].item() == own.summary["verdict"].iloc[0] == "overfitting by its gap, no turning epoch"
    assert "Of 1 published run repeated here, 0 got the same verdict." in plain.text(built)


def test_a_share_of_ones_own_is_compared_by_its_counts(own: StudyFrames) -> None:
    accuracy = float(own.summary["accuracy"].iloc[0])
    assert stated.share(own, 0, "accuracy") == (round(accuracy * 60), 60)
    (theirs,) = stated.beside(own)
    assert stated.share(theirs, 0, "accuracy") == (54, 60)
    (built,) = (assemble(each, own) for each in sections() if each.name == "published")
    told = [line for line in plain.text(built).splitlines() if "the published first" in line]
    assert len(told) == 1 and "Fisher" in told[0] and "60 examples" in told[0]


def test_the_best_of_a_search_is_said_to_be_flattered_where_it_stands_for_a_repetition(tmp_path: Path) -> None:
    path = report_study.make(tmp_path / "results.db", trials=4, states={})
    with Store.open(path) as store:
        store.publish(parse_published(SMALL.format(name="theirs").replace("max_length: 32", "max_length: 99"), "x"))
    study = opened(path, "reviews")
    (built,) = (assemble(each, study) for each in sections() if each.name == "published")
    study.close()
    told = plain.text(built)
    assert "No trial here has the model and hyperparameters of a published run" in told
    assert "(the best here)" in told and "which flatters it" in told


def test_a_trial_with_another_model_repeats_no_published_run(tmp_path: Path) -> None:
    path = report_study.make(tmp_path / "results.db", trials=4, states={})
    with Store.open(path) as store:
        theirs = SMALL.format(name="theirs").replace("model: builtin:tiny", "model: their/bert-large")
        store.publish(parse_published(theirs, "x"))
    study = opened(path, "reviews")
    (built,) = (assemble(each, study) for each in sections() if each.name == "published")
    (other,) = stated.beside(study)
    assert stated.repeats(study, other) == {} and stated.with_another_model(study, other) == {0: 0}
    study.close()
    told = plain.text(built)
    assert (
        "Trial 0 has the same hyperparameters as the published first with another model (builtin:tiny, not bert-large)."
        in " ".join(told.split())
    )
    assert "got the same verdict" not in told


def test_a_report_without_published_runs_beside_it_says_nothing_of_them(tmp_path: Path) -> None:
    study = opened(report_study.make(tmp_path / "results.db", trials=2, states={}), "reviews")
    (built,) = (assemble(each, study) for each in sections() if each.name == "published")
    study.close()
    assert built.empty


# --- commands -----------------------------------------------------------------------------------------------


def test_status_says_published_and_knows_no_time_to_finish(db: Path) -> None:
    shown = invoke("status", IMDB, "--db", db).output
    assert "published  6 runs, made elsewhere" in shown
    assert "to finish" not in shown
    (told,) = json.loads(invoke("status", IMDB, "--json", "--db", db).output)
    assert (told["source"], told["total"], told["states"]) == ("published", 6, {"complete": 6})
    assert overviews(open_engine(db, read_only=True), IMDB)[0].holder is None


@pytest.mark.parametrize("command", ["run", "plan", "audit", "confirm"])
@pytest.mark.parametrize("study", [IMDB, str(FILES[0])])
def test_nothing_runs_what_is_published(db: Path, command: str, study: str) -> None:
    done = invoke(command, study, "--db", db)
    assert done.exit_code != 0
    assert "there is nothing to run" in str(done.exception)


def test_a_study_of_ones_own_cannot_take_a_published_name(tmp_path: Path) -> None:
    from harness.study import file_of, known

    with Store.open(tmp_path / "results.db") as store:
        store.publish(parse_published(SMALL.format(name="probe"), "probe.yaml"))
        with pytest.raises(SpecError, match="'probe' is published.*--set study=NEW-NAME"):
            known(store, study_file("probe"))
        (row,) = store.studies()
        with pytest.raises(SpecError, match="there is nothing to run"):
            file_of(row)
        with pytest.raises(StorageError):
            store.publish(parse_published(SMALL.format(name="probe"), "probe.yaml"))
        assert [each.state for each in store.trials(row.id)] == ["complete"]  # nothing was added to it


def test_importing_the_same_file_again_changes_nothing_and_another_is_refused(tmp_path: Path) -> None:
    file, db = tmp_path / "table.yaml", tmp_path / "results.db"
    file.write_text(SMALL.format(name="theirs"))
    assert "theirs: 1 published run\n" in invoke("import", file, "--db", db).output
    before = frames.metrics(open_engine(db, read_only=True), "theirs")
    assert "nothing was changed" in invoke("import", file, "--db", db).output
    file.write_text(SMALL.format(name="theirs").replace("0.9", "0.8"))
    refused = invoke("import", file, "--db", db)
    assert "which is not overwritten" in str(refused.exception)
    pd.testing.assert_frame_equal(frames.metrics(open_engine(db, read_only=True), "theirs"), before)


def test_what_is_exported_says_published(db: Path, tmp_path: Path) -> None:
    export(open_engine(db, read_only=True), IMDB, "csv", tmp_path)
    summary = pd.read_csv(tmp_path / "summary.csv")
    assert summary["source"].tolist() == ["published"] * 6
    assert np.isnan(summary["batch_size"].iloc[3])


# --- tables ---------------------------------------------------------------------------------------------------

CSV = """\
run,epoch,model,epochs,batch_size,learning_rate,train_loss,validation_loss,accuracy,note
model 2,1,bert-base-uncased,2,16,2e-5,0.3741,0.3840,,
model 2,2,,,,,0.2457,0.3675,,took long
model 2,,,,,,,,0.84,
"""


def test_a_csv_table_says_the_same_as_a_yaml_one(tmp_path: Path) -> None:
    file, db = tmp_path / "mine.csv", tmp_path / "results.db"
    file.write_text(CSV)
    assert invoke("import", file, "--db", db).exit_code == 0
    engine = open_engine(db, read_only=True)
    row = frames.summary(engine, "mine").iloc[0]
    assert (row["epochs"], row["batch_size"], row["learning_rate"], row["accuracy"]) == (2, 16, 2e-5, 0.84)
    assert tuple(frames.losses(engine, "mine")["validation_loss"]) == P2_2.validation_loss
    stored = frames.studies(engine)["text"].iloc[0]
    assert parse_published(stored, "stored").spec.runs[0].note == "took long"  # the text can be imported again


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("model 2,2,", "model 2,1,", "mine.csv:3: epoch 1 of model 2 has a train_loss already"),
        (",0.3675,", ",low,", "mine.csv:3: validation_loss must be a number, got 'low'"),
        ("accuracy,", "acuracy,", "column acuracy must be named after a figure.*did you mean accuracy"),
        ("run,", "name,", "has no column `run`"),
        ("model 2,2,,", "model 2,2,albert,", "mine.csv:3: model is 'albert' here and 'bert-base-uncased'"),
        ("model 2,2,", "model 2,0,", "epoch must be a whole number from 1"),
        (",,0.84,", ",,0.84", "not as many cells"),
    ],
)
def test_a_faulty_table_is_refused_with_its_place(old: str, new: str, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        runs_of_csv(CSV.replace(old, new, 1), "mine.csv")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("source: a table\n", "", "x.yaml.*source"),
        ("accuracy: 0.9", "acuracy: 0.9", "x.yaml:9.*did you mean accuracy"),
        ("model: builtin:tiny, ", "", "names no model"),
        ("epochs: 3", "epochs: 2", "has figures of 3 epochs and states 2"),
        ("accuracy: 0.9", "validation_loss: 0.7", "states a figure of one epoch twice"),
        ("batch_size: 8", "batch_size: 0", "x.yaml:7.*batch_size"),
    ],
)
def test_a_faulty_yaml_is_refused_with_its_place(old: str, new: str, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        parse_published(SMALL.format(name="x").replace(old, new, 1), "x.yaml")


# --- folders of other tools -------------------------------------------------------------------------------------


def trainer_folder(folder: Path, epochs: int = 3) -> Path:
    """What Trainer leaves of P1, logging twice in the first epoch."""
    history = [{"epoch": 0.5, "step": 96, "loss": 1.3}, {"epoch": 1.0, "step": 192, "loss": 2 * P1.train_loss[0] - 1.3}]
    history += [{"epoch": float(e), "step": 192 * e, "loss": P1.train_loss[e - 1]} for e in range(2, epochs + 1)]
    history += [
        {"epoch": float(e), "step": 192 * e, "eval_loss": P1.validation_loss[e - 1], "eval_runtime": 2.79}
        for e in range(1, epochs + 1)
    ]
    history.append({"epoch": float(epochs), "step": 192 * epochs, "train_loss": 0.68, "train_runtime": 279.17})
    state = TrainerState(
        epoch=float(epochs), global_step=192 * epochs, num_train_epochs=3, train_batch_size=16, log_history=history
    )
    folder.mkdir(parents=True)
    state.save_to_json(str(folder / "trainer_state.json"))
    (folder / "training_args.bin").write_bytes(b"never opened")
    return folder


def test_a_trainers_folder_gives_its_losses_by_epoch(tmp_path: Path) -> None:
    (run,) = runs_of_folder(trainer_folder(tmp_path / "p1"))
    assert run["name"] == "p1"
    assert run["by_epoch"]["train_loss"] == pytest.approx(P1.train_loss)  # not the 0.68 of the whole run
    assert run["by_epoch"]["validation_loss"] == list(P1.validation_loss)
    assert (run["config"], run["seconds"]) == ({"epochs": 3, "batch_size": 16}, 279.17)


def test_a_run_that_left_only_checkpoints_is_read_from_its_last_one(tmp_path: Path) -> None:
    trainer_folder(tmp_path / "out" / "checkpoint-192", 1)
    trainer_folder(tmp_path / "out" / "checkpoint-1920", 2)
    (run,) = runs_of_folder(tmp_path / "out")
    assert (run["name"], run["note"]) == ("out", "ended after 2 of 3 epochs")
    assert run["by_epoch"]["validation_loss"] == list(P1.validation_loss[:2])


def test_a_trainers_folder_is_imported_and_judged(tmp_path: Path) -> None:
    folder, db = trainer_folder(tmp_path / "p1"), tmp_path / "results.db"
    refused = invoke("import", folder, "--db", db)
    assert "names no model" in str(refused.exception)
    done = invoke("import", folder, "--db", db, "--model", "bert-base-uncased", "--study", "theirs")
    assert done.exit_code == 0, done.output
    row = frames.summary(open_engine(db, read_only=True), "theirs").iloc[0]
    assert (row["verdict"], row["best_epoch"], row["model"]) == (P1.words, 1, "bert-base-uncased")


def mlflow_run(folder: Path, name: str, metrics: dict[str, list[tuple[float, int]]], stage: str = "active") -> Path:
    """A run as MLflow's file store keeps it."""
    for part in ("metrics", "params"):
        (folder / part).mkdir(parents=True)
    meta = f"run_id: {folder.name}\nrun_name: {name}\nlifecycle_stage: {stage}\nstart_time: 1000\nend_time: 61000\n"
    (folder / "meta.yaml").write_text(meta)
    for metric, points in metrics.items():
        (folder / "metrics" / metric).write_text("".join(f"1700000000000 {v} {step}\n" for v, step in points))
    given = {"num_train_epochs": "2.0", "per_device_train_batch_size": "16", "learning_rate": "2e-05", "fp16": "True"}
    for param, value in (given | {"_name_or_path": "bert-base-uncased", "lr_scheduler_type": "polynomial"}).items():
        (folder / "params" / param).write_text(value)
    return folder


def test_mlflows_folder_gives_every_run_that_is_not_deleted(tmp_path: Path) -> None:
    steps = {"eval_loss": [(0.384, 125), (0.3675, 250)], "epoch": [(1.0, 125), (2.0, 250)], "loss": [(0.3741, 125)]}
    by_epoch = {"val_loss": [(0.5, 0), (0.4, 1)], "train_loss": [(0.6, 0), (0.3, 1)], "accuracy": [(0.84, 0)]}
    mlflow_run(tmp_path / "mlruns" / "0" / "aa", "theirs", steps)
    mlflow_run(tmp_path / "mlruns" / "0" / "bb", "theirs", by_epoch)
    mlflow_run(tmp_path / "mlruns" / "0" / "cc", "gone", steps, "deleted")
    (tmp_path / "mlruns" / "0" / "meta.yaml").write_text("experiment_id: '0'\nname: Default\n")
    first, second = runs_of_folder(tmp_path / "mlruns")
    assert (first["name"], second["name"]) == ("theirs", "theirs (2)")
    assert first["by_epoch"] == {"validation_loss": [0.384, 0.3675], "train_loss": [0.3741]}
    expected = {"epochs": 2, "batch_size": 16, "learning_rate": 2e-5, "model": "bert-base-uncased"}
    assert first["config"] == expected  # a schedule that no study has is left out
    assert second["by_epoch"] == {"validation_loss": [0.5, 0.4], "train_loss": [0.6, 0.3]}
    assert (second["at_end"], second["seconds"]) == ({"accuracy": 0.84}, 60.0)


def test_steps_that_are_no_epochs_are_never_taken_for_them(tmp_path: Path) -> None:
    mlflow_run(tmp_path / "aa", "theirs", {"eval_loss": [(0.5, 125), (0.4, 250)]})
    with pytest.raises(SpecError, match="eval_loss: its steps are no epochs"):
        runs_of_folder(tmp_path)


@pytest.mark.parametrize("broken", ["{", "[]", '{"log_history": 3}'])
def test_a_broken_folder_is_refused_in_words(tmp_path: Path, broken: str) -> None:
    (tmp_path / "trainer_state.json").write_text(broken)
    with pytest.raises(HarnessError, match="trainer_state.json"):
        runs_of_folder(tmp_path)


def test_an_empty_folder_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="holds no trainer_state.json and no run of MLflow"):
        runs_of_folder(tmp_path)

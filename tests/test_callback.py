"""A plain Trainer script's run is a trial in results.db, whatever the script does and however it ends."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from trainer_script import rows, trainer
from typer.testing import CliRunner

from harness import callback
from harness.callback import Recorder
from harness.cli import app
from harness.configuration import TrialConfig
from harness.errors import UsageError
from harness.results import frames
from harness.results.engine import open_engine
from harness.results.invariants import violations
from harness.results.store import Store
from harness.script_facts import Rows, freeze_of, rows_of
from harness.script_figures import as_fraction

SCRIPT = Path(__file__).parent / "trainer_script.py"
torch.set_num_threads(1)


class Raises(transformers.TrainerCallback):
    """The error that a script's own code makes in the middle of training."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        if state.global_step == self.step:
            raise ZeroDivisionError("a mistake of the script")


def run(db: Path, **arguments: Any) -> transformers.Trainer:
    made = trainer(str(db.parent / "out"), Recorder(db=db, study="my-script"), **arguments)
    made.train()
    return made


def summary(db: Path, study: str = "my-script") -> Any:
    return frames.summary(open_engine(db, read_only=True), study)


def read(db: Path, what: str, study: str = "my-script") -> Any:
    return getattr(frames, what)(open_engine(db, read_only=True), study)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory) -> tuple[Path, transformers.Trainer]:
    """Three runs of one script: seed 1, seed 2, seed 1 once more; and what Trainer itself says of the first."""
    db = tmp_path_factory.mktemp("script") / "results.db"
    first = run(db, seed=1)
    run(db, seed=2)
    run(db, seed=1)
    return db, first


def in_epoch(history: list[dict[str, Any]], epoch: int, key: str) -> list[float]:
    return [each[key] for each in history if key in each and epoch - 1 < each["epoch"] <= epoch]


# --- what is recorded -------------------------------------------------------------------------------------


def test_the_curves_are_those_of_trainer(recorded):
    db, first = recorded
    epochs = read(db, "epochs")
    epochs = epochs[epochs["trial"] == 0]
    history = first.state.log_history
    assert list(epochs["epoch"]) == [1, 2]
    assert list(epochs["validation_loss"]) == [in_epoch(history, e, "eval_loss")[0] for e in (1, 2)]
    assert list(epochs["accuracy"]) == [in_epoch(history, e, "eval_accuracy")[0] for e in (1, 2)]
    weighted = [(4 * first_four + 2 * rest) / 6 for first_four, rest in (in_epoch(history, 1, "loss"),)]
    assert epochs["train_loss"].iloc[0] == pytest.approx(weighted[0])  # logged every 4 steps, 6 in an epoch
    whole = next(each["train_loss"] for each in history if "train_loss" in each)
    assert epochs["train_loss"].mean() == pytest.approx(whole)


def test_what_was_run_is_recorded(recorded):
    db, first = recorded
    done = read(db, "trial_details")["done"].iloc[0]
    config = TrialConfig.from_dict(done["config"])
    assert (config.epochs, config.batch_size, config.learning_rate, config.max_length) == (2, 8, 1e-3, 24)
    assert (done["train_rows"], done["validation_rows"], done["total_steps"]) == (48, 24, 12)
    assert (done["device"] != "", done["dtype"], config.freeze) == (True, "fp32", "none")
    assert done["total_parameters"] == sum(p.numel() for p in first.model.parameters())
    assert done["data_fingerprint"] == f"{rows_of(rows(48, 1)).fingerprint}-{rows_of(rows(24, 2)).fingerprint}"
    facts = read(db, "environment")["facts"].iloc[0]
    assert facts["packages"]["transformers"] == transformers.__version__


def test_times_and_speed_are_those_of_training_without_evaluation(recorded):
    db, first = recorded
    row = summary(db).iloc[0]
    records = read(db, "epoch_records")
    records = records[records["trial"] == 0]
    runtimes = [each["eval_runtime"] for each in first.state.log_history if "eval_runtime" in each]
    assert list(records["evaluate_seconds"]) == pytest.approx(runtimes)
    assert list(records["evaluated_samples"]) == [24, 24]
    assert 0 < records["train_seconds"].sum() < row["total_seconds"]
    windows = read(db, "windows")
    windows = windows[windows["trial"] == 0]
    assert windows["samples"].sum() == 96 - 3 * 8  # without the first steps
    assert row["train_samples_per_second"] == pytest.approx(windows["samples"].sum() / windows["seconds"].sum())


def test_another_seed_is_a_replicate_and_the_same_seed_again_is_none(recorded):
    shown = summary(recorded[0])
    assert list(zip(shown["configuration"], shown["replicate"], shown["seed"], strict=True)) == [
        (0, 0, 1),
        (0, 1, 2),
        (1, 0, 1),
    ]
    epochs = read(recorded[0], "epochs")
    curve = [list(epochs[epochs["trial"] == trial]["validation_loss"]) for trial in (0, 1, 2)]
    assert curve[0] == curve[2] != curve[1]  # the same seed, the same numbers: no second sample


def test_every_invariant_holds_and_optuna_has_every_run(recorded):
    db, _ = recorded
    assert violations(open_engine(db, read_only=True)) == []
    with sqlite3.connect(db) as connection:
        assert connection.execute("SELECT state, count(*) FROM trials GROUP BY state").fetchall() == [("COMPLETE", 3)]


def test_the_record_changes_no_number_of_the_training(recorded, tmp_path):
    plain = trainer(str(tmp_path), Recorder(tmp_path / "unused.db"), seed=1)
    plain.pop_callback(Recorder)
    plain.train()
    losses = [[e["eval_loss"] for e in each.state.log_history if "eval_loss" in e] for each in (plain, recorded[1])]
    assert losses[0] == losses[1]
    assert not (tmp_path / "unused.db").exists()


# --- what the commands say of it --------------------------------------------------------------------------


def harness(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, [str(each) for each in arguments])
    return done.exit_code, done.output + str(done.exception or "")


def test_status_shows_the_runs(recorded):
    code, output = harness("status", "my-script", "--db", recorded[0])
    assert code == 0
    assert "3 of 3 finished (3 complete)" in output


def test_compare_says_that_no_pairs_are_known(recorded, tmp_path):
    code, output = harness("compare", "my-script:0", "my-script:2", "--db", recorded[0], "--out", tmp_path)
    assert code == 0
    assert "cannot be compared with my-script:0 example by example" in output


def test_report_says_who_can_run_it_again(recorded, tmp_path, monkeypatch):
    monkeypatch.setattr("harness.report.notebooks.of_sections.EXECUTED_UP_TO", 0)  # as of a large study
    code, output = harness("report", "my-script", "--db", recorded[0], "--out", tmp_path)
    page = (tmp_path / "my-script" / "report.html").read_text()
    assert (code, "section" in output) == (0, False), output
    assert "Run the script again with other seeds" in page
    assert "harness confirm" not in page


@pytest.mark.parametrize("command", [("run",), ("plan",), ("confirm",), ("reproduce", "0")])
def test_what_only_the_script_can_run_is_refused(recorded, command):
    code, output = harness(command[0], "my-script", *command[1:], "--db", recorded[0])
    assert code != 0
    assert "written down by a script" in output


# --- other scripts ----------------------------------------------------------------------------------------


def test_without_evaluation_there_is_the_training_loss_alone(tmp_path):
    run(tmp_path / "r.db", validation=0, eval_strategy="no", num_train_epochs=1, logging_steps=500)
    metrics = read(tmp_path / "r.db", "metrics")
    assert list(zip(metrics["split"], metrics["name"], strict=True)) == [("train", "loss")]
    assert summary(tmp_path / "r.db")["state"].iloc[0] == "complete"
    assert violations(open_engine(tmp_path / "r.db", read_only=True)) == []


def test_of_several_evaluations_in_an_epoch_the_last_counts_and_an_incident_says_so(tmp_path):
    made = run(tmp_path / "r.db", eval_strategy="steps", eval_steps=2, num_train_epochs=1)
    last = [each["eval_loss"] for each in made.state.log_history if "eval_loss" in each]
    assert len(last) == 3
    assert list(read(tmp_path / "r.db", "epochs")["validation_loss"]) == [last[-1]]
    assert list(read(tmp_path / "r.db", "epoch_records")["evaluated_samples"]) == [3 * 24]
    assert list(read(tmp_path / "r.db", "incidents")["kind"]) == ["evaluated by steps"]


def test_a_run_that_the_script_stops_early_says_so(tmp_path):
    made = trainer(str(tmp_path), Recorder(tmp_path / "r.db", "my-script"), num_train_epochs=3)
    made.add_callback(StopsAfterAnEpoch())
    made.train()
    details = read(tmp_path / "r.db", "trial_details")
    assert details["stopped_early"].iloc[0] == "the script stopped it after epoch 1 of 3"
    assert violations(open_engine(tmp_path / "r.db", read_only=True)) == []


class StopsAfterAnEpoch(transformers.TrainerCallback):
    def on_epoch_end(self, args: Any, state: Any, control: Any, **given: Any) -> Any:
        control.should_training_stop = True
        return control


@pytest.mark.parametrize("within_an_epoch", [False, True])
def test_a_run_from_a_checkpoint_has_the_epochs_before_from_its_log(tmp_path, within_an_epoch):
    saving = {"save_strategy": "steps", "save_steps": 7} if within_an_epoch else {"save_strategy": "epoch"}
    first = trainer(str(tmp_path / "out"), Recorder(tmp_path / "r.db", "my-script"), **saving)
    first.add_callback(Raises(8))
    with pytest.raises(ZeroDivisionError):
        first.train()
    second = trainer(str(tmp_path / "out"), Recorder(tmp_path / "r.db", "my-script"), **saving)
    second.train(resume_from_checkpoint=True)
    shown = summary(tmp_path / "r.db")
    assert list(shown["state"]) == ["failed", "complete"]
    epochs = read(tmp_path / "r.db", "epochs")
    assert list(zip(epochs["trial"], epochs["epoch"], strict=True)) == [(0, 1), (1, 1), (1, 2)]
    assert epochs["validation_loss"].iloc[0] == epochs["validation_loss"].iloc[1]
    known = [not math.isnan(seconds) for seconds in epochs["epoch_seconds"]]
    assert known == [True, False, not within_an_epoch]  # what another process took is not known
    assert list(read(tmp_path / "r.db", "incidents")["kind"]) == ["resumed"]
    assert violations(open_engine(tmp_path / "r.db", read_only=True)) == []


def test_a_loss_that_is_not_finite_at_the_end_makes_a_failed_trial(tmp_path):
    run(tmp_path / "r.db", learning_rate=1e30, num_train_epochs=1, max_grad_norm=0.0, logging_nan_inf_filter=False)
    row = summary(tmp_path / "r.db").iloc[0]
    assert (row["state"], row["reason"]) == ("failed", "diverged")
    kinds = read(tmp_path / "r.db", "metrics").set_index(["split", "name"])["kind"]
    assert kinds["train", "loss"] in ("nan", "+inf")


@pytest.mark.parametrize("frozen", ["none", "embeddings", "top-2", "head", "classifier", "other"])
def test_what_the_script_has_frozen_is_named_by_its_strategy(frozen):
    from harness.architectures import describe
    from harness.builtin import tiny
    from harness.freezing import frozen as frozen_by

    config = transformers.AutoConfig.from_pretrained(tiny.folder(), num_labels=2)
    model = transformers.AutoModelForSequenceClassification.from_config(config)
    described = [describe(name, config) for name, _ in model.named_parameters()]
    names = {described[5].name} if frozen == "other" else frozen_by(described, frozen, 1, 1, config.num_hidden_layers)
    for name, parameter in model.named_parameters():
        parameter.requires_grad = name not in names
    assert freeze_of(model) == frozen


def test_rows_of_a_data_set_that_is_no_table_are_counted_and_not_asked_for():
    class Own(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return 7

        def __getitem__(self, row: int) -> Any:
            raise AssertionError("rows may be random")

    assert rows_of(Own()) == Rows(7, None, None)


def test_the_hash_of_rows_is_that_of_their_content():
    made = rows(20, 1)
    assert rows_of(made).fingerprint == rows_of(rows(20, 1)).fingerprint
    assert rows_of(made).fingerprint != rows_of(rows(20, 2)).fingerprint
    assert rows_of(made.select(range(10))).fingerprint == rows_of(made.select(list(range(10)))).fingerprint
    assert rows_of(made).longest == max(len(ids) for ids in made["input_ids"])


@pytest.mark.parametrize(
    ("name", "given", "stored"), [("f1", 88.5, 0.885), ("f1", 0.9, 0.9), ("loss", 1.5, 1.5), ("own", 7.0, 7.0)]
)
def test_shares_in_percent_become_fractions(name, given, stored):
    assert as_fraction(name, given) == stored


# --- ends and troubles ------------------------------------------------------------------------------------


def test_an_exception_leaves_a_failed_trial_that_names_it(tmp_path, monkeypatch):
    made = trainer(str(tmp_path), Recorder(tmp_path / "r.db", "my-script"))
    made.add_callback(Raises(8))
    with pytest.raises(ZeroDivisionError) as raised:
        made.train()
    monkeypatch.setattr(sys, "last_value", raised.value, raising=False)
    callback._end_all()  # as at the end of the process
    row = read(tmp_path / "r.db", "trial_details").iloc[0]
    assert (row["state"], row["reason"]) == ("failed", "crashed")
    assert row["message"] == "ZeroDivisionError: a mistake of the script"
    assert "on_step_end" in row["traceback"]
    assert list(read(tmp_path / "r.db", "epochs")["epoch"]) == [1]
    assert list(read(tmp_path / "r.db", "sessions")["exit_state"]) == ["error"]
    assert violations(open_engine(tmp_path / "r.db", read_only=True)) == []


def test_a_killed_script_leaves_its_epochs_and_the_next_run_says_that_it_died(tmp_path):
    db = tmp_path / "r.db"
    command = [sys.executable, str(SCRIPT), str(db), str(tmp_path / "out"), "1", "1000"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(SCRIPT.parent.parent)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as script:
        end = time.monotonic() + 300
        while _epochs_in(db) < 2:
            assert script.poll() is None and time.monotonic() < end
            time.sleep(0.2)
        assert "running" in harness("status", "my-script", "--db", db)[1]
        run(db, num_train_epochs=1)  # at the same time, so it has a study of its own
        script.send_signal(signal.SIGKILL)
    assert list(summary(db, "my-script-2")["state"]) == ["complete"]
    run(db, num_train_epochs=1)
    shown = summary(db)
    assert list(shown["state"]) == ["failed", "complete"]
    assert "ended without a word" in read(db, "trial_details")["message"].iloc[0]
    assert len(read(db, "epochs").query("trial == 0")) >= 2
    assert violations(open_engine(db, read_only=True)) == []


def _epochs_in(db: Path) -> int:
    if not db.exists():
        return 0
    with contextlib.closing(sqlite3.connect(f"file:{db}?mode=ro", uri=True, timeout=30)) as connection:
        return int(connection.execute("SELECT count(*) FROM harness_epoch_record").fetchone()[0])


def test_what_a_busy_database_refuses_is_written_with_the_next_record(tmp_path, monkeypatch, caplog):
    db = tmp_path / "r.db"
    monkeypatch.setattr("harness.results.targets.BUSY_SECONDS", 0.05)
    made = trainer(str(tmp_path), Recorder(db, "my-script"))
    made.add_callback(Locks(db, after=7, until=12))
    with caplog.at_level(logging.ERROR, "harness.callback"):
        made.train()
    assert "cannot record" in caplog.text and "tried again with the next record" in caplog.text
    assert list(read(db, "epochs")["epoch"]) == [1, 2]
    assert list(summary(db)["state"]) == ["complete"]
    assert violations(open_engine(db, read_only=True)) == []


class Locks(transformers.TrainerCallback):
    """Another program that holds the database while an epoch ends."""

    def __init__(self, db: Path, after: int, until: int) -> None:
        self.db, self.after, self.until = db, after, until

    def on_step_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        if state.global_step == 1:
            self.connection = sqlite3.connect(self.db, isolation_level=None)
            self.connection.execute("BEGIN IMMEDIATE")

    def on_step_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        if state.global_step == self.until:
            self.connection.execute("ROLLBACK")
            self.connection.close()


def test_a_record_that_is_impossible_is_told_and_the_training_goes_on(tmp_path, caplog):
    (tmp_path / "r.db").write_text("this is no database" * 100)
    with caplog.at_level(logging.ERROR, "harness.callback"):
        made = run(tmp_path / "r.db", num_train_epochs=1)
    assert made.state.global_step == 6
    assert "training goes on" in caplog.text
    assert "what could not be recorded of this run is lost: the beginning of the run" in caplog.text
    assert (tmp_path / "r.db").read_text() == "this is no database" * 100


def test_a_study_of_harness_run_is_not_written_into(tmp_path, caplog):
    from results_support import study_file

    with Store.open(tmp_path / "r.db") as store:
        store.create_study(study_file("my-script"))
    with caplog.at_level(logging.ERROR, "harness.callback"):
        run(tmp_path / "r.db", num_train_epochs=1)
    assert "give Recorder another name" in caplog.text
    assert len(summary(tmp_path / "r.db")) == 0


def test_only_the_main_process_writes(tmp_path, monkeypatch):
    monkeypatch.setattr(transformers.TrainerState, "is_world_process_zero", False, raising=False)
    recorder = Recorder(tmp_path / "r.db", "my-script")
    state = transformers.TrainerState()
    state.is_world_process_zero = False
    recorder.on_train_begin(None, state, transformers.TrainerControl())
    recorder.on_epoch_begin(None, state, transformers.TrainerControl())
    control = recorder.on_epoch_end(None, state, transformers.TrainerControl())
    recorder.on_train_end(None, state, control)
    assert control.should_log  # or the others would wait for this process for ever
    assert not (tmp_path / "r.db").exists()


def test_a_name_that_no_study_can_have_is_refused_before_the_training():
    with pytest.raises(UsageError, match="must be letters, digits"):
        Recorder(study="../elsewhere")

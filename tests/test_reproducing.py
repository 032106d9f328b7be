"""A trial run again from its record: the same bits, what changed when they are others, and a record left alone."""

from __future__ import annotations

import json
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import scripted
from click.testing import Result
from nights import Night
from results_support import facts
from typer.testing import CliRunner

from harness.board import Board
from harness.cli import app
from harness.deadline import Stop
from harness.drift import Drift
from harness.errors import DataError, HarnessError, HeldError, UsageError
from harness.executors.local import LocalExecutor
from harness.jobs import TrialJob
from harness.records import Message, TrialOutcome
from harness.reproducing import KIND, find, run_again
from harness.results.store import Store
from harness.spec import parse_study
from harness.study import run, sharing

Again = Callable[[int], Drift]

STUDY = """
study: night
task: sequence-classification
model: builtin:tiny
data: {path: rows.csv, text: text, label: label, validation: 24}
fixed: {max_length: 16, batch_size: 8, dtype: fp32, learning_rate: 1e-3}
configurations:
  - {epochs: 2}
  - {epochs: 2, freeze: top-1}
  - {epochs: 2, freeze: classifier}
  - {epochs: 2, freeze: classifier, learning_rate: 5e-3}
objective: accuracy
keep: 0
"""


def write_rows(path: Path) -> None:
    words = np.random.default_rng(5).choice(["good", "bad", "film", "plot", "dull", "fine", "the", "a"], (72, 8))
    lines = [f"{' '.join(row)},{'yes' if i % 2 else 'no'}" for i, row in enumerate(words)]
    path.write_text("\n".join(["text,label", *lines]) + "\n")


class Nobody:
    """An observer that looks away."""

    def note(self, text: str) -> None:
        """Nothing."""

    def tick(self, board: Board) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalExecutor]:
    """One worker for all tests, in a folder whose file of rows each of them may replace."""
    folder = tmp_path_factory.mktemp("rows")
    with pytest.MonkeyPatch.context() as patched, LocalExecutor(folder / "logs", 1, threads=1) as executor:
        patched.setenv("CUDA_VISIBLE_DEVICES", "")
        patched.setenv("HF_HUB_OFFLINE", "1")
        patched.chdir(folder)
        yield executor


@pytest.fixture(scope="module")
def recorded(worker: LocalExecutor, tmp_path_factory: pytest.TempPathFactory) -> Night:
    """A night whose trials went whole, from a frozen prefix, and two together."""
    night = Night(tmp_path_factory.mktemp("recorded"), STUDY)
    write_rows(Path("rows.csv"))
    with Store.open(night.db) as store:
        file = parse_study(STUDY)
        run(store, file, worker, Nobody(), Stop(), sharing(store.files, file.spec))
    return night


@pytest.fixture
def night(recorded: Night, worker: LocalExecutor, tmp_path: Path) -> Night:
    """A copy of the record that a test may spoil, and rows that it may change."""
    shutil.copytree(recorded.folder, tmp_path / "night")
    write_rows(Path("rows.csv"))
    return Night(tmp_path / "night", STUDY)


@pytest.fixture
def again(night: Night, worker: LocalExecutor, tmp_path: Path) -> Again:
    """A trial of the night run again."""

    def run_it(number: int) -> Drift:
        with Store.open(night.db, create=False) as store:
            subject = find(store, "night", number)
            assert subject.threads == worker.threads
            return run_again(store, subject, 1e-3, worker, tmp_path / "again", lambda line: None, Stop())

    return run_it


def change(night: Night, statement: str, *values: object) -> None:
    connection = sqlite3.connect(night.db)
    with connection:
        assert connection.execute(statement, values).rowcount > 0
    connection.close()


def everything(night: Night) -> dict[str, list[tuple[object, ...]]]:
    """Every row of every table but the incidents'."""
    names = [name for (name,) in night.rows("SELECT name FROM sqlite_master WHERE type = 'table'")]
    return {name: night.rows(f"SELECT * FROM {name}") for name in names if name != "harness_incident"}  # noqa: S608


def test_a_trial_runs_again_bit_for_bit_and_the_record_is_only_read(night: Night, again: Again) -> None:
    before, files = everything(night), sorted((night.folder / "results.files").rglob("*"))
    assert again(0).verdict == "bit-equal"
    assert everything(night) == before
    assert sorted((night.folder / "results.files").rglob("*")) == files
    ((trial, message, details),) = night.rows(
        "SELECT trial_id, message, details FROM harness_incident WHERE kind = ?", KIND
    )
    assert trial == 1
    assert message == "bit-equal: every metric, output and margin of 2 epochs; nothing changed"
    assert json.loads(details)["environment"]["packages"]["torch"]


def test_a_trial_that_took_a_frozen_prefix_from_the_cache_gets_the_same_bits_from_a_cache_of_its_own(
    night: Night, again: Again
) -> None:
    assert night.rows("SELECT shared_work FROM harness_trial WHERE number = 1")[0][0] is not None
    assert again(1).verdict == "bit-equal"


def test_one_that_trained_together_with_another_goes_alone_which_is_told(night: Night, again: Again) -> None:
    found = again(2)
    assert found.verdict in ("bit-equal", "within tolerance")
    assert "trained together with 1 other trial → none" in found.words()


@pytest.fixture
def command(night: Night, worker: LocalExecutor, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """`harness reproduce ... --db` with the worker that is there."""
    monkeypatch.setattr("harness.reproducing.LocalExecutor", lambda logs, workers, threads: nullcontext(worker))
    monkeypatch.setattr("harness.commands.reproduce.stop_on_signals", Stop)
    return lambda *given: CliRunner().invoke(app, ["reproduce", *given, "--db", str(night.db)])


def test_the_command_tells_drift_and_the_version_that_changed_and_ends_with_one(
    night: Night, command: Callable[..., Result]
) -> None:
    change(night, "UPDATE harness_metric SET value = value + 0.01 WHERE trial_id = 1 AND epoch = 2 AND name = 'loss'")
    change(night, "UPDATE harness_environment SET facts = json_set(facts, '$.packages.torch', '1.0.0')")
    done = command("night", "0")
    told = " ".join(done.output.split())
    assert done.exit_code == 1, done.output
    assert "drifted: at most 0.01" in told and "of epoch 2" in told
    assert "torch 1.0.0 → 2" in told


def test_the_command_ends_with_zero_and_prints_json_where_nothing_drifted(command: Callable[..., Result]) -> None:
    done = command("night", "0", "--json", "--tolerance", "0")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["verdict"] == "bit-equal"
    assert "epoch 2: validation loss" in done.stderr


def test_changed_data_are_refused_with_both_hashes_and_nothing_is_run(night: Night, again: Again) -> None:
    rows = Path("rows.csv")
    rows.write_text(rows.read_text().replace("good", "worse", 1))
    ((then,),) = night.rows("SELECT fingerprint FROM harness_data")
    with pytest.raises(DataError, match=rf"data: \w+, recorded {then}\n.*nothing was run") as told:
        again(0)
    assert told.value.exit_code == 65
    assert "weights" not in str(told.value)
    assert night.rows("SELECT count(*) FROM harness_incident WHERE kind = ?", KIND) == [(0,)]


def test_a_changed_model_is_refused_with_both_hashes(night: Night, again: Again) -> None:
    change(night, "UPDATE harness_model SET weights_hash = 'before'")
    with pytest.raises(DataError, match=r"weights of builtin:tiny: \w{16,}, recorded before"):
        again(0)


def test_what_has_no_end_is_nothing_to_compare_with(night: Night, again: Again) -> None:
    change(night, "UPDATE harness_trial SET state = 'failed', reason = 'oom' WHERE number = 1")
    with pytest.raises(UsageError, match=r"failed \(oom\)"):
        again(1)
    with pytest.raises(UsageError, match="no trial 9"):
        again(9)


def test_a_pruned_trial_ends_where_it_was_pruned(night: Night, again: Again) -> None:
    for table in ("metric", "prediction", "window", "epoch_record"):
        change(night, f"DELETE FROM harness_{table} WHERE trial_id = 1 AND epoch = 2")  # noqa: S608
    change(night, "UPDATE harness_trial SET state = 'pruned' WHERE number = 0")
    found = again(0)
    assert (found.verdict, len(found.epochs), found.ends) == ("bit-equal", 1, "")


def test_a_trial_that_goes_on_longer_than_its_record_has_drifted(night: Night, again: Again) -> None:
    for table in ("metric", "prediction", "window", "epoch_record"):
        change(night, f"DELETE FROM harness_{table} WHERE trial_id = 1 AND epoch = 2")  # noqa: S608
    found = again(0)
    assert found.verdict == "drifted"
    assert found.ends == "complete after epoch 1 as recorded, complete after epoch 2 now"


# --- with workers that say what the test writes down ---------------------------------------------------------


@pytest.mark.parametrize(
    ("outcome", "error", "words"),
    [
        (
            TrialOutcome("failed", "oom", "out of memory at batch size 1"),
            HarnessError,
            r"failed \(oom\): out of memory",
        ),
        (
            TrialOutcome("failed", "crashed", "KeyError", "Traceback"),
            HarnessError,
            "KeyError\nTraceback\nThe record is",
        ),
        (
            TrialOutcome("waiting", "disk", "writing a checkpoint"),
            HeldError,
            "no space is left for .*: writing a check",
        ),
        (TrialOutcome("waiting", None, "interrupted"), HeldError, "came to no end: interrupted"),
    ],
    ids=["memory", "crash", "disk", "interrupted"],
)
def test_a_second_run_that_could_not_end_is_no_drift(
    tmp_path: Path, outcome: TrialOutcome, error: type[HarnessError], words: str
) -> None:
    file = scripted.study("configurations: [{epochs: 1}]")

    def unfinished(job: TrialJob) -> scripted.Words:
        yield facts(job.config)
        yield outcome

    assert scripted.through(tmp_path / "results.db", file, scripted.Scripted(scripted.complete)) == [("complete", None)]
    with Store.open(tmp_path / "results.db") as store:
        subject = find(store, "s", 0)
        with pytest.raises(error, match=words):
            run_again(store, subject, 0.0, scripted.Scripted(unfinished), tmp_path, lambda line: None, Stop())
        with store.transaction() as connection:
            assert connection.exec_driver_sql("SELECT count(*) FROM harness_incident").scalar() == 0


class Suspended(scripted.Scripted):
    """Workers and we are stopped together, or the workers alone: for 2.5 s after their first word nothing is said."""

    def __init__(self, together: bool) -> None:
        super().__init__(scripted.complete)
        self.silent = [2.5] if together else [0.5] * 5

    def messages(self, timeout: float) -> list[tuple[int, Message]]:
        """Nothing while the time passes."""
        if self.jobs and self.silent:
            time.sleep(self.silent.pop())
            return []
        return super().messages(timeout)


@pytest.mark.parametrize("together", [True, False])
def test_a_second_run_that_was_suspended_with_its_worker_is_no_hung_one(tmp_path: Path, together: bool) -> None:
    file = scripted.study("configurations: [{epochs: 1}]\nwatchdog: 0.02\n")  # 1.2 s
    scripted.through(tmp_path / "results.db", file, scripted.Scripted(scripted.complete))
    with Store.open(tmp_path / "results.db") as store:
        expected = nullcontext() if together else pytest.raises(HarnessError, match=r"no step for 0\.02 minutes")
        with expected:
            found = run_again(store, find(store, "s", 0), 0.0, Suspended(together), tmp_path, lambda line: None, Stop())
            assert found.ends == ""


def test_a_second_run_that_diverges_is_drift(tmp_path: Path) -> None:
    file = scripted.study("configurations: [{epochs: 1}]")
    scripted.through(tmp_path / "results.db", file, scripted.Scripted(scripted.complete))
    with Store.open(tmp_path / "results.db") as store:
        subject = find(store, "s", 0)
        executor = scripted.Scripted(scripted.failing)
        found = run_again(store, subject, 0.0, executor, tmp_path, lambda line: None, Stop())
    assert found.verdict == "drifted"
    assert "failed (diverged) after epoch 0 now: loss became nan" in found.ends

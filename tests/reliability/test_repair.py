"""Repair: what a killed night left is mended once, after a backup, and no recorded row is lost."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from records import finished_study, violated
from results_support import pipe, process, running

from harness.configuration import TrialConfig
from harness.doctor import examine
from harness.errors import HeldError, UsageError
from harness.repair import repair
from harness.results import tables
from harness.results.ownership import Owner
from harness.results.store import Store


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sound")
    finished_study(folder / "results.db")
    return folder


@pytest.fixture
def path(sound: Path, tmp_path: Path) -> Path:
    """A copy of a finished study."""
    shutil.copytree(sound, tmp_path / "copy")
    return tmp_path / "copy" / "results.db"


def rows_of(path: Path) -> dict[str, list[Any]]:
    """Every row of our tables."""
    with sqlite3.connect(path) as connection:
        found = {
            name: connection.execute(f"SELECT * FROM {name}").fetchall()
            for name in tables.metadata.tables
            if name not in ("harness_summary", "harness_epoch")
        }
    connection.close()
    return found


def by_hand(path: Path, *statements: str) -> None:
    with sqlite3.connect(path) as connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


def mended(path: Path) -> list[str]:
    """What repair did; the second time it finds nothing."""
    before = rows_of(path)
    repaired = repair(path)
    after = rows_of(path)
    assert all(len(after[name]) >= len(rows) for name, rows in before.items()), "a row is gone"
    assert repair(path).done == ()
    assert violated(path) == []
    return list(repaired.done)


def test_nothing_to_mend_changes_nothing(path: Path) -> None:
    before = path.read_bytes()
    assert repair(path) == ((), None)
    assert path.read_bytes() == before
    assert list(path.parent.glob("*.backup-*")) == []


# --- the database ----------------------------------------------------------------------------------------


def start_a_trial_and_wait(path: Path, sender: Any) -> None:
    with Store.open(path) as store:
        row = store.study("probe")
        assert row is not None
        with store.hold(row.id):
            running(store, row.id, epochs=7)
            sender.send(os.getpid())
            signal.pause()


@pytest.fixture
def coordinator(path: Path) -> Any:
    """A process that holds the study and runs a trial."""
    receiver, sender = pipe()
    child = process(start_a_trial_and_wait, path, sender)
    child.start()
    receiver.recv()
    yield child
    child.kill()
    child.join()


def test_trials_of_a_killed_coordinator_wait_again_after_a_backup(path: Path, coordinator: Any) -> None:
    os.kill(coordinator.pid, signal.SIGKILL)
    coordinator.join()
    assert [violation.invariant for violation in violated(path)] == ["I6"]
    before = rows_of(path)
    (done,) = mended(path)
    assert f"process {coordinator.pid} on " in done
    assert done.endswith("left probe without a word, with running trials 2: they wait again")
    (backup,) = path.parent.glob("results.db.backup-*")
    assert rows_of(backup) == before
    assert backup.stat().st_mode & 0o777 == 0o600


def test_a_study_that_is_being_run_is_left_alone(path: Path, coordinator: Any) -> None:
    before = path.read_bytes()
    with pytest.raises(HeldError, match=f"'probe' is being run by process {coordinator.pid}") as caught:
        repair(path)
    assert caught.value.exit_code == 75
    assert path.read_bytes() == before


def test_finished_trials_that_optunas_tables_lack_are_added(path: Path) -> None:
    numbers = "SELECT trial_id FROM trials WHERE number = 1"
    kinds = ("trial_user_attributes", "trial_values", "trial_intermediate_values", "trial_params", "trials")
    by_hand(path, *(f"DELETE FROM {table} WHERE trial_id IN ({numbers})" for table in kinds))
    assert mended(path) == ["Optuna's tables lack 1 finished trials of probe: added"]


def test_an_index_that_lost_a_row_is_made_anew(path: Path) -> None:
    by_hand(
        path,
        "PRAGMA writable_schema = ON",
        "CREATE INDEX other ON harness_trial (number) WHERE number > 0",
        "UPDATE sqlite_master SET sql = replace(sql, 'number > 0', 'number >= 0') WHERE name = 'other'",
    )
    assert {(violation.invariant, "other" in violation.words) for violation in violated(path)} == {("I7", True)}
    (done,) = mended(path)
    assert done.startswith("indexes do not fit their tables") and done.endswith("made anew")


def leave_a_log(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("UPDATE harness_study SET created_at = 'later'")
    connection.commit()
    os.kill(os.getpid(), signal.SIGKILL)


def test_what_a_killed_writer_left_in_the_log_is_brought_into_the_file(path: Path) -> None:
    child = process(leave_a_log, path)
    child.start()
    child.join()
    log = path.with_name("results.db-wal")
    assert log.stat().st_size > 0
    repair(path)
    assert not log.exists() or log.stat().st_size == 0
    assert [row[-1] for row in rows_of(path)["harness_study"]] == ["later"]
    assert repair(path).done == ()


def test_a_file_that_others_could_read_is_its_owners_alone(path: Path) -> None:
    path.chmod(0o644)
    assert mended(path) == ["others may read results.db: for its owner alone now"]
    assert path.stat().st_mode & 0o777 == 0o600


# --- files -----------------------------------------------------------------------------------------------


def full_folder(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "file").write_text("something")
    return folder


def test_checkpoints_of_finished_trials_and_drafts_go_and_kept_models_stay(path: Path) -> None:
    trial = path.parent / "results.files" / "trials" / "t000001"
    full_folder(trial / "checkpoints" / "000001")
    full_folder(trial / ".draft-model")
    done = mended(path)
    assert len(done) == 2
    assert sorted(entry.name for entry in trial.iterdir()) == ["model"]
    assert not list(path.parent.glob("*.backup-*"))  # no row was touched


def test_only_the_unfinished_checkpoint_of_a_waiting_trial_goes(path: Path) -> None:
    with Store.open(path) as store:
        row = store.add_trial(1, TrialConfig(epochs=9), 9, 9, None, "explicit")
        checkpoints = store.trial_folder(row.id) / "checkpoints"
    for name in ("000001", ".draft-000002", ".old-000001"):
        full_folder(checkpoints / name)
    assert len(mended(path)) == 2
    assert [entry.name for entry in checkpoints.iterdir()] == ["000001"]


def test_files_that_no_row_speaks_of_are_set_aside_and_never_deleted(path: Path) -> None:
    files = path.parent / "results.files"
    for _ in range(2):
        full_folder(files / "trials" / "t000099")
        assert mended(path) == ["trials/t000099 belongs to no trial of the record: moved to results.files/unclaimed"]
    assert sorted(entry.name for entry in (files / "unclaimed").iterdir()) == ["t000099", "t000099-2"]
    assert (files / "unclaimed" / "t000099" / "file").read_text() == "something"


def test_weights_that_are_gone_are_forgotten(path: Path) -> None:
    shutil.rmtree(path.parent / "results.files" / "trials" / "t000002")
    assert mended(path) == ["the weights of trial 1 are gone from t000002: the record says so now"]
    with Store.open(path) as store:
        assert [trial.model_folder for trial in store.trials(1)] == ["model", None]


def test_weights_that_are_only_out_of_sight_are_not_forgotten(path: Path) -> None:
    files = path.parent / "results.files"
    files.rename(files.with_name("on-another-disk"))
    before = rows_of(path)
    assert mended(path) == []
    assert rows_of(path) == before
    (found,) = [finding for finding in examine(path) if finding.check == "weights"]
    assert (found.state, found.words) == ("note", f"2 of 2 kept models of probe are not in {files / 'trials'}")


def test_weights_behind_a_link_that_leads_nowhere_are_not_forgotten(path: Path) -> None:
    folder = path.parent / "results.files" / "trials" / "t000002"
    elsewhere = folder.rename(path.parent / "elsewhere")
    folder.symlink_to(elsewhere)
    elsewhere.rename(path.parent / "not-mounted")
    assert mended(path) == []


def test_the_last_weights_are_forgotten_when_their_folder_lies_without_them(path: Path) -> None:
    trials = path.parent / "results.files" / "trials"
    shutil.rmtree(trials / "t000001" / "model")
    shutil.rmtree(trials / "t000002" / "model")
    assert len(mended(path)) == 2


def test_files_of_workers_that_are_gone_leave_the_cache(path: Path) -> None:
    cache = path.parent / "results.files" / "cache"
    child = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    (cache / f".abc.safetensors.{child.stdout.strip()}").touch()
    (cache / f".abc.safetensors.{Owner.me().pid}").touch()
    (cache / "abc.safetensors").touch()
    assert len(mended(path)) == 1
    assert sorted(entry.name for entry in cache.iterdir()) == [f".abc.safetensors.{os.getpid()}", "abc.safetensors"]


def test_databases_that_were_never_finished_go(path: Path) -> None:
    ours, others = path.with_name(".new-results.db-x1.db"), path.with_name(".new-another.db-x1.db")
    ours.touch()
    others.touch()
    assert mended(path) == [".new-results.db-x1.db is a database that was never finished: removed"]
    assert others.exists()


def test_without_a_record_there_is_nothing_to_repair(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no database"):
        repair(tmp_path / "results.db")
    with pytest.raises(UsageError, match="holds no study of this harness yet"):
        optunas(tmp_path / "optuna.db")
        repair(tmp_path / "optuna.db")


def optunas(path: Path) -> None:
    import optuna

    optuna.create_study(storage=f"sqlite:///{path}")


def test_the_command_says_what_it_did(path: Path) -> None:
    path.chmod(0o644)

    def command() -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-m", "harness", "repair"], cwd=path.parent, capture_output=True, text=True, timeout=60
        )
        return done.returncode, done.stdout

    assert command() == (0, "others may read results.db: for its owner alone now\n")
    assert command() == (0, "nothing to mend\n")

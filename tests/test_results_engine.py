"""A database is opened so that commits stay; what is empty, foreign, newer or damaged is refused and kept as it is."""

from __future__ import annotations

import hashlib
import os
import random
import re
import shutil
import signal
import sqlite3
import tempfile
from pathlib import Path

import pytest
import sqlalchemy as sa
from results_support import barrier, epoch, pipe, process, running, study_file

from harness.errors import HarnessError, SpecError, StorageError, UsageError
from harness.results import frames, schema
from harness.results.engine import open_engine, wal_is_safe
from harness.results.filesystems import file_system, loses_locks
from harness.results.store import Store

STRANGE = "a b%20?c{d}#'é.db"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database with one study and one epoch."""
    with Store.open(tmp_path / "results.db") as store:
        row = running(store, store.create_study(study_file()))
        store.record_epoch(row.id, epoch(1))
    return tmp_path / "results.db"


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def refused(path: Path, error: type[HarnessError], match: str, exit_code: int) -> None:
    """Opening for writing and for reading both fail with a message, and the file stays as it was."""
    before = digest(path)
    for read_only in (False, True):
        with pytest.raises(error, match=match) as caught:
            open_engine(path, read_only=read_only)
        assert caught.value.exit_code == exit_code
    assert digest(path) == before


# --- settings ------------------------------------------------------------------------------------------


def test_every_connection_has_the_settings_that_keep_commits(path):
    engine = open_engine(path)
    wanted = {"synchronous": 2, "foreign_keys": 1, "busy_timeout": 60000, "mmap_size": 0, "trusted_schema": 0}
    with engine.connect() as connection:
        found = {name: connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in wanted}
        journal = connection.exec_driver_sql("PRAGMA journal_mode").scalar()
    engine.dispose()
    assert found == wanted
    assert journal == ("wal" if wal_is_safe() else "delete")


@pytest.mark.parametrize(
    ("version", "safe"),
    [
        ((3, 40, 1), False),
        ((3, 44, 5), False),
        ((3, 44, 6), True),
        ((3, 45, 0), False),
        ((3, 50, 6), False),
        ((3, 50, 7), True),
        ((3, 51, 2), False),
        ((3, 51, 3), True),
        ((3, 52, 0), False),
        ((3, 53, 0), True),
    ],
)
def test_wal_only_where_its_reset_bug_is_fixed(version, safe):
    assert wal_is_safe(version) is safe


def test_a_transaction_that_may_write_begins_at_once(path):
    engine = open_engine(path)
    with engine.connect() as connection:
        connection.execute(sa.select(1))
        with sqlite3.connect(path, timeout=0) as other, pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")
        other.close()
    engine.dispose()


def test_a_read_only_engine_cannot_write(path):
    engine = open_engine(path, read_only=True)
    with pytest.raises(sa.exc.OperationalError, match="readonly"), engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM harness_metric")
    engine.dispose()


def test_our_tables_are_strict_and_check_their_words(path):
    engine = open_engine(path)
    for statement in (
        "UPDATE harness_metric SET value = 'much'",
        "UPDATE harness_metric SET kind = 'nan'",
        "UPDATE harness_trial SET state = 'asleep'",
        "UPDATE harness_trial SET state = 'failed'",
        "UPDATE harness_trial SET reason = 'oom'",
        "UPDATE harness_trial SET study_id = 99",
    ):
        with pytest.raises(sa.exc.IntegrityError), engine.begin() as connection:
            connection.exec_driver_sql(statement)
    engine.dispose()


def test_any_file_name_works(tmp_path):
    with Store.open(tmp_path / STRANGE) as store:
        store.create_study(study_file())
    assert (tmp_path / STRANGE).is_file()
    engine = open_engine(tmp_path / STRANGE, read_only=True)
    assert list(frames.studies(engine)["name"]) == ["probe"]
    engine.dispose()
    assert [entry.name for entry in tmp_path.iterdir() if entry.suffix == ".db"] == [STRANGE]


def test_an_sqlite_url_is_the_file_that_it_names(path):
    engine = open_engine(f"sqlite:///{path}", read_only=True)
    assert len(frames.studies(engine)) == 1
    engine.dispose()


# --- what is refused --------------------------------------------------------------------------------------


def test_an_empty_file_is_refused_and_stays(tmp_path):
    (tmp_path / "results.db").touch()
    refused(tmp_path / "results.db", StorageError, "is empty", 73)


def test_a_text_file_is_refused_and_stays(tmp_path):
    (tmp_path / "results.db").write_text("my diary\n" * 500)
    refused(tmp_path / "results.db", SpecError, "is no database file", 78)


def test_a_database_of_another_program_is_refused_and_stays(tmp_path):
    with sqlite3.connect(tmp_path / "results.db") as other:
        other.execute("CREATE TABLE recipes (name TEXT)")
    other.close()
    refused(tmp_path / "results.db", SpecError, r"another program \(tables: recipes\)", 78)


def test_a_database_of_a_newer_harness_is_refused_and_stays(path):
    with sqlite3.connect(path) as other:
        other.execute("UPDATE harness_alembic_version SET version_num = '9999'")
    other.close()
    words = (
        f"{path} was made by a newer harness: it has schema '9999' and this harness knows up to '{schema.HEAD}'; use "
    )
    refused(path, SpecError, re.escape(words), 78)


def test_a_trigger_of_a_stranger_is_refused(path):
    with sqlite3.connect(path) as other:
        other.execute("CREATE TRIGGER spy AFTER INSERT ON harness_trial BEGIN DELETE FROM harness_metric; END")
    other.close()
    refused(path, SpecError, "triggers or views that are not harness's: spy", 78)


def test_a_missing_database_is_made_only_by_who_may_write(tmp_path):
    for options in ({"read_only": True}, {"create": False}):
        with pytest.raises(UsageError, match="there is no database"):
            open_engine(tmp_path / "results.db", **options)
    assert list(tmp_path.iterdir()) == []


def test_damage_is_a_message_and_never_an_overwritten_file(path, tmp_path):
    dice, whole, messages = random.Random(3), path.read_bytes(), 0
    for number in range(60):
        damaged = bytearray(whole)
        if number % 3:
            for _ in range(20):
                damaged[dice.randrange(len(damaged))] ^= 1 << dice.randrange(8)
        else:
            del damaged[dice.randrange(1, len(damaged)) :]
        copy = tmp_path / f"damaged{number}.db"
        copy.write_bytes(damaged)
        try:
            with Store.open(copy) as store:
                frames.summary(store.engine)
                frames.metrics(store.engine, "probe")
        except HarnessError as error:
            assert str(error)
            messages += 1
        assert copy.stat().st_size >= min(len(damaged), 1)
    assert messages > 20


def as_nobody(folder: Path, sender) -> None:
    """What a user sees who may read the folder and not write it."""
    if os.geteuid() == 0:
        os.seteuid(65534)
    said = []
    for act in (lambda: Store.open(folder / "results.db"), lambda: Store.open(folder / "new.db")):
        try:
            act()
        except HarnessError as error:
            said.append((type(error).__name__, error.exit_code))
    engine = open_engine(folder / "results.db", read_only=True)
    said.append(len(frames.epochs(engine)))
    sender.send(said)


def test_a_read_only_place_cannot_be_written_and_can_be_read(path):
    folder = Path(tempfile.mkdtemp())  # pytest's own folders are closed to other users
    try:
        shutil.copy(path, folder / "results.db")
        (folder / "results.db").chmod(0o444)
        folder.chmod(0o555)
        receiver, sender = pipe()
        child = process(as_nobody, folder, sender)
        child.start()
        assert receiver.recv() == [("StorageError", 73), ("StorageError", 73), 1]
        child.join()
    finally:
        folder.chmod(0o755)
        shutil.rmtree(folder)


def killed_in_a_commit(path: Path) -> None:
    """Change more pages than the cache holds, so that some are in the file before the commit."""
    engine = open_engine(path)
    with engine.begin() as connection:
        connection.exec_driver_sql("PRAGMA cache_size = 1")
        connection.exec_driver_sql("UPDATE harness_metric SET value = 99 WHERE value IS NOT NULL")
        values = "SELECT 1, 'noise', hex(zeroblob(1000)), '{}', 'then' FROM a"
        numbers = "WITH RECURSIVE a(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM a WHERE n < 400)"
        connection.exec_driver_sql(
            f"{numbers} INSERT INTO harness_incident (study_id, kind, message, details, at) {values}"
        )
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_reader_undoes_the_half_commit_of_a_killed_writer(path):
    before = digest(path)
    child = process(killed_in_a_commit, path)
    child.start()
    child.join()
    assert path.with_name("results.db-journal").stat().st_size > 0
    assert digest(path) != before
    engine = open_engine(path, read_only=True)
    assert list(frames.epochs(engine)["validation_loss"]) == [0.6]
    engine.dispose()
    assert digest(path) == before


def test_a_reader_who_may_not_undo_a_half_commit_is_told_what_to_do(path):
    child = process(killed_in_a_commit, path)
    child.start()
    child.join()
    receiver, sender = pipe()
    folder = Path(tempfile.mkdtemp())  # pytest's own folders are closed to other users
    for name in ("results.db", "results.db-journal"):
        shutil.copy(path.with_name(name), folder / name)
        (folder / name).chmod(0o444)
    folder.chmod(0o555)
    child = process(refused_reader, folder / "results.db", sender)
    child.start()
    try:
        assert receiver.recv() == (73, True)
    finally:
        child.join()
        folder.chmod(0o755)
        shutil.rmtree(folder)


def refused_reader(path: Path, sender) -> None:
    if os.geteuid() == 0:
        os.seteuid(65534)
    try:
        open_engine(path, read_only=True)
    except HarnessError as error:
        sender.send((error.exit_code, "copy the file together with those beside it" in str(error)))


# --- creation ---------------------------------------------------------------------------------------------


def open_together(path: Path, gate, sender) -> None:
    gate.wait()
    try:
        Store.open(path).create_study(study_file(f"study-{os.getpid()}"))
        sender.send("made")
    except HarnessError as error:
        sender.send(str(error))


def test_eight_processes_make_one_database_at_once(tmp_path):
    for attempt in range(2):
        path, gate, (receiver, sender) = tmp_path / f"{attempt}.db", barrier(8), pipe()
        children = [process(open_together, path, gate, sender) for _ in range(8)]
        for child in children:
            child.start()
        assert [receiver.recv() for _ in children] == ["made"] * 8
        for child in children:
            child.join()
        engine = open_engine(path, read_only=True)
        assert len(frames.studies(engine)) == 8
        engine.dispose()
        assert list(tmp_path.glob(".new-*")) == []


def test_a_file_of_optuna_gets_our_tables_beside_and_a_copy_before(tmp_path):
    import optuna

    url = f"sqlite:///{tmp_path / 'results.db'}"
    optuna.create_study(storage=url, study_name="theirs").add_trial(optuna.create_trial(value=1.0))
    with Store.open(tmp_path / "results.db") as store:
        store.create_study(study_file())
    assert len(optuna.load_study(study_name="theirs", storage=url).trials) == 1
    assert (tmp_path / f"results.db.before-{schema.HEAD}").stat().st_size > 0


def older(path: Path) -> Path:
    """A database as the first release made it, with a study in it."""
    engine = sa.create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        schema.upgrade(connection, "0001")
        values = "1, 'old', 'own', 'sequence-classification', 'text', '{}', 'f', '[]', 'then'"
        connection.exec_driver_sql(f"INSERT INTO harness_study VALUES ({values})")
        connection.exec_driver_sql("INSERT INTO harness_data VALUES (1, 'f00d', '[]', NULL, '{}', '[]')")
    engine.dispose()
    return path


def test_a_database_of_an_older_harness_is_brought_forward_with_its_rows_and_a_copy(tmp_path):
    path = older(tmp_path / "results.db")
    before = path.read_bytes()
    with Store.open(path) as store:
        assert store.data_fingerprint(1) == "f00d"
        assert frames.data(store.engine, "old").iloc[0]["fingerprint"] == "f00d"
        store.create_study(study_file())
    assert (tmp_path / f"results.db.before-{schema.HEAD}").stat().st_size == len(before)
    open_engine(path, read_only=True).dispose()


def test_a_reader_of_an_older_database_is_told_what_brings_it_forward(tmp_path):
    path = older(tmp_path / "results.db")
    with pytest.raises(SpecError, match="has schema 0001 of an older harness; `harness run` brings it to"):
        open_engine(path, read_only=True)


def test_the_head_is_the_newest_revision():
    assert max(schema.revisions()) == schema.HEAD


# --- file systems ---------------------------------------------------------------------------------------------

MOUNTS = r"""
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:26 / /home rw shared:2 - nfs4 server:/home rw,vers=4.2
31 30 0:27 / /home/me/local rw - ext4 /dev/sdb1 rw
32 22 0:28 / /mnt/a\040b rw master:3 - cifs //server/share rw
33 22 0:29 / /mnt/gdrive rw - fuse.rclone remote: rw
34 22 0:30 / /mnt/disk rw - fuseblk /dev/sdc1 rw
35 22 0:31 / /scratch rw - lustre 10.0.0.1@tcp:/fs rw
36 22 0:32 / /host rw - 9p host rw
37 22 0:33 / /over rw - nfs old:/ rw
38 22 0:34 / /over rw - tmpfs tmpfs rw
39 22 0:35 / /dev/shm rw - tmpfs tmpfs rw
no such line
40 22
""".splitlines()


@pytest.mark.parametrize(
    ("path", "kind", "refused"),
    [
        ("/var/results.db", "ext4", False),
        ("/home/me/results.db", "nfs4", True),
        ("/homely/results.db", "ext4", False),
        ("/home/me/local/results.db", "ext4", False),
        ("/mnt/a b/results.db", "cifs", True),
        ("/mnt/gdrive/results.db", "fuse.rclone", True),
        ("/mnt/disk/results.db", "fuseblk", False),
        ("/scratch/results.db", "lustre", True),
        ("/host/results.db", "9p", True),
        ("/over/results.db", "tmpfs", False),
        ("/dev/shm/results.db", "tmpfs", False),
    ],
)
def test_the_deepest_mount_says_whether_locks_hold(path, kind, refused):
    assert file_system(Path(path), MOUNTS) == kind
    assert loses_locks(kind) is refused


def test_a_database_on_a_network_file_system_is_refused(tmp_path, monkeypatch):
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"22 1 0:26 / {tmp_path} rw - nfs4 server:/x rw\n")
    monkeypatch.setattr("harness.results.filesystems.MOUNTINFO", mounts)
    with pytest.raises(StorageError, match=r"network file system \(nfs4\)") as caught:
        Store.open(tmp_path / "results.db")
    assert caught.value.exit_code == 73
    assert not (tmp_path / "results.db").exists()

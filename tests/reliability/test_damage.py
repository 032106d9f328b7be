"""Files that a power cut or a bad disk left otherwise than they were written: refused, or undone, never believed."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from forked_nights import ForkedNight, Outcome
from forking import Zygote
from records import violated
from results_support import epoch, process, running, study_file
from writers import train_loss

import harness.checkpoints as checkpoints
import harness.results.engine as engines
from harness.results.engine import open_engine
from harness.results.store import Store

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
Times = Callable[[int, int], int]

# --- a power cut: what had not been synced is torn ----------------------------------------------------------

TRIALS, EPOCHS = 3, 5


def cut_or_flipped(content: bytes, dice: random.Random) -> bytes:
    """A file of which the end is missing, or in which some bits are others."""
    damaged = bytearray(content)
    if dice.random() < 0.5:
        del damaged[dice.randrange(len(damaged)) :]
    else:
        for _ in range(dice.choice([1, 20])):
            damaged[dice.randrange(len(damaged))] ^= 1 << dice.randrange(8)
    return bytes(damaged)


class WrittenAhead(NamedTuple):
    """A database whose epochs lie in its write-ahead log alone.

    Attributes:
        database, log: the two files.
        ends: (trial, epoch) -> how long the log was when its commit had returned, in order.
    """

    database: bytes
    log: bytes
    ends: dict[tuple[int, int], int]


@pytest.fixture
def written_ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WrittenAhead:
    """Made by the product, on a disk on which write-ahead logs are safe."""
    monkeypatch.setattr(engines, "wal_is_safe", lambda: True)
    path, ends = tmp_path / "whole.db", {}
    log = path.with_name("whole.db-wal")
    with Store.open(path) as store:
        store.create_study(study_file())
    with Store.open(path) as store:
        for _ in range(TRIALS):
            trial = running_trial(store)
            for number in range(1, EPOCHS + 1):
                store.record_epoch(trial, epoch(number, train=train_loss(trial, number)))
                ends[trial, number] = log.stat().st_size
        assert len(set(ends.values())) == TRIALS * EPOCHS and log.stat().st_size > 100_000
        return WrittenAhead(path.read_bytes(), log.read_bytes(), ends)


def running_trial(store: Store) -> int:
    return running(store, 1, epochs=EPOCHS + len(store.trials(1))).id


def test_of_a_torn_write_ahead_log_exactly_the_commits_before_the_damage_are_there(
    written_ahead: WrittenAhead, tmp_path: Path, times: Times
) -> None:
    database, log, ends = written_ahead
    dice, lengths = random.Random(3), set()
    for number in range(times(200, 2_500)):
        path = tmp_path / str(number) / "results.db"
        path.parent.mkdir()
        path.write_bytes(database)
        damaged = cut_or_flipped(log, dice)
        path.with_name("results.db-wal").write_bytes(damaged)
        whole = first_difference(log, damaged)
        found = losses(path)
        assert found == {key: train_loss(*key) for key, end in ends.items() if end <= whole}
        with Store.open(path) as store:  # the next coordinator writes on
            store.record_environment({"after": "the cut"})
        assert losses(path) == found
        assert [str(violation) for violation in violated(path) if not violation.mend] == []
        lengths.add(len(found))
        shutil.rmtree(path.parent)
    assert len(lengths) > 3  # damage lay early and late


def first_difference(content: bytes, damaged: bytes) -> int:
    """The place of the first byte that is another or no longer there."""
    left = np.frombuffer(content, dtype=np.uint8, count=len(damaged))
    differing = np.flatnonzero(left != np.frombuffer(damaged, dtype=np.uint8))
    return int(differing[0]) if len(differing) else len(damaged)


def losses(path: Path) -> dict[tuple[int, int], float]:
    """(trial, epoch) -> training loss, as a reader finds them, in order."""
    engine = open_engine(path, read_only=True)
    query = (
        "SELECT e.trial_id, e.epoch, m.value FROM harness_epoch_record e JOIN harness_metric m "
        "ON (m.trial_id, m.epoch, m.split, m.name) = (e.trial_id, e.epoch, 'train', 'loss') ORDER BY 1, 2"
    )
    with engine.connect() as connection:
        found = {(trial, number): loss for trial, number, loss in connection.exec_driver_sql(query)}
    engine.dispose()
    return found


def die_in_a_commit(path: Path) -> None:
    """Change more pages than the cache holds, so that many are in the file when the process dies."""
    engine = open_engine(path)
    with engine.begin() as connection:
        connection.exec_driver_sql("PRAGMA cache_size = 1")
        for change in (
            "harness_study SET created_at = 'never'",
            "harness_session SET host = 'nowhere'",
            "harness_epoch_record SET load = 99",
            "harness_metric SET value = 99",
            "harness_window SET seconds = 99",
            "harness_prediction SET data = zeroblob(20000)",
        ):
            connection.exec_driver_sql(f"UPDATE {change}")
        os.kill(os.getpid(), signal.SIGKILL)


PAGE = 4096
SECTOR = 512  # what a disk writes whole or not at all; the header of a journal is one
RECORDS = slice(8, 12)  # of the header of a rollback journal: how many pages it holds, written when they are synced


def test_a_commit_that_a_power_cut_tore_is_undone_to_the_last_byte(tmp_path: Path, times: Times) -> None:
    path = tmp_path / "whole.db"
    with Store.open(path) as store:
        store.create_study(study_file())
        trial = running(store, 1, epochs=60).id
        for number in range(1, 61):
            store.record_epoch(trial, epoch(number))
    before = path.read_bytes()
    child = process(die_in_a_commit, path)
    child.start()
    child.join()
    half, journal = path.read_bytes(), path.with_name("whole.db-journal").read_bytes()
    changed = [at for at in range(0, len(before), PAGE) if half[at : at + PAGE] != before[at : at + PAGE]]
    assert len(changed) > 3
    dice = random.Random(4)
    for number in range(times(200, 2_500)):
        copy = tmp_path / str(number) / "results.db"
        copy.parent.mkdir()
        if number % 4:  # after the journal was synced: any of the pages may have been written, or half of it
            torn = bytearray(half)
            for at in changed:
                torn[at : at + PAGE] = dice.choice([half, before, dice.randbytes(at + PAGE)])[at : at + PAGE]
            copy.write_bytes(torn)
            copy.with_name("results.db-journal").write_bytes(journal)
        else:  # before it was synced: the file is untouched, and the journal may be anything
            header = bytearray(journal[:SECTOR])
            header[RECORDS] = bytes(4)
            copy.write_bytes(before)
            copy.with_name("results.db-journal").write_bytes(header + cut_or_flipped(journal[SECTOR:], dice))
        open_engine(copy, read_only=True).dispose()
        assert hashlib.sha256(copy.read_bytes()[: len(before)]).digest() == hashlib.sha256(before).digest()
        assert [str(violation) for violation in violated(copy) if not violation.mend] == []
        shutil.rmtree(copy.parent)


# --- what the command makes of a database that cannot be used -----------------------------------------------


def empty(path: Path) -> None:
    path.write_bytes(b"")


def diary(path: Path) -> None:
    path.write_text("my diary\n" * 500)


def torn(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def foreign(path: Path) -> None:
    path.unlink()
    by_hand(path, "CREATE TABLE recipes (name TEXT)")


def newer(path: Path) -> None:
    by_hand(path, "UPDATE harness_alembic_version SET version_num = '9999'")


def by_hand(path: Path, statement: str) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute(statement)
    connection.close()


@pytest.fixture(scope="module")
def finished(parent: Zygote, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    """The folder of an undisturbed night, and what it gave."""
    night = ForkedNight(tmp_path_factory.mktemp("finished"), parent)
    assert night.through() == 0, night.output
    return night.folder, night.outcome()


def copied(finished: tuple[Path, Outcome], folder: Path, parent: Zygote) -> ForkedNight:
    shutil.copytree(finished[0], folder, dirs_exist_ok=True)
    return ForkedNight(folder, parent)


@pytest.mark.parametrize(("damage", "code"), [(empty, 73), (torn, 73), (diary, 78), (foreign, 78), (newer, 78)])
def test_a_night_on_a_database_that_cannot_be_used_ends_before_it_begins_and_changes_nothing(
    parent: Zygote,
    finished: tuple[Path, Outcome],
    tmp_path: Path,
    damage: Callable[[Path], None],
    code: int,
) -> None:
    night = copied(finished, tmp_path, parent)
    damage(night.db)
    before = night.db.read_bytes()
    assert night.through() == code, night.output
    assert night.output.startswith("harness: ") and "Traceback" not in night.output
    assert night.db.read_bytes() == before


# --- checkpoints --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def killed(parent: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a night that was killed in its first trial, with two checkpoints."""
    night = ForkedNight(tmp_path_factory.mktemp("killed"), parent, checkpoint_seconds=0.0)
    assert night.through("harness.results.store:Store.record_epoch after 2") == -signal.SIGKILL, night.output
    assert len(generations(night.folder)) == 2
    return night.folder


def generations(folder: Path) -> list[Path]:
    """Checkpoints of the first trial, the newest last."""
    found = (folder / "results.files" / "trials" / "t000001" / "checkpoints").iterdir()
    return sorted(path for path in found if path.name.isdigit())


def halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def nothing_in_a_newer_one(newest: Path) -> None:
    (newest.parent / "000999").mkdir()


def of_a_newer_format(newest: Path) -> None:
    manifest = newest / "manifest.json"
    manifest.write_text(manifest.read_text().replace(f'"format":{checkpoints.FORMAT}', '"format":99'))


def of_one_file(name: str, damage: Callable[[Path], None]) -> Callable[[Path], None]:
    return lambda newest: damage(newest / name)


DAMAGES = {
    f"{name} {word}": of_one_file(name, damage)
    for name, word, damage in [
        ("model.safetensors", "truncated", halve),
        ("model.safetensors", "empty", empty),
        ("model.safetensors", "missing", Path.unlink),
        ("model.safetensors", "with one bit flipped", flip),
        ("optimizer.safetensors", "truncated", halve),
        ("optimizer.safetensors", "missing", Path.unlink),
        ("records.safetensors", "missing", Path.unlink),
        ("best.safetensors", "truncated", halve),
        ("state.json", "missing", Path.unlink),
        ("state.json", "truncated", halve),
        ("manifest.json", "missing", Path.unlink),
        ("manifest.json", "truncated", halve),
    ]
} | {"an empty newer folder": nothing_in_a_newer_one, "a newer format": of_a_newer_format}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_refused_by_name_and_the_one_before_gives_the_same_study(
    parent: Zygote, finished: tuple[Path, Outcome], killed: Path, tmp_path: Path, damage: str
) -> None:
    night = copied((killed, finished[1]), tmp_path, parent)
    DAMAGES[damage](generations(tmp_path)[-1])
    assert night.through() == 0, night.output
    refused = night.rows("SELECT message FROM harness_incident WHERE kind = 'checkpoint_refused'")
    assert len(refused) == 1, refused
    assert night.went_on() == 1
    night.ends_as(finished[1])


def test_when_every_checkpoint_is_damaged_the_trial_begins_anew_and_ends_the_same(
    parent: Zygote, finished: tuple[Path, Outcome], killed: Path, tmp_path: Path
) -> None:
    night = copied((killed, finished[1]), tmp_path, parent)
    for generation in generations(tmp_path):
        flip(generation / "optimizer.safetensors")
    assert night.through() == 0, night.output
    assert night.steps()[night.taken_before][1:] == (1, 1)
    kinds = night.rows("SELECT kind FROM harness_incident WHERE kind = 'checkpoint_refused'")
    assert len(kinds) == 2
    night.ends_as(finished[1])


# --- caches -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", [flip, halve, empty])
def test_a_study_that_finds_its_cache_damaged_works_it_out_again(
    parent: Zygote, finished: tuple[Path, Outcome], tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    night = copied(finished, tmp_path, parent)
    night.db.unlink()
    shutil.rmtree(tmp_path / "results.files" / "trials")
    entries = list((tmp_path / "results.files" / "cache").glob("*.safetensors"))
    assert entries
    for entry in entries:
        damage(entry)
    damaged = {entry.name: entry.read_bytes() for entry in entries}
    night.ends_as(finished[1])
    assert all((tmp_path / "results.files" / "cache" / name).read_bytes() != old for name, old in damaged.items())
    assert night.rows("SELECT count(*) FROM harness_incident WHERE kind = 'cache_damaged'")[0][0] >= 1

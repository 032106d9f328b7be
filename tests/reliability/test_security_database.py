"""Names and texts of others in the record: stored as they are, in no path, in no statement; hostile files refused."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import stat
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import report_study
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from payloads import PATHS, SQL
from records import finished_study
from results_support import study_file

from harness.commands import exchange, morning
from harness.configuration import TrialConfig
from harness.errors import HarnessError, SpecError, StorageError, UsageError
from harness.jobs import ModelSummary, Prepared, SplitSummary
from harness.records import EpochRecord, Incident, MetricValue, TrialOutcome
from harness.results import frames, mirror
from harness.results.engine import back_up, open_engine
from harness.results.store import Store
from harness.results.text import normalise
from harness.roster import Roster
from harness.shelf import tidy_all
from harness.spec import parse_study

STUDY = "study: {name}\nmodel: builtin:tiny\ndata: {{path: builtin:reviews}}\nbudget: {{trials: 1}}\n"


NAMES = list(dict.fromkeys(map(normalise, PATHS)))


def tree(folder: Path) -> str:
    """A hash of every name and content below a folder."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        content = os.readlink(path).encode() if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        digest.update(os.fsencode(path.relative_to(folder)) + b"\0" + hashlib.sha256(content).digest())
    return digest.hexdigest()


# --- names that would be paths (S5) --------------------------------------------------------------------------


def test_there_are_sixty_paths_and_fifty_statements() -> None:
    assert len(set(PATHS)) >= 60 and len(set(SQL)) >= 50


@pytest.mark.parametrize("name", PATHS)
def test_a_study_file_cannot_name_its_study_like_a_path(name: str) -> None:
    with pytest.raises(SpecError, match=r"study must be letters, digits|invalid Unicode"):
        parse_study(STUDY.format(name=json.dumps(name)))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of others: studies, labels, models, groups, messages and kept models are called like paths."""
    root = tmp_path_factory.mktemp("paths") / "a" / "b" / "c"
    root.mkdir(parents=True)
    with Store.open(root / "results.db") as store:
        for name in NAMES:
            recorded(store, name)
    with sqlite3.connect(root / "results.db") as connection:
        for trial, name in enumerate(NAMES, start=1):
            connection.execute("UPDATE harness_trial SET model_folder = ? WHERE id = ?", (name, trial))
    connection.close()
    return root


@pytest.mark.parametrize("act", ["report", "export", "compare", "model", "tensorboard"])
def test_a_hostile_name_writes_nothing_outside_of_the_folder_that_was_asked_for(
    act: str, hostile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    below = tmp_path / "x" / "y" / "z"
    below.mkdir(parents=True)
    (tmp_path / "other").write_text("of someone")
    monkeypatch.chdir(below)
    # Where they write is asked here; what they write there has names of their own, see the tests of each.
    monkeypatch.setattr("harness.report.build.build", lambda db, name, folder, texts: folder.mkdir(parents=True))
    monkeypatch.setattr("harness.report.comparison.compare", lambda db, chosen, folder: folder.mkdir(parents=True))
    monkeypatch.setattr(
        "harness.results.exports.export", lambda engine, name, kind, folder: [folder.mkdir(parents=True)]
    )
    before = tree(hostile), tree_without(tmp_path, below / "out")
    db, out, done = str(hostile / "results.db"), below / "out", 0
    for name in NAMES:
        try:
            if act == "report":
                morning.report(name, db, out)
            elif act == "export":
                exchange.export(name, "csv", None, db, out)
            elif act == "tensorboard":
                exchange.export(name, "tensorboard", None, db, out)
            elif act == "compare":
                morning.compare([f"{name}:0", f"{name}:0"], db, out)
            else:
                exchange.export(name, "csv", out / str(done), db, out)
            done += 1
        except HarnessError:
            continue
        except AttributeError:
            assert act in ("report", "compare")  # which ask what was written
            done += 1
    assert done >= 30 or act == "model"  # names that are none of a path are written; no model lies where they point
    assert (tree(hostile), tree_without(tmp_path, below / "out")) == before


def tree_without(root: Path, left_out: Path) -> str:
    names = [str(path) for path in sorted(root.rglob("*")) if not path.is_relative_to(left_out)]
    return hashlib.sha256("\0".join(names).encode()).hexdigest()


@pytest.mark.parametrize("name", PATHS)
def test_a_name_like_a_path_is_no_folder_of_a_report(name: str, tmp_path: Path) -> None:
    try:
        folder = morning.folder_in(tmp_path, name)
    except UsageError:
        return
    assert folder.parent == tmp_path and folder.resolve().parent == tmp_path.resolve() and folder.name == name


def test_a_folder_of_a_trial_that_points_elsewhere_is_not_emptied(tmp_path: Path) -> None:
    finished_study(tmp_path / "results.db")
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "checkpoints").mkdir(parents=True)
    (elsewhere / "thesis").mkdir()
    before = tree(elsewhere)
    with Store.open(tmp_path / "results.db") as store:
        row = store.study("probe")
        assert row is not None
        trial = store.trials(row.id)[0]
        folder = store.trial_folder(trial.id)
        folder.rename(tmp_path / "moved")
        folder.symlink_to(elsewhere)
        with store.hold(row.id):
            tidy_all(store, Roster(row, parse_study(row.text).spec, store.trials(row.id)), keep=0)
    assert tree(elsewhere) == before


# --- paths of databases (S6) ---------------------------------------------------------------------------------

FILES = [
    "a b.db",
    "a?b.db",
    "a#b.db",
    "a%b.db",
    "a%20b.db",
    "{b}.db",
    "{0}.db",
    "{}.db",
    "it's.db",
    'say "x".db',
    "a;b.db",
    "a&mode=memory.db",
    "ünï-日本.db",
    "😀.db",
    ":memory:",
    "file:x.db",
    "sqlite.db",
    "no-ending",
    "a=b.db",
    "-x.db",
    "a\nb.db",
    "back\\slash.db",
    "~x.db",
    "$HOME.db",
    "*.db",
    "[a].db",
    "a:b@c.db",
]


@pytest.mark.parametrize("name", FILES, ids=ascii)
def test_a_database_of_any_name_is_that_file_and_no_other(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    with Store.open(path) as store:
        key = store.create_study(study_file())
        with store.hold(key):
            row = store.add_trial(key, TrialConfig(), 1, 0, None, "explicit")
            store.start_trial(row.id, "w0", None)
            store.finish_trial(row.id, TrialOutcome("failed", reason="data"))
        mirror.sync(store, key)
    engine = open_engine(path, read_only=True)
    assert list(frames.studies(engine)["name"]) == ["probe"]
    with pytest.raises(sa.exc.DBAPIError), engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM harness_study")
    engine.dispose()
    back_up(path, path.with_name("copy"))
    assert path.with_name("copy").stat().st_size == path.stat().st_size
    there = {entry.name for entry in tmp_path.iterdir()} - {"copy"}
    assert there == {name, path.with_suffix(".files").name}


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "x.files",
        "a/../..",
        "sqlite://",
        "sqlite:",
        "weird://x.db",
        "postgresql://",
        "x" * 300,
        "mysql://a:b@c/d",
        "postgresql+psycopg://u:p@127.0.0.1:1/d",
        "://",
        "sqlite+pysqlite:///x.db",
        os.fsdecode(b"\xe9.db"),
        "/dev/null",
        "/proc/x.db",
    ],
)
def test_what_can_be_no_database_is_refused_in_words(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("harness.results.connecting.OPENING_SECONDS", 0.0)
    for read_only in (False, True):
        with pytest.raises(HarnessError) as refused:
            open_engine(name, read_only=read_only).dispose()
        assert ":p@" not in str(refused.value) and ":b@" not in str(refused.value)


def test_the_record_is_its_owners_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        finished_study(tmp_path / "results.db")
        back_up(tmp_path / "results.db", tmp_path / "copy.db")
    finally:
        os.umask(before)
    for name in ("results.db", "copy.db"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600


# --- statements in texts (S7) --------------------------------------------------------------------------------


def recorded(store: Store, text: str) -> int:
    """A study in which every text that comes from a user is this one; the id of its trial."""
    key = store.create_study(report_study.study_file(text, text=f"# {text}\nstudy: x\n"))
    store.record_prepared(
        key,
        Prepared(
            fingerprint=text,
            label_names=(text, f"{text}."),
            positive=text,
            splits={"validation": SplitSummary(2, {text: 1}, {text: 1, f"{text}.": 1})},
            warnings=(text,),
            models=(ModelSummary(text, text, 1, 1, 1, text, text),),
            examples={"validation": [(0, text, text, text), (1, f"{text}.", text, text)]},
            environment={},
        ),
    )
    with store.hold(key):
        row = store.add_trial(key, TrialConfig(model=normalise(text)), 1, 0, None, "explicit")
        store.start_trial(row.id, text, store.record_environment({"python": text}))
        store.record_facts(row.id, report_study.facts(TrialConfig(model=normalise(text))))
        store.record_epoch(row.id, one_epoch(text))
        store.record_incident(key, row.id, Incident(text, text, {"said": text}))
        store.finish_trial(row.id, TrialOutcome("failed", reason="data", message=text, traceback=text))
    return row.id


def one_epoch(text: str) -> EpochRecord:
    metrics = (MetricValue("validation", "loss", 0.5), MetricValue("validation", "accuracy", 0.5, text))
    values = {"steps": 1, "learning_rate": 0.1, "train_seconds": 1.0, "evaluate_seconds": 1.0, "save_seconds": 0.0}
    values |= {"validation_seconds": 1.0, "evaluated_samples": 2, "windows": (), "peak_memory_bytes": 1, "flops": 1.0}
    return EpochRecord(epoch=1, metrics=metrics, load=0.0, outputs={"logits": np.zeros((2, 2), np.float32)}, **values)


def read_back(engine: sa.Engine, text: str) -> dict[str, Any]:
    """Every place of `recorded`, as the record gives it."""
    details, incident = frames.trial_details(engine, text).iloc[0], frames.incidents(engine, text).iloc[0]
    examples, model = frames.examples(engine, text).iloc[0], frames.models(engine, text).iloc[0]
    data = frames.data(engine, text).iloc[0]
    grouped = frames.metrics(engine, text, of_groups=True).iloc[0]
    return {
        "study": frames.summary(engine, text)["study"].iloc[0],
        "model": frames.summary(engine, text)["model"].iloc[0],
        "message": details["message"],
        "traceback": details["traceback"],
        "incident kind": incident["kind"],
        "incident message": incident["message"],
        "incident details": incident["details"]["said"],
        "label": examples["label"],
        "group": examples["group"] if "group" in examples else examples["grp"],
        "text": examples["text"],
        "model name": model["name"],
        "revision": model["revision"],
        "class": data["label_names"][0],
        "warning": data["warnings"][0],
        "metric group": grouped["group"] if "group" in grouped else grouped["grp"],
    }


def schema_of(engine: sa.Engine) -> dict[str, list[str]]:
    found = sa.inspect(engine)
    return {name: [column["name"] for column in found.get_columns(name)] for name in sorted(found.get_table_names())}


@pytest.fixture
def store(database: Any) -> Iterator[Store]:
    """An empty record, on both kinds of database."""
    with Store.open(database) as opened:
        yield opened


def test_statements_are_stored_as_texts_and_the_schema_stays(store: Store) -> None:
    before = schema_of(store.engine)
    for text in SQL:
        recorded(store, text)
    assert schema_of(store.engine) == before
    assert sorted(frames.studies(store.engine)["name"]) == sorted(SQL)
    for text in SQL:
        assert set(read_back(store.engine, text).values()) == {text}


def test_optunas_tables_take_them_too(store: Store) -> None:
    before = schema_of(store.engine)
    for text in SQL[:12]:
        key = store.create_study(report_study.study_file(text))
        with store.hold(key):
            row = store.add_trial(key, TrialConfig(model=text), 1, 0, None, "explicit")
            store.start_trial(row.id, "w0", None)
            store.finish_trial(row.id, TrialOutcome("failed", reason="data", message=text))
        assert mirror.sync(store, key) == 1
    names = store.engine.connect()
    with names as connection:
        assert set(connection.exec_driver_sql("SELECT study_name FROM studies").scalars()) >= set(SQL[:12])
    assert {name: columns for name, columns in schema_of(store.engine).items() if name in before} == before
    assert optuna.__version__


# --- texts that a database cannot take (S14) -----------------------------------------------------------------

ODD = [
    "a\0b",
    "\ud800",
    "\udfff x",
    "\0",
    "e\u0301 é",
    "\u202e",
    "\x1b[31m",
    "\r\n",
    "😀" * 50,
    " ",
    "\ufeff",
    "\x7f\x80\x9f",
    "'",
]


def test_odd_texts_come_back_normalised_the_same_from_both(store: Store) -> None:
    for number, text in enumerate(ODD):
        recorded(store, f"{number} {text}")
    for number, text in enumerate(ODD):
        expected = f"{number} {text}".replace("\0", "").replace("\ud800", "\\ud800").replace("\udfff", "\\udfff")
        found = read_back(store.engine, expected)
        assert set(found.values()) == {expected}, found


@settings(max_examples=200, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(st.text(st.characters(blacklist_categories=()), max_size=20))
def test_any_text_is_normalised_once_and_for_all(text: str) -> None:
    made = normalise(text)
    assert normalise(made) == made and "\0" not in made
    made.encode("utf-8")


# --- databases of others (S13) -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sound") / "results.db"
    finished_study(path)
    return path


VIEW = "DROP VIEW harness_summary; CREATE VIEW harness_summary AS "
ENDLESS = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x AS study FROM n"
HOSTILE = {
    "a trigger": "CREATE TRIGGER t AFTER INSERT ON harness_epoch_record BEGIN DELETE FROM harness_study; END",
    "a trigger with our name": "CREATE TRIGGER harness_summary2 AFTER UPDATE ON harness_trial BEGIN SELECT 1; END",
    "a view": "CREATE VIEW studies_of_mine AS SELECT load_extension('x.so')",
    "our view with other words": f"{VIEW} SELECT 'forged' AS study",
    "our view without an end": f"{VIEW} {ENDLESS}",
    "a table that is a view": "ALTER TABLE harness_metric RENAME TO m; CREATE VIEW harness_metric AS SELECT * FROM m",
    "a table too few": "DROP TABLE harness_incident",
    "a column too few": "ALTER TABLE harness_incident DROP COLUMN message",
    "a table without its types": "DROP TABLE harness_incident; "
    "CREATE TABLE harness_incident (id, study_id, trial_id, kind, message, details, at)",
    "a generated column": "ALTER TABLE harness_incident ADD COLUMN x TEXT GENERATED ALWAYS AS (kind || message)",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_database_with_other_definitions_is_refused_and_left_as_it_is(kind: str, sound: Path, tmp_path: Path) -> None:
    path = tmp_path / "results.db"
    path.write_bytes(sound.read_bytes())
    with sqlite3.connect(path) as connection:
        connection.executescript(HOSTILE[kind])
    connection.close()
    before = path.read_bytes()
    for read_only in (True, False):
        with pytest.raises(HarnessError) as refused:
            open_engine(path, read_only=read_only).dispose()
        assert refused.value.exit_code in (73, 78) and "results.db" in str(refused.value)
    assert path.read_bytes() == before


def bomb(shape: Any, content: bytes) -> Callable[[sqlite3.Connection], object]:
    def plant(connection: sqlite3.Connection) -> None:
        packed = zlib.compress(content, 9)
        values = (json.dumps(shape), zlib.crc32(content), packed)
        connection.execute("UPDATE harness_prediction SET shape = ?, crc32 = ?, data = ?", values)

    return plant


@pytest.mark.parametrize(
    ("shape", "content"),
    [
        ([40, 2], b"\0" * 50_000_000),
        ([40, 3], b"\0" * 320),
        ([-40, -2], b"\0" * 320),
        ([10**30], b"\0" * 320),
        (["a"], b"\0" * 320),
        ([40.0, 2.0], b"\0" * 320),
        ({"a": 1}, b"\0" * 320),
        (5, b"\0" * 320),
    ],
)
def test_outputs_that_are_not_of_their_shape_are_refused_before_they_fill_the_memory(
    shape: Any, content: bytes, sound: Path, tmp_path: Path
) -> None:
    path = tmp_path / "results.db"
    path.write_bytes(sound.read_bytes())
    with sqlite3.connect(path) as connection:
        bomb(shape, content)(connection)
    connection.close()
    engine = open_engine(path, read_only=True)
    with pytest.raises(StorageError, match="stored prediction"):
        frames.predictions(engine, 1, 1)
    engine.dispose()


def test_a_function_in_a_hostile_expression_is_not_called(sound: Path, tmp_path: Path) -> None:
    engine = open_engine(sound, read_only=True)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA trusted_schema").scalar() == 0
        with pytest.raises(sa.exc.DBAPIError):
            connection.exec_driver_sql("SELECT load_extension('x.so')")
    engine.dispose()

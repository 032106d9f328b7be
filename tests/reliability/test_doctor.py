"""The doctor: every fault that is planted is found, named with what mends it, and ends with the right exit code."""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from nights import command as harness
from records import finished_study

import harness.machine as machine
from harness.doctor import examine, record
from harness.errors import HarnessError
from harness.findings import Finding, exit_code
from harness.repair import repair
from harness.results import frames, schema
from harness.results.engine import open_engine
from harness.results.store import Store
from harness.spec import parse_study


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study in a folder of its own."""
    folder = tmp_path_factory.mktemp("sound")
    finished_study(folder / "results.db")
    return folder


@pytest.fixture
def path(sound: Path, tmp_path: Path) -> Path:
    """A copy of it to damage."""
    shutil.copytree(sound, tmp_path / "copy")
    return tmp_path / "copy" / "results.db"


def wrongs(path: Path) -> list[Finding]:
    return [finding for finding in examine(path) if finding.state == "wrong"]


def notes(path: Path) -> list[Finding]:
    return [finding for finding in examine(path) if finding.state == "note"]


def by_hand(path: Path, *statements: str) -> None:
    with sqlite3.connect(path) as connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


def test_a_sound_record_has_no_finding_but_good_ones(path: Path) -> None:
    assert {finding.state for finding in examine(path)} == {"good"}


def test_the_doctor_changes_nothing(path: Path) -> None:
    def contents() -> dict[Path, bytes]:
        return {each: each.read_bytes() for each in path.parent.rglob("*") if each.is_file()}

    before = contents()
    list(examine(path))
    assert contents() == before


# --- databases that cannot be used -----------------------------------------------------------------------


def empty(path: Path) -> None:
    path.write_bytes(b"")


def diary(path: Path) -> None:
    path.write_text("my diary\n" * 500)


def foreign(path: Path) -> None:
    path.unlink()
    by_hand(path, "CREATE TABLE recipes (name TEXT)")


def newer(path: Path) -> None:
    by_hand(path, "UPDATE harness_alembic_version SET version_num = '9999'")


def torn(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def spied_on(path: Path) -> None:
    by_hand(path, "CREATE TRIGGER spy AFTER INSERT ON harness_trial BEGIN DELETE FROM harness_metric; END")


@pytest.mark.parametrize(
    ("damage", "words", "code"),
    [
        (empty, "is empty (0 bytes)", 73),
        (diary, "is no database file", 78),
        (foreign, "another program (tables: recipes)", 78),
        (newer, "schema '9999' and this harness knows up to", 78),
        (spied_on, "triggers or views that are not harness's: spy", 78),
        (torn, "damaged", 73),
    ],
)
def test_a_database_that_cannot_be_used_is_a_finding_and_stays_as_it_is(
    path: Path, damage: Callable[[Path], None], words: str, code: int
) -> None:
    damage(path)
    before = path.read_bytes()
    found = wrongs(path)
    assert words in found[0].words
    assert exit_code(found) == code
    with pytest.raises(HarnessError) as caught:
        repair(path)
    assert caught.value.exit_code == code
    assert path.read_bytes() == before


def test_an_older_schema_is_a_note_and_repair_brings_it_forward(tmp_path: Path) -> None:
    path = tmp_path / "results.db"
    engine = sa.create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        schema.upgrade(connection, "0001")
    engine.dispose()
    path.chmod(0o600)
    (found,) = [note for note in notes(path) if note.check == "database"]
    assert "has schema 0001 of an older harness" in found.words
    assert "harness repair" in found.mend
    before = path.stat().st_size
    repaired = repair(path)
    assert repaired.done[0] == f"schema 0001 was brought to {schema.HEAD}"
    assert repaired.backup is not None and repaired.backup.stat().st_size == before
    assert repair(path).done == ()
    assert {finding.state for finding in examine(path)} == {"good"}


def test_no_database_yet_is_no_fault(tmp_path: Path) -> None:
    found = list(examine(tmp_path / "results.db"))
    assert exit_code(found) == 0
    assert "harness run makes it" in found[0].mend
    assert list(tmp_path.iterdir()) == []


# --- records that cannot be believed ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statement", "check", "words"),
    [
        ("UPDATE harness_prediction SET crc32 = crc32 + 1", "outputs", "does not match its checksum"),
        ("UPDATE harness_prediction SET data = x'00'", "outputs", "cannot be decompressed"),
        (
            "UPDATE harness_metric SET value = 0.5 WHERE epoch = 1 AND split = 'validation' AND name = 'accuracy'",
            "outputs",
            "validation accuracy is stored as 0.5, its logits say",
        ),
        (
            "UPDATE harness_metric SET value = 0.1 WHERE epoch = 2 AND split = 'validation' AND name = 'loss'",
            "trials",
            "epochs say",
        ),
        ("UPDATE harness_trial SET objective = 0.01 WHERE id = 1", "trials", "its objective 0.01 is not the first"),
        ("DELETE FROM harness_epoch_record WHERE trial_id = 1 AND epoch = 2", "file", "refers to a row of"),
    ],
)
def test_a_number_that_was_changed_is_found(path: Path, statement: str, check: str, words: str) -> None:
    by_hand(path, statement)
    found = wrongs(path)
    assert any(finding.check == check and words in finding.words for finding in found), found
    assert exit_code(found) == 73


def test_a_kept_model_that_was_damaged_is_found(path: Path) -> None:
    weights = sorted(path.parent.rglob("model.safetensors"))[1]
    content = bytearray(weights.read_bytes())
    content[5] ^= 1
    weights.write_bytes(content)
    (found,) = wrongs(path)
    assert found.words.startswith("kept weights of probe:1 are damaged: model.safetensors in ")
    assert found.exit_code == 73


def test_three_hundred_damaged_files_are_explained_and_no_best_value_is_wrong_unnoticed(
    path: Path, tmp_path: Path, times: Callable[[int, int], int]
) -> None:
    dice, whole = random.Random(11), path.read_bytes()
    engine = open_engine(path, read_only=True)
    truth = list(frames.summary(engine)["objective"])
    engine.dispose()
    said = silent = 0
    for number in range(times(300, 5_000)):
        damaged = bytearray(whole)
        if number % 3 == 0:
            del damaged[dice.randrange(1, len(damaged)) :]
        else:
            for _ in range(1 if number % 3 == 1 else 20):
                damaged[dice.randrange(len(damaged))] ^= 1 << dice.randrange(8)
        copy = tmp_path / "copy" / "damaged.db"
        copy.write_bytes(damaged)
        copy.chmod(0o600)
        found = list(record(copy, None))
        assert copy.read_bytes() == bytes(damaged)
        if any(finding.state == "wrong" for finding in found):
            said += 1
            continue
        silent += 1
        engine = open_engine(copy, read_only=True)
        assert list(frames.summary(engine)["objective"]) == truth
        engine.dispose()
    assert said > silent / 10


# --- the machine -----------------------------------------------------------------------------------------


def study_of(model: str, path: str = "builtin:reviews") -> machine.StudySpec:
    text = f"study: s\nmodel: {model}\ndata: {{path: '{path}', validation: 0.2}}\nconfigurations: [{{epochs: 1}}]\n"
    return parse_study(text).spec


def test_what_is_on_this_machine_needs_no_hub(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    assert machine.hub(study_of("builtin:tiny")).words == "not needed: models and data are on this machine"
    assert machine.hub(study_of(str(tmp_path / "mine"))).state == "good"


def test_a_hub_that_does_not_answer_is_wrong_only_when_it_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine.constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(machine.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(machine.constants, "HF_HUB_OFFLINE", False)
    found = machine.hub(study_of("someone/bert", "someone/reviews"))
    assert (found.state, found.exit_code) == ("wrong", 69)
    assert "someone/bert, someone/reviews must come from the Hub, and it does not answer" in found.words
    for folder in ("models--someone--bert", "datasets--someone--reviews"):
        (tmp_path / folder / "snapshots" / "abc").mkdir(parents=True)
    assert machine.hub(study_of("someone/bert", "someone/reviews")).state == "good"


def test_being_offline_by_choice_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(machine.constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE forbids it" in machine.hub(study_of("someone/bert")).words


def test_too_little_space_for_the_study_is_wrong_and_says_how_much(tmp_path: Path) -> None:
    found = machine.space(tmp_path / "results.files", parameters=10**13, keep=3)
    assert (found.state, found.exit_code) == ("wrong", 75)
    assert "take up to 440,000.00 GB" in found.words
    assert machine.space(tmp_path, parameters=0, keep=0).state in ("good", "note")


def test_packages_that_changed_since_the_last_trial_are_a_note(path: Path) -> None:
    with Store.open(path) as store:
        row = store.study("probe")
    assert row is not None
    found = {finding.check: finding for finding in examine(path, parse_study(row.text))}
    assert found["versions"].state == "note"
    assert "torch 0.0 is" in found["versions"].words


# --- the command -----------------------------------------------------------------------------------------


def test_the_command_prints_a_table_and_ends_with_the_finding(path: Path) -> None:
    code, output = harness(path.parent, "doctor", "probe")
    assert code == 0, output
    assert "epochs, states, holders and Optuna's tables agree" in output.replace("\n", " ").replace("  ", " ")
    torn(path)
    code, output = harness(path.parent, "doctor")
    assert code == 73
    assert "wrong" in output and "Traceback" not in output
    assert "→ sqlite3 FILE .recover saves" in output and "`" not in output  # commands are set apart, not quoted


def test_the_command_is_json_for_scripts_and_imports_no_torch(path: Path) -> None:
    code, output = harness(path.parent, "doctor", "--json")
    assert code == 0
    assert {finding["check"] for finding in json.loads(output)} >= {
        "file",
        "trials",
        "outputs",
        "space",
        "device",
        "hub",
    }
    body = "import sys, harness.doctor as d; list(d.examine('results.db')); assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", body], cwd=path.parent).returncode == 0


def test_a_study_that_is_nowhere_is_a_mistake(path: Path) -> None:
    code, output = harness(path.parent, "doctor", "absent")
    assert code == 2
    assert "neither a study file nor a study" in output

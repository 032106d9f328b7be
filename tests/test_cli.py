"""The command line: every mistake is one message that names the place, and an exit code that scripts can use."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from harness.terminal import duration, printable


def harness(folder: Path, *arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "harness", *arguments], cwd=folder, capture_output=True, text=True, timeout=120
    )
    return done.returncode, done.stdout + done.stderr


def test_init_writes_a_study_file_that_is_valid_and_never_overwrites(tmp_path: Path) -> None:
    assert harness(tmp_path, "init", "studies/mine.yaml")[0] == 0
    text = (tmp_path / "studies/mine.yaml").read_text()
    assert "study: mine" in text
    code, output = harness(tmp_path, "init", "studies/mine.yaml")
    assert code == 2
    assert "not overwritten" in output
    assert (tmp_path / "studies/mine.yaml").read_text() == text


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["run", "absent.yaml"], 78, "absent.yaml"),
        (["run", "absent"], 2, "neither a study file nor a study"),
        (["status", "--db", "absent.db"], 2, "there is no database"),
        (["report", "absent"], 2, "there is no database"),
        (["compare", "one:0"], 2, "two or more"),
        (["compare", "one:0", "two"], 2, "STUDY:NUMBER"),
        (["export", "x", "--format", "xml"], 2, "xml"),
        (["run"], 2, "STUDY"),
        (["sing"], 2, "sing"),
    ],
)
def test_a_mistake_is_told_without_a_traceback(tmp_path: Path, arguments: list[str], code: int, words: str) -> None:
    found, output = harness(tmp_path, *arguments)
    assert found == code, output
    assert words in output
    assert "Traceback" not in output


def test_a_wrong_value_is_refused_before_a_database_is_made(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("study: s\nmodel: builtin:tiny\ndata: {path: 'builtin:reviews'}\nsede: 3\n")
    code, output = harness(tmp_path, "run", "s.yaml")
    assert code == 78
    assert "s.yaml:4" in output and "seed" in output
    assert not (tmp_path / "results.db").exists()


def test_missing_data_are_told_with_their_exit_code(tmp_path: Path) -> None:
    text = "study: s\nmodel: builtin:tiny\ndata: {path: absent.csv}\nconfigurations: [{epochs: 1}]\n"
    (tmp_path / "s.yaml").write_text(text)
    code, output = harness(tmp_path, "run", "s.yaml")
    assert code in (65, 69), output
    assert "absent.csv" in output
    assert "Traceback" not in output


def test_a_database_of_another_program_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "results.db").write_bytes(b"")
    code, output = harness(tmp_path, "status")
    assert code in (73, 78), output
    assert (tmp_path / "results.db").read_bytes() == b""


def test_text_cannot_command_the_terminal() -> None:
    assert printable("a\x1b]0;title\x07b\rc\u202e") == "a\\x1b]0;title\\x07b\\rc\\u202e"
    assert printable("grüße\n– ok") == "grüße\n– ok"


def test_durations_are_hours_minutes_seconds() -> None:
    assert duration(3725.4) == "1:02:05"
    assert duration(None) == "–"

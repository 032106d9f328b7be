"""The command line: every mistake is one message that names the place, and an exit code that scripts can use."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from nights import command as harness

from harness.commands.options import bytes_of
from harness.errors import UsageError
from harness.spec import parse_study
from harness.study import sharing
from harness.terminal import duration, printable


def test_the_package_runs_as_a_module(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "harness", "status"], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "") and "there is no database" in done.stderr


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
        (["run", "absent", "--cache-budget", "much"], 2, "20GB"),
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
    assert code == 65, output
    assert "absent.csv" in output
    assert "Traceback" not in output


def test_an_empty_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "results.db").write_bytes(b"")
    code, output = harness(tmp_path, "status")
    assert code == 73, output
    assert (tmp_path / "results.db").read_bytes() == b""


@pytest.mark.parametrize(
    ("size", "count"), [("500MB", 500_000_000), ("20GB", 20_000_000_000), ("1.5 tb", 1_500_000_000_000), (None, None)]
)
def test_a_size_is_read_in_bytes(size: str | None, count: int | None) -> None:
    assert bytes_of(size) == count


@pytest.mark.parametrize("size", ["", "20", "-1GB", "much", "20GiB"])
def test_what_is_no_size_is_refused_with_an_example(size: str) -> None:
    with pytest.raises(UsageError, match="20GB"):
        bytes_of(size)


def test_the_cache_takes_what_is_asked_or_twenty_gigabytes_or_half_of_what_is_free(tmp_path: Path) -> None:
    spec = parse_study(
        "study: s\nmodel: builtin:tiny\ndata: {path: 'builtin:reviews'}\nconfigurations: [{epochs: 1}]\n"
    ).spec
    assert sharing(tmp_path, spec, budget=7).budget == 7
    assert sharing(tmp_path, spec).budget <= min(20_000_000_000, shutil.disk_usage(tmp_path).total // 2)


def test_text_cannot_command_the_terminal() -> None:
    assert printable("a\x1b]0;title\x07b\rc\u202e") == "a\\x1b]0;title\\x07b\\rc\\u202e"
    assert printable("grüße\n– ok") == "grüße\n– ok"


def test_durations_are_hours_minutes_seconds() -> None:
    assert duration(3725.4) == "1:02:05"
    assert duration(None) == "–"

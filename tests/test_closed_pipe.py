"""Whoever reads a command's output may stop: it ends in silence, with the code of a program that SIGPIPE ended."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from results_support import study_file

from harness.results.store import Store

UNREAD = 128 + signal.SIGPIPE


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a database of two studies."""
    path = tmp_path_factory.mktemp("piped")
    with Store.open(str(path / "results.db")) as store:
        for name in ("one", "two"):
            store.create_study(study_file(name))
    return path


def through_head(folder: Path, *arguments: str) -> tuple[int, str, str]:
    """What `harness ARGUMENTS | head -1` ends with, shows, and complains of; the pipe holds no more than a page."""
    ours, theirs = os.pipe()
    fcntl.fcntl(theirs, fcntl.F_SETPIPE_SZ, 4096)
    command = [sys.executable, "-m", "harness", *arguments]
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}  # it loses the rest
    with subprocess.Popen(
        command, cwd=folder, env=buffered, stdout=theirs, stderr=subprocess.PIPE, text=True
    ) as harness:
        os.close(theirs)
        shown = subprocess.run(["head", "-1"], stdin=ours, capture_output=True, text=True, check=True).stdout
        os.close(ours)
        _, errors = harness.communicate()
    return harness.returncode, shown, errors


def closed() -> int:
    """The end for writing of a pipe that nobody reads."""
    ours, theirs = os.pipe()
    os.close(ours)
    return theirs


def test_a_long_answer_ends_in_silence_when_its_first_line_was_enough(folder: Path) -> None:
    assert through_head(folder, "schema") == (UNREAD, "{\n", "")


def test_a_short_answer_that_fits_into_the_pipe_is_no_error_either(folder: Path) -> None:
    code, output, errors = through_head(folder, "status")
    assert code in (0, UNREAD)  # head may end between two studies
    assert (output, errors) == ("one\n", "")


@pytest.mark.parametrize("arguments", [["status"], ["status", "--json"], ["--help"]])
def test_a_pipe_that_nobody_reads_ends_a_command_in_silence(folder: Path, arguments: list[str]) -> None:
    command, nobody = [sys.executable, "-m", "harness", *arguments], closed()
    done = subprocess.run(command, cwd=folder, stdout=nobody, stderr=subprocess.PIPE, text=True)
    os.close(nobody)
    assert (done.returncode, done.stderr) == (UNREAD, "")


def test_an_error_whose_words_nobody_reads_keeps_its_code(folder: Path) -> None:
    nobody = closed()
    command = [sys.executable, "-m", "harness", "status", "absent"]
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=nobody)
    os.close(nobody)
    assert (done.returncode, done.stdout) == (2, b"")


def test_a_broken_pipe_to_anyone_else_is_told_with_its_place(folder: Path) -> None:
    code = (
        "import harness.results.overview as overview, harness.cli\n"
        "def broken(*_): raise BrokenPipeError(32, 'of a worker')\n"
        "overview.overviews = broken\n"
        "harness.cli.main()"
    )
    done = subprocess.run([sys.executable, "-c", code, "status"], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 70
    assert "of a worker" in done.stderr and "Traceback" in done.stderr

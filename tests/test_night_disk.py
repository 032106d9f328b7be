"""Whole nights on a real file system that runs full: nothing recorded is lost, nothing half-written stays."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from nights import STUDY, ForkedCommand, Night
from small_disks import fill, inside, mounted, small_disk

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
READ = """
import json, sqlite3, sys
rows = sqlite3.connect("file:results.db?mode=ro", uri=True, timeout=30).execute(sys.argv[1], sys.argv[2:]).fetchall()
print(json.dumps(rows))
"""


class DiskNight(Night):
    """A night whose folder is a small file system."""

    def __init__(self, disk: Path, text: str, outside: Path) -> None:
        super().__init__(disk, text)
        self.inside = inside(disk)
        self.said = outside / "said.txt"  # whatever is full, what a night says has room

    def forked(self, *arguments: str, **more: float) -> ForkedCommand:
        """By a process that goes to where the file system is mounted."""
        holder, folder = mounted(self.folder)
        return ForkedCommand(folder, self.said, *arguments, within=holder, **more)

    def harness(self, *arguments: str) -> tuple[int, str]:
        process = self.forked(*arguments)
        output, _ = process.communicate()
        assert process.returncode is not None
        return process.returncode, output

    def rows(self, query: str, *values: object) -> list[Any]:
        """As of every night, read from within."""
        command = [*self.inside, sys.executable, "-c", READ, query, *map(str, values)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return [tuple(row) for row in json.loads(done.stdout)]


def test_weights_that_find_no_space_cost_no_trial(tmp_path: Path) -> None:
    with small_disk(tmp_path, kilobytes=1536) as disk:  # room for the database, not for the model
        night = DiskNight(disk, STUDY.replace("  - {epochs: 12, learning_rate: 5e-4}\n", ""), tmp_path)
        code, output = night.run()
        assert code == 0, output
        assert night.rows("SELECT state, model_folder FROM harness_trial") == [("complete", None)] * 2
        assert night.rows("SELECT kind FROM harness_incident") == [("disk",)] * 2
        assert "without its weights" in output
        assert [path for path in (disk / "results.files/trials").rglob("*") if path.is_file()] == []


def test_a_database_that_finds_no_space_ends_the_night_for_later_and_loses_nothing(tmp_path: Path) -> None:
    straight = Night(tmp_path, STUDY.replace("keep: 2", "keep: 0"))
    assert straight.run()[0] == 0
    (tmp_path / "disk").mkdir()
    with small_disk(tmp_path / "disk", kilobytes=4096) as disk:
        night = DiskNight(disk, STUDY.replace("keep: 2", "keep: 0"), tmp_path)
        process = night.forked("run", "night.yaml")
        night.wait_for(process, lambda: night.epochs_of(1) >= 2)
        ballast = fill(disk)
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 75, output
        for words in ("no space is left for", "results.db", "MB free", "free some space and run the same command"):
            assert words in output
        assert "Traceback" not in output
        assert night.run()[0] == 75  # still full
        ballast.unlink()
        committed = night.curves()
        assert len(committed) > 0
        code, output = night.run()
        assert code == 0, output
        assert [row for row in committed if row in set(night.curves())] == committed
        assert night.curves() == straight.curves()
        assert night.rows("SELECT DISTINCT state FROM harness_trial") == [("complete",)]

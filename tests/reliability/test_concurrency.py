"""Several processes on one results.db: none waits in vain, none loses a row, none makes the file a second time."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from forked_nights import STUDY, ForkedNight, Straight
from forking import Zygote
from records import violated
from results_support import barrier, pipe, process, study_file
from writers import open_together, write_many

from harness.results import mirror
from harness.results.store import Store

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
Times = Callable[[int, int], int]
PROCESSES = 8
USUAL_SECONDS = 2.0  # of 95 commits in 100; SQLite lets no queue form, so on a busy machine some wait far longer
LONGEST_SECONDS = 30.0  # half of what a commit waits for; some hundredths on a quiet machine


def together(target: Callable[..., None], *arguments: Any) -> list[Any]:
    """What eight processes say that begin at the same moment."""
    gate, (receiver, sender) = barrier(PROCESSES), pipe()
    children = [process(target, *arguments, number, gate, sender) for number in range(PROCESSES)]
    for child in children:
        child.start()
    sender.close()
    said = [receiver.recv() for _ in children]
    for child in children:
        child.join()
    return said


def test_eight_coordinators_write_two_hundred_epochs_each_and_none_is_refused(tmp_path: Path, times: Times) -> None:
    path, epochs = tmp_path / "results.db", times(200, 1_000)
    with Store.open(path) as store:
        for number in range(PROCESSES):
            store.create_study(study_file(f"study-{number}"))
    seconds = np.concatenate(together(write_many, path, epochs))
    assert len(seconds) == PROCESSES * epochs
    assert np.quantile(seconds, 0.95) <= USUAL_SECONDS
    assert max(seconds) < LONGEST_SECONDS
    with Store.open(path) as store:
        for row in store.studies():
            (trial,) = store.trials(row.id)
            assert store.epoch_values(trial.id, "train", "loss") == {n: n / 1_000 for n in range(1, epochs + 1)}
            mirror.sync(store, row.id)
    assert violated(path) == []


def test_eight_processes_make_one_database_ten_times(tmp_path: Path, times: Times) -> None:
    for number in range(times(10, 50)):
        path = tmp_path / f"{number}.db"
        assert together(open_together, path) == ["made"] * PROCESSES
        with Store.open(path) as store:
            assert len(store.studies()) == PROCESSES
        assert list(tmp_path.glob(".new-*")) == []


def test_two_nights_share_a_database_and_each_gives_what_it_gives_alone(
    parent: Zygote, straight: Straight, tmp_path: Path
) -> None:
    night = ForkedNight(tmp_path, parent)
    (tmp_path / "other.yaml").write_text(night.file.read_text().replace("study: night", "study: other"))
    pids = [night.begin(), night.begin(arguments=("run", "other.yaml"), output="other.txt")]
    assert [night.end(pid) for pid in pids] == [0, 0], night.output + (tmp_path / "other.txt").read_text()
    assert violated(night.db) == []
    numbered: dict[str, list[Any]] = {"night": [], "other": []}
    for study, *row in night.rows(
        "SELECT s.name, t.number, m.epoch, m.split, m.name, m.grp, m.value FROM harness_metric m "
        "JOIN harness_trial t ON t.id = m.trial_id JOIN harness_study s ON s.id = t.study_id ORDER BY 1, 2, 3, 4, 5, 6"
    ):
        numbered[study].append(tuple(row))
    assert numbered["night"] == numbered["other"] == straight.outcome["metrics"]


REPORT_DIES = (
    "harness.results.frames:_series before 3",  # while it reads a table
    "harness.report.page:render after 1",  # while it writes
)


def test_reports_that_are_killed_beside_a_running_night_harm_nothing(parent: Zygote, tmp_path: Path) -> None:
    night = ForkedNight(tmp_path, parent, STUDY.replace("epochs: 3", "epochs: 2000").replace("keep: 1", "keep: 0"))
    pid = night.begin()

    def next_epoch() -> None:
        seen = len(night.steps())
        while not night.db.exists() or len(night.steps()) < seen + 20:
            time.sleep(0.02)

    for number, place in enumerate(REPORT_DIES):
        next_epoch()
        code = night.end(night.begin([place], "report.txt", ("report", "night")))
        assert code == -signal.SIGKILL, (tmp_path / "report.txt").read_text()
        (tmp_path / "died").rename(tmp_path / f"died-{number}")
    before = night.curves()
    next_epoch()
    os.kill(pid, signal.SIGTERM)
    assert night.end(pid) == 143, night.output
    assert night.curves()[: len(before)] == before and len(night.curves()) > len(before)
    assert night.rows("SELECT kind FROM harness_incident") == [("interrupted",)]
    night.only_passing()


def test_a_second_run_of_a_study_is_refused_and_changes_nothing(
    parent: Zygote, straight: Straight, tmp_path: Path, times: Times
) -> None:
    night = ForkedNight(tmp_path, parent)
    pid = night.begin()
    while not (night.db.exists() and night.rows("SELECT 1 FROM harness_session")):
        time.sleep(0.01)
    for _ in range(times(3, 30)):
        code = night.end(night.begin(output="second.txt"))
        said = (tmp_path / "second.txt").read_text()
        assert code == 75 and f"held by process {pid} " in said, said
    assert night.end(pid) == 0, night.output
    night.ends_as(straight.outcome)

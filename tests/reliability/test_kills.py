"""SIGKILL at any moment, hundreds of times while epochs are written and dozens of times in real trials.

No committed epoch is lost, none is there twice, none is half, and the night ends as one that nobody disturbed.
"""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from forked_nights import ForkedNight, Pace, Straight, worker_of
from forking import Zygote
from records import violated
from results_support import study_file
from writers import killed_in_rounds, train_loss

from harness.results import mirror
from harness.results.store import Store

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
Times = Callable[[int, int], int]

# --- coordinators that write ------------------------------------------------------------------------------

STUDIES = ("one", "another")  # in one database, each with a writer of its own
ROUNDS = 50  # of a database: one that has seen many kills holds many trials


def test_kills_of_a_writer_lose_no_committed_epoch_and_double_none(tmp_path: Path, times: Times) -> None:
    dice, committed, kills = random.Random(7), 0, 0
    while kills < times(1_000, 10_000):
        path = tmp_path / f"{kills}.db"
        with Store.open(path) as store:
            for study in STUDIES:
                store.create_study(study_file(study))
        told = killed_in_rounds(path, STUDIES, ROUNDS, dice.random())
        assert len(told) == len(set(told)), "an epoch was committed twice"
        assert [str(violation) for violation in violated(path) if not violation.mend] == []
        found = stored(path)
        for trial, epochs in found.items():
            assert epochs == {each: train_loss(trial, each) for each in epochs}
        assert all(each.epoch in found[each.trial] for each in told), "a committed epoch is lost"
        committed, kills = committed + len(told), kills + ROUNDS * len(STUDIES)
        goes_on(path)
    assert committed > kills / 2


def stored(path: Path) -> dict[int, dict[int, float]]:
    """Trial -> epoch -> what its row says."""
    with Store.open(path) as store:
        trials = [trial for row in store.studies() for trial in store.trials(row.id)]
        return {trial.id: store.epoch_values(trial.id, "train", "loss") for trial in trials}


def goes_on(path: Path) -> None:
    """The next coordinators take over, and then everything holds; every epoch has its metrics and outputs."""
    with Store.open(path) as store:
        for row in store.studies():
            with store.hold(row.id):
                assert {trial.state for trial in store.trials(row.id)} <= {"waiting", "complete"}
            mirror.sync(store, row.id)
    assert violated(path) == []
    with sqlite3.connect(path) as connection:
        epochs = connection.execute("SELECT count(*) FROM harness_epoch_record").fetchone()[0]
        assert connection.execute("SELECT count(*) FROM harness_metric").fetchone()[0] == 5 * epochs
        assert connection.execute("SELECT count(*) FROM harness_prediction").fetchone()[0] == 2 * epochs
    connection.close()


# --- trials that train ------------------------------------------------------------------------------------


def kill_within(seconds: float, dice: random.Random, pid: int | None) -> bool:
    """SIGKILL a process some time from now; whether it was there to be killed."""
    time.sleep(dice.uniform(0, seconds))
    if pid is None:
        return False
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def disturbed(night: ForkedNight, dice: random.Random, seconds: float, worker_too: bool) -> tuple[int, bool]:
    """Begin a night, kill its worker where asked and then its coordinator: how many kills hit, whether it went on."""
    pid = night.begin()
    hits = 0
    if worker_too:
        time.sleep(seconds / 2)
        hits += kill_within(seconds / 4, dice, worker_of(pid))
    gone = kill_within(seconds, dice, pid)
    code = night.end(pid)
    assert code in (-signal.SIGKILL, 0), night.output
    night.only_passing()
    return hits + (gone and code == -signal.SIGKILL), code != 0


def test_kills_of_coordinators_and_workers_cost_no_epoch_and_no_bit(
    parent: Zygote, straight: Straight, tmp_path: Path, times: Times
) -> None:
    dice, pace, kills, studies, resumed = random.Random(5), Pace(straight), 0, 0, 0
    while kills < times(60, 1_000) or studies < times(4, 50):  # of two trials each
        # a checkpoint at every step: a fast machine trains through before a tenth of a second is over
        night = ForkedNight(tmp_path / str(studies), parent, checkpoint_seconds=0.0)
        unfinished, before = True, kills
        for invocation in range(15):
            if unfinished:
                # the third death of a trial's workers would fail it, as it should
                hits, unfinished = disturbed(night, dice, pace.seconds, worker_too=invocation in (3, 8))
                kills += hits
                resumed += night.went_on(orphans=True)
        night.ends_as(straight.outcome)
        pace.after(kills - before)
        studies += 1
    assert resumed > kills / 10  # many a kill falls before the first checkpoint

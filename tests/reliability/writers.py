"""Processes that write through the real store, say after each commit what was committed, and are killed.

They are forked by a warm parent of one thread, so that a kill costs tens of milliseconds and not the imports.
"""

from __future__ import annotations

import gc
import os
import random
import signal
import time
from collections.abc import Sequence
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, NamedTuple

from results_support import epoch, pipe, process, study_file

from harness.configuration import TrialConfig
from harness.errors import HarnessError
from harness.records import TrialOutcome
from harness.results.store import Store

EPOCHS = 4
ACKNOWLEDGED = 0.7  # share of kills that wait until a writer has said an epoch; the others fall into its beginning
MOST_SECONDS = 0.02  # until the kill: about what the next two commits take


class Acknowledged(NamedTuple):
    """An epoch whose commit has returned."""

    trial: int
    epoch: int


def train_loss(trial: int, number: int) -> float:
    """What the row of an epoch says, so that every row can be checked."""
    return trial + number / 100


def write_epochs(store: Store, study: str, sender: Connection) -> None:
    """A coordinator's inner loop, for ever."""
    row = store.study(study)
    assert row is not None
    with store.hold(row.id):
        while True:
            next_trial(store, row.id, sender)


def next_trial(store: Store, study_id: int, sender: Connection) -> None:
    """The trial that waits, or a new one."""
    trials = store.trials(study_id)
    waiting = next((trial for trial in trials if trial.state == "waiting"), None)
    if waiting is None:
        count = len(trials)
        waiting = store.add_trial(study_id, TrialConfig(epochs=EPOCHS), count, count, None, "explicit")
    one_trial(store, waiting.id, sender)


def one_trial(store: Store, trial: int, sender: Connection) -> None:
    """Take a trial up where its committed epochs end."""
    store.start_trial(trial, "w0", None)
    done = len(store.epoch_values(trial, "train", "loss"))
    for number in range(done + 1, EPOCHS + 1):
        store.record_epoch(trial, epoch(number, train=train_loss(trial, number)))
        sender.send(Acknowledged(trial, number))
    store.finish_trial(trial, TrialOutcome("complete"))


class End(NamedTuple):
    """How a writer of one trial ended that nobody killed: the error's name, its exit code, what it said."""

    error: str = ""
    exit_code: int = 0
    words: str = ""


def write_one_trial(path: Path, gate: Connection, sender: Connection) -> None:
    """One trial of the study `probe`, when the gate opens, and how that went."""
    gate.recv()
    try:
        with Store.open(path) as store, store.hold(1):
            next_trial(store, 1, sender)
        sender.send(End())
    except HarnessError as error:
        sender.send(End(type(error).__name__, error.exit_code, str(error)))
    except BaseException as error:
        sender.send(End(type(error).__name__, -1, str(error)))


def killed_in_rounds(path: Path, studies: Sequence[str], rounds: int, seed: float) -> list[Acknowledged]:
    """What writers said was committed; in each round one for each study writes, and each is killed."""
    receiver, sender = pipe()
    parent = process(kill_in_rounds, path, studies, rounds, seed, sender)
    parent.start()
    sender.close()
    told: list[Acknowledged] = receiver.recv()
    parent.join()
    return told


def kill_in_rounds(path: Path, studies: Sequence[str], rounds: int, seed: float, sender: Any) -> None:
    """The warm parent: forks, listens, kills."""
    dice, told = random.Random(seed), []
    with Store.open(path) as store:
        warm_up(store)
        for _ in range(rounds):
            writers = [fork_writer(store, study) for study in studies]
            told += kill_each(writers, dice)
            for pid, receiver in writers:
                assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
                told += rest(receiver)
    sender.send(told)


def kill_each(writers: Sequence[tuple[int, Connection]], dice: random.Random) -> list[Acknowledged]:
    """Kill one writer after the other, and hear what those said that were killed just after they had said something.

    Whoever speaks first is killed first: to wait for one while the other has the file would take seconds.
    """
    told, living = [], {receiver: pid for pid, receiver in writers}
    while living:
        victim = dice.choice(list(living))
        if dice.random() < ACKNOWLEDGED:
            victim = next(each for each in wait(living) if isinstance(each, Connection))
            told.append(victim.recv())
        time.sleep(dice.uniform(0, MOST_SECONDS))
        os.kill(living.pop(victim), signal.SIGKILL)
    return told


def warm_up(store: Store) -> None:
    """Write a trial, so that no child translates a statement anew; the children's store has no connection open."""
    receiver, sender = Pipe(duplex=False)
    row = store.studies()[0]
    with store.hold(row.id):
        next_trial(store, row.id, sender)
    receiver.close()
    sender.close()
    store.engine.dispose()
    gc.collect()
    gc.freeze()


def fork_writer(store: Store, study: str) -> tuple[int, Connection]:
    """Process id of a writer, and where it is heard."""
    receiver, sender = Pipe(duplex=False)
    pid = os.fork()
    if pid == 0:
        try:
            write_epochs(store, study, sender)
        finally:
            os._exit(1)
    sender.close()
    return pid, receiver


def rest(receiver: Connection) -> list[Acknowledged]:
    """What a dead process had still said; its death may cut the last word off."""
    told: list[Acknowledged] = []
    try:
        while True:
            told.append(receiver.recv())
    except (EOFError, OSError):
        receiver.close()
        return told


def write_many(path: Path, epochs: int, number: int, gate: Any, sender: Connection) -> None:
    """One long trial of a study of its own; says how many seconds each commit took."""
    with Store.open(path) as store:
        row = store.studies()[number]
        gate.wait()
        with store.hold(row.id):
            trial = store.add_trial(row.id, TrialConfig(epochs=epochs), 0, 0, None, "explicit")
            store.start_trial(trial.id, "w0", None)
            seconds = []
            for each in range(1, epochs + 1):
                record, began = epoch(each, train=each / 1_000), time.monotonic()
                store.record_epoch(trial.id, record)
                seconds.append(time.monotonic() - began)
            store.finish_trial(trial.id, TrialOutcome("complete"))
    sender.send(seconds)


def open_together(path: Path, number: int, gate: Any, sender: Connection) -> None:
    """Open a database that is not there yet, and put a study into it."""
    gate.wait()
    try:
        with Store.open(path) as store:
            store.create_study(study_file(f"study-{number}"))
        sender.send("made")
    except HarnessError as error:
        sender.send(str(error))

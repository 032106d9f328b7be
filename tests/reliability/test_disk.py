"""A disk that refuses the so many-th call, for one call after the other until all went well: SQLite's own method.

The calls of a real process to the system are made to fail by strace. After each fault every acknowledged epoch is
there, the error has a name and an exit code, and the next run goes on.
"""

from __future__ import annotations

import errno
import itertools
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from nights import STUDY, Night
from records import violated
from results_support import pipe, process, study_file
from small_disks import NO_DISKS, inside, small_disk
from writers import Acknowledged, End, train_loss, write_one_trial

import harness.checkpoints as checkpoints
from harness.errors import StorageError
from harness.results.store import Store
from harness.snapshots import Snapshot

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
Times = Callable[[int, int], int]
UNTRACED = "faults of single calls of the system were NOT tested (F10, part of F2)"

# --- the n-th call of the database ------------------------------------------------------------------------


class Fault(NamedTuple):
    """What goes wrong.

    Attributes:
        calls: of the system.
        kind: as strace says it.
        lasting: from the so many-th call on, not at it alone.
        stride: every how many-th call is tried in a usual run; a long one tries each.
        exit_codes: that the process may end with, when it can still say something.
    """

    calls: str
    kind: str
    lasting: bool
    stride: int
    exit_codes: frozenset[int]


FAULTS = {
    "I/O error on sync": Fault("fsync,fdatasync", "error=EIO", False, 3, frozenset({73})),
    "disk full for one write": Fault("pwrite64", "error=ENOSPC", False, 61, frozenset({75})),
    "disk full from then on": Fault("pwrite64", "error=ENOSPC", True, 61, frozenset({75})),
    "I/O error on write": Fault("pwrite64", "error=EIO", False, 61, frozenset({73})),
    "I/O error on read": Fault("pread64", "error=EIO", False, 29, frozenset({73})),
    "I/O error on removal": Fault("unlink,unlinkat", "error=EIO", False, 2, frozenset({73})),
    "killed in a write": Fault("pwrite64", "signal=SIGKILL", False, 41, frozenset()),
    "killed in a sync": Fault("fsync,fdatasync", "signal=SIGKILL", False, 5, frozenset()),
}


@pytest.fixture(scope="module")
def strace() -> str:
    """The tool, where it may look at processes."""
    found = shutil.which("strace")
    if found is None:
        pytest.skip(f"strace is not installed: {UNTRACED}")
    probe = subprocess.run([found, "-qq", "-e", "inject=getppid:error=EIO", "true"], capture_output=True)
    if probe.returncode != 0:
        pytest.skip(f"strace may not trace here: {UNTRACED}")
    return found


class Run(NamedTuple):
    """One writer under a fault: whether the call was reached, what was acknowledged, how it ended, its exit code."""

    reached: bool
    told: list[Acknowledged]
    end: End | None
    exit_code: int


def under(strace: str, fault: Fault, number: int, path: Path) -> Run:
    """A process of its own that writes one trial, with the fault at its so many-th call."""
    gate, opener = pipe()
    receiver, sender = pipe()
    child = process(write_one_trial, path, gate, sender)
    child.start()
    sender.close()
    when = f"{number}+" if fault.lasting else str(number)
    expressions = ["-e", f"trace={fault.calls}", "-e", f"inject={fault.calls}:{fault.kind}:when={when}"]
    command = [strace, "-p", str(child.pid), *expressions]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer:
        assert tracer.stderr is not None
        attached = tracer.stderr.readline()
        assert "attached" in attached, attached
        opener.send("go")
        child.join(120)
        log = tracer.stderr.read()
    said = heard(receiver)
    told = [each for each in said if isinstance(each, Acknowledged)]
    end = next((each for each in said if isinstance(each, End)), None)
    return Run("(INJECTED)" in log or child.exitcode == -signal.SIGKILL, told, end, child.exitcode)


def heard(receiver: Any) -> list[Any]:
    """Everything that a process said before it ended."""
    said = []
    try:
        while True:
            said.append(receiver.recv())
    except (EOFError, OSError):
        receiver.close()
        return said


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_at_any_call_loses_no_epoch_and_has_a_name(
    strace: str, name: str, tmp_path: Path, times: Times
) -> None:
    fault, path = FAULTS[name], tmp_path / "results.db"
    with Store.open(path) as store:
        store.create_study(study_file())
    told: list[Acknowledged] = []
    faults = 0
    for number in itertools.count(1, times(fault.stride, 1)):
        run = under(strace, fault, number, path)
        told += run.told
        if run.exit_code == -signal.SIGKILL:
            assert fault.kind == "signal=SIGKILL"
        else:
            assert run.end is not None
            assert run.end.exit_code in {0, *fault.exit_codes}, (number, run.end)
        faults += run.reached
        whole(path, told)
        if not run.reached:
            assert run.end == End()
            break
    assert faults >= 3
    assert [violation for violation in violated(path) if violation.invariant != "I6"] == []


def whole(path: Path, told: list[Acknowledged]) -> None:
    """What was acknowledged is there once and as it was written; nothing is wrong that going on does not mend."""
    assert len(told) == len(set(told)), "an epoch was committed twice"
    assert [str(violation) for violation in violated(path) if not violation.mend] == []
    with Store.open(path) as store:
        found = {trial.id: store.epoch_values(trial.id, "train", "loss") for trial in store.trials(1)}
    for trial, epochs in found.items():
        assert epochs == {each: train_loss(trial, each) for each in epochs}
    assert all(each.epoch in found[each.trial] for each in told), "a committed epoch is lost"


# --- the n-th sync of a checkpoint ------------------------------------------------------------------------

IDENTITY = {"seed": 3}


def snapshot(number: int) -> Snapshot:
    tensors = {"model": {"weight": torch.full((64,), float(number))}, "optimizer": {"moment": torch.zeros(64)}}
    return Snapshot({"number": number}, tensors)


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_a_checkpoint_whose_sync_fails_at_any_call_leaves_the_one_before(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.fsync
    checkpoints.save(tmp_path, IDENTITY, snapshot(0))
    for number in range(100):
        calls = itertools.count()

        def fsync(handle: int, failing: int = number, calls: Iterator[int] = calls) -> None:
            if next(calls) == failing:
                raise OSError(code, os.strerror(code))
            real(handle)

        monkeypatch.setattr(os, "fsync", fsync)
        try:
            checkpoints.save(tmp_path, IDENTITY, snapshot(1))
            break
        except StorageError:
            found = checkpoints.find(tmp_path, IDENTITY)
            assert found.snapshot is not None and found.incidents == ()
            newest = [path.name for path in (tmp_path / "checkpoints").iterdir()]
            # the last sync is of the folder's name: then the new one is whole, and may be there or not
            assert found.snapshot.document["number"] == (1 if "000002" in newest else 0)
            shutil.rmtree(tmp_path / "checkpoints" / "000002", ignore_errors=True)
    assert number > 4
    found = checkpoints.find(tmp_path, IDENTITY)
    assert found.snapshot is not None and found.snapshot.document["number"] == 1


# --- a disk that nobody may write -------------------------------------------------------------------------


@pytest.fixture
def read_only_disk(tmp_path: Path) -> Iterator[tuple[Night, Path]]:
    """A study whose one trial is done, on a file system that was then made read-only."""
    with small_disk(tmp_path, kilobytes=16_000) as disk:
        text = STUDY.replace("  - {epochs: 12, learning_rate: 5e-4}\n", "").replace("keep: 2", "keep: 0")
        night = Night(disk, text)
        night.within = inside(disk)
        code, output = night.run()
        assert code == 0, output
        mounted = Path("/", *disk.parts[4:])
        remount = [*inside(disk), "sh", "-c", f"cd / && mount -o remount,ro '{mounted}'"]
        if subprocess.run(remount, capture_output=True).returncode != 0:
            pytest.skip(NO_DISKS)
        yield night, disk


def test_a_read_only_disk_is_refused_before_the_first_trial_and_can_be_read(
    read_only_disk: tuple[Night, Path],
) -> None:
    night, _ = read_only_disk
    code, output = night.run("--set", "replicates=2")
    assert code == 73, output
    assert "Traceback" not in output
    code, output = night.harness("status", "--json")
    assert code == 0, output
    assert '"complete": 2' in output.replace("\n", "")

"""Snapshots on disk: a resumed trial is the uninterrupted one, and a damaged folder is never believed."""

import errno
import json
import os
import random
from pathlib import Path

import numpy as np
import pytest
import small_models
import torch
from small_disks import fill, small_disk

import harness.checkpoints as checkpoints
import harness.snapshots as snapshots
from harness.errors import StorageError
from harness.training import train
from harness.training_plan import prepare

IDENTITY = {"configuration": "c", "seed": 3, "fold": None, "data": "d", "weights": "w"}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return small_models.model_folder(tmp_path_factory.mktemp("bert"))


def plan_of(path, **values):
    settings = {"dropout": 0.2, "epochs": 3, "gradient_accumulation": 2, "batch_size": 4, "learning_rate": 5e-3}
    return small_models.plan(path, rows=44, **settings | values)


def ending(plan, state):
    """Everything that must agree: weights, moments, best weights, and records without their clocks."""
    snapshot = snapshots.capture(plan, state)
    clocks = ("seconds", "windows", "peak", "load")
    records = [
        {key: value for key, value in record.items() if not any(word in key for word in clocks)}
        for record in snapshot.document["records"]
    ]
    return records, snapshot.document["best_epoch"], snapshot.tensors


def assert_same(one, other):
    assert one[:2] == other[:2]
    assert one[2].keys() == other[2].keys()
    for file, tensors in one[2].items():
        assert tensors.keys() == other[2][file].keys()
        for name, value in tensors.items():
            assert torch.equal(torch.nan_to_num(value), torch.nan_to_num(other[2][file][name])), (file, name)


def interrupted(plan, folder, stops):
    """Train, and at each number of events in `stops` save, forget everything, and go on from disk."""
    state = prepare(plan)
    for stop in stops:
        for count, _ in enumerate(train(plan, state), 1):
            if count == stop:
                checkpoints.save(folder, IDENTITY, snapshots.capture(plan, state))
                break
        state = prepare(plan)
        found = checkpoints.find(folder, IDENTITY)
        assert found.snapshot is not None and not found.incidents
        snapshots.restore(plan, state, found.snapshot)
    list(train(plan, state))
    return ending(plan, state)


@pytest.mark.parametrize("seed", range(4))
def test_resumed_equals_uninterrupted_bit_for_bit(path, tmp_path, seed):
    plan = plan_of(path)
    state = prepare(plan)
    list(train(plan, state))
    expected = ending(plan, state)
    stops = [random.Random(seed).randint(1, 8) for _ in range(3)]
    assert_same(interrupted(plan, tmp_path, stops), expected)


def test_resuming_gradual_unfreezing_brings_back_the_moments_of_trained_layers_alone(path, tmp_path):
    plan = plan_of(path, freeze="gradual")
    state = prepare(plan)
    list(train(plan, state))
    assert_same(interrupted(plan, tmp_path, [8, 3]), ending(plan, state))


def saved(path, folder, times=1):
    plan = plan_of(path)
    state = prepare(plan)
    folders = []
    for count, _ in enumerate(train(plan, state), 1):
        folders.append(checkpoints.save(folder, IDENTITY, snapshots.capture(plan, state)))
        if count == times:
            return folders


def test_two_generations_are_kept(path, tmp_path):
    folders = saved(path, tmp_path, times=4)
    assert [folder.exists() for folder in folders] == [False, False, True, True]
    assert {entry.name for entry in (tmp_path / "checkpoints").iterdir()} == {"000003", "000004"}


def files_of(folder):
    return sorted(file.name for file in folder.iterdir())


def test_nothing_in_a_checkpoint_is_a_pickle(path, tmp_path):
    (folder,) = saved(path, tmp_path)
    assert {Path(name).suffix for name in files_of(folder)} == {".safetensors", ".json"}


def flip(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def halve(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


@pytest.mark.parametrize("damage", [flip, halve, Path.unlink], ids=["flipped bit", "torn", "missing"])
@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "state.json", "manifest.json"])
def test_a_damaged_checkpoint_is_refused_and_the_older_one_used(path, tmp_path, name, damage):
    older, newer = saved(path, tmp_path, times=2)
    damage(newer / name)
    found = checkpoints.find(tmp_path, IDENTITY)
    assert found.snapshot.document == {
        key: value for key, value in json.loads((older / "state.json").read_text()).items() if key != "identity"
    }
    assert [incident.kind for incident in found.incidents] == ["checkpoint_refused"]
    assert newer.name in found.incidents[0].message
    damage(older / name)
    assert checkpoints.find(tmp_path, IDENTITY).snapshot is None


def test_a_checkpoint_of_another_trial_is_refused(path, tmp_path):
    saved(path, tmp_path)
    found = checkpoints.find(tmp_path, IDENTITY | {"seed": 4})
    assert found.snapshot is None
    assert "another trial: seed differ" in found.incidents[0].message


def test_a_draft_is_no_checkpoint(path, tmp_path):
    (folder,) = saved(path, tmp_path)
    folder.rename(folder.with_name(".draft-1"))
    assert checkpoints.find(tmp_path, IDENTITY) == (None, ())


def test_a_folder_that_cannot_be_written_is_told(path, tmp_path):
    (tmp_path / "checkpoints").write_text("in the way")
    with pytest.raises(StorageError, match="could not be written"):
        saved(path, tmp_path)


def test_a_full_disk_leaves_the_older_generation_and_nothing_of_the_new_one(path, tmp_path):
    with small_disk(tmp_path, kilobytes=4096) as disk:
        (older,) = saved(path, disk)
        size = sum(file.stat().st_size for file in older.iterdir())
        fill(disk, leave=size // 1024 // 2)
        with pytest.raises(StorageError, match="No space left on device"):
            saved(path, disk)
        assert [entry.name for entry in (disk / "checkpoints").iterdir()] == [older.name]
        assert checkpoints.find(disk, IDENTITY).snapshot is not None


def test_a_folder_whose_name_cannot_be_given_leaves_what_had_the_name(tmp_path, monkeypatch):
    with checkpoints.whole_or_nothing(tmp_path / "model") as draft:
        (draft / "file").write_text("first")
    rename = Path.rename

    def refuse(source, target):
        if source.name.startswith(".draft"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))
        return rename(source, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(StorageError), checkpoints.whole_or_nothing(tmp_path / "model") as draft:
        (draft / "file").write_text("second")
    assert [entry.name for entry in tmp_path.iterdir()] == ["model"]
    assert (tmp_path / "model" / "file").read_text() == "first"


def test_logits_survive_the_disk_exactly(path, tmp_path):
    plan = plan_of(path, epochs=1)
    state = prepare(plan)
    list(train(plan, state))
    checkpoints.save(tmp_path, IDENTITY, snapshots.capture(plan, state))
    again = prepare(plan)
    snapshots.restore(plan, again, checkpoints.find(tmp_path, IDENTITY).snapshot)
    (record,) = again.records
    assert np.array_equal(record.outputs["logits"], state.records[0].outputs["logits"])
    assert np.array_equal(record.margins, state.records[0].margins)
    assert record.metrics == state.records[0].metrics and record.windows == state.records[0].windows

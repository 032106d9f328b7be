"""The cache of tensors: found by key, checked, bounded, shared by processes."""

import errno
import os
import subprocess
import sys
import time

import pytest
import torch
from small_disks import fill, small_disk

from harness.cache import Cache

MEGABYTE = 1_000_000


def values(seed: int, kilobytes: int = 100) -> torch.Tensor:
    return torch.rand(kilobytes * 250, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_was_saved_is_loaded_bit_for_bit_by_another_process_object(tmp_path, dtype):
    saved = values(1).to(dtype).reshape(100, -1)
    Cache(tmp_path, MEGABYTE).save("key", saved, 2.5)
    entry = Cache(tmp_path, MEGABYTE).load("key")
    assert entry is not None
    assert torch.equal(entry.values, saved) and entry.values.dtype == dtype
    assert entry.seconds == 2.5


def test_an_unknown_key_is_none(tmp_path):
    assert Cache(tmp_path / "nowhere", MEGABYTE).load("key") is None


@pytest.mark.parametrize("damage", ["flip", "cut", "empty"])
def test_a_damaged_entry_is_removed_and_named(tmp_path, damage):
    Cache(tmp_path, MEGABYTE).save("key", values(1), 1.0)
    path = tmp_path / "key.safetensors"
    content = bytearray(path.read_bytes())
    if damage == "flip":
        content[-5] ^= 1
    path.write_bytes({"flip": content, "cut": content[:-9], "empty": b""}[damage])
    cache = Cache(tmp_path, MEGABYTE)
    assert cache.load("key") is None
    assert cache.damaged == ["key"]
    assert not path.exists()


def test_a_damaged_entry_that_cannot_be_removed_is_none_and_its_values_stay_in_memory(tmp_path):
    (tmp_path / "key.safetensors" / "in the way").mkdir(parents=True)  # root, too, is refused to unlink a folder
    cache = Cache(tmp_path, MEGABYTE)
    assert cache.load("key") is None
    assert cache.damaged == ["key"]
    assert torch.equal(cache.save("key", values(1), 1.0).values, values(1))
    assert (tmp_path / "key.safetensors").is_dir()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".key")]


def test_an_entry_whose_time_of_use_cannot_be_written_is_read_all_the_same(tmp_path, monkeypatch):
    Cache(tmp_path, MEGABYTE).save("key", values(1), 1.0)

    def refused(*_):
        raise PermissionError(errno.EPERM, "Operation not permitted")  # as for a file of another user

    monkeypatch.setattr(os, "utime", refused)
    cache = Cache(tmp_path, MEGABYTE)
    assert torch.equal(cache.load("key").values, values(1)) and cache.damaged == []


def test_the_least_recently_used_entry_makes_room(tmp_path):
    cache = Cache(tmp_path, 350_000)
    for age, key in enumerate(("old", "middle", "young")):
        cache.save(key, values(age), 1.0)
        os.utime(tmp_path / f"{key}.safetensors", (1_000 + age, 1_000 + age))
    cache.load("old")  # used now
    cache.save("new", values(9), 1.0)
    assert {path.stem for path in tmp_path.glob("*.safetensors")} == {"old", "young", "new"}


def test_what_is_larger_than_the_budget_stays_in_memory_and_evicts_nothing(tmp_path):
    cache = Cache(tmp_path, 150_000)
    cache.save("small", values(1), 1.0)
    kept = cache.save("large", values(2, 200), 1.0)
    assert torch.equal(kept.values, values(2, 200))
    assert {path.stem for path in tmp_path.glob("*.safetensors")} == {"small"}


def test_a_full_disk_leaves_the_values_in_memory_and_no_draft(tmp_path):
    (tmp_path / "disk").mkdir()
    with small_disk(tmp_path / "disk", 300) as folder:
        fill(folder)
        kept = Cache(folder, MEGABYTE).save("key", values(1), 1.0)
        assert torch.equal(kept.values, values(1))
        assert not [path for path in folder.iterdir() if "key" in path.name]


def test_one_process_at_a_time_has_the_turn_and_death_ends_it(tmp_path):
    script = (
        "import sys, time; from pathlib import Path; from harness.cache import Cache\n"
        "held = Cache(Path(sys.argv[1]), 1).take_turn('model'); print(held is not None, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "True\n"
        cache = Cache(tmp_path, 1)
        assert cache.take_turn("model") is None
        other_model = cache.take_turn("other model")
        assert other_model is not None
        other_model.close()
        other.kill()
        other.wait()
    deadline = time.monotonic() + 5
    while (held := cache.take_turn("model")) is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert held is not None
    held.close()

"""Whether this machine can do a night: space, device, packages, and what has to come from the Hub. Without torch."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import sqlite3
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pynvml
from huggingface_hub import constants
from huggingface_hub.file_download import repo_folder_name
from packaging.requirements import Requirement

from harness.builtin.tiny import PREFIX
from harness.environment import installed, usable_cores
from harness.errors import HarnessError, HeldError, StorageError, UnavailableError
from harness.executors.local import visible_gpus
from harness.findings import Finding, good, note, wrong
from harness.results.engine import wal_is_safe
from harness.results.filesystems import network_file_system
from harness.spec import StudySpec
from harness.study_file.values import split_revision

LITTLE_BYTES = 1_000_000_000
COPIES = 4  # of the weights in a checkpoint: weights, two moments, the best so far
GENERATIONS = 2
HUB_SECONDS = 5


def space(folder: Path, parameters: int, keep: int) -> Finding:
    """Free space where checkpoints and models go.

    Args:
        folder: it need not exist yet.
        parameters: of the largest model of the study, 0 where it is not known.
        keep: how many models the study keeps.
    """
    there = next(each for each in (folder, *folder.absolute().parents) if each.is_dir())
    free = shutil.disk_usage(there).free
    needed = parameters * 4 * (COPIES * GENERATIONS + keep)
    words = f"{free / 1e9:,.1f} GB are free for {folder}"
    if needed:
        words += f"; checkpoints and kept models of this study take up to {needed / 1e9:,.2f} GB"
    if free < needed:
        return wrong("space", HeldError, words, "free some space, or move everything with --db")
    if free < LITTLE_BYTES:
        return note("space", words, "free some space before a long night")
    return good("space", words)


def place(folder: Path) -> Finding:
    """Whether the folder of a database can be written and keeps locks."""
    there = next(each for each in (folder, *folder.absolute().parents) if each.is_dir())
    kind = network_file_system(there)
    if kind:
        words = f"{folder} lies on a network file system ({kind}), where locks do not hold"
        return wrong("place", StorageError, words, "a local disk with --db, or a postgresql+psycopg:// server")
    if not os.access(there, os.W_OK):
        return wrong("place", StorageError, f"{there} cannot be written", "another place with --db")
    return good("place", f"{folder} can be written")


def device() -> Finding:
    """What trials run on, as the driver tells it."""
    gpus = visible_gpus()
    if not gpus:
        return good("device", f"no NVIDIA GPU is visible: trials run on the CPU, with {usable_cores()} cores")
    names = ", ".join(_gpu(index) for index in gpus)
    torch = installed("torch") or ""
    if torch.endswith("+cpu"):
        words = f"{names}, and torch {torch} is a build without CUDA"
        return wrong("device", UnavailableError, words, "install a torch with CUDA, or set CUDA_VISIBLE_DEVICES=-1")
    return good("device", names)


def _gpu(identity: str) -> str:
    """Name and free memory of a device that is named by its number or its id."""
    try:
        found = pynvml.nvmlDeviceGetHandleByIndex if identity.isdigit() else pynvml.nvmlDeviceGetHandleByUUID
        handle = found(int(identity) if identity.isdigit() else identity)
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
        return f"{pynvml.nvmlDeviceGetName(handle)} ({memory.free / 1e9:.0f} of {memory.total / 1e9:.0f} GB free)"
    except pynvml.NVMLError as error:
        return f"device {identity} ({error})"


def packages() -> Iterator[Finding]:
    """Installed versions against those that the project asks for."""
    asked = [Requirement(text) for text in importlib.metadata.requires("harness") or ()]
    needed = [each for each in asked if each.marker is None or each.marker.evaluate({"extra": ""})]
    for each in needed:
        version = installed(each.name)
        if version is None or not each.specifier.contains(version, prereleases=True):
            words = f"{each.name} {version or 'is not installed'}, {each.specifier or 'any version'} is asked for"
            yield wrong("packages", HarnessError, words, f"pip install '{each.name}{each.specifier}'")
    journal = (
        "write-ahead log" if wal_is_safe() else "rollback journal: this SQLite's write-ahead log has a known fault"
    )
    yield good("packages", f"{len(needed)} packages looked at; SQLite {sqlite3.sqlite_version} with {journal}")


def changed_packages(recorded: Mapping[str, Any]) -> Finding:
    """Versions against those of the study's last trial: only equal ones promise equal bits."""
    before: Mapping[str, str] = recorded.get("packages") or {}
    changed = [
        f"{name} {old} is {installed(name) or 'gone'} now" for name, old in before.items() if installed(name) != old
    ]
    if changed:
        words = f"since the study's last trial: {', '.join(changed)}"
        return note("versions", words, "the same versions give the same bits; others may differ in the last digits")
    return good("versions", "the same as in the study's last trial")


# --- the Hub --------------------------------------------------------------------------------------------


def hub(spec: StudySpec | None) -> Finding:
    """Whether what a study needs is here, or can be had."""
    if spec is None:
        return good("hub", "not asked: name a study to see what it needs")
    missing = [name for name, kind in _from_the_hub(spec) if not _cached(name, kind)]
    if not missing:
        return good("hub", "not needed: models and data are on this machine")
    words = f"{', '.join(missing)} must come from the Hub"
    if constants.HF_HUB_OFFLINE:
        return wrong("hub", UnavailableError, f"{words}, and HF_HUB_OFFLINE forbids it", "unset HF_HUB_OFFLINE")
    if fault := _out_of_reach():
        return wrong("hub", UnavailableError, f"{words}, and it does not answer: {fault}", "see to the network")
    return good("hub", f"{words}, which answers")


def _from_the_hub(spec: StudySpec) -> list[tuple[str, str]]:
    """Names that are no folder and nothing built in, each with its kind on the Hub."""
    names = [(split_revision(model)[0], "model") for model in spec.models()] + [(spec.data.path, "dataset")]
    return [(name, kind) for name, kind in names if not name.startswith(PREFIX) and not Path(name).exists()]


def _cached(name: str, kind: str) -> bool:
    """Whether some commit of it is in the Hub's cache."""
    snapshots = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=name, repo_type=kind) / "snapshots"
    return snapshots.is_dir() and any(snapshots.iterdir())


def _out_of_reach() -> str:
    """Why the Hub does not answer; empty when it does, whatever it says."""
    request = urllib.request.Request(constants.ENDPOINT, method="HEAD")  # noqa: S310 the Hub's own address
    try:
        urllib.request.urlopen(request, timeout=HUB_SECONDS).close()  # noqa: S310
    except urllib.error.HTTPError:
        return ""
    except OSError as error:
        return str(getattr(error, "reason", error))
    return ""

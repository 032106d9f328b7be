"""Snapshots on disk: whole or not there at all, verified before they are believed, two generations kept.

A checkpoint is a folder of safetensors and JSON. Its manifest, with the SHA-256 of every file, is
written last; the folder gets its name when everything in it has reached the disk.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

import harness.disk as disk
from harness.configuration import canonical_json
from harness.errors import StorageError
from harness.records import Incident
from harness.snapshots import Snapshot

FORMAT = 2
GENERATIONS = 2
MANIFEST = "manifest.json"
_FOLDER = "checkpoints"


class Found(NamedTuple):
    """The newest checkpoint that can be believed, if any, and what was wrong with newer ones."""

    snapshot: Snapshot | None
    incidents: tuple[Incident, ...]


def save(folder: Path, identity: Mapping[str, Any], snapshot: Snapshot) -> Path:
    """Write one more generation below a trial's folder and drop the oldest beyond two.

    Args:
        folder: the trial's folder.
        identity: what a resumed trial must agree with: configuration, seed, data, weights.
        snapshot: the moment to keep.

    Raises:
        StorageError: when the disk is full or cannot be written; earlier generations are untouched.
    """
    root = folder / _FOLDER
    number = max((int(path.name) for path in _generations(folder)), default=0) + 1
    final = root / f"{number:06d}"
    with whole_or_nothing(final) as draft:
        for name, tensors in snapshot.tensors.items():
            held = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
            save_file(held, draft / f"{name}.safetensors")
        (draft / "state.json").write_text(canonical_json({"identity": dict(identity), **snapshot.document}))
    for old in _generations(folder)[GENERATIONS:]:
        shutil.rmtree(old, ignore_errors=True)
    return final


@contextmanager
def whole_or_nothing(final: Path) -> Iterator[Path]:
    """A folder to fill, published under its name at the end; after an error nothing of it is left.

    Raises:
        StorageError: when the disk is full or cannot be written.
    """
    draft = final.with_name(f".draft-{final.name}")
    try:
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        yield draft
        publish(draft, final)
    except BaseException as error:
        shutil.rmtree(draft, ignore_errors=True)
        if isinstance(error, OSError | SafetensorError) or disk.is_full(error):
            raise StorageError(f"{final} could not be written: {error}") from error
        raise


def publish(draft: Path, final: Path) -> None:
    """Give a finished folder its manifest and its name, atomically; what had the name before is replaced."""
    sums = {path.name: _sha256(path) for path in sorted(draft.iterdir())}
    part = draft / f".{MANIFEST}"
    part.write_text(canonical_json({"format": FORMAT, "sha256": sums}))
    for path in draft.iterdir():
        _sync(path)
    part.rename(draft / MANIFEST)
    _sync(draft)
    old = final.with_name(f".old-{final.name}")
    if final.exists():
        shutil.rmtree(old, ignore_errors=True)
        final.rename(old)
    try:
        draft.rename(final)
    except OSError:
        if old.exists():
            old.rename(final)
        raise
    _sync(final.parent)
    shutil.rmtree(old, ignore_errors=True)


def verify(folder: Path) -> str:
    """What is wrong with a published folder, in words; empty when every file is as it was written."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        if manifest["format"] != FORMAT:
            return f"format {manifest['format']}, this version reads {FORMAT}"
        sums = manifest["sha256"]
        wrong = [name for name, expected in sums.items() if _sha256(folder / name) != expected]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"{type(error).__name__}: {error}"
    return f"checksum of {', '.join(wrong)} differs" if wrong else ""


def find(folder: Path, identity: Mapping[str, Any]) -> Found:
    """Read the newest checkpoint that is whole and belongs to this trial."""
    incidents: list[Incident] = []
    for path in _generations(folder):
        fault = verify(path)
        if not fault:
            try:
                snapshot, stored = _read(path)
            except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:  # whatever its sums say
                fault = f"{type(error).__name__}: {error}"
        if not fault:
            differing = sorted(key for key in identity if stored.get(key) != identity[key])
            if not differing:
                return Found(snapshot, tuple(incidents))
            fault = f"it belongs to another trial: {', '.join(differing)} differ"
        message = f"checkpoint {path.name} was refused: {fault}"
        incidents.append(Incident("checkpoint_refused", message, {"checkpoint": path.name, "fault": fault}))
    return Found(None, tuple(incidents))


def clear(folder: Path) -> None:
    """Remove all checkpoints of a trial, drafts included."""
    shutil.rmtree(folder / _FOLDER, ignore_errors=True)


def _generations(folder: Path) -> list[Path]:
    """Published checkpoints, newest first."""
    root = folder / _FOLDER
    found = [path for path in root.iterdir() if path.name.isdigit()] if root.is_dir() else []
    return sorted(found, key=lambda path: int(path.name), reverse=True)


def _read(path: Path) -> tuple[Snapshot, dict[str, Any]]:
    document = json.loads((path / "state.json").read_text())
    tensors = {file.stem: load_file(file) for file in path.glob("*.safetensors")}
    return Snapshot(document, tensors), document.pop("identity")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some file systems cannot sync a folder
            raise
    finally:
        os.close(handle)

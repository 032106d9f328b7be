"""Runs as W&B's offline folders, which `wandb sync` uploads and `wandb leet` shows; nothing is sent from here.

The records are W&B's own messages. Its client would date every run to the moment of the export and describe the
machine that exports, so the log that holds them is written here: LevelDB's format with W&B's opening bytes.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness.drafts import draft_of
from harness.errors import UnavailableError, UsageError
from harness.exchange.runs import Run
from harness.results.targets import storage_errors

OPENING = b":W&B" + struct.pack("<HB", 0xBEE1, 0)
BLOCK = 32 * 1024
HEADER = struct.Struct("<IHB")
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4
EXIT_CODES = {"complete": 0, "failed": 1, "pruned": 255}
"""W&B calls a run with another code than 0 failed; 255 is its word for one that was stopped."""


def write(runs: list[Run], folder: Path) -> list[Path]:
    """One offline folder a run below `folder`; returns them.

    Raises:
        UnavailableError: when wandb is not installed.
        UsageError: for a run that W&B has already and that is another by now.
        StorageError: when a file cannot be written.
    """
    try:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        from wandb.proto import wandb_internal_pb2 as messages
    except ImportError:
        raise UnavailableError(
            'offline folders of W&B need wandb: pip install ".[wandb]" in the folder of harness'
        ) from None
    written = []
    with storage_errors(folder):
        for run in runs:
            begun = datetime.fromtimestamp(run.begun, UTC).strftime("%Y%m%d_%H%M%S")
            path = folder / f"offline-run-{begun}-{run.key}" / f"run-{run.key}.wandb"
            _replace(path, log(record.SerializeToString() for record in _records(run, messages)))
            written.append(path.parent)
    return written


def _replace(path: Path, content: bytes) -> None:
    """Write a file, unless it is there with this content; of what was uploaded another content is refused."""
    if path.is_file() and path.read_bytes() == content:
        return
    if path.with_name(path.name + ".synced").exists():
        raise UsageError(
            f"{path} was uploaded with other figures, and W&B would add to them; "
            f"delete that run at W&B, remove {path.parent} and export again"
        )
    (path.parent / "files").mkdir(parents=True, exist_ok=True)
    with draft_of(path) as draft:
        draft.write(content)


# --- the log --------------------------------------------------------------------------------------------


def log(records: Iterator[bytes]) -> bytes:
    """Records as W&B's transaction log: parts with checksums, of which none crosses the end of a block."""
    found = bytearray(OPENING)
    for record in records:
        rest, begun = memoryview(record), False
        while True:
            room = BLOCK - len(found) % BLOCK
            if room < HEADER.size:
                found += bytes(room)
                room = BLOCK
            part = rest[: room - HEADER.size]
            rest = rest[len(part) :]
            kind = (MIDDLE if rest else LAST) if begun else (FIRST if rest else FULL)
            found += HEADER.pack(zlib.crc32(part, zlib.crc32(bytes([kind]))), len(part), kind) + part
            if not rest:
                break
            begun = True
    return bytes(found)


def _records(run: Run, messages: Any) -> Iterator[Any]:
    """What W&B's client would have said, had it watched the trial."""
    for number, (kind, message) in enumerate(_said(run, messages), start=1):
        record = messages.Record(num=number, **{kind: message})
        record._info.stream_id = run.key
        yield record


def _said(run: Run, messages: Any) -> Iterator[tuple[str, Any]]:
    import wandb

    about = messages.VersionInfo(producer=wandb.__version__, min_consumer="0.70.0")
    yield "header", messages.HeaderRecord(version_info=about)
    yield "run", _opening(run, messages)
    yield "metric", messages.MetricRecord(name="epoch", options=messages.MetricOptions(defined=True))
    for name in run.curves:
        options = messages.MetricOptions(step_sync=True, defined=True)
        yield "metric", messages.MetricRecord(name=name, step_metric="epoch", options=options)
    for epoch in sorted({point.epoch for points in run.curves.values() for point in points}):
        yield "history", _history(run, epoch, messages)
    update = [_item(messages.SummaryItem, name, value) for name, value in _summary(run).items()]
    yield "summary", messages.SummaryRecord(update=update)
    yield "exit", messages.RunExitRecord(exit_code=EXIT_CODES[run.state], runtime=round(run.ended - run.begun))


def _opening(run: Run, messages: Any) -> Any:
    config = {**run.parameters, "harness": dict(run.tags)}
    found = messages.RunRecord(
        run_id=run.key,
        project=run.study,
        display_name=run.name,
        run_group=f"configuration {run.configuration}",
        notes=run.tags.get("message", ""),
        tags=[word for word in (run.state, run.tags.get("reason"), run.tags.get("verdict")) if word],
        config=messages.ConfigRecord(update=[_item(messages.ConfigItem, *each) for each in config.items()]),
    )
    found.start_time.FromMicroseconds(round(run.begun * 1e6))
    return found


def _history(run: Run, epoch: int, messages: Any) -> Any:
    points = {name: point for name, curve in run.curves.items() for point in curve if point.epoch == epoch}
    at = max(point.at for point in points.values())
    values = {name: point.value for name, point in points.items()} | {"epoch": epoch}
    values |= {"_step": epoch, "_timestamp": at, "_runtime": max(0.0, at - run.begun)}
    items = [messages.HistoryItem(nested_key=[name], value_json=json.dumps(value)) for name, value in values.items()]
    return messages.HistoryRecord(item=items, step=messages.HistoryStep(num=epoch))


def _summary(run: Run) -> dict[str, Any]:
    last = {name: points[-1].value for name, points in run.curves.items()}
    return last | dict(run.finals) | {"_runtime": run.ended - run.begun, "_wandb": {"runtime": run.ended - run.begun}}


def _item(kind: Any, name: str, value: Any) -> Any:
    return kind(key=name, value_json=json.dumps(value, allow_nan=False))

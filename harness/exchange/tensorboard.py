"""Runs as TensorBoard's event files: one folder a trial, curves by epoch, hyperparameters for its table.

A trial's file has always the same name and content, so exporting again replaces it by the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.drafts import draft_of
from harness.errors import UnavailableError
from harness.exchange.runs import Run
from harness.results.targets import storage_errors

STATUS = {"complete": "STATUS_SUCCESS", "pruned": "STATUS_FAILURE", "failed": "STATUS_FAILURE"}


def write(runs: list[Run], folder: Path) -> list[Path]:
    """One event file a run below `folder`, which `tensorboard --logdir` takes; returns the files.

    Raises:
        UnavailableError: when tensorboard is not installed.
        StorageError: when a file cannot be written.
    """
    try:
        from tensorboard.summary.writer.record_writer import RecordWriter
    except ImportError:
        raise UnavailableError(
            'event files need tensorboard: pip install ".[tensorboard]" in the folder of harness'
        ) from None
    written = []
    with storage_errors(folder):
        for run in runs:
            path = folder / f"trial-{run.number:04d}" / f"events.out.tfevents.{int(run.begun)}.{run.key}"
            path.parent.mkdir(parents=True, exist_ok=True)
            with draft_of(path) as draft:
                writer = RecordWriter(draft)
                for event in _events(run):
                    writer.write(event.SerializeToString())
                writer.flush()
            written.append(path)
    return written


def _events(run: Run) -> Iterator[Any]:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams.summary_v2 import hparams_pb
    from tensorboard.plugins.text.summary_v2 import text_pb

    yield Event(wall_time=run.begun, file_version="brain.Event:2")
    values = {name: _hyperparameter(value) for name, value in run.parameters.items()}
    repeats = f"{run.study}: configuration {run.configuration}"  # its table takes the mean of what has one name
    yield Event(wall_time=run.begun, summary=hparams_pb(values, repeats, run.begun))
    rows = "\n".join(f"| {name} | {_cell(value)} |" for name, value in run.tags.items())
    yield Event(wall_time=run.begun, summary=text_pb("harness", f"| tag | value |\n|---|---|\n{rows}"))
    for name, points in run.curves.items():
        for point in points:
            shown = Summary(value=[Summary.Value(tag=name, simple_value=point.value)])
            yield Event(wall_time=point.at, step=point.epoch, summary=shown)
    for name, value in run.finals.items():
        yield Event(wall_time=run.ended, summary=Summary(value=[Summary.Value(tag=name, simple_value=value)]))
    yield Event(wall_time=run.ended, summary=_session_end(run))


def _session_end(run: Run) -> Any:
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

    status = api_pb2.Status.Value(STATUS[run.state])
    ended = plugin_data_pb2.SessionEndInfo(status=status, end_time_secs=run.ended)
    about = metadata.create_summary_metadata(plugin_data_pb2.HParamsPluginData(session_end_info=ended))
    tag = metadata.SESSION_END_INFO_TAG
    return Summary(value=[Summary.Value(tag=tag, metadata=about, tensor=metadata.NULL_TENSOR)])


def _hyperparameter(value: Any) -> bool | float | str:
    """Its table knows booleans, numbers and words."""
    return value if isinstance(value, bool | int | float | str) else json.dumps(value)


def _cell(words: str) -> str:
    return " ".join(words.replace("|", "\\|").split())

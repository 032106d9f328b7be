"""Runs as MLflow's: an experiment a study, in MLflow's database file, which `mlflow ui` takes.

A run carries the key of its trial. One that is there and says the same stays; another is moved to MLflow's trash.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from harness.configuration import fingerprint
from harness.errors import UnavailableError, UsageError
from harness.exchange.runs import Run
from harness.results.targets import storage_errors

FILE = "mlflow.db"
STATUS = {"complete": "FINISHED", "pruned": "KILLED", "failed": "FAILED"}
KEY, CONTENT = "harness.key", "harness.content"
AT_ONCE = {"metrics": 1000, "params": 100, "tags": 100}
"""Entries that MLflow takes in one call."""


def write(runs: list[Run], folder: Path) -> list[Path]:
    """The runs in `folder`'s MLflow database; returns its path.

    Raises:
        UnavailableError: when mlflow is not installed.
        UsageError: when the experiment lies in MLflow's trash.
        StorageError: when the file cannot be written.
    """
    for name, value in (("MLFLOW_DISABLE_TELEMETRY", "true"), ("DO_NOT_TRACK", "true")):
        os.environ[name] = value
    try:
        from mlflow import MlflowClient
    except ImportError:
        raise UnavailableError(
            'MLflow\'s database needs mlflow: pip install ".[mlflow]" in the folder of harness'
        ) from None
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    path = (folder / FILE).resolve()
    with storage_errors(path):
        folder.mkdir(parents=True, exist_ok=True)
        client = MlflowClient(tracking_uri=f"sqlite:///{path}")
        for study in dict.fromkeys(run.study for run in runs):
            experiment = _experiment(client, study, folder)
            there = {run.data.tags.get(KEY): run for run in _all_runs(client, experiment)}
            for run in runs:
                if run.study == study:
                    _put(client, experiment, run, there.get(run.key))
    return [path]


def _experiment(client: Any, study: str, folder: Path) -> str:
    found = client.get_experiment_by_name(study)
    if found is None:
        return str(client.create_experiment(study, artifact_location=(folder / "mlartifacts").resolve().as_uri()))
    if found.lifecycle_stage != "active":
        raise UsageError(
            f"experiment {study!r} lies in MLflow's trash: mlflow experiments restore -x {found.experiment_id}"
        )
    return str(found.experiment_id)


def _all_runs(client: Any, experiment: str) -> Iterator[Any]:
    token = None
    while True:
        page = client.search_runs([experiment], max_results=1000, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _put(client: Any, experiment: str, run: Run, there: Any) -> None:
    """A run as it is now; its content is written down last, so that half a run is never taken for one."""
    from mlflow.entities import Metric, Param, RunTag

    content = fingerprint([run.parameters, run.curves, run.finals, run.tags, run.begun, run.ended])
    if there is not None:
        if there.data.tags.get(CONTENT) == content:
            return
        client.delete_run(there.info.run_id)
    made = client.create_run(experiment, start_time=_milliseconds(run.begun), run_name=run.name, tags={KEY: run.key})
    metrics = [
        Metric(name, point.value, _milliseconds(point.at), point.epoch)
        for name, points in run.curves.items()
        for point in points
    ]
    last = int(run.finals.get("final/best_epoch", 0))
    metrics += [Metric(name, value, _milliseconds(run.ended), last) for name, value in run.finals.items()]
    params = [Param(name, _text(value)) for name, value in run.parameters.items()]
    tags = [RunTag(f"harness.{name}", value) for name, value in run.tags.items()]
    _log(client, made.info.run_id, metrics=metrics, params=params, tags=tags)
    client.set_terminated(made.info.run_id, STATUS[run.state], end_time=_milliseconds(run.ended))
    client.set_tag(made.info.run_id, CONTENT, content)


def _log(client: Any, run_id: str, **entries: Sequence[Any]) -> None:
    for kind, every in entries.items():
        for begin in range(0, len(every), AT_ONCE[kind]):
            client.log_batch(run_id, **{kind: every[begin : begin + AT_ONCE[kind]]})


def _milliseconds(seconds: float) -> int:
    return round(1000 * seconds)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, allow_nan=False)

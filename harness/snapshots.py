"""A training state as plain values and back: a JSON document and named tensors, no pickle.

There is no generator state in it: every random stream derives from the trial's seed and the step.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch

from harness.records import EpochRecord, MetricValue, SpeedWindow
from harness.tasks.base import IntArray
from harness.training_plan import Best, Plan, Running, State

Tensors = dict[str, torch.Tensor]
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


class Snapshot(NamedTuple):
    """One moment of a trial.

    Attributes:
        document: JSON values.
        tensors: file name without ending -> name -> tensor.
    """

    document: dict[str, Any]
    tensors: dict[str, Tensors]


def capture(plan: Plan, state: State) -> Snapshot:
    """Everything that `restore` needs; tensors still belong to the model, so write them before the next step."""
    running = state.running
    tensors = {
        "model": plan.encoder.tensors(state.names),
        "optimizer": _moments(state),
        "records": _arrays(state.records),
    }
    if (rows := plan.encoder.rows_in_use) is not None:
        tensors["rows"] = {"used": torch.from_numpy(rows)}
    if state.best is not None:
        tensors["best"] = state.best.tensors
    if running is not None:
        tensors["running"] = {"trace": running.trace}
    document = {
        "records": [_as_json(record) for record in state.records],
        "best_epoch": state.best.epoch if state.best else None,
        "scaler": state.scaler.state_dict(),
        "stopped": state.stopped,
        "running": None if running is None else _running_as_json(running),
    }
    return Snapshot(document, tensors)


def rows_of(snapshot: Snapshot | None) -> IntArray | None:
    """The rows of the input embeddings that a snapshot holds; None where it holds all of them, or there is none."""
    kept = None if snapshot is None else snapshot.tensors.get("rows")
    return None if kept is None else kept["used"].numpy()


def restore(plan: Plan, state: State, snapshot: Snapshot) -> None:
    """Bring a fresh state (`training_plan.prepare` with `rows_of` the snapshot) to where a snapshot was taken."""
    document, tensors = snapshot
    device = plan.encoder.device
    plan.encoder.assign(tensors["model"])
    _restore_moments(state, tensors["optimizer"])
    state.records = [_record(entry, tensors["records"]) for entry in document["records"]]
    if document["best_epoch"] is not None:
        best = {name: tensor.to(device) for name, tensor in tensors["best"].items()}
        state.best = Best(document["best_epoch"], best)
    if document["scaler"]:
        state.scaler.load_state_dict(document["scaler"])
    state.stopped = document["stopped"]
    if document["running"] is not None:
        entry = dict(document["running"])
        windows = tuple(SpeedWindow(*window) for window in entry.pop("windows"))
        state.running = Running(trace=tensors["running"]["trace"].to(device), windows=windows, **entry)


def _parameters(state: State) -> list[tuple[str, torch.nn.Parameter]]:
    parameters = [parameter for group in state.optimizer.param_groups for parameter in group["params"]]
    return list(zip(state.names, parameters, strict=True))


def _moments(state: State) -> Tensors:
    """AdamW's state by parameter and moment; a parameter that has not trained yet has none."""
    return {
        f"{name}|{moment}": state.optimizer.state[parameter][moment]
        for name, parameter in _parameters(state)
        if parameter in state.optimizer.state
        for moment in _MOMENTS
    }


def _restore_moments(state: State, tensors: Mapping[str, torch.Tensor]) -> None:
    for name, parameter in _parameters(state):
        if f"{name}|step" not in tensors:
            continue
        saved = {moment: tensors[f"{name}|{moment}"].to(parameter.device) for moment in _MOMENTS}
        if parameter not in state.optimizer.state:
            state.optimizer.state[parameter] = saved
            continue
        for moment, tensor in state.optimizer.state[parameter].items():  # a recorded step knows no other address
            tensor.copy_(saved[moment])


def _running_as_json(running: Running) -> dict[str, Any]:
    fields = ("epoch", "step", "seconds", "saving", "windows")
    return {name: getattr(running, name) for name in fields}


def _as_json(record: EpochRecord) -> dict[str, Any]:
    arrays = ("outputs", "test_outputs", "margins")
    return {f.name: getattr(record, f.name) for f in dataclasses.fields(record) if f.name not in arrays}


def _arrays(records: Sequence[EpochRecord]) -> Tensors:
    found = {}
    for record in records:
        for field in ("outputs", "test_outputs"):
            for kind, array in getattr(record, field).items():
                found[f"{field}|{record.epoch}|{kind}"] = torch.from_numpy(array)
        if record.margins is not None:
            found[f"margins|{record.epoch}|"] = torch.from_numpy(record.margins)
    return found


def _record(entry: Mapping[str, Any], arrays: Mapping[str, torch.Tensor]) -> EpochRecord:
    values = dict(entry)
    values["metrics"] = tuple(MetricValue(*metric) for metric in values["metrics"])
    values["windows"] = tuple(SpeedWindow(*window) for window in values["windows"])
    for field in ("outputs", "test_outputs"):
        before = f"{field}|{entry['epoch']}|"
        kept = {name.removeprefix(before): array.numpy() for name, array in arrays.items() if name.startswith(before)}
        values[field] = kept
    margins = arrays.get(f"margins|{entry['epoch']}|")
    values["margins"] = None if margins is None else margins.numpy()
    return EpochRecord(**values)

"""Folders that other tools leave behind, read as published runs: Trainer's trainer_state.json, MLflow's run folders.

Only text is read: `training_args.bin` is a pickle, which could run anything, and stays closed. MLflow is not needed.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pydantic

from harness.configuration import hyperparameters
from harness.errors import SpecError
from harness.published import measured, place_of, read_text
from harness.study_file.values import Configuration
from harness.yaml_reader import plain_scalar, read_yaml

STATE = "trainer_state.json"
RENAMED = {
    "num_train_epochs": "epochs",
    "per_device_train_batch_size": "batch_size",
    "gradient_accumulation_steps": "gradient_accumulation",
    "lr_scheduler_type": "lr_schedule",
    "_name_or_path": "model",
    "model_name_or_path": "model",
    "model_name": "model",
}
"""What Trainer and others call a hyperparameter -> what it is called here."""
LAST = 1e-6
"""How far behind its end, in epochs, an epoch's last step may be written."""
MOST_EPOCHS = 10_000

Points = list[tuple[float, float, float]]
"""(epoch, step, value) of one figure, in order."""


def runs_of_folder(folder: Path) -> list[dict[str, Any]]:
    """The runs below a folder, by name.

    Raises:
        SpecError: when there are none, or one cannot be read.
    """
    found = [*_trainer_runs(folder), *_mlflow_runs(folder)]
    if not found:
        raise SpecError(
            f"{folder}: holds no {STATE} and no run of MLflow (a folder with meta.yaml, params and metrics); "
            "name the output folder of Trainer, or mlruns"
        )
    names: dict[str, int] = {}
    for run in found:  # MLflow lets several runs have one name
        names[run["name"]] = names.get(run["name"], 0) + 1
        if names[run["name"]] > 1:
            run["name"] += f" ({names[run['name']]})"
    return found


# --- Trainer ----------------------------------------------------------------------------------------------


def _trainer_runs(folder: Path) -> Iterator[dict[str, Any]]:
    """One run an output folder: its own state, or that of its last checkpoint."""
    for output in sorted({_output_of(path.parent) for path in folder.rglob(STATE)}):
        state = output / STATE
        if not state.is_file():
            state = max(output.glob(f"checkpoint-*/{STATE}"), key=lambda path: _number_of(path.parent.name))
        yield _trainer_run(state, folder if output == folder else output)


def _output_of(folder: Path) -> Path:
    return folder.parent if re.fullmatch(r"checkpoint-\d+", folder.name) else folder


def _number_of(name: str) -> int:
    return int(name.rpartition("-")[2])


def _trainer_run(path: Path, output: Path) -> dict[str, Any]:
    state = _json(path)
    history = state.get("log_history")
    if not isinstance(history, list) or not all(isinstance(entry, dict) for entry in history):
        raise SpecError(f"{path}: has no log_history, so it is no state of Trainer")
    config: dict[str, Any] = {
        "model": _model_of(path.parent),
        "epochs": _whole(state.get("num_train_epochs")),
        "batch_size": _whole(state.get("train_batch_size")),
    }
    series: dict[str, Points] = {}
    for entry in history:
        epoch, step = _finite(entry.get("epoch")), _finite(entry.get("step")) or 0.0
        for name, value in entry.items():
            number = _number(value)
            if epoch is not None and number is not None:
                series.setdefault(name, []).append((epoch, step, number))
    seconds = [value for _, _, value in series.get("train_runtime", [])]
    name = output.resolve().name
    return _run(name, {key: value for key, value in config.items() if value}, series, seconds[-1] if seconds else None)


def _model_of(folder: Path) -> str | None:
    """The name that the configuration beside the state was loaded by; None where it has none."""
    path = folder / "config.json"
    name = _json(path).get("_name_or_path") if path.is_file() else None
    return name if isinstance(name, str) and name else None


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise SpecError(f"{path}: cannot be read as JSON: {error}") from None
    if not isinstance(value, dict):
        raise SpecError(f"{path}: holds no object")
    return value


# --- MLflow -----------------------------------------------------------------------------------------------


def _mlflow_runs(folder: Path) -> Iterator[dict[str, Any]]:
    """Every run folder below: meta.yaml with a run's id, params/NAME, metrics/NAME with `time value step` lines."""
    for meta in sorted(folder.rglob("meta.yaml")):
        if (meta.parent / "metrics").is_dir():
            values = read_yaml(read_text(meta), str(meta)).value
            if isinstance(values, dict) and ("run_id" in values or "run_uuid" in values):
                if values.get("lifecycle_stage", "active") != "deleted":
                    yield _mlflow_run(meta.parent, values)


def _mlflow_run(folder: Path, meta: Mapping[str, Any]) -> dict[str, Any]:
    series = {}
    for path in sorted(each for each in (folder / "metrics").rglob("*") if each.is_file()):
        series[path.relative_to(folder / "metrics").as_posix()] = list(_mlflow_points(path))
    epochs = {step: epoch for _, step, epoch in series.pop("epoch", [])}
    placed = {name: _with_epochs(points, epochs, folder / "metrics" / name) for name, points in series.items()}
    start, end = (_finite(meta.get(key)) for key in ("start_time", "end_time"))
    seconds = (end - start) / 1000 if start is not None and end is not None and end > start else None
    name = str(meta.get("run_name") or meta.get("run_id") or folder.name)
    return _run(name, _params(folder / "params"), placed, seconds)


def _mlflow_points(path: Path) -> Iterator[tuple[float, float, float]]:
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        try:
            words = line.split()
            yield math.nan, float(words[2]) if len(words) > 2 else 0.0, float(words[1])
        except (IndexError, ValueError):
            raise SpecError(f"{path}:{number}: must be `time value step`, got {line[:80]!r}") from None


def _with_epochs(points: Points, epochs: Mapping[float, float], path: Path) -> Points:
    """The points with the epoch that was logged at their step; where none was, steps may count epochs themselves."""
    if epochs:
        return [(epochs.get(step, math.nan), step, value) for _, step, value in points]
    steps = [step for _, step, _ in points]
    if steps == [0.0]:
        return points  # logged without a step: a figure of the finished run
    first = min(steps, default=1.0)
    if first not in (0.0, 1.0) or steps != [first + place for place in range(len(steps))]:
        if _figure(path.name, whole_run=False) is None:
            return points
        raise SpecError(f"{path}: its steps are no epochs, and the run logs no `epoch` beside them; write a csv table")
    return [(step - first + 1, step, value) for _, step, value in points]


def _params(folder: Path) -> dict[str, Any]:
    """The hyperparameters among the parameters of a run, where their values are ones that a study could have."""
    found = {}
    for path in sorted(folder.glob("*")) if folder.is_dir() else ():
        name = RENAMED.get(path.name, path.name)
        if name in hyperparameters() and path.is_file():
            value = _scalar(read_text(path).strip())
            value = _whole(value) if name == "epochs" else value
            if name not in found and _is_allowed(name, value):
                found[name] = value
    return found


def _scalar(text: str) -> Any:
    try:
        return plain_scalar(text)
    except ValueError:
        return text


def _is_allowed(name: str, value: Any) -> bool:
    if value is None:
        return False
    try:
        Configuration.model_validate({name: value})
    except pydantic.ValidationError:
        return False
    return True


# --- what both leave --------------------------------------------------------------------------------------


def _run(name: str, config: dict[str, Any], series: Mapping[str, Points], seconds: float | None) -> dict[str, Any]:
    """A run as a table of published runs has it."""
    by_epoch: dict[str, list[Any]] = {}
    at_end: dict[str, Any] = {}
    for logged, points in series.items():
        figure = _figure(logged, whole_run="train_runtime" in series)
        if figure is None or figure in by_epoch or figure in at_end:
            continue
        if curve := _means(points) if figure == "train_loss" else _last(points):
            by_epoch[figure] = curve
        elif len(points) == 1:
            at_end[figure] = measured(points[0][2])
    asked = config.get("epochs")
    done = max((len(values) for values in by_epoch.values()), default=0)
    if asked is not None and done > asked:
        config = {key: value for key, value in config.items() if key != "epochs"}
    note = f"ended after {done} of {asked} epochs" if asked is not None and 0 < done < asked else ""
    run: dict[str, Any] = {"name": name, "config": config, "by_epoch": by_epoch, "at_end": at_end}
    return run | ({"seconds": seconds} if seconds else {}) | ({"note": note} if note else {})


def _figure(logged: str, whole_run: bool) -> str | None:
    """What a logged name is called here: loss -> train_loss, eval_loss -> validation_loss, eval_f1 -> f1.

    Trainer's own train_loss is the mean over the whole run, and no epoch's.
    """
    if logged == "train_loss" and whole_run:
        return None
    name = "train_loss" if logged == "loss" else logged
    for prefix in ("eval_", "eval/", "val_", "validation_"):
        if logged.startswith(prefix):
            rest = logged.removeprefix(prefix)
            name = "validation_loss" if rest == "loss" else rest
    try:
        place_of(name)
    except ValueError:
        return None
    return name


def _means(points: Points) -> list[Any]:
    """A training loss is the mean since it was last logged: over an epoch those means count by their steps.

    A stretch that crosses the end of an epoch counts for the epoch in which it ends.
    """
    sums: dict[int, tuple[float, float]] = {}
    before = 0.0
    for epoch, step, value in points:
        weight = step - before if step > before else 1.0
        before = max(before, step)
        place = _ceiling(epoch)
        if place is not None:
            total, weights = sums.get(place, (0.0, 0.0))
            sums[place] = (total + weight * value, weights + weight)
    return _listed({place: total / weights for place, (total, weights) in sums.items()})


def _last(points: Points) -> list[Any]:
    """The last value of each epoch."""
    return _listed({place: value for epoch, _, value in points if (place := _ceiling(epoch)) is not None})


def _ceiling(epoch: float) -> int | None:
    place = math.ceil(epoch - LAST) if math.isfinite(epoch) else 0
    return place if 1 <= place <= MOST_EPOCHS else None


def _listed(values: Mapping[int, float]) -> list[Any]:
    last = max(values, default=0)
    return [measured(values[place]) if place in values else None for place in range(1, last + 1)]


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _finite(value: Any) -> float | None:
    number = _number(value)
    return number if number is not None and math.isfinite(number) else None


def _whole(value: Any) -> int | None:
    number = _finite(value)
    return int(number) if number is not None and number >= 1 and number.is_integer() else None

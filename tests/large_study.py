"""A results.db with very many trials, written by SQL in seconds: what status and report must still answer about."""

from __future__ import annotations

import dataclasses
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from harness.configuration import TrialConfig
from harness.results.store import Store
from harness.spec import parse_study
from harness.verdicts import VERSION

TEXT = """\
study: large
task: sequence-classification
model: builtin:tiny
data: {{path: "builtin:reviews", train: 100, validation: 50}}
search:
  learning_rate: {{low: 1.0e-5, high: 1.0e-3, log: true}}
  batch_size: [8, 16, 32]
  max_length: [32, 64, 128]
  freeze: [none, head, top-2]
objective: {{metric: loss, direction: minimize, at: best}}
budget: {{trials: {trials}}}
"""
EPOCHS = 3
VERDICTS = ("healthy", "overfitting", "still learning")


def fabricate(path: Path, trials: int, seed: int = 0) -> Path:
    """One study of that many trials and three epochs each; one in fifty failed, one in ten pruned."""
    with Store.open(path) as store:
        store.create_study(parse_study(TEXT.format(trials=trials)))
    rng = np.random.default_rng(seed)
    losses = 0.3 + 0.4 * rng.random((trials, EPOCHS))
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA synchronous=OFF")
    with connection:
        for table, rows in (
            ("harness_configuration", _configurations(trials, rng)),
            ("harness_trial", _trials(connection, losses)),
            ("harness_epoch_record", _epochs(trials)),
            ("harness_metric", _metrics(losses)),
            ("harness_window", _windows(trials, rng)),
        ):
            _insert(connection, table, rows)
    connection.close()
    return path


def _insert(connection: sqlite3.Connection, table: str, rows: Iterator[dict[str, Any]]) -> None:
    first = next(rows)
    places = ", ".join("?" * len(first))
    statement = f"INSERT INTO {table} ({', '.join(first)}) VALUES ({places})"
    connection.execute(statement, tuple(first.values()))
    connection.executemany(statement, (tuple(row.values()) for row in rows))


def _configurations(trials: int, rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    for number in range(trials):
        config = TrialConfig(
            model="builtin:tiny",
            epochs=EPOCHS,
            batch_size=int(rng.choice([8, 16, 32])),
            learning_rate=float(10 ** rng.uniform(-5, -3)),
            max_length=int(rng.choice([32, 64, 128])),
            freeze=str(rng.choice(["none", "head", "top-2"])),
        )
        yield {
            "id": number + 1,
            "study_id": 1,
            "number": number,
            "fingerprint": f"{number:016x}",
            "config": json.dumps(dataclasses.asdict(config), sort_keys=True, separators=(",", ":")),
            "origin": "sampled",
            "created_at": "2026-01-01T00:00:00.000000Z",
        }


def _trials(connection: sqlite3.Connection, losses: np.ndarray) -> Iterator[dict[str, Any]]:
    asked = [row[0] for row in connection.execute("SELECT config FROM harness_configuration ORDER BY id")]
    for number, text in enumerate(asked):
        config = json.loads(text)
        state = "failed" if number % 50 == 7 else "pruned" if number % 10 == 3 else "complete"
        best = int(losses[number].argmin())
        value = None if state == "failed" else float(losses[number, best])
        facts = {"dtype": "fp32", "train_rows": 100, "data_fingerprint": "f" * 16, "attention": "sdpa", "threads": 2}
        yield {
            "id": number + 1,
            "study_id": 1,
            "number": number,
            "configuration_id": number + 1,
            "seed": 42,
            "replicate": 0,
            "state": state,
            "reason": "diverged" if state == "failed" else None,
            "message": "training loss was nan at step 71" if state == "failed" else "",
            "traceback": "",
            "stopped_early": "",
            "attempt": 1,
            "created_at": "2026-01-01T00:00:00.000000Z",
            "asked": text,
            "done": json.dumps({"config": config, **facts}, sort_keys=True, separators=(",", ":")),
            "model": config["model"],
            "epochs": EPOCHS,
            "batch_size": config["batch_size"],
            "effective_batch_size": config["batch_size"],
            "learning_rate": config["learning_rate"],
            "max_length": config["max_length"],
            "freeze": config["freeze"],
            "best_epoch": best + 1,
            "best_loss_epoch": best + 1,
            "objective": value,
            "objective_values": json.dumps([value]),
            "load_seconds": 0.5,
            "train_seconds": 6.0,
            "evaluate_seconds": 1.0,
            "total_seconds": 8.0,
            "verdict_words": VERDICTS[number % 3],
            "verdict_name": VERDICTS[number % 3],
            "verdict_evidence": json.dumps(_evidence(losses[number].tolist())),
            "verdict_version": VERSION,
        }


def _evidence(losses: list[float]) -> dict[str, Any]:
    best = losses.index(min(losses))
    return {
        "reason": "as made",
        "strength": "",
        "best_epoch": best + 1,
        "gap_at_best": losses[best] - 0.6 / (best + 1),
        "gap_at_last": losses[-1] - 0.2,
        "relative_rise": losses[-1] / losses[best] - 1,
        "epochs_after_best": EPOCHS - 1 - best,
        "seconds_after_best": 2.4 * (EPOCHS - 1 - best),
    }


def _epochs(trials: int) -> Iterator[dict[str, Any]]:
    for trial in range(1, trials + 1):
        for epoch in range(1, EPOCHS + 1):
            yield {
                "trial_id": trial,
                "epoch": epoch,
                "steps": 10 * epoch,
                "learning_rate": 1e-5,
                "train_seconds": 2.0,
                "evaluate_seconds": 0.3,
                "save_seconds": 0.1,
                "validation_seconds": 0.3,
                "evaluated_samples": 50,
                "peak_memory_bytes": 300_000_000 + trial,
                "load": 0.05,
                "attempt": 1,
                "recorded_at": "2026-01-01T00:00:00.000000Z",
            }


def _metrics(losses: np.ndarray) -> Iterator[dict[str, Any]]:
    for trial, curve in enumerate(losses.tolist(), start=1):
        for epoch, loss in enumerate(curve, start=1):
            values = {
                ("train", "loss"): 0.6 / epoch,
                ("validation", "loss"): loss,
                ("validation", "accuracy"): 1 - loss,
                ("validation", "f1"): 1 - loss,
            }
            for (split, name), value in values.items():
                key = {"trial_id": trial, "epoch": epoch, "split": split, "name": name, "grp": ""}
                yield {**key, "value": value, "kind": "finite"}


def _windows(trials: int, rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    noise = rng.normal(1, 0.03, size=(trials, EPOCHS)).tolist()
    for trial in range(1, trials + 1):
        for epoch in range(1, EPOCHS + 1):
            seconds = 1.5 * noise[trial - 1][epoch - 1]
            key = {"trial_id": trial, "epoch": epoch, "position": 0}
            yield {**key, "seconds": seconds, "steps": 8, "samples": 80, "tokens": 2400, "padded_tokens": 3200}

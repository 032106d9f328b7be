"""A results.db made through the store, with trials whose curves are formulas: the report's tests read it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from harness.configuration import Objective, TrialConfig
from harness.jobs import ModelSummary, Prepared, SplitSummary
from harness.records import EpochRecord, Incident, MetricValue, SpeedWindow, TrialFacts, TrialOutcome
from harness.results.store import Store

TEXT = "# Which batch size and length are worth their time?\n# Five-minute study.\n\nstudy: reviews\n"
OBJECTIVE = Objective("loss", "minimize", "best")
VALIDATION_ROWS = 60


def study_file(name: str, objectives: Sequence[Objective] = (OBJECTIVE,), text: str = TEXT) -> Any:
    """What the store reads of a study file; a name may be one that no study file could hold."""
    spec = {"study": name, "task": "sequence-classification", "seed": 42, "search": {"batch_size": [8, 16, 32]}}
    spec |= {"budget": {"trials": 12}, "data": {"path": "builtin:reviews"}}
    shown = SimpleNamespace(
        study=name,
        task="sequence-classification",
        objectives=tuple(objectives),
        fingerprint="0" * 16,
        model_dump=lambda mode: spec,
    )
    return SimpleNamespace(spec=shown, text=text, path=None)


def prepared(
    labels: Sequence[str] = ("negative", "positive"), fingerprint: str = "f" * 16, text: str = "fine"
) -> Prepared:
    """Balanced splits with as many validation examples as the logits have rows."""
    rows = [(row, labels[row % len(labels)], "", text) for row in range(VALIDATION_ROWS)]
    counts = {label: VALIDATION_ROWS // len(labels) for label in labels}
    return Prepared(
        fingerprint=fingerprint,
        label_names=tuple(labels),
        positive=labels[-1],
        splits={
            "train": SplitSummary(400, {"empty text": 2}, dict.fromkeys(labels, 400 // len(labels))),
            "validation": SplitSummary(VALIDATION_ROWS, {}, counts),
        },
        warnings=("3 texts stand in both train and validation",),
        models=(ModelSummary("builtin:tiny", "BertModel", 4, 400_000, 512, None, "a" * 64),),
        examples={"train": [], "validation": rows},
        environment={"python": "3.12", "torch": "2.11", "cpu": "a processor", "threads": 2},
    )


def epoch(number: int, train: float, validation: float, config: TrialConfig, seed: int = 0) -> EpochRecord:
    """One epoch with the given losses; speed follows from batch size and length."""
    generator = np.random.default_rng([seed, number])
    rate = 60 * math.sqrt(config.batch_size) * 64 / config.max_length
    windows = tuple(
        SpeedWindow(64 / (rate * noise), 4, 64, 64 * 30, 64 * 40) for noise in generator.normal(1, 0.03, size=6)
    )
    labels = np.arange(VALIDATION_ROWS) % 2
    sign = np.where(generator.random(VALIDATION_ROWS) < 1 / (1 + validation), 1.0, -1.0)
    gold = sign * np.abs(generator.normal(1.5, 0.5, VALIDATION_ROWS))
    logits = np.zeros((VALIDATION_ROWS, 2), dtype=np.float32)
    logits[np.arange(VALIDATION_ROWS), labels] = gold
    accuracy = float((sign > 0).mean())
    metrics = [
        MetricValue("train", "loss", train),
        MetricValue("validation", "loss", validation),
        *(MetricValue("validation", name, accuracy) for name in ("accuracy", "f1", "precision", "recall")),
        MetricValue("probe", "accuracy", min(1.0, accuracy + 0.02 * number)),
        MetricValue("validation", "mcc", 2 * accuracy - 1),
    ]
    return EpochRecord(
        epoch=number,
        steps=number * 400 // config.batch_size,
        learning_rate=config.learning_rate * (1 - number / (config.epochs + 1)),
        metrics=tuple(metrics),
        train_seconds=400 / rate,
        evaluate_seconds=0.4,
        save_seconds=0.1,
        validation_seconds=0.3,
        evaluated_samples=VALIDATION_ROWS,
        windows=windows,
        peak_memory_bytes=300 * 2**20 + config.batch_size * 2**20,
        flops=1e10,
        load=0.05,
        outputs={"logits": logits},
    )


def curve(kind: str, epochs: int) -> list[tuple[float, float]]:
    """(training loss, validation loss) by epoch: healthy, overfitting or learning."""
    steps = range(1, epochs + 1)
    if kind == "overfitting":
        return [(0.6 * 0.5**e, 0.5 + 0.06 * (e - 1) ** 1.3) for e in steps]
    if kind == "learning":
        return [(0.70 - 0.03 * e, 0.68 - 0.03 * e) for e in steps]
    return [(0.40 + 0.3 * 0.5**e, 0.43 + 0.25 * 0.5**e) for e in steps]


def facts(config: TrialConfig, batch_size: int | None = None, data: str = "f" * 16) -> TrialFacts:
    """What was run; another batch size than asked tells of a fallback."""
    run = dataclasses.replace(config, batch_size=batch_size or config.batch_size)
    return TrialFacts(
        config=run,
        device="cpu",
        dtype="fp32",
        attention="sdpa",
        threads=2,
        total_steps=config.epochs * 400 // config.batch_size,
        train_rows=config.train or 400,
        validation_rows=VALIDATION_ROWS,
        data_fingerprint=data,
        model_revision=None,
        weights_hash="a" * 64,
        total_parameters=400_000,
        trainable_parameters=100_000 if config.freeze != "none" else 400_000,
        truncated={"train": 12, "validation": 3},
    )


def add_trial(
    store: Store,
    study: int,
    config: TrialConfig,
    kind: str = "healthy",
    seed: int = 42,
    state: str = "complete",
    objectives: Sequence[Objective] = (OBJECTIVE,),
    message: str = "",
    shift: float = 0.0,
    batch_size: int | None = None,
    data: str = "f" * 16,
) -> int:
    """One trial from waiting to its end; a failed one diverges in its second epoch, a pruned one stops after it."""
    trial = store.add_trial(study, config, seed, seed - 42, None, "sampled")
    environment = store.record_environment({"python": "3.12", "torch": "2.11", "threads": 2})
    store.start_trial(trial.id, "local-0", environment)
    store.record_facts(trial.id, facts(config, batch_size, data))
    losses = curve(kind, config.epochs)
    if state != "complete":
        losses = losses[:2]
    if state == "failed":
        losses = losses[:1]
    for number, (train, validation) in enumerate(losses, start=1):
        store.record_epoch(trial.id, epoch(number, train + shift, validation + shift, config, seed))
    train_seconds = sum(400 / (60 * math.sqrt(config.batch_size) * 64 / config.max_length) for _ in losses)
    seconds = {"load": 0.5, "tokenise": 0.3, "train": train_seconds, "evaluate": 0.4 * len(losses), "save": 0.1}
    seconds["total"] = sum(seconds.values()) + 0.2
    outcome = TrialOutcome(
        state=state,  # type: ignore[arg-type]
        reason="diverged" if state == "failed" else None,
        message=message or ("training loss was nan at step 71" if state == "failed" else ""),
        seconds=seconds,
    )
    store.finish_trial(trial.id, outcome, objectives)
    return trial.id


def make(
    path: Path,
    name: str = "reviews",
    trials: int = 12,
    states: Mapping[int, str] = {3: "failed", 5: "pruned"},
    labels: Sequence[str] = ("negative", "positive"),
    model: str = "builtin:tiny",
    message: str = "",
    text: str = "fine",
    objectives: Sequence[Objective] = (OBJECTIVE,),
) -> Path:
    """A results.db with one study; returns its path."""
    with Store.open(path) as store:
        study = store.create_study(study_file(name, objectives))
        store.record_prepared(study, prepared(labels, text=text))
        kinds = ("overfitting", "healthy", "learning")
        with store.hold(study):
            for number in range(trials):
                config = TrialConfig(
                    model=model,
                    epochs=(3, 4, 6)[number % 3],
                    batch_size=(8, 16, 32)[(number // 2) % 3],
                    max_length=(32, 64, 128)[(number // 3) % 3],
                    learning_rate=1e-5 * (1 + number % 7),
                    weight_decay=number / 1000,
                    freeze=("none", "head", "top-2")[(number // 4) % 3],
                )
                state = states.get(number, "complete")
                add_trial(store, study, config, kinds[number % 3], 42, state, objectives, message, 0.003 * (number % 5))
            if trials:
                store.record_incident(
                    study, store.trials(study)[0].id, Incident("oom", "half the batch", {"asked": 32})
                )
    return path

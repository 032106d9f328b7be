"""Records for the tests of faults: a study with every kind of trial, whose numbers follow from its outputs."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from results_support import epoch, facts, prepared, study_file

from harness.configuration import TrialConfig
from harness.metrics import cross_entropy
from harness.records import EpochRecord, MetricValue, TrialOutcome
from harness.results import mirror
from harness.results.engine import open_engine
from harness.results.invariants import Violation, violations
from harness.results.store import Store

EXAMPLES = 40
LABELS = np.arange(EXAMPLES) % 2


def consistent_epoch(number: int, seed: int) -> EpochRecord:
    """An epoch whose validation loss and accuracy are those of its logits."""
    logits = np.random.default_rng([seed, number]).normal(size=(EXAMPLES, 2)).astype(np.float32)
    metrics = (
        MetricValue("train", "loss", 0.7 - number / 100),
        MetricValue("validation", "loss", float(cross_entropy(logits, LABELS).mean())),
        MetricValue("validation", "accuracy", float((logits.argmax(axis=1) == LABELS).mean())),
    )
    return epoch(number, metrics=metrics, **outputs(logits))


def outputs(logits: Any) -> dict[str, Any]:
    """What an epoch keeps of its validation rows, as `EpochRecord` takes it."""
    return {"outputs": {"logits": logits}}


def finished_study(path: Path, name: str = "probe", trials: int = 2, epochs: int = 2) -> None:
    """A study of complete trials with kept models, in Optuna's tables too."""
    with Store.open(path) as store:
        key = store.create_study(study_file(name))
        store.record_prepared(key, prepared(EXAMPLES))
        with store.hold(key):
            for seed in range(trials):
                config = TrialConfig(epochs=epochs)
                row = store.add_trial(key, config, seed, seed, None, "explicit")
                store.start_trial(row.id, "w0", store.record_environment({"packages": {"torch": "0.0"}}))
                store.record_facts(row.id, facts(config))
                for number in range(1, epochs + 1):
                    store.record_epoch(row.id, consistent_epoch(number, seed))
                keep_model(store.trial_folder(row.id) / "model")
                store.finish_trial(row.id, TrialOutcome("complete", seconds={"total": 1.0}, model_folder="model"))
            mirror.sync(store, key)


def keep_model(folder: Path) -> None:
    """A kept model as a trial writes one: files, and a manifest with their checksums."""
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights" * 100)
    sums = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    (folder / "manifest.json").write_text(json.dumps({"format": 1, "sha256": sums}))


def violated(path: Path) -> list[Violation]:
    """What does not hold of a database."""
    engine = open_engine(path, read_only=True)
    try:
        return violations(engine)
    finally:
        engine.dispose()

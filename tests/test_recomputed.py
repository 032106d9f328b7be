"""Stored numbers worked out again: silent about sound epochs, on validation and test rows alike, and able to speak."""

from __future__ import annotations

import dataclasses
import sqlite3
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from results_support import epoch, prepared, running, study_file

from harness.metrics import cross_entropy
from harness.records import MetricValue, TrialOutcome
from harness.results import recomputed
from harness.results.engine import closing, open_engine
from harness.results.store import Store

EXAMPLES = 8  # as many test rows as validation rows, with other labels
LABELS = {"validation": np.arange(EXAMPLES) % 2, "test": (np.arange(EXAMPLES) + 1) // 2 % 2}


def logits_of(split: str) -> npt.NDArray[np.float32]:
    generator = np.random.default_rng(len(split))
    return generator.normal(size=(EXAMPLES, 2)).astype(np.float32)


def measured(split: str) -> tuple[MetricValue, ...]:
    logits, labels = logits_of(split), LABELS[split]
    return (
        MetricValue(split, "loss", float(cross_entropy(logits, labels).mean())),
        MetricValue(split, "accuracy", float((logits.argmax(axis=1) == labels).mean())),
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A study with one trial that looked at the test rows, as a confirming one does."""
    found = prepared(EXAMPLES)
    names = found.label_names
    rows = {split: [(i, names[label], "", None) for i, label in enumerate(LABELS[split])] for split in LABELS}
    with Store.open(tmp_path / "results.db") as store:
        study = store.create_study(study_file())
        store.record_prepared(study, dataclasses.replace(found, examples=rows))
        with store.hold(study):
            trial = running(store, study)
            metrics = (MetricValue("train", "loss", 0.5), *measured("validation"), *measured("test"))
            outputs = {
                "outputs": {"logits": logits_of("validation")},
                "test_outputs": {"logits": logits_of("test")},
            }
            store.record_epoch(trial.id, epoch(1, metrics=metrics, **outputs))
            store.finish_trial(trial.id, TrialOutcome("complete", seconds={"total": 1.0}))
    return tmp_path / "results.db"


def faults(path: Path) -> list[str]:
    with Store.open(path, create=False) as store:
        row = store.study("probe")
    assert row is not None
    engine = open_engine(path, read_only=True)
    with closing(engine):
        return list(recomputed.faults(engine, row))


def test_epochs_with_test_rows_are_sound(path: Path) -> None:
    assert faults(path) == []


@pytest.mark.parametrize("split", ["validation", "test"])
@pytest.mark.parametrize("metric", ["loss", "accuracy"])
def test_a_number_that_its_logits_do_not_give_is_told(path: Path, split: str, metric: str) -> None:
    with sqlite3.connect(path) as connection:
        changed = "UPDATE harness_metric SET value = value + 0.25 WHERE split = ? AND name = ? AND grp = ''"
        assert connection.execute(changed, (split, metric)).rowcount == 1
    connection.close()
    found = faults(path)
    assert len(found) == 1
    assert f"{split} {metric} is stored as" in found[0]

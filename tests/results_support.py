"""What the tests of results.db share: a small study, epochs, and processes that can be killed."""

from __future__ import annotations

import math
import multiprocessing
from collections.abc import Callable
from typing import Any

import numpy as np

from harness.configuration import TrialConfig
from harness.jobs import ModelSummary, Prepared, SplitSummary
from harness.records import EpochRecord, MetricValue, SpeedWindow, TrialFacts
from harness.results.rows import TrialRow
from harness.results.store import Store
from harness.spec import StudyFile, parse_study

TEXT = """\
study: {name}
task: sequence-classification
model: builtin:tiny
data: {{path: "builtin:reviews", train: 100, validation: 50}}
configurations:
  - {{learning_rate: 0.02, freeze: top-1}}
search:
  learning_rate: {{low: 1.0e-5, high: 1.0e-3, log: true}}
  batch_size: [8, 16]
  freeze: [none, head]
objective: {{metric: loss, direction: minimize, at: best}}
budget: {{trials: 3}}
"""


def study_file(name: str = "probe") -> StudyFile:
    return parse_study(TEXT.format(name=name))


def prepared(examples: int = 4) -> Prepared:
    labels = ("negative", "positive")
    rows = [(i, labels[i % 2], "", f"text {i}") for i in range(examples)]
    return Prepared(
        fingerprint="f00d",
        label_names=labels,
        positive="positive",
        splits={"validation": SplitSummary(examples, {"empty": 1}, {"negative": 2, "positive": 2})},
        warnings=("one row of train is in validation",),
        models=(ModelSummary("builtin:tiny", "BertModel", 4, 1000, 512, None, "abc"),),
        examples={"validation": rows},
        environment={"python": "3.11"},
        fusing=frozenset({"builtin:tiny"}),
    )


def epoch(number: int, train: float = 0.5, validation: float = 0.6, **more: Any) -> EpochRecord:
    metrics = (
        MetricValue("train", "loss", train),
        MetricValue("probe", "accuracy", 0.75),
        MetricValue("validation", "loss", validation),
        MetricValue("validation", "accuracy", 0.5),
        MetricValue("validation", "accuracy", 0.25, "german"),
    )
    values: dict[str, Any] = {
        "epoch": number,
        "steps": 10 * number,
        "learning_rate": 1e-5,
        "metrics": metrics,
        "train_seconds": 2.0,
        "evaluate_seconds": 1.0,
        "save_seconds": 0.5,
        "validation_seconds": 0.5,
        "evaluated_samples": 4,
        "windows": (SpeedWindow(1.0, 4, 16, 100, 120), SpeedWindow(3.0, 4, 16, 100, 120)),
        "peak_memory_bytes": 1000 + number,
        "flops": 1e9,
        "load": 0.1,
        "outputs": {"logits": np.full((4, 2), number, dtype=np.float32)},
        "margins": np.array([1e-8, -3.5, math.nan], dtype=np.float32),
    }
    return EpochRecord(**(values | more))


def facts(config: TrialConfig) -> TrialFacts:
    return TrialFacts(config, "cpu", "fp32", "sdpa", 1, 30, 100, 50, "f00d", None, "abc", 1000, 400)


def running(store: Store, study_id: int, **config: Any) -> TrialRow:
    """A trial that has been started."""
    row = store.add_trial(study_id, TrialConfig(**config), 42, 0, None, "explicit")
    store.start_trial(row.id, "w0", store.record_environment({"python": "3.11"}))
    store.record_facts(row.id, facts(row.config))
    return store.trial(row.id)


def process(target: Callable[..., None], *arguments: Any) -> Any:
    """A real process, forked from a clean server that has imported the store already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pytest", "harness.spec", "harness.results.store"])
    return context.Process(target=target, args=arguments, daemon=True)


def pipe() -> Any:
    return multiprocessing.get_context("forkserver").Pipe(duplex=False)


def barrier(parties: int) -> Any:
    return multiprocessing.get_context("forkserver").Barrier(parties)

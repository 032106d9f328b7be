"""The best epoch's model as a `from_pretrained` folder, written whole or not at all, with checksums."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.checkpoints import whole_or_nothing
from harness.jobs import TrialJob
from harness.metrics import costs
from harness.records import EpochRecord

FOLDER = "model"


def objective_value(job: TrialJob, records: Sequence[EpochRecord]) -> float:
    """The trial's objective at the best or the last epoch; NaN for a cost, which is not known before the end."""
    objective = job.objective
    if objective.metric in costs():
        return math.nan
    values = {record.epoch: record.value("validation", objective.metric) for record in records}
    best = objective.best_epoch(values)
    if best is None:
        return math.nan
    return values[best] if objective.at == "best" else records[-1].value("validation", objective.metric)


def deserves(job: TrialJob, records: Sequence[EpochRecord]) -> bool:
    """Whether the model is worth its place: better than the worst kept one, or nothing is known against it."""
    value = objective_value(job, records)
    if job.keep_better_than is None or job.objective.metric in costs():
        return True
    return job.objective.better(value, job.keep_better_than)


def write(folder: Path, model: Any, tokenizer: Any, label_names: Sequence[str], card: str) -> Path:
    """Weights, configuration with label names where there are any, tokeniser and model card below a trial's folder.

    Raises:
        StorageError: when the disk is full or cannot be written; nothing of it is left then.
    """
    if label_names:
        model.config.id2label = dict(enumerate(label_names))
        model.config.label2id = {name: number for number, name in enumerate(label_names)}
    with whole_or_nothing(folder / FOLDER) as draft:
        model.save_pretrained(draft)
        tokenizer.save_pretrained(draft)
        (draft / "README.md").write_text(card, encoding="utf-8")
    return folder / FOLDER

"""The worker's side of `harness explain`: a kept model's answers to chosen examples, explained."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from harness.answers import PredictJob
from harness.attribution import attribute
from harness.data import fold
from harness.errors import DataError
from harness.explanations import Explained, ExplainJob, Explanations, RecordedRows
from harness.predicting import examples_of, kept_encoder
from harness.spec import DataSpec
from harness.tasks import base as tasks
from harness.tasks.base import Examples, Task
from harness.warm import Warm


def explain(job: ExplainJob, warm: Warm) -> Explanations:
    """Attributions of every example asked for, in that order.

    Raises:
        DataError: for a folder that holds no whole model, or rows that are no longer those that the study trained on.
        UnavailableError: when a package is lacking.
    """
    task = tasks.load(job.model.task)
    rows = job.rows
    examples = examples_of(PredictJob(job.model, job.texts, job.pairs)) if rows is None else recorded(rows, task, warm)
    encoder, tokenizer = kept_encoder(job.model, task, warm)
    found = attribute(task, encoder.model, tokenizer, examples, job.model.config, job.method)
    explained = []
    for place, attributions in enumerate(found):
        if rows is None:
            explained.append(Explained(place, 0, "", tuple(attributions)))
            continue
        source_row, label = int(examples.rows[place]), task.answer(examples, place)
        explained.append(Explained(rows.positions[place], source_row, label, tuple(attributions)))
    return Explanations(tuple(explained))


def recorded(rows: RecordedRows, task: Task, warm: Warm) -> Examples:
    """The validation examples at the places asked for, of the rows that the trial saw."""
    data = DataSpec.model_validate(dict(rows.data))
    splits = warm.rows(rows.data, task, rows.seed)
    if splits.fingerprint != rows.fingerprint:
        raise DataError(
            f"the rows of {Path(data.path).name} are not those that the study trained on (fingerprint "
            f"{splits.fingerprint}, in the record {rows.fingerprint}): put the old file back, or train on this one "
            "under a new study name"
        )
    if rows.fold is not None and data.folds is not None:
        splits = fold(splits, rows.fold, data.folds, rows.seed)
    return splits.validation.take(np.array(rows.positions, dtype=np.int64))

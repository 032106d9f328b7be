"""The client of an audit: asks a worker to count, since counting tokens takes a tokenizer."""

from __future__ import annotations

from pathlib import Path

from harness.asking import ask_worker
from harness.deadline import Stop
from harness.executors.local import LocalExecutor
from harness.jobs import AuditCounts, AuditJob
from harness.spec import StudyFile


def audit_study(file: StudyFile, logs: Path, stop: Stop) -> AuditCounts:
    """Lengths, truncation, balance, duplicates and overlap of a study's data.

    Raises:
        HarnessError: what is wrong with the data or the models.
    """
    spec = file.spec
    job = AuditJob(
        task=spec.task,
        data=spec.data.model_dump(mode="json"),
        seed=spec.seeds[0],
        models=spec.models(),
        max_lengths=spec.max_lengths(),
        strides=spec.strides(),
        adapts=bool(spec.adaptations()),
    )
    with LocalExecutor(logs, 1) as executor:
        counts = ask_worker(executor, job, stop)
    assert isinstance(counts, AuditCounts)
    return counts

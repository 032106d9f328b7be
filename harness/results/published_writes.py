"""How published runs are written: a study that is marked, its trials finished, their epochs as far as they are stated.

Functions over a connection that `store.py` has opened.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from harness.configuration import fingerprint
from harness.published import figures, last_epoch
from harness.records import TrialOutcome
from harness.results import outcomes
from harness.results.columns import utc_now
from harness.results.epoch_writes import kind_of
from harness.results.study_writes import key_of
from harness.results.tables import configuration, epoch_record, metric, study, trial

if TYPE_CHECKING:
    from harness.published import PublishedFile, PublishedRun, PublishedSpec

COUNTS = ("epochs", "batch_size", "learning_rate", "max_length")
"""Columns that hold 0 where a source does not state them; no run can have had that value."""


def insert_published(connection: sa.Connection, file: PublishedFile) -> int:
    """A study with all its runs; returns its id."""
    spec = file.spec
    added = connection.execute(
        sa.insert(study).values(
            name=spec.published,
            source="published",
            task=spec.task,
            text=file.text,
            spec=spec.content(),
            fingerprint=file.fingerprint,
            objectives=[dataclasses.asdict(spec.goal)],
            created_at=utc_now(),
        )
    )
    study_id = key_of(added)
    numbers: dict[str, tuple[int, int]] = {}
    for number, run in enumerate(spec.runs):
        _insert_run(connection, study_id, number, spec, run, numbers)
    return study_id


def _insert_run(
    connection: sa.Connection,
    study_id: int,
    number: int,
    spec: PublishedSpec,
    run: PublishedRun,
    configurations: dict[str, tuple[int, int]],
) -> None:
    """One run as a complete trial, concluded by the rules of any other.

    Args:
        connection: of the transaction.
        study_id: its study.
        number: of the trial.
        spec: of the study.
        run: as stated.
        configurations: fingerprint -> id, and how many runs have it; one run is added.
    """
    stated = spec.stated(run)
    identity = fingerprint(stated)
    configuration_id, known = configurations.get(identity, (0, 0))
    if not known:
        values = {"study_id": study_id, "number": len(configurations), "fingerprint": identity, "config": stated}
        added = connection.execute(sa.insert(configuration).values(**values, origin="explicit", created_at=utc_now()))
        configuration_id = key_of(added)
    configurations[identity] = (configuration_id, known + 1)
    added = connection.execute(
        sa.insert(trial).values(
            study_id=study_id,
            number=number,
            configuration_id=configuration_id,
            replicate=known,
            seed=-1 - known,  # none is stated, and no run of one's own has a negative one
            state="complete",
            message=f"{run.name}: {run.note}" if run.note else run.name,
            traceback="",
            stopped_early="",
            attempt=0,
            created_at=utc_now(),
            asked=stated,
            **_columns(stated),
            total_seconds=run.seconds,
        )
    )
    trial_id = key_of(added)
    _insert_epochs(connection, trial_id, run, stated.get("epochs"))
    outcome = TrialOutcome("complete", seconds={} if run.seconds is None else {"total": run.seconds})
    concluded = outcomes.conclude(connection, trial_id, outcome, [spec.goal])
    connection.execute(sa.update(trial).where(trial.c.id == trial_id).values(**concluded))


def _columns(stated: dict[str, Any]) -> dict[str, Any]:
    """The hyperparameters that the summary shows: 0 and the empty word stand for what is not stated."""
    rows, steps = stated.get("batch_size", 0), stated.get("gradient_accumulation", 1)
    counts = {name: stated.get(name) or 0 for name in COUNTS}
    return counts | {
        "model": stated["model"],
        "freeze": stated.get("freeze", ""),
        "effective_batch_size": rows * steps,
    }


def _insert_epochs(connection: sa.Connection, trial_id: int, run: PublishedRun, epochs: int | None) -> None:
    """The epochs of a run; of one that its source shows nothing of, the row is there and has no metric."""
    rows = [
        {"trial_id": trial_id, "epoch": epoch, "steps": 0, "evaluated_samples": 0, "attempt": 0, "recorded_at": at}
        for at in [utc_now()]
        for epoch in range(1, last_epoch(run, epochs) + 1)
    ]
    connection.execute(sa.insert(epoch_record), rows)
    stated = [
        {
            "trial_id": trial_id,
            "epoch": each.epoch,
            "split": each.split,
            "name": each.name,
            "grp": "",
            "value": each.value,
            "kind": kind_of(each.value),
        }
        for each in figures(run, epochs)
    ]
    connection.execute(sa.insert(metric), stated)

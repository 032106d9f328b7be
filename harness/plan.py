"""Before the night: what a study's trials will cost in time, memory and disk, and how many end before the deadline.

Which trials they are is `coming.py`'s knowledge. A worker measures what they cost (`probing.py`), and `plan_sums.py`
adds it up.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from harness.asking import ask_worker
from harness.coming import Begun, Coming, ahead
from harness.configuration import TrialConfig
from harness.deadline import Stop
from harness.executors.base import Executor
from harness.jobs import AdaptJob, Prepared, Probed, ProbeJob, Sharing, TrialJob
from harness.night import selection, times_its_trials
from harness.opening import data_at, preparation_at
from harness.plan_sums import Measured, StudyPlan, add_up
from harness.spec import StudyFile, StudySpec


def plan_study(
    file: StudyFile, record: Begun, sharing: Sharing, files: Path, executor: Executor, stop: Stop
) -> StudyPlan | None:
    """Draw the trials, have a worker measure, and add up; None when nothing is left to run.

    Args:
        file: the study.
        record: what is there of it.
        sharing: what its trials would take from each other.
        files: the folder beside the database; what the worker writes there meanwhile is taken away again.
        executor: its first worker measures; its slots are the workers of the night.
        stop: asks for an early end.

    Raises:
        HarnessError: what `harness run` would refuse.
    """
    coming = ahead(file.spec, record)
    trials = [*coming.drawn, *coming.confirming]
    if not trials:
        return None
    measured = measure(file.spec, record, trials, sharing, files, executor, stop)
    slots = 1 if times_its_trials(file.spec) else executor.slots
    return add_up(file.spec, record, coming, measured, slots, shutil.disk_usage(files).free, sharing.budget)


def measure(
    spec: StudySpec,
    record: Begun,
    trials: Sequence[Coming],
    sharing: Sharing,
    files: Path,
    executor: Executor,
    stop: Stop,
) -> Measured:
    """Have a worker check data and models, as the night begins, and then probe."""
    began = time.monotonic()
    prepared = ask_worker(executor, preparation_at(spec, record.commits, with_texts=False), stop)
    opening_seconds = time.monotonic() - began
    assert isinstance(prepared, Prepared)
    firsts = {trial.course: trial for trial in reversed(trials)}
    courses = list(dict.fromkeys(trial.course for trial in trials))
    files.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="probe-", dir=files) as folder:
        jobs = tuple(_trial_job(spec, firsts[course], prepared, sharing, folder) for course in courses)
        probed = ask_worker(executor, ProbeJob(jobs, folder), stop)
        adapting = tuple(_adapt_job(spec, config, prepared, folder) for config in spec.adaptations())
        adaptations = ask_worker(executor, ProbeJob(adapting, folder), stop) if adapting else None
    assert isinstance(probed, Probed)
    return Measured(dict(zip(courses, probed.costs, strict=True)), probed, opening_seconds, adaptations)


def _trial_job(spec: StudySpec, trial: Coming, prepared: Prepared, sharing: Sharing, folder: str) -> TrialJob:
    config, fold = trial.course
    return TrialJob(
        trial=0,
        task=spec.task,
        data=data_at(spec, prepared.data_revision),
        data_seed=spec.seeds[0],
        config=config,
        seed=trial.seed,
        fold=fold,
        objective=selection(spec.objectives),
        folder=folder,
        keep=False,
        sharing=sharing,
        revision=_revision(config, prepared),
    )


def _adapt_job(spec: StudySpec, config: TrialConfig, prepared: Prepared, folder: str) -> TrialJob:
    data, seed = data_at(spec, prepared.data_revision), spec.seeds[0]
    return AdaptJob(spec.task, data, seed, config, folder, _revision(config, prepared)).as_trial(folder)


def _revision(config: TrialConfig, prepared: Prepared) -> str | None:
    return next(model.revision for model in prepared.models if model.name == config.model)

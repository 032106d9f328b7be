"""Before the first trial of a night: a worker checks data and models; what changed since the study began is refused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from harness.asking import ask_worker
from harness.board import Observer
from harness.deadline import Stop
from harness.environment import git_state
from harness.errors import DataError
from harness.executors.base import Executor
from harness.jobs import Prepared, PrepareJob
from harness.records import Incident
from harness.results.rows import StudyRow
from harness.results.store import Store
from harness.spec import StudyFile, StudySpec
from harness.study_file.cross_checks import study_cautions

REMEDY = "or start another study with --set study=NEW-NAME"


class Commits(NamedTuple):
    """Of the Hub, as far as they are known.

    Attributes:
        data: None for files, and before a study has begun.
        models: by name; folders have none.
    """

    data: str | None = None
    models: Mapping[str, str] = MappingProxyType({})


class Opened(NamedTuple):
    """What every trial of the night has in common.

    Attributes:
        environment: id of its row.
        data: the data section for workers, at the commit of the Hub that was read.
        revisions: model -> commit on the Hub, None for a folder.
        fusing: models whose linear classifiers a worker can train together.
    """

    environment: int
    data: Mapping[str, Any]
    revisions: Mapping[str, str | None]
    fusing: frozenset[str] = frozenset()


def prepare(
    store: Store, row: StudyRow, file: StudyFile, begun: bool, executor: Executor, observer: Observer, stop: Stop
) -> Opened:
    """Check and record. A study that has begun goes on with the data, weights and commits that it began with.

    Raises:
        DataError: data or weights are not those that the study began with.
        HarnessError: what the worker found wrong with data, models or settings.
        Interrupted: an end was asked for meanwhile.
    """
    observer.note("checking data and models …")

    def told(incident: Incident) -> None:
        store.record_incident(row.id, None, incident)
        observer.note(incident.message)

    prepared = ask_worker(executor, preparation_of(store, row, file.spec, begun), stop, told)
    assert isinstance(prepared, Prepared)
    _refuse_other_data(store, row, prepared)
    if begun:
        _refuse_other_weights(store, row, prepared)
    store.record_prepared(row.id, prepared)
    git = git_state(file.path.parent if file.path else Path())
    environment = store.record_environment({**prepared.environment, "git": git})
    for warning in (*prepared.warnings, *study_cautions(file.spec)):
        observer.note(f"warning: {warning}")
    revisions = {model.name: model.revision for model in prepared.models}
    return Opened(environment, data_at(file.spec, prepared.data_revision), revisions, prepared.fusing)


def preparation_of(store: Store, row: StudyRow, spec: StudySpec, begun: bool) -> PrepareJob:
    """What a worker is to check; of a study that has begun at the commits that it began with."""
    commits = commits_of(store, row) if begun else Commits()
    return preparation_at(spec, commits, spec.store_texts)


def commits_of(store: Store, row: StudyRow) -> Commits:
    """Those that a study was last prepared with."""
    return Commits(store.data_revision(row.id), store.model_revisions(row.id))


def preparation_at(spec: StudySpec, commits: Commits, with_texts: bool) -> PrepareJob:
    """What a worker is to check, at these commits of the Hub."""
    return PrepareJob(
        task=spec.task,
        data=data_at(spec, commits.data),
        seed=spec.seeds[0],
        models=spec.models(),
        demands=spec.demands(),
        metrics=[objective.metric for objective in spec.objectives],
        with_texts=with_texts,
        revisions=dict(commits.models),
    )


def data_at(spec: StudySpec, commit: str | None) -> dict[str, Any]:
    """The data section for a worker, at a commit of the Hub if one is known."""
    return spec.data.model_dump(mode="json") | ({} if commit is None else {"revision": commit})


def _refuse_other_data(store: Store, row: StudyRow, prepared: Prepared) -> None:
    known = store.data_fingerprint(row.id)
    if known is not None and known != prepared.fingerprint:
        raise DataError(
            f"data of study {row.name!r} changed: fingerprint {prepared.fingerprint}, recorded {known}. "
            f"Restore the data, {REMEDY}"
        )


def _refuse_other_weights(store: Store, row: StudyRow, prepared: Prepared) -> None:
    begun_with = store.weights_hashes(row.id)
    for model in prepared.models:
        if begun_with.get(model.name, model.weights_hash) != model.weights_hash:
            raise DataError(
                f"the weights of {model.name} changed since study {row.name!r} began: "
                f"{model.weights_hash[:16]}, recorded {begun_with[model.name][:16]}. Restore the model, {REMEDY}"
            )

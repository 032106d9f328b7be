"""How a study, its data and its environments are written, and read back as values.

Functions over a connection that `store.py` has opened.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from harness.configuration import TrialConfig, fingerprint
from harness.errors import StorageError
from harness.jobs import Adapted, Prepared
from harness.results.columns import utc_now
from harness.results.rows import StudyRow
from harness.results.tables import adaptation, data, environment, example, model, study, trial
from harness.results.text import plain

if TYPE_CHECKING:
    from harness.spec import StudyFile

Source = Literal["own", "published"]


def key_of(added: sa.CursorResult[Any]) -> int:
    """The id that the database gave a new row."""
    key = added.inserted_primary_key
    if key is None:
        raise StorageError("the database gave no id for a new row")
    return int(key[0])


def insert_study(connection: sa.Connection, file: StudyFile, source: Source) -> int:
    """A new study; returns its id."""
    values = {"name": file.spec.study, "source": source, "created_at": utc_now(), **_text(file)}
    return key_of(connection.execute(sa.insert(study).values(**values)))


def update_study(connection: sa.Connection, study_id: int, file: StudyFile) -> None:
    """Everything that the study file says, in place of what an older text said."""
    connection.execute(sa.update(study).where(study.c.id == study_id).values(**_text(file)))


def _text(file: StudyFile) -> dict[str, Any]:
    spec = file.spec
    return {
        "text": file.text,
        "spec": spec.model_dump(mode="json"),
        "fingerprint": spec.fingerprint,
        "task": spec.task,
        "objectives": [dataclasses.asdict(objective) for objective in spec.objectives],
    }


def studies(connection: sa.Connection) -> list[StudyRow]:
    """All studies in order of creation."""
    rows = connection.execute(sa.select(study).order_by(study.c.id)).mappings()
    return [StudyRow.read(row) for row in rows]


def replace_prepared(connection: sa.Connection, study_id: int, prepared: Prepared) -> None:
    """The data and models as found, in place of what an earlier invocation found."""
    for table in (data, model, example):
        connection.execute(sa.delete(table).where(table.c.study_id == study_id))
    connection.execute(
        sa.insert(data).values(
            study_id=study_id,
            fingerprint=prepared.fingerprint,
            revision=prepared.data_revision,
            label_names=list(prepared.label_names),
            positive=prepared.positive,
            splits={name: dataclasses.asdict(split) for name, split in prepared.splits.items()},
            warnings=list(prepared.warnings),
        )
    )
    for found in prepared.models:
        connection.execute(sa.insert(model).values(study_id=study_id, **dataclasses.asdict(found)))
    rows = [
        {"study_id": study_id, "split": split, "position": i}
        | dict(zip(("source_row", "label", "grp", "text"), row, strict=True))
        for split, examples in prepared.examples.items()
        for i, row in enumerate(examples)
    ]
    if rows:
        connection.execute(sa.insert(example), rows)


def insert_adaptation(connection: sa.Connection, study_id: int, adapted: Adapted, config: TrialConfig) -> None:
    """What an adaptation came to; the row of a night that found the same again stays as the first night wrote it."""
    at = (adaptation.c.study_id == study_id, adaptation.c.model == adapted.model)
    if connection.scalar(sa.select(adaptation.c.key).where(*at)) == adapted.key:
        return
    connection.execute(sa.delete(adaptation).where(*at))
    values = dataclasses.asdict(adapted) | {"config": config.as_dict(), "at": utc_now()}
    del values["weights_hash"]  # stands in the facts of every trial that began from them
    connection.execute(sa.insert(adaptation).values(study_id=study_id, **values))


def data_fingerprint(connection: sa.Connection, study_id: int) -> str | None:
    """Hash of the rows that the study used; None before its first preparation."""
    return connection.scalar(sa.select(data.c.fingerprint).where(data.c.study_id == study_id))


def weights_hashes(connection: sa.Connection, study_id: int) -> dict[str, str]:
    """Model name -> hash of the pretrained weights that the study was begun with."""
    query = sa.select(model.c.name, model.c.weights_hash).where(model.c.study_id == study_id)
    return {str(name): str(found) for name, found in connection.execute(query)}


def adapted_weights(connection: sa.Connection, study_id: int) -> dict[str, str]:
    """Model name -> hash of the adapted weights that a trial of the study has begun from."""
    query = sa.select(trial.c.asked, trial.c.done).where(trial.c.study_id == study_id, trial.c.done.is_not(None))
    rows = connection.execute(query.order_by(trial.c.number.desc()))  # the first trial has the last word
    return {asked["model"]: done["weights_hash"] for asked, done in rows if done and asked.get("adapt")}


def data_revision(connection: sa.Connection, study_id: int) -> str | None:
    """Commit of the data set on the Hub that the study was begun with; None for files."""
    return connection.scalar(sa.select(data.c.revision).where(data.c.study_id == study_id))


def model_revisions(connection: sa.Connection, study_id: int) -> dict[str, str]:
    """Model name -> commit on the Hub that the study was begun with; folders have none."""
    query = sa.select(model.c.name, model.c.revision).where(model.c.study_id == study_id, model.c.revision.is_not(None))
    return {str(name): str(found) for name, found in connection.execute(query)}


def environment_id(connection: sa.Connection, facts: Mapping[str, Any]) -> int:
    """The id of these facts, stored on first sight."""
    identity = fingerprint(plain(facts))
    known = sa.select(environment.c.id).where(environment.c.fingerprint == identity)
    found = connection.scalar(known)
    if found is None:
        insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
        values = {"fingerprint": identity, "facts": facts, "created_at": utc_now()}
        # on a server another study may store the same facts at the same moment
        connection.execute(insert(environment).values(**values).on_conflict_do_nothing())
        found = connection.execute(known).scalar_one()
    return int(found)

"""The read side: results.db as pandas frames, for analysis, reports and exports.

Every function takes an engine, best one of `open_engine(target, read_only=True)`, and never writes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import sqlalchemy as sa

from harness.errors import StorageError, UsageError
from harness.results import tables, views
from harness.results.columns import Json, json_value
from harness.results.epoch_writes import unpack
from harness.results.tables import configuration, prediction, study, trial
from harness.results.targets import storage_errors

ROWS_AT_A_TIME = 10_000
UNSTATED = ("epochs", "batch_size", "effective_batch_size", "learning_rate", "max_length", "freeze")


def summary(engine: sa.Engine, study: str | None = None) -> pd.DataFrame:
    """harness_summary: one row a trial; all studies, or one."""
    if study is not None:
        return _as_stated(_read(engine, views.summary_of(_study_id(engine, study))))
    return _as_stated(_read(engine, sa.select(views.summary).order_by(views.summary.c.study, views.summary.c.trial)))


def _as_stated(summary: pd.DataFrame) -> pd.DataFrame:
    """The summary where what a published run does not state, in the tables 0 or empty, is missing."""
    published = summary["source"] == "published"
    if published.any():
        for name in UNSTATED:
            summary[name] = summary[name].mask(published & summary[name].isin([0, ""]))
    return summary


def epochs(engine: sa.Engine, study: str | None = None) -> pd.DataFrame:
    """harness_epoch: one row an epoch; all studies, or one."""
    view = views.epoch
    query = sa.select(view).order_by(view.c.study, view.c.trial, view.c.epoch)
    return _read(engine, query if study is None else query.where(view.c.study == _known(engine, study)))


def losses(engine: sa.Engine, study: str) -> pd.DataFrame:
    """The loss curves alone, of many trials sooner than `epochs`: its study, trial, epoch, both losses and seconds."""
    record = tables.epoch_record.c
    seconds = record.train_seconds + record.evaluate_seconds + record.save_seconds
    source = tables.epoch_record.join(trial, trial.c.id == record.trial_id)
    curves = []
    for split in ("train", "validation"):
        loss = tables.metric.alias(split)
        at = (loss.c.trial_id == record.trial_id, loss.c.epoch == record.epoch, loss.c.grp == "")
        source = source.outerjoin(loss, sa.and_(*at, loss.c.split == split, loss.c.name == "loss"))
        curves.append(loss.c.value.label(f"{split}_loss"))
    columns = (trial.c.number.label("trial"), record.epoch, *curves, seconds.label("epoch_seconds"))
    query = sa.select(*columns).select_from(source).where(trial.c.study_id == _study_id(engine, study))
    frame = _read(engine, query.order_by(trial.c.number, record.epoch))
    frame.insert(0, "study", pd.Series(study, index=frame.index, dtype="str"))
    return frame


def metrics(engine: sa.Engine, study: str, of_groups: bool = False) -> pd.DataFrame:
    """Every metric of every epoch: trial, epoch, split, name, group, value, kind; missing unless finite.

    With `of_groups` only those of a group of examples, of which most studies have none.
    """
    table = tables.metric.c
    columns = (table.epoch, table.split, table.name, table.grp.label("group"), table.value, table.kind)
    return _of_trials(engine, study, tables.metric, *columns, where=(table.grp != "") if of_groups else None)


def validation_curve(engine: sa.Engine, study: str, metric: str) -> pd.DataFrame:
    """One metric of all validation rows at every epoch: trial, epoch, value."""
    table = tables.metric.c
    where = sa.and_(table.split == "validation", table.grp == "", table.name == metric)
    return _of_trials(engine, study, tables.metric, table.epoch, table.value, where=where)


def test_metrics(engine: sa.Engine, study: str) -> pd.DataFrame:
    """Metrics of the test rows, which only confirming trials read: trial, epoch, name, value."""
    table = tables.metric.c
    where = sa.and_(table.split == "test", table.grp == "")
    return _of_trials(engine, study, tables.metric, table.epoch, table.name, table.value, where=where)


def windows(engine: sa.Engine, study: str) -> pd.DataFrame:
    """Steady training windows: trial, epoch, position, seconds, steps, samples, tokens, padded_tokens."""
    return _of_trials(engine, study, tables.window, *list(tables.window.c)[1:])


def epoch_records(engine: sa.Engine, study: str) -> pd.DataFrame:
    """Times, FLOPs and load of every epoch: trial, epoch and the other columns of harness_epoch_record."""
    return _of_trials(engine, study, tables.epoch_record, *list(tables.epoch_record.c)[1:])


def predictions(
    engine: sa.Engine, trial_id: int, epoch: int, kind: str = "logits", split: str | None = None
) -> npt.NDArray[np.float32]:
    """Outputs of one epoch: logits of the validation rows, shape (examples, labels), unless `kind` names others.

    Spans and losses of question answering lie in the order of the validation rows, margins in that of the training
    features. `trial_id` is the id in the database, as `trial_details` gives it; `split` is "test" for the test
    rows, which only confirming trials read, at the epoch that counts.

    Raises:
        UsageError: when none were stored.
    """
    table = prediction.c
    split = split or ("train" if kind == "margins" else "validation")
    where = (table.trial_id == trial_id, table.epoch == epoch, table.kind == kind, table.split == split)
    query = sa.select(prediction).where(*where)
    with storage_errors(engine.url.set(password=None)), engine.connect() as connection:
        row = connection.execute(query).mappings().first()
    if row is None:
        what = f"trial id {trial_id}, epoch {epoch}, split {split!r}, kind {kind!r}"
        raise UsageError(f"no predictions are stored of {what}")
    return unpack(dict(row))


def examples(engine: sa.Engine, study: str, split: str = "validation") -> pd.DataFrame:
    """Examples in the order of the predictions: position, source_row, label, group, text."""
    table = tables.example.c
    columns = (table.position, table.source_row, table.label, table.grp.label("group"), table.text)
    query = _in_study(tables.example, study, engine, *columns)
    return _read(engine, query.where(table.split == split).order_by(table.position))


def attributions(engine: sa.Engine, study: str) -> pd.DataFrame:
    """What each token did for an answer: trial and the columns of harness_attribution; tokens and scores as lists."""
    table = tables.attribution
    columns = (trial.c.number.label("trial"), *(c for c in table.c if c.name != "trial_id"))
    query = sa.select(*columns).select_from(table.join(trial, trial.c.id == table.c.trial_id))
    query = query.where(trial.c.study_id == _study_id(engine, study))
    return _read(engine, query.order_by(trial.c.number, table.c.method, table.c.position, table.c.target))


def incidents(engine: sa.Engine, study: str) -> pd.DataFrame:
    """What went otherwise than asked: trial (missing for the study's own), kind, message, details, at."""
    table = tables.incident
    columns = (trial.c.number.label("trial"), table.c.kind, table.c.message, table.c.details, table.c.at)
    joined = table.outerjoin(trial, trial.c.id == table.c.trial_id)
    query = sa.select(*columns).select_from(joined).where(table.c.study_id == _study_id(engine, study))
    return _read(engine, query.order_by(table.c.id))


def studies(engine: sa.Engine) -> pd.DataFrame:
    """One row a study, with its file, what was understood of it, and its objectives as lists of mappings."""
    return _read(engine, sa.select(study).order_by(study.c.id))


def environment(engine: sa.Engine, study: str) -> pd.DataFrame:
    """The environments that the study's trials ran in: id, facts (a mapping), trials (how many)."""
    table = tables.environment
    count = sa.func.count(trial.c.id).label("trials")
    joined = table.join(trial, trial.c.environment_id == table.c.id)
    query = sa.select(table.c.id, table.c.facts, table.c.created_at, count).select_from(joined)
    query = query.where(trial.c.study_id == _study_id(engine, study)).group_by(
        table.c.id, table.c.facts, table.c.created_at
    )
    return _read(engine, query.order_by(table.c.id))


def data(engine: sa.Engine, study: str) -> pd.DataFrame:
    """The data as used: fingerprint, label_names, positive, splits, warnings; one row, none before preparation."""
    return _read(engine, _in_study(tables.data, study, engine, *list(tables.data.c)[1:]))


def adaptations(engine: sa.Engine, study: str) -> pd.DataFrame:
    """The encoders that were pretrained further before the first trial: the columns of harness_adaptation."""
    table = tables.adaptation
    return _read(engine, _in_study(table, study, engine, *list(table.c)[1:]).order_by(table.c.model))


def models(engine: sa.Engine, study: str) -> pd.DataFrame:
    """The encoders as found, one row each."""
    return _read(
        engine, _in_study(tables.model, study, engine, *list(tables.model.c)[1:]).order_by(tables.model.c.name)
    )


def trial_details(engine: sa.Engine, study: str) -> pd.DataFrame:
    """One row a trial with everything stored: `trial_id`, asked, done, evidence and shared work as mappings."""
    renamed = {"id": "trial_id", "number": "trial"}
    own = [c.label(renamed.get(c.name, c.name)) for c in trial.c if c.name not in ("study_id", "configuration_id")]
    columns = (*own, configuration.c.number.label("configuration"), configuration.c.origin)
    joined = trial.join(configuration, configuration.c.id == trial.c.configuration_id)
    query = sa.select(*columns).select_from(joined).where(trial.c.study_id == _study_id(engine, study))
    return _read(engine, query.order_by(trial.c.number))


def sessions(engine: sa.Engine, study: str) -> pd.DataFrame:
    """Invocations of `harness run`: who, when, how long, how they ended."""
    query = _in_study(tables.session, study, engine, *(c for c in tables.session.c if c.name != "study_id"))
    return _read(engine, query.order_by(tables.session.c.id))


# --- reading ----------------------------------------------------------------------------------------


def _known(engine: sa.Engine, name: str) -> str:
    _study_id(engine, name)
    return name


def _study_id(engine: sa.Engine, name: str) -> int:
    with storage_errors(engine.url.set(password=None)), engine.connect() as connection:
        ids = {row.name: int(row.id) for row in connection.execute(sa.select(study.c.name, study.c.id))}
    if name not in ids:
        raise UsageError(f"no study {name!r} in the database; it holds {', '.join(sorted(ids)) or 'none'}")
    return ids[name]


def _in_study(table: sa.Table, name: str, engine: sa.Engine, *columns: Any) -> sa.Select[tuple[Any, ...]]:
    return sa.select(*columns).where(table.c.study_id == _study_id(engine, name))


def _of_trials(
    engine: sa.Engine, name: str, table: sa.Table, *columns: Any, where: sa.ColumnElement[bool] | None = None
) -> pd.DataFrame:
    """Rows that hang on epochs, with the trial's number in place of its id."""
    joined = table.join(trial, trial.c.id == table.c.trial_id)
    query = sa.select(trial.c.number.label("trial"), *columns).select_from(joined)
    query = query.where(trial.c.study_id == _study_id(engine, name), *([] if where is None else [where]))
    return _read(engine, query.order_by(trial.c.number, *columns[:3]))


def _read(engine: sa.Engine, query: sa.Select[Any]) -> pd.DataFrame:
    """A frame whose dtypes do not depend on its rows: Int64 for counts, float64, str, object for parsed JSON.

    Rows become columns some thousands at a time, for as Python objects those of a large study fill the memory.
    """
    columns = list(query.selected_columns)
    raw = [sa.type_coerce(c, sa.Text()).label(c.name) if isinstance(c.type, Json) else c for c in columns]
    parts: list[list[pd.Series[Any]]] = [[_series(column, ()) for column in columns]]
    with storage_errors(engine.url.set(password=None)), engine.connect() as connection:
        result = connection.execute(query.with_only_columns(*raw, maintain_column_froms=True))
        for rows in result.partitions(ROWS_AT_A_TIME):
            values = zip(*rows, strict=True)
            parts.append([_series(column, each) for column, each in zip(columns, values, strict=True)])
    # without the empty first part unless it is the only one
    of_columns = zip(*(parts[1:] or parts), strict=True)
    joined = zip(columns, of_columns, strict=True)
    return pd.DataFrame({column.name: pd.concat(each, ignore_index=True) for column, each in joined})


def _series(column: sa.ColumnElement[Any], values: Sequence[Any]) -> pd.Series[Any]:
    read = _parsed(values) if isinstance(column.type, Json) else list(values)
    try:
        series: pd.Series[Any] = pd.Series(read, dtype=_dtype(column))
    except (TypeError, ValueError) as error:
        raise StorageError(f"column {column.name} holds another type ({error}): the database is damaged") from error
    return series


def _parsed(texts: Sequence[str | None]) -> list[Any]:
    """The values of JSON texts; parsed together, their keys are in memory once.

    Raises:
        StorageError: when one is no JSON.
    """
    try:
        found: list[Any] = json.loads(f"[{','.join('null' if text is None else text for text in texts)}]")
    except (TypeError, ValueError):
        found = []
    # one by one, which tells what is wrong, where they are not one value each
    return found if len(found) == len(texts) else [json_value(text) for text in texts]


def _dtype(column: sa.ColumnElement[Any]) -> Any:
    kind: Any = column.type
    if isinstance(kind, Json):
        return object
    affinity = kind.impl if isinstance(kind, sa.TypeDecorator) else kind
    if isinstance(affinity, sa.Integer):
        return "Int64"
    return "str" if isinstance(affinity, sa.String) else "float64"

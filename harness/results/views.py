"""The two views for people with SQL: one row a trial, one row an epoch.

Their columns are a promise. Metrics are rows in `harness_metric`; here they become columns.
"""

from __future__ import annotations

import sqlalchemy as sa

from harness.results.columns import Number
from harness.results.tables import configuration, epoch_record, metadata, metric, study, trial, window

SUMMARY = {
    "study": "name of the study",
    "source": "own: trained here; published: copied from a document",
    "configuration": "number of the configuration within the study",
    "trial": "number of the trial within the study",
    "replicate": "which repetition of the configuration, from 0",
    "fold": "which fold, from 0; missing without cross-validation",
    "state": "waiting, running, complete, pruned or failed",
    "reason": "why it failed: oom, diverged, hung, crashed, data or disk",
    "model": "pretrained encoder",
    "epochs": "epochs asked; 0 where a published run does not say",
    "batch_size": "rows of one forward pass, as run; 0 where a published run does not say",
    "effective_batch_size": "rows of one optimiser step, as run; 0 where a published run does not say",
    "learning_rate": "peak learning rate; 0 where a published run does not say",
    "max_length": "tokens kept of a text; 0 where a published run does not say",
    "freeze": "freezing strategy; empty where a published run does not say",
    "seed": "seed of the trial; negative for a published run",
    "objective": "value of the first objective",
    "best_epoch": "epoch with the best objective",
    "best_loss_epoch": "epoch with the lowest validation loss",
    "train_loss": "training loss at best_epoch, from the training pass",
    "validation_loss": "validation loss at best_epoch",
    "accuracy": "validation accuracy at best_epoch, fraction",
    "f1": "validation f1 at best_epoch, fraction",
    "precision": "validation precision at best_epoch, fraction",
    "recall": "validation recall at best_epoch, fraction",
    "mcc": "Matthews correlation at best_epoch, -1 to 1",
    "exact_match": "validation exact match at best_epoch, fraction",
    "perplexity": "validation perplexity at best_epoch",
    "last_validation_loss": "validation loss of the last epoch",
    "train_seconds": "seconds in training steps",
    "total_seconds": "wall clock of the trial in seconds",
    "train_samples_per_second": "rows a second over all steady training windows",
    "eval_samples_per_second": "validation rows a second over all epochs",
    "peak_memory_bytes": "most memory in use over all epochs",
    "energy_joules": "energy of the device over all epochs; missing unless every epoch has it",
    "trainable_parameters": "parameters that train",
    "total_parameters": "parameters of model and head",
    "shared_work": "what was taken from shared work, as JSON; missing when nothing was",
    "verdict": "the overfitting verdict in words, such as `overfitting after epoch 2`",
}

EPOCH = {
    "study": "name of the study",
    "trial": "number of the trial within the study",
    "epoch": "the epoch, counted from 1",
    "train_loss": "training loss from the training pass",
    "validation_loss": "validation loss",
    "train_accuracy": "accuracy on the train probe in eval mode, else from the training pass, fraction",
    "accuracy": "validation accuracy, fraction",
    "f1": "validation f1, fraction",
    "precision": "validation precision, fraction",
    "recall": "validation recall, fraction",
    "exact_match": "validation exact match, fraction",
    "learning_rate": "learning rate at the last step of the epoch",
    "epoch_seconds": "training, evaluation and saving, in seconds",
    "train_samples_per_second": "rows a second over the epoch's steady training windows",
    "peak_memory_bytes": "most memory in use during the epoch",
    "energy_joules": "energy of the device for training steps and evaluation",
}

VALIDATION = ("accuracy", "f1", "precision", "recall", "mcc", "exact_match", "perplexity")


def _metric(split: str, name: str) -> sa.ColumnElement[float]:
    """One metric of all rows as a column of a query that is grouped by trial and epoch."""
    chosen = sa.and_(metric.c.split == split, metric.c.name == name)
    return sa.func.max(sa.case((chosen, metric.c.value)))


def _metric_columns() -> list[sa.ColumnElement[float]]:
    """One column a metric of the views."""
    return [
        _metric("train", "loss").label("train_loss"),
        _metric("validation", "loss").label("validation_loss"),
        sa.func.coalesce(_metric("probe", "accuracy"), _metric("train", "accuracy")).label("train_accuracy"),
        *(_metric("validation", name).label(name) for name in VALIDATION),
    ]


def _metrics() -> sa.Subquery:
    """One row an epoch, one column a metric."""
    keys = (metric.c.trial_id, metric.c.epoch)
    return sa.select(*keys, *_metric_columns()).where(metric.c.grp == "").group_by(*keys).subquery("metrics")


def _windows(*keys: sa.Column[int]) -> sa.Subquery:
    """Rows a second over the steady windows of each key."""
    rate = sa.func.sum(window.c.samples) / sa.func.nullif(sa.func.sum(window.c.seconds), 0)
    rate = sa.type_coerce(rate, Number())
    return sa.select(*keys, rate.label("rate")).group_by(*keys).subquery("windows")


def _records() -> sa.Subquery:
    """What a trial's epochs add up to."""
    record = epoch_record.c
    rate = sa.func.sum(record.evaluated_samples) / sa.func.nullif(sa.func.sum(record.validation_seconds), 0)
    every = sa.func.count(record.energy_joules) == sa.func.count(record.epoch)
    return (
        sa.select(
            record.trial_id,
            sa.func.max(record.epoch).label("last_epoch"),
            sa.func.max(record.peak_memory_bytes).label("peak_memory_bytes"),
            sa.type_coerce(rate, Number()).label("eval_samples_per_second"),
            sa.func.sum(record.train_seconds).label("train_seconds"),
            sa.case((every, sa.func.sum(record.energy_joules))).label("energy_joules"),
        )
        .group_by(record.trial_id)
        .subquery("records")
    )


def _summary() -> sa.Select[tuple[object, ...]]:
    metrics, records = _metrics(), _records()
    best, last = metrics.alias("best"), metrics.alias("last")
    at_best = sa.and_(best.c.trial_id == trial.c.id, best.c.epoch == trial.c.best_epoch)
    at_last = sa.and_(last.c.trial_id == trial.c.id, last.c.epoch == records.c.last_epoch)
    return _summary_from(records, best, at_best, last, last.c.validation_loss, at_last)


def summary_of(study_id: int) -> sa.Select[tuple[object, ...]]:
    """The rows of harness_summary of one study, worked out from no more than is shown.

    The view, which is to be read with any condition, puts together the metrics of every epoch of every study.
    """
    records, last = _records(), metric.alias("last")
    best = (
        sa.select(metric.c.trial_id, *_metric_columns())
        .join(trial, sa.and_(trial.c.id == metric.c.trial_id, trial.c.best_epoch == metric.c.epoch))
        .where(trial.c.study_id == study_id, metric.c.grp == "")
        .group_by(metric.c.trial_id)
        .subquery("best")
    )
    at_last = (last.c.trial_id == trial.c.id, last.c.epoch == records.c.last_epoch, last.c.grp == "")
    loss = (last.c.split == "validation", last.c.name == "loss")
    at_best = best.c.trial_id == trial.c.id
    found = _summary_from(records, best, at_best, last, last.c.value, sa.and_(*at_last, *loss))
    return found.where(trial.c.study_id == study_id).order_by(trial.c.number)


def _summary_from(
    records: sa.Subquery,
    best: sa.FromClause,
    at_best: sa.ColumnElement[bool],
    last: sa.FromClause,
    last_loss: sa.ColumnElement[object],
    at_last: sa.ColumnElement[bool],
) -> sa.Select[tuple[object, ...]]:
    """The columns of the summary, given where the metrics of the best and of the last epoch are found."""
    rates = _windows(window.c.trial_id)
    found: dict[str, sa.ColumnElement[object]] = {
        "study": study.c.name,
        "source": study.c.source,
        "configuration": configuration.c.number,
        "trial": trial.c.number,
        "verdict": trial.c.verdict_words,
        "last_validation_loss": last_loss,
        "train_seconds": sa.func.coalesce(trial.c.train_seconds, records.c.train_seconds),
        "train_samples_per_second": rates.c.rate,
        "eval_samples_per_second": records.c.eval_samples_per_second,
        "peak_memory_bytes": records.c.peak_memory_bytes,
        "energy_joules": records.c.energy_joules,
        **{name: best.c[name] for name in ("train_loss", "validation_loss", *VALIDATION)},
    }
    source = (
        trial.join(study, study.c.id == trial.c.study_id)
        .join(configuration, configuration.c.id == trial.c.configuration_id)
        .outerjoin(records, records.c.trial_id == trial.c.id)
        .outerjoin(rates, rates.c.trial_id == trial.c.id)
        .outerjoin(best, at_best)
        .outerjoin(last, at_last)
    )
    columns = [(found[name] if name in found else trial.c[name]).label(name) for name in SUMMARY]
    return sa.select(*columns).select_from(source)


def _epoch() -> sa.Select[tuple[object, ...]]:
    record, metrics, rates = epoch_record.c, _metrics(), _windows(window.c.trial_id, window.c.epoch)
    found: dict[str, sa.ColumnElement[object]] = {
        "study": study.c.name,
        "trial": trial.c.number,
        "epoch": record.epoch,
        "learning_rate": record.learning_rate,
        "epoch_seconds": record.train_seconds + record.evaluate_seconds + record.save_seconds,
        "train_samples_per_second": rates.c.rate,
        "peak_memory_bytes": record.peak_memory_bytes,
        "energy_joules": record.energy_joules,
    }
    source = (
        epoch_record.join(trial, trial.c.id == record.trial_id)
        .join(study, study.c.id == trial.c.study_id)
        .outerjoin(metrics, sa.and_(metrics.c.trial_id == record.trial_id, metrics.c.epoch == record.epoch))
        .outerjoin(rates, sa.and_(rates.c.trial_id == record.trial_id, rates.c.epoch == record.epoch))
    )
    columns = [(found[name] if name in found else metrics.c[name]).label(name) for name in EPOCH]
    return sa.select(*columns).select_from(source)


summary = sa.CreateView(_summary(), "harness_summary", metadata=metadata).table
epoch = sa.CreateView(_epoch(), "harness_epoch", metadata=metadata).table
VIEWS = {"harness_summary": (summary, SUMMARY), "harness_epoch": (epoch, EPOCH)}

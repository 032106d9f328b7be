"""Every epoch may say what energy the device used, and the two views show it."""

from __future__ import annotations

import re
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

TABLE = "harness_epoch_record"
REAL: sa.types.TypeEngine[Any] = sa.Double().with_variant(sa.REAL(), "sqlite")

METRICS = """
SELECT harness_metric.trial_id AS trial_id, harness_metric.epoch AS epoch,
    VALUE(train, loss) AS train_loss, VALUE(validation, loss) AS validation_loss,
    coalesce(VALUE(probe, accuracy), VALUE(train, accuracy)) AS train_accuracy, VALUE(validation, accuracy) AS accuracy,
    VALUE(validation, f1) AS f1, VALUE(validation, precision) AS precision, VALUE(validation, recall) AS recall,
    VALUE(validation, mcc) AS mcc, VALUE(validation, exact_match) AS exact_match,
    VALUE(validation, perplexity) AS perplexity
FROM harness_metric
WHERE harness_metric.grp = ''
GROUP BY harness_metric.trial_id, harness_metric.epoch
"""
VALUE = "max(CASE WHEN (harness_metric.split = '\\1' AND harness_metric.name = '\\2') THEN harness_metric.value END)"

SUMMARY = """
SELECT harness_study.name AS study, harness_study.source AS source, harness_configuration.number AS configuration,
    harness_trial.number AS trial, harness_trial.replicate AS replicate, harness_trial.fold AS fold,
    harness_trial.state AS state, harness_trial.reason AS reason, harness_trial.model AS model, harness_trial.epochs
    AS epochs, harness_trial.batch_size AS batch_size, harness_trial.effective_batch_size AS effective_batch_size,
    harness_trial.learning_rate AS learning_rate, harness_trial.max_length AS max_length, harness_trial.freeze AS
    freeze, harness_trial.seed AS seed, harness_trial.objective AS objective, harness_trial.best_epoch AS
    best_epoch, harness_trial.best_loss_epoch AS best_loss_epoch, best.train_loss AS train_loss,
    best.validation_loss AS validation_loss, best.accuracy AS accuracy, best.f1 AS f1, best.precision AS precision,
    best.recall AS recall, best.mcc AS mcc, best.exact_match AS exact_match, best.perplexity AS perplexity,
    last.validation_loss AS last_validation_loss, coalesce(harness_trial.train_seconds, records.train_seconds) AS
    train_seconds, harness_trial.total_seconds AS total_seconds, windows.rate AS train_samples_per_second,
    records.eval_samples_per_second AS eval_samples_per_second, records.peak_memory_bytes AS peak_memory_bytes,
    records.energy_joules AS energy_joules, harness_trial.trainable_parameters AS trainable_parameters,
    harness_trial.total_parameters AS total_parameters, harness_trial.shared_work AS shared_work,
    harness_trial.verdict_words AS verdict
FROM harness_trial
JOIN harness_study ON harness_study.id = harness_trial.study_id
JOIN harness_configuration ON harness_configuration.id = harness_trial.configuration_id
LEFT OUTER JOIN (SELECT harness_epoch_record.trial_id AS trial_id, max(harness_epoch_record.epoch) AS last_epoch,
    max(harness_epoch_record.peak_memory_bytes) AS peak_memory_bytes, sum(harness_epoch_record.evaluated_samples) /
    (nullif(sum(harness_epoch_record.validation_seconds), 0) + 0.0) AS eval_samples_per_second,
    sum(harness_epoch_record.train_seconds) AS train_seconds, CASE WHEN (count(harness_epoch_record.energy_joules) =
    count(harness_epoch_record.epoch)) THEN sum(harness_epoch_record.energy_joules) END AS energy_joules
FROM harness_epoch_record
GROUP BY harness_epoch_record.trial_id) AS records ON records.trial_id = harness_trial.id
LEFT OUTER JOIN (SELECT harness_window.trial_id AS trial_id, sum(harness_window.samples) /
    (nullif(sum(harness_window.seconds), 0) + 0.0) AS rate
FROM harness_window
GROUP BY harness_window.trial_id) AS windows ON windows.trial_id = harness_trial.id
LEFT OUTER JOIN (METRICS) AS best ON best.trial_id = harness_trial.id AND best.epoch = harness_trial.best_epoch
LEFT OUTER JOIN (METRICS) AS last ON last.trial_id = harness_trial.id AND last.epoch = records.last_epoch
"""

EPOCH = """
SELECT harness_study.name AS study, harness_trial.number AS trial, harness_epoch_record.epoch AS epoch,
    metrics.train_loss AS train_loss, metrics.validation_loss AS validation_loss, metrics.train_accuracy AS
    train_accuracy, metrics.accuracy AS accuracy, metrics.f1 AS f1, metrics.precision AS precision, metrics.recall
    AS recall, metrics.exact_match AS exact_match, harness_epoch_record.learning_rate AS learning_rate,
    harness_epoch_record.train_seconds + harness_epoch_record.evaluate_seconds + harness_epoch_record.save_seconds
    AS epoch_seconds, windows.rate AS train_samples_per_second, harness_epoch_record.peak_memory_bytes AS
    peak_memory_bytes, harness_epoch_record.energy_joules AS energy_joules
FROM harness_epoch_record
JOIN harness_trial ON harness_trial.id = harness_epoch_record.trial_id
JOIN harness_study ON harness_study.id = harness_trial.study_id
LEFT OUTER JOIN (METRICS) AS metrics ON metrics.trial_id = harness_epoch_record.trial_id AND metrics.epoch =
    harness_epoch_record.epoch
LEFT OUTER JOIN (SELECT harness_window.trial_id AS trial_id, harness_window.epoch AS epoch,
    sum(harness_window.samples) / (nullif(sum(harness_window.seconds), 0) + 0.0) AS rate
FROM harness_window
GROUP BY harness_window.trial_id, harness_window.epoch) AS windows ON windows.trial_id =
    harness_epoch_record.trial_id AND windows.epoch = harness_epoch_record.epoch
"""


def upgrade() -> None:
    """Add the columns; of the epochs before nothing is known. A view takes a new column only by being made anew."""
    op.add_column(TABLE, sa.Column("energy_joules", REAL, nullable=True))
    op.add_column(TABLE, sa.Column("energy_source", sa.Text(), nullable=True))
    metrics = re.sub(r"VALUE\((\w+), (\w+)\)", VALUE, METRICS).strip()
    for name, query in (("harness_summary", SUMMARY), ("harness_epoch", EPOCH)):
        op.execute(f"DROP VIEW {name}")
        op.execute(" ".join(f"CREATE VIEW {name} AS {query.replace('METRICS', metrics)}".split()))

"""Everything that the first release records.

A revision is frozen: it spells out what it makes, so that tables which change later leave it as it is.
"""

from __future__ import annotations

import re
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

WHOLE: sa.types.TypeEngine[Any] = sa.BigInteger().with_variant(sa.INTEGER(), "sqlite")
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
    harness_trial.trainable_parameters AS trainable_parameters, harness_trial.total_parameters AS total_parameters,
    harness_trial.shared_work AS shared_work, harness_trial.verdict_words AS verdict
FROM harness_trial
JOIN harness_study ON harness_study.id = harness_trial.study_id
JOIN harness_configuration ON harness_configuration.id = harness_trial.configuration_id
LEFT OUTER JOIN (SELECT harness_epoch_record.trial_id AS trial_id, max(harness_epoch_record.epoch) AS last_epoch,
    max(harness_epoch_record.peak_memory_bytes) AS peak_memory_bytes, sum(harness_epoch_record.evaluated_samples) /
    (nullif(sum(harness_epoch_record.validation_seconds), 0) + 0.0) AS eval_samples_per_second,
    sum(harness_epoch_record.train_seconds) AS train_seconds
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
    peak_memory_bytes
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
    """Create all tables and views."""
    _studies()
    _configurations()
    _trials()
    _incidents()
    _epochs()
    _view("harness_summary", SUMMARY)
    _view("harness_epoch", EPOCH)


def _columns(kind: Any, names: tuple[str, ...], null: bool) -> list[sa.Column[Any]]:
    return [sa.Column(name, kind, nullable=null) for name in names]


def _whole(*names: str, null: bool = False) -> list[sa.Column[Any]]:
    return _columns(WHOLE, names, null)


def _real(*names: str, null: bool = False) -> list[sa.Column[Any]]:
    return _columns(REAL, names, null)


def _text(*names: str, null: bool = False) -> list[sa.Column[Any]]:
    return _columns(sa.Text(), names, null)


def _table(name: str, *parts: sa.schema.SchemaItem) -> None:
    op.create_table(name, *parts, sqlite_strict=True)


def _of(name: str, column: str, other: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [f"{other}.id"], name=f"fk_{name}_{column}")


def _of_epoch(name: str) -> sa.ForeignKeyConstraint:
    key = ["trial_id", "epoch"]
    others = [f"harness_epoch_record.{column}" for column in key]
    return sa.ForeignKeyConstraint(key, others, name=f"fk_{name}_trial_id_epoch")


def _view(name: str, query: str) -> None:
    metrics = re.sub(r"VALUE\((\w+), (\w+)\)", VALUE, METRICS)
    op.execute(" ".join(f"CREATE VIEW {name} AS {query.replace('METRICS', metrics.strip())}".split()))


def _studies() -> None:
    _table(
        "harness_study",
        *_whole("id"),
        *_text("name", "source", "task", "text", "spec", "fingerprint", "objectives", "created_at"),
        sa.PrimaryKeyConstraint("id", name="pk_harness_study"),
        sa.CheckConstraint("source IN ('own', 'published')", name="ck_harness_study_source_known"),
        sa.UniqueConstraint("name", name="uq_harness_study_name"),
    )
    _table(
        "harness_session",
        *_whole("id", "study_id", "pid"),
        *_text("boot_id"),
        *_real("process_started"),
        *_text("host", "started_at"),
        *_text("ended_at", null=True),
        *_real("seconds"),
        *_text("exit_state", null=True),
        sa.PrimaryKeyConstraint("id", name="pk_harness_session"),
        _of("harness_session", "study_id", "harness_study"),
    )
    op.create_index("ix_harness_session_study_id", "harness_session", ["study_id"])
    _table(
        "harness_environment",
        *_whole("id"),
        *_text("fingerprint", "facts", "created_at"),
        sa.PrimaryKeyConstraint("id", name="pk_harness_environment"),
        sa.UniqueConstraint("fingerprint", name="uq_harness_environment_fingerprint"),
    )
    _table(
        "harness_data",
        *_whole("study_id"),
        *_text("fingerprint", "label_names"),
        *_text("positive", null=True),
        *_text("splits", "warnings"),
        sa.PrimaryKeyConstraint("study_id", name="pk_harness_data"),
        _of("harness_data", "study_id", "harness_study"),
    )
    _table(
        "harness_model",
        *_whole("study_id"),
        *_text("name", "architecture"),
        *_whole("layers", "total_parameters", "max_positions"),
        *_text("revision", null=True),
        *_text("weights_hash"),
        sa.PrimaryKeyConstraint("study_id", "name", name="pk_harness_model"),
        _of("harness_model", "study_id", "harness_study"),
    )
    _table(
        "harness_example",
        *_whole("study_id"),
        *_text("split"),
        *_whole("position", "source_row"),
        *_text("label", "grp"),
        *_text("text", null=True),
        sa.PrimaryKeyConstraint("study_id", "split", "position", name="pk_harness_example"),
        _of("harness_example", "study_id", "harness_study"),
    )


def _configurations() -> None:
    _table(
        "harness_configuration",
        *_whole("id", "study_id", "number"),
        *_text("fingerprint", "config", "origin", "created_at"),
        sa.PrimaryKeyConstraint("id", name="pk_harness_configuration"),
        sa.UniqueConstraint("study_id", "number", name="uq_harness_configuration_study_id_number"),
        sa.UniqueConstraint("study_id", "fingerprint", name="uq_harness_configuration_study_id_fingerprint"),
        sa.CheckConstraint(
            "origin IN ('explicit', 'grid', 'sampled', 'baseline')", name="ck_harness_configuration_origin_known"
        ),
        _of("harness_configuration", "study_id", "harness_study"),
    )


def _trials() -> None:
    _table(
        "harness_trial",
        *_whole("id", "study_id", "number", "configuration_id", "replicate"),
        *_whole("fold", null=True),
        *_whole("seed"),
        *_text("state"),
        *_text("reason", null=True),
        *_text("message", "traceback", "stopped_early"),
        *_whole("attempt"),
        *_text("worker", null=True),
        *_text("created_at"),
        *_text("started_at", "ended_at", null=True),
        *_text("asked"),
        *_text("done", null=True),
        *_whole("environment_id", null=True),
        *_text("model"),
        *_whole("epochs", "batch_size", "effective_batch_size"),
        *_real("learning_rate"),
        *_whole("max_length"),
        *_text("freeze"),
        *_whole("best_epoch", "best_loss_epoch", null=True),
        *_real("objective", null=True),
        *_text("objective_values", null=True),
        *_real("load_seconds", "tokenise_seconds", "train_seconds", null=True),
        *_real("evaluate_seconds", "save_seconds", "total_seconds", null=True),
        *_whole("total_parameters", "trainable_parameters", null=True),
        *_text("verdict_words", "verdict_name", "verdict_evidence", null=True),
        *_whole("verdict_version", null=True),
        *_text("shared_work", "model_folder", null=True),
        sa.PrimaryKeyConstraint("id", name="pk_harness_trial"),
        sa.UniqueConstraint("study_id", "number", name="uq_harness_trial_study_id_number"),
        sa.CheckConstraint(
            "state IN ('waiting', 'running', 'complete', 'pruned', 'failed')", name="ck_harness_trial_state_known"
        ),
        sa.CheckConstraint(
            "reason IN ('oom', 'diverged', 'hung', 'crashed', 'data', 'disk')", name="ck_harness_trial_reason_known"
        ),
        sa.CheckConstraint(
            "(state = 'failed' AND reason IS NOT NULL) OR (state <> 'failed' AND reason IS NULL)",
            name="ck_harness_trial_reason_of_failed",
        ),
        _of("harness_trial", "study_id", "harness_study"),
        _of("harness_trial", "configuration_id", "harness_configuration"),
        _of("harness_trial", "environment_id", "harness_environment"),
    )
    # a trial without a fold counts as fold -1: missing folds would be distinct
    identity = [sa.text("configuration_id"), sa.text("seed"), sa.text("coalesce(fold, -1)")]
    op.create_index("uq_harness_trial_identity", "harness_trial", identity, unique=True)


def _incidents() -> None:
    _table(
        "harness_incident",
        *_whole("id", "study_id"),
        *_whole("trial_id", null=True),
        *_text("kind", "message", "details", "at"),
        sa.PrimaryKeyConstraint("id", name="pk_harness_incident"),
        _of("harness_incident", "study_id", "harness_study"),
        _of("harness_incident", "trial_id", "harness_trial"),
    )
    op.create_index("ix_harness_incident_study_id", "harness_incident", ["study_id"])


def _epochs() -> None:
    _table(
        "harness_epoch_record",
        *_whole("trial_id", "epoch", "steps"),
        *_real("learning_rate", "train_seconds", "evaluate_seconds", "save_seconds", "validation_seconds", null=True),
        *_whole("evaluated_samples"),
        *_whole("peak_memory_bytes", null=True),
        *_real("flops", "load", null=True),
        *_whole("attempt"),
        *_text("recorded_at"),
        sa.PrimaryKeyConstraint("trial_id", "epoch", name="pk_harness_epoch_record"),
        sa.CheckConstraint("epoch >= 1", name="ck_harness_epoch_record_epoch_from_one"),
        _of("harness_epoch_record", "trial_id", "harness_trial"),
    )
    _table(
        "harness_metric",
        *_whole("trial_id", "epoch"),
        *_text("split", "name", "grp"),
        *_real("value", null=True),
        *_text("kind"),
        sa.PrimaryKeyConstraint("trial_id", "epoch", "split", "name", "grp", name="pk_harness_metric"),
        _of_epoch("harness_metric"),
        sa.CheckConstraint("kind IN ('finite', 'nan', '+inf', '-inf')", name="ck_harness_metric_kind_known"),
        sa.CheckConstraint(
            "(kind = 'finite' AND value IS NOT NULL) OR (kind <> 'finite' AND value IS NULL)",
            name="ck_harness_metric_value_of_finite",
        ),
    )
    _table(
        "harness_window",
        *_whole("trial_id", "epoch", "position"),
        *_real("seconds"),
        *_whole("steps", "samples", "tokens", "padded_tokens"),
        sa.PrimaryKeyConstraint("trial_id", "epoch", "position", name="pk_harness_window"),
        _of_epoch("harness_window"),
    )
    _table(
        "harness_prediction",
        *_whole("trial_id", "epoch"),
        *_text("split", "kind", "shape"),
        *_whole("crc32"),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("trial_id", "epoch", "split", "kind", name="pk_harness_prediction"),
        _of_epoch("harness_prediction"),
        sa.CheckConstraint("kind IN ('logits', 'margins')", name="ck_harness_prediction_kind_known"),
    )

"""The tables of results.db: one metadata, every column with its meaning.

Names begin with `harness_`, since Optuna's own tables live in the same file. Only `store.py` and
the modules named `..._writes.py` write them; `views.py` adds the two views for people with SQL.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from harness.records import REASONS, STATES
from harness.results.columns import KEY, Json, Number, Scrubbed, Whole, Words

KINDS = ("finite", "nan", "+inf", "-inf")
SOURCES = ("own", "published")
ORIGINS = ("explicit", "grid", "sampled", "baseline")

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _table(name: str, comment: str, *parts: sa.schema.SchemaItem) -> sa.Table:
    return sa.Table(name, metadata, *parts, comment=comment, sqlite_strict=True)


def _column(name: str, kind: Any, comment: str, *rest: Any, null: bool = False, **options: Any) -> sa.Column[Any]:
    return sa.Column(name, kind, *rest, nullable=null, comment=comment, **options)


def _id() -> sa.Column[Any]:
    return sa.Column("id", KEY, primary_key=True, comment="number within the database")


def _in_study(primary_key: bool = False) -> sa.Column[Any]:
    key = sa.ForeignKey("harness_study.id")
    return _column("study_id", KEY, "the study", key, primary_key=primary_key)


def _in_epoch() -> tuple[sa.schema.SchemaItem, ...]:
    return (
        _column("trial_id", KEY, "the trial", primary_key=True, autoincrement=False),
        _column("epoch", KEY, "the epoch, counted from 1", primary_key=True, autoincrement=False),
        sa.ForeignKeyConstraint(["trial_id", "epoch"], ["harness_epoch_record.trial_id", "harness_epoch_record.epoch"]),
    )


def _one_of(column: str, values: tuple[str, ...]) -> sa.CheckConstraint:
    allowed = ", ".join(f"'{value}'" for value in values)
    return sa.CheckConstraint(f"{column} IN ({allowed})", name=f"{column}_known")


study = _table(
    "harness_study",
    "One row a study.",
    _id(),
    _column("name", Words, "the study's name", unique=True),
    _column("source", Words, "own: trained here; published: copied from a document"),
    _column("task", Words, "name of the task"),
    _column("text", Scrubbed, "the study file as written"),
    _column("spec", Json, "the study file as understood, overrides included"),
    _column("fingerprint", Words, "hash of what was understood"),
    _column("objectives", Json, "list of {metric, direction, at}"),
    _column("created_at", Words, "UTC"),
    _one_of("source", SOURCES),
)

session = _table(
    "harness_session",
    "One row an invocation of `harness run`: who held the study, when and how long.",
    _id(),
    _in_study(),
    _column("pid", Whole, "process id of the coordinator"),
    _column("boot_id", Words, "identity of the machine's boot"),
    _column("process_started", Number, "start time of the process, as the system counts it"),
    _column("host", Words, "name of the machine"),
    _column("started_at", Words, "UTC"),
    _column("ended_at", Words, "UTC; missing while it runs", null=True),
    _column("seconds", Number, "duration by a clock that does not jump; renewed with every record"),
    _column("exit_state", Words, "finished, interrupted, error or vanished; missing while it runs", null=True),
    sa.Index(None, "study_id"),
)

environment = _table(
    "harness_environment",
    "One row a distinct environment: versions, device, driver, CPU, threads, git commit.",
    _id(),
    _column("fingerprint", Words, "hash of the facts", unique=True),
    _column("facts", Json, "the allowed list of facts; no argv, no full environment"),
    _column("created_at", Words, "UTC"),
)

data = _table(
    "harness_data",
    "The data of a study as it was used.",
    _in_study(primary_key=True),
    _column("fingerprint", Words, "hash of the rows used"),
    _column("revision", Words, "commit of the data set on the Hub", null=True),
    _column("label_names", Json, "class id -> name, as a list"),
    _column("positive", Words, "label that binary f1, precision and recall speak of", null=True),
    _column("splits", Json, "split -> {rows, dropped, labels}"),
    _column("warnings", Json, "list of warnings"),
)

model = _table(
    "harness_model",
    "The pretrained encoders of a study as found.",
    _in_study(primary_key=True),
    _column("name", Words, "as in the study file", primary_key=True),
    _column("architecture", Words, "class of the encoder"),
    _column("layers", Whole, "number of encoder layers"),
    _column("total_parameters", Whole, "parameters of the encoder"),
    _column("max_positions", Whole, "longest input in tokens"),
    _column("revision", Words, "commit on the Hub", null=True),
    _column("weights_hash", Words, "SHA-256 of the weights as loaded"),
)

adaptation = _table(
    "harness_adaptation",
    "The encoders of a study as they were pretrained further on its training texts, before its first trial.",
    _in_study(primary_key=True),
    _column("model", Words, "as in the study file", primary_key=True),
    _column("key", Words, "name of its folder below results.files/models"),
    _column("config", Json, "how it was trained"),
    _column("texts", Whole, "training texts, each once"),
    _column("held_out_texts", Whole, "validation texts that are no training texts; 0: perplexity is of those that are"),
    _column("epochs", Whole, "passes over the training texts"),
    _column("best_epoch", Whole, "epoch whose weights are used: lowest loss of the held-out texts"),
    _column("steps", Whole, "optimiser steps until that epoch's end"),
    _column("perplexity_before", Number, "of the held-out texts before any step", null=True),
    _column("perplexity_after", Number, "of the held-out texts at best_epoch", null=True),
    _column("fresh_head", Whole, "1 where the model came without a head for hidden words, else 0"),
    _column("seconds", Number, "that it took, whoever asked first"),
    _column("spent_seconds", Number, "that it took this study"),
    _column("reused", Whole, "1 where another study or an earlier night had made it, else 0"),
    _column("at", Words, "UTC"),
)

example = _table(
    "harness_example",
    "The examples of a study in the order of the stored predictions.",
    _in_study(primary_key=True),
    _column("split", Words, "train, validation or test", primary_key=True),
    _column("position", Whole, "place within the split, from 0", primary_key=True, autoincrement=False),
    _column("source_row", Whole, "row number in the source"),
    _column("label", Words, "label name"),
    _column("grp", Words, "group of data.groups, or empty"),
    _column("text", Words, "the text, unless store_texts is false", null=True),
)

configuration = _table(
    "harness_configuration",
    "One row a point of the space.",
    _id(),
    _in_study(),
    _column("number", Whole, "number within the study, from 0"),
    _column("fingerprint", Words, "hash of the configuration"),
    _column("config", Json, "every hyperparameter as asked"),
    _column("origin", Words, "explicit, grid, sampled or baseline"),
    _column("created_at", Words, "UTC"),
    sa.UniqueConstraint("study_id", "number"),
    sa.UniqueConstraint("study_id", "fingerprint"),
    _one_of("origin", ORIGINS),
)

trial = _table(
    "harness_trial",
    "One row a trial: a configuration, a seed, a fold.",
    _id(),
    _in_study(),
    _column("number", Whole, "number within the study, from 0"),
    _column("configuration_id", KEY, "the configuration", sa.ForeignKey("harness_configuration.id")),
    _column("replicate", Whole, "which repetition, from 0"),
    _column("fold", Whole, "which fold, from 0; missing without cross-validation", null=True),
    _column("seed", Whole, "seed of initialisation, order and dropout"),
    _column("state", Words, "waiting, running, complete, pruned or failed"),
    _column("reason", Words, "why it failed: oom, diverged, hung, crashed, data or disk", null=True),
    _column("message", Scrubbed, "what was seen when it ended"),
    _column("traceback", Scrubbed, "where it was seen"),
    _column("stopped_early", Words, "why it stopped before its last epoch, or empty"),
    _column("attempt", Whole, "how often it was started"),
    _column("worker", Words, "name of the worker", null=True),
    _column("created_at", Words, "UTC"),
    _column("started_at", Words, "UTC, of the last attempt", null=True),
    _column("ended_at", Words, "UTC", null=True),
    _column("asked", Json, "the configuration as asked"),
    _column("done", Json, "what was really run: configuration, device, dtype, attention kernel, steps", null=True),
    _column("environment_id", KEY, "where it ran", sa.ForeignKey("harness_environment.id"), null=True),
    _column("model", Words, "encoder, as run"),
    _column("epochs", Whole, "epochs asked"),
    _column("batch_size", Whole, "rows of one forward pass, as run"),
    _column("effective_batch_size", Whole, "rows of one optimiser step, as run"),
    _column("learning_rate", Number, "peak learning rate, as run"),
    _column("max_length", Whole, "tokens kept of a text, as run"),
    _column("freeze", Words, "freezing strategy, as run"),
    _column("best_epoch", Whole, "epoch with the best objective", null=True),
    _column("best_loss_epoch", Whole, "epoch with the lowest validation loss", null=True),
    _column("objective", Number, "value of the first objective", null=True),
    _column("objective_values", Json, "values of all objectives, in their order", null=True),
    _column("load_seconds", Number, "time to load weights", null=True),
    _column("tokenise_seconds", Number, "time to tokenise", null=True),
    _column("share_seconds", Number, "time to work out, or to take, what trials share", null=True),
    _column("train_seconds", Number, "time in training steps", null=True),
    _column("evaluate_seconds", Number, "time in evaluation", null=True),
    _column("save_seconds", Number, "time to write checkpoints and weights", null=True),
    _column("total_seconds", Number, "wall clock of the trial", null=True),
    _column("total_parameters", Whole, "parameters of model and head", null=True),
    _column("trainable_parameters", Whole, "parameters that train", null=True),
    _column("verdict_words", Words, "the overfitting verdict in words", null=True),
    _column("verdict_name", Words, "the same without its epoch and strength", null=True),
    _column("verdict_evidence", Json, "what the verdict rests on", null=True),
    _column("verdict_version", Whole, "version of the rules", null=True),
    _column("shared_work", Json, "what was taken from shared work, with amounts; missing when nothing", null=True),
    _column("model_folder", Words, "folder of the kept weights below results.files/trials", null=True),
    sa.UniqueConstraint("study_id", "number"),
    _one_of("state", STATES),
    _one_of("reason", REASONS),
    sa.CheckConstraint(
        "(state = 'failed' AND reason IS NOT NULL) OR (state <> 'failed' AND reason IS NULL)",
        name="reason_of_failed",
    ),
)
# NULL folds are distinct to a plain UNIQUE constraint, so a trial without a fold counts as fold -1.
sa.Index(
    "uq_harness_trial_identity",
    trial.c.configuration_id,
    trial.c.seed,
    sa.func.coalesce(trial.c.fold, sa.literal_column("-1")),
    unique=True,
)

epoch_record = _table(
    "harness_epoch_record",
    "One row an epoch of a trial, written once in one transaction with its metrics.",
    _column("trial_id", KEY, "the trial", sa.ForeignKey("harness_trial.id"), primary_key=True, autoincrement=False),
    _column("epoch", KEY, "the epoch, counted from 1", primary_key=True, autoincrement=False),
    _column("steps", Whole, "optimiser steps since the trial began"),
    _column("learning_rate", Number, "at the last step of the epoch", null=True),
    _column("train_seconds", Number, "forward, backward and optimiser steps", null=True),
    _column("evaluate_seconds", Number, "evaluation of validation rows and train probe", null=True),
    _column("save_seconds", Number, "writing checkpoints and weights", null=True),
    _column("validation_seconds", Number, "part of evaluate_seconds spent on validation rows", null=True),
    _column("evaluated_samples", Whole, "rows behind validation_seconds"),
    _column("peak_memory_bytes", Whole, "most memory in use during the epoch", null=True),
    _column("flops", Number, "floating-point operations of the training passes", null=True),
    _column("load", Number, "other processes' share of the CPUs, 0 to 1", null=True),
    _column("energy_joules", Number, "of the device, for training steps and evaluation", null=True),
    _column("energy_source", Words, "counter or power samples; `, shared device` where others used it too", null=True),
    _column("attempt", Whole, "attempt of the trial that wrote it"),
    _column("recorded_at", Words, "UTC"),
    sa.CheckConstraint("epoch >= 1", name="epoch_from_one"),
)

metric = _table(
    "harness_metric",
    "One row a metric of an epoch; fractions stay fractions.",
    *_in_epoch(),
    _column(
        "split", Words, "train (training pass), probe (training rows in eval mode), validation, test", primary_key=True
    ),
    _column("name", Words, "loss, accuracy, f1, macro_f1, precision, recall, mcc, ...", primary_key=True),
    _column("grp", Words, "group of data.groups, or empty for all rows", primary_key=True),
    _column("value", Number, "the value; missing unless finite", null=True),
    _column("kind", Words, "finite, nan, +inf or -inf"),
    _one_of("kind", KINDS),
    sa.CheckConstraint(
        "(kind = 'finite' AND value IS NOT NULL) OR (kind <> 'finite' AND value IS NULL)", name="value_of_finite"
    ),
)

window = _table(
    "harness_window",
    "Stretches of steady training steps between two synchronised clock readings.",
    *_in_epoch(),
    _column("position", Whole, "order within the epoch, from 0", primary_key=True, autoincrement=False),
    _column("seconds", Number, "duration"),
    _column("steps", Whole, "optimiser steps"),
    _column("samples", Whole, "rows"),
    _column("tokens", Whole, "real tokens"),
    _column("padded_tokens", Whole, "tokens with padding"),
)

prediction = _table(
    "harness_prediction",
    "Outputs of every evaluation, in the order of harness_example: zlib-compressed little-endian float32.",
    *_in_epoch(),
    _column("split", Words, "validation or test for outputs, train for margins", primary_key=True),
    _column(
        "kind",
        Words,
        "logits of a classification; spans and losses of question answering; margins: gold logit minus best other",
        primary_key=True,
    ),
    _column("shape", Json, "lengths of the axes"),
    _column("crc32", Whole, "checksum of the uncompressed bytes"),
    sa.Column("data", sa.LargeBinary, nullable=False, comment="the compressed bytes"),
    _one_of("kind", ("logits", "spans", "losses", "margins")),
)

incident = _table(
    "harness_incident",
    "What went otherwise than asked and was dealt with.",
    _id(),
    _in_study(),
    _column("trial_id", KEY, "the trial, if one was concerned", sa.ForeignKey("harness_trial.id"), null=True),
    _column("kind", Words, "short name"),
    _column("message", Scrubbed, "what happened"),
    _column("details", Json, "the figures"),
    _column("at", Words, "UTC"),
    sa.Index(None, "study_id"),
)

attribution = _table(
    "harness_attribution",
    "How much each token did for an answer of a kept model: one row an example, method and explained number.",
    _column("trial_id", KEY, "the trial", sa.ForeignKey("harness_trial.id"), primary_key=True, autoincrement=False),
    _column("split", Words, "validation", primary_key=True),
    _column("position", Whole, "place within the trial's rows of the split", primary_key=True, autoincrement=False),
    _column("method", Words, "integrated-gradients or attention-rollout", primary_key=True),
    _column("target", Words, "class whose logit is explained; start or end of the answer", primary_key=True),
    _column("source_row", Whole, "row number in the source"),
    _column("weights_epoch", Whole, "epoch whose weights were kept"),
    _column("label", Words, "label name, or the right answers as JSON"),
    _column("answer", Words, "what the model answered; empty for no answer"),
    _column("probability", Number, "of that answer"),
    _column("tokens", Json, "list of [text, part, word]; part and word are -1 for a special token"),
    _column("scores", Json, "one number a token"),
    _column("value", Number, "the explained number"),
    _column("baseline_value", Number, "the same at the baseline; missing without one", null=True),
    _column("delta", Number, "sum of the scores minus (value minus baseline_value); missing without one", null=True),
    _column("baseline", Words, "what the text is compared with; empty without one"),
    _column("steps", Whole, "points between baseline and text; missing without one", null=True),
    _column("created_at", Words, "UTC"),
)

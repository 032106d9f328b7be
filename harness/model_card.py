"""The README of a kept model: data, configuration, metrics, curve. No verdict: that is the report's word."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from harness.jobs import TrialJob
from harness.records import EpochRecord, TrialFacts

_CURVE = ("loss", "accuracy", "exact_match", "f1", "macro_f1")


class EpochChoice(NamedTuple):
    """The epoch whose weights are kept, and the validation metric that chose it."""

    epoch: int
    metric: str


def render(
    job: TrialJob, facts: TrialFacts, records: Sequence[EpochRecord], best: EpochChoice, label_names: Sequence[str]
) -> str:
    """Markdown with the Hub's front matter.

    Args:
        job, facts: what was asked and what was done.
        records: all epochs.
        best: the epoch whose weights lie beside the card.
        label_names: class id -> name.
    """
    chosen = next(record for record in records if record.epoch == best.epoch)
    lines = [
        *_front_matter(job),
        f"# {job.config.model}, fine-tuned for {job.task}",
        "",
        f"Weights of epoch {best.epoch} of {len(records)}, chosen by validation {best.metric}.",
        "",
        "## Data",
        "",
        *_table(("", ""), _data_rows(job, facts, label_names)),
        "",
        "## Metrics at the best epoch",
        "",
        *_table(("split", "metric", "group", "value"), _metric_rows(chosen)),
        "",
        "## Curve",
        "",
        "Train probe and validation rows are evaluated without dropout; `train loss` is the mean of the training pass.",
        "",
        *_curve(records),
        "",
        "## Configuration",
        "",
        *_table(("hyperparameter", "asked", "done"), _configuration_rows(job, facts)),
        "",
        *_table(("", ""), _run_rows(job, facts)),
        "",
    ]
    return "\n".join(lines)


def _front_matter(job: TrialJob) -> list[str]:
    return ["---", "library_name: transformers", f"tags: [{job.task}, harness]", "---", ""]


def _data_rows(job: TrialJob, facts: TrialFacts, label_names: Sequence[str]) -> Iterator[tuple[str, ...]]:
    yield "data", f"`{_cell(job.data.get('path', ''))}`"
    yield "fingerprint of the rows", f"`{facts.data_fingerprint}`"
    if label_names:
        yield "labels", ", ".join(f"{number} = {_cell(name)}" for number, name in enumerate(label_names))
    yield "training rows", str(facts.train_rows)
    yield "validation rows", str(facts.validation_rows)
    if job.fold is not None:
        yield "fold", str(job.fold)


def _metric_rows(record: EpochRecord) -> Iterator[tuple[str, ...]]:
    for metric in record.metrics:
        yield metric.split, metric.name, _cell(metric.group), f"{metric.value:.4f}"


def _curve(records: Sequence[EpochRecord]) -> list[str]:
    measured = {metric.name for metric in records[0].metrics if metric.split == "validation" and not metric.group}
    shown = [name for name in _CURVE if name in measured]
    heads = ("epoch", "train loss", "probe loss", *(f"validation {name}" for name in shown))
    rows = [
        (
            str(record.epoch),
            f"{record.value('train', 'loss'):.4f}",
            f"{record.value('probe', 'loss'):.4f}",
            *(f"{record.value('validation', name):.4f}" for name in shown),
        )
        for record in records
    ]
    return _table(heads, rows)


def _configuration_rows(job: TrialJob, facts: TrialFacts) -> Iterator[tuple[str, ...]]:
    asked, done = job.config.as_dict(), {**facts.config.as_dict(), "dtype": facts.dtype}
    for name, value in asked.items():
        yield name, _value(value), _value(done[name])


def _run_rows(job: TrialJob, facts: TrialFacts) -> Iterator[tuple[str, ...]]:
    yield "seed", str(job.seed)
    yield "device", facts.device
    yield "attention", facts.attention
    yield "revision of the pretrained model", facts.model_revision or "unknown"
    yield "SHA-256 of the pretrained weights", f"`{facts.weights_hash}`"
    yield "trainable parameters", f"{facts.trainable_parameters:,} of {facts.total_parameters:,}"


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {entry}" for key, entry in value.items())
    return "-" if value is None else _cell(str(value))


def _cell(text: str) -> str:
    """Text of a user's data inside a table: one line, no bars, no markup."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def _table(heads: Sequence[str], rows: Iterator[tuple[str, ...]] | Sequence[tuple[str, ...]]) -> list[str]:
    lines = [heads, ["---"] * len(heads), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]

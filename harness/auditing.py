"""Audit: how long the texts are in tokens, what each max_length cuts off, how the splits are made up.

Counts only; drawing and printing them is the coordinator's work. Uses the task's own encoding, so that what is
counted is what a trial sees.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

import harness.data as rows
from harness.architectures import max_positions
from harness.configuration import TrialConfig
from harness.hub import locate
from harness.jobs import AuditCounts, AuditJob, TextsAlone, TokenLengths, Truncation, Windows
from harness.preparation import check_tokenizer, read_config, read_tokenizer, summarise
from harness.spec import DataSpec
from harness.tasks import base as tasks
from harness.tasks.base import UNCUT, IntArray, Task
from harness.unlabelled import distinct

SHARE_CUT = 0.01
QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0)
BINS = 20
RULE = (
    "the smallest multiple of 8, or max_length of the search, that cuts off less than 1% of the training examples; "
    "the model's limit where none does"
)


def audit(job: AuditJob) -> AuditCounts:
    """Tokenise everything without truncation and count.

    Raises:
        SpecError, DataError, UnavailableError: as `preparation.prepare` does.
    """
    task = tasks.load(job.task)
    folders = {name: locate(name).path for name in dict.fromkeys(job.models)}
    configs = {name: read_config(name, path) for name, path in folders.items()}
    splits = rows.load(DataSpec.model_validate(dict(job.data)), task, job.seed)
    lengths: list[TokenLengths] = []
    recommended: dict[str, int] = {}
    windows: list[Windows] = []
    for name, config in configs.items():
        counted = count_tokens(name, folders[name], config, splits, task)
        recommended[name] = recommend(counted["train"], job.max_lengths, max_positions(config))
        tried = tuple(sorted({*job.max_lengths, recommended[name]}))
        lengths += [describe(name, split, tokens, tried) for split, tokens in counted.items()]
        windows += count_windows(name, folders[name], job, splits, task)
    parts = splits.parts()
    return AuditCounts(
        fingerprint=splits.fingerprint,
        label_names=splits.label_names,
        positive=None if splits.positive is None else splits.label_names[splits.positive],
        splits=summarise(splits),
        lengths=tuple(lengths),
        duplicates={name: rows.duplicates(part) for name, part in parts.items()},
        conflicts={name: rows.conflicts(part) for name, part in parts.items()},
        overlap={
            (name, other): rows.overlap(parts[name], parts[other])
            for name, other in (("validation", "train"), ("test", "train"), ("test", "validation"))
            if name in parts
        },
        recommended=recommended,
        rule=RULE,
        warnings=splits.warnings,
        windows=tuple(windows),
        texts=count_texts(splits) if job.adapts else None,
    )


def count_tokens(name: str, path: str, config: object, splits: rows.Splits, task: Task) -> dict[str, IntArray]:
    """Split -> tokens of each example, shape (examples,), special tokens included."""
    tokenizer = read_tokenizer(name, path)
    check_tokenizer(name, tokenizer, config)
    return {
        split: task.encode(part, tokenizer, TrialConfig(max_length=UNCUT)).lengths
        for split, part in splits.parts().items()
    }


def count_windows(name: str, path: str, job: AuditJob, splits: rows.Splits, task: Task) -> Iterator[Windows]:
    """What every max_length and stride of a study makes of each split; nothing for a task without windows."""
    tokenizer = read_tokenizer(name, path)
    configs = (TrialConfig(max_length=n, stride=asked) for n in job.max_lengths for asked in job.strides)
    strides = {(config.max_length, task.stride(config)): config for config in configs}
    for (length, stride), config in strides.items():
        if stride is None or stride > length // 2:
            continue  # a task without windows; or of two configurations, and a study file may not put them together
        for split, part in splits.parts().items():
            found = task.encode(part, tokenizer, config)
            lost, cut = task.lost(found, part), found.truncated_examples
            yield Windows(name, split, length, stride, len(part), len(found), lost, cut)


def count_texts(splits: rows.Splits) -> TextsAlone:
    """Texts that an encoder would be pretrained further on, and those that its perplexity would be of."""
    train = set(distinct(splits.train))
    return TextsAlone(len(train), len(set(distinct(splits.validation)) - train))


def describe(model: str, split: str, tokens: IntArray, max_lengths: tuple[int, ...]) -> TokenLengths:
    """Quantiles, histogram and truncation of one split."""
    quantiles = np.quantile(tokens, QUANTILES, method="inverted_cdf")
    return TokenLengths(
        model=model,
        split=split,
        examples=len(tokens),
        quantiles={f"{share:g}": int(value) for share, value in zip(QUANTILES, quantiles, strict=True)},
        histogram=histogram(tokens),
        truncation=tuple(truncation(tokens, length) for length in max_lengths),
    )


def truncation(tokens: IntArray, max_length: int) -> Truncation:
    """Share of examples longer than `max_length`, and of all tokens that lie beyond it."""
    beyond = np.maximum(tokens - max_length, 0)
    return Truncation(max_length, float((beyond > 0).mean()), float(beyond.sum() / tokens.sum()))


def histogram(tokens: IntArray) -> tuple[tuple[int, int, int], ...]:
    """At most BINS bins of equal width, from the shortest to beyond the longest: (first, last, examples)."""
    low, high = int(tokens.min()), int(tokens.max())
    width = (high - low) // BINS + 1
    counts = np.bincount((tokens - low) // width)
    return tuple((low + i * width, low + (i + 1) * width - 1, int(n)) for i, n in enumerate(counts))


def recommend(tokens: IntArray, tried: Sequence[int], limit: int) -> int:
    """The max_length by RULE."""
    candidates: list[int] = sorted({*range(8, limit + 1, 8), *(length for length in tried if length <= limit)})
    return next((length for length in candidates if (tokens > length).mean() < SHARE_CUT), limit)

"""Answering with a kept model, in a worker: the same tokens, windows, batches and number format as in training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from harness.answers import Answer, KeptModel, LabelAnswer, PredictJob, Span, SpanAnswer
from harness.batches import TokenTable
from harness.devices import is_out_of_memory, resolve_dtype
from harness.encoder import Encoder
from harness.errors import DataError, UsageError
from harness.evaluation import predict as logits_of_all
from harness.loading import EVALUATION_PLACES
from harness.preparation import check_tokenizer, read_config, reading
from harness.spans import NULL, Spans, best_spans
from harness.tasks import base as tasks
from harness.tasks.base import UNCUT, Examples, Features, IntArray, Logits, Task
from harness.warm import Warm

NEXT_BEST = 5


def predict(job: PredictJob, warm: Warm) -> tuple[Answer, ...]:
    """One answer a row, in the order of the rows.

    Raises:
        UsageError: for a task whose outputs are neither labels nor spans.
        DataError: for a folder that holds no readable model.
    """
    task = tasks.load(job.model.task)
    if task.output not in ANSWERS:
        raise UsageError(f"task {task.name} gives out {task.output}; answers come from {' and '.join(ANSWERS)} alone")
    if not job.texts:
        return ()
    encoder, tokenizer = kept_encoder(job.model, task, warm)
    examples = examples_of(job)
    features = task.encode(examples, tokenizer, job.model.config)
    logits = _logits(encoder, features, job.model.config.dtype)
    return ANSWERS[task.output](logits, features, examples, job.model, _cut(task, features, examples, tokenizer, job))


def kept_encoder(model: KeptModel, task: Task, warm: Warm) -> tuple[Encoder, Any]:
    """The kept weights, loaded once a process, and the tokeniser beside them.

    Raises:
        DataError: for a folder that holds no readable model, or one whose head is not there.
    """
    read_config("kept", model.folder)
    with reading("kept", model.folder):
        encoder = warm.encoder(task, model.folder, model.config, len(model.label_names))
        tokenizer = warm.tokenizer(model.folder)
    if encoder.fresh:
        raise DataError(f"{model.folder} lacks weights that a kept model has, such as {min(encoder.fresh)}")
    check_tokenizer("kept", tokenizer, encoder.config)
    return encoder, tokenizer


def examples_of(job: PredictJob) -> Examples:
    """The rows as the task reads them, with unknown labels and answers."""
    count = len(job.texts)
    unknown: list[tuple[()]] = [()] * count
    return Examples(
        rows=np.arange(count, dtype=np.int64),
        texts=job.texts,
        pairs=job.pairs,
        labels=np.full(count, -1, dtype=np.int64),
        label_names=job.model.label_names,
        extra={"answers": unknown, "starts": unknown},
    )


def _logits(encoder: Encoder, features: Features, asked: str) -> Logits:
    """Logits of all features; where memory runs out, in batches of half the size."""
    device = encoder.device
    # fp16 is not to be had on a CPU, and a model that was trained with it answers there all the same.
    dtype = resolve_dtype("auto" if asked == "fp16" and device.type != "cuda" else asked, device)
    table, places = TokenTable(features, device), EVALUATION_PLACES[device.type]
    while True:
        try:
            return logits_of_all(encoder, table, dtype, places)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or places <= int(features.lengths.max()):
                raise
        places //= 2


# --- what was not read ----------------------------------------------------------------------------------


class _Cut:
    """Tokens of each text (or question), and how many of them were not read, shape (examples,)."""

    def __init__(self, tokens: IntArray, cut: IntArray) -> None:
        self.tokens = tokens
        self.cut = cut

    def of(self, example: int) -> dict[str, int]:
        """Both numbers of one example."""
        return {"tokens": int(self.tokens[example]), "cut_tokens": int(self.cut[example])}


def _cut(task: Task, features: Features, examples: Examples, tokenizer: Any, job: PredictJob) -> _Cut:
    first = np.unique(features.example, return_index=True)[1]  # feature of each example
    if task.output == "spans":
        special = tokenizer.num_special_tokens_to_add(pair=True)
        read = features.lengths[first] - _context_tokens(features, first) - special
    else:
        read = features.lengths[first]
    tokens = read.copy()
    short = np.flatnonzero(features.truncated[first])
    if len(short):
        uncut = replace(job.model.config, max_length=UNCUT)
        if task.output == "spans":
            words = tokenizer([examples.texts[i] for i in short.tolist()], add_special_tokens=False)["input_ids"]
            tokens[short] = [len(ids) for ids in words]
        else:
            tokens[short] = task.encode(examples.take(short), tokenizer, uncut).lengths
    return _Cut(tokens, tokens - read)


def _context_tokens(features: Features, chosen: IntArray) -> IntArray:
    assert features.offsets is not None
    return np.array([(features.offsets[i][:, 0] != NULL).sum() for i in chosen.tolist()], dtype=np.int64)


# --- answers by the kind of output ----------------------------------------------------------------------


def label_answers(
    logits: Logits, features: Features, examples: Examples, model: KeptModel, cut: _Cut
) -> tuple[LabelAnswer, ...]:
    """The most probable label of each example; of equally probable ones the first."""
    table = logits.astype(np.float64)
    table = np.exp(table - table.max(axis=1, keepdims=True))
    table /= table.sum(axis=1, keepdims=True)
    order = np.argsort(-table, axis=1, kind="stable")
    found = []
    for example, ranked in enumerate(order.tolist()):
        values = {examples.label_names[label]: float(table[example, label]) for label in ranked}
        label = next(iter(values))
        found.append(LabelAnswer(label, values[label], values, **cut.of(example)))
    return tuple(found)


def span_answers(
    logits: Logits, features: Features, examples: Examples, model: KeptModel, cut: _Cut
) -> tuple[SpanAnswer, ...]:
    """The best span of each example over all of its windows, and the next best."""
    answerless = bool(examples.label_names)
    spans = best_spans(logits, features, len(examples), model.config.max_answer_length, answerless)
    null = null_probabilities(logits, features, spans) if answerless else None
    windows = np.bincount(features.example, minlength=len(examples))
    assert examples.pairs is not None
    found = []
    for example, context in enumerate(examples.pairs):
        best, *others = _ranked(spans, example, context)
        found.append(
            SpanAnswer(
                best.answer,
                best.probability,
                best.start,
                best.end,
                tuple(others[:NEXT_BEST]),
                None if null is None else float(null[example]),
                int(windows[example]),
                **cut.of(example),
            )
        )
    return tuple(found)


def _ranked(spans: Spans, example: int, context: str) -> list[Span]:
    found = []
    for start, end, probability in zip(
        spans.start[example].tolist(), spans.end[example].tolist(), spans.probability[example].tolist(), strict=True
    ):
        if probability == probability:  # a place that no span fills holds NaN
            null = start == NULL
            text = "" if null else context[start:end]
            found.append(Span(text, probability, None if null else start, None if null else end))
    return found


def null_probabilities(logits: Logits, features: Features, spans: Spans) -> np.ndarray:
    """Of the null answer, shape (examples,): its share among the best spans, to which it is added where it is worse."""
    scores = np.full(len(spans.score), np.inf)
    np.minimum.at(scores, features.example, logits[:, 0].astype(np.float64).sum(axis=1))
    others = np.where(np.isnan(spans.score) | (spans.start == NULL), -np.inf, spans.score)
    top = np.maximum(scores, others.max(axis=1))
    weight = np.exp(scores - top)
    return np.asarray(weight / (weight + np.exp(others - top[:, None]).sum(axis=1)))


ANSWERS: Mapping[str, Callable[..., tuple[Answer, ...]]] = {"labels": label_answers, "spans": span_answers}
"""Kind of a task's output -> what turns logits into answers."""

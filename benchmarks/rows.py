"""The rows that both sides read: drawn by harness's own data loading, once, and written as parquet."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import transformers

from benchmarks.cases import Case
from harness.architectures import describe, layer_count
from harness.data import Splits, load
from harness.freezing import frozen
from harness.hub import locate
from harness.profiling import training_flops
from harness.spec import DataSpec
from harness.tasks import base as tasks
from harness.tasks.base import Examples, IntArray

SEED = 42


def asked(words: str) -> int | dict[str, Any]:
    """`1000` is a number of rows of the training split, `validation:1000` a number of rows of a named one."""
    split, _, size = words.rpartition(":")
    return {"split": split, "size": int(size)} if split else int(size)


def read(path: str, text: str, label: str, **amounts: str | None) -> Splits:
    """Rows as harness draws them.

    Args:
        path: folder, file or builtin:reviews.
        text: column of the texts.
        label: column of the labels.
        amounts: of train, validation and test, as `asked` reads them; None for none.
    """
    parts = {name: asked(words) for name, words in amounts.items() if words is not None}
    document: dict[str, Any] = {"path": path, "text": text, "label": label} | parts
    if path == "builtin:reviews":
        document["rows"] = max(10, sum(part if isinstance(part, int) else part["size"] for part in parts.values()))
    return load(DataSpec.model_validate(document), tasks.load("sequence-classification"), SEED)


def export(folder: Path, train: Examples, validation: Examples) -> Path:
    """Write text and class id of the rows to train.parquet and validation.parquet of a new folder."""
    folder.mkdir(parents=True)
    for name, examples in (("train", train), ("validation", validation)):
        table = pa.table({"text": list(examples.texts), "label": examples.labels})
        pq.write_table(table, folder / f"{name}.parquet")
    return folder


def first(examples: Examples, count: int) -> Examples:
    """The first rows, which hold the classes in proportion."""
    return examples.take(np.arange(min(count, len(examples)), dtype=np.int64))


def lengths(texts: Sequence[str], model: str, max_length: int) -> IntArray:
    """Tokens of each text, special ones included, cut off at `max_length`."""
    encoded = tokenizer(model)(list(texts), truncation=True, max_length=max_length)
    return np.array([len(ids) for ids in encoded["input_ids"]], dtype=np.int64)


@functools.cache
def tokenizer(model: str) -> Any:
    """The model's tokeniser."""
    return transformers.AutoTokenizer.from_pretrained(locate(model).path)


def case_flops(case: Case, train: Examples, validation: Examples, model: str) -> float:
    """Floating-point operations that the trials of a case ask for on real tokens, when nothing is shared.

    Every epoch is one training pass, backward as far as anything trains, and one evaluation.
    """
    config = transformers.AutoConfig.from_pretrained(locate(model).path)
    with torch.device("meta"):
        empty = transformers.AutoModelForSequenceClassification.from_config(config)
    parameters = [describe(name, config) for name, _ in empty.named_parameters()]
    total = 0.0
    for part in case.parts():
        fixed = frozen(parameters, part.shape.freeze, 1, part.epochs, layer_count(config))
        trained = {p.name for p in parameters} - fixed
        rows = lengths(train.texts, model, part.shape.max_length)
        evaluated = lengths(validation.texts, model, part.shape.max_length)
        epoch = training_flops(config, parameters, trained, rows) + training_flops(config, parameters, set(), evaluated)
        total += part.trials * part.epochs * epoch
    return total

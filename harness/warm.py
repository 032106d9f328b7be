"""What a worker keeps between trials: data, tokenised features, tokenisers, models. Bounded, oldest out first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import torch
import transformers

from harness.architectures import architecture_of, max_positions
from harness.batches import TokenTable
from harness.cache import Cache
from harness.configuration import TrialConfig, canonical_json
from harness.data import Splits, fold, load
from harness.devices import pick
from harness.encoder import Encoder
from harness.errors import TrialFailure
from harness.evaluation import Split
from harness.graphs import Graphs, recorder
from harness.hub import Located, locate
from harness.jobs import Sharing, TrialJob
from harness.spec import DataSpec
from harness.streams import permutation
from harness.tasks import base as tasks
from harness.tasks.base import UNCUT, Examples, Features, IntArray, Task
from harness.unlabelled import texts_alone

PROBE_ROWS = 512

Value = TypeVar("Value")


class Shelf(Generic[Value]):
    """The last few values by key."""

    def __init__(self, places: int) -> None:
        self._places = places
        self._values: OrderedDict[Hashable, Value] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """The value of that key, made when it is not there; the oldest one makes room first."""
        if key not in self._values:
            while len(self._values) >= self._places:
                self._values.popitem(last=False)
            self._values[key] = make()
        self._values.move_to_end(key)
        return self._values[key]

    def clear(self) -> None:
        """Forget everything."""
        self._values.clear()


class Encoded(NamedTuple):
    """One split as read and as encoded."""

    examples: Examples
    features: Features


class Warm:
    """The warm state of one process: what one trial has loaded, the next one need not.

    Attributes:
        threads: CPU threads that this process may use.
    """

    def __init__(self, device: torch.device | None = None) -> None:
        self.device = device or pick()
        self._splits: Shelf[Splits] = Shelf(2)
        self._encoded: Shelf[Encoded] = Shelf(8)
        self._whole: Shelf[Features] = Shelf(3)
        self._located: Shelf[Located] = Shelf(16)
        self._tokenizers: Shelf[Any] = Shelf(4)
        self._encoders: Shelf[Encoder] = Shelf(1)
        self._caches: Shelf[Cache] = Shelf(1)
        self.threads = torch.get_num_threads()

    def splits(self, job: TrialJob, task: Task) -> Splits:
        """The job's data, of its fold where it has one; texts alone where another task reads them."""
        splits = self.rows(job.data, tasks.load(job.reader) if job.reader else task, job.data_seed)
        if job.reader:
            return texts_alone(splits)
        if job.fold is None:
            return splits
        folds = DataSpec.model_validate(dict(job.data)).folds
        if folds is None:
            raise TrialFailure("data", f"fold {job.fold} was asked for, but data.folds is not set")
        return fold(splits, job.fold, folds, job.data_seed)

    def rows(self, data: Mapping[str, Any], task: Task, seed: int) -> Splits:
        """A study's data as the task reads them, of no fold."""
        key = (task.name, canonical_json(data), seed)
        return self._splits.get(key, lambda: load(DataSpec.model_validate(dict(data)), task, seed))

    def located(self, job: TrialJob) -> Located:
        """Where the files of the job's model are: adapted, or at the commit that the preparation found.

        Raises:
            TrialFailure: data, when an adapted model is asked for and there is none.
        """
        if job.config.adapt:
            if job.adapted is None:
                raise TrialFailure("data", f"{job.config.model} could not be adapted; the study's incidents say why")
            return Located(job.adapted, job.revision)
        key = (job.config.model, job.revision)
        return self._located.get(key, lambda: locate(*key))

    def tokenizer(self, path: str) -> Any:
        """The tokeniser of the model in that folder."""
        return self._tokenizers.get(
            path, lambda: transformers.AutoTokenizer.from_pretrained(path, trust_remote_code=False)
        )

    def encoder(self, task: Task, path: str, config: TrialConfig, num_labels: int) -> Encoder:
        """The model in that folder with a head for so many labels; `Encoder.reset` sets it back.

        Raises:
            TrialFailure: data, when max_length is more than the model can take.
        """
        key = (task.name, path, num_labels, config.dropout)

        def make() -> Encoder:
            model = task.model(path, num_labels, dropout=config.dropout)
            encoder = Encoder(model, self.device, task.first_token, task.place_head(architecture_of(model.config)))
            found = recorder(self.device) if encoder.row.recordable else None
            encoder.graphs = None if found is None else Graphs(found)
            return encoder

        encoder = self._encoders.get(key, make)
        limit = max_positions(encoder.config)
        if config.max_length > limit:
            words = f"max_length {config.max_length} is more than {config.model} can take; at most {limit}"
            raise TrialFailure("data", words)
        return encoder

    def encoded(
        self, task: Task, path: str, config: TrialConfig, name: str, examples: Examples, identity: str
    ) -> Encoded:
        """All rows of a split, tokenised once for each model's folder, and cut to what the task reads of them."""
        source, tokenizer = (task.name, identity, name, path), self.tokenizer(path)

        def whole() -> Features:
            uncut = replace(config, max_length=UNCUT)
            return self._whole.get(source, lambda: task.encode(examples, tokenizer, uncut))

        def make() -> Encoded:
            return Encoded(examples, task.shortened(whole, examples, tokenizer, config))

        return self._encoded.get((source, task.encoding(config)), make)

    def cache(self, sharing: Sharing) -> Cache:
        """Where states of frozen prefixes are kept."""
        folder = sharing.folder or ""
        return self._caches.get((folder, sharing.budget), lambda: Cache(Path(folder), sharing.budget))

    def forget(self) -> None:
        """Drop models and features, after memory ran out."""
        self._encoders.clear()
        self._encoded.clear()
        self._whole.clear()


def on_device(encoded: Encoded, device: torch.device) -> Split:
    """Put a split's tensors on the device."""
    return Split(encoded.examples, encoded.features, TokenTable(encoded.features, device))


def first_rows(encoded: Encoded, count: int | None) -> Encoded:
    """The first `count` examples; None means all.

    Raises:
        TrialFailure: data, when there are fewer.
    """
    available = len(encoded.examples)
    if count is None or count == available:
        return encoded
    if count > available:
        raise TrialFailure("data", f"train: {count} rows were asked for, data.train has {available}")
    return take(encoded, np.arange(count, dtype=np.int64))


def probe_rows(encoded: Encoded, validation_rows: int, seed: int) -> Encoded:
    """A fixed sample of training rows: as many as there are validation rows, at most 512; one for a whole study."""
    count = min(len(encoded.examples), validation_rows, PROBE_ROWS)
    return take(encoded, np.sort(permutation(len(encoded.examples), seed, "probe")[:count]))


def take(encoded: Encoded, index: IntArray) -> Encoded:
    """The examples at `index`, in that order, with their features."""
    features = encoded.features
    place = np.full(len(encoded.examples), -1, dtype=np.int64)
    place[index] = np.arange(len(index))
    chosen = np.flatnonzero(place[features.example] >= 0)
    chosen = chosen[np.argsort(place[features.example[chosen]], kind="stable")]
    picked = chosen.tolist()
    types = features.token_type_ids
    return Encoded(
        encoded.examples.take(index),
        replace(
            features,
            input_ids=[features.input_ids[i] for i in picked],
            token_type_ids=None if types is None else [types[i] for i in picked],
            labels=features.labels[chosen],
            example=place[features.example[chosen]],
            truncated=features.truncated[chosen],
            offsets=None if features.offsets is None else [features.offsets[i] for i in picked],
            asked=None if features.asked is None else features.asked[chosen],
        ),
    )


def folder_of(job: TrialJob) -> Path:
    """The trial's own folder, made when it is not there."""
    folder = Path(job.folder)
    folder.mkdir(parents=True, exist_ok=True)
    return folder

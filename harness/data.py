"""From a source to the rows that are used: read, checked, split by seed, fingerprinted, compared for overlap.

Every row of a split is checked before a row is chosen. Splits carved from one source split never overlap.
The training rows stand in such an order that the first n of them are the smaller training set.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from harness.errors import DataError
from harness.folds import held_out
from harness.sources import open_source
from harness.tasks.base import Examples, IntArray, Task

if TYPE_CHECKING:
    from harness.spec import DataSpec, SplitSpec

TRAIN = "train"


@dataclass(frozen=True)
class Splits:
    """The rows of a study as every trial uses them.

    Attributes:
        train, validation, test: examples in the order of use; test is None when none was asked for.
        fingerprint: SHA-256 of all rows used: split, texts, label name.
        label_names: class id -> name.
        positive: class id that binary f1, precision and recall speak of; None beyond two classes.
        warnings: what a reader of the results has to know, such as an overlap of train and validation.
        revision: commit of the data set on the Hub; None for files and built-in data.
    """

    train: Examples
    validation: Examples
    test: Examples | None
    fingerprint: str
    label_names: tuple[str, ...]
    positive: int | None
    warnings: tuple[str, ...] = ()
    revision: str | None = None

    def parts(self) -> dict[str, Examples]:
        """Name -> examples of the splits that there are."""
        parts = {"train": self.train, "validation": self.validation}
        return parts if self.test is None else {**parts, "test": self.test}


class Part(NamedTuple):
    """One part of a source split: a number of rows, a share of them, or (None) all that are left.

    They are drawn in proportion to the classes, by a plain shuffle, or they are the first rows as they stand.
    """

    name: str
    source: str
    size: int | float | None
    stratify: bool
    shuffle: bool = True


def load(data: DataSpec, task: Task, seed: int) -> Splits:
    """Read, check and split the data of a study.

    Args:
        data: where the rows lie, which columns count, how large the splits are.
        task: says what a good row is.
        seed: draws the splits; the same seed, the same rows in the same order.

    Raises:
        DataError: for rows, labels or sizes that cannot be used, with the remedy.
        UnavailableError: when the Hub is needed and cannot be reached.
    """
    source = open_source(data)
    parts = planned(data)
    read: dict[str, Examples] = {}
    label_names: tuple[str, ...] | None = None
    for name in dict.fromkeys(part.source for part in parts):
        read[name] = task.read(source.read(name), data, split=name, label_names=label_names)
        label_names = read[parts[0].source].label_names
    chosen: dict[str, Examples] = {}
    told: set[str] = set()
    for name, (origin, index) in choose(parts, read, seed).items():
        examples = read[origin].take(index)
        # What a source left out is told once, with the first part that is carved from it.
        chosen[name] = replace(examples, dropped={}) if origin in told else examples
        told.add(origin)
    return replace(assemble(chosen, data), revision=source.revision)


def planned(data: DataSpec) -> list[Part]:
    """What is asked of which source split, train first."""
    train = part("train", data.train, TRAIN)
    parts = [train, part("validation", data.validation, train.source)]
    return parts if data.test is None else [*parts, part("test", data.test, train.source)]


def part(name: str, asked: int | float | SplitSpec | None, source: str) -> Part:
    """A number, a share or a named split as one shape; without a name it comes from `source`."""
    if asked is None or isinstance(asked, int | float):
        return Part(name, source, asked, True)
    return Part(name, asked.split or source, asked.size, asked.stratify, asked.shuffle)


def choose(parts: Sequence[Part], read: Mapping[str, Examples], seed: int) -> dict[str, tuple[str, IntArray]]:
    """Name -> (source split, rows in order of use).

    From one source split test is drawn first, then validation, then train: another number of training rows
    leaves the others as they are.
    """
    left = {source: np.arange(len(examples), dtype=np.int64) for source, examples in read.items()}
    chosen: dict[str, tuple[str, IntArray]] = {}
    for asked in reversed(parts):
        labels = read[asked.source].labels
        rows = left[asked.source]
        size = wanted_rows(asked, len(labels), len(rows))
        order = drawn_order(asked, labels[rows], seed)
        chosen[asked.name] = (asked.source, rows[order[:size]])
        left[asked.source] = np.setdiff1d(rows, rows[order[:size]])
    return {asked.name: chosen[asked.name] for asked in parts}


def drawn_order(asked: Part, labels: IntArray, seed: int) -> IntArray:
    """The order in which rows with these labels are taken."""
    if not asked.shuffle:
        return np.arange(len(labels), dtype=np.int64)
    return stratified_order(labels, seed) if asked.stratify else shuffled_order(len(labels), seed)


def wanted_rows(asked: Part, total: int, left: int) -> int:
    """Rows of a part: as asked, that share of the whole source split, or all that are left."""
    size = left if asked.size is None else asked.size
    rows = max(1, round(size * total)) if isinstance(size, float) else size
    if rows > left or rows < 1:
        raise DataError(
            f"data.{asked.name} asks for {rows} rows of split {asked.source!r}, where {left} of {total} good rows are "
            f"left; ask for 1 to {left}"
        )
    return rows


def shuffled_order(rows: int, seed: int) -> IntArray:
    """The order of `datasets.Dataset.shuffle(seed)`, so that published subsets can be drawn again."""
    return np.random.default_rng(seed).permutation(rows).astype(np.int64)


def stratified_order(labels: IntArray, seed: int) -> IntArray:
    """A random order in which every prefix holds the classes in proportion, each within one row.

    Args:
        labels: class ids, shape (rows,).
    """
    generator = np.random.default_rng(seed)
    place = np.empty(len(labels))
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        place[generator.permutation(rows)] = (np.arange(len(rows)) + 0.5) / len(rows)
    # Classes of equal size tie at every place: a second random key decides.
    return np.lexsort((generator.random(len(labels)), place)).astype(np.int64)


def assemble(parts: Mapping[str, Examples], data: DataSpec) -> Splits:
    """Check the chosen rows together and sum them up."""
    label_names = parts["train"].label_names
    for name, examples in parts.items():
        check_classes(name, examples)
    return Splits(
        train=parts["train"],
        validation=parts["validation"],
        test=parts.get("test"),
        fingerprint=fingerprint(parts),
        label_names=label_names,
        positive=positive_class(data.positive, label_names),
        warnings=tuple(warnings(parts)),
    )


def check_classes(name: str, examples: Examples) -> None:
    """Refuse a split in which a single class is left: its f1 and MCC would be numbers that mean nothing."""
    found = np.unique(examples.labels)
    if examples.label_names and len(found) < 2:
        only = examples.label_names[int(found[0])]
        raise DataError(
            f"data.{name}: all {len(examples)} rows have the label {only!r}; ask for more rows, or stratify them"
        )


def positive_class(asked: object, label_names: tuple[str, ...]) -> int | None:
    """The class id of `data.positive`, by default the higher one; None beyond two classes, where f1 is macro F1.

    Raises:
        DataError: when there is no such label, with those that there are.
    """
    if asked is None:
        return 1 if len(label_names) == 2 else None
    name = str(asked).lower() if isinstance(asked, bool) else str(asked)
    if name not in label_names:
        raise DataError(f"data.positive is {asked!r}, but the labels are {', '.join(label_names)}")
    return label_names.index(name) if len(label_names) == 2 else None


def fingerprint(parts: Mapping[str, Examples]) -> str:
    """SHA-256 of the rows used, in order: split, text, second text, label, group, and what the task added."""
    digest = hashlib.sha256()
    for name, examples in parts.items():
        for i in range(len(examples)):
            label = examples.label_names[int(examples.labels[i])] if examples.label_names else str(examples.labels[i])
            fields = [name, examples.texts[i], examples.pairs[i] if examples.pairs else "", label]
            fields += [examples.groups[i]] if examples.groups else []
            fields += [repr(column[i]) for column in examples.extra.values()]
            for value in fields:
                encoded = value.encode("utf-8", "surrogatepass")
                digest.update(len(encoded).to_bytes(8, "big") + encoded)
    return digest.hexdigest()


# --- the same text twice ----------------------------------------------------------------------------


def same_text_keys(examples: Examples) -> list[str]:
    """Texts by which two examples count as the same: spaces and capitals do not matter."""
    pairs = examples.pairs or [""] * len(examples)
    both = zip(examples.texts, pairs, strict=True)
    return ["\0".join(" ".join(text.split()).casefold() for text in texts) for texts in both]


def overlap(examples: Examples, others: Examples) -> int:
    """Number of examples whose text is also among the others."""
    known = set(same_text_keys(others))
    return sum(key in known for key in same_text_keys(examples))


def duplicates(examples: Examples) -> int:
    """Number of examples whose text has come before."""
    keys = same_text_keys(examples)
    return len(keys) - len(set(keys))


def conflicts(examples: Examples) -> int:
    """Number of texts that stand there with more than one label."""
    labels = set(zip(same_text_keys(examples), examples.labels.tolist(), strict=True))
    return sum(n > 1 for n in Counter(key for key, _ in labels).values())


def warnings(parts: Mapping[str, Examples]) -> list[str]:
    """What a reader of the results has to know about the rows."""
    found = []
    for name, others in (("validation", "train"), ("test", "train"), ("test", "validation")):
        if name in parts and (shared := overlap(parts[name], parts[others])):
            found.append(
                f"{shared} of {len(parts[name])} {name} rows have a text that is also in {others}: "
                f"{name} figures may be too good by what was learnt by heart"
            )
    for name, examples in parts.items():
        if twice := duplicates(examples):
            found.append(f"{twice} of {len(examples)} {name} rows repeat an earlier text")
        if torn := conflicts(examples):
            found.append(f"{torn} texts of {name} stand there with different labels")
        missing = [label for i, label in enumerate(examples.label_names) if i not in set(examples.labels.tolist())]
        if missing:
            found.append(f"{name} has no row of {', '.join(missing)}")
        if examples.dropped:
            counts = ", ".join(f"{n} {reason}" for reason, n in examples.dropped.items())
            found.append(f"rows left out of the source of {name}: {counts}")
    return found


# --- folds ------------------------------------------------------------------------------------------


def fold(splits: Splits, fold: int, folds: int, seed: int) -> Splits:
    """The training rows cut into stratified folds: one becomes the validation split, the others train.

    The validation split of the study file is left aside; a test split stays.

    Args:
        fold: which one validates, from 0.
        folds: how many, at least 2.

    Raises:
        DataError: when there are fewer rows than folds, or a fold lacks all but one class.
    """
    if not 0 <= fold < folds or not 2 <= folds <= len(splits.train):
        raise DataError(
            f"fold {fold} of data.folds: {folds} is not possible with {len(splits.train)} training rows; "
            f"folds lie in 2 to {len(splits.train)}, and a fold is counted from 0"
        )
    validates = held_out(splits.train.labels, fold, folds, seed)
    parts = {
        "train": splits.train.take(np.flatnonzero(~validates)),
        "validation": splits.train.take(np.flatnonzero(validates)),
    }
    if splits.test is not None:
        parts["test"] = splits.test
    for name, examples in parts.items():
        check_classes(name, examples)
    return replace(
        splits,
        train=parts["train"],
        validation=parts["validation"],
        fingerprint=fingerprint(parts),
        warnings=tuple(warnings(parts)),
    )

"""What the trials answered on validation examples, beside the right answers: by trial, by fold, by configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from harness.analysis import span_errors
from harness.configuration import Objective
from harness.errors import UsageError
from harness.folds import held_out
from harness.metrics import cross_entropy
from harness.ranking import Standing
from harness.report.cells import is_missing
from harness.report.study_frames import StudyFrames

Logits = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

TEST = "test"
QUESTIONS = "question-answering"
QUESTION_METRICS = ("loss", "exact_match", "f1")  # those that are means over examples


def epoch_read(trial: Mapping[Any, Any], objective: Objective) -> int | None:
    """The epoch at which the objective is read; None when there is none."""
    epoch = trial["best_epoch"] if objective.at == "best" else trial.get("last_epoch")
    return None if epoch is None or pd.isna(epoch) else int(epoch)


def validation_logits(
    study: StudyFrames, trial: Mapping[Any, Any], objective: Objective, split: str | None = None
) -> Logits | None:
    """Logits of the validation rows, or of another split, at the epoch that the objective reads; None when not stored.

    Their shape is (examples, labels).
    """
    epoch = epoch_read(trial, objective)
    if epoch is None:
        return None
    try:
        return study.outputs(int(trial["trial"]), epoch, "logits", split)
    except UsageError:
        return None


def gold_labels(study: StudyFrames, fold: object = None) -> Labels | None:
    """Class ids of the examples that a trial of that fold (or of none) validates on, shape (examples,).

    None when they were not stored or are unknown.
    """
    if is_missing(fold):
        return _ids(study, study.examples)
    labels, (folds, seed) = _ids(study, study.training_examples), _cut(study)
    if labels is None or not folds:
        return None
    return labels[held_out(labels, int(str(fold)), folds, seed)]


def examples_of(study: StudyFrames, fold: object = None) -> pd.DataFrame:
    """The examples that a trial of that fold (or of none) validates on, in the order of its outputs."""
    if is_missing(fold):
        return study.examples
    examples, (folds, seed) = study.training_examples, _cut(study)
    labels = _ids(study, examples)
    if labels is None or not folds:
        return examples.iloc[:0]
    return examples[held_out(labels, int(str(fold)), folds, seed)].reset_index(drop=True)


def answers_questions(study: StudyFrames) -> bool:
    """Whether the study's outputs are spans with losses, and not logits of classes."""
    return bool(study.row["task"] == QUESTIONS)


def example_scores(
    study: StudyFrames, trial: Mapping[Any, Any], metric: str, split: str | None = None
) -> Floats | None:
    """A metric of question answering on each validation example of a trial, or of another split, shape (examples,).

    None where it is not stored, is no mean over examples, or needs texts that are not stored.
    """
    epoch = epoch_read(trial, study.objective)
    if epoch is None or metric not in QUESTION_METRICS:
        return None
    try:
        if metric == "loss":
            return np.asarray(study.outputs(int(trial["trial"]), epoch, "losses", split), np.float64)
        spans = study.outputs(int(trial["trial"]), epoch, "spans", split)
    except UsageError:
        return None
    examples = study.test_examples if split == TEST else examples_of(study, trial["fold"])
    if len(examples) != len(spans) or examples["text"].isna().any():
        return None
    answered = span_errors.answers(spans, None, examples)
    column = "exact" if metric == "exact_match" else metric
    return answered[column].to_numpy(np.float64) if len(answered) == len(spans) else None


def scores_by_example(study: StudyFrames, trial: Mapping[Any, Any], split: str | None = None) -> dict[str, Floats]:
    """Metric -> its value on each validation example of a trial, shape (examples,); of metrics that are means of these.

    With a split, on the examples of that split (only confirming trials have outputs of test rows).
    Those whose outputs are not stored are not in it.
    """
    if answers_questions(study):
        found = {metric: example_scores(study, trial, metric, split) for metric in QUESTION_METRICS}
        return {metric: scores for metric, scores in found.items() if scores is not None}
    logits = validation_logits(study, trial, study.objective, split)
    gold = _ids(study, study.test_examples) if split == TEST else gold_labels(study, trial["fold"])
    if logits is None or gold is None or logits.ndim != 2 or len(logits) != len(gold):
        return {}
    table = np.asarray(logits, np.float64)
    hits = (table.argmax(axis=1) == gold).astype(np.float64)
    return {"loss": np.asarray(cross_entropy(table, gold), np.float64), "accuracy": hits}


def of_configuration(study: StudyFrames, standing: Standing) -> list[Logits]:
    """Logits of each replicate on all validation examples; of folds, those of every fold one after the other.

    A replicate that lacks the outputs of a fold is left out: its examples are not those of the others.
    """
    return by_replicate(study, standing, lambda trial: validation_logits(study, trial, study.objective))


def scores_of_configuration(study: StudyFrames, standing: Standing) -> list[Floats]:
    """The objective on each example by replicate, as `of_configuration` has the logits."""
    return by_replicate(study, standing, lambda trial: example_scores(study, trial, study.objective.metric))


def by_replicate(
    study: StudyFrames, standing: Standing, read: Callable[[Mapping[Any, Any]], npt.NDArray[Any] | None]
) -> list[npt.NDArray[Any]]:
    """What `read` gives for each trial of a configuration, by replicate; of folds one after the other.

    A replicate for which a fold gives None is left out.
    """
    numbers = [run.trial for run in standing.runs]
    rows = {int(row["trial"]): row for row in study.trials[study.trials["trial"].isin(numbers)].to_dict("records")}
    tables: dict[int, list[npt.NDArray[Any]]] = {}
    for run in sorted(standing.runs, key=lambda run: (run.replicate, run.fold or 0)):
        found = read(rows[run.trial])
        if found is not None:
            tables.setdefault(run.replicate, []).append(found)
    needed = _cut(study)[0] or 1
    return [np.concatenate(parts) for parts in tables.values() if len(parts) == needed]


def of_examples(study: StudyFrames) -> Labels | None:
    """Class ids in the order of `of_configuration`, shape (examples,); None when they are unknown."""
    folds = _cut(study)[0]
    if not folds:
        return gold_labels(study)
    parts = [gold_labels(study, fold) for fold in range(folds)]
    known = [part for part in parts if part is not None]
    return np.concatenate(known) if len(known) == folds else None


def positive(study: StudyFrames) -> int | None:
    """Class id that binary metrics speak of."""
    name = study.data["positive"].iloc[0]
    names = list(study.data["label_names"].iloc[0])
    return names.index(name) if isinstance(name, str) and name in names else None


def _ids(study: StudyFrames, examples: pd.DataFrame) -> Labels | None:
    if study.data.empty or examples.empty:
        return None
    if answers_questions(study):  # with an answer or without one, by which folds are stratified
        return np.array([label not in ("", "[]") for label in examples["label"].tolist()], dtype=np.int64)
    ids = {name: place for place, name in enumerate(study.data["label_names"].iloc[0])}
    labels = examples["label"].tolist()
    return np.array([ids[label] for label in labels], dtype=np.int64) if set(labels) <= set(ids) else None


def _cut(study: StudyFrames) -> tuple[int, int]:
    """Number of folds (0 without) and the seed that drew them."""
    data, seed = study.spec.get("data"), study.spec.get("seed", 0)
    folds = data.get("folds") if isinstance(data, Mapping) else None
    return int(folds or 0), int(seed[0] if isinstance(seed, Sequence) else seed)

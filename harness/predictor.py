"""The client of predictions: finds a kept model in the record and asks one warm worker, which holds torch."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from harness.answers import Answer, KeptModel, PredictJob
from harness.asking import ask_worker
from harness.deadline import Stop
from harness.errors import DataError, UsageError
from harness.executors.local import LocalExecutor
from harness.question_rows import CLASSES
from harness.results.exports import best_kept, kept_folder
from harness.results.rows import StudyRow, TrialRow
from harness.results.store import Store
from harness.results.targets import public
from harness.spec import DataSpec

QUESTIONS = "question-answering"
ROWS = 512  # of one job: what a message holds, and how often progress is told


class Chosen(NamedTuple):
    """The model that answers, and where it comes from.

    Attributes:
        data: of the study: the columns of a file have the same names.
        of_best: whether its trial ran the best configuration.
        asked_for: whether that trial was asked for by its number.
        metric: by which the best is found, that of `trial.objective`.
    """

    model: KeptModel
    study: str
    trial: TrialRow
    data: DataSpec
    of_best: bool
    asked_for: bool
    metric: str

    @property
    def asks(self) -> bool:
        """Whether it answers questions, and does not label texts."""
        return self.model.task == QUESTIONS


class Inputs(NamedTuple):
    """Rows to answer: texts or questions, with second texts or contexts, and ids where they have any."""

    texts: tuple[str, ...]
    pairs: tuple[str, ...] | None = None
    ids: tuple[str, ...] | None = None


def choose(db: str, name: str, number: int | None = None) -> Chosen:
    """The kept model of a trial, by default of the best one (`exports.best_kept`).

    Raises:
        UsageError: for an unknown study or trial, or one without kept weights.
        StorageError: when the weights are gone.
    """
    with Store.open(db, create=False) as store:
        study = store.study(name)
        if study is None:
            raise UsageError(f"no study {name!r} in {public(db)}; harness status lists them")
        best = best_kept(store, name)
        trial = best.trial if number is None else _kept_trial(store, study, number)
        folder = kept_folder(store, trial)
    data = DataSpec.model_validate(dict(study.spec["data"]))
    model = KeptModel(study.task, str(folder), trial.config, _label_names(study, data, folder))
    return Chosen(model, name, trial, data, best.of_best, number is not None, study.objectives[0].metric)


def _kept_trial(store: Store, study: StudyRow, number: int) -> TrialRow:
    trials = {trial.number: trial for trial in store.trials(study.id)}
    kept = sorted(trial.number for trial in store.kept(study.id))
    held = f"weights are kept of trial {', '.join(map(str, kept))}"
    if number not in trials:
        raise UsageError(f"study {study.name!r} has no trial {number}, it has 0 to {max(trials)}; {held}")
    if number not in kept:
        state = trials[number].state
        raise UsageError(
            f"trial {number} of study {study.name!r} ({state}) has kept no weights; {held}. `keep` in the study file "
            "says how many trials keep theirs"
        )
    return trials[number]


def _label_names(study: StudyRow, data: DataSpec, folder: Path) -> tuple[str, ...]:
    """Names of the classes in the order of the model's outputs; of questions, whether there may be no answer."""
    if study.task == QUESTIONS:
        return CLASSES if data.unanswerable else ()
    try:
        names = json.loads((folder / "config.json").read_text(encoding="utf-8"))["id2label"]
        return tuple(names[number] for number in sorted(names, key=int))
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise DataError(f"{folder}: config.json does not name the labels: {error}") from error


def typed_inputs(chosen: Chosen, typed: Mapping[str, str]) -> Inputs:
    """The one row that was typed, by option.

    Raises:
        UsageError: for options that this model cannot use or lacks, and for texts without a visible character.
    """
    needed = ["--question", "--context"] if chosen.asks else ["--text"]
    needed += ["--pair"] if chosen.data.text_pair is not None and not chosen.asks else []
    form = " ".join(f'{option} "..."' for option in needed)
    kind = f"study {chosen.study!r} ({chosen.model.task}) takes {form}"
    for option in typed:
        if option not in needed:
            raise UsageError(f"{option} is nothing that the model reads: {kind}")
    for option in needed:
        if option not in typed:
            raise UsageError(f"{option} is missing: {kind}, or --input FILE with --output FILE.jsonl")
        check_text(option, typed[option])
    return Inputs((typed[needed[0]],), (typed[needed[1]],) if len(needed) > 1 else None)


def check_text(name: str, text: str) -> None:
    """Refuse a text that nobody can read."""
    if not text.strip():
        raise UsageError(f"{name} is empty; give a text with at least one letter")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"{name} is no valid UTF-8 at character {error.start}; save or type it as UTF-8") from error


class Predictor:
    """One worker that keeps a model loaded and answers row after row. Not for two threads at once: they wait.

    Args:
        model: whose answers are asked for.
        logs: folder for what the worker prints.
        stop: an end that is asked for ends the worker.
    """

    def __init__(self, model: KeptModel, logs: Path, stop: Stop) -> None:
        self.model = model
        self._executor = LocalExecutor(logs, 1)
        self._stop = stop
        self._turn = threading.Lock()

    def ask(self, job: Any) -> Any:
        """What the worker answers to a job that is no trial."""
        with self._turn:
            return ask_worker(self._executor, job, self._stop)

    def answers(self, inputs: Inputs) -> Iterator[tuple[Answer, ...]]:
        """The answers of all rows in order, as many at a time as one job holds.

        Raises:
            HarnessError: what is wrong with the model or its folder.
            Interrupted: when an end was asked for meanwhile.
        """
        for first in range(0, len(inputs.texts), ROWS):
            rows = slice(first, first + ROWS)
            pairs = None if inputs.pairs is None else inputs.pairs[rows]
            yield self.ask(PredictJob(self.model, inputs.texts[rows], pairs))

    def __enter__(self) -> Predictor:
        return self

    def __exit__(self, *_: object) -> None:
        self._executor.close()

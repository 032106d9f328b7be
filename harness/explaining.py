"""The client of explanations: chooses examples from the record, asks a worker, and stores what it found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from harness.answers import KeptModel
from harness.asking import ask_worker
from harness.deadline import Stop
from harness.errors import UsageError
from harness.executors.local import LocalExecutor
from harness.explanations import Explained, ExplainJob, Explanations, RecordedRows
from harness.predictor import Chosen, Inputs
from harness.report import answered, outputs
from harness.report.study_frames import StudyFrames
from harness.results import frames
from harness.results.store import Store

WRONG, RIGHT = 10, 5  # examples that are explained when none are named


class Explaining(NamedTuple):
    """What became of the examples asked for.

    Attributes:
        explained: those that were explained now.
        known: places of those that had been, by the same method.
        stored: rows that the record has more now.
    """

    explained: tuple[Explained, ...]
    known: tuple[int, ...]
    stored: int


def explain_examples(
    db: str,
    chosen: Chosen,
    positions: Sequence[int],
    method: str,
    logs: Path,
    stop: Stop,
    told: Callable[[int, int], None],
) -> Explaining:
    """Explain answers to examples of the record and store each as it is found; what is stored already stays.

    Args:
        db: the database.
        chosen: the kept model.
        positions: places within the trial's validation rows; of none the surest answers are taken, wrong and right.
        method: one of `explanations.METHODS`.
        logs: folder for what the worker prints.
        stop: an end that is asked for ends the worker; what is stored by then stays.
        told: called with how many examples are done, and of how many.

    Raises:
        UsageError: for examples that are not there, or texts that may not be stored.
        DataError: when the rows of the trial cannot be found again.
    """
    with Store.open(db, create=False) as store:
        study = StudyFrames(store.engine, chosen.study)
        if not study.spec.get("store_texts", True):
            raise UsageError(
                f"study {chosen.study!r} has store_texts: false, and an attribution holds the words of its example: "
                "nothing is stored; explain texts of your own, which is printed alone"
            )
        wanted = _checked(study, chosen, positions) if positions else surest(study, chosen)
        stored = frames.attributions(store.engine, chosen.study)
        of_model = stored[(stored["trial"] == chosen.trial.number) & (stored["method"] == method)]
        known = [place for place in wanted if place in set(of_model["position"].tolist())]
        new = [place for place in wanted if place not in known]
        found: list[Explained] = []
        rows = 0
        with LocalExecutor(logs, 1) as executor:
            for done, place in enumerate(new):
                told(done, len(new))
                job = ExplainJob(chosen.model, rows=_rows(store, study, chosen, place), method=method)
                explained = _ask(executor, job, stop)
                rows += store.record_attributions(chosen.trial.id, explained)
                found += explained
        return Explaining(tuple(found), tuple(known), rows)


def explain_inputs(model: KeptModel, inputs: Inputs, method: str, logs: Path, stop: Stop) -> tuple[Explained, ...]:
    """Explain answers to texts of one's own; nothing is stored."""
    with LocalExecutor(logs, 1) as executor:
        return _ask(executor, ExplainJob(model, inputs.texts, inputs.pairs, method=method), stop)


def surest(study: StudyFrames, chosen: Chosen) -> list[int]:
    """Places of the examples that the trial answered wrongly with most confidence, then of the surest right ones.

    Raises:
        UsageError: when the record does not tell right from wrong.
    """
    row = study.trials[study.trials["trial"] == chosen.trial.number].iloc[0].to_dict()
    given = answered.of_trial(study, row, f"trial {chosen.trial.number}")
    if given.frame is None:
        reason = given.lacking or f"task {chosen.model.task} has no right and wrong answers"
        raise UsageError(f"the surest answers cannot be told: {reason}; name examples with --example")
    rows = outputs.examples_of(study, row["fold"])["source_row"].tolist()
    places = {source_row: place for place, source_row in enumerate(rows)}
    ranked = given.frame.sort_values("probability", ascending=False, kind="stable")
    wrong, right = ranked[ranked["wrong"]].head(WRONG), ranked[~ranked["wrong"].astype(bool)].head(RIGHT)
    return [places[row] for part in (wrong, right) for row in part["source_row"].tolist()]


def _checked(study: StudyFrames, chosen: Chosen, positions: Sequence[int]) -> list[int]:
    """The places asked for, each once.

    Raises:
        UsageError: for a place beyond the trial's validation rows.
    """
    rows = len(outputs.examples_of(study, chosen.trial.fold))
    beyond = [place for place in positions if not 0 <= place < rows]
    if beyond:
        raise UsageError(f"--example {beyond[0]}: trial {chosen.trial.number} has validation examples 0 to {rows - 1}")
    return list(dict.fromkeys(positions))


def _rows(store: Store, study: StudyFrames, chosen: Chosen, position: int) -> RecordedRows:
    row = chosen.trial
    fingerprint = store.data_fingerprint(row.study_id)
    assert fingerprint is not None  # noqa: S101 - a trial with weights was prepared
    seed, commit = study.spec["seed"], store.data_revision(row.study_id)
    data = dict(study.spec["data"]) | ({} if commit is None else {"revision": commit})
    return RecordedRows(data, int(seed[0] if isinstance(seed, Sequence) else seed), row.fold, fingerprint, (position,))


def _ask(executor: LocalExecutor, job: ExplainJob, stop: Stop) -> tuple[Explained, ...]:
    found = ask_worker(executor, job, stop)
    assert isinstance(found, Explanations)  # noqa: S101
    return found.examples

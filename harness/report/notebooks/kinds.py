"""The kinds of notebook that a person goes on to edit: what each is made of, and what it needs of a study.

Their cells stand in the Markdown files beside this module. They load frames from results.db with pandas and need
neither this package nor anything but the database.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from harness.configuration import Objective
from harness.errors import UsageError
from harness.metrics import costs
from harness.ranking import Standing
from harness.report import best, confirmed, outputs
from harness.report.stated import is_published
from harness.report.study_frames import StudyFrames

LOSS = Objective()
_OF_CLASSES = {"loss": "loss", "accuracy": "accuracy", "f1": "f1", "macro_f1": "f1"}
_OF_ANSWERS = {"loss": "answer_loss", "exact_match": "answers", "f1": "answers"}


class Kind(NamedTuple):
    """One kind of notebook.

    Attributes:
        question: what it answers, as its first line.
        parts: names of the files of its cells, in order, for a study; a UsageError where it has nothing to show.
    """

    question: str
    parts: Callable[[StudyFrames], tuple[str, ...]]


def _overfitting(study: StudyFrames) -> tuple[str, ...]:
    if study.losses["validation_loss"].isna().all():
        raise UsageError(f"no trial of {study.name!r} has a validation loss, so nothing can be said of overfitting")
    return ("overfitting",)


def _speed(study: StudyFrames) -> tuple[str, ...]:
    if study.windows.empty:
        raise UsageError(f"no trial of {study.name!r} trained long enough to measure its speed")
    return ("speed",)


def _comparison(study: StudyFrames) -> tuple[str, ...]:
    metric, confirming = study.objective.metric, confirmed.of(study)
    if metric in costs():
        raise UsageError(f"the objective of {study.name!r} is {metric}: the kind speed speaks of it, not comparison")
    if confirming is not None and confirming.pairs:
        return ("comparison_start", "comparison_confirmed", "comparison_seeds", "comparison_sentences")
    if is_published(study):
        raise UsageError(f"{study.name!r} is published: harness report sets its runs beside those that were made here")
    places = best.standings(study)
    if len(places) < 2:
        raise UsageError(
            f"{study.name!r} has {len(places) or 'no'} configuration{'' if len(places) == 1 else 's'} with a complete "
            "trial; a comparison takes two"
        )
    if _share_seeds(places):
        return ("comparison_start", "comparison_replicated", "comparison_seeds", "comparison_sentences")
    scores = (_OF_ANSWERS if outputs.answers_questions(study) else _OF_CLASSES).get(metric)
    if best.several(study) or scores is None or not _answered(study, places):
        raise UsageError(
            f"configurations of {study.name!r} have no two seeds in common and no {metric} by example to compare; "
            f"harness confirm {study.name} runs the best few again with new seeds"
        )
    scored = ("comparison_examples", f"scores_{scores}", "comparison_bootstrap")
    return ("comparison_start", *scored, "comparison_sentences")


def _share_seeds(places: list[Standing]) -> bool:
    """Whether the best has two seeds that another one has."""
    seeds = [{run.replicate for run in each.runs} for each in places]
    return any(len(seeds[0] & each) > 1 for each in seeds[1:])


def _answered(study: StudyFrames, places: list[Standing]) -> bool:
    """Whether the outputs of the best are stored, and of another one."""
    by_number = {int(row["trial"]): row for row in study.trials.to_dict("records")}
    known = (bool(outputs.scores_by_example(study, by_number[each.best])) for each in places)
    return next(known) and any(known)


def objective_of(study: StudyFrames) -> Objective:
    """What quality is in the notebooks: the first objective that is no cost, else the validation loss."""
    return next((each for each in study.objectives if each.metric not in costs()), LOSS)


KINDS = {
    "overfitting": Kind("Where does training stop helping, and what does it cost to go on?", _overfitting),
    "speed": Kind("What makes training fast, where does the time go, and what quality does it buy?", _speed),
    "comparison": Kind("Which configuration beats which and by how much, or can they not be told apart?", _comparison),
}

"""The best configuration of a study and how sure one can be of it, computed once for every section that speaks of it.

Which one is best is the rule of `ranking`; how sure is a bootstrap over the validation examples.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from harness.analysis import search
from harness.analysis.search import Sureness
from harness.configuration import Objective
from harness.metrics import costs
from harness.ranking import Run, Standing, plan_of, ranked
from harness.report import outputs
from harness.report.cells import cell, is_fraction, is_missing
from harness.report.naming import listed, plural
from harness.report.study_frames import StudyFrames

# Binary F1 and its like are counted sample by sample; fewer samples keep a report within seconds.
_RESAMPLES, _RESAMPLES_OF_COUNTED = 2000, 500
RULE = (
    "Configurations are ranked by the mean of the objective over their complete trials (replicates and folds), not by "
    "their luckiest one; one with fewer complete trials than the full number is marked and ranked behind those that "
    "have it."
)


class Best(NamedTuple):
    """What can be said of the best configuration.

    Attributes:
        trial: row of `StudyFrames.trials` of its best trial; None when no trial completed.
        standing: its place in the ranking, with all its complete trials.
        name: its number and what sets it apart.
        value: the objective in words, such as "validation loss 0.4486 at epoch 4", or the mean with its spread.
        certainty: how sure it is, in a sentence.
        sureness: the comparison behind it, by number of configuration.
    """

    trial: Mapping[Any, Any] | None
    standing: Standing | None
    name: str
    value: str
    certainty: str
    sureness: Sureness


def of(study: StudyFrames) -> Best:
    """The best configuration of a study by its first objective."""
    return study.once("best", lambda: _find(study))


def standings(study: StudyFrames) -> list[Standing]:
    """Every configuration with a complete trial, best first."""
    return study.once("standings", lambda: _ranked(study))


def several(study: StudyFrames) -> bool:
    """Whether configurations have, or should have, more than one trial, so that trials do not stand for them."""
    return study.once("several", lambda: any(len(each.runs) > 1 or each.marked for each in standings(study)))


def _ranked(study: StudyFrames) -> list[Standing]:
    done = study.trials[(study.trials["state"] == "complete") & study.trials["objective"].notna()]
    folds = [None if is_missing(fold) else int(fold) for fold in done["fold"].tolist()]
    columns = (done[name].tolist() for name in ("configuration", "trial", "objective", "replicate"))
    runs = (Run(*values) for values in zip(*columns, folds, strict=True))
    return ranked(runs, study.objective, plan_of(study.spec))


def _find(study: StudyFrames) -> Best:
    places = standings(study)
    if not places:
        none = Sureness(pd.DataFrame(columns=search.BEST), None, [], "no trial completed")
        return Best(None, None, "", "", "No trial completed, so there is no best configuration.", none)
    first = places[0]
    trial = study.trials[study.trials["trial"] == first.best].iloc[0].to_dict()
    sureness = _sureness(study, places)
    return Best(
        trial=trial,
        standing=first,
        name=names(study, [first])[first.configuration],
        value=f"{words_of(study.objective)} {_value(study.objective, trial, first)}",
        certainty=_certainty(study, sureness, len(places)),
        sureness=sureness,
    )


# --- words ------------------------------------------------------------------------------------------------


def names(study: StudyFrames, those: list[Standing]) -> dict[int, str]:
    """Configuration -> its number and what sets it apart; the number of its trial where that stands for it."""
    if several(study):
        return {each.configuration: study.configurations[each.configuration] for each in those}
    return {each.configuration: study.labels[each.best] for each in those}


def numbers(study: StudyFrames) -> dict[int, int]:
    """Configuration -> the number that stands for it in the report: its trial's where it has but one, else its own."""
    own = several(study)
    return {each.configuration: each.configuration if own else each.best for each in standings(study)}


def noun(study: StudyFrames) -> str:
    """What `numbers` count: trial or configuration."""
    return "configuration" if several(study) else "trial"


def words_of(objective: Objective, split: str = "validation") -> str:
    """The objective's name for a sentence or an axis: validation loss, accuracy, train samples/s."""
    name = f"{split} loss" if objective.metric == "loss" else objective.metric.replace("_", " ")
    return name.replace("f1", "F1").replace("per second", "per s")


def axis_of(objective: Objective, split: str = "validation") -> tuple[float, str]:
    """What to multiply the objective's values by for an axis, and the axis' words."""
    words = words_of(objective, split)
    return (100.0, f"{words} (%)") if is_fraction(objective.metric) else (1.0, words)


def aim(objective: Objective) -> str:
    """Minimised or maximised."""
    return objective.direction.replace("ize", "ised")


def mean_words(objective: Objective, standing: Standing) -> str:
    """The mean with its unit, of how many trials it is, and their spread: 0.4486 (mean of 3 seeds, ...)."""
    name = "validation_loss" if objective.metric == "loss" else objective.metric
    unit, apart = ("%", " points") if is_fraction(name) else ("", "")
    about = standing.words(lambda deviation: cell(name, deviation) + apart)
    return f"{cell(name, standing.mean)}{unit}" + (f" ({about})" if about else "")


def _value(objective: Objective, trial: Mapping[Any, Any], standing: Standing) -> str:
    shown = mean_words(objective, standing)
    epoch = outputs.epoch_read(trial, objective)
    single = not standing.words() and objective.metric not in costs() and epoch is not None
    return f"{shown} at epoch {epoch}" if single else shown


# --- how sure ---------------------------------------------------------------------------------------------


def _sureness(study: StudyFrames, places: list[Standing]) -> Sureness:
    empty = pd.DataFrame(columns=search.BEST)
    metric = study.objective.metric
    if metric in costs():
        return Sureness(empty, None, [], f"{metric} is a cost of the trial, not a score of validation examples")
    if outputs.answers_questions(study):
        return _sureness_of_answers(study, places)
    found = {each.configuration: outputs.of_configuration(study, each) for each in places[: search.AT_MOST]}
    logits = {number: tables for number, tables in found.items() if tables}
    gold = outputs.of_examples(study)
    leader = places[0].configuration
    if gold is None or not logits:
        return Sureness(empty, None, [], "no validation outputs are stored")
    if leader not in logits:
        return Sureness(empty, None, [], "the validation outputs of the best are not stored, or not of every fold")
    counted = metric not in ("loss", "accuracy")
    resamples = _RESAMPLES_OF_COUNTED if counted else _RESAMPLES
    try:
        sure = search.best_configuration(
            logits, gold, metric, leader=leader, positive=outputs.positive(study), resamples=resamples
        )
    except (KeyError, ValueError, IndexError) as error:  # the record may be another's and damaged
        return Sureness(empty, None, [], f"validation outputs cannot be compared: {error}")
    return _with_the_others(study, sure, len(places) - len(logits))


def _sureness_of_answers(study: StudyFrames, places: list[Standing]) -> Sureness:
    empty, metric, leader = pd.DataFrame(columns=search.BEST), study.objective.metric, places[0].configuration
    found = {each.configuration: outputs.scores_of_configuration(study, each) for each in places[: search.AT_MOST]}
    scores = {number: runs for number, runs in found.items() if runs}
    if leader not in scores:
        why = "the texts that it is scored on" if metric in outputs.QUESTION_METRICS[1:] else f"{metric} by example"
        return Sureness(empty, None, [], f"the answers of the best are not stored, or not {why}")
    try:
        sure = search.best_by_example(scores, metric, leader=leader, resamples=_RESAMPLES)
    except ValueError as error:  # the record may be another's and damaged
        return Sureness(empty, None, [], f"validation outputs cannot be compared: {error}")
    return _with_the_others(study, sure, len(places) - len(scores))


def _with_the_others(study: StudyFrames, sure: Sureness, left: int) -> Sureness:
    note = f"{sure.note}; {plural(left, f'further {noun(study)}')} not compared" if left else sure.note
    return sure._replace(note=note)


def _certainty(study: StudyFrames, sureness: Sureness, complete: int) -> str:
    what = noun(study)
    if complete == 1:
        return f"It is the only {what} that completed, so there is nothing to compare it with."
    if sureness.best is None:
        return f"How sure that is cannot be said: {sureness.note}."
    gold = outputs.of_examples(study)
    examples = 0 if gold is None else len(gold)
    share = float(sureness.frame["probability_best"].iloc[0])
    sure = f"it comes out best in {share:.0%} of bootstrap samples of the {examples} validation examples"
    compared = len(sureness.frame)
    among = f" of the {compared} with the best objective" if compared < complete else ""
    known = numbers(study)
    alike = [known[number] for number in sureness.not_distinguishable]
    if alike:
        others = f"{what}{'s' if len(alike) > 1 else ''} {listed(alike)}"
        return f"Not sure: it cannot be told apart from {others}{among}; {sure}."
    seeds = "the comparison weighs them" if len(standings(study)[0].runs) > 1 else "it ran with one alone"
    return f"As far as these examples go, it beats every other {what}{among}; {sure}. Other seeds: {seeds}."


# --- the ranking as a frame -----------------------------------------------------------------------------


def table(study: StudyFrames) -> pd.DataFrame:
    """One row a configuration, best first: mean and standard deviation of the objective, trials, mark."""
    places = standings(study)
    called = names(study, places)
    return pd.DataFrame(
        {
            "configuration": [called[each.configuration] for each in places],
            "objective": [each.mean for each in places],
            "standard_deviation": [np.nan if each.deviation is None else each.deviation for each in places],
            "complete_trials": [len(each.runs) for each in places],
            "of": [each.full for each in places],
            "trials": [listed([run.trial for run in each.runs], 12) for each in places],
            "best_trial": [each.best for each in places],
            "mark": ["ranked behind: fewer trials" if each.marked else "" for each in places],
        }
    )

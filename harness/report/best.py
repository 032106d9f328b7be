"""The best trial of a study and how sure one can be of it, computed once for every section that speaks of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from harness.analysis import search
from harness.analysis.search import Sureness
from harness.errors import UsageError
from harness.metrics import costs
from harness.records import Objective
from harness.report.cells import cell, is_fraction, is_missing
from harness.report.naming import labels, listed, plural
from harness.report.study_frames import StudyFrames

# Binary F1 and its like are counted sample by sample; fewer samples keep a report within seconds.
_RESAMPLES, _RESAMPLES_OF_COUNTED = 2000, 500


class Best(NamedTuple):
    """What can be said of the best trial.

    Attributes:
        trial: its row of `StudyFrames.trials`; None when no trial completed.
        name: its number and what sets it apart.
        value: the objective in words, such as "validation loss 0.4486 at epoch 4".
        certainty: how sure it is, in a sentence.
        sureness: the comparison behind it.
    """

    trial: Mapping[Any, Any] | None
    name: str
    value: str
    certainty: str
    sureness: Sureness


def of(study: StudyFrames) -> Best:
    """The best trial of a study by its first objective."""
    return study.once("best", lambda: _find(study))


def _find(study: StudyFrames) -> Best:
    done = study.trials[(study.trials["state"] == "complete") & study.trials["objective"].notna()]
    objective = study.objective
    if done.empty:
        none = Sureness(pd.DataFrame(columns=search.BEST), None, [], "no trial completed")
        return Best(None, "", "", "No trial completed, so there is no best configuration.", none)
    ranked = done.sort_values("objective", ascending=objective.direction == "minimize", kind="stable")
    trial = ranked.iloc[0].to_dict()
    sureness = _sureness(study, ranked)
    return Best(
        trial=trial,
        name=labels(study.trials)[int(trial["trial"])],
        value=f"{words_of(objective)} {_value(objective, trial)}",
        certainty=_certainty(study, sureness, len(done)),
        sureness=sureness,
    )


def words_of(objective: Objective) -> str:
    """The objective's name for a sentence or an axis: validation loss, accuracy, train samples/s."""
    name = "validation loss" if objective.metric == "loss" else objective.metric.replace("_", " ")
    return name.replace("f1", "F1").replace("per second", "per s")


def axis_of(objective: Objective) -> tuple[float, str]:
    """What to multiply the objective's values by for an axis, and the axis' words."""
    return (100.0, f"{words_of(objective)} (%)") if is_fraction(objective.metric) else (1.0, words_of(objective))


def aim(objective: Objective) -> str:
    """Minimised or maximised."""
    return objective.direction.replace("ize", "ised")


def epoch_read(trial: Mapping[Any, Any], objective: Objective) -> int | None:
    """The epoch at which the objective is read; None when there is none."""
    epoch = trial["best_epoch"] if objective.at == "best" else trial.get("last_epoch")
    return None if epoch is None or pd.isna(epoch) else int(epoch)


def _value(objective: Objective, trial: Mapping[Any, Any]) -> str:
    name = "validation_loss" if objective.metric == "loss" else objective.metric
    shown = cell(name, trial["objective"]) + ("%" if is_fraction(name) else "")
    epoch = epoch_read(trial, objective)
    return shown if objective.metric in costs() or epoch is None else f"{shown} at epoch {epoch}"


def _sureness(study: StudyFrames, ranked: pd.DataFrame) -> Sureness:
    empty = pd.DataFrame(columns=search.BEST)
    metric = study.objective.metric
    if metric in costs():
        return Sureness(empty, None, [], f"{metric} is a cost of the trial, not a score of validation examples")
    logits = {}
    for trial in ranked.head(search.AT_MOST).to_dict("records"):
        table = validation_logits(study, trial, study.objective)
        if table is not None:
            logits[int(trial["trial"])] = table
    gold = gold_labels(study)
    if gold is None or not logits:
        return Sureness(empty, None, [], "no validation outputs are stored")
    counted = metric not in ("loss", "accuracy")
    try:
        found = search.best_trial(
            logits, gold, metric, positive=positive(study), resamples=_RESAMPLES_OF_COUNTED if counted else _RESAMPLES
        )
    except (KeyError, ValueError, IndexError) as error:  # the record may be another's and damaged
        return Sureness(empty, None, [], f"validation outputs cannot be compared: {error}")
    left = len(ranked) - len(logits)
    return found._replace(note=f"{found.note}; {plural(left, 'further trial')} not compared" if left else found.note)


def validation_logits(
    study: StudyFrames, trial: Mapping[Any, Any], objective: Objective
) -> npt.NDArray[np.float32] | None:
    """Validation logits at the epoch that the objective reads, shape (examples, labels); None when not stored.

    None for a fold too: its rows are not those whose labels the record keeps.
    """
    epoch = epoch_read(trial, objective)
    if epoch is None or not is_missing(trial.get("fold")):
        return None
    try:
        return study.logits(int(trial["trial"]), epoch)
    except UsageError:
        return None


def gold_labels(study: StudyFrames) -> npt.NDArray[np.int64] | None:
    """Class ids of the validation examples, shape (examples,); None when they were not stored or are unknown."""
    if study.data.empty or study.examples.empty:
        return None
    ids = {name: place for place, name in enumerate(study.data["label_names"].iloc[0])}
    labels = study.examples["label"].tolist()
    return np.array([ids[label] for label in labels], dtype=np.int64) if set(labels) <= set(ids) else None


def positive(study: StudyFrames) -> int | None:
    """Class id that binary metrics speak of."""
    name = study.data["positive"].iloc[0]
    names = list(study.data["label_names"].iloc[0])
    return names.index(name) if isinstance(name, str) and name in names else None


def _certainty(study: StudyFrames, sureness: Sureness, complete: int) -> str:
    if complete == 1:
        return "It is the only trial that completed, so there is nothing to compare it with."
    if sureness.best is None:
        return f"How sure that is cannot be said: {sureness.note}."
    examples = len(study.examples)
    alike = sureness.not_distinguishable
    share = float(sureness.frame["probability_best"].iloc[0])
    sure = f"it comes out best in {share:.0%} of bootstrap samples of the {examples} validation examples"
    compared = len(sureness.frame)
    among = f" of the {compared} with the best objective" if compared < complete else ""
    if alike:
        others = f"trial{'s' if len(alike) > 1 else ''} {listed(alike)}"
        return f"Not sure: it cannot be told apart from {others}{among}; {sure}."
    return f"Sure as far as these examples go: it beats every other trial{among}; {sure}."

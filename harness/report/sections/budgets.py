"""Equal budgets: which configuration leads at equal tokens, seconds and joules, and which none beats at its cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from harness.analysis import budgets, search, speed
from harness.analysis.search import Sureness
from harness.analysis.statistics import pareto_front
from harness.configuration import Objective
from harness.metrics import costs
from harness.ranking import Standing
from harness.report import best, outputs, spent, stated
from harness.report.cells import is_fraction, points, significant
from harness.report.charts import budgets as charts
from harness.report.naming import listed, plural
from harness.report.section import Content, Drawing, Table, section
from harness.report.study_frames import StudyFrames

_AT_MOST = 12  # configurations compared, the best by the end
_NAMED = 6  # of them in colour
_RESAMPLES = 1000
_AXES = {"tokens": "training tokens", "seconds": "seconds of training and evaluation", "joules": "energy (J)"}
_COSTS = {"seconds": "time (s)", "peak_memory_bytes": "peak memory (MiB)", "joules": "energy (J)"}
_MEBI = 2**20


class Reading(NamedTuple):
    """The scores at one budget, and how sure its leader is."""

    unit: str
    budget: float
    words: str
    scores: pd.DataFrame
    sure: Sureness


@section(order=25, title="Equal budgets")
def build(study: StudyFrames) -> Content:
    """Scores at equal tokens, seconds and joules, read off the curves, and what no other beats at its cost."""
    places = best.standings(study)[:_AT_MOST]
    if len(places) < 2 or stated.is_published(study):
        return Content()
    objective = next((each for each in study.objectives if each.metric not in costs()), Objective())
    curves = spent.curves(study, objective)
    groups: budgets.Groups = {each.configuration: [run.trial for run in each.runs] for each in places}
    alike = budgets.alike(groups, spent.kinds(study))
    compared: dict[str, budgets.Groups] = {"tokens": groups, "seconds": alike, "joules": alike}
    readings = [each for unit, of in compared.items() for each in _readings(study, objective, places, curves, unit, of)]
    fronts = _fronts(study, objective, places, curves, alike)
    return Content(
        findings=[*_findings(study, objective, compared, curves, readings), *fronts.findings],
        drawings=[*_drawn(study, objective, places, curves, compared, readings), *fronts.drawings],
        tables=[*_table(study, objective, readings), *fronts.tables],
        notes=_notes(study, places, groups, alike, curves, readings),
    )


# --- reading off ------------------------------------------------------------------------------------------


def _readings(
    study: StudyFrames,
    objective: Objective,
    places: Sequence[Standing],
    curves: pd.DataFrame,
    unit: str,
    groups: budgets.Groups,
) -> list[Reading]:
    """At the first budget at which all have a score and at the most that all have spent; once where these are one."""
    between = budgets.equal(curves, groups, unit)
    if between is None:
        return []
    words = {between.first: "the first budget at which all have a score"}
    words[between.most] = f"the most that each of the {len(groups)} has spent"
    found = []
    for budget, which in words.items():
        scores = budgets.reached(curves, groups, unit, budget, objective)
        epochs = {
            trial: budgets.epoch_at(curves, trial, unit, budget, objective)
            for trials in groups.values()
            for trial in trials
        }
        of = [each for each in places if each.configuration in groups]
        sure = _sure(study, objective, of, epochs, int(scores["configuration"].iloc[0]))
        found.append(Reading(unit, budget, which, scores, sure))
    return found


def _sure(
    study: StudyFrames, objective: Objective, places: Sequence[Standing], epochs: Mapping[int, int | None], leader: int
) -> Sureness:
    """The comparison of the section on the search, with the outputs of these epochs."""
    questions, metric = outputs.answers_questions(study), objective.metric

    def read(trial: Mapping[Any, Any]) -> npt.NDArray[Any] | None:
        epoch = epochs[int(trial["trial"])]
        at = {**trial, "best_epoch": epoch, "last_epoch": epoch}
        return (
            outputs.example_scores(study, at, metric) if questions else outputs.validation_logits(study, at, objective)
        )

    found = {each.configuration: outputs.by_replicate(study, each, read) for each in places}
    kept = {number: runs for number, runs in found.items() if runs}
    gold = outputs.of_examples(study)
    nothing = Sureness(pd.DataFrame(columns=search.BEST), None, [], "the validation outputs are not stored")
    if len(kept) < len(places) or (gold is None and not questions):
        return nothing
    try:
        if questions:
            return search.best_by_example(kept, metric, leader=leader, resamples=_RESAMPLES)
        assert gold is not None
        return search.best_configuration(
            kept, gold, metric, leader=leader, positive=outputs.positive(study), resamples=_RESAMPLES
        )
    except (KeyError, ValueError, IndexError) as error:  # the record may be another's and damaged
        return nothing._replace(note=f"validation outputs cannot be compared: {error}")


# --- words ------------------------------------------------------------------------------------------------


def _value(objective: Objective, value: float) -> str:
    said = f"{points(value)}%" if is_fraction(objective.metric) else significant(value, 4)
    return f"{best.words_of(objective)} {said}"


def _findings(
    study: StudyFrames,
    objective: Objective,
    compared: Mapping[str, budgets.Groups],
    curves: pd.DataFrame,
    readings: Sequence[Reading],
) -> list[str]:
    sentences = [_sentence(study, objective, each) for each in readings]
    known = best.numbers(study)
    for unit, groups in compared.items():
        led = budgets.leaders(curves, groups, unit, objective)
        if len(led) > 1:
            those = [f"{known[number]} from {spent.words(unit, budget)}" for budget, number in led]
            sentences.append(f"As measured, the lead changes with the budget: {best.noun(study)} {listed(those)}.")
    largest = [each for each in readings if each.unit == readings[0].unit][-1:]
    if any(_more_was_spent(curves, each, compared[each.unit]) for each in largest):
        found = best.of(study)
        sentences.append(
            f"At the end, whatever each has spent, {best.noun(study)} {found.name} is first. {found.certainty}"
        )
    return sentences


def _more_was_spent(curves: pd.DataFrame, reading: Reading, groups: budgets.Groups) -> bool:
    amounts = curves.loc[curves["trial"].isin([t for trials in groups.values() for t in trials]), reading.unit]
    return bool(amounts.max() > reading.budget * 1.001)


def _sentence(study: StudyFrames, objective: Objective, reading: Reading) -> str:
    first = reading.scores.iloc[0]
    number, what, known = int(first["configuration"]), best.noun(study), best.numbers(study)
    place = [each for each in best.standings(study) if each.configuration == number]
    name = best.names(study, place)[number]
    head = f"At {spent.words(reading.unit, reading.budget)} each, {reading.words},"
    told = f"{what} {name} has the best {_value(objective, float(first['value']))}"
    if reading.sure.best is None:
        return f"{head} {told}; how sure that is cannot be said: {reading.sure.note}."
    alike = [known[each] for each in reading.sure.not_distinguishable]
    if alike:
        return f"{head} {told}, which cannot be told apart from {what}{'s' if len(alike) > 1 else ''} {listed(alike)}."
    return f"{head} {told}, and beats every other of the {len(reading.scores)} as far as these examples go."


def _notes(
    study: StudyFrames,
    places: Sequence[Standing],
    groups: budgets.Groups,
    alike: budgets.Groups,
    curves: pd.DataFrame,
    readings: Sequence[Reading],
) -> list[str]:
    notes = [
        "Read off the recorded curves, a score counting from the end of its epoch; nothing was run again. A trial "
        "whose schedule was made for more epochs still had a high learning rate at the smaller budget, and might have "
        "done better there with a schedule of its own."
    ]
    left = len(best.standings(study)) - len(places)
    if left:
        notes.append(
            f"Compared are the {len(places)} best by the end; {plural(left, best.noun(study))} behind them not."
        )
    if len(alike) < len(groups):
        few = "none compare" if len(alike) < 2 else f"only {len(alike)} compare"
        notes.append(f"In seconds and joules {few} of these {len(groups)}: the others shared work in other ways.")
    if len(alike) > 1 and not any(each.unit == "seconds" for each in readings):
        notes.append("In seconds none compare equally: one was over before another had a score.")
    own = [trial for trials in groups.values() for trial in trials]
    if curves.loc[curves["trial"].isin(own), "joules"].isna().all():
        notes.append("Energy is not in the record: the device does not tell it.")
    sources = _energy_sources(study)
    if any("shared" in source for source in sources):
        notes.append("Other processes used the device too, and the energy is of all of them.")
    loads = study.loads["load"].dropna()
    if len(loads) and float(loads.median()) >= speed.BUSY:
        notes.append(
            f"Other processes took {points(float(loads.median()))}% of the processors in the median epoch: what was "
            "spent in seconds depends on them."
        )
    tested = [each.sure.note for each in readings if each.sure.best is not None]
    if tested:
        notes.append(f"Tested at each budget by itself, as the best of the search is, for all at once: {tested[0]}.")
    return notes


def _energy_sources(study: StudyFrames) -> list[str]:
    records = study.epoch_records
    return [str(source) for source in records["energy_source"].dropna().unique()]


# --- figures and tables -----------------------------------------------------------------------------------


def _drawn(
    study: StudyFrames,
    objective: Objective,
    places: Sequence[Standing],
    curves: pd.DataFrame,
    compared: Mapping[str, budgets.Groups],
    readings: Sequence[Reading],
) -> list[Drawing]:
    factor, words = best.axis_of(objective)
    panels = []
    for unit, groups in compared.items():
        marks = [each.budget for each in readings if each.unit == unit]
        rows = budgets.steps(curves, groups, unit, objective)
        if marks and len(rows):
            panels.append(charts.Panel(_AXES[unit], rows.assign(value=factor * rows["value"]), marks).in_thousands())
    if not panels:
        return []
    first = [int(each.scores["configuration"].iloc[0]) for each in readings]
    chosen = list(dict.fromkeys([*first, *(each.configuration for each in places)]))[:_NAMED]
    names = best.names(study, [each for each in places if each.configuration in chosen])
    figure = charts.over_budget(panels, {number: names[number] for number in chosen}, words)
    read = "the best epoch so far" if objective.at == "best" else "the newest epoch"
    shown = "" if len(places) <= len(chosen) else f"; in grey {plural(len(places) - len(chosen), 'other')}"
    caption = (
        f"{words[:1].upper()}{words[1:]} of the validation examples at {read} over what was spent until then, of "
        f"{plural(len(places), best.noun(study))}, mean over their trials{shown}. Dotted: the budgets compared."
    )
    return [Drawing("budgets-curves", figure, caption)]


def _table(study: StudyFrames, objective: Objective, readings: Sequence[Reading]) -> list[Table]:
    if not readings:
        return []
    metric = "validation_loss" if objective.metric == "loss" else objective.metric
    names = best.names(study, best.standings(study))
    rows = []
    for each in readings:
        apart = dict(zip(each.sure.frame["configuration"], each.sure.frame["distinguishable"], strict=True))
        for place, row in enumerate(each.scores.to_dict("records")):
            number = int(row["configuration"])
            told = "the best" if not place else "" if number not in apart else "yes" if apart[number] else "no"
            rows.append((spent.words(each.unit, each.budget), names[number], row["value"], row["epochs"], told))
    columns = ["budget", best.noun(study), metric, "epoch_read", "told_apart_from_the_best"]
    caption = (
        f"The score that each {best.noun(study)} had reached at each budget, best first; where it has several trials, "
        "means."
    )
    return [Table("budgets", pd.DataFrame(rows, columns=columns), caption)]


def _fronts(
    study: StudyFrames,
    objective: Objective,
    places: Sequence[Standing],
    curves: pd.DataFrame,
    alike: budgets.Groups,
) -> Content:
    """What no other beats in the score and each cost, and in all of them together."""
    frame = _costs(study, objective, places, curves, alike)
    known = [cost for cost in _COSTS if frame[cost].notna().sum() > 1]
    if not known:
        return Content()
    for cost in known:
        frame[f"front of {cost}"] = pareto_front(frame, {"score": objective.direction, cost: "minimize"})
    frame["front"] = pareto_front(frame, {"score": objective.direction, **dict.fromkeys(known, "minimize")})
    numbers = best.numbers(study)
    frame["number"] = [str(numbers[number]) for number in frame["configuration"].tolist()]
    factor, words = best.axis_of(objective)
    drawn = frame.assign(score=factor * frame["score"], peak_memory_bytes=frame["peak_memory_bytes"] / _MEBI)
    figure = charts.fronts(drawn, "score", {cost: _COSTS[cost] for cost in known}, "number", words)
    findings = [_none_beats(study, objective, frame, cost) for cost in known]
    caption = (
        f"{words[:1].upper()}{words[1:]} against what it cost, of {plural(len(frame), best.noun(study))}, mean over "
        "their trials; squares joined by steps are the front, where no other is both better and cheaper. Differences "
        "within the intervals of the section on the search may be chance."
    )
    metric = "validation_loss" if objective.metric == "loss" else objective.metric
    names = best.names(study, list(places))
    shown = frame.assign(name=[names[number] for number in frame["configuration"].tolist()])
    shown = shown[["name", "score", *known, "front"]].rename(
        columns={"name": best.noun(study), "score": metric, "seconds": "total_seconds", "joules": "energy_joules"}
    )
    return Content(findings, (), [Drawing("budgets-fronts", figure, caption)], [Table("fronts", shown, caption)])


def _none_beats(study: StudyFrames, objective: Objective, frame: pd.DataFrame, cost: str) -> str:
    on = frame.loc[frame[f"front of {cost}"], "number"].tolist()
    compared, what = int(frame[cost].notna().sum()), best.noun(study)
    among = f"of the {compared} that compare in it" if compared < len(frame) else f"of {compared}"
    what = f"{what}{'s' if len(on) > 1 else ''} {listed(on, 12)}"
    return (
        f"As measured, none beats {what} in both {best.words_of(objective)} and {_COSTS[cost].split(' (')[0]}, {among}."
    )


def _costs(
    study: StudyFrames,
    objective: Objective,
    places: Sequence[Standing],
    curves: pd.DataFrame,
    alike: budgets.Groups,
) -> pd.DataFrame:
    """Score and costs of each configuration; seconds and joules are missing where they do not compare."""
    totals = curves.groupby("trial")[["seconds", "joules"]].max()
    memory = study.trials.set_index("trial")["peak_memory_bytes"]
    rows = []
    for each in places:
        trials = [run.trial for run in each.runs]
        score = budgets.reached(curves, {each.configuration: trials}, "epoch", np.inf, objective)["value"].iloc[0]
        compare = each.configuration in alike
        amounts = [totals.loc[trials, unit].mean(skipna=False) if compare else np.nan for unit in ("seconds", "joules")]
        peak = memory.loc[trials].astype("float64").max()
        rows.append((each.configuration, score, amounts[0], peak, amounts[1]))
    return pd.DataFrame(rows, columns=["configuration", "score", "seconds", "peak_memory_bytes", "joules"])

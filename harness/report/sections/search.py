"""Search: how the objective developed, which parameters mattered, and how sure the best configuration is."""

from __future__ import annotations

import pandas as pd

from harness.analysis import search
from harness.report import best, stated
from harness.report.cells import duration, is_fraction, points
from harness.report.charts import bars, scatter
from harness.report.naming import listed, plural
from harness.report.section import Content, Drawing, Table, section
from harness.report.study_frames import StudyFrames

_AT_MOST_DOTS = 20


@section(order=30, title="Search")
def build(study: StudyFrames) -> Content:
    """History of the objective, importance of the parameters, and the best configuration with its certainty."""
    if study.trials.empty:
        return Content(findings=["No trial was started."])
    if stated.is_published(study):  # nobody searched
        return Content()
    found = best.of(study)
    history = search.history(_tried(study), study.objective.direction)
    importance = search.importance(study.trials)
    drawings = [_history(study, history)] if history["objective"].notna().any() else []
    tables = [_configurations(study)] if best.several(study) else []
    if len(importance.frame):
        drawings.append(_importance(importance.frame, importance.note))
        tables.append(Table("importance", importance.frame, f"Importance of each parameter: {importance.note}."))
    if len(found.sureness.frame):
        drawings.append(_contenders(study, found))
        readable = _readable(study, found.sureness.frame)
        tables.append(Table("best", readable, f"How sure the best is: {found.sureness.note}."))
    notes = [best.RULE] if best.several(study) else []
    notes += [f"Importance: {importance.note}."] if importance.frame.empty else []
    return Content([*_findings(study, found, history), *_importances(importance.frame)], (), drawings, tables, notes)


def _tried(study: StudyFrames) -> pd.DataFrame:
    """What the search tried, in order: its trials, or its configurations where trials do not stand for them.

    A configuration without a complete trial is failed; one with fewer than the full number cannot lead.
    """
    if not best.several(study):
        return study.trials
    places = best.standings(study)
    means = {each.configuration: each.mean for each in places}
    partial = {each.configuration for each in places if each.marked}
    tried = study.trials[["configuration"]].drop_duplicates()["configuration"].astype("int64").sort_values()
    states = ["failed" if n not in means else "partial" if n in partial else "complete" for n in tried.tolist()]
    return pd.DataFrame({"trial": tried, "state": states, "objective": tried.map(means).astype("float64")})


def _findings(study: StudyFrames, found: best.Best, history: pd.DataFrame) -> list[str]:
    if found.standing is None:
        return [found.certainty]
    what, known = best.noun(study), best.numbers(study)
    sentences = [f"Best is {what} {found.name}, with {found.value}. {found.certainty}"]
    place = int(history.index[history["trial"] == known[found.standing.configuration]][0]) + 1
    done = history[history["state"] == "complete"]
    if len(done) > 1:
        sentences.append(f"The search came upon it after {place} of {plural(len(history), what)}.")
    behind = [f"{each.configuration} ({len(each.runs)})" for each in best.standings(study) if each.marked]
    if behind:
        full = found.standing.full
        sentences.append(f"Ranked behind those with {full} complete trials: {what} {listed(behind)}.")
    sentences += _spared(study)
    if study.trials["seed"].nunique() == 1 and len(done) > 1:
        sentences.append("Every trial used one seed: another seed may order close trials differently.")
    return sentences


def _spared(study: StudyFrames) -> list[str]:
    """Folds that were pruned before they were started; a trial that was pruned at work has an epoch."""
    spared = study.trials[(study.trials["state"] == "pruned") & study.trials["best_epoch"].isna()]
    if spared.empty:
        return []
    trained = study.trials.loc[study.trials["state"] == "complete", "total_seconds"]
    saved = f", about {duration(len(spared) * float(trained.mean()))}" if trained.notna().any() else ""
    of = plural(spared["configuration"].nunique(), "configuration")
    return [
        f"Pruning between folds spared {plural(len(spared), 'trial')} of {of}{saved}: fold by fold worse than the best "
        "one then known (Wilcoxon signed-rank test, not corrected for being repeated)."
    ]


def _importances(frame: pd.DataFrame) -> list[str]:
    if frame.empty:
        return []
    clear = frame[frame["clear"].astype(bool)]
    if clear.empty:
        return ["No parameter's importance exceeds what shuffled objectives give: none can be said to matter."]
    named = [f"{row['parameter']} ({points(row['importance'])}%)" for row in clear.to_dict("records")]
    return [f"Beyond chance, the objective depends on {listed(named)}."]


def _history(study: StudyFrames, history: pd.DataFrame) -> Drawing:
    failed = [int(trial) for trial in history.loc[history["state"] == "failed", "trial"].tolist()]
    factor, words = best.axis_of(study.objective)
    drawn = history.assign(**{name: factor * history[name] for name in ("objective", "best_so_far")})
    figure = scatter.history(drawn, "best_so_far", words, failed, best.noun(study))
    counted, what = int(history["objective"].notna().sum()), best.noun(study)
    without = "without a complete trial" if best.several(study) else "failed"
    crosses = f"; {plural(len(failed), what)} {without} on the lower edge" if failed else ""
    of = "Mean objective" if best.several(study) else "Objective"
    rest = "Those with fewer trials than the full number" if best.several(study) else "Pruned trials ended early and"
    caption = (
        f"{of} of {plural(counted, what)} in order, {best.aim(study.objective)}, and the best complete one so "
        f"far{crosses}. {rest} cannot be best."
    )
    return Drawing("search-history", figure, caption)


def _importance(frame: pd.DataFrame, note: str) -> Drawing:
    shown = frame.assign(importance=100 * frame["importance"], by_chance=100 * frame["by_chance"])
    figure = bars.against(shown, "parameter", "importance", "by_chance", "share of the objective's variance (%)")
    caption = f"Importance of each varied parameter (dot), and the largest share that chance gave it (line): {note}."
    return Drawing("search-importance", figure, caption)


def _contenders(study: StudyFrames, found: best.Best) -> Drawing:
    frame = found.sureness.frame.head(_AT_MOST_DOTS)
    compared = set(frame["configuration"].tolist())
    names = best.names(study, [each for each in best.standings(study) if each.configuration in compared])
    factor, _ = best.axis_of(study.objective)
    scaled = {name: factor * frame[name] for name in ("difference", "difference_low", "difference_high")}
    frame = frame.assign(name=[names[int(number)] for number in frame["configuration"].tolist()], **scaled)
    unit = " (points)" if factor != 1 else ""
    words = f"{best.words_of(study.objective)}: difference to the best{unit}"
    figure = bars.dots(frame, "name", "difference", words, zero=False, mark=0.0)
    caption = (
        f"Difference to the best of the {plural(len(frame), best.noun(study))} closest to it, with 95% bounds that "
        f"hold for all compared ones at once; a line that reaches zero cannot be told apart. {found.sureness.note}."
    )
    return Drawing("search-contenders", figure, caption)


def _readable(study: StudyFrames, frame: pd.DataFrame) -> pd.DataFrame:
    """Columns named so that fractions show as percent and their differences as points."""
    objective, known = study.objective, best.numbers(study)
    value, difference = "value", "difference"
    if objective.metric == "loss":
        value, difference = "validation_loss", "loss_difference"
    elif is_fraction(objective.metric):
        value, difference = objective.metric, "difference_points"
    names = {"value": value, "low": f"{value}_low", "high": f"{value}_high", "probability_best": "best_in_share"}
    names |= {f"difference{end}": f"{difference}{end}" for end in ("", "_low", "_high")}
    apart = frame["distinguishable"].map({True: "yes", False: "no"}).where(frame.index > 0, "the best")
    frame = frame.assign(configuration=frame["configuration"].map(known).astype("int64"))
    names |= {"configuration": best.noun(study)}
    left_out = ["distinguishable", "difference_error", "adjusted_p"]
    return frame.drop(columns=left_out).rename(columns=names).assign(told_apart=apart)


def _configurations(study: StudyFrames) -> Table:
    metric = study.objective.metric
    named = {"loss": "validation_loss"}.get(metric, metric)
    spread = "standard_deviation_share" if is_fraction(metric) else "standard_deviation"
    columns = {"objective": named, "standard_deviation": spread}
    return Table("configurations", best.table(study).rename(columns=columns), best.RULE)

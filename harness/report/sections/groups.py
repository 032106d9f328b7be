"""Groups: what each group of examples, such as a language, gets from the best trials."""

from __future__ import annotations

import pandas as pd

import harness.metrics as metrics
from harness.analysis import groups
from harness.report import best
from harness.report.cells import cell, is_fraction, points, significant
from harness.report.charts import bars
from harness.report.naming import listed, plural
from harness.report.section import Content, Drawing, Table, section
from harness.report.study_frames import StudyFrames

_TRIALS = 5
_AT_MOST = 40


@section(order=35, title="Groups")
def build(study: StudyFrames) -> Content:
    """Metrics of each group at the best epoch of the best trials, and how far the groups lie apart."""
    found = best.of(study)
    ranked = _best_trials(study)
    grouped = groups.by_group(study.group_metrics, ranked, study.examples)
    if found.trial is None or grouped.empty:
        return Content()
    metric = "accuracy" if "accuracy" in grouped else study.objective.metric
    if metric not in grouped:
        return Content()
    apart = groups.spread(grouped, metric, metrics.direction(metric))
    of_best = grouped[grouped["trial"] == found.trial["trial"]]
    shown = dict.fromkeys([metric, study.objective.metric, "loss"])
    columns = ["trial", "group", "examples"]
    columns += [end for name in shown for end in (name, f"{name}_low", f"{name}_high") if end in grouped]
    caption = (
        f"Validation metrics by group at the best epoch of the {_best_of(len(apart))}. Intervals of accuracy are 95% "
        "Wilson intervals over the group's examples."
    )
    tables = [Table("groups", grouped[columns], caption), _spread(apart, metric)]
    return Content(_findings(apart, metric), (), [_drawing(study, found, of_best, metric)], tables, _notes())


def _best_trials(study: StudyFrames) -> pd.DataFrame:
    """The best trial of each of the few best configurations, in their order."""
    numbers = [standing.best for standing in best.standings(study)[:_TRIALS]]
    return study.trials.set_index("trial", drop=False).loc[numbers].reset_index(drop=True)


def _best_of(count: int) -> str:
    return "best trial" if count == 1 else f"{count} best trials"


def _findings(apart: pd.DataFrame, metric: str) -> list[str]:
    first = apart.iloc[0]
    unit = "%" if is_fraction(metric) else ""
    gap = f"{points(first['spread'])} points" if is_fraction(metric) else significant(first["spread"])
    ends = [f"{first[f'{end}_group']} ({cell(metric, first[end])}{unit})" for end in ("best", "worst")]
    told = f"Trial {first['trial']}, the best, has its highest {metric} on {ends[0]} and its lowest on {ends[1]}"
    if metrics.direction(metric) == "minimize":
        told = f"Trial {first['trial']}, the best, has its lowest {metric} on {ends[0]} and its highest on {ends[1]}"
    sentences = [f"{told}: {gap} apart over {plural(int(first['groups']), 'group')}."]
    if pd.notna(first["overlapping"]) and first["groups"] > 1:
        others = int(first["groups"]) - 1
        sentences.append(
            f"The intervals of {first['overlapping']} of the other {plural(others, 'group')} overlap that of "
            f"{first['best_group']}: their distance from it may be chance."
        )
    worst = apart["worst_group"].value_counts()
    if len(apart) > 1:
        often = [f"{name} in {count}" for name, count in worst.items()]
        sentences.append(f"The weakest group of the {_best_of(len(apart))}: {listed(often, 4)}.")
    return sentences


def _drawing(study: StudyFrames, found: best.Best, of_best: pd.DataFrame, metric: str) -> Drawing:
    factor, unit = (100, " (%)") if is_fraction(metric) else (1, "")
    ends = [name for name in (metric, f"{metric}_low", f"{metric}_high") if name in of_best]
    ranked = of_best.sort_values(metric, ascending=metrics.direction(metric) == "minimize", kind="stable")
    drawn = ranked if len(ranked) <= _AT_MOST else pd.concat([ranked.head(_AT_MOST // 2), ranked.tail(_AT_MOST // 2)])
    names = [
        str(row["group"]) + ("" if pd.isna(row["examples"]) else f" (n = {row['examples']:,})")
        for row in drawn.to_dict("records")
    ]
    scaled = drawn.assign(name=names, **{name: factor * drawn[name] for name in ends})
    assert found.trial is not None  # noqa: S101 - the caller has looked
    overall = found.trial.get(metric)
    mark = None if overall is None or pd.isna(overall) else factor * float(overall)
    figure = bars.dots(scaled, "name", metric, f"{metric}{unit}", zero=False, mark=mark)
    left = f"; of {len(ranked)} groups the {_AT_MOST // 2} best and worst" if len(drawn) < len(ranked) else ""
    line = "; the vertical line is all validation examples together" if mark is not None else ""
    caption = (
        f"Validation {metric} by group at the best epoch of {_called(study, found)}, with 95% Wilson intervals; n is "
        f"the number of examples{line}{left}."
    )
    return Drawing("groups-best", figure, caption)


def _called(study: StudyFrames, found: best.Best) -> str:
    assert found.standing is not None  # noqa: S101 - the caller has looked
    own = f"trial {found.standing.best} of configuration" if best.several(study) else "trial"
    return f"{own} {found.name}"


def _spread(apart: pd.DataFrame, metric: str) -> Table:
    ends = {"best": f"best_{metric}", "worst": f"worst_{metric}"}
    if is_fraction(metric):
        ends = {"best": "best_share", "worst": "worst_share", "spread": "spread_points"}
    caption = (
        f"Best and worst group of each trial by {metric}; overlapping is how many of the other groups have an interval "
        "that overlaps the best one's."
    )
    return Table("groups-spread", apart.rename(columns=ends), caption)


def _notes() -> list[str]:
    return [
        "Each interval stands for itself: of many groups, the best and the worst lie apart by chance too, and a group "
        "may be harder because of its labels, not because of what it has in common."
    ]

"""Comparison: one sentence a pair of configurations, over new seeds and new rows where they were confirmed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from harness.analysis import families, replicated
from harness.analysis.families import Comparison
from harness.analysis.sentences import equivalence_sentence, sentence
from harness.analysis.statistics import LEVEL
from harness.configuration import Objective
from harness.metrics import costs
from harness.ranking import Standing
from harness.report import best, confirmed, outputs
from harness.report.cells import cell, duration, is_fraction
from harness.report.charts import bars
from harness.report.confirmed import Confirmed
from harness.report.naming import listed, plural
from harness.report.section import Content, Drawing, Table, section
from harness.report.study_frames import StudyFrames

COMPARED = 4
"""Of an unconfirmed study the best configuration is compared with so many of the next."""

_TESTS = (
    "Over several seeds: paired t test and interval over the seeds' means, which speak of further seeds on these rows. "
    "Of one seed: exact McNemar test for right and wrong, a bootstrap over the rows for other scores. p values are "
    "corrected for the number of comparisons (Holm); needed is how many seeds or examples a difference of that size "
    "would take (80% power), detectable the smallest that these would find. docs/statistics.md has sources and errors."
)
_AT_ONCE = (
    "A bootstrap over the rows (max-t over all pairs): bounds and p values hold for every pair of configurations at "
    "once, so that it does not matter that the same rows chose the best; needed is how many examples a difference of "
    "that size would take (80% power), detectable the smallest that these would find. docs/statistics.md has sources "
    "and errors."
)
_ONE_ERROR = "within one standard error of the best mean"
_NO_FURTHER = (
    "nothing is known of other examples, which takes a metric with a value for every example and two common seeds."
)
_SHOWN = ["a", "b", "metric", "difference", "difference_low", "difference_high", "adjusted_p", "test", "seeds"]
_SHOWN += ["examples", "replicated", "effect_size", "wins", "needed", "detectable"]


@section(order=5, title="Comparison")
def build(study: StudyFrames) -> Content:
    """Which configuration beats which and by how much, or what it would take to tell, over several seeds or one."""
    if study.objective.metric in costs():
        return Content()
    found = confirmed.of(study)
    return _unconfirmed(study) if found is None else _confirmed(study, found)


# --- confirmed --------------------------------------------------------------------------------------------


def _confirmed(study: StudyFrames, found: Confirmed) -> Content:
    means = replicated.means(found.table).set_index("configuration")
    order = [*found.best, *([] if found.baseline is None else [found.baseline])]
    shown = means.loc[order].reset_index()
    told = [_said(each) for each in found.comparisons]
    findings = [_what_ran(found), found.lost_words, *told, *_alike(found), _cheapest(study, found), _luck(study, found)]
    tables = [_runs_table(study, found, shown), *_comparison_tables(found.comparisons)]
    findings += _further_findings(found)
    if found.further:
        tables.append(_further_table(found))
    return Content(
        findings=[words for words in findings if words],
        drawings=[_drawing(study, found, shown)],
        tables=tables,
        notes=[_TESTS, *_opened(found)],
    )


def _what_ran(found: Confirmed) -> str:
    numbers = listed(found.best)
    one = len(found.best) == 1
    what = f"configuration{'' if one else 's'} {numbers}{'' if found.baseline is None else ' and the baseline'}"
    ran = f"After the search {what} ran again with {plural(len(found.choice.replicates), 'new seed')}"
    rows = f"{found.examples:,} " if found.examples else ""
    if found.split == outputs.TEST:
        told = "that no choice was made by" if found.times_opened < 2 else f"opened {found.times_opened} times"
        return f"{ran}, measured on {rows}test rows {told}."
    return (
        f"{ran}, measured on the {rows}validation rows that they were chosen by, which flatters them: `data.test` sets "
        "rows aside."
    )


def _alike(found: Confirmed) -> list[str]:
    """Pairs that cannot be told apart, and are proven to be alike."""
    if found.margin is None:
        return []
    untold = [i for i, each in enumerate(found.comparisons) if not each.told_apart and each.seeds > 1]
    tests = replicated.alike(found.table, [found.pairs[i] for i in untold], found.margin, found.looks)
    proven = [(i, test) for i, test in zip(untold, tests, strict=True) if test.p_value <= 1 - LEVEL]
    return [_whole(equivalence_sentence(found.comparisons[i], test, found.margin)) for i, test in proven]


def _cheapest(study: StudyFrames, found: Confirmed) -> str:
    """One standard error, among those whose times compare."""
    if len(found.table.columns) < 2:
        return ""
    if not replicated.errors_known(found.table, study.objective.direction):
        return f"Which is the cheapest {_ONE_ERROR} is not known: the error takes two common seeds."
    prices, note = found.comparable_costs()
    chosen = replicated.cheapest(found.table, prices, study.objective.direction)
    values = found.table.mean()
    if chosen is None or len(values) < 2:
        return ""
    better = values.idxmax() if study.objective.direction == "maximize" else values.idxmin()
    leader = int(str(better))
    if leader not in prices:
        return f"No time of training compares with that of configuration {leader}, which has the best mean: {note}."
    name = found.names[leader]
    if chosen == leader:
        return (
            f"{name[:1].upper()}{name[1:]} has the best mean, and nothing cheaper is within one standard error of it."
        )
    name = found.names[chosen]
    return (
        f"Of those within one standard error of the best mean (configuration {leader}), {name} is the cheapest: "
        f"{duration(prices[chosen])} of training, not {duration(prices[leader])}{f' ({note})' if note else ''}."
    )


def _luck(study: StudyFrames, found: Confirmed) -> str:
    """What the search saw of the best one, and what new seeds make of it on the same rows."""
    if not found.best:
        return ""
    number = found.best[0]
    seen = confirmed.searched(study).get(number)
    again = found.rows[found.rows["configuration"] == number]["objective"].astype("float64").mean()
    if seen is None or not np.isfinite(again):
        return ""
    name, factor, unit = _written(study.objective)
    worse = (again < seen) == (study.objective.direction == "maximize")
    words = f"The search had seen {best.words_of(study.objective)} {cell(name, seen)}{unit} of configuration {number}"
    if again == seen:
        return f"{words}, and new seeds come to the same on those rows."
    apart = f"{abs(again - seen) * factor:.{1 if unit else 4}f}{' points' if unit else ''}"
    verdict = "were luck" if worse else "better"
    return f"{words}; new seeds come to {cell(name, again)}{unit} on those rows: {apart} {verdict}."


def _said(comparison: Comparison) -> str:
    return _whole(sentence(comparison))


def _whole(words: str) -> str:
    return f"{words[:1].upper()}{words[1:]}."


def _short(name: str) -> str:
    """The name of a configuration without what sets it apart, for a column: configuration 3, the baseline."""
    return name.partition(" (")[0]


def _written(objective: Objective) -> tuple[str, float, str]:
    """Column name, factor and unit of the objective's values."""
    name = "validation_loss" if objective.metric == "loss" else objective.metric
    return (name, 100.0, "%") if is_fraction(name) else (name, 1.0, "")


def _further_findings(found: Confirmed) -> list[str]:
    """Where the seeds tell apart what further examples may not, or what of those is not known."""
    if not found.pairs:
        return []
    if not found.further:
        return [f"The tests speak of further runs on these rows; {_NO_FURTHER}"]
    both = list(zip(found.comparisons, found.further, strict=True))
    lost = [
        f"{each.a} and {each.b}"
        for each, more in both
        if more is not None and each.told_apart and not more.crossed.p_value <= 1 - LEVEL
    ]
    unknown = [f"{_short(each.a)} and {_short(each.b)}" for each, more in both if more is None]
    rows = f"{found.examples:,} " if found.examples else ""
    return [
        f"For other examples than these {rows}it is not shown: {words} differ on these rows, and may not on others."
        for words in lost
    ] + [f"Of {words} the test speaks of further runs on these rows; {_NO_FURTHER}" for words in unknown]


def _runs_table(study: StudyFrames, found: Confirmed, shown: pd.DataFrame) -> Table:
    """Each configuration's mean over the new seeds, beside what the search had seen."""
    share = "_share" if _written(study.objective)[1] > 1 else ""
    column = f"{found.split}{share}" if share else f"{found.split}_{study.objective.metric}"
    searched, prices = confirmed.searched(study), found.costs()
    numbers = shown["configuration"].tolist()
    columns = {f"value{end}": f"{column}{end}" for end in ("", "_low", "_high")}
    frame = shown.rename(columns={**columns, "standard_deviation": f"standard_deviation{share}"})
    frame["configuration"] = [found.names[number] for number in numbers]
    frame[f"seen_by_search{share}"] = [searched.get(number, np.nan) for number in numbers]
    frame["train_seconds"] = [prices.get(number, np.nan) for number in numbers]
    words = best.words_of(study.objective, found.split)
    caption = (
        f"{words[:1].upper()}{words[1:]} on the {found.split} rows: "
        "mean over the new seeds with Student's 95% interval, beside what the search had seen on the validation rows; "
        "mean seconds of training."
    )
    return Table("confirmed", frame, caption)


def _drawing(study: StudyFrames, found: Confirmed, shown: pd.DataFrame) -> Drawing:
    factor, words = best.axis_of(study.objective, found.split)
    values = shown[["value", "value_low", "value_high"]] * factor
    frame = values.assign(configuration=[found.names[number] for number in shown["configuration"].tolist()])
    figure = bars.dots(frame, "configuration", "value", f"{words}, {found.split} rows", zero=False)
    caption = (
        f"Mean over {found.seeds('new seed')} on the {found.split} rows with Student's 95% interval. "
        "Intervals that overlap may still be told apart: the seeds are paired."
    )
    return Drawing("confirmed", figure, caption)


def _further_table(found: Confirmed) -> Table:
    name = "difference" if found.margin is None else "difference_points"
    drawn = "bootstrap" if found.margin is None else "bootstrap_points"
    rows = []
    for each, more in zip(found.comparisons, found.further, strict=True):
        if more is None:
            continue
        row: dict[str, str | float] = {"a": _short(each.a), "b": _short(each.b)}
        for column, value in ((name, more.crossed), (drawn, more.bootstrap)):
            row |= {column: value.estimate, f"{column}_low": value.low, f"{column}_high": value.high}
        rows.append({**row, "adjusted_p": more.crossed.p_value})
    caption = (
        "The same pairs for further seeds and further examples, both counted as samples: crossed t test (Clark, 1973; "
        "p values corrected by Holm), and beside it the hierarchical bootstrap, which is never too narrow."
    )
    return Table("comparison-examples", pd.DataFrame(rows), caption)


def _opened(found: Confirmed) -> list[str]:
    if found.looks < 2:
        return []
    if found.times_opened < 2:
        return [f"Tested {found.looks} times on growing data: p values are multiplied by {found.looks**2}."]
    return [
        f"The test rows were opened {found.times_opened} times: what was chosen later could know of results on them. "
        f"Tested {found.looks} times on growing data: p values are multiplied by {found.looks**2}, intervals are not "
        "corrected. docs/statistics.md has the errors that are left."
    ]


# --- unconfirmed ------------------------------------------------------------------------------------------


def _unconfirmed(study: StudyFrames) -> Content:
    """The best configuration against the next few, on the rows that chose it."""
    places = best.standings(study)
    if len(places) < 2:
        return Content()
    over_seeds = _over_seeds(study, places)
    family = over_seeds or _over_examples(study)
    if not family:
        return Content()
    rest = len(places) - 1 - len(family)
    chose = f"The same rows chose the best of {plural(len(places), 'configuration')}"
    flatters = ", so that these p values flatter it" if over_seeds else ", and no other seed was tried"
    rows = "" if (study.spec.get("data") or {}).get("test") else ", best on rows set aside by `data.test`"
    further = f"{chose}{flatters}. `harness confirm {study.name}` runs the best few again with new seeds{rows}."
    notes = [_TESTS if over_seeds else _AT_ONCE]
    return Content(
        findings=[*(_said(each) for each in family), further],
        tables=_comparison_tables(family, "Holm's correction" if over_seeds else "a correction for all at once"),
        notes=[*notes, *([f"{plural(rest, 'further configuration')} not compared."] if rest else [])],
    )


def _over_seeds(study: StudyFrames, places: Sequence[Standing]) -> list[Comparison]:
    """Over the seeds that both sides of a pair have; empty where the best has but one."""
    chosen = places[: COMPARED + 1]
    runs = [(each.configuration, run.replicate, run.objective) for each in chosen for run in each.runs]
    frame = pd.DataFrame(runs, columns=["configuration", "replicate", "value"])
    folds = int((study.spec.get("data") or {}).get("folds") or 1)
    table = replicated.by_seed(frame, folds)
    numbers = [each.configuration for each in chosen]
    common = [n for n in numbers[1:] if table[[numbers[0], n]].notna().all(axis=1).sum() > 1]
    pairs = [(numbers[0], number) for number in common]
    named = confirmed.named(study, numbers)
    return replicated.compare(table, pairs, named, study.objective.metric, None if folds > 1 else len(study.examples))


def _over_examples(study: StudyFrames) -> list[Comparison]:
    """The best run against the next on the same examples; empty where that cannot be told or seeds are averaged."""
    frame = best.of(study).sureness.frame
    if len(frame) < 2 or best.several(study):
        return []
    rows = frame.to_dict("records")
    named = confirmed.named(study, [int(row["configuration"]) for row in rows])
    leader, *others = rows
    metric, examples = study.objective.metric, len(study.examples)
    pairs = len(rows) * (len(rows) - 1) // 2
    return [
        families.of_all_at_once(
            named[leader["configuration"]], named[row["configuration"]], metric, row, examples, pairs
        )
        for row in others[:COMPARED]
    ]


def _comparison_tables(family: Sequence[Comparison], correction: str = "Holm's correction") -> list[Table]:
    """Differences of fractions in points; columns without a value are left out."""
    frame = families.table(family)[_SHOWN].assign(
        a=[_short(each.a) for each in family], b=[_short(e.b) for e in family]
    )
    if all(is_fraction(each.metric) for each in family):
        named = {f"difference{end}": f"difference_points{end}" for end in ("", "_low", "_high")}
        frame = frame.rename(columns={**named, "detectable": "detectable_points"})
    caption = f"a minus b: {plural(len(family), 'comparison')}, p values after {correction}."
    return [Table("comparison", frame.loc[:, frame.notna().any()], caption)]

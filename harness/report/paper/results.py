"""The tables and figures of a write-up: those of the report, chosen for a page of two columns, with full captions."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from harness.analysis import parameters, record, replicated, search
from harness.report import best, confirmed, figures, marks, section
from harness.report.charts import bars, curves, scatter
from harness.report.confirmed import Confirmed
from harness.report.naming import plural
from harness.report.paper import checklist, conditions, space
from harness.report.section import Content, Drawing, Table
from harness.report.study_frames import StudyFrames

AT_MOST = 5
"""Configurations of an unconfirmed study that its main table names, and trials whose curves are drawn."""
_ASIDE = ("metric", "test", "replicated", "detectable", "detectable_points")


def content(study: StudyFrames) -> Content:
    """Sentences of the comparison, tables and figures; tables of one seed are marked."""
    compared = section.get("comparison").build(study)
    found = confirmed.of(study)
    means = [Table("results", each.frame, each.caption) for each in compared.tables if each.name == "confirmed"]
    tables = [
        *(means or _searched(study)),
        *_comparison(compared.tables, found),
        space.table(study),
        *_rows(study),
        checklist.table(study),
    ]
    said = Content(compared.findings, (), _drawings(study, found), [_captioned(study, each) for each in tables])
    return marks.marked(study, said)


# --- tables -----------------------------------------------------------------------------------------------


def _searched(study: StudyFrames) -> list[Table]:
    """The best few of a search, with the interval and the difference to the best where they are known."""
    if not best.standings(study):
        return []
    tables = {each.name: each for each in section.get("search").build(study).tables}
    if "best" in tables:
        frame, what = tables["best"].frame.head(AT_MOST), best.noun(study)
        names = best.names(study, best.standings(study))
        known = {number: names[configuration] for configuration, number in best.numbers(study).items()}
        frame = frame.assign(**{what: [known[int(number)] for number in frame[what].tolist()]})
        caption = (
            f"The best of {plural(len(best.standings(study)), 'configuration')}, with simultaneous 95% bounds of the"
        )
        return [Table("results", frame, f"{caption} difference to the best. {tables['best'].caption}")]
    if "configurations" in tables:
        table = tables["configurations"]
        return [Table("results", table.frame.head(AT_MOST), table.caption)]
    trials = section.get("trials").build(study).tables[0].frame
    done = trials[trials["state"] == "complete"].head(AT_MOST)
    done = done.drop(columns=["state", "verdict", *parameters.varied(study.trials)], errors="ignore")
    done = done.assign(trial=[study.labels[int(number)] for number in done["trial"].tolist()])
    return [Table("results", done, "The best trials of the search, by the objective.")]


def _comparison(tables: Sequence[Table], confirming: Confirmed | None) -> list[Table]:
    """Each comparison; what is alike in all of them stands in the caption, but seeds stay where some were lost."""
    found = []
    for table in (each for each in tables if each.name in ("comparison", "comparison-examples")):
        said = ["examples", *(["seeds"] if confirming is None or not confirming.lost else [])]
        alike = [name for name in said if name in table.frame and table.frame[name].nunique(dropna=False) == 1]
        frame = table.frame.drop(columns=[*_ASIDE, *alike], errors="ignore")
        found.append(Table(table.name, frame, table.caption))
    return found


def _rows(study: StudyFrames) -> list[Table]:
    if study.data.empty:
        return []
    caption = "Rows used of each split, rows dropped with the reasons, and rows by label."
    return [Table("data", record.data(study.data.iloc[0]["splits"]), caption)]


def _captioned(study: StudyFrames, table: Table) -> Table:
    """The caption with n, seeds, test and hardware, where the table holds results."""
    if table.name not in ("results", "comparison", "comparison-examples"):
        return table
    test = _test(study) if table.name == "comparison" else ""
    said = " ".join(
        part for part in (table.caption, conditions.of_numbers(study), test, conditions.hardware(study)) if part
    )
    return Table(table.name, table.frame, said, table.once)


def _test(study: StudyFrames) -> str:
    found = confirmed.of(study)
    if found is not None:
        return conditions.of_tests(found.comparisons)
    if best.several(study):
        return ""
    return "Test: a bootstrap over the rows that holds for all pairs of configurations at once."


# --- figures ----------------------------------------------------------------------------------------------


def _drawings(study: StudyFrames, found: Confirmed | None) -> list[Drawing]:
    drawn = [_means(study, found)] if found is not None else []
    tried = search.history(study.trials, study.objective.direction) if not best.several(study) else pd.DataFrame()
    if len(tried) and tried["objective"].notna().any():
        drawn.append(_history(study, tried))
    about = f"{conditions.of_numbers(study)} {conditions.hardware(study)}"
    described = [Drawing(each.name, each.figure, f"{each.caption} {about}") for each in drawn]
    return [*described, *_curves(study, found)]


def _means(study: StudyFrames, found: Confirmed) -> Drawing:
    """Means over the new seeds, one row a configuration, at the width of a column."""
    factor, words = best.axis_of(study.objective, found.split)
    means = replicated.means(found.table).set_index("configuration")
    order = [*found.best, *([] if found.baseline is None else [found.baseline])]
    shown = means.loc[order, ["value", "value_low", "value_high"]] * factor
    shown = shown.assign(name=["baseline" if number == found.baseline else f"config. {number}" for number in order])
    figure = bars.dots(shown, "name", "value", f"{words}, {found.split} rows", zero=False, width=figures.SINGLE)
    caption = (
        f"Mean over {found.seeds('new seed')} with Student's 95% interval. Intervals that overlap may "
        "still be told apart, for the seeds are paired."
    )
    return Drawing("means", figure, caption)


def _history(study: StudyFrames, tried: pd.DataFrame) -> Drawing:
    factor, words = best.axis_of(study.objective)
    drawn = tried.assign(**{name: factor * tried[name] for name in ("objective", "best_so_far")})
    failed = [int(trial) for trial in tried.loc[tried["state"] == "failed", "trial"].tolist()]
    figure = scatter.history(drawn, "best_so_far", words, failed, width=figures.SINGLE)
    return Drawing("history", figure, f"Objective of every trial in order, {best.aim(study.objective)}.")


def _curves(study: StudyFrames, found: Confirmed | None) -> list[Drawing]:
    """Losses by epoch of one trial of each compared configuration."""
    trained = set(study.losses["trial"].tolist())
    if found is None:
        chosen = {each.best: f"trial {each.best}" for each in best.standings(study)[:AT_MOST]}
    else:
        first = found.rows.drop_duplicates("configuration").set_index("configuration")["trial"]
        order = [*found.best, *([] if found.baseline is None else [found.baseline])]
        chosen = {
            int(first[n]): "baseline" if n == found.baseline else f"config. {n}" for n in order if n in first.index
        }
    chosen = {trial: words for trial, words in list(chosen.items())[:AT_MOST] if trial in trained}
    if not chosen:
        return []
    figure = curves.small_multiples(study.losses, list(chosen), chosen)
    caption = (
        "Training loss (dashed) and validation loss (solid) by epoch, of one trial and seed each; a ring marks the "
        f"lowest validation loss. The training loss is a mean over the epoch with dropout. "
        f"{conditions.validated_on(study)}. {conditions.hardware(study)}"
    )
    return [Drawing("losses", figure, caption)]

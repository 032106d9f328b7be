"""The section on errors of a classification: confusions, classes, single errors, kinds of texts."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from harness.analysis import errors
from harness.analysis.statistics import wilson
from harness.report.answered import Answered
from harness.report.cells import points
from harness.report.charts import confusion, parts
from harness.report.error_words import interval, notes, share, sure_errors
from harness.report.excerpts import excerpt
from harness.report.naming import listed, plural
from harness.report.section import Content, Drawing, Table
from harness.report.study_frames import StudyFrames

_FEW_CLASSES = 50  # drawn in the figure of classes; the table holds all
_DIFFERENT = 0.05
_ENOUGH = 10  # examples below which a class is no finding


def say(study: StudyFrames, given: Answered, frame: pd.DataFrame) -> Content:
    """Everything about the errors of one trial.

    Args:
        study: its frames.
        given: the answers.
        frame: `given.frame`.
    """
    names = [_name(name) for name in given.names]
    table = errors.matrix(frame, len(names))
    classes = errors.by_class(table, names)
    confused = errors.confusions(table, names)
    kinds = pd.concat([errors.by_group(frame), errors.by_length(frame)], ignore_index=True)
    findings = [*_overall(frame, given, confused), *_classes(classes), sure_errors(frame), *_near(frame)]
    findings += [*_groups(kinds), *_lengths(frame)]
    drawings = [_matrix(table, names, given), _class_drawing(classes, given)]
    tables = [_class_table(classes), _confused_table(confused)]
    if len(kinds):
        drawings.append(_kinds_drawing(kinds, frame, given))
        tables.append(_kinds_table(kinds))
    tables += _single(study, given, frame, names)
    return Content(findings, (), drawings, [table for table in tables if len(table.frame)], notes(study, given))


def _name(label: str) -> str:
    """A class as a sentence names it: a number alone would be taken for a count."""
    return f"class {label}" if label.isdigit() else excerpt(label, 60)


# --- findings -------------------------------------------------------------------------------------------


def _overall(frame: pd.DataFrame, given: Answered, confused: pd.DataFrame) -> list[str]:
    wrong = int(frame["wrong"].sum())
    if not wrong:
        return [f"None of {len(frame):,} validation examples is wrong by {given.trial}."]
    told = f"{share(wrong, len(frame))} validation examples are wrong by {given.trial}."
    most = confused.iloc[0]
    pair = f"{most['gold']} taken for {most['predicted']}"
    told_pair = f"The most frequent error is {pair}: {share(int(most['examples']), wrong)} errors"
    also = f", and {share(int(most['examples']), int(most['of']))} examples of {most['gold']}."
    rest = [f"{row['gold']} for {row['predicted']} ({row['examples']:,})" for _, row in confused.iloc[1:4].iterrows()]
    return [told, told_pair + also, *([f"Next come {listed(rest)}."] if rest else [])]


def _classes(classes: pd.DataFrame) -> list[str]:
    known = classes[classes["examples"] >= _ENOUGH].sort_values("f1", kind="stable")
    said = []
    if len(known) > 1:
        ends = [
            f"{row['class']} ({points(row['f1'])}%, 95% interval {points(row['f1_low'])} to {points(row['f1_high'])}, "
            f"n = {row['examples']:,})"
            for row in (known.iloc[0], known.iloc[-1])
        ]
        among = f" of at least {_ENOUGH} examples" if len(known) < len(classes) else ""
        said.append(f"The class{among} with the lowest F1 is {ends[0]}, the one with the highest {ends[1]}.")
    never = classes[(classes["examples"] > 0) & (classes["predicted_so"] == 0)]["class"].tolist()
    return [*said, *([f"Never predicted: {listed(never)}."] if never else [])]


def _near(frame: pd.DataFrame) -> list[str]:
    wrong = frame[frame["wrong"]]
    if wrong.empty or frame["gold_rank"].max() <= 2:  # of two classes the other one always comes second
        return []
    second = int((wrong["gold_rank"] == 2).sum())
    return [f"The right class came second in {share(second, len(wrong))} errors."]


def _groups(kinds: pd.DataFrame) -> list[str]:
    groups = kinds[kinds["kind"] == "group"]
    if len(groups) < 2:
        return []
    worst, best = groups.iloc[0], groups.iloc[-1]
    least, most = (share(int(row["wrong"]), int(row["examples"])) for row in (best, worst))
    overlap = "overlap" if worst["error_share_low"] <= best["error_share_high"] else "do not overlap"
    return [
        f"Of {len(groups)} groups {excerpt(worst['part'], 40)} has the largest share of errors, {most}, and "
        f"{excerpt(best['part'], 40)} the smallest, {least}; their intervals {overlap}."
    ]


def _lengths(frame: pd.DataFrame) -> list[str]:
    known = frame.dropna(subset=["characters"])
    wrong, right = (
        known.loc[chosen, "characters"].to_numpy(dtype=float) for chosen in (known["wrong"], ~known["wrong"])
    )
    test = errors.tends_larger(wrong, right)
    if not test.p_value >= 0:
        return []
    medians = f"median {np.median(wrong):,.0f} against {np.median(right):,.0f} characters"
    about = f"{medians}; Mann-Whitney p = {test.p_value:.2g}, n = {len(wrong):,} and {len(right):,}"
    if test.p_value >= _DIFFERENT:
        return [f"Texts with errors are not clearly longer or shorter than the others ({about})."]
    which = "longer" if test.share > 0.5 else "shorter"
    return [f"Texts with errors tend to be {which} than the others ({about})."]


# --- figures and tables -----------------------------------------------------------------------------------


def _matrix(table: npt.NDArray[np.int64], names: list[str], given: Answered) -> Drawing:
    missed = table.sum(axis=0) + table.sum(axis=1) - 2 * np.diag(table)
    kept = np.sort(np.argsort(-missed, kind="stable")[: confusion.AT_MOST])
    figure = confusion.matrix(table[np.ix_(kept, kept)], [names[place] for place in kept])
    left = f" The {len(kept)} of {len(names)} classes with most errors are drawn." if len(kept) < len(names) else ""
    caption = (
        f"Confusion matrix of {given.trial} over {int(table.sum()):,} validation examples: rows are gold classes, "
        "columns predicted ones; right answers are blue, errors orange, and a stronger cell is a larger share of its "
        f"row.{_inside(len(kept))} Empty cells have no example.{left}"
    )
    return Drawing("errors-confusion", figure, caption)


def _inside(classes: int) -> str:
    if classes > confusion.WITH_COUNTS:
        return ""
    return f" Numbers are examples{' and their share of the row' if classes <= confusion.WITH_SHARES else ''}."


def _class_drawing(classes: pd.DataFrame, given: Answered) -> Drawing:
    drawn = classes[(classes["examples"] > 0) | (classes["predicted_so"] > 0)]
    left = max(0, len(drawn) - _FEW_CLASSES)
    drawn = drawn.sort_values("f1", kind="stable").head(_FEW_CLASSES)
    named = drawn.assign(name=[f"{row['class']} (n = {row['examples']:,})" for _, row in drawn.iterrows()])
    figure = parts.by_class(named, "name", {"precision": "precision", "recall": "recall"})
    more = f" Of {len(drawn) + left} classes the {len(drawn)} with the lowest F1 are drawn." if left else ""
    caption = (
        f"Precision and recall of each class by {given.trial}, the lowest F1 on top, with 95% Wilson intervals; n is "
        f"the number of validation examples of the class. A class that was never predicted has no precision.{more}"
    )
    return Drawing("errors-classes", figure, caption)


def _kinds_drawing(kinds: pd.DataFrame, frame: pd.DataFrame, given: Answered) -> Drawing:
    drawn = kinds.assign(kind=[f"{kind} (characters)" if kind == "text length" else kind for kind in kinds["kind"]])
    rows = pd.concat([part.head(30) for _, part in drawn.groupby("kind", sort=False)])
    whole = wilson(int(frame["wrong"].sum()), len(frame))
    figure = parts.panels(rows, "error_share", "errors with 95% interval (%)", whole.estimate)
    left = f" Of each kind the first 30 parts are drawn, of {len(drawn)}." if len(rows) < len(drawn) else ""
    caption = (
        f"Share of errors of {given.trial} by kind of example, with 95% Wilson intervals; the vertical line is all "
        f"{len(frame):,} validation examples ({interval(whole)}). Text lengths are cut into fifths.{left}"
    )
    return Drawing("errors-kinds", figure, caption)


def _class_table(classes: pd.DataFrame) -> Table:
    caption = (
        "Precision, recall and F1 of each class with 95% intervals: Wilson's of precision and recall; of F1 that of "
        "the share of hits among the examples that are of the class or were taken for it, transformed. Examples are "
        "the validation examples of the class, predicted so is how often it was the answer."
    )
    return Table("errors-classes", classes, caption)


def _confused_table(confused: pd.DataFrame) -> Table:
    caption = (
        "Which class was taken for which, the most frequent first; share is of the gold class's examples, with its 95% "
        "Wilson interval."
    )
    return Table("errors-confusions", confused, caption)


def _kinds_table(kinds: pd.DataFrame) -> Table:
    caption = (
        "Share of errors by group, most first, and by fifths of text length in characters, with 95% Wilson intervals."
    )
    return Table("errors-kinds", kinds, caption)


def _single(study: StudyFrames, given: Answered, frame: pd.DataFrame, names: list[str]) -> list[Table]:
    texts = study.texts and given.has_texts
    sure, near = errors.most_confident(frame), errors.near_misses(frame)
    wrong = int(frame["wrong"].sum())
    told = f"of {plural(wrong, 'error')} of {given.trial}"
    columns = ["source_row", *(["group"] if (frame["group"] != "").any() else [])]
    shown = [*columns, "gold", "predicted", "probability", "gold_probability", *(["text"] if texts else [])]
    return [
        Table(
            "errors-confident",
            _readable(sure, names)[shown],
            f"The {len(sure)} most confident {told}: the highest probability of a wrong class first.",
        ),
        Table(
            "errors-near",
            _readable(near, names)[[*shown[: -1 if texts else None], "margin", *shown[-1 if texts else len(shown) :]]],
            f"The {len(near)} nearest misses {told}: the smallest margin first, which is the probability of the answer "
            "minus that of the right class.",
        ),
    ]


def _readable(frame: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """Class names for ids, and texts as excerpts."""
    told = {side: [names[number] for number in frame[side].tolist()] for side in ("gold", "predicted")}
    return frame.assign(**told, text=["" if pd.isna(text) else excerpt(text) for text in frame["text"].tolist()])

"""The section on errors of question answering: how answers miss, on which questions, and the answers themselves."""

from __future__ import annotations

from typing import Any

import pandas as pd

from harness.analysis import span_errors
from harness.analysis.statistics import wilson
from harness.report.answered import Answered
from harness.report.cells import points
from harness.report.charts import parts
from harness.report.error_words import interval, notes, share, sure_errors
from harness.report.excerpts import around, excerpt
from harness.report.naming import listed, plural
from harness.report.section import Content, Drawing, Table
from harness.report.study_frames import StudyFrames

_CONTEXT = 200  # characters of the context that a table shows
_ENOUGH = 10  # questions below which a part is no finding


def say(study: StudyFrames, given: Answered, frame: pd.DataFrame) -> Content:
    """Everything about the errors of one trial.

    Args:
        study: its frames.
        given: the answers.
        frame: `given.frame`.
    """
    ways, kinds = span_errors.by_way(frame), span_errors.by_kind(frame)
    findings = [*_overall(frame, given), *_ways(ways, frame), *_next_four(frame), sure_errors(frame), *_kinds(kinds)]
    drawings = [_drawing(kinds, frame, given)]
    tables = [_kinds_table(kinds), _ways_table(ways), *_single(study, given, frame)]
    return Content(findings, (), drawings, [table for table in tables if len(table.frame)], _notes(study, given))


# --- findings -------------------------------------------------------------------------------------------


def _overall(frame: pd.DataFrame, given: Answered) -> list[str]:
    wrong, f1 = int(frame["wrong"].sum()), span_errors.mean_f1(frame)
    exact = wilson(len(frame) - wrong, len(frame))
    return [
        f"{share(wrong, len(frame))} questions are not answered exactly by {given.trial}: exact match "
        f"{interval(exact)}; F1 {interval(f1)}."
    ]


def _ways(ways: pd.DataFrame, frame: pd.DataFrame) -> list[str]:
    wrong = int(frame["wrong"].sum())
    if not wrong:
        return []
    counts = dict(zip(ways["way"].tolist(), ways["examples"].tolist(), strict=True))
    near = {name: counts[name] for name in ("too long", "too short", "shifted") if name in counts}
    said = []
    if near:
        each = listed([f"{count:,} {name}" for name, count in near.items()])
        said.append(f"{share(sum(near.values()), wrong)} wrong answers overlap with a reference: {each}.")
    if "elsewhere" in counts:
        said.append(
            f"{share(counts['elsewhere'], wrong)} lie elsewhere in the context and share no word with a reference."
        )
    null = [
        (counts.get("no answer given", 0), "got no answer though the context holds one"),
        (counts.get("answered without need", 0), "got an answer though the context holds none"),
    ]
    return said + [f"{share(count, wrong)} {words}." for count, words in null if count]


def _next_four(frame: pd.DataFrame) -> list[str]:
    wrong = frame[frame["wrong"]]
    if wrong.empty:
        return []
    missed = int((wrong["exact_rank"] > 0).sum())
    best = wilson(int((frame["exact_rank"] > 0).sum()), len(frame))
    return [
        f"An exact answer is among the next four in {share(missed, len(wrong))} errors: with the right choice among "
        f"five, exact match would be {points(best.estimate)}%."
    ]


def _kinds(kinds: pd.DataFrame) -> list[str]:
    said = []
    for kind, part in kinds[kinds["examples"] >= _ENOUGH].groupby("kind", sort=False):
        ranked = part.sort_values("exact_match", kind="stable")
        if len(ranked) < 2:
            continue
        worst, best = ranked.iloc[0], ranked.iloc[-1]
        apart = (
            "their intervals do not overlap"
            if worst["exact_match_high"] < best["exact_match_low"]
            else ("their intervals overlap")
        )
        said.append(f"By {kind}, exact match is lowest for {_end(worst)} and highest for {_end(best)}; {apart}.")
    return said


def _end(row: Any) -> str:
    return f"{row['part']} ({points(row['exact_match'])}%, n = {row['examples']:,})"


# --- figures and tables -----------------------------------------------------------------------------------


def _drawing(kinds: pd.DataFrame, frame: pd.DataFrame, given: Answered) -> Drawing:
    whole = wilson(int(frame["exact"].sum()), len(frame))
    figure = parts.panels(kinds, "exact_match", "exact match with 95% interval (%)", whole.estimate)
    caption = (
        f"Exact match of {given.trial} by kind of question, with 95% Wilson intervals; the vertical line is all "
        f"{len(frame):,} validation questions ({interval(whole)}). Answers are counted by the words of the first "
        "reference, contexts cut into fifths by length, places by where the first reference begins."
    )
    return Drawing("errors-kinds", figure, caption)


def _kinds_table(kinds: pd.DataFrame) -> Table:
    caption = (
        "Exact match with 95% Wilson intervals, F1 with 95% t intervals and mean loss in nats by question word (the "
        "first in the question), length of the answer, length of the context and place of the answer."
    )
    return Table("errors-kinds", kinds, caption)


def _ways_table(ways: pd.DataFrame) -> Table:
    caption = (
        "How the wrong answers miss, each counted once: too long holds a reference, too short lies in one, shifted "
        "overlaps; elsewhere overlaps with none. Share is of all wrong answers, with its 95% Wilson interval; next "
        "four counts those whose next four answers hold an exact one."
    )
    return Table("errors-ways", ways, caption)


def _single(study: StudyFrames, given: Answered, frame: pd.DataFrame) -> list[Table]:
    wrong = frame[frame["wrong"]]
    sure = wrong.sort_values("probability", ascending=False, kind="stable").head(20)
    near = span_errors.near_misses(frame)
    texts = ["question", "references", "predicted", "context"] if study.texts else []
    told = f"of {plural(len(wrong), 'wrong answer')} of {given.trial}"
    about = " Context is the stretch around the answer given." if study.texts else ""
    rows = frame.sort_values("source_row", kind="stable").head(20)
    tables = [
        Table(
            "errors-confident",
            _readable(sure)[["source_row", "probability", *texts, "f1", "way"]],
            f"The {len(sure)} most confident {told}, the highest probability first.{about}",
        ),
        Table(
            "errors-near",
            _readable(near)[["source_row", "f1", "exact_rank", *texts, "probability", "way"]],
            f"The {len(near)} nearest misses {told}: those that share words with a reference or have an exact answer "
            f"among the next four (exact rank is its place, 0 without one), the highest F1 first.{about}",
        ),
    ]
    if study.texts:
        words = ["source_row", "question", "references", "predicted", "probability", "exact", "f1"]
        first = plural(len(rows), "validation question")
        caption = f"Predictions against references of the first {first} by source row, right or wrong."
        tables.append(Table("errors-answers", _readable(rows)[words], caption))
    return tables


def _readable(frame: pd.DataFrame) -> pd.DataFrame:
    """References, answers and contexts as excerpts; every different reference once."""
    given = zip(frame["context"].tolist(), frame["start"].tolist(), frame["end"].tolist(), strict=True)
    return frame.assign(
        question=[excerpt(text) for text in frame["question"].tolist()],
        references=[
            excerpt(" / ".join(dict.fromkeys(those))) if those else "(no answer)"
            for those in frame["references"].tolist()
        ],
        predicted=[excerpt(text) if text else "(no answer)" for text in frame["predicted"].tolist()],
        context=[around(text, max(start, 0), max(end, 0), _CONTEXT) for text, start, end in given],
    )


def _notes(study: StudyFrames, given: Answered) -> list[str]:
    return [
        *notes(study, given),
        "An answer is right when its words, without case, punctuation and articles, are those of a reference (exact "
        "match); F1 counts shared words. Probability is the softmax over the best 20 spans of a question.",
    ]

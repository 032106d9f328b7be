"""What the error analyses of all tasks say alike: shares in words, the surest errors, what became of the texts."""

from __future__ import annotations

import pandas as pd

from harness.analysis.statistics import Interval, wilson
from harness.report.answered import Answered
from harness.report.cells import points
from harness.report.naming import plural
from harness.report.study_frames import StudyFrames

SURE = 0.9


def share(count: int, of: int) -> str:
    """41 of 62 (66.1%, 95% interval 53.7 to 76.7)."""
    return f"{count:,} of {of:,} ({interval(wilson(count, of))})"


def interval(found: Interval) -> str:
    """66.1%, 95% interval 53.7 to 76.7."""
    return f"{points(found.estimate)}%, 95% interval {points(found.low)} to {points(found.high)}"


def sure_errors(frame: pd.DataFrame) -> str:
    """How many errors were made with much confidence, and what that says of such answers."""
    sure = frame[frame["probability"] >= SURE]
    wrong, of = int(sure["wrong"].sum()), len(sure)
    if not of:
        return f"No answer was given with a probability of {SURE:.0%} or more."
    those = plural(of, "answer") + (" is" if of == 1 else " are")
    return (
        f"{those[:1].upper()}{those[1:]} given with a probability of {SURE:.0%} or more; {wrong:,} of them "
        f"{'is' if wrong == 1 else 'are'} wrong ({interval(wilson(wrong, of))})."
    )


def notes(study: StudyFrames, given: Answered) -> list[str]:
    """Which texts are not shown, which examples were left out, and how shares of many parts are to be read."""
    said = ["Each interval stands for itself: of many parts, the best and the worst lie apart by chance too."]
    if not given.has_texts:
        said.append("Texts are not stored (store_texts: false): what needs them is left out.")
    elif not study.texts:
        said.append("Texts of examples are left out; source row counts the rows of the data as read, from 0.")
    else:
        said.append(
            "Texts are shown on one line, cut to 300 characters, without control characters. Source row counts the "
            "rows of the data as read, from 0."
        )
    if given.left_out:
        said.append(f"{plural(given.left_out, 'example')} without finite outputs left out.")
    return said

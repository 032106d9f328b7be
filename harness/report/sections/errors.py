"""Errors: what the best trial gets wrong, how surely, and in which kinds of examples."""

from __future__ import annotations

from harness.report import answered, label_errors, span_errors
from harness.report.section import Content, section
from harness.report.study_frames import StudyFrames


@section(order=37, title="Errors")
def build(study: StudyFrames) -> Content:
    """What the best trial gets wrong: confusions, missed answers, the surest errors, near misses, by kind."""
    given = answered.of(study)
    if given.frame is None:
        told = f"The errors of {given.trial or 'the best trial'} cannot be told: {given.lacking}."
        return Content(findings=[told]) if given.lacking else Content()
    say = label_errors.say if study.row["task"] == answered.LABELS else span_errors.say
    return say(study, given, given.frame)

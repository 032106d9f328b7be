"""What a report notebook's cells call: open a study's record, show one section.

Runs in the notebook's kernel. The sections are those of the page.
"""

from __future__ import annotations

from pathlib import Path

from IPython.display import display

from harness.report import section
from harness.report.display_data import display_data
from harness.report.pieces import assemble
from harness.report.study_frames import StudyFrames, opened


class Report:
    """One study's report, section by section."""

    def __init__(self, frames: StudyFrames) -> None:
        self.frames = frames

    def show(self, name: str) -> None:
        """Display findings, figures, tables and notes of one section."""
        for data, metadata in display_data(assemble(section.get(name), self.frames)):
            display(data, raw=True, metadata=metadata)  # type: ignore[no-untyped-call]


def open_report(study: str, database: str | Path, texts: bool = True) -> Report:
    """The report of a study.

    Args:
        study: its name.
        database: path of results.db, or the URL of a server.
        texts: whether texts of examples may be shown.
    """
    return Report(opened(database, study, texts))

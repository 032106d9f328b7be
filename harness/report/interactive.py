"""What a report notebook's cells call: open a study's record, show one section.

Runs in the notebook's kernel. The sections are those of the page.
"""

from __future__ import annotations

import base64
from pathlib import Path

from IPython.display import display

from harness.report import page, plain, section, tables
from harness.report.pieces import assemble
from harness.report.study_frames import StudyFrames, opened

FAILURE = "harness_failure"  # key of an output's metadata


class Report:
    """One study's report, section by section."""

    def __init__(self, frames: StudyFrames) -> None:
        self.frames = frames

    def show(self, name: str) -> None:
        """Display findings, figures, tables and notes of one section."""
        piece = assemble(section.get(name), self.frames)
        metadata = {FAILURE: piece.failure} if piece.failure else {}
        words = {"text/html": page.fragment(piece), "text/plain": plain.text(piece)}
        display(words, raw=True, metadata=metadata)  # type: ignore[no-untyped-call]
        for drawn in piece.drawn:
            image = {"image/png": base64.b64encode(drawn.png).decode(), "text/plain": drawn.caption}
            display(image, raw=True)  # type: ignore[no-untyped-call]
            caption = {"text/markdown": f"*{tables.markdown_text(drawn.caption)}*", "text/plain": drawn.caption}
            display(caption, raw=True)  # type: ignore[no-untyped-call]


def open_report(study: str, database: str | Path) -> Report:
    """The report of a study.

    Args:
        study: its name.
        database: path of results.db, or the URL of a server.
    """
    return Report(opened(database, study))

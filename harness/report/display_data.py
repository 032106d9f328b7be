"""A piece as a notebook shows it: its words, then each figure with its caption."""

from __future__ import annotations

import base64
from typing import Any, NamedTuple

from harness.report import page, plain, tables
from harness.report.pieces import Piece

FAILURE = "harness_failure"  # key of an output's metadata


class Shown(NamedTuple):
    """One output of a cell: the same by MIME type, and what programs are told beside it."""

    data: dict[str, str]
    metadata: dict[str, Any]


def display_data(piece: Piece) -> list[Shown]:
    """The outputs of the cell that shows a section."""
    words = {"text/html": page.fragment(piece), "text/plain": plain.text(piece)}
    outputs = [Shown(words, {FAILURE: piece.failure} if piece.failure else {})]
    for drawn in piece.drawn:
        image = {"image/png": base64.b64encode(drawn.png).decode(), "text/plain": drawn.caption}
        caption = {"text/markdown": f"*{tables.markdown_text(drawn.caption)}*", "text/plain": drawn.caption}
        outputs += [Shown(image, {}), Shown(caption, {})]
    return outputs

"""What an analysis returns where the data may be too thin: a frame, and the words for what it lacks."""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd


class Answer(NamedTuple):
    """A frame with its caveat.

    Attributes:
        frame: the result; empty, with its columns, when nothing can be said.
        note: why it is empty, or what it rests on; "" when there is nothing to add.
    """

    frame: pd.DataFrame
    note: str = ""


def nothing(columns: list[str], note: str) -> Answer:
    """An empty frame with its columns, and why."""
    return Answer(pd.DataFrame(columns=columns), note)

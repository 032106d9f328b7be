"""Words shaded by how much they did: blue with a line below for, orange with dots below against, in five strengths.

Both colours are told apart by every kind of colour vision, and the lines without any colour. Shades let the paper
shine through, so that they fit light and dark pages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

STRENGTHS = 5
_FOR, _AGAINST = "37, 99, 235", "234, 120, 0"  # red, green, blue
_OPACITY, _LINE = (0.06, 0.1), (0.25, 0.15)  # of a shade and of its line: at least, and more for each step
LEGEND = (
    "Blue with a line below speaks for it, orange with dots below against it, the stronger the more; strengths are "
    "relative to the strongest word of the line."
)


@dataclass(frozen=True)
class Mark:
    """A word with the blanks before it.

    Attributes:
        strength: from -STRENGTHS, most against, to STRENGTHS, most for; 0 is not shaded.
        hint: its score, told when it is pointed at.
    """

    text: str
    strength: int
    hint: str = ""

    @property
    def shade(self) -> str:
        """Class of the element: for-3, against-1; empty without a shade."""
        return _name(self.strength)

    @property
    def style(self) -> str:
        """The same as a style, for places without a style sheet of ours; empty without a shade."""
        return _style(self.strength)


@dataclass(frozen=True)
class Marked:
    """A text, or several that belong together.

    Attributes:
        title: what the text is.
        lines: (what the shades of this line speak of, its words).
    """

    title: str
    lines: Sequence[tuple[str, Sequence[Mark]]]


def strength(score: float, strongest: float) -> int:
    """The strength of a word's shade.

    Args:
        score: of the word.
        strongest: largest absolute score of the words that it is compared with.
    """
    return round(STRENGTHS * score / strongest) if strongest > 0 else 0


def rules() -> str:
    """The shades as CSS."""
    steps = [step for step in range(-STRENGTHS, STRENGTHS + 1) if step]
    return "\n".join(f".{_name(step)} {{ {_style(step)} }}" for step in steps)


def _name(step: int) -> str:
    return f"{'for' if step > 0 else 'against'}-{abs(step)}" if step else ""


def _style(step: int) -> str:
    if not step:
        return ""
    colour, line = (_FOR, "solid") if step > 0 else (_AGAINST, "dotted")
    shade, below = (f"rgba({colour}, {least + each * abs(step):.2f})" for least, each in (_OPACITY, _LINE))
    return f"background: {shade}; border-bottom: 2px {line} {below}"

"""The page: one HTML file that opens offline and asks the network for nothing.

Figures are images with their data inside or lines written here; style and script are the project's own and allowed by
their hash, everything else is refused by the page's own content security policy. Every value passes through
autoescaping, and without the script the page can be read whole.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from harness.report import shades
from harness.report.charts import lines
from harness.report.pieces import Piece

_TEMPLATES = Path(__file__).parent / "templates"


def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )


def render(title: str, subtitle: str, pieces: Sequence[Piece]) -> str:
    """The whole page as text."""
    style = f"{(_TEMPLATES / 'style.css').read_text(encoding='utf-8')}\n{shades.rules()}\n"
    return (
        _environment()
        .get_template("page.html")
        .render(
            title=title,
            subtitle=subtitle,
            pieces=pieces,
            size=(lines.WIDTH, lines.HEIGHT),
            box=(lines.LEFT, lines.TOP, lines.WIDTH - lines.RIGHT, lines.HEIGHT - lines.BOTTOM),
            style=Markup(style),  # noqa: S704 - the project's own file, nothing of the data
            style_hash=_digest(style),
            script=Markup(script()),  # noqa: S704 - as above
            script_hash=_digest(script()),
        )
    )


def script() -> str:
    """What sorts, filters, points and compares: the same text in every page."""
    return (_TEMPLATES / "page.js").read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def fragment(piece: Piece) -> str:
    """Findings, tables and notes of one section, for a notebook's output; figures go beside it as images."""
    return _environment().get_template("fragment.html").render(piece=piece)

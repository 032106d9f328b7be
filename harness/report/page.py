"""The page: one HTML file that opens offline, runs nothing and asks the network for nothing.

Figures are images with their data inside, the style is allowed by its hash, everything else is refused by the
page's own content security policy. Every value passes through autoescaping.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from harness.report import shades
from harness.report.pieces import Piece

_TEMPLATES = Path(__file__).parent / "templates"


def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )


def render(title: str, subtitle: str, pieces: Sequence[Piece]) -> str:
    """The whole page as text."""
    style = f"{(_TEMPLATES / 'style.css').read_text(encoding='utf-8')}\n{shades.rules()}\n"
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return (
        _environment()
        .get_template("page.html")
        .render(
            title=title,
            subtitle=subtitle,
            pieces=pieces,
            style=Markup(style),  # noqa: S704 - the project's own file, nothing of the data
            style_hash=f"sha256-{digest}",
        )
    )


def fragment(piece: Piece) -> str:
    """Findings, tables and notes of one section, for a notebook's output; figures go beside it as images."""
    return _environment().get_template("fragment.html").render(piece=piece)

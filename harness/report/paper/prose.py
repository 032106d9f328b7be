"""Sentences with what they cite, as LaTeX and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from harness.report.tables import latex_text, markdown_text


class Sentence(NamedTuple):
    """A sentence with its full stop, and the keys of what it cites."""

    text: str
    cites: tuple[str, ...] = ()


Paragraph = Sequence[Sentence]


def latex(paragraphs: Sequence[Paragraph]) -> str:
    r"""Paragraphs with \cite before the full stop."""
    return "\n\n".join("\n".join(_latex(each) for each in paragraph) for paragraph in paragraphs if paragraph) + "\n"


def markdown(paragraphs: Sequence[Paragraph]) -> str:
    """Paragraphs with [@key] before the full stop, as Pandoc reads it."""
    return "\n\n".join(" ".join(_markdown(each) for each in paragraph) for paragraph in paragraphs if paragraph) + "\n"


def _latex(sentence: Sentence) -> str:
    text, stop = _parts(sentence)
    return latex_text(text) + (rf"~\cite{{{','.join(sentence.cites)}}}" if sentence.cites else "") + stop


def _markdown(sentence: Sentence) -> str:
    text, stop = _parts(sentence)
    keys = "; ".join(f"@{key}" for key in sentence.cites)
    return markdown_text(text) + (f" [{keys}]" if keys else "") + stop


def _parts(sentence: Sentence) -> tuple[str, str]:
    return sentence.text.removesuffix("."), "." if sentence.text.endswith(".") else ""

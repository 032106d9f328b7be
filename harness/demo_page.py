"""What the demo's page shows of an answer, as HTML: nothing of a text, a label or an error is taken for markup."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from harness.answers import Answer, LabelAnswer, SpanAnswer
from harness.explanations import Attribution
from harness.report.shaded_words import Explained, shaded
from harness.report.shades import LEGEND, Mark, rules

STYLE = f"""
.answer {{font-size: 1.3em; font-weight: 600}}
.context {{white-space: pre-wrap; line-height: 1.6; overflow-wrap: anywhere}}
.context mark {{background: #fde68a; color: #111; border-radius: 3px; padding: 1px 2px}}
.bar {{background: #2563eb; height: 0.7em; border-radius: 2px; min-width: 1px}}
.prose table.ranked {{border: 0; border-collapse: collapse; margin-top: 0.7em; width: auto}}
.prose table.ranked :is(thead, tbody, tr, td, th) {{border: 0; text-align: left}}
.prose table.ranked :is(td, th) {{padding: 3px 18px 3px 0}}
.note {{opacity: 0.75}}
.label {{font-size: 0.85em; margin: 0.8em 0 0}}
.error {{border-left: 4px solid #dc2626; padding: 4px 12px; white-space: pre-wrap}}
.words {{line-height: 1.9; margin: 0; overflow-wrap: anywhere}}
{rules()}
"""


def answer_html(answer: Answer, context: str, max_length: int) -> str:
    """The answer, its probability, where it stands, the next best, and what was not read."""
    body = _labels(answer) if isinstance(answer, LabelAnswer) else _span(answer, context)
    return f'<div role="status">{body}{_cut(answer, max_length)}</div>'


def error_html(message: str) -> str:
    """What went wrong, in its first line: the rest is for the terminal."""
    return f'<div role="alert" class="error">{escape(message.partition(chr(10))[0])}</div>'


def _labels(answer: LabelAnswer) -> str:
    rows = "".join(
        f"<tr><td>{escape(name)}</td><td>{_percent(value)}</td>"
        f'<td style="width: 16em"><div class="bar" style="width: {100 * value:.1f}%"></div></td></tr>'
        for name, value in answer.probabilities.items()
    )
    return f"{_headline(answer.label, answer.probability)}{_table(('label', 'probability', ''), rows)}"


def _span(answer: SpanAnswer, context: str) -> str:
    rows = "".join(
        f"<tr><td>{escape(span.answer) or '(no answer)'}</td><td>{_percent(span.probability)}</td>"
        f"<td>{span.place}</td></tr>"
        for span in answer.next_best
    )
    windows = f", read in {answer.windows} windows" if answer.windows > 1 else ""
    null = "" if answer.null_probability is None else f"; that there is no answer: {_percent(answer.null_probability)}"
    return (
        f"{_headline(answer.answer or '(no answer)', answer.probability)}"
        f'<p class="context" dir="auto">{_marked(context, answer)}</p>'
        f'<p class="note">{len(context):,} characters{windows}{null}</p>'
        f"{_table(('next best', 'probability', 'characters'), rows) if rows else ''}"
    )


def _headline(answer: str, probability: float) -> str:
    return f'<p><span class="answer" dir="auto">{escape(answer)}</span> {_percent(probability)}</p>'


def _marked(context: str, answer: SpanAnswer) -> str:
    if answer.start is None or answer.end is None:
        return escape(context)
    before, inside, after = context[: answer.start], context[answer.start : answer.end], context[answer.end :]
    return f"{escape(before)}<mark>{escape(inside)}</mark>{escape(after)}"


def _table(columns: Sequence[str], rows: str) -> str:
    heads = "".join(f"<th>{column}</th>" for column in columns)
    return f'<table class="ranked"><tr>{heads}</tr>{rows}</table>'


def _cut(answer: Answer, max_length: int) -> str:
    if not answer.cut_tokens:
        return ""
    what = "text" if isinstance(answer, LabelAnswer) else "question"
    return (
        f'<p class="note">The {what} is longer than max_length {max_length}: {answer.cut_tokens:,} of its '
        f"{answer.tokens:,} tokens were not read.</p>"
    )


def _percent(probability: float) -> str:
    return f"{100 * probability:.1f}%"


# --- which words mattered -------------------------------------------------------------------------------


def words_html(found: Sequence[Attribution], asks: bool) -> str:
    """The words shaded as in a report.

    Args:
        found: explanations of one answer.
        asks: whether it answers a question.
    """
    explained = [Explained(each.target, each.tokens, each.scores) for each in found]
    parts = "".join(
        f'<p class="note label">{escape(name)}</p><p class="words" dir="auto">{"".join(map(_word, marks))}</p>'
        for name, marks in shaded(explained, asks)
    )
    method, answer = escape(found[0].method.replace("-", " ").capitalize()), escape(found[0].answer) or "no answer"
    return (
        f'<div role="status"><p class="note">{method} for the answer <b dir="auto">{answer}</b>. {escape(LEGEND)}</p>'
        f"{parts}</div>"
    )


def _word(mark: Mark) -> str:
    if not mark.strength:
        return escape(mark.text)
    return f'<span class="{mark.shade}" title="{escape(mark.hint)}">{escape(mark.text)}</span>'

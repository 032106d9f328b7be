"""Tables write numbers for people and raw values for programs, and no text in a cell is ever obeyed."""

from __future__ import annotations

import csv
import io
import math
import re
from html.parser import HTMLParser

import pandas as pd
import pytest
from markdown_it import MarkdownIt
from payloads import PAYLOADS

from harness.report import cells, page, plain, tables
from harness.report.pieces import piece
from harness.report.section import Content, Table


def one_line(text: str) -> str:
    return " ".join(text.split())


def test_missing_is_a_dash_and_never_zero() -> None:
    shown = tables.show(pd.DataFrame({"validation_loss": [0.5, math.nan, None]}))
    assert [row[0] for row in shown.rows] == ["0.5000", "–", "–"]


def test_the_note_says_how_many_values_a_column_lacks() -> None:
    shown = tables.show(pd.DataFrame({"trial": [1, 2, 3], "validation_loss": [0.5, math.nan, math.nan]}))
    assert shown.note == "– is missing, not zero: validation loss 2 of 3."


def test_a_complete_table_has_no_note() -> None:
    assert tables.show(pd.DataFrame({"trial": [1]})).note == ""


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("accuracy", 0.8413, "84.1"),
        ("f1", 1.0, "100.0"),
        ("validation_loss", 0.39579, "0.3958"),
        ("learning_rate", 2e-5, "2e-5"),
        ("weight_decay", 0.01, "0.01"),
        ("batch_size", 16, "16"),
        ("train_samples_per_second", 33.03, "33.0"),
        ("train_seconds", 279.17, "279"),
        ("gap_at_best", -0.016, "−0.016"),
        ("peak_memory_bytes", 3 * 2**20, "3.00"),
        ("trainable_parameters", 108_893_186, "108,893,186"),
        ("difference_points", -0.008, "−0.8"),
        ("busy", True, "yes"),
        ("anything", "as it is", "as it is"),
    ],
)
def test_numbers_are_written_with_sensible_digits(name: str, value: object, text: str) -> None:
    assert cells.cell(name, value) == text


def test_units_stand_in_the_headings() -> None:
    frame = pd.DataFrame({"accuracy": [0.5], "train_seconds": [1.0], "peak_memory_bytes": [1], "learning_rate": [1.0]})
    assert tables.show(frame).headings == ["accuracy (%)", "train (s)", "peak memory (MiB)", "learning_rate"]


def test_bounds_become_an_interval_beside_their_value() -> None:
    frame = pd.DataFrame({"value": [0.5, 0.6], "value_low": [0.4, math.nan], "value_high": [0.6, math.nan]})
    shown = tables.show(frame)
    assert shown.headings == ["value"]
    assert shown.rows == [["0.500 [0.400, 0.600]"], ["0.600"]]


def test_an_empty_frame_is_a_table_without_rows() -> None:
    frame = pd.DataFrame({"trial": pd.Series([], dtype="Int64")})
    assert tables.show(frame).rows == []
    assert tables.markdown(frame) == "| trial |\n| ---: |\n"


@pytest.mark.parametrize(
    ("seconds", "words"), [(4.2, "4.20 s"), (279.17, "4 min 39 s"), (7500, "2 h 05 min"), (0, "0 s")]
)
def test_durations_read_as_people_say_them(seconds: float, words: str) -> None:
    assert cells.duration(seconds) == words


# --- what others wrote stays text ------------------------------------------------------------------------


@pytest.mark.parametrize("payload", PAYLOADS)
def test_markdown_shows_a_payload_as_it_is(payload: str) -> None:
    frame = pd.DataFrame({"label": [payload, "next"], "rows": [1, 2]})
    html = MarkdownIt("commonmark", {"html": True, "linkify": False}).enable("table").render(tables.markdown(frame))
    found = _Cells(html)
    assert [text.replace("\u200b", "") for text in found.texts] == [one_line(payload), "1", "next", "2"]
    assert found.tags <= {"table", "thead", "tbody", "tr", "th", "td"}


@pytest.mark.parametrize("payload", PAYLOADS)
def test_no_bare_address_is_left_for_markdown_to_link(payload: str) -> None:
    assert not re.search(r"(?i)(https?:|www\.|javascript:)", tables.markdown_text(payload))


@pytest.mark.parametrize("payload", PAYLOADS)
def test_latex_reads_a_payload_without_a_command_of_its_own(payload: str) -> None:
    written = tables.latex_text(payload)
    for replacement in sorted(set(tables._LATEX.values()), key=len, reverse=True):
        written = written.replace(replacement, "")
    assert not set(written) & set("\\{}$&%#_^~")


def test_latex_rows_have_as_many_cells_as_headings() -> None:
    frame = pd.DataFrame({"label": list(PAYLOADS), "rows": range(len(PAYLOADS))})
    body = tables.latex(frame).split(r"\midrule")[1].split(r"\bottomrule")[0].strip().splitlines()
    assert len(body) == len(PAYLOADS)
    assert all(len(re.findall(r"(?<!\\)&", line)) == 1 and line.endswith(r" \\") for line in body)


@pytest.mark.parametrize("payload", PAYLOADS)
def test_no_text_cell_of_a_csv_is_a_formula(payload: str) -> None:
    written = tables.csv(pd.DataFrame({"label": [payload], "gap": [-0.5]}))
    rows = list(csv.reader(io.StringIO(written, newline="")))
    assert rows[0] == ["label", "gap"] and len(rows) == 2
    assert not rows[1][0].lstrip(" \n").startswith(("=", "+", "-", "@", "\t", "\r"))
    kept = payload.replace("\r\n", "\n").replace("\r", "\n")
    assert rows[1][0] in (kept, f"'{kept}")
    assert float(rows[1][1]) == -0.5


def test_a_csv_keeps_raw_numbers_under_the_names_of_the_record() -> None:
    assert tables.csv(pd.DataFrame({"accuracy": [0.84131], "gap": [-1e-9]})) == "accuracy,gap\n0.84131,-1e-09\n"


@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_page_shows_a_payload_as_text_only(payload: str) -> None:
    frame = pd.DataFrame({payload: [1], "label": [payload]})
    content = Content([payload], [(payload, payload)], (), [Table("t", frame, payload)], [payload])
    html = page.render(payload, payload, [piece("p", payload, content)])
    html = html.replace(f"<script>{page.script()}</script>", "")  # which every page has
    parsed = _Cells(html)
    assert "script" not in parsed.tags and not parsed.tags & {"iframe", "svg", "base", "link", "b", "a:javascript"}
    assert not [name for name in parsed.attributes if name.startswith("on")]
    assert parsed.tags <= PAGE_TAGS
    assert "49" not in html.split("</style>")[1]


PAGE_TAGS = set(
    "html head meta title style body nav p ol li a main header h1 h2 section ul dl div dt dd figure figcaption "
    "table thead tbody tr th td".split()
)


@pytest.mark.parametrize("payload", PAYLOADS)
def test_no_payload_steers_a_terminal(payload: str) -> None:
    content = Content([payload], [(payload, payload)], (), [Table("t", pd.DataFrame({"x": [payload]}), payload)])
    written = plain.text(piece("p", "P", content))
    assert all(c.isprintable() or c == "\n" for c in written)


class _Cells(HTMLParser):
    """Texts of a table's body cells, all tags, all attribute names."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.texts: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.inside = False
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.inside = tag == "td"
        if self.inside:
            self.texts.append("")

    def handle_endtag(self, tag: str) -> None:
        self.inside = self.inside and tag != "td"

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.texts[-1] += data


def test_people_are_shown_the_first_rows_of_a_long_table_and_programs_all() -> None:
    frame = pd.DataFrame({"trial": range(1200)})
    shown = tables.show(frame)
    assert len(shown.rows) == tables.AT_MOST == 500
    assert shown.note == "The first 500 of 1,200 rows; the CSV file holds all."
    assert len(tables.csv(frame).splitlines()) == 1201

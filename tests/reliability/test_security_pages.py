"""Names and texts of others in reports stay text: page, notebook, Markdown, CSV, LaTeX and terminal."""

from __future__ import annotations

import csv
import io
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd
import pytest
import report_study
from browser import Chromium, tab
from markdown_it import MarkdownIt
from nights import Night
from payloads import PATHS, PAYLOADS, SQL, XSS, without_script

from harness.report import build, figures, page, plain, section, tables
from harness.report.display_data import display_data
from harness.report.pieces import Piece, assemble, piece
from harness.report.section import Content, Drawing, Table
from harness.report.study_frames import opened
from harness.results.text import normalise
from harness.terminal import printable

ALL = tuple(dict.fromkeys(map(normalise, (*XSS, *PAYLOADS, *SQL, *PATHS))))


def test_there_are_a_hundred_payloads() -> None:
    assert len(set(XSS)) >= 100


# --- in a browser (S8) ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with tab(tmp_path_factory.mktemp("profile"), "that no payload runs") as opened:
        yield opened


def said(text: str, drawings: Sequence[Drawing] = ()) -> Piece:
    """A section that says one text in every place that a section has."""
    frame = pd.DataFrame({text: [0.5], "label": [text], "metric": [text]})
    return piece("piece", text, Content([text], [(text, text)], drawings, [Table("table", frame, text)], [text]))


def section_of(texts: Sequence[str]) -> list[Piece]:
    with figures.style():
        drawing = Drawing("figure", figures.new(), " ".join(texts))
        return [
            said(texts[0], [drawing]),
            *(said(text) for text in texts[1:]),
            *(Piece("failed", text, failure=text) for text in texts),
        ]


def without_policy(html: str) -> str:
    """The page without its own refusal of scripts, so that escaping has to hold alone."""
    assert html.count("Content-Security-Policy") == 1
    return re.sub(r"<meta http-equiv=\"Content-Security-Policy\"[^>]*>", "", html)


def as_notebook(pieces: Sequence[Piece]) -> str:
    """What a notebook shows of outputs: HTML as it stands, Markdown by a reader that lets HTML and links through."""
    reader = MarkdownIt("commonmark", {"html": True, "linkify": False}).enable("table")
    shown = [output.data for each in pieces for output in display_data(each)]
    parts = [data["text/html"] for data in shown if "text/html" in data]
    parts += [reader.render(data["text/markdown"]) for data in shown if "text/markdown" in data]
    return f"<!DOCTYPE html><meta charset=utf-8><body>{''.join(parts)}</body>"


def as_markdown(pieces: Sequence[Piece]) -> str:
    reader = MarkdownIt("commonmark", {"html": True, "linkify": False}).enable("table")
    written = [tables.markdown(table.frame, table.caption) for each in pieces for table, _ in each.tables]
    return f"<!DOCTYPE html><meta charset=utf-8><body>{''.join(map(reader.render, written))}</body>"


ACTIVE = "script,iframe,object,embed,base,form,input,button,video,audio,link,svg,math,[autofocus]"
LOOK = f"""({{
  ran: typeof __x,
  active: [...document.querySelectorAll('{ACTIVE}')].map(e => e.outerHTML.slice(0, 80)),
  handlers: [...document.querySelectorAll('*')].flatMap(e => [...e.attributes]).map(a => a.name)
    .filter(name => /^on/i.test(name)),
  leading: [...document.querySelectorAll('[href],[src],[action]')]
    .map(e => e.getAttribute('href') || e.getAttribute('src') || e.getAttribute('action'))
    .filter(to => !/^(#|data:image\\/)/.test(to)),
  text: document.body.textContent,
}})"""
POKE = """document.querySelectorAll('*').forEach(
  e => { e.dispatchEvent(new Event('mouseover')); e.focus && e.focus() })"""


ELEMENTS = "[...document.body.querySelectorAll('*')].map(e => e.localName).sort().join(' ')"


def made_by_the_script(browser: Chromium, path: Path, html: str) -> str:
    """Open a page as it is, poke it, choose and filter, and name its elements; nothing of the data may have run."""
    path.write_text(html, encoding="utf-8", errors="replace")
    browser.requests.clear()
    browser.errors.clear()
    browser.open(path.as_uri())
    browser.run("document.querySelectorAll('input[type=checkbox]').forEach(e => e.click())")
    browser.run("document.querySelectorAll('th button').forEach(e => e.click())")
    browser.run(POKE)
    assert browser.run("typeof __x") == "undefined" and browser.errors == []
    seen = browser.run(LOOK)
    assert seen["handlers"] == [] and seen["leading"] == []
    assert [to for to in browser.requests if not to.startswith(("file:", "data:image/"))] == []
    return str(browser.run(ELEMENTS))


def looked_at(browser: Chromium, path: Path, html: str, active: Sequence[str] = ()) -> str:
    """Open it, poke it, and give its text; nothing may have run, and nothing been asked of the network."""
    path.write_text(html, encoding="utf-8", errors="replace")
    browser.requests.clear()
    browser.open(path.as_uri())
    browser.run(POKE)
    seen = browser.run(LOOK)
    text = str(seen.pop("text"))
    assert [each.split()[0] for each in seen.pop("active")] == list(active)
    assert seen == {"ran": "undefined", "handlers": [], "leading": []}
    assert [to for to in browser.requests if not to.startswith(("file:", "data:image/"))] == []
    return text


@pytest.mark.browser
def test_the_canary_sings_where_a_payload_is_not_escaped(browser: Chromium, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text("<!DOCTYPE html><body><img src=x onerror=__x=1></body>")
    browser.open(path.as_uri())
    assert browser.wait("typeof __x === 'number'")
    with pytest.raises(AssertionError):
        looked_at(browser, path, "<!DOCTYPE html><body><a href=javascript:__x=1>x</a></body>")


@pytest.mark.browser
@pytest.mark.timeout(300)
def test_no_payload_runs_in_page_notebook_or_markdown(browser: Chromium, tmp_path: Path) -> None:
    for texts in (XSS[start : start + 12] for start in range(0, len(XSS), 12)):
        title = "\n".join(texts)
        pieces = section_of(texts)
        html = page.render(title, title, pieces)
        assert "default-src 'none'" in html
        for kind, document in {
            "page": without_script(html),
            "bare page": without_script(without_policy(html)),
            "notebook": as_notebook(pieces),
            "markdown": as_markdown(pieces),
        }.items():
            text = looked_at(browser, tmp_path / "page.html", document)
            for payload in texts:
                assert squeezed(payload) in squeezed(text), (kind, payload)


@pytest.mark.browser
def test_the_script_makes_the_same_elements_of_hostile_texts_as_of_harmless_ones(
    browser: Chromium, tmp_path: Path
) -> None:
    harmless = [f"word {place}" for place in range(len(XSS))]
    pages = [page.render("\n".join(each), "x", section_of(each)) for each in (harmless, XSS)]
    path = tmp_path / "page.html"
    made = [made_by_the_script(browser, path, html) for html in (*pages, without_policy(pages[1]))]
    assert made[0] == made[1] == made[2] and " select " in made[0]


def squeezed(text: str) -> str:
    """Without blanks, the marks that keep addresses from becoming links, and what cannot be shown."""
    return "".join(c for c in text if c.isprintable() and not c.isspace() and c != "\u200b")


@pytest.mark.browser
@pytest.mark.timeout(300)
def test_a_report_of_a_hostile_study_runs_nothing(browser: Chromium, tmp_path: Path) -> None:
    path = report_study.make(
        tmp_path / "results.db",
        name=XSS[0],
        trials=4,
        states={1: "failed"},
        labels=XSS[:24],
        model=XSS[20],
        message="".join(XSS),
        text="\n".join(XSS[24:60]),
    )
    frames = opened(path, XSS[0])
    pieces = [assemble(each, frames) for each in section.sections()]
    assert [each.failure for each in pieces] == [""] * len(pieces)
    build.write(tmp_path / "out", XSS[0], XSS[1], pieces)
    html = (tmp_path / "out" / "report.html").read_text()
    panels = ["<svg"] * sum(len(panels) for each in pieces for _, panels in each.curves)
    assert panels
    looked_at(browser, tmp_path / "page.html", without_script(html), panels)
    looked_at(browser, tmp_path / "page.html", without_script(without_policy(html)), panels)
    made_by_the_script(browser, tmp_path / "page.html", html)
    made_by_the_script(browser, tmp_path / "page.html", without_policy(html))
    looked_at(browser, tmp_path / "page.html", as_notebook(pieces))
    for drawn in (tmp_path / "out" / "figures").glob("*.svg"):
        browser.open(drawn.as_uri())
        assert browser.run("typeof __x") == "undefined"


# --- Markdown, CSV, LaTeX (S9) -------------------------------------------------------------------------------


def one_line(text: str) -> str:
    return " ".join(text.split())


def test_markdown_gives_every_text_back_in_its_cell() -> None:
    reader = MarkdownIt("commonmark", {"html": True, "linkify": False}).enable("table")
    tokens = reader.parse(tables.markdown(pd.DataFrame({"label": list(ALL)})))
    cells = [token for before, token in zip(tokens, tokens[1:], strict=False) if before.type == "td_open"]
    assert len(cells) == len(ALL)
    for cell, text in zip(cells, ALL, strict=True):
        assert {child.type for child in cell.children or ()} <= {"text", "text_special"}, text
        found = "".join(child.content for child in cell.children or ()).replace("\u200b", "")
        assert (
            found == one_line(text).encode("utf-8", "replace").decode().replace("\0", "\ufffd")
            or not text.isprintable()
        )


def test_latex_gives_every_text_back() -> None:
    back = {written: char for char, written in tables._LATEX.items()}
    pattern = re.compile("|".join(re.escape(written) for written in sorted(back, key=len, reverse=True)))
    for text in ALL:
        written = tables.latex_text(text)
        expected = "".join(c for c in one_line(text) if c.isprintable())
        assert pattern.sub(lambda found: back[found[0]], written) == expected or "--" in text
        assert not set(pattern.sub("", written)) & set("\\{}$&%#_^~")


def test_csv_gives_every_text_back_and_no_cell_is_a_formula() -> None:
    texts = [text.encode("utf-8", "replace").decode() for text in ALL]
    written = tables.csv(pd.DataFrame({"label": texts, "gap": -0.5}))
    rows = list(csv.reader(io.StringIO(written, newline="")))[1:]
    frame = pd.read_csv(io.StringIO(written), dtype=str, keep_default_na=False)
    assert len(rows) == len(frame) == len(texts)
    for (cell, gap), text in zip(rows, texts, strict=True):
        plainly = text.replace("\0", "").replace("\r\n", "\n").replace("\r", "\n")
        assert cell in (plainly, f"'{plainly}") and gap == "-0.5"
        assert not cell.lstrip(" \n").startswith(("=", "+", "-", "@", "\t", "\r"))


# --- terminals (S10) -----------------------------------------------------------------------------------------

ESCAPES = (
    "\x1b]0;owned\x07",
    "\x1b[2J\x1b[H",
    "\x1b[31mred",
    "\x1b]8;;http://evil.example\x1b\\link\x1b]8;;\x1b\\",
    "\x9b31m",
    "\x90q\x9c",
    "\x1bc",
    "\x1b[6n",
    "\x1b]52;c;b3duZWQ=\x07",
    "\r[INFO] all trials complete",
    "a\b\b\bb",
    "\x7f\x7f",
    "\x0e\x0f",
    "\u202egnp.exe",
    "\u2066x\u2069",
    "[bold red]x[/]",
    "[link=http://evil.example]x[/link]",
    ":skull:",
    "\x00",
    "\x85",
    "\u2028",
    "\u2029",
)
COMMANDING = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def test_no_text_commands_a_terminal() -> None:
    for text in (*ESCAPES, *ALL):
        assert not COMMANDING.search(printable(text))
        for each in (said(text), Piece("failed", text, failure=text)):
            assert not COMMANDING.search(plain.text(each)), text


def understandable(folder: Path) -> Night:
    """The made-up record with the text of a study file that can be read."""
    night = Night(folder)
    with sqlite3.connect(night.db) as connection:
        connection.execute("UPDATE harness_study SET text = ?", (night.file.read_text(),))
    connection.close()
    return night


@pytest.mark.slow
def test_commands_over_a_hostile_record_print_no_command_and_no_forged_line(tmp_path: Path) -> None:
    evil = "".join(ESCAPES).replace("\x00", "")
    report_study.make(
        tmp_path / "results.db",
        name="night",
        trials=3,
        states={1: "failed"},
        model=evil,
        labels=[evil, "other"],
        message=f"{evil}\n[INFO] forged line",
        text=evil,
    )
    night = understandable(tmp_path)
    for arguments in (["status"], ["compare", "night:0", "night:2"]):
        code, output = night.harness(*arguments)
        assert code == 0, output
        assert not COMMANDING.search(output.replace("\r\n", "\n")), (arguments, COMMANDING.findall(output))
        assert "Traceback" not in output and "\n[INFO]" not in output


@pytest.mark.slow
def test_a_terminal_that_knows_ascii_alone_ends_no_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report_study.make(tmp_path / "results.db", name="night", trials=1, model="ünï-日本")
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    code, output = understandable(tmp_path).harness("status")
    assert code == 0 and "night" in output


# --- no server (S12) -----------------------------------------------------------------------------------------


def test_only_the_demo_listens() -> None:
    package = Path(build.__file__).parent.parent
    words = re.compile(r"HTTPServer|socketserver|\.listen\(\d*\)|uvicorn|flask|start_server|create_server|\.launch\(")
    listening = {path.name for path in package.rglob("*.py") if words.search(path.read_text(encoding="utf-8"))}
    assert listening == {"demo.py"}
    demo = (package / "demo.py").read_text(encoding="utf-8")
    assert "127.0.0.1" in demo and "0.0.0.0" not in demo


def test_statements_are_never_put_together_from_text() -> None:
    """Ruff's rule S608 holds for the whole package, without an exception."""
    package = Path(build.__file__).parent.parent
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "S608", "--ignore-noqa", str(package)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout

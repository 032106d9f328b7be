"""A report is one page that needs nothing else, a notebook that shows the same, and figures and tables as files."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest
import report_study
from nbformat import v4
from payloads import PAYLOADS

from harness.errors import StorageError, UsageError
from harness.report import build, page, section
from harness.report.notebooks import of_sections
from harness.report.notebooks.execution import execute
from harness.report.pieces import assemble
from harness.report.study_frames import opened

VOID = {"meta", "img", "br", "link", "input", "hr"}


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return report_study.make(tmp_path_factory.mktemp("report") / "results.db")


@pytest.fixture(scope="module")
def built(database: Path) -> build.Built:
    return build.build(database, "reviews", database.parent / "reports" / "reviews")


class Page(HTMLParser):
    """A page's tags, attributes and balance."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.found: list[tuple[str, str, str]] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.found += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_a_report_is_a_page_a_notebook_figures_and_tables(built: build.Built) -> None:
    assert built.failures == ()
    names = {path.name for path in built.paths}
    assert {"report.html", "report.ipynb", "overfitting-curves.png", "overfitting-curves.svg"} <= names
    assert {"trials.csv", "trials.md", "trials.tex", "overfitting.tex"} <= names
    assert all(path.stat().st_size > 0 for path in built.paths)


def test_the_page_parses_and_refers_to_nothing_outside_itself(built: build.Built) -> None:
    parsed = Page(built.paths[0].read_text())
    assert parsed.open == [] and not parsed.tags & {"link", "iframe", "object", "form"}
    targets = [value for _, name, value in parsed.found if name in ("src", "href")]
    assert targets and all(value.startswith(("data:image/", "#")) for value in targets)
    links = {value[1:] for _, name, value in parsed.found if name == "href"}
    assert links <= {value for _, name, value in parsed.found if name == "id"}


def test_the_page_forbids_everything_but_its_own_style_script_and_images(built: build.Built) -> None:
    html = built.paths[0].read_text()
    policy = next(value for tag, name, value in Page(html).found if tag == "meta" and "default-src" in value)
    assert policy.startswith("default-src 'none'; style-src 'sha256-") and "unsafe" not in policy
    assert html.lower().count("<script") == 1 and f"<script>{page.script()}</script>" in html
    digest = base64.b64encode(hashlib.sha256(page.script().encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}';" in policy
    assert "style=" not in html.split("</style>")[1]


def test_the_first_screen_gives_the_answer(built: build.Built) -> None:
    html = built.paths[0].read_text()
    assert html.index("Best configuration") < html.index('id="overfitting"')


def test_every_figure_on_the_page_has_a_caption_for_those_who_cannot_see_it(built: build.Built) -> None:
    images = [value for tag, name, value in Page(built.paths[0].read_text()).found if tag == "img" and name == "alt"]
    assert len(images) >= 5 and all(len(text) > 40 for text in images)


def test_the_notebook_is_executed_and_each_cell_calls_one_section(built: build.Built) -> None:
    book = nbformat.read(built.paths[1], as_version=4)
    nbformat.validate(book)
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    empty = ("adaptation", "attributions", "groups", "loss-scale", "published")  # the study has none of these
    shown = [each.name for each in section.sections() if each.name not in empty]
    assert [cell.source for cell in code[1:]] == [f'report.show("{name}")' for name in shown]
    assert "from harness.report import interactive" in code[0].source
    assert all(cell.outputs for cell in code[1:])


def test_the_notebook_shows_what_the_page_shows(built: build.Built) -> None:
    html = built.paths[0].read_text()
    book = nbformat.read(built.paths[1], as_version=4)
    shown = "".join(o.data.get("text/html", "") for c in book.cells for o in c.get("outputs", []) if "data" in o)
    findings = re.findall(r"<li>([^<]+)</li>", shown)
    assert len(findings) > 10 and all(f"<li>{sentence}</li>" in html for sentence in findings)


def test_of_very_many_trials_the_notebook_gets_the_outputs_that_running_it_gives(
    database: Path, built: build.Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(of_sections, "EXECUTED_UP_TO", 11)
    written = build.build(database, "reviews", tmp_path / "reviews")
    books = [nbformat.read(each.paths[1], as_version=4) for each in (built, written)]
    executed, filled = ([cell for cell in book.cells if cell.cell_type == "code"] for book in books)
    shown, same = ([[(o.data, o.metadata) for o in cell.outputs] for cell in cells[1:]] for cells in (executed, filled))
    assert len(shown) > 4 and all(shown)
    assert same == shown
    assert [cell.source for cell in filled[1:]] == [cell.source for cell in executed[1:]]
    assert "has 12 trials: the outputs were written together with the page" in books[1].cells[0].source
    assert {cell.execution_count for cell in filled} == {None}


def test_the_notebook_names_no_folder_of_this_machine(built: build.Built, database: Path) -> None:
    assert str(database.parent) not in built.paths[1].read_text()


def test_a_svg_holds_no_script_and_no_address(built: build.Built) -> None:
    for path in built.paths:
        if path.suffix == ".svg":
            written = path.read_text()
            assert "<script" not in written
            assert set(re.findall(r'xlink:href="([^"#])', written)) <= {"d"}  # images inside are data


def test_tables_left_by_an_earlier_report_go(database: Path, tmp_path: Path) -> None:
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "old.csv").write_text("stale")
    (tmp_path / "tables" / "notes.txt").write_text("the reader's own")
    frames = opened(database, "reviews")
    pieces = [assemble(section.get("record"), frames)]
    build.write(tmp_path, "reviews", "", pieces)
    assert not (tmp_path / "tables" / "old.csv").exists()
    assert (tmp_path / "tables" / "notes.txt").exists()


def test_an_unknown_study_and_a_missing_database_are_usage_errors(database: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        build.build(database, "nothing", tmp_path)
    with pytest.raises(UsageError):
        build.build(tmp_path / "absent.db", "reviews", tmp_path)


def test_a_folder_that_cannot_be_written_is_a_storage_error(database: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="cannot be written"):
        build.build(database, "reviews", tmp_path / "file")


def test_the_record_is_only_read(database: Path, built: build.Built) -> None:
    before = database.read_bytes()
    frames = opened(database, "reviews")
    for each in section.sections():
        assemble(each, frames)
    assert database.read_bytes() == before


# --- what goes wrong ---------------------------------------------------------------------------------------


def book_of(*sources: str) -> nbformat.NotebookNode:
    return v4.new_notebook(cells=[v4.new_code_cell(source, id=f"c{n}") for n, source in enumerate(sources)])


def test_a_dead_kernel_leaves_the_notebook_as_far_as_it_came(tmp_path: Path) -> None:
    book = book_of("print('before')", "import os; os._exit(1)", "print('after')")
    failures = execute(book, "results.db", tmp_path)
    assert failures == ["the notebook's kernel died"]
    assert book.cells[0].outputs[0].text == "before\n"
    assert "**Stopped here:** the notebook's kernel died" in book.cells[1].source
    nbformat.validate(book)


def test_a_cell_that_hangs_is_stopped_and_named(tmp_path: Path) -> None:
    book = book_of("print('before')", "import time; time.sleep(600)")
    assert execute(book, "results.db", tmp_path, cell_seconds=2) == ["a cell of the notebook ran longer than 2 s"]


def test_a_failing_cell_is_named_and_the_next_ones_run(tmp_path: Path) -> None:
    book = book_of("print('before')", "1 / 0", "print('after')")
    assert execute(book, "results.db", tmp_path) == ["notebook cell '1 / 0': ZeroDivisionError: division by zero"]
    assert book.cells[2].outputs[0].text == "after\n"


def test_a_server_is_named_by_the_environment_and_no_password_is_written(tmp_path: Path) -> None:
    url = "postgresql+psycopg://me:secret@host/db"
    book = of_sections.make("s", url, tmp_path, ())
    assert "secret" not in json.dumps(book) and "HARNESS_DB" in book.cells[1].source


@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_study_name_in_a_cell_is_a_plain_literal(payload: str, tmp_path: Path) -> None:
    source = of_sections.make(payload, "results.db", tmp_path, ()).cells[1].source
    compile(source, "cell", "exec")
    call = source.splitlines()[-1]
    assert call.startswith("report = interactive.open_report(") and call.endswith(")")
    assert len(source.splitlines()) == 3


# --- hostile content, all the way ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study whose name, labels, model and messages are payloads."""
    folder = tmp_path_factory.mktemp("hostile")
    path = report_study.make(
        folder / "results.db",
        name=PAYLOADS[0],
        trials=6,
        states={1: "failed", 2: "failed"},
        labels=[payload for payload in PAYLOADS if payload][:30],
        model=PAYLOADS[2],
        message="".join(PAYLOADS[:12]),
        text=PAYLOADS[1],
    )
    frames = opened(path, PAYLOADS[0])
    pieces = [assemble(each, frames) for each in section.sections()]
    assert [piece.failure for piece in pieces] == [""] * len(pieces)
    build.write(folder / "out", PAYLOADS[0], PAYLOADS[3], pieces)
    return folder / "out"


def test_hostile_names_stay_text_on_the_page(hostile: Path) -> None:
    html = (hostile / "report.html").read_text()
    assert html.count("<svg") == html.count('<div class="panel"') > 0
    parsed = Page(html.replace(f"<script>{page.script()}</script>", ""))
    assert parsed.open == [] and not parsed.tags & {"script", "iframe", "a:x", "b", "base"}
    assert not [name for _, name, _ in parsed.found if name.startswith("on")]
    assert not [
        value for _, name, value in parsed.found if name in ("src", "href") and not value.startswith(("data:", "#"))
    ]


def test_hostile_names_stay_text_in_figures(hostile: Path) -> None:
    for path in (hostile / "figures").glob("*.svg"):
        assert "<script" not in path.read_text() and "onerror" not in re.sub(
            "<!--.*?-->", "", path.read_text(), flags=re.S
        )


@pytest.mark.browser
def test_a_browser_runs_nothing_of_a_hostile_report(hostile: Path, tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium here")
    arguments = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}", "--dump-dom"]
    done = subprocess.run(
        [browser, *arguments, f"file://{hostile / 'report.html'}"], capture_output=True, text=True, timeout=120
    )
    assert "<title>owned" not in done.stdout and "<h1>" in done.stdout


def test_a_hostile_study_executes_nothing_in_the_notebook_page(hostile: Path) -> None:
    frames = opened(hostile.parent / "results.db", PAYLOADS[0])
    for each in section.sections():
        parsed = Page(page.fragment(assemble(each, frames)))
        assert not parsed.tags & {"script", "img", "svg", "iframe", "a", "style"}

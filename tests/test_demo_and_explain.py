"""The page on which a kept model answers, in a real browser, and explanations from command to report."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import browser
import pytest
from kept_studies import LABELS, kept_studies
from nights import Night, end

from harness.deadline import Stop
from harness.demo import serve
from harness.errors import UnavailableError
from harness.predictor import Predictor, choose
from harness.report.pieces import Piece, assemble
from harness.report.section import get
from harness.report.study_frames import opened

HOSTILE = "<script>window.hit = 1</script><img src=x onerror='window.hit = 1'> ${1+1} {{7*7}} &amp; w1"
PRIVATE = LABELS.replace("study: labels", "study: private").replace("epochs: 2", "epochs: 1") + "store_texts: false\n"

needs_page = pytest.mark.skipif(
    find_spec("gradio") is None or browser.BROWSER is None,
    reason="THE DEMO IS NOT TESTED: it needs Gradio (extra dev) and a Chromium on the PATH",
)


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Night:
    return kept_studies(tmp_path_factory.mktemp("explaining"))


def section_of(night: Night, study: str, texts: bool = True) -> Piece:
    frames = opened(night.db, study, texts)
    try:
        return assemble(get("attributions"), frames)
    finally:
        frames.close()


def rows_of(night: Night, study: str) -> list[Any]:
    return night.rows(
        "SELECT a.* FROM harness_attribution a JOIN harness_trial t ON t.id = a.trial_id "
        "JOIN harness_study s ON s.id = t.study_id WHERE s.name = ?",
        study,
    )


# --- explanations ---------------------------------------------------------------------------------------


def test_explanations_are_stored_once_and_drawn_by_the_report(night: Night) -> None:
    assert section_of(night, "labels").empty
    code, output = night.harness("explain", "labels")
    assert code == 0, output
    stored = rows_of(night, "labels")
    assert re.search(rf"stored {len(stored)} attributions of trial 0", output) and len(stored) >= 15
    code, output = night.harness("explain", "labels:0", "--example", "0", "--example", "0")
    assert code == 0, output
    again = rows_of(night, "labels")
    assert set(stored) <= set(again)  # word for word as they were
    code, output = night.harness("explain", "labels", "--example", "0")
    assert code == 0 and "explained before and left as they are: example 0" in output
    assert rows_of(night, "labels") == again

    piece = section_of(night, "labels")
    assert not piece.failure
    findings = " ".join(piece.content.findings)
    assert "explained by integrated gradients" in findings and "Completeness" in findings
    ((table, _),) = piece.tables
    assert len(table.frame) == len(again) and table.frame["missed_share"].max() < 0.05
    marks = [mark for text in piece.content.shadings[0].texts for _, line in text.lines for mark in line]
    assert {mark.strength > 0 for mark in marks if mark.strength} == {True, False}


def test_a_report_without_texts_tells_the_numbers_alone(night: Night) -> None:
    code, output = night.harness("explain", "questions", "--example", "3", "--method", "attention-rollout")
    assert code == 0, output
    piece = section_of(night, "questions", texts=False)
    ((table, _),) = piece.tables
    assert piece.content.findings and not piece.content.shadings
    assert not {"answer", "right answer", "words that did most"} & set(table.frame.columns)
    shown = section_of(night, "questions")
    labels = [label for text in shown.content.shadings[0].texts for label, _ in text.lines]
    assert labels[0].startswith("start") and labels[0].endswith("of the answer: question")


def test_texts_that_may_not_be_stored_are_not_explained_into_the_record(night: Night) -> None:
    (night.folder / "private.yaml").write_text(PRIVATE)
    assert night.harness("run", "private.yaml")[0] == 0
    code, output = night.harness("explain", "private", "--example", "0")
    assert code == 2 and "store_texts: false" in output
    code, output = night.harness("explain", "private", "--text", "a lovely phone")
    assert code == 0 and "lovely" in output
    assert rows_of(night, "private") == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["labels", "--example", "60"], "has validation examples 0 to 59"),
        (["labels", "--example", "0", "--text", "x"], "one of them"),
        (["labels:9"], "has no trial 9"),
        (["questions", "--text", "x"], 'takes --question "..." --context "..."'),
    ],
)
def test_a_mistake_is_told_in_words(night: Night, arguments: list[str], words: str) -> None:
    code, output = night.harness("explain", *arguments)
    assert code == 2, output
    assert words in " ".join(output.split()) and "Traceback" not in output


# --- the page -------------------------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def page(night: Night, tmp_path: Path) -> Iterator[Callable[[str], browser.Chromium]]:
    """Opens the demo of a study in the browser; both end with the test."""
    started: list[subprocess.Popen[str]] = []
    tabs: list[browser.Chromium] = []

    def show(study: str) -> browser.Chromium:
        port = free_port()
        process = night.start("demo", study, "--port", str(port))
        started.append(process)
        assert process.stdout is not None
        told = []
        for line in iter(process.stdout.readline, ""):
            told.append(line)
            if "http://" in line:
                break
        else:
            raise AssertionError("".join(told))
        tabs.append(browser.Chromium(tmp_path / study))
        tabs[0].open(f"http://127.0.0.1:{port}")
        return tabs[0]

    yield show
    for tab in tabs:
        tab.close()
    assert [end(process, signal.SIGINT) for process in started] == [0]  # Ctrl-C is how a page ends


def checked(tab: browser.Chromium) -> None:
    """Nothing of a text ran, nothing was asked of another machine."""
    assert tab.run("window.hit") is None and tab.errors == []
    outside = [url for url in tab.requests if not url.startswith(("http://127.0.0.1:", "data:", "blob:"))]
    assert outside == []


@needs_page
@pytest.mark.browser
def test_a_text_is_typed_submitted_and_labelled(page: Callable[[str], browser.Chromium]) -> None:
    tab = page("labels")
    tab.type("#text textarea", HOSTILE)
    tab.click("#ask")
    tab.wait("!!document.querySelector('#answer [role=status]')")
    told = tab.text("#answer")
    shares = [float(share) for share in re.findall(r"([\d.]+)%", told)]
    assert "positive" in told and "negative" in told and "tokens were not read" in told
    assert shares[0] == max(shares) and sum(shares[1:]) == pytest.approx(100, abs=0.2)
    tab.click("#explain")
    tab.wait("!!document.querySelector('#words [role=status]')")
    assert "<script>" in tab.text("#words")
    assert tab.run("document.querySelectorAll('#words [class^=for-], #words [class^=against-]').length") > 0
    checked(tab)


@needs_page
@pytest.mark.browser
def test_a_question_is_typed_submitted_and_answered(page: Callable[[str], browser.Chromium]) -> None:
    tab = page("questions")
    tab.type("#question textarea, #question input", "w1")
    tab.click("#ask")
    tab.wait("!!document.querySelector('#answer [role=alert]')")
    assert "Context is empty" in tab.text("#answer")
    context = f"w0 w1 w2 w3 {HOSTILE}"
    tab.type("#context textarea", context)
    tab.click("#ask")
    tab.wait("!!document.querySelector('#answer [role=status]')")
    told = tab.text("#answer")
    assert "next best" in told and "there is no answer" in told and "<script>" in told
    answer, marked = tab.text("#answer .answer"), tab.run("document.querySelector('#answer mark')?.innerText")
    assert marked == answer if marked else answer == "(no answer)"
    tab.click("#explain")
    tab.wait("!!document.querySelector('#words [role=status]')")
    words = tab.text("#words")  # of one window of the context
    assert "of the answer: context" in words and re.search("<script>|</script>|<img", words)
    checked(tab)


def test_a_port_that_is_taken_is_told(night: Night) -> None:
    pytest.importorskip("gradio")
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        code, output = night.harness("demo", "labels", "--port", str(other.getsockname()[1]))
    assert code == 69 and "name another: --port" in output


def test_without_gradio_the_remedy_is_told(night: Night, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    chosen = choose(str(night.db), "labels")
    with Predictor(chosen.model, night.folder / "logs", Stop()) as predictor:
        with pytest.raises(UnavailableError, match=r"pip install '\.\[demo\]'"):
            serve(chosen, predictor, free_port(), Stop(), print)

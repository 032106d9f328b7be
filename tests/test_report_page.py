"""The page in a browser: sorted, filtered, pointed at, compared, in the dark, on paper and by keyboard."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
import time
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from browser import Chromium, tab
from large_study import fabricate

from harness.report import page, section, shades
from harness.report.charts import lines
from harness.report.pieces import Piece, assemble, piece
from harness.report.section import Content, Curves, Panel, Shading, get
from harness.report.study_frames import StudyFrames, opened

TRIALS = 200
ROWS = "[...document.querySelectorAll('#table-trials tbody tr')]"
CELLS = f"{ROWS}.map(row => [...row.querySelectorAll('td')].map(cell => cell.textContent))"


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> StudyFrames:
    return opened(fabricate(tmp_path_factory.mktemp("large") / "results.db", TRIALS), "large")


class Timed(NamedTuple):
    """A page, and the processor seconds that it took."""

    html: str
    seconds: float


@pytest.fixture(scope="module")
def timed(study: StudyFrames) -> Timed:
    """The page of a study with 200 trials, whole."""
    began = time.process_time()
    pieces = [assemble(each, study) for each in section.sections()]
    assert [each.failure for each in pieces if each.failure] == []
    html = page.render("large", "Which of them is best?", [each for each in pieces if not each.empty])
    return Timed(html, time.process_time() - began)


@pytest.fixture(scope="module")
def html(timed: Timed) -> str:
    return timed.html


@pytest.fixture(scope="module")
def few(study: StudyFrames) -> list[Piece]:
    """Sections with all that a browser can be asked about: words, curves, figures, tables."""
    return [assemble(get(name), study) for name in ("overview", "trials", "search")]


@pytest.fixture(scope="module")
def trials(few: list[Piece]) -> Piece:
    return few[1]


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with tab(tmp_path_factory.mktemp("profile"), "what the page can do") as found:
        yield found


@pytest.fixture
def shown(chromium: Chromium, trials: Piece, tmp_path: Path) -> Chromium:
    """A browser on a page with the trials alone, as new."""
    return at(chromium, tmp_path, page.render("large", "", [trials]))


def at(browser: Chromium, folder: Path, document: str) -> Chromium:
    (folder / "report.html").write_text(document, encoding="utf-8")
    browser.errors.clear()
    browser.seen_as()
    browser.open((folder / "report.html").as_uri())
    assert browser.errors == []
    return browser


# --- without a browser ----------------------------------------------------------------------------------------


def test_a_page_of_two_hundred_trials_is_one_file_below_five_megabytes(html: str) -> None:
    assert len(html.encode()) < 5_000_000
    assert not re.findall(r'(?:src|href)="(?!data:image/|#)', html)


def test_a_page_of_two_hundred_trials_is_drawn_within_seconds(timed: Timed) -> None:
    assert timed.seconds < 30


def test_without_the_script_every_trial_and_every_curve_is_there_and_no_control(html: str, study: StudyFrames) -> None:
    plainly = html.replace(f"<script>{page.script()}</script>", "")
    assert plainly.count("<script") == 0
    assert not re.search(r"<(button|input|select)\b|\shidden\b", plainly)
    table = plainly[plainly.index('id="table-trials"') :].split("</table>")[0]
    assert table.count("<tr>") == 1 + TRIALS
    drawn = study.losses.dropna(subset=["validation_loss"])["trial"].nunique()
    assert plainly.count('<path class="line') == 2 * drawn  # validation and training loss


def test_the_script_sets_no_markup_and_asks_for_nothing() -> None:
    banned = "innerHTML outerHTML insertAdjacentHTML document.write eval( Function( fetch( XMLHttpRequest import("
    assert [word for word in banned.split() if word in page.script()] == []


def test_a_curve_stands_where_its_values_are() -> None:
    found = lines.drawn(Panel("loss", {3: [(1, 0.5), (2, 0.25)], 4: [(2, 0.5)]}, 2))
    dot, line = found.lines  # the first trial is drawn last, on top
    assert (line.trial, line.points, dot.points) == (3, "1:0.50 2:0.25", "2:0.50")
    first, second = (tuple(map(float, each.split())) for each in line.path[1:].split("L"))
    assert (first[0], second[0]) == (lines.LEFT, lines.WIDTH - lines.RIGHT)
    low, high = found.domain[2:]
    room = lines.HEIGHT - lines.TOP - lines.BOTTOM
    assert first[1] == pytest.approx(lines.TOP + room * (high - 0.5) / (high - low), abs=0.06)
    assert second[1] > first[1]  # a lower loss stands lower
    assert dot.path.endswith("h0")


def test_one_exploding_loss_does_not_flatten_the_others() -> None:
    values = {trial: [(1, 0.5 + trial / 100), (2, 0.4 + trial / 100)] for trial in range(20)}
    top = lines.drawn(Panel("loss", {**values, 99: [(1, 0.5), (2, 1e6)]}, 4)).domain[3]
    assert top < 2


# --- tables ---------------------------------------------------------------------------------------------------


@pytest.mark.browser
def test_a_heading_sorts_by_its_numbers_both_ways_and_what_is_missing_stays_last(shown: Chromium) -> None:
    head = "[...document.querySelectorAll('#table-trials thead th')].map(cell => cell.textContent)"
    column = shown.run(head).index("learning_rate") - 1  # the boxes have a column of their own
    losses = shown.run(head).index("validation loss") - 1
    for descending in (False, True):
        shown.run(f"document.querySelectorAll('#table-trials thead button')[{column}].click()")
        found = [float(row[column]) for row in shown.run(CELLS)]
        assert found == sorted(found, reverse=descending) and len(found) == TRIALS
        order = "descending" if descending else "ascending"
        assert shown.run(f"document.querySelectorAll('#table-trials thead th')[{column + 1}].ariaSort") == order
    for _ in range(2):
        shown.run(f"document.querySelectorAll('#table-trials thead button')[{losses}].click()")
        states = [row[1] for row in shown.run(CELLS)]
        missing = [row[losses] == "–" for row in shown.run(CELLS)]
        assert missing == sorted(missing) and "complete" in states


@pytest.mark.browser
def test_a_filter_takes_words_and_conditions_and_says_how_many_rows_are_left(shown: Chromium) -> None:
    everything = shown.run(CELLS)
    head = shown.run("[...document.querySelectorAll('#table-trials thead th')].map(cell => cell.textContent)")[1:]
    freeze, rate = head.index("freeze"), head.index("learning_rate")
    wanted = [
        row[0] for row in everything if row[freeze] == "head" and float(row[rate]) < 1e-4 and "healthy" in row[-1]
    ]
    shown.type("#table-trials input[type=search]", "freeze=head learning_rate<1e-4 healthy")
    visible = f"{ROWS}.filter(row => row.offsetParent).map(row => row.querySelector('td').textContent)"
    assert shown.run(visible) == wanted and 0 < len(wanted) < TRIALS
    assert shown.text("#table-trials [role=status]") == f"{len(wanted)} of {TRIALS} rows"
    shown.type("#table-trials input[type=search]", "no such word")
    assert shown.run(visible) == []
    shown.seen_as(media="print")  # on paper nothing is left out
    assert len(shown.run(visible)) == TRIALS


# --- curves ---------------------------------------------------------------------------------------------------


def value_of(study: StudyFrames, trial: int, epoch: int, column: str = "validation_loss") -> str:
    rows = study.losses[(study.losses["trial"] == trial) & (study.losses["epoch"] == epoch)]
    return f"{float(rows[column].iloc[0]):.4f}"


@pytest.mark.browser
def test_pointing_at_a_curve_tells_its_trial_epoch_and_value(shown: Chromium, study: StudyFrames) -> None:
    place = """(() => {
        const svg = document.querySelector('.panel svg'), line = svg.querySelector('.line.best')
        svg.scrollIntoView({block: 'center'})
        const box = svg.getBoundingClientRect(), scale = box.width / svg.viewBox.baseVal.width
        const [x, y] = line.getAttribute('d').split('L').at(-1).split(' ').map(Number)
        return [box.x + x * scale, box.y + y * scale, line.dataset.trial] })()"""
    x, y, trial = shown.run(place)
    shown.move(x - 1, y + 1)
    tip = shown.text(".panel .tip")
    assert tip.startswith(f"epoch 3: {value_of(study, int(trial), 3)}") and f"{trial}: " in tip
    shown.move(2, 2)
    assert shown.run("document.querySelector('.panel .tip').hidden")


@pytest.mark.browser
def test_the_keyboard_reads_every_value_and_chooses(shown: Chromium, study: StudyFrames, trials: Piece) -> None:
    ranked = list(trials.content.curves[0].trials)
    shown.run("document.querySelector('.panel').focus()")
    status = "document.querySelector('figure.curves [role=status]').textContent"

    def said(trial: int, epoch: int) -> bool:
        return bool(shown.run(status).endswith(f"epoch {epoch}: {value_of(study, trial, epoch)}"))

    assert said(ranked[0], 3)
    shown.press("ArrowLeft")
    assert said(ranked[0], 2)
    shown.press("ArrowDown")
    assert said(ranked[1], 2)
    shown.press("Enter")
    chosen = "[...document.querySelectorAll('.panel .chosen')].map(line => Number(line.dataset.trial))"
    assert shown.run(chosen) == [ranked[1]] * 2  # in both panels
    assert shown.run(f"{ROWS}.find(row => row.querySelector('input').checked).cells[1].textContent") == str(ranked[1])


@pytest.mark.browser
def test_chosen_trials_stand_side_by_side_with_the_command_that_compares_them(shown: Chromium) -> None:
    for row in (0, 2):
        shown.click(f"#table-trials tbody tr:nth-child({row + 1}) input")
    wanted = [shown.run(CELLS)[row] for row in (0, 2)]
    assert shown.text(".compare code") == f"harness compare large:{wanted[0][0]} large:{wanted[1][0]}"
    rows = shown.run(
        "[...document.querySelectorAll('.compare tbody tr')].map(r => [...r.cells].map(c => c.textContent))"
    )
    assert [[row[1], row[2]] for row in rows] == [list(pair) for pair in zip(*wanted, strict=True)][1:]
    differs = shown.run("[...document.querySelectorAll('.compare tr.differs')].length")
    assert differs == sum(row[1] != row[2] for row in rows) > 0
    hues = shown.run("[...document.querySelectorAll('.panel .chosen')].map(e => getComputedStyle(e).stroke)")
    dashes = shown.run("[...document.querySelectorAll('.panel .chosen')].map(e => getComputedStyle(e).strokeDasharray)")
    assert len(set(hues)) == len(set(dashes)) == 2  # told apart by colour and without it
    swatches = shown.run("[...document.querySelectorAll('.swatch path')].map(e => getComputedStyle(e).stroke)")
    assert set(hues) == set(swatches)
    shown.run(f"{ROWS}.slice(3, 9).forEach(row => row.querySelector('input').click())")
    assert shown.run(f"{ROWS}.filter(row => row.querySelector('input').checked).length") == 6
    assert "6 trials at most" in shown.text("figure.curves [role=status]")
    shown.run("[...document.querySelectorAll('.compare button')].at(-1).click()")
    assert shown.run("document.querySelectorAll('.chosen').length") == 0


@pytest.mark.browser
def test_the_command_survives_a_name_that_a_shell_would_read_otherwise(
    chromium: Chromium, trials: Piece, tmp_path: Path
) -> None:
    name = "it's; $(rm) `x`"
    curves, panels = trials.curves[0]
    odd = dataclasses.replace(trials, curves=[(dataclasses.replace(curves, study=name), panels)])
    shown = at(chromium, tmp_path, page.render("x", "", [odd]))
    shown.run(f"{ROWS}.slice(0, 2).forEach(row => row.querySelector('input').click())")
    first, second = (row[0] for row in shown.run(CELLS)[:2])
    expected = ["harness", "compare", f"{name}:{first}", f"{name}:{second}"]
    assert shlex.split(shown.text(".compare code")) == expected


# --- colours, paper, readers of all kinds ---------------------------------------------------------------------


@pytest.mark.browser
def test_dark_and_light_follow_the_system_until_they_are_chosen_and_are_kept(shown: Chromium) -> None:
    back = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)[0]"
    shown.seen_as(dark=True)
    assert shown.run(back) < 60
    choose = "select => (select.value = '{}', select.dispatchEvent(new Event('change')))"
    shown.run(f"({choose.format('light')})(document.querySelector('nav select'))")
    assert shown.run(back) > 200
    shown.reload()
    assert shown.run(back) > 200 and shown.run("document.querySelector('nav select').value") == "light"
    shown.run(f"({choose.format('')})(document.querySelector('nav select'))")
    assert shown.run(back) < 60


@pytest.mark.browser
def test_on_paper_the_page_is_light_whole_and_without_controls(
    chromium: Chromium, few: list[Piece], tmp_path: Path
) -> None:
    shown = at(chromium, tmp_path, page.render("large", "", few))
    shown.run("document.documentElement.dataset.colours = 'dark'")
    shown.seen_as(media="print", dark=True)
    assert (
        shown.run("[...document.querySelectorAll('nav, .tools, .row, .pick')].filter(e => e.offsetParent).length") == 0
    )
    cut = "[...document.querySelectorAll('.scroll, .paper')].filter(e => e.scrollHeight > e.clientHeight + 1).length"
    assert shown.run(cut) == 0
    style = "getComputedStyle(document.querySelector({}))"
    assert shown.run(f"{style.format(json.dumps('.paper img'))}.filter") == "none"
    assert shown.run(f"{style.format(json.dumps('h1'))}.color") == "rgb(28, 32, 36)"
    assert shown.run("[...document.querySelectorAll('img')].every(e => e.getBoundingClientRect().height < 960)")


def everything() -> Piece:
    """A section with everything that a section can hold, foreign words included."""
    marks = [shades.Mark("good", step) for step in range(-5, 6)]
    texts = [shades.Marked("an example", [("for negative", marks)])]
    curves = Curves("few", "x", "none", {1: "1: lr 2e-5"}, [Panel("loss", {1: [(1, 0.5), (2, 0.4)]}, 4)], "Curves.")
    groups = [("What to run next", ["Confirm. → harness confirm x --top 2"]), ("What failed and why", ["1 oom."])]
    content = Content(["Found."], [("trials", "2")], notes=["A note."], shadings=[Shading("s", texts, "Words.")])
    return piece("all", "All", dataclasses.replace(content, groups=groups, curves=[curves]))


@pytest.mark.browser
@pytest.mark.timeout(300)
def test_axe_finds_nothing_serious_in_light_or_dark(chromium: Chromium, few: list[Piece], tmp_path: Path) -> None:
    axe = (resources.files("axe_core_python") / "axe.min.js").read_text(encoding="utf-8")
    small = [everything(), Piece("failed", "Failed", failure="ValueError: no")]
    for built in (small, few):
        document = re.sub(r"(?s)(<tr>.*?</tr>\n){30,}", _first_rows, page.render("x", "A question?", built))
        shown = at(chromium, tmp_path, document)
        shown.run("document.querySelectorAll('#table-trials tr:nth-child(-n+3) input').forEach(box => box.click())")
        shown.run(f"{axe};1")
        for dark in (False, True):
            shown.seen_as(dark=dark)
            found: list[dict[str, Any]] = shown.run("axe.run().then(found => found.violations)")
            words = [(each["id"], each["nodes"][0]["html"][:200]) for each in found if _grave(each)]
            assert words == [], f"dark: {dark}"


def _grave(violation: dict[str, Any]) -> bool:
    return violation["impact"] in ("serious", "critical")


def _first_rows(found: re.Match[str]) -> str:
    """Of hundreds of rows alike axe needs to look at a few."""
    return "".join(f"{row}</tr>\n" for row in found[0].split("</tr>\n")[:12])


@pytest.mark.browser
def test_a_page_that_axe_should_blame_is_blamed(chromium: Chromium, tmp_path: Path) -> None:
    axe = (resources.files("axe_core_python") / "axe.min.js").read_text(encoding="utf-8")
    shown = at(chromium, tmp_path, "<!DOCTYPE html><html lang=en><title>x</title><body><img src=x><input>")
    shown.run(f"{axe};1")
    assert any(_grave(each) for each in shown.run("axe.run().then(found => found.violations)"))

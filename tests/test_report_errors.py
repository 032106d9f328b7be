"""The section on errors of a classifier counts, names and draws them at the epoch that the objective chose."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nbformat
import numpy as np
import pytest
import report_study
from payloads import PAYLOADS, without_script
from report_study import OBJECTIVE
from test_report_build import Page
from typer.testing import CliRunner

from harness import cli
from harness.configuration import TrialConfig
from harness.folds import held_out
from harness.records import TrialOutcome
from harness.report import build, figures, section, tables
from harness.report.charts import confusion, reliability
from harness.report.excerpts import around, excerpt
from harness.report.pieces import Piece, assemble
from harness.report.study_frames import StudyFrames, opened
from harness.results.store import Store

Row = tuple[int, str, str, str | None]
SECRET = "SECRETTEXT"
CONTEXT = "In 1066 William the Conqueror crossed the Channel and won at Hastings."


def recorded(
    path: Path,
    rows: Sequence[Row],
    outputs: Mapping[str, np.ndarray],
    labels: Sequence[str] = ("negative", "positive"),
    task: str = "sequence-classification",
    folds: int | None = None,
    fold: int | None = None,
) -> Path:
    """A study of one trial of two epochs, whose best is the second, with these outputs at it and none at the first."""
    file = report_study.study_file("errors")
    spec = {"study": "errors", "task": task, "seed": 42, "data": {"path": "builtin:reviews", "folds": folds}}
    file.spec = SimpleNamespace(**{**vars(file.spec), "task": task, "model_dump": lambda mode: spec})
    split = "validation" if fold is None else "train"
    examples = {"train": [], "validation": [], split: rows}
    data = dataclasses.replace(report_study.prepared(), label_names=tuple(labels), positive=None, examples=examples)
    with Store.open(path) as store:
        study = store.create_study(file)
        store.record_prepared(study, data)
        environment = store.record_environment({"python": "3.12"})
        with store.hold(study):
            config = TrialConfig(model="builtin:tiny", epochs=2)
            trial = store.add_trial(study, config, 42, 0, fold, "sampled")
            store.start_trial(trial.id, "local-0", environment)
            store.record_facts(trial.id, report_study.facts(config))
            for epoch, loss in ((1, 0.6), (2, 0.4)):
                record = report_study.epoch(epoch, loss, loss, config)
                at_best: dict[str, Any] = dict(outputs) if epoch == 2 else {}
                store.record_epoch(trial.id, dataclasses.replace(record, outputs=at_best))
            store.finish_trial(trial.id, TrialOutcome("complete", seconds={"total": 2.0}), (OBJECTIVE,))
    return path


def logits_of(gold: Sequence[int], wrong: Sequence[int], classes: int = 2, sure: float = 2.0) -> np.ndarray:
    """Logits `sure` for the right class, but for the next one where `wrong`."""
    found = np.zeros((len(gold), classes), np.float32)
    for row, label in enumerate(gold):
        found[row, (label + 1) % classes if row in wrong else label] = sure
    return found


def reviews(path: Path, text: str | None = None, wrong: Sequence[int] = (0, 1, 2, 4, 5), stored: bool = True) -> Path:
    """100 reviews in turn negative and positive, text n being n + 1 words long; five are wrong."""
    names, gold = ("negative", "positive"), [row % 2 for row in range(100)]
    texts = [text or " ".join(["word"] * (row + 1)) for row in range(100)]
    rows = [(row + 1000, names[label], "", texts[row] if stored else None) for row, label in enumerate(gold)]
    return recorded(path, rows, {"logits": logits_of(gold, wrong)})


def questions(path: Path, context: str = CONTEXT, stored: bool = True) -> Path:
    """20 questions who won, of which 12 are answered exactly, 5 too short and 3 elsewhere with the right one next."""
    right = (8.0, 29.0)
    spans = np.full((20, 5, 4), np.nan, np.float32)
    for row in range(20):
        given = right if row < 12 else (8.0, 15.0) if row < 17 else (0.0, 7.0)
        spans[row, 0] = (*given, 5.0, 0.95)
        spans[row, 1] = (*right, 1.0, 0.02)
    text = f"Who won {SECRET}?\n{context}" if stored else None
    label = json.dumps([[8, context[8:29]]])
    rows = [(row, label, "", text) for row in range(20)]
    outputs = {"spans": spans, "losses": np.ones(20, np.float32)}
    return recorded(path, rows, outputs, (), "question-answering")


def pieces_of(path: Path, texts: bool = True) -> dict[str, Piece]:
    study = opened(path, "errors", texts)
    found = {name: assemble(section.get(name), study) for name in ("errors", "calibration")}
    assert [piece.failure for piece in found.values()] == ["", ""]
    return found


def said(piece: Piece) -> str:
    return "\n".join(piece.content.findings)


def frames_of(piece: Piece) -> dict[str, Any]:
    return {table.name: table.frame for table, _ in piece.tables}


@pytest.fixture(scope="module")
def classified(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Piece]:
    return pieces_of(reviews(tmp_path_factory.mktemp("labels") / "results.db"))


@pytest.fixture(scope="module")
def answered(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Piece]:
    return pieces_of(questions(tmp_path_factory.mktemp("spans") / "results.db"))


# --- classification ---------------------------------------------------------------------------------------


def test_errors_are_counted_with_their_interval_at_the_epoch_of_the_objective(classified: dict[str, Piece]) -> None:
    first = classified["errors"].content.findings[0]
    assert first == "5 of 100 (5.0%, 95% interval 2.2 to 11.2) validation examples are wrong by trial 0 at epoch 2."


def test_the_most_frequent_confusion_is_named_with_both_its_shares(classified: dict[str, Piece]) -> None:
    assert "negative taken for positive: 3 of 5 (60.0%" in said(classified["errors"])
    assert "and 3 of 50 (6.0%" in said(classified["errors"])


def test_short_texts_with_the_errors_are_found_to_be_shorter(classified: dict[str, Piece]) -> None:
    assert "Texts with errors tend to be shorter than the others (median 14 against 264 characters" in said(
        classified["errors"]
    )
    lengths = frames_of(classified["errors"])["errors-kinds"]
    assert lengths["wrong"].tolist() == [5, 0, 0, 0, 0] and lengths["examples"].tolist() == [20] * 5


def test_tables_name_classes_texts_and_rows_of_the_source(classified: dict[str, Piece]) -> None:
    table = frames_of(classified["errors"])["errors-confident"]
    assert table[["source_row", "gold", "predicted", "text"]].values.tolist()[:2] == [
        [1000, "negative", "positive", "word"],
        [1001, "positive", "negative", "word word"],
    ]
    assert table["probability"][0] == pytest.approx(1 / (1 + np.exp(-2)))
    assert frames_of(classified["errors"])["errors-near"]["margin"].iloc[0] == pytest.approx(np.tanh(1))


def test_the_confusion_matrix_writes_counts_and_shares_of_the_row(classified: dict[str, Piece]) -> None:
    drawn = {each.name: each.figure for each in classified["errors"].drawn}
    texts = [text.get_text() for text in drawn["errors-confusion"].axes[0].texts]
    assert texts == ["47\n94%", "3\n6%", "2\n4%", "48\n96%"]


def test_calibration_of_one_confidence_is_its_distance_from_the_share_right(classified: dict[str, Piece]) -> None:
    confidence = 100 / (1 + np.exp(-2))  # 88.1%, and 95% are right
    assert f"mean probability of {confidence:.1f}%, and 95.0% are right: a difference of −6.9 points" in said(
        classified["calibration"]
    )
    assert "not sure enough of itself" in said(classified["calibration"])
    measures = frames_of(classified["calibration"])["calibration"].set_index("measure")["result"]
    assert measures["ECE, bins of one width (points)"] == pytest.approx(95 - confidence)
    assert measures["temperature fitted on these examples"] == pytest.approx(2 / np.log(19))
    assert measures["ECE at that temperature (points)"] == pytest.approx(0, abs=1e-6)


def test_a_class_that_is_a_number_is_called_a_class(tmp_path: Path) -> None:
    rows = [(row, str(row % 3), "", "text") for row in range(60)]
    logits = logits_of([row % 3 for row in range(60)], range(6), classes=3)
    piece = pieces_of(recorded(tmp_path / "r.db", rows, {"logits": logits}, ("0", "1", "2")))["errors"]
    assert "class 0 taken for class 1" in said(piece) and "The right class came second in" in said(piece)


def test_groups_are_compared_and_said_to_overlap(tmp_path: Path) -> None:
    rows = [(row, "negative", "en" if row < 30 else "de", "text") for row in range(60)]
    path = recorded(tmp_path / "r.db", rows, {"logits": logits_of([0] * 60, [*range(12), 40])})
    assert "Of 2 groups en has the largest share of errors, 12 of 30" in said(pieces_of(path)["errors"])
    assert "de the smallest, 1 of 30 (3.3%, 95% interval 0.6 to 16.7); their intervals do not overlap" in said(
        pieces_of(path)["errors"]
    )


def test_a_model_without_errors_is_said_to_have_none(tmp_path: Path) -> None:
    found = pieces_of(reviews(tmp_path / "r.db", wrong=()))
    assert found["errors"].content.findings[0] == "None of 100 validation examples is wrong by trial 0 at epoch 2."
    assert "errors-confident" not in frames_of(found["errors"])
    assert "No temperature" in said(found["calibration"])


def test_examples_without_finite_outputs_are_counted_as_left_out(tmp_path: Path) -> None:
    logits = logits_of([0] * 20, [1])
    logits[:2] = np.nan
    rows = [(row, "negative", "", "text") for row in range(20)]
    found = pieces_of(recorded(tmp_path / "r.db", rows, {"logits": logits}))
    for piece in found.values():
        assert any("2 examples without finite outputs left out" in note for note in piece.content.notes)
    assert "None of 18 validation examples" in said(found["errors"])


def test_a_fold_is_judged_by_the_examples_that_it_holds_out(tmp_path: Path) -> None:
    gold = [row % 2 for row in range(40)]
    mask = held_out(np.array(gold), 1, 4, 42)
    rows = [(row, ("negative", "positive")[label], "", f"text {row}") for row, label in enumerate(gold)]
    logits = logits_of([label for label, out in zip(gold, mask, strict=True) if out], [2])
    piece = pieces_of(recorded(tmp_path / "r.db", rows, {"logits": logits}, folds=4, fold=1))["errors"]
    row = int(np.flatnonzero(mask)[2])
    assert frames_of(piece)["errors-confident"][["source_row", "text"]].values.tolist() == [[row, f"text {row}"]]


def test_without_outputs_that_is_said_instead(tmp_path: Path) -> None:
    rows = [(row, "negative", "", "text") for row in range(20)]
    found = pieces_of(recorded(tmp_path / "r.db", rows, {}))
    assert said(found["errors"]) == "The errors of trial 0 at epoch 2 cannot be told: its outputs are not stored."
    assert "cannot be told: its outputs are not stored" in said(found["calibration"])


def test_a_study_without_a_complete_trial_has_neither_section(tmp_path: Path) -> None:
    path = report_study.make(tmp_path / "r.db", name="errors", trials=2, states={0: "failed", 1: "failed"})
    assert all(piece.empty for piece in pieces_of(path).values())


# --- question answering -----------------------------------------------------------------------------------


def test_wrong_answers_are_counted_by_how_they_miss(answered: dict[str, Piece]) -> None:
    piece = answered["errors"]
    assert piece.content.findings[0].startswith(
        "8 of 20 (40.0%, 95% interval 21.9 to 61.3) questions are not answered exactly by trial 0 at epoch 2: exact "
        "match 60.0%"
    )
    assert "5 of 8 (62.5%, 95% interval 30.6 to 86.3) wrong answers overlap with a reference: 5 too short." in said(
        piece
    )
    assert "3 of 8" in said(piece) and "lie elsewhere in the context" in said(piece)
    assert "An exact answer is among the next four in 8 of 8" in said(piece)
    assert "exact match would be 100.0%" in said(piece)


def test_answers_stand_beside_their_references(answered: dict[str, Piece]) -> None:
    row = frames_of(answered["errors"])["errors-near"].iloc[0]
    assert (row["predicted"], row["references"]) == ("William", "William the Conqueror")
    assert row["question"] == f"Who won {SECRET}?" and row["exact_rank"] == 2 and row["way"] == "too short"
    assert len(frames_of(answered["errors"])["errors-answers"]) == 20


def test_calibration_of_answers_is_against_exact_match(answered: dict[str, Piece]) -> None:
    assert "mean probability of 95.0%, and 60.0% are exactly right: a difference of +35.0 points" in said(
        answered["calibration"]
    )
    measures = frames_of(answered["calibration"])["calibration"].set_index("measure")["result"]
    assert measures["ECE, bins of one width (points)"] == pytest.approx(35, abs=1e-3)
    assert measures["Brier score (0 to 2)"] == pytest.approx(2 * (0.6 * 0.05**2 + 0.4 * 0.95**2), abs=1e-5)


def test_answers_without_stored_texts_say_why_nothing_can_be_told(tmp_path: Path) -> None:
    found = pieces_of(questions(tmp_path / "r.db", stored=False))
    for piece in found.values():
        assert "the texts are not stored (store_texts: false)" in said(piece) and not piece.tables


# --- texts ------------------------------------------------------------------------------------------------


def test_a_classification_without_stored_texts_keeps_all_that_needs_none(tmp_path: Path) -> None:
    piece = pieces_of(reviews(tmp_path / "r.db", stored=False))["errors"]
    assert "text" not in frames_of(piece)["errors-confident"] and "errors-kinds" not in frames_of(piece)
    assert "Texts are not stored (store_texts: false): what needs them is left out." in piece.content.notes
    assert piece.content.findings[0].startswith("5 of 100")


@pytest.mark.parametrize("make", [reviews, questions])
def test_no_text_leaves_the_texts_out_of_every_table(make: Any, tmp_path: Path) -> None:
    marked = {"text": SECRET} if make is reviews else {"context": CONTEXT.replace("Channel", SECRET)}
    path = make(tmp_path / "r.db", **marked)
    with_texts, without = (pieces_of(path, texts) for texts in (True, False))
    for found, there in ((with_texts, True), (without, False)):
        written = "".join(tables.csv(table.frame) for piece in found.values() for table, _ in piece.tables)
        assert (SECRET in written) is there
        assert ("William" in written) is (there and make is questions)
    assert said(with_texts["errors"]) == said(without["errors"])
    assert any("Texts of examples are left out" in note for note in without["errors"].content.notes)


@pytest.mark.slow
@pytest.mark.parametrize("options", [[], ["--no-text"]])
def test_the_command_leaves_texts_out_of_page_notebook_and_tables(options: list[str], tmp_path: Path) -> None:
    path = reviews(tmp_path / "r.db", text=SECRET)
    done = CliRunner().invoke(cli.app, ["report", "errors", "--db", str(path), "--out", str(tmp_path), *options])
    assert done.exit_code == 0, done.output
    found = {file.suffix for file in (tmp_path / "errors").rglob("*.*") if SECRET in file.read_text(errors="replace")}
    assert found == (set() if options else {".html", ".ipynb", ".csv", ".md", ".tex"})
    book = nbformat.read(tmp_path / "errors" / "report.ipynb", as_version=4)
    assert ("texts=False" in book.cells[1].source) is bool(options)


HOSTILE = [*(payload for payload in PAYLOADS if payload.strip()), "العربية | $x$ {{ 7 * 7 }} \u202e<script>\n\r\tעברית"]


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, StudyFrames]:
    """Every text is a payload and every answer is wrong."""
    folder, logits = tmp_path_factory.mktemp("hostile"), logits_of([0] * len(HOSTILE), range(len(HOSTILE)))
    logits += np.arange(len(HOSTILE))[:, None] * np.array([0, 0.01], np.float32)
    rows = [(row, "negative", "", text) for row, text in enumerate(HOSTILE)]
    study = opened(recorded(folder / "r.db", rows, {"logits": logits}), "errors")
    build.write(folder / "out", "errors", "", [assemble(section.get("errors"), study)])
    return folder / "out", study


def test_hostile_texts_stay_text_on_the_page(hostile: tuple[Path, StudyFrames]) -> None:
    html = without_script((hostile[0] / "report.html").read_text())
    parsed = Page(html)
    assert parsed.open == [] and not parsed.tags & {"script", "svg", "iframe", "a:x", "b", "base", "link"}
    assert not [name for _, name, _ in parsed.found if name.startswith("on")]
    assert "&lt;script&gt;" in html and "{{ 7 * 7 }}" in html and "x" * 301 not in html
    assert not set(html) & set(map(chr, (*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x1B, 0x07)))


def test_hostile_texts_keep_tables_in_their_shape(hostile: tuple[Path, StudyFrames]) -> None:
    shown = [line for line in (hostile[0] / "tables" / "errors-confident.md").read_text().splitlines() if "|" in line]
    assert len(shown) == 22 and "<script" not in "".join(shown)
    assert {line.replace("\\|", "").count("|") for line in shown} == {7}
    rows = (hostile[0] / "tables" / "errors-confident.tex").read_text().splitlines()
    assert sum(row.endswith(r" \\") for row in rows) == 21 and not [row for row in rows if row.startswith("\\input")]


def test_hostile_names_of_classes_stay_text(tmp_path: Path) -> None:
    names = [payload for payload in PAYLOADS if payload][:30]
    gold = [row % 30 for row in range(60)]
    rows = [(row, names[label], "", "text") for row, label in enumerate(gold)]
    path = recorded(tmp_path / "r.db", rows, {"logits": logits_of(gold, range(10), classes=30)}, names)
    build.write(tmp_path / "out", "errors", "", list(pieces_of(path).values()))
    parsed = Page(without_script((tmp_path / "out" / "report.html").read_text()))
    assert parsed.open == [] and not parsed.tags & {"script", "svg", "iframe", "b", "base"}
    for file in (tmp_path / "out" / "figures").glob("*.svg"):
        assert "<script" not in file.read_text()


def test_outputs_of_other_classes_than_the_study_has_are_refused(tmp_path: Path) -> None:
    rows = [(row, "negative", "", "text") for row in range(20)]
    path = recorded(tmp_path / "r.db", rows, {"logits": logits_of([0] * 20, [1], classes=3)})
    assert "its outputs of shape (20, 3) are not those of 2 classes" in said(pieces_of(path)["errors"])


def test_an_excerpt_is_one_line_of_letters_in_any_script() -> None:
    assert excerpt("one\ntwo\r\n\tthree \x1b[31m\x07") == "one two three [31m"
    assert excerpt("\u202egnirts\u202c") == "gnirts" and excerpt("😀 日本語 العربية") == "😀 日本語 العربية"
    assert len(excerpt("x" * 5000)) == 300 and excerpt("x" * 301).endswith("x…") and excerpt("x" * 300) == "x" * 300


def test_a_context_is_shown_around_its_answer() -> None:
    text = "a " * 300 + "ANSWER" + " b" * 300
    found = around(text, 600, 606, 40)
    assert "ANSWER" in found and len(found) <= 42 and found.startswith("…") and found.endswith("…")
    assert around("short", 0, 5) == "short" and around("x" * 900, 0, 900, 100) == "x" * 101 + "…"


# --- charts -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("classes", "numbers"), [(2, 4), (6, 36), (20, 400), (50, 0)])
def test_a_matrix_of_any_size_fits_a_page_with_every_class_named(classes: int, numbers: int) -> None:
    names = [f"class number {place}" for place in range(classes)]
    figure = confusion.matrix(np.ones((classes, classes), np.int64), names)
    axes = figure.axes[0]
    assert figure.get_figwidth() <= figures.DOUBLE and len(axes.texts) == numbers
    assert [label.get_text() for label in axes.get_yticklabels()] == names
    figure.draw_without_rendering()
    heights = [label.get_window_extent() for label in axes.get_yticklabels()]
    assert all(not one.overlaps(two) for one, two in zip(heights, heights[1:], strict=False))


def test_of_very_many_classes_those_with_errors_are_drawn(tmp_path: Path) -> None:
    names = [f"c{place:02}" for place in range(70)]
    gold = [row % 70 for row in range(140)]
    rows = [(row, names[label], "", "text") for row, label in enumerate(gold)]
    path = recorded(tmp_path / "r.db", rows, {"logits": logits_of(gold, [3], classes=70)}, names)
    drawn = {each.name: each for each in pieces_of(path)["errors"].drawn}
    ticks = [label.get_text() for label in drawn["errors-confusion"].figure.axes[0].get_yticklabels()]
    assert len(ticks) == 50 and {"c03", "c04"} <= set(ticks) and "50 of 70 classes" in drawn["errors-confusion"].caption
    assert "Of 70 classes the 50 with the lowest F1 are drawn" in drawn["errors-classes"].caption


def test_a_row_without_examples_is_drawn_empty() -> None:
    figure = confusion.matrix(np.array([[2, 1], [0, 0]]), ["a", "b"])
    assert [text.get_text() for text in figure.axes[0].texts] == ["2\n67%", "1\n33%"]


def test_bins_of_few_examples_are_hollow() -> None:
    from harness.analysis.calibration import equal_width
    from harness.analysis.calibration import reliability as bins

    frame = bins([0.9] * 20 + [0.5] * 3, [True] * 23, equal_width())
    axes = reliability.diagrams({"bins": frame}, "right (%)").axes[0]
    marks = {line.get_markerfacecolor(): len(line.get_xdata()) for line in axes.lines if line.get_marker() == "o"}
    assert marks == {figures.BLUE: 1, "white": 1}

"""The write-up pack: its numbers are the record's, its captions complete, and its LaTeX compiles whatever the names."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
import report_study
from latex import compiled, needs_latex
from payloads import PAYLOADS
from test_report_confirmed import make as make_confirmed
from typer.testing import CliRunner

import harness.optimization as optimization
from harness.analysis.statistics import t_interval
from harness.cli import app
from harness.configuration import TrialConfig
from harness.jobs import Adapted
from harness.report import confirmed, figures
from harness.report.build import Built
from harness.report.cells import points
from harness.report.notebooks import of_sections
from harness.report.paper import methods, references, space
from harness.report.paper.build import build
from harness.report.paper.references import FIXED, Reference
from harness.report.study_frames import opened
from harness.results.store import Store

HOSTILE = '{unbalanced } } { \\input{x} \\write18{id} 50% & $x^2$ #1 ~ ^^5c _ [0.5em] " ` 日本 😀'

EARLIER = ("figures/history.pdf", "tables/old.tex", "figures/mine.svg", "notes.tex")


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A confirmed study: two configurations and a baseline, five seeds, 400 test rows."""
    return make_confirmed(tmp_path_factory.mktemp("paper") / "results.db")


@pytest.fixture(scope="module")
def built(database: Path) -> Built:
    return build(database, "reviews", database.parent / "paper")


@pytest.fixture(scope="module")
def again(database: Path) -> Built:
    """The same pack, written over an earlier one."""
    folder = database.parent / "again"
    for name in EARLIER:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("old")
    return build(database, "reviews", folder)


@pytest.fixture(scope="module")
def unconfirmed(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The same study with its search only."""
    folder = tmp_path_factory.mktemp("search")
    return build(make_confirmed(folder / "results.db", seeds=0), "reviews", folder / "paper")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """A study whose labels and model are named by somebody who means harm."""
    folder = tmp_path_factory.mktemp("hostile")
    labels = (HOSTILE, *PAYLOADS[:-1])
    path = report_study.make(folder / "results.db", trials=4, labels=labels, model=HOSTILE, message=HOSTILE)
    return build(path, "reviews", folder / "paper")


def text(built: Built, name: str) -> str:
    return (built.paths[0].parent / name).read_text("utf-8")


def captions(built: Built) -> dict[str, str]:
    """Table or figure -> its caption in LaTeX."""
    folder = built.paths[0].parent
    parts = [(folder / "main.tex").read_text(), *(path.read_text() for path in (folder / "tables").glob("*.tex"))]
    found = re.findall(r"\\caption\{(.*?)\}\s*\\label\{(?:tab|fig):([a-z-]+)\}", "\n".join(parts))
    return {name: caption for caption, name in found}


def test_a_pack_is_a_document_its_parts_tables_and_figures(built: Built) -> None:
    assert built.failures == ()
    names = {path.relative_to(built.paths[0].parent).as_posix() for path in built.paths}
    assert {"main.tex", "main.md", "methods.tex", "methods.md", "references.bib", "figures/means.pdf"} <= names
    tables = {"results", "comparison", "comparison-examples", "hyperparameters", "data", "checklist"}
    assert {f"tables/{name}.{kind}" for name in tables for kind in ("tex", "md", "csv")} <= names
    assert all(path.stat().st_size > 0 for path in built.paths)


def test_the_document_includes_every_part(built: Built) -> None:
    main = text(built, "main.tex")
    for path in built.paths[1:]:
        name = path.relative_to(built.paths[0].parent).as_posix()
        if name.endswith((".tex", ".pdf")):
            assert f"{{{name.removesuffix('.tex')}}}" in main, name


# --- numbers --------------------------------------------------------------------------------------------


def test_the_main_table_is_the_mean_over_the_new_seeds_with_its_interval(built: Built, database: Path) -> None:
    found = confirmed.of(opened(database, "reviews"))
    assert found is not None
    for number in (0, 1, 2):
        mean, low, high, _ = t_interval(found.table[number])
        written = f"{points(mean)} [{points(low)}, {points(high)}]"
        assert written.replace("[", r"\[").replace("]", r"\]") in text(built, "tables/results.md")
        assert written.replace("[", "{[}").replace("]", "{]}") in text(built, "tables/results.tex")


def test_a_confirmed_study_bears_no_mark(built: Built) -> None:
    assert "†" not in text(built, "tables/results.md") and "dagger" not in text(built, "tables/results.tex")


def test_an_unconfirmed_study_is_marked_and_says_so_in_table_caption_and_words(unconfirmed: Built) -> None:
    assert unconfirmed.failures == ()
    table = text(unconfirmed, "tables/results.md")
    assert table.count("†") == 4  # three configurations and the note
    assert all("Unconfirmed:" in captions(unconfirmed)[name] for name in ("results", "comparison", "history"))
    assert "The numbers of this study are not confirmed" in text(unconfirmed, "methods.tex")


def test_without_intervals_the_main_table_names_the_best_complete_trials(hostile: Built) -> None:
    table = text(hostile, "tables/results.md")
    assert re.findall(r"^\| (\d): 4 epochs, batch 8, lr 2e-5|^\| (\d):", table, re.M) == [
        ("1", ""),
        ("", "0"),
        ("", "2"),
    ]
    assert "failed" not in table  # trial 3


def test_captions_say_rows_seeds_test_and_hardware(built: Built) -> None:
    found = captions(built)
    for name in ("results", "comparison", "comparison-examples", "means"):
        assert "n = 400 test rows, 5 seeds. No choice was made by these rows." in found[name], name
        assert "Hardware: " in found[name], name
    assert "Test: paired t, two-sided, corrected by Holm for 3." in found["comparison"]


# --- figures --------------------------------------------------------------------------------------------


def test_figures_are_as_wide_as_a_column_or_two_and_hold_their_fonts(built: Built) -> None:
    widths = {}
    for path in (each for each in built.paths if each.suffix == ".pdf"):
        data = path.read_bytes()
        (box,) = re.findall(rb"/MediaBox \[ 0 0 ([\d.]+) ", data)
        widths[path.stem] = float(box) / 72
        assert b"/Type3" not in data and b"/FontFile2" in data
    assert widths == {"means": pytest.approx(figures.SINGLE), "losses": pytest.approx(figures.DOUBLE)}


def test_the_same_record_gives_the_same_bytes(built: Built, again: Built) -> None:
    assert [path.read_bytes() for path in again.paths] == [path.read_bytes() for path in built.paths]


def test_what_an_earlier_pack_left_goes_and_what_is_not_its_own_stays(again: Built) -> None:
    folder = again.paths[0].parent
    left = {name for name in EARLIER if (folder / name).exists()}
    assert left == {"figures/mine.svg", "notes.tex"}


# --- words ----------------------------------------------------------------------------------------------


def test_the_methods_are_those_of_the_record(built: Built) -> None:
    said = " ".join(text(built, "methods.tex").split())
    for words in (
        "We fine-tuned builtin:tiny (BertModel, 4 layers, 400,000 parameters) for sequence classification",
        "We used 400 train, 60 validation and 400 test rows; no trial of the search looked at the test rows.",
        "18 trials ran, those that confirm included: 18 complete.",
        "The objective was the accuracy at the best epoch, maximised, on the validation rows.",
        "They differed in learning rate.",
        "Seeds: 42, 43, 44, 45, 46 and 47.",
        "The test rows were opened once.",
    ):
        assert words in said, words


def test_the_optimiser_is_named_with_the_constants_that_it_has() -> None:
    beta, second = optimization.BETAS
    assert f"beta {beta:g} and {second:g}, epsilon {optimization.EPSILON:.0e}".replace("e-0", "e-") in methods.ADAMW


def test_nothing_is_claimed_of_how_published_runs_were_trained(tmp_path: Path) -> None:
    with Store.open(tmp_path / "results.db") as store:
        store.create_study(report_study.study_file("stated"), source="published")
    pack = build(tmp_path / "results.db", "stated", tmp_path / "paper")
    assert pack.failures == ()
    assert text(pack, "methods.md").startswith("These runs were made elsewhere") and "AdamW" not in text(
        pack, "main.md"
    )


def test_further_pretraining_is_told_with_its_source(tmp_path: Path) -> None:
    path = report_study.make(tmp_path / "results.db", trials=1)
    with Store.open(path) as store:
        adapted = Adapted("builtin:tiny", "k", 400, 60, 3, 2, 50, 9.5, 8.0, False, 3.0, 3.0, False, "w")
        store.record_adaptation(1, adapted, TrialConfig(model="builtin:tiny"))
    said = text(build(path, "reviews", tmp_path / "paper"), "methods.md")
    assert "masked language modelling for 2 epochs on 400 training texts [@gururangan2020]." in said


def test_a_search_is_said_in_words() -> None:
    assert space.dimension({"low": 1e-5, "high": 1e-4, "log": True}) == "1e-5 to 1e-4 (log scale)"
    assert space.dimension({"low": 2, "high": 8, "step": 2}) == "2 to 8 in steps of 2"
    assert space.dimension([8, 16, 32]) == "one of 8, 16 and 32"


def test_the_checklist_says_what_the_record_has_and_what_it_has_not(built: Built) -> None:
    rows = dict(re.findall(r"^\| (.*?) \| (recorded|not recorded|no) \|", text(built, "tables/checklist.md"), re.M))
    assert rows["Repeated with new seeds after the search"] == "recorded"
    assert rows["Revision of the data set"] == "not recorded"  # it is no data set of the Hub
    assert rows["Energy used"] == "not recorded"


# --- references -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("fixture", ["built", "unconfirmed", "hostile"])
def test_all_that_is_cited_and_nothing_else_stands_in_the_bibliography(
    fixture: str, request: pytest.FixtureRequest
) -> None:
    pack: Built = request.getfixturevalue(fixture)
    cited = {key for keys in re.findall(r"\\cite\{(.*?)\}", text(pack, "methods.tex")) for key in keys.split(",")}
    assert cited == set(re.findall(r"^@\w+\{(\w+),$", text(pack, "references.bib"), re.M))
    assert cited == set(re.findall(r"@(\w+)[;\]]", text(pack, "methods.md")))


@pytest.mark.parametrize("each", [*FIXED.values(), *references.MODELS.values(), *references.DATA.values()])
def test_every_known_reference_is_complete(each: Reference) -> None:
    place = {"article": "journal", "inproceedings": "booktitle", "book": "publisher"}[each.kind]
    assert {"author", "title", "year", place} <= each.fields.keys()
    where = each.fields.get("doi", "") or each.fields.get("url", "")
    assert each.key == "bergstra2011" or "isbn" in each.fields or re.match(r"10\.\d{4,}/\S+$|https://", where)
    assert each.key.endswith(each.fields["year"])


def test_a_paper_is_cited_for_what_came_from_the_hub_and_for_no_namesake(tmp_path: Path) -> None:
    row = {"name": "bert-base-uncased", "architecture": "Bert", "weights_hash": "a" * 64, "revision": "b" * 40}
    assert references._model(row, 1).key == "devlin2019"
    local = references._model({**row, "revision": None}, 1)
    assert local.kind == "misc" and local.fields["howpublished"] == "Local files"
    private = references._model({**row, "name": "/home/me/bert-base-uncased", "revision": math.nan}, 1)
    assert private.fields["author"] == "{bert-base-uncased}" and "/home" not in private.bibtex()


@pytest.mark.parametrize("payload", PAYLOADS)
def test_no_name_unbalances_the_bibliography(payload: str) -> None:
    row = {"name": payload, "architecture": payload, "weights_hash": "a" * 64, "revision": None}
    written = references._model(row, 1).bibtex()
    depths = [written[:end].count("{") - written[:end].count("}") for end in range(len(written))]
    assert min(depths[1:]) >= 0 and written.count("{") == written.count("}")
    assert written.count("\n") == 6


def test_the_command_writes_the_pack_beside_the_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(of_sections, "EXECUTED_UP_TO", -1)  # as in a large study, no kernel runs the notebook
    database = report_study.make(tmp_path / "results.db", trials=0)
    options = ["--db", str(database), "--out", str(tmp_path), "--paper"]
    done = CliRunner().invoke(app, ["report", "reviews", *options])
    assert done.exit_code == 0, done.output
    assert str(tmp_path / "reviews" / "paper" / "main.tex") in done.output.replace("\n", "")
    assert (tmp_path / "reviews" / "paper" / "main.tex").exists() and (tmp_path / "reviews" / "report.html").exists()


# --- it compiles ----------------------------------------------------------------------------------------


@needs_latex
@pytest.mark.parametrize("fixture", ["built", "unconfirmed", "hostile"])
def test_the_document_compiles_without_an_undefined_reference(
    fixture: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    pack: Built = request.getfixturevalue(fixture)
    assert pack.failures == ()
    log = compiled(pack.paths[0].parent, tmp_path / "paper")
    assert "undefined" not in log.replace("UTFviii@undefined", "")


def test_a_study_without_a_trial_has_a_pack_too(tmp_path: Path) -> None:
    empty = build(report_study.make(tmp_path / "results.db", trials=0), "reviews", tmp_path / "paper")
    assert empty.failures == ()
    assert "0 trials ran" in text(empty, "methods.md") and "tables/checklist" in text(empty, "main.tex")


def test_a_document_says_the_same_in_markdown(built: Built) -> None:
    assert text(built, "tables/results.md").strip() in text(built, "main.md")
    assert text(built, "methods.md").strip() in text(built, "main.md")

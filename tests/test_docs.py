"""The documentation says what is so: commands, study files, SQL, Python, links and names are tried."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import sqlalchemy as sa
from results_support import epoch, prepared, running, study_file
from typer.testing import CliRunner

import harness.curves as curves
import harness.verdicts as verdicts
from harness.cli import app
from harness.command_reference import commands, exit_codes, parameters
from harness.freezing import words as freeze_words
from harness.metrics import known, registered
from harness.name_reference import PRUNERS, SAMPLERS, name_reference, section_lines, task_lines
from harness.published import is_published, parse_published
from harness.records import TrialOutcome
from harness.reference import PAGES, differing
from harness.results.engine import open_engine
from harness.results.store import Store
from harness.spec import StudySpec, init_template, parse_study
from harness.study_file.sections import PRUNER_OPTIONS
from harness.tasks.base import Task

ROOT = Path(__file__).parent.parent
WRITTEN = sorted({*ROOT.glob("*.md"), *(p for p in (ROOT / "docs").glob("*.md") if p.name not in PAGES)})
PAGES_OF_DOCS = sorted({*WRITTEN, *(ROOT / "docs").glob("*.md")})


def blocks(language: str, pages: list[Path] = PAGES_OF_DOCS) -> Iterator[Any]:
    """Fenced blocks of a language, each with its page and line for a name."""
    for page in pages:
        text = page.read_text("utf-8")
        for found in re.finditer(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
            line = text.count("\n", 0, found.start()) + 1
            yield pytest.param(found[1], id=f"{page.name}:{line}")


def shell_commands() -> Iterator[Any]:
    """Every `harness ...` of the shell blocks, and of the indented and quoted text of the pages written by hand."""
    for block in blocks("sh"):
        for line in str(block.values[0]).splitlines():
            if line.startswith("harness "):
                yield pytest.param(shlex.split(line)[1:], id=f"{block.id} {line}")
    template = init_template("x")
    for page, text in [("template", template), *((p.name, p.read_text("utf-8")) for p in WRITTEN)]:
        for found in re.finditer(r"[`#]\s*harness ([a-z]+)", text):
            yield pytest.param([found[1]], id=f"{page} {found[1]}")


# --- generated pages ------------------------------------------------------------------------------------


def test_every_generated_page_is_current() -> None:
    assert differing(ROOT / "docs") == [], "run `make docs`"


@pytest.mark.parametrize("name", commands())
def test_the_reference_knows_the_options_that_the_command_line_takes(name: str) -> None:
    shown = CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "200", "NO_COLOR": "1"}).output
    taken = set(re.findall(r"(?<![\w-])--[a-z-]+", shown)) - {"--help"}
    assert {p.typed for p in parameters(commands()[name]) if p.is_option} >= taken
    assert all(p.help for p in parameters(commands()[name])), name


def test_every_command_says_what_it_does() -> None:
    assert [name for name, command in commands().items() if not command.__doc__] == []


@pytest.mark.parametrize("page", ["README.md", "docs/commands.md"])
def test_every_exit_code_stands_on_the_page(page: str) -> None:
    rows = re.findall(r"^\| ([\d, ]+) \|", (ROOT / page).read_text("utf-8"), re.MULTILINE)
    assert rows == ["0", *(code for code, _ in exit_codes().values())]


@pytest.mark.parametrize(
    "lines",
    [
        task_lines(),
        {f"{found.name} of {found.output}": found.doc for found in registered()},
        freeze_words(),
        SAMPLERS,
        PRUNERS,
        section_lines(),
    ],
    ids=["tasks", "metrics", "freezing", "samplers", "pruners", "sections"],
)
def test_every_registered_name_has_a_line(lines: dict[str, str]) -> None:
    assert lines
    for name, line in lines.items():
        assert line.endswith(".") and len(line) > 10, name


def test_no_sampler_pruner_or_metric_is_missing_from_the_names() -> None:
    assert set(SAMPLERS) == set(get_args(StudySpec.model_fields["sampler"].annotation))
    assert set(PRUNERS) == set(PRUNER_OPTIONS)
    page = name_reference().partition("## Metrics")[2].partition("## Freezing")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)) == set(known())


# --- pages written by hand ------------------------------------------------------------------------------


@pytest.mark.parametrize("words", list(shell_commands()))
def test_a_command_in_the_docs_exists_with_its_options(words: list[str]) -> None:
    verb, *rest = words
    assert verb in commands()
    options = {p.typed: p for p in parameters(commands()[verb]) if p.is_option}
    for word in rest:
        if word.startswith("--"):
            assert word in options, f"harness {verb} takes no {word}"


@pytest.mark.parametrize("text", list(blocks("yaml")))
def test_a_study_file_in_the_docs_is_valid(text: str) -> None:
    if is_published(text):
        assert parse_published(text, "docs").spec.runs
    else:
        assert parse_study(text).spec.search


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results.db with one trial of two epochs, under the name that the docs use."""
    path = tmp_path_factory.mktemp("docs") / "results.db"
    with Store.open(path) as store:
        study = store.create_study(study_file("quickstart"))
        with store.hold(study):
            store.record_prepared(study, prepared())
            trial = running(store, study, model="builtin:tiny")
            for number in (1, 2):
                store.record_epoch(trial.id, epoch(number))
            store.finish_trial(trial.id, TrialOutcome("complete"))
    return path


@pytest.mark.parametrize("query", list(blocks("sql")))
def test_a_query_in_the_docs_runs_and_finds_what_is_there(query: str, database: Path) -> None:
    engine = open_engine(database, read_only=True)
    for statement in filter(str.strip, query.split(";")):
        with engine.connect() as connection:
            rows = connection.execute(sa.text(statement)).all()
        assert rows or "harness_incident" in statement
    engine.dispose()


@pytest.mark.parametrize("code", list(blocks("python")))
def test_python_in_the_docs_runs_beside_a_database(code: str, database: Path) -> None:
    done = subprocess.run([sys.executable, "-c", code], cwd=database.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_an_added_section_metric_and_strategy_work_as_the_docs_say(database: Path) -> None:
    code = "\n".join(str(block.values[0]) for block in blocks("python", [ROOT / "docs" / "adding.md"]))
    code += """
import numpy as np
from harness.freezing import ParameterInfo, frozen
from harness.metrics import evaluate
from harness.report.study_frames import StudyFrames
from harness.results.engine import open_engine
scores = evaluate("labels", np.array([0, 1, 1, 1]), np.array([0, 1, 1, 0]), positive=None, num_labels=2)
assert scores["error_rate"] == 0.25
parameters = [ParameterInfo("e", "embeddings"), ParameterInfo("c", "classifier")]
assert frozen(parameters, "all-but-embeddings", 1, 2, 4) == {"c"}
assert frozen(parameters, "all-but-embeddings", 2, 2, 4) == set()
content = build(StudyFrames(open_engine("results.db", read_only=True), "quickstart"))
assert content.tables[0].frame["count"].tolist() == [1]
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=database.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES_OF_DOCS, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text("utf-8")):
        if not target.startswith("https://"):
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: page.name)
def test_files_that_a_page_names_exist(page: Path) -> None:
    text = page.read_text("utf-8")
    for path in re.findall(r"`((?:harness|tests|studies|docs)/[\w./-]+)`", text):
        assert (ROOT / path).exists() or path in ("studies/mine.yaml",), path
    for name in re.findall(r"`(?:\.\./)?(test_\w+\.py)`", text):
        assert list((ROOT / "tests").rglob(name)), name


def test_the_page_on_adding_names_all_that_a_task_must_have() -> None:
    table = (ROOT / "docs/adding.md").read_text("utf-8").partition("## A task")[2].partition("These are all")[0]
    named = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\|([^|]*)\|", table, re.MULTILINE))))
    assert named == {"output", *Task.__abstractmethods__}


@pytest.mark.parametrize("page", ["README.md", "docs/verdicts.md"])
def test_every_verdict_is_explained(page: str) -> None:
    text = (ROOT / page).read_text("utf-8")
    assert [name for name in verdicts.NAMES if not re.search(rf"^(\| |\d\. \*\*){name}", text, re.MULTILINE)] == []


def test_the_thresholds_of_the_verdicts_are_those_of_the_rules() -> None:
    rows = re.findall(r"^\| `([A-Z_]+)` \| ([\d.]+) \|", (ROOT / "docs/verdicts.md").read_text("utf-8"), re.MULTILINE)
    known = vars(curves) | vars(verdicts)
    assert {name: float(value) for name, value in rows} == {
        name: pytest.approx(known[name], abs=5e-4) for name, _ in rows
    }
    numbers = {name for name, value in known.items() if name.isupper() and isinstance(value, int | float)}
    assert {name for name, _ in rows} == {name for name in numbers if name != "VERSION" and not name.startswith("_")}

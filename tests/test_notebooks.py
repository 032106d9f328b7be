"""Notebooks to edit: they say what the report says, go on saying what is so, and need nothing but the database."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
import re
import shutil
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import IPython.display
import matplotlib
import nbformat
import numpy as np
import pytest
import report_study
from matplotlib import pyplot as plt
from nbformat import v4
from payloads import PAYLOADS
from test_report_confirmed import make as make_confirmed
from typer.testing import CliRunner

import harness.metrics as metrics
from harness.cli import app
from harness.commands.notebook import notebook as command
from harness.configuration import Objective, TrialConfig
from harness.errors import UsageError
from harness.metrics.spans import f1_scores
from harness.records import MetricValue, TrialOutcome
from harness.report import section
from harness.report.notebooks import editable, kinds
from harness.report.notebooks.books import book_of as together
from harness.report.notebooks.books import cells_of
from harness.report.notebooks.execution import CELL_SECONDS, execute
from harness.report.notebooks.kinds import KINDS
from harness.report.pieces import assemble
from harness.report.study_frames import opened
from harness.results.store import Store

matplotlib.use("Agg")
Sentences = Mapping[str, list[str]]
NAMES = re.compile(r" \((?:lr|batch|epochs)[^()]*\)")
"""What sets a configuration apart; the report writes 2e-5 where plain Python writes 2e-05."""


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve trials of one seed each; their objective is the validation loss."""
    return report_study.make(tmp_path_factory.mktemp("notebooks") / "results.db")


@pytest.fixture(scope="module")
def confirmed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two configurations and the baseline, run again with five seeds on test rows."""
    return make_confirmed(tmp_path_factory.mktemp("confirmed") / "results.db")


def book_of(target: Path | str, kind: str, study: str = "reviews", folder: Path | None = None) -> Any:
    frames = opened(target, study)
    try:
        return editable.make(frames, target, kind, folder or Path(target).parent)
    finally:
        frames.close()


def code_of(book: Any) -> list[str]:
    return [cell.source for cell in book.cells if cell.cell_type == "code"]


def run(book: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The sentences that the cells of a notebook in that folder show; a warning would be an error."""
    shown: list[dict[str, str]] = []
    names: dict[str, Any] = {}
    with monkeypatch.context() as patch, matplotlib.rc_context(), warnings.catch_warnings():
        warnings.simplefilter("ignore", PendingDeprecationWarning)  # seaborn's own heat map, and nobody is shown it
        patch.chdir(folder)
        patch.setattr(IPython.display, "display", lambda data, raw: shown.append(data))
        patch.setattr(plt, "show", lambda: plt.close("all"))
        for source in code_of(book):
            fewer = source.replace("PANELS = 12", "PANELS = 2")  # drawing takes most of the time
            exec(compile(fewer, "cell", "exec"), names)
    names["engine"].dispose()
    assert all("<script" not in each["text/html"] for each in shown)
    return [line for each in shown for line in each["text/plain"].splitlines()]


def report_says(target: Path | str, name: str, study: str = "reviews") -> list[str]:
    frames = opened(target, study)
    try:
        return list(assemble(section.get(name), frames).content.findings)
    finally:
        frames.close()


def compared(sentences: Sequence[str]) -> list[str]:
    """The sentences that compare two configurations, by number alone."""
    return [NAMES.sub("", each) for each in sentences if " beats " in each or each.startswith("Cannot tell")]


# --- they say what the report says -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def told(database: Path) -> Sentences:
    """Kind -> what its notebook of the twelve trials says."""
    with pytest.MonkeyPatch.context() as patch:
        return {kind: run(book_of(database, kind), database.parent, patch) for kind in KINDS}


@pytest.fixture(scope="module")
def said(database: Path) -> Sentences:
    """Section -> what the report says of the same trials."""
    return {name: report_says(database, name) for name in KINDS}


def test_the_verdicts_gaps_and_waste_are_those_of_the_report(told: Sentences, said: Sentences) -> None:
    counts, spent, widest, *_ = said["overfitting"]
    notebook = " ".join(told["overfitting"])
    listed = re.findall(r"\d+ (?:overfitting|healthy|still learning|diverged|too short to tell)", counts)
    assert len(listed) == 4 and all(each in notebook for each in listed)
    assert spent.startswith("6 of 46 epochs") and spent.split(" and cost")[0] in notebook
    assert widest.startswith("The widest gap at the last epoch is +0.573") and widest.split(" (")[0] in notebook


@pytest.mark.parametrize(
    "words, numbers",
    [("trains fastest: ", 3), ("times the s", 3), ("trials took", 4), ("Each doubling of max_length", 3)],
)
def test_speeds_and_shares_are_those_of_the_report(words: str, numbers: int, told: Sentences, said: Sentences) -> None:
    lines = (told["speed"], said["speed"])
    mine, theirs = (next(each for each in found if words in each).partition(words) for found in lines)
    written = [[float(n.replace(",", "")) for n in re.findall(r"\d[\d,]*\.?\d*", each[2])] for each in (mine, theirs)]
    assert len(written[0]) >= numbers
    assert written[0][:numbers] == pytest.approx(written[1][:numbers], rel=0.02)


def test_the_front_is_that_of_the_report(told: Sentences, said: Sentences) -> None:
    lines = (told["speed"], said["speed"])
    mine, theirs = (next(each for each in found if each.startswith("As measured")) for found in lines)
    assert re.findall(r"\d+", mine) == re.findall(r"\d+", theirs)


def test_over_seeds_every_sentence_is_that_of_the_report_and_follows_the_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = make_confirmed(tmp_path / "results.db", 2)
    book = book_of(target, "comparison")
    before = compared(run(book, tmp_path, monkeypatch))
    assert before == compared(report_says(target, "comparison")) and len(before) == 3
    target.unlink()
    make_confirmed(target, 5, opened_times=2)
    after = compared(run(book, tmp_path, monkeypatch))
    assert after == compared(report_says(target, "comparison")) and after != before
    assert "the baseline" in after[0] and "Holm, 2 looks, 5 seeds, 400 examples" in after[0]


def test_replicates_of_a_search_are_compared_as_in_the_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = replicated(tmp_path / "results.db")
    told = compared(run(book_of(target, "comparison"), tmp_path, monkeypatch))
    assert told == compared(report_says(target, "comparison")) and len(told) == 2
    assert "3 seeds" in told[0]


def replicated(path: Path) -> Path:
    """Three configurations with three seeds each as planned, and one with a single, best seed."""
    file = report_study.study_file("reviews")
    spec = {**file.spec.model_dump("json"), "replicates": 3}
    file.spec = SimpleNamespace(**{**vars(file.spec), "model_dump": lambda mode: spec})
    with Store.open(path) as store:
        study = store.create_study(file)
        store.record_prepared(study, report_study.prepared())
        with store.hold(study):
            for number, shift in enumerate((0.1, 0.0, 0.02, -0.2)):
                config = TrialConfig(model="builtin:tiny", epochs=2, learning_rate=1e-5 * (1 + number))
                for seed in (42, 43, 44)[: 1 if number == 3 else 3]:
                    noise = 0.01 * ((7 * number + 3 * seed) % 5)
                    report_study.add_trial(store, study, config, seed=seed, shift=shift + noise)
    return path


def one_seed(
    path: Path, metric: str, runs: Sequence[Mapping[str, np.ndarray]], values: Sequence[float], **data: Any
) -> Path:
    """Configurations of one run each, with what each answered and the metric's value."""
    objective = Objective(metric, metrics.direction(metric), "best")
    file = report_study.study_file("reviews", [objective])
    if "examples" in data:
        spec = {**file.spec.model_dump("json"), "task": "question-answering"}
        file.spec = SimpleNamespace(**{**vars(file.spec), "task": spec["task"], "model_dump": lambda mode: spec})
    with Store.open(path) as store:
        study = store.create_study(file)
        store.record_prepared(study, dataclasses.replace(report_study.prepared(), **data))
        environment = store.record_environment({"python": "3.12"})
        with store.hold(study):
            for number, (outputs, value) in enumerate(zip(runs, values, strict=True)):
                config = TrialConfig(model="builtin:tiny", epochs=1, learning_rate=1e-5 * (1 + number))
                trial = store.add_trial(study, config, 42, 0, None, "explicit")
                store.start_trial(trial.id, "local-0", environment)
                store.record_facts(trial.id, report_study.facts(config))
                record = report_study.epoch(1, 0.5, 0.5, config)
                kept = [each for each in record.metrics if each[:2] != ("validation", metric)]
                known = (*kept, MetricValue("validation", metric, value))
                store.record_epoch(trial.id, dataclasses.replace(record, metrics=known, outputs=dict(outputs)))
                store.finish_trial(trial.id, TrialOutcome("complete", seconds={"total": 2.0}), [objective])
    return path


def labelled(path: Path, metric: str, configurations: int = 4) -> Path:
    """Configurations that are right ever more rarely; f1 speaks of the second class."""
    gold, rng = np.arange(report_study.VALIDATION_ROWS) % 2, np.random.default_rng(1)
    hits = [rng.random(len(gold)) < 0.95 - 0.12 * number for number in range(configurations)]
    logits = [np.where(np.stack([gold == 0, gold == 1], 1) == hit[:, None], 1.0, -1.0).astype("f4") for hit in hits]
    answers = [table.argmax(axis=1) for table in logits]
    scored = [metrics.evaluate("labels", each, gold, positive=1, num_labels=2) for each in answers]
    losses = [float(metrics.cross_entropy(table, gold).mean()) for table in logits]
    values = losses if metric == "loss" else [each[metric] for each in scored]
    return one_seed(path, metric, [{"logits": table} for table in logits], values)


def asked(path: Path, metric: str) -> Path:
    """Questions with answers of one to three words, some without; each configuration hits another part of them."""
    context, rng = "In 1066 William the Conqueror crossed the Channel and won at Hastings.", np.random.default_rng(2)
    starts = [0, *(place + 1 for place, letter in enumerate(context) if letter == " ")]
    ends = [*(place - 1 for place in starts[1:]), len(context)]
    right = [(starts[n % 9], ends[n % 9 + n % 3]) for n in range(40)]
    labels = ["[]" if n % 8 == 0 else json.dumps([[a, context[a:b]]]) for n, (a, b) in enumerate(right)]
    rows = [(n, label, "", f"Which\nwords?\n{context}") for n, label in enumerate(labels)]
    runs, values = [], []
    for sure in (0.9, 0.7, 0.4):
        spans = np.full((40, 5, 4), np.nan, "f4")
        for n, (a, b) in enumerate(right):
            none, hit = labels[n] == "[]", rng.random() < sure
            spans[n, 0] = (*((-1, -1) if none == hit else (a, b) if hit else (starts[n % 9], len(context))), 1.0, 0.5)
        told = [context[int(a) : int(b)] if a >= 0 else "" for a, b in spans[:, 0, :2]]
        values.append(float(f1_scores(told, [[text for _, text in json.loads(label)] for label in labels]).mean()))
        runs.append({"spans": spans, "losses": rng.exponential(1 / sure, 40).astype("f4")})
    values = [float(each["losses"].mean()) for each in runs] if metric == "loss" else values
    names = ("no answer", "answer")
    return one_seed(
        path, metric, runs, values, examples={"train": [], "validation": rows}, label_names=names, positive=None
    )


@pytest.mark.parametrize(
    "make, metric", [(labelled, "accuracy"), (labelled, "f1"), (labelled, "loss"), (asked, "f1"), (asked, "loss")]
)
def test_of_one_seed_every_sentence_is_that_of_the_report(
    make: Any, metric: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = make(tmp_path / "results.db", metric)
    told = compared(run(book_of(target, "comparison"), tmp_path, monkeypatch))
    said = compared(report_says(target, "comparison"))
    # Rounding decides which of two equal differences of a few examples counts as the larger.
    p_values = [[float(p) for p in re.findall(r"p = ([\d.]+)", " ".join(each))] for each in (told, said)]
    assert p_values[0] == pytest.approx(p_values[1], abs=0.02)
    without = [[re.sub(r"p = [\d.]+", "p", each) for each in sentences] for sentences in (told, said)]
    assert without[0] == without[1] and len(told) == (3 if make is labelled else 2)
    assert all("1 seed: unreplicated" in each and "max-t" in each for each in told)


# --- they need nothing but the database ------------------------------------------------------------------------


BLOCKER = """
import sys

class Refuse:
    def find_spec(self, name, *rest):
        if name.partition(".")[0] == "harness":
            raise ImportError(name)

sys.meta_path.insert(0, Refuse())
"""


def test_a_copy_runs_where_this_package_cannot_be_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = report_study.make(tmp_path / "results.db", trials=4)
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "sitecustomize.py").write_text(BLOCKER)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "path"))
    lonely = tmp_path / "a b#c?d%20é"
    lonely.mkdir()
    shutil.copy(database, lonely)
    far = tmp_path / "reports" / "reviews"
    books = [book_of(database, kind, folder=far) for kind in KINDS]
    probe = v4.new_code_cell("import importlib.util\nimportlib.util.find_spec('harness')")
    one = together([*(cell for book in books for cell in book.cells), probe])
    assert execute(one, "results.db", lonely) == [
        "notebook cell \"importlib.util.find_spec('harness')\": ImportError: harness"
    ]
    one.cells.pop()
    outputs = [output for cell in one.cells for output in cell.get("outputs", [])]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 9
    assert not [output for output in outputs if output.output_type == "stream"]  # no warning, which names paths
    assert str(tmp_path) not in nbformat.writes(one)


@pytest.mark.parametrize("kind", KINDS)
def test_no_cell_imports_this_package_or_is_long(kind: str, database: Path) -> None:
    for source in code_of(book_of(database, kind)):
        nodes = ast.walk(ast.parse(source))
        names = {name for n in nodes if isinstance(n, ast.Import) for name in (alias.name for alias in n.names)}
        names |= {n.module or "" for n in ast.walk(ast.parse(source)) if isinstance(n, ast.ImportFrom)}
        assert not {name for name in names if name.split(".")[0] == "harness"}
        assert len(source.splitlines()) <= 60 and max(map(len, source.splitlines())) <= 120


def test_every_file_of_cells_belongs_to_a_kind() -> None:
    named = inspect.getsource(kinds)
    files = {path.stem.removeprefix("scores_") for path in editable.FOLDER.glob("*.md")} - {"start"}
    assert files and all(f'"{name}"' in named for name in files)


def test_a_server_is_named_by_the_environment_and_no_password_is_written(database: Path, tmp_path: Path) -> None:
    frames = opened(database, "reviews")
    book = editable.make(frames, "postgresql+psycopg://me:secret@host/db", "speed", tmp_path)
    frames.close()
    assert "secret" not in json.dumps(book) and 'os.environ["HARNESS_DB"]' in book.cells[1].source


@pytest.mark.postgres
def test_on_a_server_they_say_the_same(
    server_database: str, told: Sentences, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report_study.make(server_database)  # type: ignore[arg-type]
    monkeypatch.setenv("HARNESS_DB", server_database)
    said = {kind: run(book_of(server_database, kind, folder=tmp_path), tmp_path, monkeypatch) for kind in KINDS}
    assert said == told


# --- what is refused, and what goes wrong ----------------------------------------------------------------------


@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_study_name_is_a_plain_literal_and_is_shown_as_text(payload: str, tmp_path: Path) -> None:
    study = SimpleNamespace(name=payload, objectives=(Objective(),), objective=Objective(), spec={})
    tree = ast.parse(editable._opening(study, tmp_path / "r.db", tmp_path))  # type: ignore[arg-type]
    found = next(
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "STUDY"
    )
    assert ast.literal_eval(found) == payload


def test_names_from_the_record_are_shown_as_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = report_study.make(tmp_path / "r.db", trials=3, model="<script>alert(1)</script> $x^{2}$ \n{0.__class__}")
    with Store.open(target) as store, store.hold(1):
        report_study.add_trial(store, 1, TrialConfig(model="[x](javascript:alert(1))", epochs=2), seed=42)
    told = " ".join(run(book_of(target, "speed"), tmp_path, monkeypatch))
    assert "<script>alert(1)</script>" in told


def invoke(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["notebook", *arguments])


def test_the_command_takes_every_kind_and_the_usual_time() -> None:
    parameters = inspect.signature(command).parameters
    taken = get_args(get_args(eval(str(parameters["kind"].annotation), vars(inspect.getmodule(command))))[0])
    assert set(taken) == set(KINDS) and parameters["cell_seconds"].default == CELL_SECONDS


@pytest.mark.parametrize(
    "trials, kind, words",
    [
        (1, "comparison", "has 1 configuration with a complete trial; a comparison takes two"),
        (0, "comparison", "has no configurations with a complete trial"),
        (0, "overfitting", "no trial of 'reviews' has a validation loss"),
        (0, "speed", "no trial of 'reviews' trained long enough"),
    ],
)
def test_a_study_without_anything_to_show_is_refused_in_words(
    trials: int, kind: str, words: str, tmp_path: Path
) -> None:
    target = report_study.make(tmp_path / "r.db", trials=trials)
    found = invoke("reviews", "--kind", kind, "--db", str(target), "--out", str(tmp_path / "out"))
    assert isinstance(found.exception, UsageError) and words in str(found.exception)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("metric", ["mcc", "precision"])
def test_a_metric_that_cannot_be_scored_by_example_is_refused_with_a_remedy(metric: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"no {metric} by example to compare; harness confirm reviews runs"):
        book_of(labelled(tmp_path / "r.db", metric), "comparison")


def test_of_published_runs_the_curves_are_shown_and_no_comparison_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, name = tmp_path / "r.db", "imdb-five-models-published"
    file = Path(__file__).parent.parent / "studies" / "published" / "imdb-five-models.yaml"
    assert CliRunner().invoke(app, ["import", str(file), "--db", str(target)]).exit_code == 0
    told = run(book_of(target, "overfitting", name), tmp_path, monkeypatch)
    assert "4 overfitting, 2 healthy" in told[0] and "5 of 15 epochs came after" in " ".join(told)
    with pytest.raises(UsageError, match="is published"):
        book_of(target, "comparison", name)


def test_an_unknown_study_is_refused(database: Path, tmp_path: Path) -> None:
    found = invoke("nothing", "--kind", "speed", "--db", str(database), "--out", str(tmp_path))
    assert isinstance(found.exception, UsageError) and "no study 'nothing'" in str(found.exception)


def test_a_dead_kernel_leaves_a_readable_notebook_and_an_error(
    database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "start.md").write_text(
        "## Before\n\n```python\nprint('before')\n```\n\n```python\nimport os; os._exit(1)\n```\n"
    )
    (tmp_path / "speed.md").write_text("```python\nprint('after')\n```\n")
    monkeypatch.setattr(editable, "FOLDER", tmp_path)
    found = invoke("reviews", "--kind", "speed", "--db", str(database), "--out", str(tmp_path))
    assert found.exit_code != 0 and "the notebook's kernel died" in str(found.exception)
    book = nbformat.read(tmp_path / "reviews" / "speed.ipynb", as_version=4)
    nbformat.validate(book)
    assert [o.text for cell in book.cells for o in cell.get("outputs", []) if o.output_type == "stream"] == ["before\n"]
    assert any("**Stopped here:** the notebook's kernel died" in cell.source for cell in book.cells)
    assert "speed.ipynb" in found.output


def test_python_blocks_become_code_and_the_rest_text() -> None:
    cells = cells_of("# A\n\ntext\n\n```python\nx = '```'\n```\n```python\ny = 1\n```\nend\n")
    expected = [("markdown", "# A\n\ntext"), ("code", "x = '```'"), ("code", "y = 1"), ("markdown", "end")]
    assert [(cell.cell_type, cell.source) for cell in cells] == expected

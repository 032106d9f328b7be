"""docs/names.md: every word that a study file may name, with its line of documentation.

Tasks, metrics, freezing strategies and sections document themselves; a sampler or pruner is Optuna's, so its line
stands here.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from harness.architectures import ARCHITECTURES
from harness.freezing import words as freeze_words
from harness.metrics import registered
from harness.report.section import sections
from harness.tasks import base as tasks

SAMPLERS: Mapping[str, str] = {
    "tpe": "Tree-structured Parzen estimator, multivariate, after 10 random points; looks where good trials lie.",
    "random": "Independent random points.",
    "grid": "Every point once, in an order drawn from the seed; number ranges need a `step` and no `log`.",
    "gp": "Gaussian process with expected improvement; suits few trials and few dimensions.",
    "qmc": "A scrambled Sobol sequence: covers the space more evenly than random points do.",
}
"""Sampler -> its line."""

PRUNERS: Mapping[str, str] = {
    "none": "Every trial runs to its end.",
    "median": "Stops a trial whose best value so far is worse than the median of earlier trials at that epoch.",
    "hyperband": "Gives many trials few epochs and the better ones more, in brackets of several sizes.",
    "patient": "Stops a trial that has not improved for `patience` epochs.",
    "wilcoxon": "Gives a configuration no further folds once its scores, fold by fold, are worse than the best one's.",
}
"""Pruner -> its line."""

_INTRODUCTION = """\
# Names

*Made from the code by `make docs`; edit the descriptions there.*

Every word that a study file may name. How to add one stands in [adding](adding.md).
"""


def task_lines() -> dict[str, str]:
    """Task -> first line of its file; read, not imported, since importing a task imports torch."""
    folder = Path(tasks.__file__).parent
    return {name: _opening(folder / f"{name.replace('-', '_')}.py") for name in tasks.names()}


def _opening(path: Path) -> str:
    return (ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "").partition("\n")[0]


def section_lines() -> dict[str, str]:
    """Report section -> its line, in the report's order."""
    return {found.name: found.doc for found in sections()}


def name_reference() -> str:
    """The page of names, in Markdown."""
    metrics = [(f"`{m.name}`", m.output, m.direction, m.unit, m.doc) for m in registered()]
    parts = [
        _INTRODUCTION,
        _lines("Tasks", "task", task_lines()),
        "## Metrics\n",
        "What an objective may name. `labels` scores predicted classes, `spans` answers found in a text, `task` is the "
        "task's loss, `cost` what a trial costs.\n",
        _table(("metric", "of", "direction", "unit", ""), metrics),
        _lines("Freezing strategies", "freeze", freeze_words()),
        _lines("Samplers", "sampler", SAMPLERS),
        "A search whose points the budget covers is walked through as a grid, whatever the sampler.\n",
        _lines("Pruners", "pruner", PRUNERS),
        _lines("Report sections", "section", section_lines()),
        "## Architectures\n",
        "The `model_type` of a pretrained encoder's `config.json` must be one of "
        + ", ".join(f"`{name}`" for name in ARCHITECTURES)
        + ".",
    ]
    return "\n".join(parts) + "\n"


def _lines(title: str, column: str, lines: Mapping[str, str]) -> str:
    return f"## {title}\n\n" + _table((column, ""), [(f"`{name}`", line) for name, line in lines.items()])


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    return (
        "\n".join([*head, *("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)]) + "\n"
    )

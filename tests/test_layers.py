"""The import order and the walls of the house."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "harness"
HEAVY = {"torch", "transformers", "tokenizers", "datasets", "accelerate"}

# In reading order: a module imports only from lines above it. A folder stands for its files.
ORDER = """
errors disk drafts configuration records jobs answers explanations grouping ranking folds yaml_reader metrics curves
verdicts freezing
masking tasks.base shortening row_checks question_rows study_file spec published published_tables published_folders
builtin hub strict_json squad_files sources environment
architectures devices streams batches pretrained stages spans tasks used_rows data unlabelled optimization graphs
encoder cache profiling energy prefix sharing evaluation attribution divergence
training_plan dropout_draws head_gradients steps recorded_steps head_steps training heads snapshots checkpoints
kept_models model_card warm loading trial group preparation
auditing
rehearsal states_cost shapes pacing probing adaptation predicting explained worker
deadline oom_kills executors listening results roster shelf grid median_pruning sampling fold_pruning search board
asking opening adapting confirming night
study drift reproducing auditor coming predictor prediction_files schedule plan_sums plan findings machine repair
doctor
scripts epoch_clock script_facts script_figures callback exchange analysis report explaining demo_page demo
study_reference
terminal plan_tables live commands cli
command_reference name_reference reference
""".split()

COORDINATOR = """
errors disk drafts configuration records jobs answers explanations grouping ranking folds spec study_file yaml_reader
metrics published published_tables published_folders curves verdicts freezing environment oom_kills executors
listening results roster shelf grid median_pruning sampling fold_pruning search deadline board asking opening adapting
confirming night study drift reproducing auditor coming predictor prediction_files schedule plan_sums plan findings
machine repair doctor scripts exchange analysis report explaining demo_page demo study_reference terminal plan_tables
live commands cli command_reference name_reference reference
""".split()


def modules() -> dict[str, Path]:
    names = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        names[".".join(p for p in parts if p != "__init__") or "__init__"] = path
    return names


def imports(path: Path) -> set[str]:
    """Modules named by import statements outside of `if TYPE_CHECKING`, functions included."""
    found: set[str] = set()
    for node in _outside_type_checking(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names if _is_module(node.module, alias.name)}
    return found


def _is_module(package: str, name: str) -> bool:
    base = PACKAGE.parent / Path(*package.split("."))
    return (base / f"{name}.py").exists() or (base / name / "__init__.py").exists()


def _outside_type_checking(node: ast.AST) -> list[ast.AST]:
    nodes = [node]
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            continue
        nodes += _outside_type_checking(child)
    return nodes


def place(module: str) -> int:
    """Line of a module in the order; a file of a listed folder takes the folder's."""
    while module:
        if module in ORDER:
            return ORDER.index(module)
        module = module.rpartition(".")[0]
    return -1


@pytest.mark.parametrize("module", [name for name in modules() if name not in ("__init__", "__main__")])
def test_a_module_imports_only_from_above(module: str) -> None:
    assert place(module) >= 0, f"{module} has no place in the order: add it to ORDER where it belongs"
    for name in imports(modules()[module]):
        if name.startswith("harness."):
            other = name.removeprefix("harness.")
            if other in modules():
                assert place(other) <= place(module), f"{module} imports {other}, which stands below it"


@pytest.mark.parametrize("module", [name for name in modules() if name != "__init__"])
def test_no_module_imports_the_root_of_the_package(module: str) -> None:
    for node in ast.walk(ast.parse(modules()[module].read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.module != "harness", f"{module}:{node.lineno} imports from the root"
        if isinstance(node, ast.Import):
            assert all(alias.name != "harness" for alias in node.names), f"{module}:{node.lineno} imports the root"


def test_the_coordinator_never_imports_torch() -> None:
    wanted = [n for n in modules() if n.split(".")[0] in COORDINATOR and "migrations" not in n]
    code = "import sys, importlib\n" + "\n".join(f"importlib.import_module('harness.{name}')" for name in wanted)
    code += f"\nprint(sorted({HEAVY} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_only_the_store_writes_our_tables() -> None:
    nouns = ("study", "session", "trial", "epoch", "attribution", "published", "script")
    writers = {"results.store", "results.schema", *(f"results.{noun}_writes" for noun in nouns)}
    for name, path in modules().items():
        if name in writers or name.startswith("results.migrations"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                called = ast.unparse(node.func)
                assert called not in ("sa.insert", "sa.update", "sa.delete"), f"{name}:{node.lineno} writes"


def test_what_reports_never_imports_what_runs() -> None:
    for name, path in modules().items():
        if name.split(".")[0] in ("analysis", "report"):
            assert not imports(path) & {"harness.study", "harness.worker", "harness.trial", "harness.training"}, name


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["schema"]])
def test_the_command_line_answers_without_torch(arguments: list[str]) -> None:
    code = (
        "import sys, harness.cli\n"
        f"sys.argv = ['harness', *{arguments!r}]\n"
        "try:\n    harness.cli.main()\nexcept SystemExit: pass\n"
        f"print(sorted({HEAVY} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip().splitlines()[-1] == "[]"

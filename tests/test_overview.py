"""What `harness status` says: states, reasons, and the configuration with the best mean, by the rule of the ranking."""

from __future__ import annotations

import io
import random
import subprocess
import sys

import pytest
from rich.console import Console

from harness.configuration import Objective, TrialConfig
from harness.ranking import Run, leader, plan_of
from harness.records import TrialOutcome
from harness.results.engine import open_engine
from harness.results.overview import Overview, overviews
from harness.results.store import Store
from harness.results.targets import Target
from harness.spec import StudyFile, parse_study
from harness.terminal import status
from tests import results_support as support

OBJECTIVES = (Objective("loss", "minimize", "best"),)


def file(more: str = "") -> StudyFile:
    return parse_study(support.TEXT.format(name="probe").replace("budget: {trials: 3}", "budget: {trials: 300}") + more)


def add(store: Store, study: int, epochs: int, seed: int, loss: float | None, fold: int | None = None) -> None:
    """A trial of the configuration with so many epochs that ends with that loss; None fails."""
    row = store.add_trial(study, TrialConfig(epochs=epochs), seed, seed - 42, fold, "sampled")
    store.start_trial(row.id, "w0", store.record_environment({"python": "3.11"}))
    store.record_facts(row.id, support.facts(row.config))
    if loss is None:
        store.finish_trial(row.id, TrialOutcome("failed", "diverged", "nan"), OBJECTIVES)
        return
    store.record_epoch(row.id, support.epoch(1, validation=loss))
    store.finish_trial(row.id, TrialOutcome("complete", seconds={"total": 2.0}), OBJECTIVES)


def overview(database: Target) -> Overview:
    engine = open_engine(database, read_only=True)
    found = overviews(engine)[0]
    engine.dispose()
    return found


@pytest.fixture
def replicated(database: Target) -> Target:
    """Configuration 0: 0.40, 0.42, 0.44; configuration 1: 0.30 and 0.60 and a failure; 2: 0.20 alone."""
    with Store.open(database) as store:
        study = store.create_study(file("replicates: 3\n"))
        for seed, loss in zip((42, 43, 44), (0.40, 0.42, 0.44), strict=True):
            add(store, study, 1, seed, loss)
        for seed, loss in zip((42, 43, 44), (0.30, 0.60, None), strict=True):
            add(store, study, 2, seed, loss)
        add(store, study, 3, 42, 0.20)
    return database


def test_status_names_the_configuration_with_the_best_mean_of_all_its_seeds(replicated: Target) -> None:
    best = overview(replicated).best
    assert best is not None
    assert (best["configuration"], best["objective"], best["number"]) == (0, pytest.approx(0.42), 0)
    assert best["words"] == "mean of 3 seeds, standard deviation 0.0200"


def test_the_terminal_shows_what_the_value_is_the_mean_of(replicated: Target) -> None:
    console = Console(width=160, file=io.StringIO())
    console.print(status(overview(replicated), {"total": 9, "remaining_seconds": None}))
    said = "loss 0.4200 of configuration 0, mean of 3 seeds, standard deviation 0.0200; its best trial is 0"
    assert said in console.file.getvalue()  # type: ignore[attr-defined]


def test_states_reasons_and_mean_seconds_are_counted(replicated: Target) -> None:
    found = overview(replicated)
    assert found.states == {"complete": 6, "failed": 1}
    assert found.failures == {"diverged": 1}
    assert found.mean_trial_seconds == 2.0


def test_a_study_of_one_trial_a_configuration_names_its_best_trial(database: Target) -> None:
    with Store.open(database) as store:
        study = store.create_study(file())
        for epochs, loss in ((1, 0.5), (2, 0.3), (3, 0.4)):
            add(store, study, epochs, 42, loss)
    found = overview(database).best
    assert found is not None
    assert (found["number"], found["objective"], found["words"]) == (1, 0.3, "")


def test_without_a_complete_trial_nothing_is_best(database: Target) -> None:
    with Store.open(database) as store:
        study = store.create_study(file())
        add(store, study, 1, 42, None)
    assert overview(database).best is None


@pytest.mark.parametrize("more", ["", "replicates: 3\n", "confirm: {top: 1, seeds: 3}\n"])
@pytest.mark.parametrize("seed", range(3))
def test_the_rule_in_sql_is_the_rule_of_ranking(database: Target, more: str, seed: int) -> None:
    chance = random.Random(seed)
    with Store.open(database) as store:
        study = store.create_study(file(more))
        for epochs in range(1, 8):
            for replicate in range(chance.randint(1, 3)):
                add(store, study, epochs, 42 + replicate, chance.choice([None, 0.1, 0.2, 0.3, 0.4]))
        done = [row for row in store.trials(study) if row.state == "complete" and row.objective is not None]
        plan = plan_of(store.studies()[0].spec)
    runs = [Run(row.configuration, row.number, row.objective or 0.0, row.replicate, row.fold) for row in done]
    expected, found = leader(runs, OBJECTIVES[0], plan), overview(database).best
    assert expected is not None and found is not None
    assert (found["configuration"], found["number"], found["objective"], found["words"]) == (
        expected.configuration, expected.best, expected.mean, expected.words(),
    )  # fmt: skip


def test_a_database_is_read_without_what_only_changes_its_schema(tmp_path):
    path = tmp_path / "results.db"
    Store.open(path).close()
    code = f"import sys\nfrom harness.results.engine import open_engine\nopen_engine({str(path)!r}, read_only=True)\n"
    code += "print('alembic' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_what_status_needs_is_imported_without_what_only_analysis_needs():
    code = "import sys, harness.results.overview\nprint(sorted({'scipy', 'pandas', 'optuna'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

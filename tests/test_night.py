"""A whole night through the command line: real processes, real files, real signals."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from nights import STUDY, Night, end, worker_of

from harness.night import times_its_trials
from harness.results import tables
from harness.results.columns import Json
from harness.results.engine import open_engine
from harness.results.frames import summary
from harness.spec import StudySpec, parse_study

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Night]:
    """A study that ran to its end without trouble."""
    night = Night(tmp_path_factory.mktemp("done"))
    code, output = night.run()
    assert code == 0, output
    yield night


def test_a_study_ends_with_every_trial_complete(done: Night) -> None:
    frame = summary(open_engine(done.db, read_only=True), "night")
    assert list(frame.state) == ["complete"] * 3
    assert list(frame.epochs) == [2, 12, 2]
    assert frame.accuracy.between(0, 1).all()
    assert frame.verdict.notna().all()


def test_running_it_again_repeats_nothing(done: Night) -> None:
    before = done.rows("SELECT number, attempt, ended_at FROM harness_trial ORDER BY number")
    code, output = done.run()
    assert code == 0
    assert "starts" not in output
    assert done.rows("SELECT number, attempt, ended_at FROM harness_trial ORDER BY number") == before


def test_only_the_best_models_are_kept_and_each_loads(done: Night) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folders = sorted(done.folder.glob("results.files/trials/*/*/model.safetensors"))
    assert len(folders) == 2
    model = AutoModelForSequenceClassification.from_pretrained(folders[0].parent)
    AutoTokenizer.from_pretrained(folders[0].parent)
    assert model.config.id2label == {0: "negative", 1: "positive"}


def test_no_checkpoint_outlives_its_trial(done: Night) -> None:
    assert not list(done.folder.glob("results.files/trials/*/checkpoint*"))


def strict(text: str) -> Any:
    """A JSON value, as parsers read it that know neither NaN nor a key that stands twice."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len(dict(pairs)) == len(pairs), f"a key stands twice in {text[:200]}"
        return dict(pairs)

    def refused(word: str) -> None:
        raise AssertionError(f"{word} is no JSON, in {text[:200]}")

    return json.loads(text, object_pairs_hook=once, parse_constant=refused)


def test_every_json_that_a_night_leaves_is_read_by_the_strictest_parser(done: Night) -> None:
    texts: dict[str, list[str]] = {}
    for table in tables.metadata.sorted_tables:
        for column in (each.name for each in table.columns if isinstance(each.type, Json)):
            query = f"SELECT {column} FROM {table.name} WHERE {column} IS NOT NULL"
            texts[f"{table.name}.{column}"] = [text for (text,) in done.rows(query)]
    for table, column in done.rows(
        "SELECT t.name, c.name FROM sqlite_master t, pragma_table_info(t.name) c WHERE c.name LIKE '%json'"
    ):
        texts[f"{table}.{column}"] = [text for (text,) in done.rows(f"SELECT {column} FROM {table}")]
    for path in done.folder.glob("results.files/**/*.json"):
        texts[path.name] = [*texts.get(path.name, []), path.read_text()]
    for found in texts.values():
        for text in found:
            strict(text)
    filled = {place for place, found in texts.items() if found}
    assert {"harness_study.spec", "harness_trial.asked", "harness_trial.verdict_evidence", "manifest.json"} <= filled
    assert any(place.startswith("trial_") for place in filled), "nothing of Optuna's was looked at"


def test_optuna_reads_the_mirror(done: Night) -> None:
    study = optuna.load_study(study_name="night", storage=f"sqlite:///{done.db}")
    assert len(study.trials) == 3
    assert study.best_value == done.rows("SELECT max(objective) FROM harness_trial")[0][0]


def test_status_is_json_for_scripts(done: Night) -> None:
    code, output = done.harness("status", "night", "--json")
    assert code == 0
    (found,) = json.loads(output)
    assert found["states"] == {"complete": 3}
    assert found["total"] == 3
    assert found["remaining_seconds"] == 0


def test_an_edited_study_file_is_refused_with_the_difference(done: Night) -> None:
    code, output = done.run("--set", "configurations=[{epochs: 3}]")
    assert code == 78
    assert "--set study=NEW-NAME" in output
    assert "configurations" in output


def test_more_replicates_extend_a_study(tmp_path: Path) -> None:
    night = Night(tmp_path, STUDY.replace("  - {epochs: 12, learning_rate: 5e-4}\n", ""))
    assert night.run()[0] == 0
    first = night.curves()
    assert night.run("--set", "replicates=2")[0] == 0
    seeds = night.rows("SELECT seed, replicate FROM harness_trial ORDER BY number")
    assert seeds == [(42, 0), (42, 0), (43, 1), (43, 1)]
    assert night.curves()[: len(first)] == first


def test_a_night_killed_in_the_second_trial_ends_as_one_that_was_not(done: Night, tmp_path: Path) -> None:
    night = Night(tmp_path)
    process = night.forked("run", "night.yaml")
    night.wait_for(process, lambda: night.epochs_of(1) >= 3)
    end(process)
    committed = night.curves()
    assert 3 <= night.epochs_of(1) < 12
    assert night.run()[0] == 0
    assert [row for row in committed if row in set(night.curves())] == committed  # nothing committed is lost
    assert night.curves() == done.curves()  # nothing doubled, and every bit the same
    assert night.rows("SELECT number, attempt FROM harness_trial ORDER BY number") == [(0, 1), (1, 2), (2, 1)]


def test_an_interrupted_trial_goes_on_from_its_checkpoint(done: Night, tmp_path: Path) -> None:
    """Ctrl-C in a night with an interpreter of its own; tests/reliability has the other signals, many times."""
    night = Night(tmp_path)
    process = night.start("run", "night.yaml")
    night.wait_for(process, lambda: night.epochs_of(1) >= 2)
    assert end(process, signal.SIGINT) == 130
    assert night.rows("SELECT state FROM harness_trial WHERE number = 1") == [("waiting",)]
    (held,) = night.checkpointed().items()
    assert night.run()[0] == 0
    assert night.steps()[0][1:] == (held[0], held[1] + 1)  # a trial that begins anew would give the same numbers
    assert night.curves() == done.curves()


def test_a_killed_worker_is_replaced_and_its_trial_goes_on(done: Night, tmp_path: Path) -> None:
    night = Night(tmp_path)
    process = night.start("run", "night.yaml")
    night.wait_for(process, lambda: night.epochs_of(1) >= 2)
    os.kill(worker_of(process.pid), signal.SIGKILL)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    assert night.curves() == done.curves()
    assert night.rows("SELECT kind FROM harness_incident") == [("worker_died",)]


def test_a_hung_worker_fails_its_trial_by_name_and_the_night_goes_on(tmp_path: Path) -> None:
    night = Night(tmp_path, STUDY + "watchdog: 0.1\n")
    process = night.forked("run", "night.yaml")
    night.wait_for(process, lambda: night.epochs_of(1) >= 2)
    os.kill(worker_of(process.pid), signal.SIGSTOP)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    states = night.rows("SELECT state, reason FROM harness_trial ORDER BY number")
    assert states == [("complete", None), ("failed", "hung"), ("complete", None)]


def test_a_second_run_of_the_same_study_is_refused_and_told_who_holds_it(tmp_path: Path) -> None:
    night = Night(tmp_path)
    process = night.forked("run", "night.yaml")
    night.wait_for(process, lambda: night.epochs_of(0) >= 1)
    code, output = night.run()
    assert code == 75
    assert str(process.pid) in output
    assert end(process, signal.SIGINT) == 130


def test_a_budget_of_time_ends_the_night_and_more_time_goes_on(tmp_path: Path) -> None:
    text = STUDY[: STUDY.index("configurations:")] + "configurations: [{epochs: 5000}]\nbudget: {time: 5}\n"
    night = Night(tmp_path, text)
    code, output = night.run()
    assert code == 0, output
    assert night.rows("SELECT state FROM harness_trial") == [("waiting",)]
    first = night.epochs_of(0)
    assert first >= 1
    assert night.run()[0] == 0
    assert night.epochs_of(0) == first  # the time of the first invocation counts
    assert night.run("--set", "budget.time=10")[0] == 0
    assert night.epochs_of(0) > first


def test_a_study_that_never_began_takes_a_corrected_file(tmp_path: Path) -> None:
    night = Night(tmp_path, STUDY.replace("  - {epochs: 12, learning_rate: 5e-4}\n", ""))
    code, output = night.run("--set", "data.text=txet")
    assert code == 65
    assert "txet" in output
    assert night.run()[0] == 0


def test_data_that_changed_are_refused(tmp_path: Path) -> None:
    import pandas as pd

    rows = {"text": [f"good thing {i}" for i in range(40)] + [f"bad thing {i}" for i in range(40)]}
    frame = pd.DataFrame(rows | {"label": [1] * 40 + [0] * 40})
    frame.to_csv(tmp_path / "data.csv", index=False)
    text = STUDY.replace('path: "builtin:reviews", rows: 160, validation: 40', "path: data.csv, validation: 20")
    text = text.replace("  - {epochs: 12, learning_rate: 5e-4}\n", "")
    night = Night(tmp_path, text)
    assert night.run()[0] == 0
    frame.assign(text=frame.text + "!").to_csv(tmp_path / "data.csv", index=False)
    code, output = night.run("--set", "replicates=2")
    assert code == 65
    assert "changed" in output


def test_a_study_of_failing_trials_ends_with_its_own_exit_code(tmp_path: Path) -> None:
    text = STUDY[: STUDY.index("configurations:")] + "configurations: [{epochs: 2, learning_rate: 1.0, warmup: 0}]\n"
    night = Night(tmp_path, text.replace("dtype: fp32", "dtype: fp32, max_grad_norm: null, weight_decay: 10"))
    code, output = night.run()
    states = night.rows("SELECT state, reason FROM harness_trial")
    assert (code, states) == (3, [("failed", "diverged")]), output


def test_a_study_that_times_its_trials_runs_one_at_a_time() -> None:
    def spec(objectives: str) -> StudySpec:
        return parse_study(STUDY.replace("objective: accuracy", objectives)).spec

    assert times_its_trials(spec("objectives: [f1, train_samples_per_second]"))
    assert times_its_trials(spec("objective: total_seconds"))
    assert not times_its_trials(spec("objectives: [f1, peak_memory_bytes]"))

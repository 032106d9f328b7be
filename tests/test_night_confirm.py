"""A whole night that searches, confirms and reports: real processes on the built-in data and model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from nights import Night

from harness.report import confirmed
from harness.report.pieces import assemble
from harness.report.section import get
from harness.report.study_frames import opened
from harness.results.engine import open_engine
from harness.results.invariants import violations

STUDY = """
study: night
task: sequence-classification
model: builtin:tiny
data: {path: "builtin:reviews", rows: 200, validation: 40, test: 60}
fixed: {epochs: 1, max_length: 16, batch_size: 16, dtype: fp32}
configurations:
  - {learning_rate: 1e-3, epochs: 2}
  - {learning_rate: 1e-6}
objective: accuracy
confirm: {top: 1, seeds: 2, baseline: {learning_rate: 1e-6}}
"""
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
TEST = "SELECT t.number, m.epoch, m.value FROM harness_metric m JOIN harness_trial t ON t.id = m.trial_id "
TEST += "WHERE m.split = 'test' AND m.name = 'accuracy' ORDER BY 1, 2"


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Night]:
    """A study that was searched and confirmed."""
    night = Night(tmp_path_factory.mktemp("confirm"), STUDY)
    code, output = night.run()
    assert code == 0, output
    yield night


def test_the_best_and_the_baseline_run_again_on_new_seeds(done: Night) -> None:
    found = done.rows("SELECT number, seed, state FROM harness_trial ORDER BY number")
    assert [seed for _, seed, _ in found] == [42, 42, 43, 43, 44, 44]
    assert {state for _, _, state in found} == {"complete"}


def test_the_search_saw_no_test_row(done: Night) -> None:
    assert {number for number, _, _ in done.rows(TEST)} == {2, 3, 4, 5}
    assert {split for (split,) in done.rows("SELECT DISTINCT split FROM harness_prediction WHERE trial_id <= 2")} == {
        "train",
        "validation",
    }


def test_the_stored_accuracy_is_that_of_the_stored_outputs_at_the_epoch_that_counts(done: Night) -> None:
    study = opened(done.db, "night")
    found = confirmed.of(study)
    assert found is not None and found.split == "test"
    for row in found.rows.to_dict("records"):
        scores = found._scores[int(row["configuration"])][int(row["replicate"])]
        assert len(scores) == 60
        assert scores.mean() == pytest.approx(row["value"])


def test_the_report_says_one_sentence_about_it(done: Night) -> None:
    findings = assemble(get("comparison"), opened(done.db, "night")).content.findings
    assert "2 new seeds, measured on 60 test rows that no choice was made by." in findings[0]
    assert "2 seeds, 60 examples" in findings[1]


def test_status_counts_what_confirms(done: Night) -> None:
    code, output = done.harness("status", "night")
    assert code == 0 and "6 of 6 finished" in output and "all done" in output


def test_confirming_later_adds_seeds_and_repeats_nothing(done: Night) -> None:
    before = done.rows("SELECT id, attempt, ended_at FROM harness_trial ORDER BY id")
    code, output = done.harness("confirm", "night", "--seeds", "3")
    assert code == 0, output
    assert done.rows("SELECT id, attempt, ended_at FROM harness_trial ORDER BY id")[: len(before)] == before
    assert [seed for (seed,) in done.rows("SELECT seed FROM harness_trial WHERE number > 5")] == [45, 45]
    assert not violations(open_engine(done.db, read_only=True))


def test_there_is_nothing_to_confirm_before_a_search(tmp_path: Path) -> None:
    night = Night(tmp_path, STUDY)
    code, output = night.harness("confirm", "night.yaml")
    assert code == 2 and "comes first" in output

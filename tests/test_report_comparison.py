from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import report_study

from harness.configuration import TrialConfig
from harness.errors import UsageError
from harness.report import comparison
from harness.report.study_frames import opened
from harness.results.store import Store


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two studies on the same data."""
    path = report_study.make(tmp_path_factory.mktemp("compare") / "results.db", trials=5)
    return report_study.make(path, name="other", trials=3, states={})


def test_a_comparison_is_a_page_with_figures_tables_and_a_text(database: Path, tmp_path: Path) -> None:
    compared = comparison.compare(database, [("reviews", 0), ("reviews", 1), ("other", 2)], tmp_path)
    assert compared.failures == ()
    names = {path.name for path in compared.paths}
    assert {
        "report.html",
        "compare-curves.png",
        "compare-speed.svg",
        "compared.csv",
        "compare-differences.tex",
    } <= names
    assert "reviews:1 against reviews:0: validation loss" in compared.text
    assert "other:2 against reviews:0: accuracy" in compared.text


def test_the_difference_is_the_others_mean_minus_the_firsts(database: Path) -> None:
    study = opened(database, "reviews")
    chosen = comparison.choose({"reviews": study}, [("reviews", 0), ("reviews", 1)])
    table = next(table for table in comparison.content(chosen).tables if table.name == "compare-differences").frame
    gold = np.arange(report_study.VALIDATION_ROWS) % 2
    right = [(study.logits(trial, epoch).argmax(axis=1) == gold).mean() for trial, epoch in ((0, 1), (1, 4))]
    row = table.set_index("metric").loc["accuracy (points)"]
    assert row["difference"] == pytest.approx(100 * (right[1] - right[0]))
    assert row["difference_low"] <= row["difference"] <= row["difference_high"]


def test_a_trial_compared_with_its_equal_shows_no_difference(database: Path) -> None:
    studies = {name: opened(database, name) for name in ("reviews", "other")}
    chosen = comparison.choose(studies, [("reviews", 0), ("other", 0)])
    findings = comparison.content(chosen).findings
    assert "validation loss +0.000 [+0.000, +0.000], p = 1.0: cannot be told apart." in findings[0]


def test_trials_on_other_data_are_not_compared_example_by_example(database: Path, tmp_path: Path) -> None:
    path = report_study.make(tmp_path / "results.db", trials=1, states={})
    with Store.open(path) as store:
        number = store.create_study(report_study.study_file("elsewhere"))
        store.record_prepared(number, report_study.prepared(fingerprint="e" * 16))
        with store.hold(number):
            report_study.add_trial(store, number, TrialConfig(model="builtin:tiny"), data="e" * 16)
    compared = comparison.compare(path, [("reviews", 0), ("elsewhere", 0)], tmp_path / "out")
    assert "cannot be compared with reviews:0 example by example: their data differ" in compared.text
    assert "compare-differences.csv" not in {path.name for path in compared.paths}


@pytest.mark.parametrize(
    ("trials", "match"),
    [
        ([("reviews", 0)], "two or more"),
        ([("reviews", 0), ("reviews", 0)], "two or more different"),
        ([("reviews", 0), ("reviews", 99)], "no trial 99; its trials are 0 to 4"),
        ([("reviews", 0), ("nothing", 0)], "nothing"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    trials: list[tuple[str, int]], match: str, database: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=match):
        comparison.compare(database, trials, tmp_path)


def test_a_failed_trial_can_stand_in_a_comparison(database: Path, tmp_path: Path) -> None:
    compared = comparison.compare(database, [("reviews", 1), ("reviews", 3)], tmp_path)
    assert compared.failures == () and "reviews:3: diverged." in compared.text

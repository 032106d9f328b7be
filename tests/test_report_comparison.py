"""`harness compare` puts trials side by side and says what differs, and of what cannot be compared why."""

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
    assert "reviews:1 beats reviews:0 by" in compared.text or "tell reviews:1 from reviews:0 (" in compared.text
    assert "points of accuracy" in compared.text and "in validation loss" in compared.text
    assert "1 seed: unreplicated, 60 examples" in compared.text


def test_the_difference_is_the_others_mean_minus_the_firsts(database: Path) -> None:
    study = opened(database, "reviews")
    chosen = comparison.choose({"reviews": study}, [("reviews", 0), ("reviews", 1)])
    table = next(table for table in comparison.content(chosen).tables if table.name == "compare-differences").frame
    gold = np.arange(report_study.VALIDATION_ROWS) % 2
    right = [(study.logits(trial, epoch).argmax(axis=1) == gold).mean() for trial, epoch in ((0, 1), (1, 4))]
    row = table.set_index("metric").loc["accuracy"]
    assert row["difference"] == pytest.approx(right[1] - right[0])
    assert row["test"] == "exact McNemar"
    assert row["difference_low"] <= row["difference"] <= row["difference_high"]


def test_a_trial_compared_with_its_equal_shows_no_difference(database: Path) -> None:
    studies = {name: opened(database, name) for name in ("reviews", "other")}
    chosen = comparison.choose(studies, [("reviews", 0), ("other", 0)])
    findings = comparison.content(chosen).findings
    assert findings[0].startswith("cannot tell other:0 from reviews:0 (0.000 ± 0.000 in validation loss, p = 1.00")


def test_configurations_of_several_seeds_are_compared_over_them_first(tmp_path: Path) -> None:
    """The second study has other seeds than the first: Welch's t; within a study the seeds are paired."""
    path = tmp_path / "results.db"
    with Store.open(path) as store:
        for name, seeds in (("reviews", (42, 43, 44)), ("other", (52, 53, 54))):
            number = store.create_study(report_study.study_file(name))
            store.record_prepared(number, report_study.prepared())
            with store.hold(number):
                for rate in (1e-5, 5e-5):
                    config = TrialConfig(model="builtin:tiny", epochs=2, learning_rate=rate)
                    for seed in seeds:
                        shift = 1000 * rate + (seed % 10) ** 2 / 500
                        report_study.add_trial(store, number, config, seed=seed, shift=shift)
    paired = comparison.compare(path, [("reviews", 0), ("reviews", 3)], tmp_path / "paired").text
    assert (
        "the configuration of reviews:0 beats the configuration of reviews:3" in paired
        or "no interval, 3 seeds" in paired
    )
    unpaired = comparison.compare(path, [("reviews", 0), ("other", 3)], tmp_path / "unpaired").text
    assert "Welch's t, 3 seeds, 60 examples" in unpaired
    assert "† one seed only" not in paired


def test_trials_whose_configuration_has_one_seed_are_marked(database: Path, tmp_path: Path) -> None:
    text = comparison.compare(database, [("reviews", 0), ("reviews", 1)], tmp_path).text
    assert "† one seed only: unreplicated, another seed may change it." in text


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

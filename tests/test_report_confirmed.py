"""The report's comparison: over new seeds and test rows where a study was confirmed, and marked where it was not."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import report_study

from harness.analysis import families
from harness.analysis.paired import paired_t
from harness.configuration import Objective, TrialConfig
from harness.records import Incident, MetricValue, TrialOutcome
from harness.report import confirmed, marks
from harness.report.pieces import assemble
from harness.report.section import get
from harness.report.study_frames import StudyFrames, opened
from harness.report.tables import MARK, show
from harness.results.choices import CHOSEN, OPENED, Choice
from harness.results.store import Store

ACCURACY = Objective("accuracy", "maximize", "best")
ROWS = 400
CONFIGS = [TrialConfig(model="builtin:tiny", epochs=1, learning_rate=rate) for rate in (1e-5, 3e-5, 2e-5)]
SHARES = (0.90, 0.89, 0.75)
"""Share of test rows that each configuration gets right: two much alike, and the baseline."""


def right(config: int, seed: int) -> np.ndarray:
    """Which test rows a run gets right: the same easy ones for all, and some luck of the seed."""
    hard = np.random.default_rng(0).random(ROWS)
    return hard + np.random.default_rng([config, seed]).normal(0, 0.05, ROWS) < SHARES[config]


def record(config: int, seed: int, test: bool):
    """One epoch, with the test rows where they are read."""
    found = report_study.epoch(1, 0.5, 0.5, CONFIGS[config], seed)
    validation = 0.95 - 0.01 * config - (0.05 if test else 0.0)
    known = [m._replace(value=validation) if m[:2] == ("validation", "accuracy") else m for m in found.metrics]
    if not test:
        return dataclasses.replace(found, metrics=tuple(known))
    hits, labels = right(config, seed), np.arange(ROWS) % 2
    logits = np.zeros((ROWS, 2), dtype=np.float32)
    logits[np.arange(ROWS), labels] = np.where(hits, 1.0, -1.0)
    metrics = (*known, MetricValue("test", "accuracy", float(hits.mean())))
    return dataclasses.replace(found, metrics=metrics, test_outputs={"logits": logits})


def prepared():
    rows = [(row, ("negative", "positive")[row % 2], "", "fine") for row in range(ROWS)]
    found = report_study.prepared()
    splits = {**found.splits, "test": dataclasses.replace(found.splits["validation"], rows=ROWS)}
    return dataclasses.replace(found, splits=splits, examples={**found.examples, "test": rows})


def run(store: Store, study: int, config: int, replicate: int, test: bool) -> None:
    trial = store.add_trial(study, CONFIGS[config], 42 + replicate, replicate, None, "explicit")
    store.start_trial(trial.id, "local-0", store.record_environment({"python": "3.12"}))
    store.record_facts(trial.id, report_study.facts(CONFIGS[config]))
    store.record_epoch(trial.id, record(config, 42 + replicate, test))
    outcome = TrialOutcome("complete", seconds={"train": 10.0 - config, "total": 12.0})
    store.finish_trial(trial.id, outcome, [ACCURACY])


def make(path: Path, seeds: int = 5, test: bool = True, opened_times: int = 1, baseline: bool = True) -> Path:
    """Three configurations, the last the baseline if there is one, confirmed with so many seeds."""
    with Store.open(path) as store:
        study = store.create_study(report_study.study_file("reviews", [ACCURACY]))
        store.record_prepared(study, prepared())
        with store.hold(study):
            for config in range(3):
                run(store, study, config, 0, False)
            if seeds:
                prints = [config.fingerprint for config in CONFIGS]
                chosen, least = (tuple(prints[:2]), prints[2]) if baseline else (tuple(prints), None)
                choice = Choice(chosen, least, tuple(range(1, seeds + 1)), 3 * seeds)
                for _ in range(opened_times):
                    store.record_incident(study, None, Incident(CHOSEN, "", choice.as_details()))
                    store.record_incident(study, None, Incident(OPENED, "", {}))
            for replicate in range(1, seeds + 1):
                for config in range(3):
                    run(store, study, config, replicate, test)
    return path


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> StudyFrames:
    return opened(make(tmp_path_factory.mktemp("confirmed") / "results.db"), "reviews")


def said(study: StudyFrames) -> list[str]:
    return list(assemble(get("comparison"), study).content.findings)


def test_the_values_are_those_of_the_test_rows_by_seed(study: StudyFrames) -> None:
    found = confirmed.of(study)
    assert found is not None and found.split == "test" and found.examples == ROWS
    expected = [[right(config, 42 + replicate).mean() for config in range(3)] for replicate in range(1, 6)]
    assert found.table.to_numpy() == pytest.approx(np.array(expected))


def test_each_is_compared_with_the_baseline_and_the_best_with_the_rest(study: StudyFrames) -> None:
    found = confirmed.of(study)
    assert found is not None
    assert found.pairs == [(0, 2), (1, 2), (0, 1)]
    table = found.table
    expected = families.corrected(
        [families.over_seeds("a", "b", "accuracy", table[a], table[b]) for a, b in found.pairs]
    )
    assert [each.adjusted_p for each in found.comparisons] == [each.adjusted_p for each in expected]
    assert found.comparisons[0].difference == paired_t(table[0], table[2])


def test_one_sentence_a_pair_says_who_wins_or_what_it_would_take(study: StudyFrames) -> None:
    words = said(study)
    assert words[0] == (
        "After the search configurations 0 and 1 and the baseline ran again with 5 new seeds, measured on 400 test "
        "rows that no choice was made by."
    )
    assert words[1].startswith("Configuration 0 (lr 1e-5) beats the baseline (lr 2e-5) by 1")
    assert words[1].endswith("points of accuracy (p < 0.001, Holm, 5 seeds, 400 examples).")


def test_what_the_search_saw_of_the_best_was_partly_luck(study: StudyFrames) -> None:
    """The search saw 95%, the new seeds 90% of the same validation rows."""
    assert any(
        "The search had seen accuracy 95.0% of configuration 0; new seeds come to 90.0%" in w for w in said(study)
    )
    assert any("5.0 points were luck" in words for words in said(study))


def test_the_cheapest_within_one_standard_error_is_named(study: StudyFrames) -> None:
    (words,) = [words for words in said(study) if "one standard error" in words]
    found = confirmed.of(study)
    assert found is not None
    gap = found.table[0] - found.table[1]
    near = gap.mean() <= gap.std(ddof=1) / np.sqrt(5)
    assert ("configuration 1 (lr 3e-5) is the cheapest: 9.00 s of training, not 10.0 s" in words) == near


def test_seeds_and_examples_are_both_counted_in_a_table_of_its_own(study: StudyFrames) -> None:
    tables = {table.name: table for table in assemble(get("comparison"), study).content.tables}
    frame = tables["comparison-examples"].frame
    narrow = tables["comparison"].frame
    assert frame["a"].tolist() == ["configuration 0", "configuration 1", "configuration 0"]
    width, seeds_alone = (f["difference_points_high"] - f["difference_points_low"] for f in (frame, narrow))
    assert width[0] > 2 * seeds_alone[0]  # 400 rows say less than five seeds on them


def test_what_only_these_rows_show_is_said(study: StudyFrames) -> None:
    found = confirmed.of(study)
    assert found is not None
    lost = [
        seen.told_apart and more.crossed.p_value > 0.05
        for seen, more in zip(found.comparisons, found.further, strict=True)
    ]
    assert sum("may not on others" in words for words in said(study)) == sum(lost)


def test_without_test_rows_the_flattery_is_said(tmp_path: Path) -> None:
    frames = opened(make(tmp_path / "results.db", seeds=2, test=False), "reviews")
    assert (
        "validation rows that they were chosen by, which flatters them: `data.test` sets rows aside." in said(frames)[0]
    )


def test_rows_that_were_opened_twice_are_told(tmp_path: Path) -> None:
    frames = opened(make(tmp_path / "results.db", seeds=2, opened_times=2), "reviews")
    notes = assemble(get("comparison"), frames).content.notes
    assert any("opened 2 times" in note for note in notes)


def test_without_a_confirmation_one_seed_is_compared_by_examples_and_called_unreplicated(tmp_path: Path) -> None:
    frames = opened(make(tmp_path / "results.db", seeds=0), "reviews")
    words = said(frames)
    assert len(words) == 3 and all("1 seed: unreplicated, 60 examples" in each for each in words[:2])
    assert "`harness confirm reviews` runs the best few again with new seeds" in words[-1]


# --- marks ---------------------------------------------------------------------------------------------


def test_scores_of_a_single_seed_are_marked_in_every_table(tmp_path: Path) -> None:
    frames = opened(make(tmp_path / "results.db", seeds=0), "reviews")
    (table,) = [table for table, _ in assemble(get("trials"), frames).tables if table.name == "trials"]
    shown = show(table.frame, table.once)
    assert all(cell.endswith(MARK) for row in shown.rows for cell in row if cell.replace(MARK, "") in ("95.0", "94.0"))
    assert shown.note.endswith("† one seed only: unreplicated, another seed may change it.")


def test_scores_of_several_seeds_are_not_marked(study: StudyFrames) -> None:
    for name in ("search", "trials", "overfitting", "comparison"):
        for _, shown in assemble(get(name), study).tables:
            assert not shown.marked and MARK not in str(shown.rows)


def test_of_some_configurations_with_one_seed_only_those_are_marked(tmp_path: Path) -> None:
    path = make(tmp_path / "results.db", seeds=2)
    with Store.open(path) as store, store.hold(1):
        CONFIGS.append(TrialConfig(model="builtin:tiny", epochs=1, learning_rate=9e-5))
        try:
            run(store, 1, 3, 0, False)
        finally:
            CONFIGS.pop()
    frames = opened(path, "reviews")
    assert marks.once(frames, "configuration", frames.trials["configuration"]) == [False] * 9 + [True]
    assert marks.once(frames, "trial", frames.trials["trial"]) == [False] * 9 + [True]
    (table,) = [table for table, _ in assemble(get("search"), frames).tables if table.name == "configurations"]
    assert sum(table.once) == 1

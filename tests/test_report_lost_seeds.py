"""A confirmation by the loss on test rows of which runs were lost: rows, seeds and pairs are named as they are."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import pytest
import report_study
import test_report_confirmed

from harness.analysis import families
from harness.configuration import Objective, TrialConfig
from harness.records import Incident, MetricValue, TrialOutcome
from harness.report import confirmed
from harness.report.paper import conditions, methods, results
from harness.report.pieces import assemble
from harness.report.section import get
from harness.report.study_frames import StudyFrames, opened
from harness.results.choices import CHOSEN, OPENED, Choice
from harness.results.store import Store

LOSS = Objective("loss", "minimize", "best")
CONFIGS = [TrialConfig(model="builtin:tiny", epochs=1, learning_rate=rate) for rate in (1e-5, 3e-5, 2e-5)]
ROWS = 400


def record(config: int, seed: int, test: bool):
    """One epoch: a loss about 0.3, 0.5 and 0.9, and on the test rows a little more, example by example."""
    rng = np.random.default_rng([config, seed])
    loss = (0.3, 0.5, 0.9)[config] + rng.normal(0, 0.01)
    found = report_study.epoch(1, 0.5, loss, CONFIGS[config], seed)
    if not test:
        return found
    margin = np.where(np.arange(ROWS) % 2, 1.0, -1.0) * rng.normal(2.0 - config, 1.0, ROWS)
    logits = np.stack([-margin / 2, margin / 2], axis=1).astype(np.float32)
    metrics = (*found.metrics, MetricValue("test", "loss", loss + 0.05))
    return dataclasses.replace(found, metrics=metrics, test_outputs={"logits": logits})


def run(store: Store, study: int, config: int, replicate: int, test: bool, lost: bool = False) -> None:
    """A trial; one that is lost fails before its first epoch ends."""
    trial = store.add_trial(study, CONFIGS[config], 42 + replicate, replicate, None, "explicit")
    store.start_trial(trial.id, "local-0", store.record_environment({"python": "3.12"}))
    store.record_facts(trial.id, report_study.facts(CONFIGS[config]))
    if lost:
        outcome = TrialOutcome("failed", "diverged", "the loss is not finite", seconds={"total": 3.0})
    else:
        store.record_epoch(trial.id, record(config, 42 + replicate, test))
        outcome = TrialOutcome("complete", seconds={"train": 10.0 - config, "total": 12.0})
    store.finish_trial(trial.id, outcome, [LOSS])


def make(
    path: Path,
    lost: Collection[tuple[int, int]],
    seeds: Sequence[int] = (5,),
    best: Sequence[tuple[int, ...]] = ((0, 1),),
) -> Path:
    """Two configurations and a baseline, confirmed choice by choice with so many seeds.

    Args:
        lost: configuration and replicate of runs that fail.
        seeds: of each choice.
        best: of each choice; the last one stands for all later ones.
    """
    with Store.open(path) as store:
        study = store.create_study(report_study.study_file("reviews", [LOSS]))
        store.record_prepared(study, test_report_confirmed.prepared())
        ran = set()
        with store.hold(study):
            for config in range(3):
                run(store, study, config, 0, False)
            prints = [config.fingerprint for config in CONFIGS]
            for place, many in enumerate(seeds):
                chosen = best[min(place, len(best) - 1)]
                replicates = tuple(range(1, many + 1))
                choice = Choice(tuple(prints[each] for each in chosen), prints[2], replicates, many * (len(chosen) + 1))
                store.record_incident(study, None, Incident(CHOSEN, "", choice.as_details()))
                store.record_incident(study, None, Incident(OPENED, "", {}))
                for each in [(c, r) for r in replicates for c in (*chosen, 2) if (c, r) not in ran]:
                    run(store, study, *each, True, each in lost)
                    ran.add(each)
    return path


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> StudyFrames:
    """Of configuration 1 two of five runs diverged."""
    return opened(make(tmp_path_factory.mktemp("lost") / "results.db", {(1, 2), (1, 4)}), "reviews")


def said(study: StudyFrames) -> list[str]:
    return list(assemble(get("comparison"), study).content.findings)


def test_a_loss_on_test_rows_is_called_test_loss(study: StudyFrames) -> None:
    content = assemble(get("comparison"), study).content
    (told,) = [words for words in content.findings if words.startswith("Configuration 0 (lr 1e-5) beats the baseline")]
    assert " in test loss (p" in told
    (table,) = [table for table in content.tables if table.name == "confirmed"]
    assert table.caption.startswith("Test loss on the test rows: mean")
    said_of_search = [words for words in content.findings if words.startswith("The search had seen")]
    assert "validation loss" in said_of_search[0]  # which is what the search saw


LOST = "2 of 5 runs of configuration 1 did not complete; their pairs are left out."


def test_runs_that_were_lost_are_counted_and_their_pairs_left_out(study: StudyFrames) -> None:
    words = said(study)
    assert words[:2] == [
        "After the search configurations 0 and 1 and the baseline ran again with 5 new seeds, measured on 400 test "
        "rows that no choice was made by.",
        LOST,
    ]
    assert ", 5 seeds, 400 examples)" in words[2] and ", 3 seeds, 400 examples)" in words[3]


def test_a_paper_says_how_many_seeds_each_number_has(study: StudyFrames) -> None:
    tables = {table.name: table for table in results.content(study).tables}
    assert f"n = 400 test rows, 3 to 5 seeds. {LOST}" in tables["results"].caption
    assert tables["results"].frame["seeds"].tolist() == [5, 3, 5]
    assert tables["comparison"].frame["seeds"].tolist() == [5, 3, 3]
    assert LOST in [sentence.text for sentence in methods.statistics(study)]


def test_the_seeds_column_stays_where_all_pairs_lost_as_many(tmp_path: Path) -> None:
    frames = opened(make(tmp_path / "results.db", {(2, 1), (2, 3)}, best=((0,),)), "reviews")
    tables = {table.name: table for table in results.content(frames).tables}
    assert tables["comparison"].frame["seeds"].tolist() == [3]
    assert "2 of 5 runs of the baseline did not complete" in tables["comparison"].caption


def test_a_configuration_of_which_every_run_was_lost_is_named(tmp_path: Path) -> None:
    frames = opened(make(tmp_path / "results.db", {(0, 1), (0, 2), (1, 2)}, seeds=(2,)), "reviews")
    assert said(frames)[1] == (
        "2 of 2 runs of configuration 0 and 1 of 2 of configuration 1 did not complete; their pairs are left out."
    )


# --- further examples ----------------------------------------------------------------------------------------


def test_a_pair_with_one_common_seed_is_skipped_and_the_others_speak_of_further_examples(tmp_path: Path) -> None:
    frames = opened(make(tmp_path / "results.db", {(1, 1), (1, 2)}, seeds=(3,)), "reviews")
    found = confirmed.of(frames)
    assert found is not None and found.pairs == [(0, 2), (1, 2), (0, 1)]
    assert [more is None for more in found.further] == [False, True, True]
    tables = {table.name: table for table in assemble(get("comparison"), frames).content.tables}
    assert tables["comparison-examples"].frame["a"].tolist() == ["configuration 0"]
    unknown = [words for words in said(frames) if "nothing is known of other examples" in words]
    assert [words.partition(" the test")[0] for words in unknown] == [
        "Of configuration 1 and the baseline",
        "Of configuration 0 and configuration 1",
    ]


def test_without_scores_of_examples_only_further_runs_are_spoken_of(tmp_path: Path) -> None:
    frames = opened(make(tmp_path / "results.db", {(0, 1), (1, 1), (2, 2)}, seeds=(2,)), "reviews")
    found = confirmed.of(frames)
    assert found is not None and found.further == []
    assert any(
        words.startswith("The tests speak of further runs on these rows; nothing is known") for words in said(frames)
    )


def test_methods_say_that_seeds_say_nothing_of_further_examples(study: StudyFrames) -> None:
    words = [sentence.text for sentence in methods.statistics(study)]
    assert "It speaks of further runs on these rows, not of further examples." in words


# --- looking again ---------------------------------------------------------------------------------------------


def test_a_study_that_got_more_seeds_after_it_was_tested_says_so_and_pays_for_it(tmp_path: Path) -> None:
    frames = opened(make(tmp_path / "results.db", (), seeds=(3, 5)), "reviews")
    found = confirmed.of(frames)
    assert found is not None and found.looks == 2
    once = families.corrected(
        [families.over_seeds("a", "b", "loss", found.table[a], found.table[b]) for a, b in found.pairs]
    )
    assert [each.adjusted_p for each in found.comparisons] == [pytest.approx(4 * each.adjusted_p) for each in once]
    assert all(", Holm, 2 looks, 5 seeds" in words for words in said(frames)[1:4])
    assert said(frames)[0].endswith("measured on 400 test rows opened 2 times.")
    notes = assemble(get("comparison"), frames).content.notes
    assert any("Tested 2 times on growing data: p values are multiplied by 4" in note for note in notes)


def test_a_paper_does_not_call_rows_untouched_that_were_opened_twice(study: StudyFrames, tmp_path: Path) -> None:
    frames = opened(make(tmp_path / "results.db", (), seeds=(2, 3)), "reviews")
    assert "No choice was made by these rows." in conditions.of_numbers(study)
    assert "No choice" not in conditions.of_numbers(frames)
    assert conditions.of_numbers(frames).endswith("Tested 2 times on growing data: p values times 4.")
    words = [sentence.text for sentence in methods.statistics(frames)]
    assert "The same was tested 2 times on growing data: p values are multiplied by 4." in words


# --- what the search saw, and what is cheapest ---------------------------------------------------------------------


def test_what_an_earlier_choice_ran_again_was_not_seen_by_the_search(tmp_path: Path) -> None:
    """Configuration 1 is confirmed by the first choice alone: its new seeds are no trials of the search."""
    frames = opened(make(tmp_path / "results.db", (), seeds=(2, 2), best=((0, 1), (0,))), "reviews")
    alone = frames.trials[frames.trials["replicate"] == 0].set_index("configuration")["objective"]
    assert confirmed.searched(frames) == pytest.approx(alone.to_dict())


def test_without_two_common_seeds_nothing_is_called_cheapest(tmp_path: Path) -> None:
    frames = opened(make(tmp_path / "results.db", (), seeds=(1,)), "reviews")
    (words,) = [words for words in said(frames) if "one standard error" in words]
    assert words.startswith("Which is the cheapest") and "is not known" in words


def test_times_of_trials_that_shared_work_are_not_compared_with_those_of_others(tmp_path: Path) -> None:
    frames = opened(make(tmp_path / "results.db", ()), "reviews")
    found = confirmed.of(frames)
    assert found is not None and found.comparable_costs() == (found.costs(), "")
    shared = found.rows["shared_work"].where(found.rows["configuration"] != 0, '{"prefix": {"cut": 6}}')
    found.__dict__["rows"] = found.rows.assign(shared_work=shared)
    costs, note = found.comparable_costs()
    assert sorted(costs) == [1, 2] and note == "only the 10 of 15 that shared no work are compared"

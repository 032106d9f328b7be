"""Each section can be built of every kind of study and says what it shows, for which trials and how sure it is."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest
import report_study
from report_study import OBJECTIVE

from harness.configuration import Objective, TrialConfig
from harness.errors import UsageError
from harness.records import EpochRecord, MetricValue, TrialOutcome
from harness.report import best, page, section
from harness.report.pieces import Piece, assemble
from harness.report.section import Section
from harness.report.study_frames import StudyFrames, opened
from harness.results.store import Store

NAMES = (
    "overview",
    "comparison",
    "trials",
    "overfitting",
    "speed",
    "search",
    "groups",
    "errors",
    "calibration",
    "record",
)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> StudyFrames:
    path = report_study.make(tmp_path_factory.mktemp("study") / "results.db", trials=30)
    return opened(path, "reviews")


@pytest.fixture(scope="module")
def pieces(study: StudyFrames) -> dict[str, Piece]:
    return built(study)


def built(study: StudyFrames) -> dict[str, Piece]:
    return {each.name: assemble(each, study) for each in section.sections()}


def said(piece: Piece) -> str:
    return "\n".join([*piece.content.findings, *(words for _, group in piece.content.groups for words in group)])


def test_every_section_is_registered_with_a_line_of_documentation() -> None:
    found = section.sections()
    assert tuple(each.name for each in found if each.name in NAMES) == NAMES
    assert all(each.doc.endswith(".") and each.title for each in found)


def test_every_section_can_be_built(pieces: dict[str, Piece]) -> None:
    assert set(NAMES) <= set(pieces)
    assert not {name: piece.failure for name, piece in pieces.items() if piece.failure}


def test_names_of_files_are_unique_and_made_of_plain_letters(pieces: dict[str, Piece]) -> None:
    for names in (
        [drawn.name for piece in pieces.values() for drawn in piece.drawn],
        [table.name for piece in pieces.values() for table, _ in piece.tables],
    ):
        assert len(set(names)) == len(names)
        assert all(set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-") for name in names)


def test_every_figure_and_table_has_a_caption(pieces: dict[str, Piece]) -> None:
    captions = [each.caption for piece in pieces.values() for each in piece.drawn]
    captions += [table.caption for piece in pieces.values() for table, _ in piece.tables]
    assert all(len(caption) > 20 and caption.rstrip().endswith(".") for caption in captions)


def test_the_overview_names_the_best_configuration_and_how_sure_it_is(
    study: StudyFrames, pieces: dict[str, Piece]
) -> None:
    done = study.summary[study.summary["state"] == "complete"]
    winner = done.loc[done["objective"].idxmin()]
    assert f"(trial {winner['trial']})" in pieces["overview"].content.findings[0]
    assert f"{winner['objective']:.4f}" in pieces["overview"].content.findings[0]
    assert "bootstrap samples of the 60 validation examples" in pieces["overview"].content.findings[1]


def test_overview_and_search_speak_of_the_same_best_trial(study: StudyFrames, pieces: dict[str, Piece]) -> None:
    found = best.of(study)
    assert found.value in said(pieces["overview"]) and found.value in said(pieces["search"])
    assert best.of(study) is found


def test_the_question_is_the_comment_that_opens_the_study_file(study: StudyFrames) -> None:
    assert study.question == "Which batch size and length are worth their time? Five-minute study."


def test_the_table_of_verdicts_holds_every_trial_that_trained(study: StudyFrames, pieces: dict[str, Piece]) -> None:
    table = dict((table.name, table.frame) for table, _ in pieces["overfitting"].tables)["overfitting"]
    assert sorted(table["trial"]) == sorted(study.epochs["trial"].unique())
    assert set(table.loc[table["trial"] % 3 == 1, "verdict"]) == {"healthy"}


def test_epochs_after_the_best_are_counted_with_their_cost(pieces: dict[str, Piece]) -> None:
    assert "epochs came after the lowest validation loss and cost" in said(pieces["overfitting"])


def test_the_cost_of_a_doubling_is_what_the_trials_were_made_with(pieces: dict[str, Piece]) -> None:
    doublings = dict((table.name, table.frame) for table, _ in pieces["speed"].tables)["doublings"]
    factors = doublings.set_index(["parameter", "cost"])["factor"]
    assert factors["max_length", "time per sample"] == pytest.approx(2, rel=0.02)
    assert factors["batch_size", "time per sample"] == pytest.approx(2**-0.5, rel=0.02)


def test_failures_and_incidents_are_named(pieces: dict[str, Piece]) -> None:
    assert "1 trial failed: 1 diverged (trial 3)." in said(pieces["record"])
    assert "1 oom" in said(pieces["record"])
    failures = dict((table.name, table.frame) for table, _ in pieces["record"].tables)["failures"]
    assert failures["message"].tolist() == ["training loss was nan at step 71"]


def test_what_ran_otherwise_than_asked_is_listed(tmp_path: Path) -> None:
    with Store.open(tmp_path / "results.db") as store:
        number = store.create_study(report_study.study_file("halved"))
        with store.hold(number):
            report_study.add_trial(store, number, TrialConfig(batch_size=32), batch_size=16)
    tables = dict((t.name, t.frame) for t, _ in built(opened(tmp_path / "results.db", "halved"))["record"].tables)
    row = tables["asked-against-done"].set_index("what").loc["batch_size"]
    assert (row["asked"], row["done"], row["trials"], row["numbers"]) == ("32", "16", 1, "0")


def test_the_note_on_values_of_the_command_line_is_no_question(tmp_path: Path) -> None:
    text = "# Written out with these values of the command line:\n#   --set seed=7\nstudy: reviews\n"
    with Store.open(tmp_path / "results.db") as store:
        store.create_study(report_study.study_file("reviews", text=text))
    assert opened(tmp_path / "results.db", "reviews").question == ""


def test_trials_that_ran_alike_share_a_row(tmp_path: Path) -> None:
    with Store.open(tmp_path / "results.db") as store:
        number = store.create_study(report_study.study_file("halved"))
        with store.hold(number):
            for rate in (1e-5, 2e-5):
                report_study.add_trial(store, number, TrialConfig(batch_size=32, learning_rate=rate), batch_size=16)
    tables = dict((t.name, t.frame) for t, _ in built(opened(tmp_path / "results.db", "halved"))["record"].tables)
    row = tables["asked-against-done"].set_index("what").loc["batch_size"]
    assert (row["trials"], row["numbers"]) == (2, "0 and 1")


def test_a_doubling_that_three_trials_cannot_measure_is_no_finding(tmp_path: Path) -> None:
    with Store.open(tmp_path / "results.db") as store:
        number = store.create_study(report_study.study_file("few"))
        with store.hold(number):
            for place, size in enumerate((8, 16, 32)):
                report_study.add_trial(store, number, TrialConfig(epochs=2, batch_size=size), shift=0.01 * place)
    speed = built(opened(tmp_path / "results.db", "few"))["speed"]
    doublings = dict((table.name, table.frame) for table, _ in speed.tables)["doublings"]
    for row in doublings.to_dict("records"):
        told = f"Each doubling of {row['parameter']} multiplies {row['cost']}" in said(speed)
        assert told == (row["factor_high"] <= 4 * row["factor_low"])


def test_the_best_trial_is_not_compared_with_itself(pieces: dict[str, Piece]) -> None:
    table = dict((table.name, table.frame) for table, _ in pieces["search"].tables)["best"]
    assert table["told_apart"].tolist()[0] == "the best"
    assert set(table["told_apart"].tolist()[1:]) <= {"yes", "no"}


def test_one_trial_makes_a_report_that_compares_nothing(tmp_path: Path) -> None:
    found = built(opened(report_study.make(tmp_path / "results.db", trials=1, states={}), "reviews"))
    assert not any(piece.failure for piece in found.values())
    assert "only trial that completed" in said(found["overview"])


def test_a_study_whose_trials_all_failed_still_has_a_report(tmp_path: Path) -> None:
    path = report_study.make(tmp_path / "results.db", trials=3, states=dict.fromkeys(range(3), "failed"))
    found = built(opened(path, "reviews"))
    assert not any(piece.failure for piece in found.values())
    assert "No trial completed, so there is no best configuration." in said(found["overview"])
    assert "3 trials failed: 3 diverged (trial 0, 1, 2)." in said(found["record"])


def test_a_study_without_trials_still_has_a_report(tmp_path: Path) -> None:
    found = built(opened(report_study.make(tmp_path / "results.db", trials=0), "reviews"))
    assert not any(piece.failure for piece in found.values())
    assert "No trial was started." in said(found["overview"])


def test_a_study_that_still_runs_can_be_reported(tmp_path: Path) -> None:
    path = report_study.make(tmp_path / "results.db", trials=3, states={})
    with Store.open(path) as store:
        number = store.studies()[0].id
        with store.hold(number):
            for epochs in (7, 8):
                waiting = store.add_trial(number, TrialConfig(epochs=epochs), 42, 0, None, "sampled")
            store.start_trial(waiting.id, "local-0", None)
            store.record_epoch(waiting.id, report_study.epoch(1, 0.6, 0.6, waiting.config))
            found = built(opened(path, "reviews"))
    assert not any(piece.failure for piece in found.values())
    assert "5 trials: 1 waiting, 1 running and 3 complete." in said(found["overview"])


def test_a_published_study_without_speed_and_outputs_can_be_reported(tmp_path: Path) -> None:
    with Store.open(tmp_path / "results.db") as store:
        number = store.create_study(report_study.study_file("published"), source="published")
        with store.hold(number):
            for epochs in (2, 3):
                trial = store.add_trial(number, TrialConfig(epochs=epochs), 42, 0, None, "explicit")
                store.start_trial(trial.id, "document", None)
                for epoch in range(1, epochs + 1):
                    losses = (MetricValue("train", "loss", 0.5 / epoch), MetricValue("validation", "loss", 0.4))
                    nan = math.nan
                    store.record_epoch(trial.id, EpochRecord(epoch, 0, nan, losses, nan, nan, nan, nan, 0))
                store.finish_trial(trial.id, TrialOutcome("complete"), [OBJECTIVE])
    found = built(opened(tmp_path / "results.db", "published"))
    assert not any(piece.failure for piece in found.values())
    assert "No trial trained long enough to measure its speed." in said(found["speed"])
    assert "How sure that is cannot be said: no validation outputs are stored." in said(found["overview"])


def test_an_objective_that_is_maximised_has_its_highest_trial_as_the_best(tmp_path: Path) -> None:
    objectives = (Objective("accuracy", "maximize", "best"),)
    study = opened(report_study.make(tmp_path / "results.db", trials=6, states={}, objectives=objectives), "reviews")
    found = best.of(study)
    assert found.trial is not None
    assert found.trial["objective"] == study.summary["objective"].max()
    assert "%" in found.value


def test_a_cost_as_objective_says_why_it_has_no_bootstrap(tmp_path: Path) -> None:
    objectives = (Objective("train_seconds", "minimize", "best"),)
    study = opened(report_study.make(tmp_path / "results.db", trials=4, states={}, objectives=objectives), "reviews")
    assert "is a cost of the trial" in best.of(study).certainty
    assert not any(piece.failure for piece in built(study).values())


def test_a_study_over_training_sizes_has_a_learning_curve(tmp_path: Path) -> None:
    with Store.open(tmp_path / "results.db") as store:
        number = store.create_study(report_study.study_file("sizes"))
        with store.hold(number):
            for rows in (100, 200, 400):
                report_study.add_trial(store, number, TrialConfig(train=rows), shift=20 / rows)
    piece = built(opened(tmp_path / "results.db", "sizes"))["speed"]
    assert "speed-learning" in [drawn.name for drawn in piece.drawn]
    assert "From 100 to 400 training rows" in said(piece)


def test_replicates_of_one_configuration_have_no_winner_among_them(tmp_path: Path) -> None:
    with Store.open(tmp_path / "results.db") as store:
        number = store.create_study(report_study.study_file("seeds"))
        with store.hold(number):
            for seed in (42, 43, 44):
                report_study.add_trial(store, number, TrialConfig(), seed=seed)
    found = built(opened(tmp_path / "results.db", "seeds"))
    assert not any(piece.failure for piece in found.values())
    assert "mean of 3 seeds" in said(found["search"])
    assert "Every trial used one seed" not in said(found["search"])


def test_a_failing_section_says_what_went_wrong_and_where(study: StudyFrames) -> None:
    def broken(study: StudyFrames) -> None:
        raise ValueError("the gap\nis <b>missing</b>")

    piece = assemble(Section("broken", 5, "Broken", "Breaks.", broken), study)  # type: ignore[arg-type]
    assert piece.failure.startswith("ValueError: the gap is <b>missing</b> (test_report_sections.py:")
    assert "/" not in piece.failure.replace("</b>", "")
    assert "&lt;b&gt;missing&lt;/b&gt;" in page.render("t", "", [piece])


def test_an_unknown_study_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    path = report_study.make(tmp_path / "results.db", trials=0)
    with pytest.raises(UsageError, match="reviews"):
        opened(path, "revews")


def test_of_very_many_trials_sixty_curves_are_drawn_and_all_are_in_the_table(tmp_path: Path) -> None:
    states = {number: "failed" for number in range(0, 80, 17)} | {number: "pruned" for number in range(1, 80, 13)}
    path = report_study.make(tmp_path / "results.db", trials=80, states=states)
    found = assemble(section.get("overfitting"), opened(path, "reviews"))
    assert not found.failure
    panels = [drawn for drawn in found.drawn if drawn.name == "overfitting-curves"]
    assert sum(bool(axes.lines) for axes in panels[0].figure.axes) == 60
    assert len(dict((t.name, t.frame) for t, _ in found.tables)["overfitting"]) == 80


def test_equal_studies_give_equal_pages(tmp_path: Path) -> None:
    path = report_study.make(tmp_path / "results.db", trials=4)
    few = [section.get(name) for name in ("overview", "overfitting", "record")]
    studies = [opened(path, "reviews") for _ in range(2)]
    pages = [page.render("r", "", [assemble(each, study) for each in few]) for study in studies]
    assert pages[0] == pages[1]


def test_the_objective_read_at_the_last_epoch_is_said_so(tmp_path: Path) -> None:
    objectives = (dataclasses.replace(OBJECTIVE, at="last"),)
    study = opened(report_study.make(tmp_path / "results.db", trials=3, states={}, objectives=objectives), "reviews")
    found = best.of(study)
    assert found.trial is not None
    assert f"at epoch {found.trial['epochs']}" in found.value


def test_fractions_are_shown_in_percent_and_their_differences_in_points(tmp_path: Path) -> None:
    objectives = (Objective("accuracy", "maximize", "best"),)
    path = report_study.make(tmp_path / "results.db", trials=4, states={}, objectives=objectives)
    piece = built(opened(path, "reviews"))["search"]
    headings = dict((table.name, shown.headings) for table, shown in piece.tables)["best"]
    assert headings[1] == "accuracy (%)" and "difference (points)" in headings
    drawn = {each.name: each.figure for each in piece.drawn}
    assert drawn["search-history"].axes[0].get_ylabel() == "accuracy (%)"
    assert drawn["search-history"].axes[0].get_ylim()[1] > 10


def test_a_busy_machine_is_named_where_speed_is_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quiet = report_study.epoch
    monkeypatch.setattr(report_study, "epoch", lambda *given: dataclasses.replace(quiet(*given), load=0.7))
    path = report_study.make(tmp_path / "results.db", trials=2, states={})
    assert "2 of 2 configurations ran while other processes took" in said(built(opened(path, "reviews"))["speed"])


def test_a_busy_machine_is_said_before_any_speed_is_compared(tmp_path: Path) -> None:
    with Store.open(tmp_path / "results.db") as store:
        number = store.create_study(report_study.study_file("busy"))
        with store.hold(number):
            for size in (8, 16):
                config = TrialConfig(epochs=2, batch_size=size)
                trial = store.add_trial(number, config, 42, 0, None, "sampled")
                store.start_trial(trial.id, "local-0", store.record_environment({"python": "3.12"}))
                store.record_facts(trial.id, report_study.facts(config))
                record = report_study.epoch(1, 0.5, 0.5, config)
                store.record_epoch(trial.id, dataclasses.replace(record, load=0.6))
                store.finish_trial(trial.id, TrialOutcome("complete", seconds={"total": 5.0}), (OBJECTIVE,))
    first, second = built(opened(tmp_path / "results.db", "busy"))["speed"].content.findings[:2]
    assert first.startswith("2 of 2 configurations ran while other processes took 60.0% of the processors")
    assert "was measured fastest" in second


def test_what_sharing_saved_is_said_and_unshared_trials_are_not_compared_with_shared_ones(tmp_path: Path) -> None:
    path = report_study.make(tmp_path / "results.db", trials=4, states={})
    study = opened(path, "reviews")
    work = {"prefix": {"cut": 6, "fill_seconds": 3.0, "saved_seconds": 41.0}}
    study.summary["shared_work"] = [work, work, work, None]
    study.summary["total_seconds"] = 50.0
    piece = built(study)["speed"]
    saved = "Without sharing the trials would have taken about 5 min 14 s instead of 3 min 20 s: filling cost 9.00 s"
    assert saved in said(piece)
    table = dict((table.name, table.frame) for table, _ in piece.tables)["saved-by-sharing"]
    assert table[["shared", "trials", "net_seconds"]].values.tolist() == [["prefix", 3, 114.0]]
    assert "only the 3 of 4 sharing prefix at 6 are compared" in piece.content.notes

"""A report speaks of the configuration with the best mean, and compares it with the others on the same examples."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import report_study
from report_study import OBJECTIVE, VALIDATION_ROWS

from harness.configuration import Objective, TrialConfig
from harness.folds import held_out
from harness.jobs import Prepared
from harness.metrics import cross_entropy
from harness.records import MetricValue, TrialOutcome
from harness.report import best, comparison, outputs, section
from harness.report.pieces import Piece, assemble
from harness.report.study_frames import StudyFrames, opened
from harness.results.store import Store

TRAIN = 30
GOLD = np.arange(VALIDATION_ROWS) % 2
TRAIN_GOLD = np.arange(TRAIN) % 2


def study_file(**spec: object) -> object:
    file = report_study.study_file("seeds")
    plain = file.spec.model_dump(mode="json") | spec
    file.spec.model_dump = lambda mode: plain
    return file


def prepared() -> Prepared:
    found = report_study.prepared()
    rows = [(row, ("negative", "positive")[row % 2], "", "fine") for row in range(TRAIN)]
    return dataclasses.replace(found, examples={**found.examples, "train": rows})


def answers(gold: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Logits of margin 2 that name the right class where `right` is true, shape (examples, 2)."""
    named = np.where(right, gold, 1 - gold)
    return np.stack([named == 0, named == 1], axis=1).astype(np.float32) * 2


def add(
    store: Store,
    study: int,
    config: TrialConfig,
    seed: int,
    logits: np.ndarray,
    gold: np.ndarray,
    fold: int | None = None,
) -> None:
    """A trial of one epoch that answered with those logits and scores what they score."""
    loss = float(cross_entropy(logits.astype(float), gold).mean())
    accuracy = float((logits.argmax(axis=1) == gold).mean())
    row = store.add_trial(study, config, seed, seed - 42, fold, "sampled")
    store.start_trial(row.id, "local-0", store.record_environment({"python": "3.12"}))
    store.record_facts(row.id, report_study.facts(config))
    metrics = (MetricValue("validation", "loss", loss), MetricValue("validation", "accuracy", accuracy))
    record = report_study.epoch(1, 0.5, loss, config)
    store.record_epoch(row.id, dataclasses.replace(record, metrics=metrics, outputs={"logits": logits}))
    store.finish_trial(row.id, TrialOutcome("complete", seconds={"total": 3.0}), (OBJECTIVE,))


def replicated(path: Path, rights: Mapping[int, Sequence[int]], **spec: object) -> StudyFrames:
    """Configuration e has e epochs and a trial a seed, which answers the first so many examples right."""
    with Store.open(path) as store:
        study = store.create_study(study_file(**spec))  # type: ignore[arg-type]
        store.record_prepared(study, prepared())
        with store.hold(study):
            for epochs, counts in rights.items():
                for place, count in enumerate(counts):
                    logits = answers(GOLD, np.arange(VALIDATION_ROWS) < count)
                    add(store, study, TrialConfig(epochs=epochs), 42 + place, logits, GOLD)
    return opened(path, "seeds")


def folded(path: Path, wrong: Mapping[int, Sequence[int | None]], **spec: object) -> StudyFrames:
    """Configuration e answers so many examples of each fold wrong; None is a fold that did not run."""
    with Store.open(path) as store:
        study = store.create_study(study_file(data={"path": "builtin:reviews", "folds": 3}, **spec))  # type: ignore[arg-type]
        store.record_prepared(study, prepared())
        with store.hold(study):
            for epochs, counts in wrong.items():
                for fold, count in enumerate(counts):
                    gold = TRAIN_GOLD[held_out(TRAIN_GOLD, fold, 3, 42)]
                    if count is not None:
                        add(
                            store,
                            study,
                            TrialConfig(epochs=epochs),
                            42,
                            answers(gold, np.arange(10) >= count),
                            gold,
                            fold,
                        )
    return opened(path, "seeds")


def built(study: StudyFrames) -> dict[str, Piece]:
    pieces = {each.name: assemble(each, study) for each in section.sections()}
    assert {name: piece.failure for name, piece in pieces.items() if piece.failure} == {}
    return pieces


def said(piece: Piece) -> str:
    return "\n".join([*piece.content.findings, *piece.content.notes])


def test_the_best_mean_wins_over_the_luckiest_seed(tmp_path: Path) -> None:
    study = replicated(tmp_path / "results.db", {1: [50, 50, 50], 2: [58, 40, 40]}, replicates=3)
    found = best.of(study)
    assert found.standing is not None and found.trial is not None
    assert found.standing.configuration == 0
    assert found.trial["configuration"] == 0
    assert "(mean of 3 seeds, standard deviation 0.0000)" in found.value
    pieces = built(study)
    assert "configuration 0, trials 0, 1 and 2" in said(pieces["overview"])
    assert "Best is configuration 0: 1 epochs" in said(pieces["search"])
    assert best.RULE in said(pieces["search"])


def test_a_lucky_seed_alone_is_marked_and_cannot_win(tmp_path: Path) -> None:
    study = replicated(tmp_path / "results.db", {1: [50, 50, 50], 2: [59]}, replicates=3)
    assert best.of(study).standing == best.standings(study)[0]
    assert [each.configuration for each in best.standings(study)] == [0, 1]
    piece = built(study)["search"]
    assert "Ranked behind those with 3 complete trials: configuration 1 (1)." in said(piece)
    table = dict((table.name, table.frame) for table, _ in piece.tables)["configurations"]
    assert table["mark"].tolist() == ["", "ranked behind: fewer trials"]
    assert table["complete_trials"].tolist() == [3, 1]


def test_the_bootstrap_averages_the_losses_of_a_configuration_over_its_seeds(tmp_path: Path) -> None:
    study = replicated(tmp_path / "results.db", {1: [50, 54], 2: [40, 44]}, replicates=2)
    frame = best.of(study).sureness.frame.set_index("configuration")
    own = [study.trials.set_index("trial").loc[number, "validation_loss"] for number in (0, 1)]
    assert frame.loc[0, "value"] == pytest.approx(np.mean(own), abs=1e-6)
    assert frame.loc[1, "distinguishable"]
    assert "scores averaged over 2 seeds first" in best.of(study).sureness.note


def test_the_trials_of_one_configuration_are_not_compared_with_each_other(tmp_path: Path) -> None:
    study = replicated(tmp_path / "results.db", {1: [50, 20, 30]}, replicates=3)
    assert best.of(study).sureness.not_distinguishable == []
    assert "It is the only configuration that completed" in best.of(study).certainty


def test_the_outputs_of_a_fold_stand_beside_the_labels_of_its_rows(tmp_path: Path) -> None:
    study = folded(tmp_path / "results.db", {1: [1, 2, 3]})
    for row in study.trials.to_dict("records"):
        logits, gold = outputs.validation_logits(study, row, OBJECTIVE), outputs.gold_labels(study, row["fold"])
        assert logits is not None and gold is not None and len(gold) == 10
        assert (logits.argmax(axis=1) == gold).mean() == pytest.approx(1 - (row["fold"] + 1) / 10)


def test_folds_are_compared_on_the_union_of_their_examples(tmp_path: Path) -> None:
    study = folded(tmp_path / "results.db", {1: [1, 1, 1], 2: [0, 5, 5]})
    found = best.of(study)
    assert found.standing is not None and found.standing.configuration == 0
    assert "mean of 3 folds" in found.value
    assert "bootstrap samples of the 30 validation examples" in found.certainty
    frame = found.sureness.frame.set_index("configuration")
    means = study.trials.groupby("configuration")["validation_loss"].mean()
    assert frame["value"].to_dict() == pytest.approx(means.to_dict(), abs=1e-6)


def test_a_best_configuration_without_every_fold_cannot_be_told_apart(tmp_path: Path) -> None:
    study = folded(tmp_path / "results.db", {1: [1, 1, None], 2: [4, 4, None]})
    certainty = best.of(study).certainty
    assert certainty.startswith("How sure that is cannot be said: ")
    built(study)


def test_a_configuration_that_lacks_a_fold_is_left_out_of_the_comparison(tmp_path: Path) -> None:
    study = folded(tmp_path / "results.db", {1: [4, 4, 4], 2: [0, 0, None]})
    assert best.of(study).sureness.frame["configuration"].tolist() == [0]
    assert "1 further configuration not compared" in best.of(study).sureness.note


def test_the_same_fold_of_two_configurations_is_compared_and_other_folds_are_not(tmp_path: Path) -> None:
    study = folded(tmp_path / "results.db", {1: [1, 1, 1], 2: [6, 6, 6]})
    content = comparison.content(comparison.choose({"seeds": study}, [("seeds", 0), ("seeds", 3), ("seeds", 4)]))
    assert any("seeds:0 beats seeds:3 by" in words and "validation loss" in words for words in content.findings)
    assert not any("seeds:4 by" in sentence for sentence in content.findings)
    assert any("they validated on different folds" in note for note in content.notes)


def test_compare_says_what_configuration_a_trial_is_of_and_how_it_ranks(tmp_path: Path) -> None:
    study = replicated(tmp_path / "results.db", {1: [50, 50], 2: [59, 30]}, replicates=2)
    content = comparison.content(comparison.choose({"seeds": study}, [("seeds", 2), ("seeds", 0)]))
    assert any(each.startswith("seeds:2 is of configuration 1, place 2 of 2: ") for each in content.findings)
    assert any(each.startswith("seeds:0 is of configuration 0, place 1 of 2: ") for each in content.findings)


def test_one_trial_a_configuration_is_still_spoken_of_as_a_trial(tmp_path: Path) -> None:
    study = replicated(tmp_path / "results.db", {1: [50], 2: [40]})
    pieces = built(study)
    assert "(trial 0)" in said(pieces["overview"])
    assert "configurations" not in [table.name for table, _ in pieces["search"].tables]
    assert "Best is trial 0: 1 epochs, with validation loss" in said(pieces["search"])


def test_the_history_follows_the_means(tmp_path: Path) -> None:
    study = replicated(tmp_path / "results.db", {1: [40, 40], 2: [59], 3: [50, 50]}, replicates=2)
    (figure,) = [drawn.figure for drawn in built(study)["search"].drawn if drawn.name == "search-history"]
    lines = {str(line.get_label()): line.get_ydata() for line in figure.axes[0].lines}
    places = {each.configuration: each.mean for each in best.standings(study)}
    assert lines["best so far"] == pytest.approx([places[0], places[0], places[2]])
    assert lines["partial"] == pytest.approx([places[1]])


def test_an_accuracy_objective_says_its_spread_in_points(tmp_path: Path) -> None:
    study = replicated(tmp_path / "results.db", {1: [60, 54]}, replicates=2)
    standing = best.standings(study)[0]
    shown = best.mean_words(Objective("accuracy", "maximize"), dataclasses.replace(standing, mean=0.95, deviation=0.05))
    assert shown == "95.0% (mean of 2 seeds, standard deviation 5.0 points)"

"""The section on groups names the best and the worst one, and stands only where a study has groups."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import nbformat
import pytest
import report_study
from report_study import OBJECTIVE, VALIDATION_ROWS

from harness.configuration import TrialConfig
from harness.records import MetricValue, TrialOutcome
from harness.report import build, section
from harness.report.pieces import Piece, assemble
from harness.report.study_frames import opened
from harness.results.store import Store

SHARES = {"Deutsch": 0.9, "English": 0.8, "français": 0.2}


def grouped(path: Path, names: list[str]) -> Path:
    """A study of two trials; in both each group has the accuracy of SHARES, less 0.1 in the second."""
    with Store.open(path) as store:
        study = store.create_study(report_study.study_file("grouped"))
        prepared = report_study.prepared()
        rows = [
            (row, label, names[row % len(names)], text)
            for row, label, _, text in (prepared.examples["validation"][place] for place in range(VALIDATION_ROWS))
        ]
        store.record_prepared(study, dataclasses.replace(prepared, examples={"train": [], "validation": rows}))
        environment = store.record_environment({"python": "3.12"})
        with store.hold(study):
            for number in range(2):
                config = TrialConfig(model="builtin:tiny", epochs=2, learning_rate=1e-5 * (1 + number))
                trial = store.add_trial(study, config, 42, 0, None, "sampled")
                store.start_trial(trial.id, "local-0", environment)
                store.record_facts(trial.id, report_study.facts(config))
                for epoch in (1, 2):
                    record = report_study.epoch(epoch, 0.6, 0.6 - 0.1 * epoch + 0.01 * number, config)
                    added = [
                        MetricValue("validation", name, value - 0.1 * number, group)
                        for group, value in SHARES.items()
                        for name in ("accuracy", "loss")
                        if group in names
                    ]
                    store.record_epoch(trial.id, dataclasses.replace(record, metrics=(*record.metrics, *added)))
                store.finish_trial(trial.id, TrialOutcome("complete", seconds={"total": 2.0}), (OBJECTIVE,))
    return path


@pytest.fixture(scope="module")
def piece(tmp_path_factory: pytest.TempPathFactory) -> Piece:
    path = grouped(tmp_path_factory.mktemp("groups") / "results.db", list(SHARES))
    return assemble(section.get("groups"), opened(path, "grouped"))


def test_the_best_and_the_worst_group_are_named_with_their_distance(piece: Piece) -> None:
    assert piece.failure == ""
    first = piece.content.findings[0]
    assert "highest accuracy on Deutsch (90.0%)" in first and "lowest on français (20.0%)" in first
    assert "70.0 points apart over 3 groups" in first


def test_it_is_said_for_how_many_groups_the_intervals_overlap(piece: Piece) -> None:
    assert "The intervals of 1 of the other 2 groups overlap that of Deutsch" in piece.content.findings[1]


def test_the_tables_hold_every_group_of_the_best_trials(piece: Piece) -> None:
    tables = {table.name: table.frame for table, _ in piece.tables}
    assert len(tables["groups"]) == 2 * len(SHARES)
    assert set(tables["groups"]["examples"]) == {VALIDATION_ROWS // 3}
    assert tables["groups-spread"]["overlapping"].tolist() == [1, 1]


def test_the_figure_counts_the_examples_of_each_group_and_marks_the_whole(piece: Piece) -> None:
    axes = piece.drawn[0].figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == [f"{name} (n = 20)" for name in SHARES]
    assert any(line.get_color() == "#8c8c8c" for line in axes.lines)


@pytest.mark.slow
def test_the_section_is_in_page_and_notebook_only_where_there_are_groups(tmp_path: Path) -> None:
    for names, there in ((list(SHARES), True), ([""], False)):
        folder = tmp_path / str(there)
        built = build.build(grouped(tmp_path / f"{there}.db", names), "grouped", folder)
        assert built.failures == ()
        assert ('id="groups"' in built.paths[0].read_text(), '#groups"' in built.paths[0].read_text()) == (there, there)
        cells = [cell.source for cell in nbformat.read(folder / "report.ipynb", as_version=4).cells]
        assert ('report.show("groups")' in cells, any("## Groups" in cell for cell in cells)) == (there, there)
        assert (folder / "figures" / "groups-best.png").exists() == there

"""The section on examples: what changes with the seed, what no epoch learned, and no text where none may be shown."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import report_study
from payloads import PAYLOADS, without_script
from report_study import OBJECTIVE
from test_report_build import Page

from harness.configuration import TrialConfig
from harness.records import TrialOutcome
from harness.report import section
from harness.report.build import write
from harness.report.comparison import compare
from harness.report.pieces import Piece, assemble
from harness.report.study_frames import opened
from harness.results.store import Store

SECRET = "SECRETTEXT"
HOSTILE = [payload for payload in PAYLOADS if payload.strip()]
NAMES = ("negative", "positive")
GOLD = np.arange(40) % 2


def logits(wrong: Sequence[int]) -> np.ndarray:
    """Sure of the right class, but of the other one where `wrong`; the surer the later the row."""
    given = np.where(np.isin(np.arange(40), list(wrong)), 1 - GOLD, GOLD)
    table = np.zeros((40, 2), np.float32)
    table[np.arange(40), given] = 1 + np.arange(40) / 40
    return table


def recorded(
    path: Path,
    text: str | None = SECRET,
    seeds: int = 2,
    fold: int | None = None,
    last: dict[int, list[int]] | None = None,
    first: Sequence[int] = (4, 9, 20),
    hostile: bool = False,
) -> Path:
    """Trials of one configuration, of two epochs; validation rows 4 and 9 and training rows 3 and 6 are never right."""
    last = last or {0: [4, 9], 1: [4, 9, 10, 11]}
    file = report_study.study_file("seeds")
    folds = None if fold is None else 2
    spec = {"study": "seeds", "task": "sequence-classification", "seed": 42, "replicates": seeds}
    spec |= {"data": {"path": "builtin:reviews", "folds": folds}}
    file.spec = SimpleNamespace(**{**vars(file.spec), "model_dump": lambda mode: spec})
    texts = [HOSTILE[row % len(HOSTILE)] if hostile else text for row in range(40)]
    rows = [(100 + row, NAMES[label], "", texts[row]) for row, label in enumerate(GOLD)]
    listed = {"train": [(500 + row, NAMES[row % 2], "", texts[row]) for row in range(30)], "validation": rows}
    margins = np.where(np.isin(np.arange(30), [3, 6]), -2.0, 1.0).astype(np.float32)
    margins[6] = -3.0
    with Store.open(path) as store:
        study = store.create_study(file)
        store.record_prepared(study, dataclasses.replace(report_study.prepared(), examples=listed))
        environment = store.record_environment({"python": "3.12"})
        with store.hold(study):
            for number in range(seeds):
                config = TrialConfig(model="builtin:tiny", epochs=2)
                trial = store.add_trial(study, config, 42 + number, number, fold, "sampled")
                store.start_trial(trial.id, "local-0", environment)
                store.record_facts(trial.id, report_study.facts(config))
                for epoch, wrong in ((1, first), (2, last[number])):
                    record = report_study.epoch(epoch, 1 / epoch, 1 / epoch, config)
                    given = dataclasses.replace(record, outputs={"logits": logits(wrong)}, margins=margins)
                    store.record_epoch(trial.id, given)
                store.finish_trial(trial.id, TrialOutcome("complete", seconds={"total": 2.0}), (OBJECTIVE,))
    return path


def piece_of(path: Path, texts: bool = True) -> Piece:
    found = assemble(section.get("examples"), opened(path, "seeds", texts))
    assert found.failure == ""
    return found


def frames_of(piece: Piece) -> dict[str, Any]:
    return {table.name: table.frame for table, _ in piece.tables}


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recorded(tmp_path_factory.mktemp("examples") / "results.db")


def test_churn_of_two_seeds_is_told_with_what_is_right_with_every_seed(database: Path) -> None:
    said = piece_of(database).content.findings
    assert said[0] == (
        "Two seeds of the best configuration answer 5.0% of 40 validation examples differently (churn); 5.0%, 95% "
        "interval 1.4 to 16.5, do not get the same answer from all 2 seeds."
    )
    assert said[1].startswith("36 of 40 (90.0%") and ", 2 of 40 (5.0%" in said[1]


def test_the_examples_that_change_with_the_seed_are_listed(database: Path) -> None:
    table = frames_of(piece_of(database))["examples-seeds"]
    assert table["source_row"].tolist() == [110, 111]
    assert table["agree_share"].tolist() == [0.5, 0.5] and table["gold"].tolist() == ["negative", "positive"]


def test_training_and_validation_examples_that_no_epoch_answered_rightly_are_candidates(database: Path) -> None:
    piece = piece_of(database)
    frames = frames_of(piece)
    assert frames["examples-never-training"]["source_row"].tolist() == [506, 503]
    assert frames["examples-never-training"]["confidence"].iloc[0] == pytest.approx(1 / (1 + np.exp(3)))
    assert frames["examples-never-validation"]["source_row"].tolist() == [109, 104]
    said = "\n".join(piece.content.findings)
    assert "2 of 30 (6.7%" in said and "training examples were not answered rightly in any epoch of 2 trials" in said
    assert [drawn.name for drawn in piece.drawn] == ["examples-map"]


def test_one_seed_has_no_churn_and_still_a_map(tmp_path: Path) -> None:
    piece = piece_of(recorded(tmp_path / "results.db", seeds=1))
    assert not any("churn" in sentence for sentence in piece.content.findings)
    assert set(frames_of(piece)) == {"examples-never-training", "examples-never-validation"}


def test_a_cross_validation_says_why_its_examples_are_not_told(tmp_path: Path) -> None:
    piece = piece_of(recorded(tmp_path / "results.db", seeds=1, fold=0))
    assert not piece.content.findings and "every fold" in piece.content.notes[0]


@pytest.mark.parametrize("stored", [True, False], ids=["no-text", "not stored"])
def test_no_text_leaves_every_text_out(tmp_path: Path, stored: bool) -> None:
    path = recorded(tmp_path / "results.db", text=SECRET if stored else None)
    frames = frames_of(piece_of(path, texts=not stored))
    assert len(frames) == 3 and not any("text" in frame for frame in frames.values())
    shown = frames_of(piece_of(path))
    assert all(("text" in frame) is stored for frame in shown.values())


def test_without_texts_no_file_holds_one(tmp_path: Path, database: Path) -> None:
    write(tmp_path / "out", "seeds", "", [piece_of(database, texts=False)])
    written = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert any(path.name == "examples-seeds.csv" for path in written)
    assert [path for path in written if SECRET.encode() in path.read_bytes()] == []


def test_hostile_texts_stay_text_on_the_page(tmp_path: Path) -> None:
    everything = list(range(40))
    path = recorded(tmp_path / "results.db", text=None, seeds=1, first=everything, last={0: everything}, hostile=True)
    write(tmp_path / "out", "seeds", "", [piece_of(path)])
    html = without_script((tmp_path / "out" / "report.html").read_text("utf-8"))
    parsed = Page(html)
    assert parsed.open == [] and not parsed.tags & {"script", "svg", "iframe", "b", "base", "link"}
    assert not [name for _, name, _ in parsed.found if name.startswith("on")]
    assert "&lt;script&gt;" in html


# --- compare --------------------------------------------------------------------------------------------


def test_compare_tells_the_flips_and_shows_no_text(tmp_path: Path, database: Path) -> None:
    compared = compare(database, [("seeds", 0), ("seeds", 1)], tmp_path / "out")
    assert compared.failures == ()
    told = " ".join(compared.text.split())
    assert "seeds:1 flips 2 of 40 validation examples of seeds:0 (5.0%, 95% interval 1.4 to 16.5)" in told
    assert "0 become right, 2 become wrong, 0 stay wrong in another way" in told
    (table,) = (tmp_path / "out").rglob("compare-flips.csv")
    rows = [line.split(",") for line in table.read_text("utf-8").split()]
    assert rows[0][:3] == ["trial", "source_row", "way"]
    assert SECRET not in compared.text and SECRET not in (tmp_path / "out" / "report.html").read_text("utf-8")


def test_without_a_flip_there_is_a_sentence_and_no_table(tmp_path: Path) -> None:
    path = recorded(tmp_path / "results.db", last={0: [4], 1: [4]})
    compared = compare(path, [("seeds", 0), ("seeds", 1)], tmp_path / "out")
    assert "flips 0 of 40" in compared.text
    assert not list((tmp_path / "out").rglob("compare-flips.csv"))

"""Very many trials: what must still answer, in processor seconds."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from large_study import fabricate

from harness.report import build, section
from harness.report.pieces import assemble
from harness.report.study_frames import opened
from harness.results.engine import open_engine
from harness.results.overview import overviews

TRIALS = 20_000


@pytest.mark.slow
def test_twenty_thousand_trials_are_overseen_at_once_and_reported_within_seconds(tmp_path: Path) -> None:
    path = fabricate(tmp_path / "results.db", TRIALS)
    start = time.process_time()
    engine = open_engine(path, read_only=True)
    (found,) = overviews(engine)
    engine.dispose()
    assert time.process_time() - start < 1
    assert sum(found.states.values()) == TRIALS
    study = opened(path, "large")
    start = time.process_time()
    pieces = [assemble(each, study) for each in section.sections()]
    study.close()
    paths = build.write(tmp_path / "report", "large", "", pieces)
    assert time.process_time() - start < 30  # 13 on a quiet machine
    assert [piece.failure for piece in pieces if piece.failure] == []
    assert paths[0].stat().st_size < 5_000_000
    assert (tmp_path / "report" / "tables" / "trials.csv").read_text().count("\n") == TRIALS + 1

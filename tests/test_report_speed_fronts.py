"""The speed section names what no other beats among trials that shared work alike, and never across."""

from __future__ import annotations

import json
from pathlib import Path

import report_study

from harness.report.pieces import assemble
from harness.report.section import get
from harness.report.study_frames import StudyFrames, opened


def fronts(study: StudyFrames) -> list[str]:
    return [words for words in assemble(get("speed"), study).content.findings if "no other beats" in words]


def test_there_is_one_front_for_each_way_to_share_work(tmp_path: Path) -> None:
    study = opened(report_study.make(tmp_path / "results.db", trials=4, states={}), "reviews")
    (alone,) = fronts(study)
    assert "of 4 in both" in alone
    prefix = json.dumps({"prefix": {"cut": 6}})
    study.trials["shared_work"] = [prefix if number in (1, 3) else None for number in study.trials["trial"]]
    without, shared = fronts(study)
    assert "of 2 that shared no work in both" in without and "of 2 that shared prefix at 6 in both" in shared
    assert not {"1", "3"} & set(without.partition(" of 2")[0].replace(",", " ").split())
    study.close()

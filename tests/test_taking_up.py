"""Taking up a study of very many trials: what each one leaves in memory, and the work that it makes, counted."""

from __future__ import annotations

import gc
import tracemalloc
from pathlib import Path
from typing import NamedTuple

import large_study
import pytest
import scripted
from counting import calls_of

from harness.night import Night
from harness.results.store import Store
from harness.spec import parse_study


class Taken(NamedTuple):
    """What a study took to be taken up: bytes that are held, bytes at the worst moment, calls of functions."""

    held: int
    most: int
    calls: int


def taken_up(path: Path, trials: int, more: str = "") -> Taken:
    """Take a study of so many trials up: once to see its memory, once to count."""
    text = large_study.TEXT.format(trials=trials) + more
    with Store.open(large_study.fabricate(path, trials)) as store:

        def night() -> Night:
            return scripted.night(store, parse_study(text), scripted.Scripted(lambda job: iter(())), scripted.Notes())

        first = night()  # what is made once is there now, shared texts as well
        gc.collect()
        tracemalloc.start()
        there = night()
        gc.collect()
        held, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert there.trials.finished == first.trials.finished == trials
        return Taken(held, most, calls_of(night))


@pytest.mark.parametrize(("pruner", "bytes_of_each"), [("none", 1100), ("median", 1200)])
def test_a_hundred_thousand_ended_trials_fit_into_memory(tmp_path: Path, pruner: str, bytes_of_each: int) -> None:
    few, many = (taken_up(tmp_path / f"{n}.db", n, f"pruner: {pruner}\n") for n in (1000, 2000))
    held = (many.held - few.held) / 1000
    assert 200 < held < bytes_of_each, f"{held:.0f} bytes a trial stay"
    # read page by page: no moment at which all are there as rows
    assert many.most - few.most < 1.5 * (many.held - few.held)


def test_each_trial_is_taken_up_at_the_price_of_those_before_it(tmp_path: Path) -> None:
    few, more, most = (taken_up(tmp_path / f"{n}.db", n).calls for n in (250, 500, 1000))
    assert few > 25_000
    assert (most - more) / 500 < 1.05 * (more - few) / 250

"""A study's trials in memory: each answer against one that walks through all trials."""

from __future__ import annotations

import dataclasses
import random
from collections import Counter

import pytest

from harness.configuration import TrialConfig
from harness.results.rows import StudyRow, TrialRow
from harness.roster import Roster, best_of
from harness.spec import StudySpec, parse_study

TEXT = """
study: s
task: sequence-classification
model: builtin:tiny
data: {path: "builtin:reviews", folds: 2}
seed: [1, 2]
objective: {metric: accuracy, direction: maximize}
search: {learning_rate: {low: 1e-5, high: 1e-3, log: true}}
budget: {trials: 60}
"""


def spec() -> StudySpec:
    return parse_study(TEXT).spec


def study_row() -> StudyRow:
    return StudyRow(1, "s", "own", "", TEXT, {}, "", spec().objectives, "")


def row(number: int, **values: object) -> TrialRow:
    """A waiting trial, or what `values` make of it; the third seed of a configuration is beyond the plan."""
    blank: dict[str, object] = dict.fromkeys(field.name for field in dataclasses.fields(TrialRow))
    blank |= {"id": 100 + number, "number": number, "configuration": number // 6, "config": TrialConfig()}
    blank |= {"replicate": number % 6 // 2, "fold": number % 2, "state": "waiting", "attempt": 0}
    return TrialRow(**(blank | values))  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(5))
def test_a_thousand_changes_leave_the_same_answers_as_a_walk_through_all(seed: int) -> None:
    rng = random.Random(seed)
    rows = {number: row(number) for number in range(60)}
    roster = Roster(study_row(), spec(), [])
    for _ in range(1000):
        number = rng.randrange(60)
        if rows[number].finished:
            continue
        state = rng.choice(["waiting", "running", "running", "complete", "complete", "failed"])
        ended = {"objective": rng.choice([0.5, 0.7, 0.8, None]), "total_seconds": rng.random()}
        rows[number] = row(number, state=state, **(ended if state == "complete" else {}))
        roster.put(rows[number])
        known = [rows[trial.number] for trial in roster]
        assert {s: n for s, n in roster.states.items() if n} == Counter(trial.state for trial in known)
        assert roster.finished == sum(trial.finished for trial in known)
        assert roster.best == best_of(known, spec())
        seconds = [trial.total_seconds for trial in known if trial.total_seconds is not None]
        assert roster.mean_seconds == (pytest.approx(sum(seconds) / len(seconds)) if seconds else None)
        waiting = min((trial for trial in known if trial.state == "waiting"), key=lambda t: t.number, default=None)
        assert roster.waiting() == waiting


def test_a_leader_gives_way_when_a_further_seed_is_worse() -> None:
    roster = Roster(study_row(), spec(), [])
    for number in (*range(4), *range(6, 10), *range(12, 15)):  # the third configuration has three of four
        roster.put(row(number, state="complete", objective={0: 0.8, 1: 0.7, 2: 0.9}[number // 6]))
    assert roster.best is not None and roster.best.configuration == 0
    roster.put(row(4, state="complete", objective=0.1))
    assert roster.best.configuration == 1


def test_weights_that_were_removed_are_no_longer_kept() -> None:
    roster = Roster(study_row(), spec(), [])
    for number, value in enumerate([0.7, 0.9, 0.8]):
        roster.put(row(number, state="complete", objective=value, model_folder="model"))
    assert [trial.number for trial in roster.kept()] == [1, 2, 0]
    roster.put(row(1, state="complete", objective=0.9))
    assert [trial.number for trial in roster.kept()] == [2, 0]


def test_a_study_has_begun_with_its_first_attempt() -> None:
    assert not Roster(study_row(), spec(), [row(0)]).begun
    assert Roster(study_row(), spec(), [row(0), row(1, attempt=1)]).begun

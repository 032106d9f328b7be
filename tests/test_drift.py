"""How far two runs lie apart: the distance, the verdict, and what changed around them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.drift import Change, Drift, around, changes, compare, distance
from harness.results.recorded import Epoch

LOSS, F1 = ("validation", "loss", ""), ("validation", "f1", "")
LOGITS = ("validation", "logits")


def epoch(loss: float = 0.5, f1: float = 0.8, logits: list[float] | None = None) -> Epoch:
    return Epoch({LOSS: loss, F1: f1}, {LOGITS: np.array([logits or [1.0, 2.0]], np.float32)})


def drift(recorded: Epoch, computed: Epoch, tolerance: float = 1e-3, ends: str = "") -> Drift:
    return Drift(compare({1: recorded}, {1: computed}), ends, (), tolerance)


def slow_distance(recorded: float, computed: float) -> float:
    """The same said by cases."""
    if math.isnan(recorded) or math.isnan(computed):
        return 0.0 if math.isnan(recorded) and math.isnan(computed) else math.inf
    if math.isinf(recorded) or math.isinf(computed):
        return 0.0 if recorded == computed else math.inf
    size = abs(recorded)
    if size < 1.0:
        size = 1.0
    difference = computed - recorded if computed > recorded else recorded - computed
    return difference / size


@given(st.floats(), st.floats())
def test_the_distance_is_that_of_a_slow_twin(recorded: float, computed: float) -> None:
    assert distance(recorded, computed) == slow_distance(recorded, computed)


@pytest.mark.parametrize(
    ("recorded", "computed", "expected"), [(0.5, 0.6, 0.1), (4.0, 4.4, 0.1), (-4.0, -4.4, 0.1), (0.0, 0.0, 0.0)]
)
def test_the_distance_is_relative_above_one_and_absolute_below(
    recorded: float, computed: float, expected: float
) -> None:
    assert distance(recorded, computed) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("computed", "verdict"),
    [
        (epoch(), "bit-equal"),
        (epoch(loss=math.nextafter(0.5, 1.0)), "within tolerance"),
        (epoch(loss=0.5009), "within tolerance"),
        (epoch(loss=0.502), "drifted"),
        (epoch(loss=math.nan), "drifted"),
        (epoch(logits=[1.0, 2.0000002]), "within tolerance"),
        (epoch(logits=[1.0, 2.0, 3.0]), "drifted"),
        (Epoch({LOSS: 0.5}, epoch().arrays), "drifted"),
        (Epoch({**epoch().metrics, ("validation", "mcc", ""): 0.1}, epoch().arrays), "bit-equal"),
    ],
    ids=["same", "last bit", "near", "far", "nan", "a logit", "another shape", "one less", "one more"],
)
def test_the_verdict_follows_from_the_farthest_metric_and_every_bit(computed: Epoch, verdict: str) -> None:
    assert drift(epoch(), computed).verdict == verdict


def test_a_diverged_loss_is_equal_to_itself() -> None:
    assert drift(epoch(loss=math.nan), epoch(loss=math.nan)).verdict == "bit-equal"


def test_with_a_tolerance_of_zero_a_metrics_last_bit_is_drift() -> None:
    assert drift(epoch(), epoch(loss=math.nextafter(0.5, 1.0)), tolerance=0.0).verdict == "drifted"


def test_another_end_is_drift_however_equal_the_epochs_are() -> None:
    found = drift(epoch(), epoch(), ends="complete after epoch 2 as recorded, complete after epoch 1 now")
    assert found.verdict == "drifted"
    assert "after epoch 1 now" in found.words()


def test_the_sentence_names_the_farthest_metric_with_both_values_and_every_change() -> None:
    near, far = epoch(loss=0.51), epoch(loss=0.6)
    changed = (Change("torch", "2.12.0", "2.13.0"), Change("threads", 4, 1))
    found = Drift(compare({1: epoch(), 2: epoch()}, {1: near, 2: far}), "", changed, 1e-3)
    assert found.words() == (
        "drifted: at most 0.1, validation loss of epoch 2 (0.5 recorded, 0.6 now); "
        "changed: torch 2.12.0 → 2.13.0, threads 4 → 1"
    )


def test_drift_without_a_change_says_that_the_record_does_not_know_why() -> None:
    assert "outside of the record" in drift(epoch(), epoch(loss=1.0)).words()


def test_changes_are_named_by_their_innermost_name_and_what_was_not_recorded_is_none() -> None:
    then = {"packages": {"torch": "2.12.0"}, "device": {"name": "A", "kind": "cpu"}, "config": {"batch_size": 8}}
    now = {"packages": {"torch": "2.13.0", "new": "1"}, "device": {"name": "B", "kind": "cpu"}, "config": {}}
    assert [str(each) for each in changes(then, now)] == [
        "batch_size 8 → none",
        "device name A → B",
        "torch 2.12.0 → 2.13.0",
    ]


def test_amounts_of_memory_are_no_change_and_a_variable_that_was_not_set_is_one() -> None:
    then = {"memory_bytes": 1, "variables": {}, "device": {"memory_bytes": 2, "name": "A"}}
    now = {"memory_bytes": 3, "variables": {"OMP_NUM_THREADS": "2"}, "device": {"memory_bytes": 4, "name": "A"}}
    assert [str(each) for each in changes(around(then), around(now))] == ["OMP_NUM_THREADS none → 2"]

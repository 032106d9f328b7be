"""Rates are samples over seconds with their interval, and only trials that shared work alike are compared."""

from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pytest

from harness.analysis.speed import (
    comparable,
    doubling,
    learning_curve,
    phases,
    quality_against_time,
    rates,
    saved_by_sharing,
    sharing,
)
from tests.frames import summary

PREFIX = {"prefix": {"rows": 2000, "seconds": 3.0}}


def windows(*rows: tuple[int, float, int]) -> pd.DataFrame:
    """(trial, seconds, samples); 10 real and 20 padded tokens a sample. No study column, as of one study."""
    frame = pd.DataFrame(rows, columns=["trial", "seconds", "samples"]).astype({"trial": "Int64"})
    return frame.assign(tokens=frame["samples"] * 10, padded_tokens=frame["samples"] * 20)


# --- samples a second -----------------------------------------------------------------------------


def test_the_rate_of_a_configuration_is_all_samples_over_all_seconds():
    frame = rates(summary({}), windows((0, 1.0, 10), (0, 3.0, 90)))
    row = frame.iloc[0]
    assert (row["samples_per_second"], row["tokens_per_second"], row["padding"]) == (25.0, 250.0, 0.5)
    assert (row["sample"], row["n"], row["trials"]) == ("windows", 2, 1)
    assert row["low"] < 25.0 < row["high"]


def test_the_fastest_configuration_comes_first():
    frame = rates(summary({}, {}), windows((0, 1.0, 10), (0, 1.0, 11), (1, 1.0, 20), (1, 1.0, 21)))
    assert frame["configuration"].tolist() == [1, 0]


def test_three_trials_of_a_configuration_are_the_sample_instead_of_their_windows():
    one = {"configuration": 7}
    steady = [(trial, 1.0, 20 + trial) for trial in range(3) for _ in range(50)]
    row = rates(summary(one, one, one), windows(*steady)).iloc[0]
    assert (row["sample"], row["n"], row["samples_per_second"]) == ("trials", 3, 21.0)
    assert row["high"] - row["low"] > 4  # three values 20, 21, 22: windows alone would claim 0.3


def test_a_single_window_has_no_interval():
    row = rates(summary({}), windows((0, 2.0, 20))).iloc[0]
    assert row["samples_per_second"] == 10.0
    assert math.isnan(row["low"])


def test_a_busy_machine_is_told():
    loads = pd.DataFrame({"trial": [0, 0, 1], "load": [0.3, 0.5, 0.02]})
    frame = rates(summary({}, {}), windows((0, 1.0, 10), (1, 1.0, 20)), loads).set_index("configuration")
    assert frame["load"].to_dict() == {0: pytest.approx(0.4), 1: pytest.approx(0.02)}
    assert frame["busy"].to_dict() == {0: True, 1: False}


def test_an_unknown_load_is_missing_and_not_busy():
    row = rates(summary({}), windows((0, 1.0, 10))).iloc[0]
    assert math.isnan(row["load"])
    assert not row["busy"]


def test_trials_that_shared_work_are_a_group_of_their_own():
    one = {"configuration": 0}
    trials = summary(one, {**one, "shared_work": PREFIX})
    frame = rates(trials, windows((0, 1.0, 10), (1, 1.0, 900)))
    assert frame["shared"].tolist() == ["prefix", ""]
    assert frame["samples_per_second"].tolist() == [900.0, 10.0]


def test_trials_without_windows_are_not_listed():
    assert rates(summary({}, {"state": "waiting"}), windows((0, 1.0, 10)))["configuration"].tolist() == [0]


@pytest.mark.parametrize(
    ("work", "kinds"),
    [
        (None, ""),
        (math.nan, ""),
        ("", ""),
        ("{}", ""),
        ({"prefix": 0}, ""),
        (PREFIX, "prefix"),
        (json.dumps({"tokens": 5, "prefix": 1}), "prefix, tokens"),
        ({"prefix": {"cut": 7}, "fused": {"trials": 16}}, "fused of 16, prefix at 7"),
    ],
)
def test_shared_work_is_read_from_json_or_a_mapping(work, kinds):
    assert sharing(work) == kinds


def test_only_trials_that_shared_alike_are_compared_and_the_rest_is_counted():
    answer = comparable(summary({}, {"shared_work": PREFIX}, {}))
    assert answer.frame["trial"].tolist() == [0, 2]
    assert answer.note == "only the 2 of 3 that shared no work are compared"


def test_between_equally_many_those_that_did_their_own_work_stay():
    assert comparable(summary({"shared_work": PREFIX}, {})).frame["trial"].tolist() == [1]


def test_nothing_to_tell_apart_leaves_the_frame_as_it_is():
    answer = comparable(summary({}, {}))
    assert (len(answer.frame), answer.note) == (2, "")
    assert comparable(summary({}).iloc[:0]).frame.empty


# --- where time goes --------------------------------------------------------------------------------


def test_what_no_phase_claims_is_other():
    trials = summary({"load_seconds": 1.0, "train_seconds": 20.0, "evaluate_seconds": 4.0, "total_seconds": 30.0})
    row = phases(trials).iloc[0]
    assert row["other_seconds"] == 5.0
    assert "save_seconds" not in row.index


def test_clocks_that_overlap_by_rounding_leave_nothing_negative():
    assert phases(summary({"train_seconds": 20.01, "total_seconds": 20.0}))["other_seconds"].item() == 0.0


def test_trials_that_did_not_finish_are_not_timed():
    assert phases(summary({"total_seconds": 3.0}, {"total_seconds": None}))["trial"].tolist() == [0]


# --- quality against time -------------------------------------------------------------------------------


def test_the_front_holds_what_no_configuration_beats_in_both():
    trials = summary(
        {"f1": 0.80, "train_seconds": 10.0},
        {"f1": 0.90, "train_seconds": 30.0},
        {"f1": 0.70, "train_seconds": 20.0},
        {"f1": 0.99, "train_seconds": 1.0, "state": "failed", "reason": "oom"},
    )
    frame = quality_against_time(trials, "f1", "maximize")
    assert frame["configuration"].tolist() == [0, 2, 1]
    assert frame["front"].tolist() == [True, False, True]


def test_replicates_are_averaged():
    one = {"configuration": 0}
    frame = quality_against_time(
        summary({**one, "f1": 0.8, "train_seconds": 10.0}, {**one, "f1": 0.9, "train_seconds": 20.0}), "f1", "maximize"
    )
    assert (frame["f1"].item(), frame["train_seconds"].item(), frame["trials"].item()) == (
        pytest.approx(0.85),
        15.0,
        2,
    )


def test_a_cached_trial_does_not_push_a_whole_one_off_the_front():
    trials = summary({"f1": 0.8, "train_seconds": 10.0}, {"f1": 0.9, "train_seconds": 0.1, "shared_work": PREFIX})
    assert quality_against_time(trials, "f1", "maximize")["front"].tolist() == [True, True]


# --- what a doubling costs --------------------------------------------------------------------------------


def timed(*trials: tuple[int, int, str, float]) -> pd.DataFrame:
    """(batch_size, max_length, freeze, seconds for 1000 samples)."""
    return summary(
        *(
            {"batch_size": b, "max_length": m, "freeze": f, "train_samples_per_second": 1000 / s}
            for b, m, f, s in trials
        )
    )


def test_shares_of_a_groups_time_say_nothing_of_a_doubling():
    """Two groups, of 16 trials and of 2: the smaller one's shares are larger whatever its batches."""
    frame = timed(*[(8, 64, "classifier", 1.0)] * 16, *[(16, 64, "classifier", 4.0)] * 2)
    frame["shared_work"] = [{"fused": {"trials": 16}}] * 16 + [{"fused": {"trials": 2}}] * 2
    assert doubling(frame).frame.empty and "share of their group's time" in doubling(frame).note
    alone = timed((16, 64, "none", 10.0), (32, 64, "none", 21.0))
    alone["shared_work"] = None
    both = doubling(pd.concat([frame, alone], ignore_index=True)).frame
    assert both["factor"].item() == pytest.approx(2.1) and both["trials"].item() == 2


def test_a_matched_pair_gives_the_factor_of_a_doubling():
    frame, note = doubling(timed((16, 64, "none", 10.0), (16, 128, "none", 22.0)))
    assert frame["parameter"].tolist() == ["max_length"]
    assert frame["factor"].item() == pytest.approx(2.2)
    assert math.isnan(frame["low"].item())
    assert note == "too few trials for an interval"


def test_two_pairs_average_on_the_log_scale_and_have_an_interval():
    frame = doubling(
        timed((16, 64, "none", 10.0), (16, 128, "none", 20.0), (16, 64, "head", 3.0), (16, 128, "head", 3 * 2.42))
    ).frame
    assert frame["factor"].item() == pytest.approx(math.sqrt(2.0 * 2.42))
    assert frame["low"].item() < 2.0
    assert frame["high"].item() > 2.42


def test_both_sizes_are_told_apart_in_one_regression():
    rng = np.random.default_rng(0)
    covered = {"batch_size": 0, "max_length": 0}
    for _ in range(60):
        trials = [
            (int(b), int(m), f, float(base * (b / 8) ** -0.3 * (m / 32) ** 1.1 * np.exp(rng.normal(0, 0.02))))
            for b in (8, 16, 32)
            for m in (32, 64, 128)
            for f, base in (("none", 10.0), ("head", 2.0))
        ]
        frame = doubling(timed(*trials)).frame.set_index("parameter")
        for name, slope in (("batch_size", -0.3), ("max_length", 1.1)):
            assert frame.loc[name, "factor"] == pytest.approx(2**slope, rel=0.05)
            covered[name] += frame.loc[name, "low"] < 2**slope < frame.loc[name, "high"]
    assert min(covered.values()) >= 52  # 57 expected of 95% intervals


def test_the_regression_is_that_with_a_dummy_for_each_group():
    rng = np.random.default_rng(1)
    trials = [(int(b), 64, f, float(rng.uniform(5, 20))) for b in (8, 16, 32) for f in ("none", "head", "top-2")]
    frame = doubling(timed(*trials)).frame
    dummies = np.array([[f == g for g in ("none", "head", "top-2")] for _, _, f, _ in trials], dtype=float)
    x = np.column_stack([np.log2([t[0] for t in trials]), dummies])
    y = np.log2([t[3] / 1000 for t in trials])
    slopes, residue, _, _ = np.linalg.lstsq(x, y, rcond=None)
    error = math.sqrt(residue[0] / (9 - 4) * np.linalg.inv(x.T @ x)[0, 0])
    assert np.log2(frame["factor"].item()) == pytest.approx(slopes[0])
    assert np.log2(frame["high"].item()) == pytest.approx(slopes[0] + 2.570582 * error, rel=1e-5)  # t, 5 degrees


def test_sizes_that_only_vary_with_the_freezing_say_nothing():
    answer = doubling(timed((16, 64, "none", 10.0), (32, 64, "head", 2.0)))
    assert answer.frame.empty
    assert "not enough variation" in answer.note


def test_sizes_that_vary_only_together_say_nothing():
    answer = doubling(timed((8, 32, "none", 5.0), (16, 64, "none", 10.0), (32, 128, "none", 20.0)))
    assert answer.frame.empty
    assert "not enough variation" in answer.note


def test_without_variation_or_trials_nothing_is_told():
    assert "not enough variation" in doubling(timed((16, 64, "none", 10.0))).note
    assert "not enough variation" in doubling(timed((16, 64, "none", 1.0)).iloc[:0]).note


def test_cached_trials_stay_out_of_the_comparison():
    trials = timed((16, 64, "none", 10.0), (16, 128, "none", 20.0), (16, 256, "none", 0.01))
    trials["shared_work"] = [None, None, PREFIX]
    frame, note = doubling(trials)
    assert frame["factor"].item() == pytest.approx(2.0)
    assert note.startswith("only the 2 of 3 that shared no work")


def test_memory_can_be_the_cost():
    trials = summary({"batch_size": 8, "peak_memory_bytes": 100}, {"batch_size": 16, "peak_memory_bytes": 150})
    assert doubling(trials, "peak_memory_bytes").frame["factor"].item() == pytest.approx(1.5)


# --- more training rows -------------------------------------------------------------------------------------


def test_the_learning_curve_has_a_mean_and_an_interval_at_each_size():
    trials = summary(
        {"train": 500, "f1": 0.70}, {"train": 500, "f1": 0.74}, {"train": 2000, "f1": 0.80}, {"train": 2000, "f1": None}
    )
    frame = learning_curve(trials, "f1").frame
    assert frame["train"].tolist() == [500, 2000]
    assert frame["value"].tolist() == pytest.approx([0.72, 0.80])
    assert frame["low"].iloc[0] == pytest.approx(0.72 - 12.7062 * 0.02)
    assert math.isnan(frame["low"].iloc[1])


def test_a_study_of_one_size_has_no_learning_curve():
    assert learning_curve(summary({"f1": 0.7}, {"f1": 0.8}), "f1").frame.empty
    assert "did not vary" in learning_curve(summary({"train": 500, "f1": 0.7}, {"train": 500, "f1": 0.7}), "f1").note


# --- what sharing saved -----------------------------------------------------------------------------


def shared(cut: int, fill: float | None, saved: float | None, kind: str = "prefix") -> dict:
    amounts = {"cut": cut, "rows": 2400, "computed_rows": 800, "fill_seconds": fill, "saved_seconds": saved}
    return {"shared_work": {kind: amounts}, "total_seconds": 50.0}


def test_sharing_is_net_of_what_filling_cost():
    trials = summary(shared(6, 3.0, 41.0), shared(6, 0.0, 20.0), {"total_seconds": 42.0})
    (row,) = saved_by_sharing(trials).to_dict("records")
    assert (row["kind"], row["trials"], row["fill_seconds"], row["saved_seconds"]) == ("prefix", 2, 3.0, 61.0)
    assert row["net_seconds"] == 58.0
    assert row["share"] == pytest.approx(58 / (142 + 58))


def test_each_kind_of_sharing_has_a_row_and_one_that_cost_more_than_it_saved_is_below_zero():
    frame = saved_by_sharing(summary(shared(6, 3.0, 10.0), shared(6, 5.0, 1.0, "fused")))
    assert frame["kind"].tolist() == ["prefix", "fused"]
    assert frame["net_seconds"].tolist() == [7.0, -4.0]


def test_trials_that_do_not_say_what_they_saved_count_for_nothing():
    frame = saved_by_sharing(summary(shared(6, 3.0, None), shared(6, 1.0, 2.0), {"shared_work": {"prefix": "some"}}))
    assert frame[["trials", "fill_seconds", "saved_seconds", "silent"]].values.tolist() == [[3, 1.0, 2.0, 2]]


def test_without_shared_work_nothing_was_saved():
    assert saved_by_sharing(summary({"total_seconds": 1.0})).empty


def test_trials_cut_at_other_layers_are_not_compared_in_speed():
    work = [shared(6, 1.0, 2.0), shared(6, 0.0, 9.0), shared(9, 1.0, 2.0)]
    assert [sharing(each["shared_work"]) for each in work] == ["prefix at 6", "prefix at 6", "prefix at 9"]
    assert comparable(summary(*work)).frame["trial"].tolist() == [0, 1]

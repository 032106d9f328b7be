"""A night of linear classifiers: trained together, recorded one by one, no worse for a killed worker."""

import os
import signal

import pytest
import small_models
from nights import Night, worker_of

STUDY = """
study: night
task: sequence-classification
model: builtin:tiny
data: {path: "builtin:reviews", rows: 240, validation: 60}
fixed: {max_length: 24, batch_size: 8, dtype: fp32, freeze: classifier, epochs: EPOCHS}
search: {learning_rate: [1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1]}
sampler: grid
objective: loss
keep: 1
"""


def together(night: Night) -> list[int]:
    """How many trials each was trained with."""
    found = night.rows("SELECT json_extract(shared_work, '$.fused.trials') FROM harness_summary ORDER BY trial")
    return [count for (count,) in found]


def test_a_grid_of_learning_rates_is_trained_together_and_measures_the_same(tmp_path):
    nights = []
    for name, flags in (("together", ()), ("alone", ("--no-cache",))):
        (tmp_path / name).mkdir()
        night = Night(tmp_path / name, STUDY.replace("EPOCHS", "3"))
        code, output = night.run(*flags)
        assert code == 0, output
        nights.append(night)
    assert together(nights[0]) == [6] * 6 and together(nights[1]) == [None] * 6
    mine, theirs = (night.curves() for night in nights)
    assert [row[:5] for row in mine] == [row[:5] for row in theirs]
    assert [row[5] for row in mine] == pytest.approx([row[5] for row in theirs], rel=1e-4, abs=1e-5)


def test_trials_of_a_killed_worker_go_on_alone_and_lose_no_epoch(tmp_path):
    night = Night(tmp_path, STUDY.replace("EPOCHS", "40"))
    process = night.forked("run", "night.yaml")
    night.wait_for(process, lambda: night.epochs_of(5) >= 2)
    os.kill(worker_of(process.pid), signal.SIGKILL)
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    assert together(night) == [None] * 6
    assert night.rows("SELECT count(*), count(DISTINCT trial || '/' || epoch) FROM harness_epoch") == [(240, 240)]
    assert night.rows("SELECT count(*) FROM harness_incident WHERE kind = 'worker_died'") == [(6,)]


def test_trials_of_a_model_that_does_not_fuse_are_shared_by_the_workers(tmp_path):
    """As one job they would run one after another on one worker, while the others have nothing to do."""
    small_models.model_folder(tmp_path / "model", "distilbert")
    text = STUDY.replace("EPOCHS", "4").replace("model: builtin:tiny", f"model: {tmp_path / 'model'}")
    night = Night(tmp_path, text)
    code, output = night.run("--workers", "2")
    assert code == 0, output
    assert together(night) == [None] * 6
    assert night.rows("SELECT count(DISTINCT worker) FROM harness_trial") == [(2,)]


def test_companions_are_found_though_other_trials_come_between(tmp_path):
    mixed = STUDY.replace("EPOCHS", "2").replace(", freeze: classifier", "")
    mixed = mixed.replace("[1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1]", "[1e-4, 1e-3], freeze: [classifier, head]")
    night = Night(tmp_path, mixed + "replicates: 2\n")
    code, output = night.run()
    assert code == 0, output
    found = night.rows("SELECT freeze, seed, json_extract(shared_work, '$.fused.trials') FROM harness_summary")
    classifiers = [("classifier", seed, 2) for seed in (42, 43)] * 2
    heads = [("head", seed, None) for seed in (42, 43)] * 2
    assert sorted(found, key=str) == sorted(classifiers + heads, key=str)

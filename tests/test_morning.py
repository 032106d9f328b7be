"""The morning after: what ran, what failed, what was mended, the best with its interval, and what to run next."""

from __future__ import annotations

import ast
import json
import math
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import report_study
import test_report_confirmed
from typer.testing import CliRunner

from harness.analysis import next_steps as numbers
from harness.analysis.selection import expected_best
from harness.cli import app
from harness.configuration import Objective
from harness.records import REASONS, Incident
from harness.report import best, confirmed, expected, morning, next_steps, section
from harness.report.confirmed import Confirmed
from harness.report.study_frames import StudyFrames, opened
from harness.results.store import Store

PACKAGE = Path(morning.__file__).parent.parent
TOLD_ELSEWHERE = {"disk", "adaptation_failed", "recomputed epoch differs"}  # nothing mended them: they are noted


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve trials, one of them diverged and one pruned; one ran out of memory and went on."""
    found = report_study.make(tmp_path_factory.mktemp("morning") / "results.db")
    with Store.open(found) as store:
        store.record_incident(1, store.trials(1)[2].id, Incident("checkpoint_refused", "half written"))
        store.record_incident(1, store.trials(1)[4].id, Incident("oom", "half the batch"))
        store.record_incident(1, None, Incident("odd news", "the moon was full"))
    return found


@pytest.fixture(scope="module")
def study(path: Path) -> StudyFrames:
    return opened(path, "reviews")


@pytest.fixture(scope="module")
def again(tmp_path_factory: pytest.TempPathFactory) -> StudyFrames:
    """Two configurations much alike and a baseline, confirmed with five seeds."""
    return opened(test_report_confirmed.make(tmp_path_factory.mktemp("confirmed") / "results.db"), "reviews")


def made(folder: Path, **given: object) -> StudyFrames:
    return opened(report_study.make(folder / "results.db", **given), "reviews")  # type: ignore[arg-type]


# --- the best -------------------------------------------------------------------------------------------------


def test_the_best_is_told_with_the_interval_of_the_bootstrap(study: StudyFrames) -> None:
    row = best.of(study).sureness.frame.iloc[0]
    assert f"{row['low']:.4f} to {row['high']:.4f} (bootstrap)" in "\n".join(morning.of(study).best)


def test_what_is_expected_again_is_the_shrunken_score_worked_out_by_hand(study: StudyFrames) -> None:
    found = expected.of(study)
    assert found is not None
    alike = {best.of(study).standing.configuration, *best.of(study).sureness.not_distinguishable}  # type: ignore[union-attr]
    done = study.trials[(study.trials["state"] == "complete") & study.trials["configuration"].isin(alike)]
    assert len(done) >= 4
    table = []
    for trial, epoch in zip(done["trial"], done["best_epoch"], strict=True):
        logits = study.logits(int(trial), int(epoch)).astype(float)
        table.append([math.log(sum(math.exp(z - row[i % 2]) for z in row)) for i, row in enumerate(logits)])
    trials, examples = len(table), len(table[0])
    overall = sum(map(sum, table)) / trials / examples
    by_trial = [sum(row) / examples for row in table]
    by_example = [sum(row[i] for row in table) / trials for i in range(examples)]
    squares = sum(
        (table[k][i] - by_trial[k] - by_example[i] + overall) ** 2 for k in range(trials) for i in range(examples)
    )
    error = math.sqrt(squares / (trials - 1) / (examples - 1) / examples)
    scores = done["objective"].astype(float).tolist()
    centre = sum(scores) / trials
    factor = max(0.0, 1 - (trials - 3) * error**2 / sum((score - centre) ** 2 for score in scores))
    assert (found.seen, found.error) == (min(scores), pytest.approx(error))
    assert found.again == pytest.approx(centre + factor * (min(scores) - centre))
    assert found.again > found.seen  # a loss: the lowest was lucky
    words = expected.words(study)
    assert f"{found.seen:.4f} is seen, about {found.again:.4f} expected again" in words
    assert words in morning.of(study).best
    assert "Efron and Morris, 1977" in section.get("overview").build(study).notes[0]


def test_nothing_is_expected_of_three_trials_or_of_a_metric_that_is_no_mean(tmp_path: Path) -> None:
    for folder, given in (("few", {"trials": 3}), ("f1", {"objectives": [Objective("f1", "maximize", "best")]})):
        (tmp_path / folder).mkdir()
        frames = made(tmp_path / folder, states={}, **given)
        assert best.of(frames).standing is not None
        assert expected.of(frames) is None and expected.words(frames) == ""


def test_a_confirmed_study_tells_what_new_seeds_came_to_instead(again: StudyFrames) -> None:
    found = confirmed.of(again)
    assert found is not None and expected.of(again) is None
    scores = found.table[0].to_numpy()
    half = 2.7764451 * scores.std(ddof=1) / math.sqrt(5)  # Student's t, 4 degrees of freedom, 97.5%
    low, high = (f"{100 * (scores.mean() + side * half):.1f}%" for side in (-1, 1))
    (told,) = [words for words in morning.of(again).best if words.startswith("Confirmed over 5 new seeds")]
    assert f"comes to {100 * scores.mean():.1f}% on the 400 test rows, 95% interval {low} to {high}" in told


# --- what ran, failed, was mended -----------------------------------------------------------------------------


def test_a_failure_is_told_with_its_trial_its_message_and_what_helps(study: StudyFrames) -> None:
    found = morning.of(study)
    assert found.ran[0] == "12 trials: 10 complete, 1 pruned and 1 failed (failed: 1 diverged)."
    told = "1 diverged (trial 3): training loss was nan at step 71. Lower learning_rate or warm up longer."
    assert found.failed[0] == told


def test_what_was_mended_is_told_by_kind_with_its_trials(study: StudyFrames) -> None:
    assert list(morning.of(study).mended) == [
        "Out of memory, gone on without CUDA graphs or in smaller parts of a batch, 2 × (trials 0 and 4).",
        "A damaged checkpoint was set aside, once (trial 2).",
    ]


def test_what_is_of_an_unknown_kind_is_not_called_mended(study: StudyFrames) -> None:
    assert "Noted once, odd news: the moon was full." in morning.of(study).failed


def test_a_confirmation_is_no_trouble(again: StudyFrames) -> None:
    found = morning.of(again)
    assert (list(found.failed), list(found.mended)) == ([], [])


def test_every_kind_of_incident_that_can_be_recorded_has_its_words() -> None:
    kinds = set()
    others = ("script", "callback")  # of a Trainer script nothing is mended: what it tells is noted
    for file in (each for each in PACKAGE.rglob("*.py") if not any(word in each.name for word in others)):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Incident":
                kinds |= {node.args[0].value} if isinstance(node.args[0], ast.Constant) else set()
    assert {"oom", "interrupted", "checkpoint_refused"} <= kinds
    assert kinds - TOLD_ELSEWHERE <= set(morning._MENDED)
    assert set(REASONS) == set(morning._REMEDIES)


# --- what to run next -----------------------------------------------------------------------------------------


def steps(study: StudyFrames) -> str:
    return "\n".join(f"{each.words} {each.command}" for each in next_steps.of(study))


def test_what_cannot_be_told_apart_is_to_be_confirmed_by_the_command_that_does_it(study: StudyFrames) -> None:
    alike = best.of(study).sureness.not_distinguishable
    assert alike
    top = min(len(alike) + 1, next_steps.MOST)
    assert f"harness confirm reviews --top {top} --seeds 5" in steps(study)


@pytest.mark.parametrize("passed_over", [[1, 2], [1, 2, 3]])
def test_the_examples_that_would_be_needed_are_those_of_the_comparison(path: Path, passed_over: list[int]) -> None:
    frames = opened(path, "reviews")
    found = best.of(frames)
    others = found.sureness.frame.drop(index=passed_over).reset_index(drop=True)  # those that differ by nothing
    frames._computed["best"] = found._replace(sureness=found.sureness._replace(frame=others))
    first = section.get("comparison").build(frames).findings[0]
    (needed,) = re.findall(r"; (.*) examples would be needed", first)
    assert f" would take {needed} validation examples, not 60 " in steps(frames)


def test_what_is_waiting_comes_first(tmp_path: Path) -> None:
    frames = made(tmp_path, trials=6, states={})
    with Store.open(tmp_path / "results.db") as store, store.hold(1):
        config = store.trials(1)[0].config
        store.add_trial(1, config, 43, 1, None, "sampled")
    first = next_steps.of(opened(tmp_path / "results.db", "reviews"))
    assert [first[0].words, first[0].command] == ["Go on: 1 trial of 7 still to come.", "harness run reviews"]
    assert len(first) == 1  # nothing is to be confirmed before the search is over
    assert "Confirm" in steps(frames)


def test_where_nothing_completed_what_failed_is_to_be_mended(tmp_path: Path) -> None:
    frames = made(tmp_path, trials=2, states={0: "failed", 1: "failed"})
    assert steps(frames) == "No trial completed: mend first what failed. harness doctor reviews"


def after_three_seeds(
    folder: Path, monkeypatch: pytest.MonkeyPatch, shares: tuple[float, ...], baseline: bool = True
) -> tuple[StudyFrames, Confirmed]:
    """Three configurations that are right on such shares of the rows, confirmed."""
    monkeypatch.setattr(test_report_confirmed, "SHARES", shares)
    path = test_report_confirmed.make(folder / "results.db", seeds=3, baseline=baseline)
    frames = opened(path, "reviews")
    found = confirmed.of(frames)
    assert found is not None
    return frames, found


def test_after_a_confirmation_that_tells_nothing_is_left_to_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames, found = after_three_seeds(tmp_path, monkeypatch, (0.95, 0.80, 0.60))
    assert all(each.told_apart for each in found.comparisons)
    assert steps(frames).startswith("Nothing: configuration 0") and "--paper" in steps(frames)


def test_a_best_that_never_met_another_is_not_said_to_be_told_apart_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames, found = after_three_seeds(tmp_path, monkeypatch, (0.60, 0.95, 0.80), baseline=False)
    met = {number for pair in found.pairs if 1 in pair for number in pair}
    unmet = sorted(set(found.table.columns) - met)
    said = steps(frames)
    assert unmet and f"was not compared with {found.names[unmet[0]].partition(' (')[0]}" in said, said
    assert "Nothing" not in said


def test_after_a_confirmation_that_tells_nothing_yet_more_seeds_or_the_cheapest_are_advised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames, found = after_three_seeds(tmp_path, monkeypatch, (0.90, 0.899, 0.60))
    untold = [
        each for each, pair in zip(found.comparisons, found.pairs, strict=True) if 0 in pair and not each.told_apart
    ]
    assert [each.b.partition(" (")[0] for each in untold] == ["configuration 1"]
    said = steps(frames)
    more = [each.needed for each in untold if each.needed is not None and 3 < each.needed <= next_steps.MOST_SEEDS]
    assert (f"--seeds {max(more)}" in said) if more else ("--seeds" not in said)
    assert "Take configuration" in said or "Take the baseline" in said


def test_the_advice_quotes_a_name_that_a_shell_would_read_otherwise() -> None:
    command = next_steps._command("confirm", "a study; rm -r x", "--top", "2")
    assert shlex.split(command) == ["harness", "confirm", "a study; rm -r x", "--top", "2"]


RATE = {"low": 1e-5, "high": 1e-3, "log": True}


@pytest.mark.parametrize(
    ("space", "chosen", "expected_end"),
    [
        ({"learning_rate": RATE}, {"learning_rate": 9.5e-4}, "high"),
        ({"learning_rate": RATE}, {"learning_rate": 1.1e-5}, "low"),
        ({"learning_rate": RATE}, {"learning_rate": 1e-4}, None),
        ({"learning_rate": RATE | {"log": False}}, {"learning_rate": 5e-5}, "low"),
        ({"batch_size": [8, 16, 32]}, {"batch_size": 32}, "high"),
        ({"batch_size": [8, 16, 32]}, {"batch_size": 16}, None),
        ({"batch_size": [8, 16]}, {"batch_size": 16}, None),  # of two, each is an end
        ({"epochs": {"low": 2, "high": 5}}, {"epochs": 5}, "high"),
        ({"epochs": {"low": 1, "high": 5}}, {"epochs": 1}, None),  # there is nothing below one
        ({"epochs": {"low": 2, "high": 50}}, {"epochs": 49}, None),  # whole numbers: only the end is one
        ({"dropout": {"low": 0.0, "high": 0.5}}, {"dropout": 0.0}, None),
        ({"max_length": [128, 256, 512]}, {"max_length": 512}, None),  # encoders end there
        ({"freeze": ["none", "head", "top-2"]}, {"freeze": "none"}, None),
        ({"learning_rate": RATE}, {"learning_rate": math.nan}, None),
    ],
)
def test_a_best_value_at_an_end_that_can_be_moved_is_a_border(
    space: dict, chosen: dict, expected_end: str | None
) -> None:
    assert [each.end for each in numbers.borders(space, chosen)] == ([] if expected_end is None else [expected_end])


def test_a_border_is_told_with_its_end_and_the_best_value() -> None:
    (found,) = numbers.borders({"learning_rate": RATE}, {"learning_rate": 9.5e-4})
    words = "Extend learning_rate above 0.001: the best lies at that end of what was searched, with 9.5e-4."
    assert next_steps._extend(found) == words


def test_doubling_is_the_expected_best_of_all_beside_that_of_half() -> None:
    values = np.random.default_rng(3).normal(0.8, 0.02, 12)
    found = numbers.doubling(values, "maximize")
    curve = expected_best(values)
    assert found is not None and found.half == 6
    assert found.gain == pytest.approx(curve[11] - curve[5]) and found.gain > 0
    assert numbers.doubling(values[:7], "maximize") is None


def test_the_place_of_the_best_counts_trials_without_a_value_too() -> None:
    assert numbers.place_of_best([0.5, math.nan, 0.7, 0.7], "maximize") == 3
    assert numbers.place_of_best([0.5, math.nan, 0.7], "minimize") == 1
    assert numbers.place_of_best([math.nan], "minimize") is None


# --- two places, one morning ----------------------------------------------------------------------------------


def told(path: Path, *more: str) -> str:
    done = CliRunner().invoke(app, ["status", "--morning", "--db", str(path), *more], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_the_terminal_says_what_the_first_screen_says(path: Path, study: StudyFrames) -> None:
    content = section.get("overview").build(study)
    output = " ".join(told(path).split())
    for sentence in [*content.findings, *(words for _, group in content.groups for words in group)]:
        for part in sentence.split(" → "):
            assert " ".join(part.split()) in output.replace("- ", "")


def test_the_morning_as_json_holds_each_step_with_its_command(path: Path, study: StudyFrames) -> None:
    (found,) = json.loads(told(path, "--json"))
    assert found["study"] == "reviews" and found["best"] == list(morning.of(study).best)
    assert "harness confirm" in " ".join(step["command"] for step in found["steps"])


def test_a_morning_needs_neither_torch_nor_matplotlib() -> None:
    heavy = "{'torch', 'transformers', 'datasets', 'matplotlib', 'optuna'}"
    code = f"import sys, harness.report.morning, harness.report.plain\nprint(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

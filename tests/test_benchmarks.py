"""The comparison with the plain Trainer: its arithmetic, its cases, its statistics and its pages."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest
from results_support import epoch, prepared, running, study_file

import benchmarks.growth as growth
import benchmarks.table as table
from benchmarks.baselines import VARIANTS, freeze_parameters
from benchmarks.cases import CASES, DRAWS, QUALITY, study_text
from benchmarks.commands import SIDES, CommandFailed, results_of
from benchmarks.extrapolation import epoch_seconds, whole_seconds
from benchmarks.quality import agreement, chosen, margin_of, needed, tost
from benchmarks.rows import asked
from benchmarks.run import arguments, best_of, within_tolerance
from benchmarks.run import main as benchmark
from benchmarks.slices import cut, evaluation_rows, spread, summarise
from harness.records import TrialOutcome
from harness.results.store import Store
from harness.spec import parse_study

SHAPE = ["none", 10, 128]
SLICES = {
    "side": "B1",
    "repeat": 0,
    "load": {"average": 0.1, "busy": 0.02},
    "startup": 5.0,
    "one_time": 1.0,
    "teardown": 0.5,
    "parts": [
        {
            "shape": SHAPE,
            "steps": [0.1, 0.3],
            "evaluation": 0.5,
            "evaluation_rows": 20,
            "save": 0.25,
            "overhead": 2.0,
        }
    ],
}


# --- extrapolation --------------------------------------------------------------------------------------


def test_an_epoch_is_its_steps_its_evaluation_and_its_checkpoint() -> None:
    # 95 rows are 9.5 batches of 0.2 s; 40 rows are evaluated in twice 0.5 s
    assert epoch_seconds(SLICES["parts"][0], 10, 95, 40) == pytest.approx(9.5 * 0.2 + 1.0 + 0.25)


def test_a_case_is_one_start_and_every_trial() -> None:
    # 3 trials of 4 epochs: 5 + 1 + 0.5, and 3 (2 + 4 (2 + 1 + 0.25))
    assert whole_seconds(SLICES, [(SHAPE, 4, 3)], 100, 40) == pytest.approx(6.5 + 3 * (2 + 4 * 3.25))


def test_kinds_of_trials_add_up_after_a_single_start() -> None:
    both = whole_seconds(SLICES, [(SHAPE, 4, 3), (SHAPE, 1, 2)], 100, 40)
    assert both == pytest.approx(
        whole_seconds(SLICES, [(SHAPE, 4, 3)], 100, 40) + whole_seconds(SLICES, [(SHAPE, 1, 2)], 100, 40) - 6.5
    )


def test_seconds_outside_of_steps_evaluation_and_checkpoint_are_overhead() -> None:
    times = {
        "step_begin": [1.0, 4.0, 6.0],
        "step_end": [4.0, 6.0, 9.0],
        "epoch_end": [9.0],
        "evaluate": [10.5],
        "save": [11.0],
    }
    found = summarise(times, whole=14.0, warm_steps=1)
    assert found == {"steps": [2.0, 3.0], "evaluation": 1.5, "save": 0.5, "overhead": 14.0 - 8.0 - 1.5 - 0.5}


@pytest.mark.parametrize("by_length", [False, True])
def test_a_few_batches_stand_for_the_mean_of_an_epoch(by_length: bool) -> None:
    lengths = np.random.default_rng(0).geometric(0.05, 3_000).clip(3, 128).tolist()
    batches = cut(lengths, 16, by_length)
    assert sorted(row for batch in batches for row in batch) == sorted(set(row for batch in batches for row in batch))

    def padded(some: list[list[int]]) -> float:
        return float(np.mean([max(lengths[row] for row in batch) for batch in some]))

    assert padded(spread(batches, lengths, 20)) == pytest.approx(padded(batches), rel=0.03)
    assert spread(batches, lengths, 10_000) != batches
    assert sorted(spread(batches, lengths, 10_000)) == sorted(batches)


def test_a_short_evaluation_is_measured_whole() -> None:
    assert evaluation_rows([5] * 30, 8, 4, by_length=False) == list(range(30))
    assert len(evaluation_rows([5] * 100, 8, 4, by_length=False)) == 32


# --- cases ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_a_case_is_a_study_file_of_the_same_trials(case) -> None:
    spec = parse_study(study_text("benchmark", case.configurations, Path("/rows"), "builtin:tiny", case.seeds)).spec
    assert spec.budget.trials == case.trials == sum(part.trials for part in case.parts())
    assert [each["learning_rate"] for each in spec.configurations] == [c.learning_rate for c in case.configurations]
    assert [each["freeze"] for each in spec.configurations] == [c.freeze for c in case.configurations]


def test_the_mixed_study_has_thirty_trials_of_three_kinds() -> None:
    parts = {part.shape.freeze: (part.epochs, part.trials) for part in CASES["mixed"].parts()}
    assert parts == {"none": (3, 10), "top-2": (3, 10), "classifier": (20, 10)}


def test_learning_rates_are_those_of_the_stated_seed() -> None:
    assert tuple(np.random.default_rng(0).random(100).round(4).tolist()) == DRAWS


def test_seeds_are_replicates_of_one_study() -> None:
    text = study_text("benchmark", [QUALITY["full"]], Path("/rows"), "builtin:tiny", seeds=(7, 8, 9))
    spec = parse_study(text).spec
    assert (spec.seed, spec.budget.trials) == ([7, 8, 9], 3)


def test_a_number_of_rows_may_name_its_split() -> None:
    assert asked("1000") == 1000
    assert asked("validation:1000") == {"split": "validation", "size": 1000}


def test_a_side_that_does_not_exist_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert arguments(["--sides", "ours,B2"]).sides == ["ours", "B2"]
    with pytest.raises(SystemExit):
        arguments(["--sides", "theirs"])
    told = capsys.readouterr().err
    assert "'theirs'" in told and all(side in told for side in SIDES)


def test_a_case_may_be_repeated_less_often(capsys: pytest.CaptureFixture[str]) -> None:
    assert arguments(["--cases", "full,mixed:1"]).cases == {"full": None, "mixed": 1}
    for wrong in ("mixed:0", "mixed:x", "nothing"):
        with pytest.raises(SystemExit):
            arguments(["--cases", wrong])
        assert repr(wrong)[:8] in capsys.readouterr().err


def test_test_rows_need_configurations_to_choose_from_and_seeds(capsys: pytest.CaptureFixture[str]) -> None:
    assert arguments("--test test:24 --ranks 1 --quality-seeds 3".split()).test == "test:24"
    for more in ("--ranks 1", "--quality-seeds 3"):
        with pytest.raises(SystemExit):
            arguments(["--test", "24", *more.split()])
        assert "--test needs --ranks" in capsys.readouterr().err


# --- the baselines --------------------------------------------------------------------------------------


@pytest.mark.parametrize("freeze", ["none", "top-2", "head", "classifier"])
def test_a_baseline_trains_the_parameters_that_ours_trains(freeze: str) -> None:
    import torch
    import transformers

    from harness.architectures import describe, layer_count
    from harness.builtin.tiny import folder
    from harness.freezing import frozen

    config = transformers.AutoConfig.from_pretrained(folder())
    with torch.device("meta"):
        model = transformers.AutoModelForSequenceClassification.from_config(config)
    freeze_parameters(model, freeze)
    parameters = [describe(name, config) for name, _ in model.named_parameters()]
    fixed = frozen(parameters, freeze, 1, 3, layer_count(config))
    assert {name for name, parameter in model.named_parameters() if not parameter.requires_grad} == fixed


def test_only_the_tutorial_saves_and_only_the_tuned_one_groups() -> None:
    assert [name for name, each in VARIANTS.items() if each.arguments["save_strategy"] == "epoch"] == ["B0"]
    assert [name for name, each in VARIANTS.items() if "train_sampling_strategy" in each.arguments] == ["B2"]


# --- our side -------------------------------------------------------------------------------------------


def test_results_are_those_of_the_last_epoch_and_of_no_unfinished_study(tmp_path: Path) -> None:
    path = tmp_path / "results.db"
    with Store.open(path) as store:
        study = store.create_study(study_file("benchmark"))
        with store.hold(study):
            store.record_prepared(study, prepared())
            trial = running(store, study, model="builtin:tiny")
            for number, loss in ((1, 0.4), (2, 0.7)):
                store.record_epoch(trial.id, epoch(number, validation=loss))
            store.finish_trial(trial.id, TrialOutcome("complete"))
    assert results_of(path, 1) == [{"seed": 42, "validation_loss": 0.7, "accuracy": 0.5}]
    with pytest.raises(CommandFailed, match="1 of 2 trials"):
        results_of(path, 2)


# --- quality --------------------------------------------------------------------------------------------


def tost_by_simulation(ours: list[float], theirs: list[float], margin: float) -> float:
    """The larger p value of two one-sided Welch tests, with the t distribution drawn instead of looked up."""
    a, b = np.array(ours), np.array(theirs)
    va, vb = a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)
    freedom = (va + vb) ** 2 / (va**2 / (len(a) - 1) + vb**2 / (len(b) - 1))
    drawn = np.random.default_rng(1).standard_t(freedom, 2_000_000)
    error = np.sqrt(va + vb)
    difference = a.mean() - b.mean()
    return float(max((drawn > (difference + margin) / error).mean(), (drawn < (difference - margin) / error).mean()))


@pytest.mark.parametrize("shift", [0.0, 0.004, -0.004, 0.02])
def test_tost_is_two_one_sided_tests(shift: float) -> None:
    ours, theirs = [0.901 + shift, 0.903 + shift, 0.9 + shift, 0.904 + shift], [0.900, 0.904, 0.903]
    assert tost(ours, theirs, 0.005).p_value == pytest.approx(tost_by_simulation(ours, theirs, 0.005), abs=2e-3)


def test_an_interval_within_the_margin_is_the_same_as_two_significant_tests() -> None:
    for shift in np.linspace(-0.01, 0.01, 41):
        found = tost([0.900 + shift, 0.902 + shift, 0.904 + shift], [0.900, 0.901, 0.905, 0.902], 0.006)
        assert (found.verdict == "equivalent") == (-0.006 < found.low and found.high < 0.006)


def test_a_difference_beyond_the_margin_is_told() -> None:
    found = tost([0.80, 0.801, 0.799], [0.90, 0.901, 0.899], 0.005)
    assert (found.verdict, found.seeds) == ("different", None)
    assert found.difference == pytest.approx(-0.1)


def test_too_few_seeds_cannot_tell() -> None:
    assert tost([0.9, 0.9], [0.9, 0.9], 0.005).verdict == "cannot tell"
    noisy = tost([0.90, 0.92, 0.91], [0.93, 0.90, 0.91], 0.005)
    assert noisy.verdict == "cannot tell"
    assert noisy.seeds is not None and noisy.seeds > 3


def test_the_seeds_that_would_be_needed_are_enough_and_not_one_more() -> None:
    ours, theirs = [0.90, 0.92, 0.91], [0.92, 0.90, 0.91]  # equal means, variance 1e-4 each
    seeds = needed(ours, theirs, 0.005)
    assert seeds is not None

    def verdict(count: int) -> str:
        values = np.resize([-1.0, 1.0], count)
        values = (values - values.mean()) / values.std(ddof=1) * 0.01 + 0.91
        return tost(values.tolist(), values.tolist(), 0.005).verdict

    assert [verdict(seeds - 1), verdict(seeds)] == ["cannot tell", "equivalent"]


def test_equal_values_of_all_seeds_need_no_chance() -> None:
    assert tost([0.9] * 3, [0.9] * 3, 0.005).verdict == "equivalent"
    assert tost([0.8] * 3, [0.9] * 3, 0.005).verdict == "different"


def test_the_margin_is_half_a_point_or_half_of_the_spread() -> None:
    assert margin_of("accuracy", [0.9, 0.9, 0.9]) == 0.005
    assert margin_of("accuracy", [0.85, 0.9, 0.95]) == pytest.approx(0.025)


# --- pages ----------------------------------------------------------------------------------------------

RECORD = {
    "name": "test",
    "began": "2030-01-02T03:04:05+00:00",
    "machine": {
        "cpu": "A CPU",
        "cores": {"usable": 2},
        "memory_bytes": 2**34,
        "python": "3.12.1",
        "packages": {"torch": "2.13.0", "transformers": "5.23.0", "optuna": "5.0.0"},
        "device": {"kind": "cpu", "name": "A CPU", "threads": 2},
        "peak_flops": {"float32": 1e11, "bfloat16": 4e11},
    },
    "arguments": {"workers": 2, "repeats": 3},
    "data": "reviews",
    "model": "small",
    "rows": {"train": 100, "validation": 40},
    "tokens": {"mean": 20.0, "longest": 60},
    "cases": [{"name": "full", "title": "one trial", "trials": 1, "parts": [[SHAPE, 4, 3]], "flops": 1e12}],
    "slices": [SLICES],
    "timings": [
        {"case": "full", "side": "ours", "cache": cache, "repeat": repeat, "seconds": seconds, "load": SLICES["load"]}
        for cache, values in {"cold": (10.0, 14.0, 12.0), "warm": (6.0, 5.0, 7.0)}.items()
        for repeat, seconds in enumerate(values)
    ],
    "validation": [{"side": "B1", "shape": SHAPE, "rows": 50, "expected": 10.3, "whole": 10.0}],
    "quality": [],
}

MIXED = RECORD["cases"][0] | {"name": "mixed", "title": "thirty trials"}


def line(text: str, start: str) -> list[str]:
    """Cells of the table row that begins so."""
    row = next(each for each in text.splitlines() if each.startswith(f"| {start}"))
    return [each.strip() for each in row.strip("|").split("|")]


def test_a_table_has_median_and_range_and_marks_what_is_extrapolated() -> None:
    shown = table.times(RECORD)
    assert line(shown, "harness run ")[1] == "12 (10 to 14)"
    assert line(shown, "harness run, cache filled")[1] == "6 (5 to 7)"
    assert line(shown, "Trainer, dynamic padding (B1)")[1] == "~51.5"
    assert "B2" not in shown


def test_a_whole_run_goes_before_the_extrapolation() -> None:
    record = copy.deepcopy(RECORD)
    record["timings"].append(record["timings"][0] | {"side": "B1", "seconds": 50.0})
    assert line(table.times(record), "Trainer, dynamic padding (B1)")[1] == "50"
    assert line(table.factors(record), "B1 / ours cold")[1] == "4.2"


def test_factors_and_utilisation_are_of_medians() -> None:
    assert line(table.factors(RECORD), "B1 / ours cold")[1] == "~4.3"  # 51.5 / 12
    assert line(table.factors(RECORD), "B1 / ours warm")[1] == "~8.6"  # 51.5 / 6
    assert line(table.utilisation(RECORD), "harness run ")[1] == "21%"  # 1e12 / 12 / 4e11


def test_a_factor_without_numbers_has_no_row() -> None:
    cold = RECORD | {"timings": [each for each in RECORD["timings"] if each["cache"] == "cold"]}
    assert "ours cold" in table.factors(cold) and "ours warm" not in table.factors(cold)


def test_an_extrapolation_beyond_five_per_cent_is_seen() -> None:
    assert within_tolerance(RECORD)
    assert line(table.validation(RECORD), "B1")[-1] == "+3.0%"
    assert not within_tolerance({"validation": [RECORD["validation"][0] | {"expected": 9.4}]})


def test_pages_name_beside_the_figures_which_side_was_off_by_more_than_is_allowed() -> None:
    check = RECORD["validation"][0]
    others = [check | {"expected": 10.58}, check | {"expected": 9.3}, check | {"side": "B2", "expected": 10.4}]
    record = RECORD | {"validation": [check, *others]}
    said = "off by more than 5%: B1 by -7.0% at most. "
    for shown, before in ((table.short(record), "- **full**"), (table.page(record), "## Utilisation")):
        assert table.times(record) in shown.partition(said)[0]
        assert said in shown.partition(before)[0]
    assert "off by more than" not in table.page(RECORD) + table.short(RECORD)


def test_quality_tells_its_verdict_with_margin_and_seeds() -> None:
    test = tost([0.90, 0.92, 0.91], [0.93, 0.90, 0.91], 0.005)._asdict()
    trials = [{"accuracy": 0.91}, {"accuracy": 0.93}]
    entry = {"case": "full", "side": "ours", "baseline": "B1", "rows": 50, "seeds": [1, 2, 3]}
    record = RECORD | {"quality": [entry | {"ours": trials, "theirs": trials, "tests": {"accuracy": test}}]}
    cells = line(table.page(record), "full, ours and B1")
    assert cells[2:5] == ["3", "0.9200", "0.9200"]
    assert cells[-1].startswith("cannot tell; ") and cells[-1].endswith(" seeds would be needed")


@pytest.mark.parametrize(
    ("ours", "again", "holds"),
    [
        ([1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 4.0, 3.0], True),
        ([4.0, 3.0, 2.0, 1.0], [1.0, 2.0, 4.0, 3.0], False),
        ([1.0, 1.0, 1.0, 1.0], [1.0, 2.0, 4.0, 3.0], None),
    ],
)
def test_ranks_agree_when_ours_orders_as_the_trainer_does_twice(
    ours: list[float], again: list[float], holds: bool | None
) -> None:
    theirs = [0.5, 0.6, 0.7, 0.8]
    found = agreement(ours, theirs, again)
    assert found.holds is holds and found.theirs == pytest.approx(1 - 6 * 2 / (4 * 15))  # 1 - 6 sum d^2 / (n (n^2 - 1))
    entry = {"baseline": "B1", "rows": 50, "configurations": 4, "metric": "accuracy", "holds": holds, "theirs": 0.8}
    entry["ours"] = None if holds is None else found.ours
    cells = line(table.page(RECORD | {"ranks": [entry]}), "accuracy")
    assert cells[1:] == {
        True: ["1.00", "0.80", "as alike"], False: ["-1.00", "0.80", "less alike"], None: ["–", "0.80", "cannot tell"]
    }[holds]  # fmt: skip


@pytest.mark.parametrize(
    ("shift", "seeds", "holds"), [(0.9, 3, True), (1.1, 3, False), (-1.1, 3, False), (0.0, 2, None)]
)
def test_what_is_chosen_may_lie_one_standard_deviation_of_the_trainer_apart(
    shift: float, seeds: int, holds: bool | None
) -> None:
    theirs = [0.70, 0.71, 0.72][:seeds]
    found = chosen([value + 0.01 * shift for value in theirs], theirs)
    assert found.holds is holds and found.difference == pytest.approx(0.01 * shift)
    told = {"difference": found.difference, "spread": None if holds is None else found.spread, "holds": holds}
    told["means"] = [0.75, 0.71]
    picked = [{"freeze": "top-2", "learning_rate": 1e-4}, {"freeze": "none", "learning_rate": 5e-5}]
    entry = {"baseline": "B1", "rows": 50, "test": 2000, "seeds": list(range(seeds)), "configurations": picked}
    page = table.page(RECORD | {"chosen": [entry | {"accuracy": told, "validation_loss": told}]})
    assert line(page, "accuracy")[1:3] == ["0.7500", "0.7100"]
    assert line(page, "accuracy")[-1] == {True: "within it", False: "further apart", None: "cannot tell"}[holds]
    assert "ours chooses freeze top-2, learning rate 0.0001; B1 freeze none, learning rate 5e-05" in page


def test_the_best_is_the_one_of_lowest_loss() -> None:
    assert best_of([{"validation_loss": 0.5}, {"validation_loss": 0.3}, {"validation_loss": 0.3}]) == 1


def test_the_readme_keeps_all_but_what_stands_between_the_markers() -> None:
    once = table.with_table("# a\n\ntext\n\n## What it does not do\n\nmuch\n", "first\n")
    assert once.startswith("# a\n\ntext\n\n## How fast\n\n") and once.endswith("## What it does not do\n\nmuch\n")
    twice = table.with_table(once, "second\n")
    assert twice == once.replace("first", "second")
    assert twice.count(table.BEGIN) == twice.count(table.END) == twice.count(table.HEADING) == 1


def test_of_each_name_the_result_that_began_last_is_shown_and_most_cases_come_first(tmp_path: Path) -> None:
    assert table.results(tmp_path) == []
    for day, name, began, cases in (
        ("2030-01-02", "one", "2030-01-02T00:00:00+00:00", 1),
        ("2030-01-02", "two", "2030-01-02T09:00:00+00:00", 9),
        ("2030-01-03", "two", "2030-01-03T00:00:00+00:00", 2),
    ):
        (tmp_path / f"{day}-{name}.json").write_text(json.dumps({"began": began, "cases": [{}] * cases}))
    assert [path.name for path in table.results(tmp_path)] == ["2030-01-03-two.json", "2030-01-02-one.json"]


def test_what_was_measured_beside_stands_below_with_its_own_day_and_factors() -> None:
    other = RECORD | {"began": "2031-05-06T00:00:00+00:00"}
    _, _, below = table.page(RECORD, [other]).partition("## Further cases: test, 2031-05-06")
    assert "2031-05-06" in below and table.times(other) in below and table.factors(other) in below
    assert "Further cases" not in table.page(RECORD)
    _, _, untimed = table.page(RECORD, [other | {"timings": []}]).partition("## Further cases: test, 2031-05-06")
    assert "2031-05-06" in untimed and "times as long" not in untimed


def test_a_case_that_the_longest_record_lacks_comes_from_the_newest_that_timed_it() -> None:
    def timed(day: str, seconds: float, **more: object) -> dict[str, object]:
        timings = [RECORD["timings"][0] | {"case": "mixed", "seconds": seconds}]
        return RECORD | {"began": f"{day}T00:00:00", "cases": [MIXED], "timings": timings, "slices": []} | more

    others = [timed("2030-01-03", 70.0), timed("2030-01-05", 80.0), timed("2030-01-04", 75.0)]
    others.append(timed("2030-01-06", 90.0, model="large"))
    shown = table.short(RECORD, others)
    assert line(shown, "harness run ")[1:] == ["12 (10 to 14)", "80"]
    assert line(shown, "Trainer, dynamic")[1:] == ["~51.5", "–"]
    assert "2030-01-02 to 2030-01-05" in shown and "- **mixed**: thirty" in shown


def test_how_often_was_measured_is_counted_as_a_comparison_may_be_stopped() -> None:
    assert "3 repeats" in table.page(RECORD)
    assert "once" in table.page(RECORD | {"timings": RECORD["timings"][:1]})


def test_the_page_and_the_readme_show_the_results() -> None:
    paths = table.results()
    if not paths:
        pytest.skip("there is no result yet")
    record, *others = (json.loads(path.read_text("utf-8")) for path in paths)
    assert table.PAGE.read_text("utf-8") == table.page(record, others), "run `python -m benchmarks.table`"
    readme = table.README.read_text("utf-8")
    assert table.with_table(readme, table.short(record, others)) == readme, "run `python -m benchmarks.table`"


# --- end to end -----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_smallest_comparison_runs_from_end_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # other tests run beside it, and threads would wait for one another
    words = "--cases full --sides ours,B1 --repeats 1 --train 48 --validation 24 --steps 2 --warm-steps 1"
    words += " --quality-seeds 1 --quality-rows 32 --quality-cases full --whole-below 600 --ranks 1 --test 24"
    assert benchmark([*words.split(), "--out", str(tmp_path)]) == 0
    record = json.loads(next(tmp_path.glob("*.json")).read_text())
    measured = {(each["side"], each["cache"]) for each in record["timings"]}
    assert measured == {("ours", "cold"), ("ours", "warm"), ("B1", "cold")}
    assert all(len(each["results"]) == 1 and each["seconds"] > 0 for each in record["timings"])
    assert [len(part["steps"]) for part in record["slices"][0]["parts"]] == [2]
    assert record["quality"][0]["tests"]["accuracy"]["verdict"] == "cannot tell"
    assert [each["metric"] for each in record["ranks"]] == ["accuracy", "validation_loss"]
    assert [len(side) for side in record["ranks"][-1]["results"]] == [3, 3, 3]
    assert (record["chosen"][0]["test"], record["chosen"][0]["accuracy"]["holds"]) == (24, None)
    assert line(table.page(record), "Trainer, dynamic padding (B1)")[1] != "–"
    assert str(tmp_path) not in json.dumps(record["arguments"])


# --- growth ---------------------------------------------------------------------------------------------


def test_growth_is_told_by_a_line_and_the_point_farthest_from_it() -> None:
    exact = growth.line((1, 2, 4, 8), [5.0, 7.0, 11.0, 19.0])
    assert (exact.start, exact.slope, exact.off) == pytest.approx((3.0, 2.0, 0.0), abs=1e-9)
    bent = growth.line((1, 2, 4, 8), [5.0, 8.0, 20.0, 68.0])  # 4 + n ** 2
    assert bent.off > 0.5


def test_a_study_of_any_size_can_be_asked_for() -> None:
    spec = parse_study(growth.STUDY.format(model="builtin:tiny", max_length=32, trials=3, rows=100, epochs=4)).spec
    assert (spec.budget.trials, spec.data.train, spec.fixed["epochs"], spec.pruner.name) == (3, 100, 4, "none")

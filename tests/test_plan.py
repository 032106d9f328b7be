"""A plan counts the trials that a study will have, and places them as the night does."""

from __future__ import annotations

import dataclasses
import io
import json
import pickle
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import results_support
from nights import Night
from rich.console import Console
from scripted import Scripted, complete

from harness.coming import Ahead, Begun, Coming, ahead, begun
from harness.configuration import TrialConfig
from harness.deadline import Stop
from harness.errors import DataError, SpecError
from harness.jobs import ModelCost, PrepareJob, Probed, Sharing, TrialCost
from harness.plan import plan_study
from harness.plan_sums import Measured, StudyPlan, add_up, in_time
from harness.plan_tables import plan_tables, size, words
from harness.records import JobDone, JobFailed, Message, TrialOutcome
from harness.results.store import Store
from harness.sampling import Tried
from harness.schedule import Bill, Placed, place
from harness.search import Search
from harness.spec import StudyFile, StudySpec, parse_study
from harness.terminal import table_of

HEAD = """
study: planned
model: builtin:tiny
data: {path: "builtin:reviews", rows: 100, validation: 20}
"""
GRID = HEAD + "search: {batch_size: [8, 16], epochs: [1, 2, 3]}\nreplicates: 2\n"
SAMPLED = HEAD + "search: {learning_rate: {low: 1e-5, high: 1e-3, log: true}, epochs: [1, 4]}\nbudget: {trials: 25}\n"


def study(text: str, *sets: str) -> StudyFile:
    return parse_study(text, sets)


def drawn(text: str, *sets: str) -> list[Coming]:
    return ahead(study(text, *sets).spec, Begun()).drawn


# --- which trials ----------------------------------------------------------------------------------------


def test_a_grid_is_counted_exactly() -> None:
    found = ahead(study(GRID).spec, Begun())
    assert (len(found.drawn), found.total, found.exact) == (12, 12, True)
    assert len({(trial.config.batch_size, trial.config.epochs, trial.seed) for trial in found.drawn}) == 12


def test_configurations_come_first_and_as_written() -> None:
    text = HEAD + "configurations: [{epochs: 7}, {epochs: 5}]\n"
    assert [trial.config.epochs for trial in drawn(text)] == [7, 5]


def test_the_first_points_of_a_sampler_are_those_of_the_night_whatever_comes_out() -> None:
    spec = study(SAMPLED).spec
    search = Search(spec, [])
    night = []
    for number in range(10):  # as many as tpe draws at random
        proposal = search.next()
        assert proposal is not None
        night.append(proposal.config)
        search.add(Tried(number, proposal.config, proposal.seed, proposal.replicate, proposal.fold, "waiting"))
        search.finish(number, "complete", [0.7 / (number + 1)])
    found = ahead(spec, Begun())
    assert [trial.config for trial in found.drawn][:10] == night
    assert (len(found.drawn), found.total, found.exact) == (25, 25, False)


def test_a_study_without_an_end_is_drawn_up_to_a_bound() -> None:
    found = ahead(study(SAMPLED, "budget={time: 1h}").spec, Begun())
    assert (len(found.drawn), found.total) == (200, None)


def test_gp_is_not_asked() -> None:
    assert len(drawn(SAMPLED, "sampler=gp")) == 25


def test_folds_and_seeds_are_courses_of_their_own_only_where_they_cost_otherwise() -> None:
    trials = drawn(HEAD.replace("validation: 20", "folds: 2") + "configurations: [{epochs: 2}]\nseed: [1, 2]\n")
    assert len(trials) == 4
    assert {course[1] for course in {trial.course for trial in trials}} == {0, 1}
    assert len({trial.course for trial in trials}) == 2


def with_trials(db: Path, file: StudyFile, states: list[str]) -> None:
    """A database with the first trials of a study in these states."""
    with Store.open(str(db)) as store:
        store.create_study(file)
        row = store.study(file.spec.study)
        assert row is not None
        with store.hold(row.id):
            for trial, state in zip(ahead(file.spec, Begun()).drawn, states, strict=False):
                added = store.add_trial(
                    row.id, trial.config, seed=trial.seed, replicate=trial.replicate, fold=trial.fold, origin="grid"
                )
                if state == "failed":
                    store.start_trial(added.id, "local-0", store.record_environment({}))
                    store.finish_trial(added.id, TrialOutcome("failed", "crashed", "no"))


def test_finished_trials_are_left_out_and_waiting_ones_come_first(tmp_path: Path) -> None:
    file = study(GRID)
    with_trials(tmp_path / "results.db", file, ["failed", "failed", "waiting"])
    record = begun(str(tmp_path / "results.db"), file)
    found = ahead(file.spec, record)
    everything = drawn(GRID)
    assert record.finished == 2
    assert (found.drawn, found.total) == (everything[2:], 10)


def test_a_study_of_the_same_name_that_asks_for_something_else_is_refused(tmp_path: Path) -> None:
    with_trials(tmp_path / "results.db", study(GRID), ["waiting"])
    with pytest.raises(SpecError, match="data.rows: 100 -> 90"):
        begun(str(tmp_path / "results.db"), study(GRID, "data.rows=90"))


def test_looking_makes_no_database(tmp_path: Path) -> None:
    assert begun(str(tmp_path / "results.db"), study(GRID)) == Begun()
    assert not list(tmp_path.iterdir())


class Asked(Scripted):
    """A worker that refuses the data of every study and remembers what it was asked."""

    def submit(self, slot: int, job: object) -> None:
        assert isinstance(job, PrepareJob)
        self.asked = pickle.loads(pickle.dumps(job))  # as it comes to a worker
        self.answers = [JobFailed("DataError", "no such rows"), JobDone()]

    def messages(self, timeout: float) -> list[tuple[int, Message]]:
        return [(0, Message(None, self.answers.pop(0)))]


@pytest.mark.parametrize(("state", "known"), [("failed", True), ("waiting", False)])
def test_a_study_that_has_begun_is_measured_at_the_commits_that_it_began_with(
    tmp_path: Path, state: str, known: bool
) -> None:
    file, db = study(GRID), str(tmp_path / "results.db")
    with_trials(tmp_path / "results.db", file, [state])
    found = results_support.prepared()
    model = dataclasses.replace(found.models[0], revision="m1")
    with Store.open(db) as store:
        store.record_prepared(1, dataclasses.replace(found, data_revision="d1", models=(model,)))
    executor = Asked(complete)
    with pytest.raises(DataError, match="no such rows"):
        plan_study(file, begun(db, file), Sharing(), tmp_path, executor, Stop())
    assert executor.asked.data["revision"] == ("d1" if known else None)
    assert executor.asked.revisions == ({"builtin:tiny": "m1"} if known else {})


CONFIRM = "confirm={top: 2, seeds: 3, baseline: {epochs: 8}}"


def test_what_confirms_the_search_is_counted_the_baseline_as_it_is() -> None:
    found = ahead(study(GRID, CONFIRM).spec, Begun())
    assert (len(found.drawn), found.total, found.unknown) == (12, 12, 6)
    assert [(trial.config.epochs, trial.seed) for trial in found.confirming] == [(8, 44), (8, 45), (8, 46)]
    assert (drawn(GRID), found.drawn[0].config) == (found.drawn, drawn(GRID)[0].config)


def test_after_the_search_the_trials_that_confirm_are_the_best_ones(tmp_path: Path) -> None:
    text = HEAD + "configurations: [{epochs: 1}, {epochs: 2}, {epochs: 3}]\nobjective: loss\n"
    file = study(text, "confirm={top: 1, seeds: 2}")
    with Store.open(str(tmp_path / "results.db")) as store:
        key = store.create_study(file)
        with store.hold(key):
            for number, trial in enumerate(drawn(text)):
                added = store.add_trial(key, trial.config, trial.seed, 0, None, "explicit")
                store.start_trial(added.id, "w0", store.record_environment({}))
                losses = (0.9, 0.2, 0.5)
                for epoch in range(1, trial.config.epochs + 1):
                    store.record_epoch(added.id, results_support.epoch(epoch, validation=losses[number]))
                store.finish_trial(added.id, TrialOutcome("complete"))
    found = ahead(file.spec, begun(str(tmp_path / "results.db"), file))
    assert (found.drawn, found.total, found.unknown) == ([], 0, 0)
    assert [(trial.config.epochs, trial.seed) for trial in found.confirming] == [(2, 43), (2, 44)]
    plan = planned_of(file.spec, found)
    assert (plan.trials, plan.confirming, [group.part for group in plan.groups]) == (2, 2, ["confirm"])
    assert plan.seconds == pytest.approx(1 + 2 * 2 * 10)


# --- placing -----------------------------------------------------------------------------------------------


def cost(**values: object) -> TrialCost:
    zero = dict.fromkeys(("evaluate_seconds", "save_seconds", "begin_seconds", "tokenise_seconds", "fill_seconds"), 0.0)
    given = {
        "how": "probed", "train_rows": 80, "validation_rows": 20, "steps_per_epoch": 5, "train_seconds": (10.0,),
        "spared_seconds": 0.0, "cache_bytes": 0, "row_bytes": 1, "trained_bytes": 400, "fusible": False,
        "batch_size": 16, "fits": True, "peak_memory_bytes": 10, "note": "",
    }  # fmt: skip
    return TrialCost(**(zero | given | values))  # type: ignore[arg-type]


MODELS = {"m": ModelCost(3.0, 1.0, 500, 400), "n": ModelCost(5.0, 1.0, 500, 400)}


def bill(model: str = "m", length: int = 64, first: bool = False, keeps: float = 0.0, **values: object) -> Bill:
    return Bill(model, length, None, cost(**values), first, keeps)


def seconds(bills: list[Bill], slots: int = 1, shared: bool = True) -> list[float]:
    return [each.seconds for each in place(bills, slots, 2.0, MODELS, 4.0, shared)]


def test_a_trial_goes_to_the_worker_that_is_free_first() -> None:
    placed = place([bill(train_seconds=(t,)) for t in (10.0, 1.0, 1.0)], 2, 2.0, MODELS, 4.0)
    assert [each.end for each in placed] == [2 + 4 + 3 + 10, 2 + 4 + 3 + 1, 2 + 4 + 3 + 1 + 1]


def test_data_and_model_are_loaded_once_a_worker_and_when_another_model_came_between() -> None:
    assert seconds([bill("m"), bill("m"), bill("n"), bill("m")]) == [4 + 3 + 10, 10, 5 + 10, 3 + 10]


def test_rows_are_tokenised_again_when_too_many_lengths_came_between() -> None:
    bills = [bill(length=n, tokenise_seconds=1.0) for n in (8, 16, 8, 24, 32, 40, 8, 16)]
    again = [round(found - 10) for found in seconds(bills)]
    assert again == [4 + 3 + 1, 1, 0, 1, 1, 1, 0, 1]


def test_only_the_first_of_its_kind_fills_and_without_sharing_everyone_passes_the_whole_model() -> None:
    bills = [bill(first=first, fill_seconds=2.0, spared_seconds=6.0) for first in (True, False)]
    assert seconds(bills) == [4 + 3 + 2 + 10, 10]
    assert seconds(bills, shared=False) == [4 + 3 + 16, 16]


def test_epochs_evaluate_and_save_and_long_trials_write_checkpoints() -> None:
    assert seconds([bill(train_seconds=(5.0, 5.0), evaluate_seconds=1.0, save_seconds=0.5, keeps=0.5)]) == [
        4 + 3 + 10 + 2 + 1 + 0.5
    ]
    assert seconds([bill(train_seconds=(650.0,))]) == [4 + 3 + 650 + 2 * 4 * 1.0]  # two of them, four times the weights


def test_trials_of_one_group_go_to_one_worker_and_end_together() -> None:
    bills = [bill()._replace(group=group) for group in ("a", "b", "a", None, "a")]
    placed = place(bills, 2, 2.0, MODELS, 4.0)
    assert [each.end for each in placed] == [19, 19, 19, 29, 19]
    assert [each.seconds for each in placed] == pytest.approx([17 / 3, 17, 17 / 3, 10, 17 / 3])
    assert len({each.end for each in place(bills, 1, 2.0, MODELS, 4.0, shared=False)}) == 5


def test_a_group_has_a_bound() -> None:
    placed = place([bill()._replace(group="a")] * 65, 1, 2.0, MODELS, 4.0)
    assert [len([each for each in placed if each.end == end]) for end in (19, 29)] == [64, 1]


def test_trials_that_end_in_time_are_counted_further_ones_at_the_mean() -> None:
    placed = [Placed(10.0 * n, 10.0) for n in (1, 2, 3)]
    assert [in_time(placed, left, 3, 1) for left in (9.0, 10.0, 29.0, 1000.0)] == [0, 1, 2, 3]
    assert in_time(placed, 65.0, None, 1) == 6
    assert in_time(placed, 65.0, None, 2) == 10


# --- adding up --------------------------------------------------------------------------------------------


def planned(
    text: str, *sets: str, slots: int = 1, budget: int = 10**9, free: int = 10**9, **values: object
) -> StudyPlan:
    spec = study(text, *sets).spec
    return planned_of(spec, ahead(spec, Begun()), slots, budget, free, **values)


def planned_of(
    spec: StudySpec, coming: Ahead, slots: int = 1, budget: int = 10**9, free: int = 10**9, **values: object
) -> StudyPlan:
    costs = {
        trial.course: cost(**({"train_seconds": (10.0,) * trial.config.epochs, "cache_bytes": 100} | values))
        for trial in [*coming.drawn, *coming.confirming]
    }
    models = {trial.config.model: ModelCost(0.0, 0.0, 500, 400) for trial in [*coming.drawn, *coming.confirming]}
    probed = Probed(tuple(costs.values()), models, 0.0, "cpu", 10**9, 6, 6)
    return add_up(spec, Begun(), coming, Measured(costs, probed, 1.0), slots, free, budget)


def test_a_plan_adds_up_what_its_trials_cost() -> None:
    plan = planned(GRID)
    assert (plan.trials, plan.drawn, plan.steps) == (12, 12, 2 * 2 * (1 + 2 + 3) * 5)
    assert plan.seconds == pytest.approx(1 + 10 * 2 * 2 * (1 + 2 + 3))
    assert planned(GRID, slots=2).seconds == pytest.approx(1 + 5 * 2 * 2 * (1 + 2 + 3), abs=30)
    assert [group.trials for group in plan.groups] == [2] * 6
    assert plan.disk == {"cache": 600, "kept models": 1500, "checkpoints": 0, "database": 24}
    assert (plan.at_most, plan.seconds_left, plan.in_time, plan.warnings) == ("", None, None, ())


def test_trials_that_were_not_drawn_cost_the_mean() -> None:
    plan = planned(SAMPLED, "budget.trials=400", "search.epochs=[2, 3]", train_seconds=(4.0,))
    assert (plan.trials, plan.drawn, plan.exact) == (400, 200, False)
    assert plan.seconds == pytest.approx(1 + 400 * 4)


def test_search_and_confirmation_are_told_apart_what_is_not_found_yet_costs_the_mean() -> None:
    plan = planned(GRID, CONFIRM)
    assert (plan.trials, plan.confirming, plan.drawn) == (12 + 9, 9, 12)
    assert plan.confirming_seconds == pytest.approx(6 * 2 * 10 + 3 * 8 * 10)  # the grid has 2 epochs in the mean
    assert plan.seconds == pytest.approx(planned(GRID).seconds + plan.confirming_seconds)
    assert sum(group.trials for group in plan.groups if group.part == "confirm") == 9
    told = words(plan)
    assert (told["trials"], told["search"]) == ("21", "0:04:01 of it")
    assert told["confirm"].startswith("9 of the trials, 0:06:00 of the time")
    assert "confirm" in shown(plan) and "confirm" not in shown(planned(GRID))


def test_confirmation_is_in_the_plan_of_a_search_that_was_not_drawn_whole_and_of_one_without_an_end() -> None:
    plan = planned(SAMPLED, "budget.trials=400", CONFIRM, train_seconds=(4.0,))
    assert (plan.trials, plan.drawn, plan.confirming) == (409, 200, 9)
    assert plan.seconds == pytest.approx(1 + 409 * 4)
    assert plan.confirming_seconds == pytest.approx(9 * 4)
    endless = planned(SAMPLED, "budget={time: 1h}", CONFIRM)
    assert (endless.trials, endless.confirming) == (None, 9)


def test_heads_of_the_search_are_trained_together_and_those_that_confirm_alone() -> None:
    text = (
        HEAD + "fixed: {freeze: classifier}\nsearch: {learning_rate: [1e-4, 1e-3, 1e-2]}\nconfirm: {top: 2, seeds: 2}\n"
    )
    assert planned(text, fusible=True, train_seconds=(10.0,)).seconds == pytest.approx(1 + 10 + 4 * 10)


def test_pruner_and_early_stopping_make_it_at_most() -> None:
    plan = planned(GRID, "pruner=median", "fixed={early_stopping: {patience: 1}}")
    assert plan.at_most == "the median pruner and early stopping"
    assert words(plan)["time"].startswith("at most ")


def test_classifiers_that_are_trained_together_are_trained_once_and_measured_each() -> None:
    text = HEAD + "fixed: {freeze: classifier}\nsearch: {learning_rate: [1e-4, 1e-3, 1e-2], batch_size: [8, 16]}\n"
    each = {"train_seconds": (10.0, 10.0), "evaluate_seconds": 1.0, "begin_seconds": 0.5}
    assert planned(text, fusible=True, **each).seconds == pytest.approx(1 + 2 * (0.5 + 20 + 3 * 2 * 1))
    assert planned(text, **each).seconds == pytest.approx(1 + 6 * (0.5 + 20 + 2))
    assert planned(text, "fixed.freeze=head", fusible=True, **each).seconds == pytest.approx(1 + 6 * (0.5 + 20 + 2))


def test_what_a_sampler_chooses_by_results_is_not_trained_together() -> None:
    text = SAMPLED.replace("epochs: [1, 4]", "epochs: [1]") + "fixed: {freeze: classifier}\n"
    assert planned(text, fusible=True).seconds == pytest.approx(1 + 10 + 15 * 10)  # tpe draws ten at random
    assert planned(text, "sampler=random", fusible=True).seconds == pytest.approx(1 + 10)


def test_a_budget_of_time_says_how_many_trials_end_in_it() -> None:
    assert "for the first 200 trials" in words(planned(SAMPLED, "budget={time: 1h}"))["time"]
    plan = planned(GRID, "budget={time: 45}", train_seconds=(10.0,))
    assert plan.seconds_left == pytest.approx(45, abs=2)
    assert plan.in_time == 4


def test_an_hour_says_how_many_trials_end_before_it() -> None:
    until = datetime.now() + timedelta(minutes=30)
    plan = planned(GRID, f"budget={{until: '{until:%H:%M}'}}", train_seconds=(1000.0,))
    assert plan.in_time == 1


def test_a_full_disk_and_a_small_cache_are_told() -> None:
    told = " ".join(planned(GRID, free=1000, budget=300).warnings)
    assert "the disk has" in told and "worked out again" in told


def test_a_plan_is_plain_values() -> None:
    assert json.dumps(planned(GRID).as_dict())  # plain values


# --- shown ------------------------------------------------------------------------------------------------


def shown(plan: StudyPlan, width: int = 200) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    for each in plan_tables(plan, width):
        console.print(each)
    return console.export_text()


def test_a_table_has_at_most_twenty_groups_and_the_others_in_one_row() -> None:
    plan = planned(HEAD + "search: {batch_size: [1, 2, 3, 4, 5, 6], epochs: [1, 2, 3, 4, 5]}\n")
    text = shown(plan)
    assert "20 of 30 groups" in text
    assert text.count("probed") == 20 + 1  # one is in the summary
    assert "others: 10 trials of 10 groups, 0:02:20 together" in text


STUDIES = sorted((Path(__file__).parent.parent / "studies").glob("*.yaml"))


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
@pytest.mark.parametrize("width", [60, 80, 120])
def test_no_cell_of_a_plan_is_cut_or_broken_at_the_width_of_a_terminal(path: Path, width: int) -> None:
    plan = planned(path.read_text(), peak_memory_bytes=12_345_678_901)
    lines = shown(plan, width).splitlines()
    assert max(map(len, lines)) <= width
    tables = lines[: lines.index("")] if width == 120 else lines
    said = " ".join(tables).split()
    for header in ("epochs", "batch_size", "max_length", "freeze", "trials", "together", "estimate"):
        assert header in said, f"{header} is broken or cut"
    for group in plan.groups:
        assert {str(group.values[name]) for name in ("freeze", "max_length")} <= set(said)
    assert said.count("12,346") == len(plan.groups)
    assert "…" not in "".join(lines)


def test_a_plan_wider_than_its_terminal_is_tables_below_each_other_whose_rows_are_numbered_alike() -> None:
    text = shown(planned(GRID), 80)
    first, second = text.split("Trials, dearest first, continued")
    assert [line.split()[:2] for line in first.splitlines()[1:4]] == [["row", "epochs"], ["1", "3"], ["2", "3"]]
    assert [line.split()[:4] for line in second.splitlines()[1:4]] == [
        ["row", "steps", "each", "ms"],
        ["1", "15", "2,000.0", "0"],
        ["2", "15", "2,000.0", "0"],
    ]
    assert "continued" not in shown(planned(GRID), 120)


def test_numbers_of_a_table_stand_to_the_right_and_words_to_the_left() -> None:
    table = table_of(
        "", ("time", "count", "name"), [("9.5 s", 1, "a"), ("0:01:40", 1_000, "12 of 13"), (None, 20, "b")]
    )
    assert [column.justify for column in table.columns] == ["right", "right", "left"]


def test_what_does_not_fit_is_named_with_what_would_happen() -> None:
    assert "begin again with batch_size 4" in shown(planned(GRID, fits=False, batch_size=4))
    assert "not even with one row" in shown(planned(GRID, fits=False, batch_size=None))


def test_what_the_caches_save_is_said() -> None:
    plan = dataclasses.replace(planned(GRID), seconds=100.0, unshared_seconds=400.0)
    assert words(plan)["caches"] == "save 0:05:00 of 0:06:40"


def test_sizes_are_in_units_for_people() -> None:
    assert [size(n) for n in (1_500, 2_000_000, 3_400_000_000)] == ["1.5 kB", "2.0 MB", "3.4 GB"]


# --- the command -------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_command_plans_a_study_then_what_is_left_of_it(tmp_path: Path) -> None:
    night = Night(tmp_path)
    code, output = night.harness("plan", "night.yaml", "--json")
    assert code == 0, output
    plan = json.loads(output[output.index("{") :])  # standard error goes first
    rows = 120  # of 160, 40 validate
    assert (plan["trials"], plan["steps"]) == (3, rows // 8 * (2 + 12 + 2))
    assert {group["train_rows"] for group in plan["groups"]} == {rows}
    assert 0 < plan["seconds"] < plan["unshared_seconds"] + 1
    assert not night.db.exists()
    assert [path.name for path in (tmp_path / "results.files").iterdir()] == ["logs"]
    assert night.run()[0] == 0
    code, output = night.harness("plan", "night.yaml")
    assert (code, "nothing is left to run" in output) == (0, True)
    assert night.harness("plan", "nowhere.yaml")[0] == 78


def test_a_course_keeps_what_costs_and_forgets_the_rest() -> None:
    one = Coming(TrialConfig(learning_rate=1e-5, weight_decay=0.1, dropout=0.3), 1, 0, None)
    two = Coming(TrialConfig(learning_rate=1e-4), 2, 1, None)
    other = Coming(TrialConfig(batch_size=8), 1, 0, None)
    assert one.course == two.course != other.course

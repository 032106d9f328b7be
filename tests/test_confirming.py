"""What runs again once the search is over: a real store and a real search, and workers that speak from a script."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from results_support import epoch, facts
from scripted import HEAD, Notes, Scripted, Words, failing, study

from harness.deadline import Stop
from harness.errors import Interrupted
from harness.grid import confirming, total, whole
from harness.jobs import Sharing, TrialJob
from harness.night import Night
from harness.records import MetricValue, TrialOutcome
from harness.results import frames, mirror
from harness.results.choices import CHOSEN, OPENED, choices
from harness.results.store import Store
from harness.spec import StudyFile, parse_study

THREE = """
configurations: [{learning_rate: 0.001}, {learning_rate: 0.002}, {learning_rate: 0.003}]
confirm: {top: 2, seeds: 3}
"""
DATA = '\ndata: {path: "builtin:reviews", validation: 0.2, test: 0.2}\n'


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "results.db") as opened:
        yield opened


def scored(job: TrialJob) -> Words:
    """The learning rate is the accuracy, a hundredfold; a later seed is a little worse."""
    accuracy = 100 * job.config.learning_rate - 0.001 * (job.seed - 42)
    record = epoch(1)
    metrics = tuple(m._replace(value=accuracy) if m[:2] == ("validation", "accuracy") else m for m in record.metrics)
    if job.test:
        metrics += (MetricValue("test", "accuracy", accuracy / 2),)
    yield facts(job.config)
    yield replace(record, metrics=metrics)
    yield TrialOutcome("complete", seconds={"total": 1.0})


def with_test(text: str) -> StudyFile:
    """The same study with rows set aside."""
    return parse_study(HEAD.replace("validation: 0.2", "validation: 0.2, test: 0.2") + text)


def night(store: Store, file: StudyFile, script=scored, **more) -> tuple[Night, Scripted]:
    """A night on that study, made on first sight or extended, and its executor."""
    row = store.study("s")
    if row is None:
        store.create_study(file)
    elif row.text != file.text:
        store.extend_study(row.id, file)
    mirror.sync(store, store.study("s").id)
    executor = Scripted(script)
    observer = more.pop("observer", None) or Notes()
    return Night(store, store.study("s"), file, executor, observer, Stop(), Sharing(), **more), executor


def ran(store: Store, file: StudyFile, script=scored, **more) -> list[TrialJob]:
    """The jobs of one night from its beginning to its end."""
    found, executor = night(store, file, script, **more)
    if found.work_left():
        found.through()
    return executor.jobs


def interrupted_after(count: int):
    """A night that is stopped in the trial after so many."""
    done = iter(range(100))

    def script(job: TrialJob) -> Words:
        if next(done) == count:
            script.night.stop.ask(130)
            yield TrialOutcome("waiting", message="interrupted")
        else:
            yield from scored(job)

    return script


def stopped(store: Store, file: StudyFile, count: int) -> list[TrialJob]:
    """The jobs that ended before the interruption."""
    script = interrupted_after(count)
    script.night, executor = night(store, file, script)
    with pytest.raises(Interrupted):
        script.night.through()
    return executor.jobs[:count]


def rates(jobs):
    return [(job.config.learning_rate, job.seed) for job in jobs]


def test_the_best_few_run_again_with_the_same_new_seeds_and_seed_by_seed(store):
    jobs = ran(store, study(THREE))
    assert rates(jobs[:3]) == [(0.001, 42), (0.002, 42), (0.003, 42)]
    again = [(rate, seed) for seed in (43, 44, 45) for rate in (0.003, 0.002)]
    assert rates(jobs[3:]) == again


def test_only_what_confirms_looks_at_the_test_rows(store):
    assert [job.test for job in ran(store, with_test(THREE))] == [False] * 3 + [True] * 6


def test_without_test_rows_none_are_looked_at(store):
    assert not any(job.test for job in ran(store, study(THREE)))
    assert frames.incidents(store.engine, "s")["kind"].tolist() == ["confirmation"]


def test_the_choice_and_the_opening_are_on_record_before_a_trial_looks(store):
    seen = []

    def looking(job: TrialJob) -> Words:
        seen.append((job.test, frames.incidents(store.engine, "s")["kind"].tolist()))
        yield from scored(job)

    ran(store, with_test(THREE), looking)
    assert [kinds for test, kinds in seen if not test] == [[]] * 3
    assert [kinds for test, kinds in seen if test] == [["confirmation", "test rows opened"]] * 6
    words = frames.incidents(store.engine, "s")["message"].tolist()
    assert words[0] == "the search is over; configurations 2, 1 run again with seeds 43, 44, 45"


def test_a_night_that_dies_as_it_opens_the_test_rows_has_chosen_nothing_yet(store):
    def die(connection, cursor, statement, parameters, context, many):
        if OPENED in parameters:
            raise KeyboardInterrupt

    sa.event.listen(store.engine, "before_cursor_execute", die)
    with pytest.raises(KeyboardInterrupt):
        ran(store, with_test(THREE))
    sa.event.remove(store.engine, "before_cursor_execute", die)
    assert frames.incidents(store.engine, "s").empty
    assert [job.test for job in ran(store, with_test(THREE))] == [True] * 6
    assert frames.incidents(store.engine, "s")["kind"].tolist() == [CHOSEN, OPENED]


def test_the_baseline_runs_too_and_is_not_one_of_the_best(store):
    jobs = ran(store, study(THREE.replace("seeds: 3", "seeds: 2, baseline: {learning_rate: 0.003}")))
    assert rates(jobs[3:]) == [(rate, seed) for seed in (43, 44) for rate in (0.002, 0.001, 0.003)]
    with store.engine.connect() as connection:
        (choice,) = choices(connection, 1)
    assert choice.baseline not in choice.configurations and choice.trials == 6


def test_a_baseline_that_was_never_searched_is_run_with_the_same_seeds(store):
    jobs = ran(store, study(THREE.replace("seeds: 3", "seeds: 2, baseline: {learning_rate: 0.004}")))
    assert [seed for rate, seed in rates(jobs) if rate == 0.004] == [43, 44]
    assert frames.trial_details(store.engine, "s")["origin"].tolist().count("baseline") == 2


def test_configurations_are_chosen_by_their_mean_not_by_their_luckiest_seed(store):
    def lucky(job: TrialJob) -> Words:
        if job.config.learning_rate == 0.001 and job.seed == 42:
            job = replace(job, config=replace(job.config, learning_rate=0.0035))
        yield from scored(job)

    jobs = ran(store, study(THREE.replace("top: 2", "top: 1") + "replicates: 2\n"), lucky)
    assert rates(jobs[6:]) == [(0.003, 44), (0.003, 45), (0.003, 46)]


def test_nothing_is_done_twice_and_an_interrupted_confirmation_goes_on(store):
    before, after = stopped(store, study(THREE), 5), ran(store, study(THREE))
    assert rates(before)[3:] == [(0.003, 43), (0.002, 43)]
    assert rates(after) == [(0.003, 44), (0.002, 44), (0.003, 45), (0.002, 45)]
    assert ran(store, study(THREE)) == []
    assert frames.incidents(store.engine, "s")["kind"].tolist().count("confirmation") == 1


def test_a_choice_whose_trials_were_not_added_any_more_is_taken_up(store):
    """The process ended between the choice and the trials."""
    ran(store, study(THREE.split("confirm")[0]))
    cut, _ = night(store, study(THREE))
    cut.confirming.begin(cut.trials, cut.search)
    assert len(ran(store, study(THREE))) == 6
    assert frames.incidents(store.engine, "s")["kind"].tolist() == ["confirmation"]


def test_confirming_comes_on_top_of_the_budget_of_trials(store):
    text = "search: {learning_rate: {low: 0.001, high: 0.005}}\nsampler: random\nbudget: {trials: 4}\n"
    file = study(text + "confirm: {top: 2, seeds: 2}\n")
    assert night(store, file)[0].board().total == 8
    assert [job.seed for job in ran(store, file)] == [42] * 4 + [43, 43, 44, 44]


def test_a_longer_search_chooses_anew_with_the_same_seeds_and_says_so(store):
    text = "configurations: [{learning_rate: 0.001}]\nsearch: {learning_rate: {low: 0.003, high: 0.004}}\n"
    text += "confirm: {top: 1, seeds: 2}\n"
    assert rates(ran(store, with_test(text + "budget: {trials: 1}\n")))[1:] == [(0.001, 43), (0.001, 44)]
    more = ran(store, with_test(text + "budget: {trials: 3}\n"))
    best = max(rate for rate, _ in rates(more))
    assert rates(more)[2:] == [(best, 43), (best, 44)]
    words = frames.incidents(store.engine, "s")["message"].iloc[-1]
    assert "the test rows are opened for the second time, after results on them were known" in words


def test_a_longer_search_that_finds_nothing_better_chooses_nothing_anew(store):
    text = "configurations: [{learning_rate: 0.004}]\nsearch: {learning_rate: {low: 0.001, high: 0.002}}\n"
    text += "confirm: {top: 1, seeds: 2}\n"
    ran(store, with_test(text + "budget: {trials: 1}\n"))
    assert [job.seed for job in ran(store, with_test(text + "budget: {trials: 3}\n"))] == [42, 42]
    assert len(frames.incidents(store.engine, "s")) == 2


def test_seeds_that_the_search_has_run_confirm_nothing(store):
    """After more replicates were asked for, the old seeds have chosen: the new choice takes later ones."""
    text = "configurations: [{learning_rate: 0.001}, {learning_rate: 0.002}]\nconfirm: {top: 1, seeds: 2}\n"
    ran(store, study(text))
    more = study(text.replace("0.002}]", "0.002}]\nreplicates: 2").replace("top: 1", "top: 2"))
    jobs = ran(store, more)
    assert rates(jobs) == [(0.001, 43), *((rate, seed) for seed in (45, 46) for rate in (0.002, 0.001))]


def test_more_seeds_are_added_to_those_that_are_there(store):
    ran(store, study(THREE))
    jobs = ran(store, study(THREE.replace("seeds: 3", "seeds: 5")))
    assert rates(jobs) == [(0.003, 46), (0.002, 46), (0.003, 47), (0.002, 47)]


def test_the_confirmation_alone_leaves_the_search_as_it_is(store):
    text = "search: {learning_rate: {low: 0.001, high: 0.005}}\nbudget: {trials: 9}\nconfirm: {top: 1, seeds: 2}\n"
    stopped(store, study(text), 2)
    assert [job.seed for job in ran(store, study(text), searching=False)] == [43, 44]
    assert [trial.number for trial in store.trials(1) if trial.state == "waiting"] == [2]
    assert ran(store, study(text), searching=False) == []


def test_the_search_ends_while_there_is_time_to_confirm(store):
    """Ten trials to confirm, of a second each, take ten; nine and a half are left after a while."""
    file = study(
        "search: {learning_rate: {low: 0.001, high: 0.005}}\nbudget: {time: 1h}\nconfirm: {top: 2, seeds: 5}\n"
    )
    notes = Notes()
    found, executor = night(store, file, observer=notes)
    found.deadline = Clock(iter([3600.0] * 8 + [9.5] * 1000))
    found.through()
    searched = [job for job in executor.jobs if job.seed == 42]
    assert 2 <= len(searched) <= 8 and len(executor.jobs) == len(searched) + 10
    assert "the search ends: the time that is left is for confirming what it has found" in notes.notes


def test_a_search_that_is_extended_leaves_time_to_confirm_what_it_then_finds(store):
    """The first night has confirmed its best; the second has twelve seconds, six of them for what it finds."""
    text = "search: {learning_rate: {low: 0.001, high: 0.005}}\nsampler: random\n"
    text += "budget: {trials: 2}\nconfirm: {top: 2, seeds: 3}\n"
    assert len(ran(store, study(text))) == 2 + 6
    found, executor = night(store, study(text.replace("trials: 2", "time: 1h")))
    found.deadline = Hourglass(executor, 12)
    found.through()
    searched = [trial for trial in store.trials(1) if trial.seed == 42]
    best = {trial.configuration for trial in sorted(searched, key=lambda each: each.objective)[-2:]}
    again = [trial for trial in store.trials(1) if trial.seed != 42 and trial.number >= 8]
    assert {trial.configuration for trial in again} == best
    assert [trial.state for trial in again] == ["complete"] * 6 and len(executor.jobs) == 12


def test_what_is_confirmed_needs_no_more_time(store):
    """Nothing better is found, so that the search has the whole night."""
    text = "search: {batch_size: [8, 16, 32, 64]}\nbudget: {trials: 2}\nconfirm: {top: 1, seeds: 3}\n"
    text = text.replace("search", "fixed: {learning_rate: 0.002}\nsearch")
    ran(store, study(text))
    found, executor = night(store, study(text.replace("trials: 2", "time: 1h")))
    found.deadline = Hourglass(executor, 2)
    found.through()
    assert [job.seed for job in executor.jobs] == [42, 42]


class Hourglass:
    """A deadline that comes a second nearer with every trial."""

    def __init__(self, executor, seconds):
        self.executor = executor
        self.seconds = seconds

    def seconds_left(self):
        return self.seconds - len(self.executor.jobs)

    def passed(self):
        return self.seconds_left() <= 0

    def words(self):
        return ""


class Clock:
    """A deadline that says what a test wrote down."""

    def __init__(self, left):
        self.left = left

    def seconds_left(self):
        return next(self.left)

    def passed(self):
        return False

    def words(self):
        return ""


def test_of_failed_trials_none_is_chosen(store):
    assert len(ran(store, study(THREE), failing)) == 3
    assert ran(store, study(THREE)) == []


def test_every_fold_is_run_with_every_seed(store):
    text = HEAD.replace("validation: 0.2", "folds: 3") + THREE.replace("top: 2, seeds: 3", "top: 1, seeds: 2")
    jobs = ran(store, parse_study(text))
    assert [(job.seed, job.fold) for job in jobs[9:]] == [(seed, fold) for seed in (43, 44) for fold in range(3)]


def test_what_confirms_is_neither_told_to_the_sampler_nor_pruned(store):
    text = "search: {learning_rate: {low: 0.001, high: 0.005}}\nbudget: {trials: 3}\nconfirm: {top: 1, seeds: 4}\n"
    first, _ = night(store, study(text))
    first.through()
    again, _ = night(store, study(text))
    assert [len(each.search.sampling.study.trials) for each in (first, again)] == [3, 3]


@pytest.mark.parametrize(
    ("text", "more"),
    [
        ("confirm: {top: 9, seeds: 4}", 12),
        ("confirm: {top: 9, seeds: 4, baseline: {learning_rate: 0.001}}", 12),
        ("confirm: {top: 1, seeds: 4, baseline: {learning_rate: 0.004}}", 8),
        ("", 0),
    ],
)
def test_how_many_trials_confirm_is_known_beforehand(text, more):
    spec = study(THREE.split("confirm")[0] + text).spec
    assert (confirming(spec), whole(spec)) == (more, 3 + more)
    assert total(spec) == 3 and whole(spec, 5) == 8

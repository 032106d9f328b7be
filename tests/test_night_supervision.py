"""What the night decides from what workers say: ends, prunes, refusals, files left over, a full disk."""

from __future__ import annotations

import dataclasses
import math
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from results_support import epoch, facts, prepared
from scripted import Notes, Scripted, Words, complete, failing, night, study, through

import harness.sampling as sampling
import harness.study as studies
from harness.adapting import Adapting
from harness.configuration import Objective
from harness.deadline import Stop
from harness.errors import DataError, HeldError, Interrupted, UnavailableError
from harness.executors.base import Job
from harness.jobs import TrialJob
from harness.night import selection
from harness.opening import Opened
from harness.records import JobDone, Message, MetricValue, Progress, TrialOutcome, WorkerDied
from harness.results.store import Store

GRID = "search: {epochs: [1, 2, 3, 4], batch_size: [8, 16, 32]}\n"
SAMPLED = "search: {learning_rate: {low: 1e-5, high: 1e-3, log: true}}\nsampler: random\nbudget: {trials: 30}\n"


# --- failures -------------------------------------------------------------------------------------------


def test_a_sampled_study_that_only_fails_is_stopped_after_ten(tmp_path: Path) -> None:
    observer = Notes()
    states = through(tmp_path / "r.db", study(SAMPLED), Scripted(failing), observer)
    assert states == [("failed", "diverged")] * 10
    assert "10 trials failed one after another: no more are started" in observer.notes


def test_a_grid_and_a_list_of_configurations_go_on_to_their_end(tmp_path: Path) -> None:
    assert len(through(tmp_path / "grid.db", study(GRID), Scripted(failing))) == 12
    listed = "configurations: [" + ", ".join(f"{{epochs: {n}}}" for n in range(1, 13)) + "]\n"
    assert len(through(tmp_path / "list.db", study(listed), Scripted(failing))) == 12


def test_a_list_that_fails_leaves_the_sampler_its_ten(tmp_path: Path) -> None:
    listed = "configurations: [" + ", ".join(f"{{epochs: {n}}}" for n in range(4, 13)) + "]\n"
    assert len(through(tmp_path / "r.db", study(listed + SAMPLED), Scripted(failing))) == 19


def test_a_success_in_between_counts_anew(tmp_path: Path) -> None:
    def mostly_failing(job: TrialJob) -> Words:
        return complete(job) if job.trial == 9 else failing(job)

    assert len(through(tmp_path / "r.db", study(SAMPLED), Scripted(mostly_failing))) == 19


# --- workers that go ------------------------------------------------------------------------------------


def test_a_worker_that_was_told_to_end_takes_no_trial_with_it(tmp_path: Path) -> None:
    """Its end takes seconds, in which it may have been given the next trial; code 0 says that it died of none."""
    given: list[int] = []

    def into_a_closed_door(job: TrialJob) -> Words:
        given.append(job.trial)
        if len(given) == 2:
            yield WorkerDied(0)
        yield from complete(job)

    file = study("configurations: [{epochs: 1}, {epochs: 2}]\n")
    assert through(tmp_path / "r.db", file, Scripted(into_a_closed_door)) == [("complete", None)] * 2
    assert given == [1, 2, 2]


def adapted(store: Store, *attempts: list[Any]) -> tuple[Any, list[str]]:
    """What an adaptation comes to whose workers say that, one after another, and what people are told."""
    said = [iter([*attempt, JobDone()]) for attempt in attempts]

    class Adapter(Scripted):
        def submit(self, slot: int, job: Job) -> None:
            self.words = said.pop(0)

        def messages(self, timeout: float) -> list[tuple[int, Message]]:
            return [(0, Message(None, next(self.words)))]

    one = night(store, study("adapt: {epochs: 1}\nconfigurations: [{epochs: 1}]\n"), Adapter(complete))
    adapting = Adapting(store, one.row, one.spec, one.executor, one.observer, one.stop, one.deadline)
    opened = Opened(1, {}, {})
    return adapting._one(one.spec.explicit()[0], opened), one.observer.notes


WAITING = TrialOutcome("waiting", message="interrupted; a checkpoint was written")


def test_an_adaptation_whose_worker_was_told_to_end_goes_on_with_another(tmp_path: Path) -> None:
    made = TrialOutcome("failed", "data", "as if it had come to its end")
    with Store.open(tmp_path / "r.db") as store:
        found, notes = adapted(store, [WAITING], [WorkerDied(0)], [made])
        assert found == made
        assert notes[1:] == ["the worker was killed; another one goes on"] * 2
        given_up, _ = adapted(store, [WAITING], [WAITING], [WAITING])
        assert (given_up.state, given_up.reason) == ("failed", "crashed")


class Late(Scripted):
    """A cluster whose only node is there at the second look, or never."""

    def __init__(self, looks: float) -> None:
        super().__init__(complete)
        self.looks = looks

    def ready(self, slot: int) -> bool:
        self.looks -= 1
        return self.looks < 0


def test_a_node_that_comes_between_two_looks_is_given_what_is_left(tmp_path: Path) -> None:
    file = study("configurations: [{epochs: 1}, {epochs: 2}]\n")
    for looks in (1, 2):  # the first is to begin a trial, the second to see whether there is a node to wait for
        assert through(tmp_path / f"{looks}.db", file, Late(looks)) == [("complete", None)] * 2


def test_a_night_without_any_node_ends_for_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.night.LONELY_SECONDS", 0.05)
    with pytest.raises(UnavailableError, match="Add nodes, then go on with: harness run s"):
        through(tmp_path / "r.db", study("configurations: [{epochs: 1}]\n"), Late(math.inf))


# --- pruning --------------------------------------------------------------------------------------------


def test_only_the_newest_committed_epoch_but_the_last_is_pruned(tmp_path: Path) -> None:
    """Trials get worse, so that from the third on the pruner wants to stop every epoch."""
    decided: dict[int, list[tuple[int, bool | None]]] = {}
    taken_up: set[int] = set()

    def worse_and_worse(job: TrialJob) -> Words:
        yield facts(job.config)
        answers = decided.setdefault(job.trial, [])
        first_time = job.trial == 4 and job.trial not in taken_up
        for number in (1, 2, 3):
            accuracy = MetricValue("validation", "accuracy", 1 / job.trial)
            prune = yield epoch(number, metrics=(accuracy, MetricValue("validation", "loss", 0.5)))
            answers.append((number, prune))
            if first_time and number == 2:  # its worker is told to stop before it hears the answer
                taken_up.add(job.trial)
                yield TrialOutcome("waiting", message="interrupted; a checkpoint was written")
                return
        yield TrialOutcome("complete", seconds={"total": 1.0})

    text = "configurations: [{learning_rate: 1e-4}, {learning_rate: 2e-4}, {learning_rate: 3e-4}, "
    text += "{learning_rate: 4e-4}]\nfixed: {epochs: 3}\n"
    text += "search: {learning_rate: {low: 1e-5, high: 1e-3, log: true}}\nbudget: {trials: 4}\n"
    text += "pruner: {name: median, startup_trials: 2, warmup_epochs: 0}\n"
    through(tmp_path / "r.db", study(text), Scripted(worse_and_worse))
    never = [(1, False), (2, False), (3, False)]
    assert decided[1] == decided[2] == never
    assert decided[3] == [(1, True), (2, True), (3, False)]  # nothing is left to save after the last epoch
    again = decided[4][2:]
    assert decided[4][:2] == [(1, True), (2, True)]
    assert again == [(1, False), (2, True), (3, False)]  # the first was only repeated


# --- what workers are told ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "chosen"),
    [
        ("objective: f1", Objective("f1", "maximize")),
        ("objectives: [train_samples_per_second, accuracy]", Objective("accuracy", "maximize")),
        ("objective: total_seconds", Objective("loss")),
    ],
)
def test_the_worker_chooses_the_best_epoch_as_the_record_does(tmp_path: Path, said: str, chosen: Objective) -> None:
    file = study("configurations: [{epochs: 1}]\n")
    text = file.text.replace("objective: {metric: accuracy, direction: maximize}", said)
    executor = Scripted(complete)
    through(tmp_path / "r.db", studies.parse_study(text), executor)
    assert executor.jobs[0].objective == chosen == selection(studies.parse_study(text).spec.objectives)


def test_the_state_of_the_repository_is_stored_with_the_environment(tmp_path: Path) -> None:
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    text = study("configurations: [{epochs: 1}]\n").text
    (tmp_path / "s.yaml").write_text(text)
    for command in (["init", "-q"], ["add", "s.yaml"], ["commit", "-q", "-m", "first"]):
        subprocess.run([*git, *command], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    (tmp_path / "s.yaml").write_text(text + "keep: 1\n")
    through(tmp_path / "r.db", studies.parse_study(text), Scripted(complete))
    file = dataclasses.replace(studies.parse_study(text + "keep: 1\n"), path=tmp_path / "s.yaml")
    through(tmp_path / "with-path.db", file, Scripted(complete))
    with Store.open(tmp_path / "with-path.db") as store, store.engine.connect() as connection:
        (stored,) = connection.exec_driver_sql("SELECT facts FROM harness_environment").scalars()
    assert f'"git":{{"changed":true,"commit":"{head}"}}' in stored


def test_the_sampler_is_asked_once_a_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asks = []

    def ask(optuna_study: object, space: object, seed: int) -> dict[str, float]:
        asks.append(seed)
        return {"learning_rate": 1e-4 * len(asks)}

    monkeypatch.setattr(sampling, "_ask_elsewhere", ask)
    file = study(SAMPLED.replace("random", "gp").replace("30", "2"))
    with Store.open(tmp_path / "r.db") as store:
        one = night(store, file, Scripted(complete))
        with store.hold(one.row.id):
            assert one.work_left()
            assert asks == []
            one.through()
    assert len(asks) == 2


def test_no_trial_makes_the_night_read_all_others_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("all trials were read")

    def guarded(job: TrialJob) -> Words:
        for name in ("trials", "kept"):
            monkeypatch.setattr(Store, name, refuse)
        return keeping(job)

    with Store.open(tmp_path / "r.db") as store:
        one = night(store, study(GRID), Scripted(guarded, slots=2))
        with store.hold(one.row.id):
            one.through()
        assert one.board().states == {"complete": 12}
    with pytest.raises(AssertionError, match="all trials were read"):
        through(tmp_path / "r.db", study(GRID), Scripted(complete))


# --- refusals ---------------------------------------------------------------------------------------------


def test_other_weights_under_the_same_name_are_refused(tmp_path: Path) -> None:
    file = study("configurations: [{epochs: 1}]\n")
    through(tmp_path / "r.db", file, Scripted(complete))
    found = prepared()
    swapped = dataclasses.replace(found, models=(dataclasses.replace(found.models[0], weights_hash="other"),))
    longer = studies.parse_study(file.text + "replicates: 2\n")
    with pytest.raises(DataError, match="the weights of builtin:tiny changed") as caught:
        through(tmp_path / "r.db", longer, Scripted(complete, found=swapped))
    assert caught.value.exit_code == 65
    assert len(through(tmp_path / "r.db", longer, Scripted(complete))) == 2


def test_weights_may_change_until_a_trial_has_begun(tmp_path: Path) -> None:
    file = study("configurations: [{epochs: 1}]\n")
    found = prepared()
    with Store.open(tmp_path / "r.db") as store:
        key = store.create_study(file)
        old = dataclasses.replace(found, models=(dataclasses.replace(found.models[0], weights_hash="old"),))
        store.record_prepared(key, old)
    assert through(tmp_path / "r.db", file, Scripted(complete)) == [("complete", None)]


def test_a_held_study_is_not_edited_by_a_second_run(tmp_path: Path) -> None:
    file = study("configurations: [{epochs: 1}]\n")
    edited = studies.parse_study(file.text + "replicates: 2\n")
    with Store.open(tmp_path / "r.db") as store, Store.open(tmp_path / "r.db") as other:
        with store.hold(store.create_study(file)):
            with pytest.raises(HeldError):
                studies.run(other, edited, Scripted(complete), Notes(), Stop())
            assert [row.text for row in store.studies()] == [file.text]
        studies.run(other, edited, Scripted(complete), Notes(), Stop())
        assert [row.text for row in store.studies()] == [edited.text]


# --- an end that is asked for ---------------------------------------------------------------------------


def waits_when_asked(stop: Stop) -> Callable[[TrialJob], Words]:
    """A trial during which an end is asked for, as by a connection that is lost."""

    def script(job: TrialJob) -> Words:
        yield facts(job.config)
        yield epoch(1)
        stop.ask(129)
        yield Progress(1, 1, 10)
        yield TrialOutcome("waiting", message="interrupted; a checkpoint was written")

    return script


def test_workers_hear_of_an_end_before_people_do(tmp_path: Path) -> None:
    """Who asks for it may kill soon, and telling may take its time."""
    heard: list[list[int]] = []

    class Asked(Notes):
        def note(self, text: str) -> None:
            if text.startswith("ending"):
                heard.append(list(executor.interrupted))

    with Store.open(tmp_path / "r.db") as store:
        one = night(store, study("configurations: [{epochs: 2}]\n"), Scripted(complete), Asked())
        one.executor = executor = Scripted(waits_when_asked(one.stop))
        with store.hold(one.row.id), pytest.raises(Interrupted) as caught:
            one.through()
    assert caught.value.exit_code == 129
    assert heard == [[0]]


# --- files ------------------------------------------------------------------------------------------------


def folders_of(store: Store) -> dict[int, Path]:
    """Folder of every trial by its number."""
    return {trial.number: store.trial_folder(trial.id) for trial in store.trials(1)}


def keeping(job: TrialJob) -> Words:
    """A trial that writes its model and a checkpoint; the later the better."""
    yield facts(job.config)
    accuracy = MetricValue("validation", "accuracy", job.trial / 10)
    yield epoch(1, metrics=(accuracy, MetricValue("validation", "loss", 0.5)))
    for name in ("model", "checkpoints/000001"):
        (Path(job.folder) / name).mkdir(parents=True)
        (Path(job.folder) / name / "file").write_text("weights")
    yield TrialOutcome("complete", seconds={"total": 1.0}, model_folder="model")


def contents(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def test_of_ended_trials_only_the_best_models_stay(tmp_path: Path) -> None:
    file = study("configurations: [{epochs: 1}, {epochs: 2}, {epochs: 3}]\nkeep: 1\n")
    through(tmp_path / "r.db", file, Scripted(keeping))
    with Store.open(tmp_path / "r.db") as store:
        folders = folders_of(store)
        assert [contents(folders[number]) for number in range(3)] == [[], [], ["model"]]
        assert [row.number for row in store.kept(1)] == [2]


def bars(path: Path, text: str, script: Callable[[TrialJob], Words]) -> list[float | None]:
    """What each trial of a study must beat for its weights to be written."""
    executor = Scripted(script)
    through(path, studies.parse_study(text), executor)
    return [job.keep_better_than for job in executor.jobs]


def test_a_pruned_trial_keeps_no_complete_one_from_its_place(tmp_path: Path) -> None:
    """Its weights are better than none, and whatever the value, those of a complete trial are better than its."""

    def first_pruned(job: TrialJob) -> Words:
        for event in keeping(job):
            pruned = isinstance(event, TrialOutcome) and job.trial == 1
            yield dataclasses.replace(event, state="pruned") if pruned else event

    text = study("configurations: [{epochs: 1}, {epochs: 2}, {epochs: 3}]\nkeep: 1\n").text
    assert bars(tmp_path / "r.db", text, first_pruned) == [None, None, 0.2]
    with Store.open(tmp_path / "r.db") as store:
        assert [row.number for row in store.kept(1)] == [2]


def test_before_its_end_no_trial_is_measured_by_a_cost(tmp_path: Path) -> None:
    """The worker knows accuracies, and those kept are ranked by their speed."""
    text = study("configurations: [{epochs: 1}, {epochs: 2}]\nkeep: 1\n").text
    text = text.replace("objective: {metric: accuracy, direction: maximize}", "objectives: [total_seconds, accuracy]")
    assert bars(tmp_path / "r.db", text, keeping) == [None, None]


def test_what_a_killed_night_left_over_is_tidied_when_the_next_begins(tmp_path: Path) -> None:
    text = "configurations: [{epochs: 1}, {epochs: 2}]\nkeep: 2\n"
    file = study(text)
    through(tmp_path / "r.db", file, Scripted(keeping))
    with Store.open(tmp_path / "r.db") as store:  # killed between the commits and the tidying
        folders = folders_of(store)
        for name in ("checkpoints", ".draft-model", ".old-model"):
            (folders[0] / name).mkdir()
            (folders[0] / name / "file").write_text("left over")
        for name in ("model", "checkpoints"):
            (store.files / "trials" / "t000099" / name).mkdir(parents=True)  # of another study
    less = study(text.replace("keep: 2", "keep: 1") + "replicates: 2\n")
    with Store.open(tmp_path / "r.db") as store:
        with store.hold(1):
            one = night(store, less, Scripted(keeping))
            waiting = store.add_trial(1, less.spec.explicit()[0], 43, 1, None, "explicit")
            one.trials.put(waiting)
            checkpoint = store.trial_folder(waiting.id) / "checkpoints"
            checkpoint.mkdir(parents=True)
            monitored = [folders[0], folders[1], checkpoint.parent]
            one.executor = Stopper(monitored)
            with pytest.raises(Seen) as seen:
                one.through()
        assert seen.value.args[0] == [[], ["model"], ["checkpoints"]]
        assert contents(store.files / "trials" / "t000099") == ["checkpoints", "model"]
        assert [row.number for row in store.kept(1)] == [1]


class Seen(Exception):
    """What lay in the folders when the first job was given."""


class Stopper(Scripted):
    """Looks at folders instead of taking the first job."""

    def __init__(self, folders: list[Path]) -> None:
        super().__init__(complete)
        self.folders = folders

    def submit(self, slot: int, job: object) -> None:
        """Look, and go no further."""
        raise Seen([contents(folder) for folder in self.folders])


# --- a full disk ------------------------------------------------------------------------------------------


def test_a_trial_that_meets_a_full_disk_waits_and_the_night_ends_for_later(tmp_path: Path) -> None:
    def out_of_space(job: TrialJob) -> Words:
        yield facts(job.config)
        yield TrialOutcome("waiting", "disk", "OSError: [Errno 28] No space left on device: 'cache'")

    file = study("configurations: [{epochs: 1}, {epochs: 2}]\n")
    with pytest.raises(HeldError) as caught:
        through(tmp_path / "r.db", file, Scripted(out_of_space))
    assert caught.value.exit_code == 75
    for words in (str(tmp_path), "MB free", "'cache'", "free some space"):
        assert words in str(caught.value)
    with Store.open(tmp_path / "r.db") as store, store.engine.connect() as connection:
        assert [trial.state for trial in store.trials(1)] == ["waiting"]
        assert connection.exec_driver_sql("SELECT kind FROM harness_incident").scalars().all() == ["disk"]
    assert through(tmp_path / "r.db", file, Scripted(complete)) == [("complete", None)] * 2

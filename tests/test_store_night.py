"""What a night makes of a worker's words: a real store, a real search, and workers that speak from a script."""

from __future__ import annotations

from collections import deque

import pytest
from results_support import epoch, facts, prepared, study_file

from harness.configuration import TrialConfig
from harness.deadline import Stop
from harness.errors import Interrupted
from harness.executors.base import Executor, Job
from harness.jobs import PrepareJob, Sharing, TrainJob
from harness.night import Night
from harness.records import Incident, JobDone, Message, TrialOutcome, WorkerDied
from harness.results import frames
from harness.results.rows import TrialRow
from harness.results.store import Store

COMPLETE = TrialOutcome("complete")
KILLED = WorkerDied(-9)


class Script(Executor):
    """One slot; each trial job is answered by the next list of events, later ones by complete trials."""

    slots = 1

    def __init__(self, *answers: list[object]) -> None:
        self.answers = deque(answers)
        self.said: deque[Message] = deque()

    def submit(self, slot: int, job: Job) -> None:
        if isinstance(job, PrepareJob):
            self.said += [Message(None, prepared()), Message(None, JobDone())]
            return
        events = self.answers.popleft() if self.answers else [epoch(1), COMPLETE]
        events = events if any(isinstance(event, WorkerDied) for event in events) else [*events, JobDone()]
        assert isinstance(job, TrainJob)
        trial = job.trials[0].trial
        of_worker = (JobDone, WorkerDied)
        self.said += [Message(None if isinstance(event, of_worker) else trial, event) for event in events]

    def messages(self, timeout: float) -> list[tuple[int, Message]]:
        return [(0, self.said.popleft())] if self.said else []

    def decide(self, slot: int, *, prune: bool) -> None:
        pass

    def interrupt(self, slot: int) -> None:
        pass

    def kill(self, slot: int) -> None:
        pass

    def close(self) -> None:
        pass


class Silent:
    def note(self, text: str) -> None:
        pass

    def tick(self, board: object) -> None:
        pass


@pytest.fixture
def store(database):
    with Store.open(database) as opened:
        opened.create_study(study_file())
        yield opened


def night(store: Store, executor: Executor, stop: Stop | None = None) -> list[TrialRow]:
    """Run the study's first trial as far as the script goes; the trials afterwards."""
    row = store.study("probe")
    assert row is not None
    with store.hold(row.id):
        Night(store, row, study_file(), executor, Silent(), stop or Stop(), Sharing()).through()
    return store.trials(row.id)


def test_a_trial_out_of_memory_ends_with_the_curve_of_its_smaller_batches_alone(store):
    halved = [facts(TrialConfig(batch_size=8)), epoch(1, validation=0.5), epoch(2, validation=0.4), COMPLETE]
    first = [facts(TrialConfig()), epoch(1, validation=0.9), Incident("oom", "out of memory"), *halved]
    trial = night(store, Script(first))[0]
    assert (trial.state, trial.objective, trial.best_epoch) == ("complete", 0.4, 2)
    assert store.epoch_values(trial.id, "validation", "loss") == {1: 0.5, 2: 0.4}
    found = frames.incidents(store.engine, "probe")
    assert list(found["kind"]) == ["oom"]
    assert [replaced["epoch"] for replaced in found.iloc[0]["details"]["replaced_epochs"]] == [1]


@pytest.mark.parametrize("now", [8, 16])
def test_a_record_is_of_one_batch_size_though_the_next_attempt_finds_its_memory_again(store, now):
    """The worker dies before a checkpoint remembers the fallback."""
    first = [facts(TrialConfig(batch_size=16)), Incident("oom", "out of memory")]
    first += [facts(TrialConfig(batch_size=8)), epoch(1, validation=0.5), epoch(2, validation=0.4), KILLED]
    again = [facts(TrialConfig(batch_size=now)), *(epoch(n, validation=0.9 / n) for n in (1, 2, 3)), COMPLETE]
    trial = night(store, Script(first, again))[0]
    mine = {1: 0.9, 2: 0.45, 3: 0.3} if now == 16 else {1: 0.5, 2: 0.4, 3: 0.3}
    assert store.epoch_values(trial.id, "validation", "loss") == pytest.approx(mine)
    assert (trial.state, store.config_as_run(trial.id)) == ("complete", TrialConfig(batch_size=now))
    found = frames.incidents(store.engine, "probe").set_index("kind")["details"]
    assert ("begun_anew" in found) == (now == 16)
    if now == 16:
        assert [replaced["epoch"] for replaced in found["begun_anew"]["replaced_epochs"]] == [1, 2]
        assert found["begun_anew"]["ran_before"]["batch_size"] == 8


def test_interruptions_do_not_count_as_deaths_of_a_trial_whose_worker_is_killed_twice(store):
    row = store.add_trial(1, study_file().spec.explicit()[0], 42, 0, None, "explicit")
    for _ in range(5):
        store.start_trial(row.id, "w0", None)
        store.requeue_trial(row.id, Incident("interrupted", "Ctrl-C"))
    trial = night(store, Script([KILLED], [KILLED], [epoch(1), COMPLETE]))[0]
    assert (trial.state, trial.attempt, store.deaths(trial.id)) == ("complete", 8, 2)


def test_a_trial_that_kills_every_worker_is_given_up(store):
    trial = night(store, Script([KILLED], [KILLED], [KILLED]))[0]
    assert (trial.state, trial.reason, trial.attempt) == ("failed", "crashed", 3)


def test_a_worker_killed_because_an_end_was_asked_for_is_no_death(store):
    stop = Stop()

    class Impatient(Script):
        def messages(self, timeout: float) -> list[tuple[int, Message]]:
            found = super().messages(timeout)
            if found and found[0][1].event == facts(TrialConfig()):
                stop.asked = 2
            return found

    with pytest.raises(Interrupted):
        night(store, Impatient([facts(TrialConfig())]), stop)
    trial = store.trials(1)[0]
    assert (trial.state, store.deaths(trial.id)) == ("waiting", 0)
    assert list(frames.incidents(store.engine, "probe")["kind"]) == ["interrupted"]

"""One invocation of a study: fill the workers, take what they say into the record, survive the rest.

Everything here is supervision. What to try is search.py's work, what happened is the store's, and
how it looks on a terminal belongs to whoever passes an observer.
"""

from __future__ import annotations

import time
from collections.abc import Hashable, Iterator, Sequence
from typing import Any

import harness.disk as disk
import harness.grouping as grouping
import harness.metrics as metrics
import harness.shelf as shelf
from harness.adapting import Adapting
from harness.board import Board, Observer, Slot, board
from harness.configuration import Objective
from harness.confirming import Confirming
from harness.deadline import Deadline, Stop
from harness.errors import Interrupted, UnavailableError
from harness.executors.base import Executor
from harness.grid import confirming, whole
from harness.jobs import Sharing, TrainJob, TrialJob
from harness.listening import Listening
from harness.opening import Opened, prepare
from harness.records import EpochRecord, Incident, JobDone, Message, Progress, TrialFacts, TrialOutcome, WorkerDied
from harness.results import mirror
from harness.results.rows import StudyRow, TrialRow
from harness.results.store import Store
from harness.roster import Roster
from harness.sampling import Tried, looks_at_epochs
from harness.search import Proposal, Search
from harness.spec import StudyFile, StudySpec

LONELY_SECONDS = 600.0  # without any worker a night ends; it goes on with the next run
MOST_FAILURES_IN_A_ROW = 10  # a sampled study that only fails would otherwise burn the night


class Night:
    """One invocation on one study, from the first ask to the last tell."""

    def __init__(
        self,
        store: Store,
        row: StudyRow,
        file: StudyFile,
        executor: Executor,
        observer: Observer,
        stop: Stop,
        sharing: Sharing,
        searching: bool = True,
    ) -> None:
        self.store = store
        self.executor = executor
        self.row = row
        self.file = file
        self.spec = file.spec
        self.observer = observer
        self.stop = stop
        self.sharing = sharing
        spent = store.invocation_seconds(row.id)
        self.deadline = Deadline.of(self.spec.budget, spent) if searching else Deadline()
        self.trials = Roster(row, self.spec)
        self.confirming = Confirming(store, row, self.spec)
        self.search = Search(self.spec, self._taken_up(), beside=self._confirmed())
        self.searching = searching
        self.running: dict[int, Slot] = {}
        self.failures_in_a_row = 0
        self.slots = 1 if times_its_trials(self.spec) else executor.slots
        self._most_to_confirm = confirming(self.spec)
        self._opened: Opened | None = None
        self._adapted: dict[str, str] = {}
        self._ending = False
        self._closed = False
        self._lonely: float | None = None  # since when no worker can be had
        self._full = ""  # what a worker said about a full disk

    def _confirmed(self) -> Iterator[Tried]:
        """The trials of the record that confirm."""
        for page in self.store.pages(self.row.id) if self.confirming.choice else ():
            yield from (Tried.of(trial) for trial in page if self.confirming.of(trial))

    def _taken_up(self) -> Iterator[Tried]:
        """All other trials of the record, while the roster takes note of them all: never are all in memory as rows."""
        metric = self.spec.objectives[0].metric
        for page in self.store.pages(self.row.id):
            looked_at = [trial.id for trial in page if looks_at_epochs(self.spec, trial.state)]
            epochs = self.store.epoch_values_of(looked_at, "validation", metric)
            for trial in page:
                self.trials.put(trial)
                if not self.confirming.of(trial):
                    yield Tried.of(trial, epochs.get(trial.id))

    # --- one night ------------------------------------------------------------------------------

    def work_left(self) -> bool:
        """Whether a waiting trial or a new one is due, be it the search's or to confirm what that has found."""
        if self.deadline.passed():
            return False
        searching = self.searching and (self.trials.waiting() is not None or self.search.more())
        return searching or self._waiting_to_confirm() is not None or self.confirming.due(self.trials)

    def through(self) -> None:
        """Prepare, then keep every worker busy until the plan or the budget ends."""
        mirror.sync(self.store, self.row.id)
        shelf.tidy_all(self.store, self.trials, self.spec.keep)
        if self.slots < self.executor.slots:
            self.observer.note("one worker: an objective is a speed, which trials side by side would distort")
        begun = self.trials.begun
        self._opened = prepare(self.store, self.row, self.file, begun, self.executor, self.observer, self.stop)
        night = Adapting(self.store, self.row, self.spec, self.executor, self.observer, self.stop, self.deadline)
        self._adapted = night.all(self._opened)
        self.store.waiting = self._without_database
        self._fill()
        listening = Listening(self.executor)
        while self.running or self._without_workers():
            for slot, message in self._messages(listening):
                self._take(slot, message)
            self._watch(listening)
            if not self._ending:
                self._fill()
            self.observer.tick(self.board())
        if self._full:
            raise disk.full(self.store.files, self._full)
        if self.stop.asked:
            raise Interrupted(
                f"interrupted; everything recorded is safe. Go on with: harness run {self.row.name}",
                self.stop.exit_code,
            )

    # --- placing --------------------------------------------------------------------------------

    def _fill(self) -> bool:
        """Give a trial to every worker that is ready for one; whether there was none left to give."""
        for slot in range(self.slots):
            if slot in self.running or self._closed or self.deadline.passed() or self.stop.asked:
                continue
            if not self.executor.ready(slot):
                continue
            trial = self._next()
            if trial is None:
                return True
            self._start(slot, trial)
        return False

    def _next(self) -> TrialRow | None:
        """The next trial of the search, or, once that is over, of those that confirm what it has found."""
        if self._still_searching():
            trial = self.trials.waiting() or self._proposed()
            if trial is not None:
                return trial
        if not self.running:  # the last of the search may still change what is chosen
            for proposal in self.confirming.begin(self.trials, self.search):
                self.search.pass_by(Tried.of(self._add(proposal)))
        return self._waiting_to_confirm()

    def _waiting_to_confirm(self) -> TrialRow | None:
        return next((trial for trial in self.trials.queue() if self.confirming.of(trial)), None)

    def _still_searching(self) -> bool:
        """Until what is left of the time is what confirming will take."""
        mean, left = self.trials.mean_seconds, self.deadline.seconds_left()
        if not self.searching or mean is None or left is None or left > self._most_to_confirm * mean / self.slots:
            return self.searching
        self.searching = left > self.confirming.left(self.trials) * mean / self.slots
        if not self.searching:
            self.observer.note("the search ends: the time that is left is for confirming what it has found")
        return self.searching

    def _proposed(self) -> TrialRow | None:
        while (proposal := self.search.next()) is not None:
            trial = self._add(proposal)
            self.search.add(Tried.of(trial))
            if not trial.spared:
                return trial
            mirror.sync(self.store, self.row.id, [trial])
            self.observer.note(f"trial {trial.number}{_fold(trial)}: {trial.message}")
        return None

    def _add(self, proposal: Proposal) -> TrialRow:
        trial = self.store.add_trial(
            self.row.id,
            proposal.config,
            seed=proposal.seed,
            replicate=proposal.replicate,
            fold=proposal.fold,
            origin=proposal.origin,
            spared=proposal.spared,
        )
        self.trials.put(trial)
        return trial

    def _start(self, slot: int, first: TrialRow) -> None:
        """Give a worker a trial, and those that it can train together with it."""
        assert self._opened is not None
        running = Slot({}, time.monotonic())
        trial: TrialRow | None = first
        while trial is not None:
            self.store.start_trial(trial.id, self.executor.name(slot), self._opened.environment)
            running.trials[trial.id] = self._refresh(trial.id)
            self._begin_anew(trial)
            self.observer.note(f"trial {trial.number} starts: {self._words(trial)}")
            trial = self._companion(first) if len(running.trials) < grouping.MOST else None
        self.running[slot] = running
        self.executor.submit(slot, TrainJob(tuple(self._job(each, self._opened) for each in running.trials.values())))

    def _begin_anew(self, trial: TrialRow) -> None:
        """Set aside what a trial committed that may have been one of a group, for its record must be of one run.

        Who trains together decides the last bits, and after an end of any kind others do, or it goes alone.
        """
        if self._group_key(trial) is None or not self.store.epoch_values(trial.id, "validation", "loss"):
            return
        words = "it begins anew, perhaps among other trials; what it had committed is kept here"
        self.store.restart_trial(trial.id, Incident("begun_anew", words))
        self.search.restart(trial.number)

    def _refuse_mixture(self, trial: TrialRow, facts: TrialFacts) -> None:
        """Set aside epochs of smaller batches, if the memory that was short is there now and no checkpoint says so."""
        before = self.store.config_as_run(trial.id) if trial.attempt > 1 else None
        if before is None or before == facts.config or not self.store.epoch_values(trial.id, "validation", "loss"):
            return
        words = "it begins anew with the settings that were asked for; what it had committed with others is kept here"
        self.store.restart_trial(trial.id, Incident("begun_anew", words, {"ran_before": before.as_dict()}))
        self.search.restart(trial.number)

    def _companion(self, first: TrialRow) -> TrialRow | None:
        """A trial that a worker can train together with another one, of those that hang on no result.

        One whose worker died goes alone, so that it is known whose fault it is.
        """
        key = self._group_key(first)
        if key is None or self.sharing.folder is None or self.store.deaths(first.id):
            return None
        while self.trials.states["waiting"] < grouping.MOST and self.search.independent():
            self._proposed()
        alike = (other for other in self.trials.queue() if self._group_key(other) == key)
        return next((other for other in alike if not self.store.deaths(other.id)), None)

    def _group_key(self, trial: TrialRow) -> Hashable | None:
        assert self._opened is not None
        if trial.config.model not in self._opened.fusing:
            return None
        if self.confirming.of(trial):  # heads that train together do not see the test rows
            return None
        return grouping.key(self.spec.task, trial.config, trial.seed, trial.fold)

    def _job(self, trial: TrialRow, opened: Opened) -> TrialJob:
        return TrialJob(
            trial=trial.id,
            task=self.spec.task,
            data=opened.data,
            data_seed=self.spec.seeds[0],
            config=trial.config,
            seed=trial.seed,
            fold=trial.fold,
            objective=selection(self.spec.objectives),
            folder=str(self.store.trial_folder(trial.id)),
            keep=self.spec.keep > 0,
            keep_better_than=shelf.bar(self.trials, self.spec.keep),
            revision=opened.revisions.get(trial.config.model),
            sharing=self.sharing,
            adapted=self._adapted.get(trial.config.model) if trial.config.adapt else None,
            test=self.confirming.reads_test(trial),
        )

    def _words(self, trial: TrialRow) -> str:
        values = trial.config.as_dict()
        names = self.spec.search or ("epochs", "batch_size", "learning_rate", "max_length", "freeze")
        return ", ".join(f"{name} {_short(values[name])}" for name in names) + f", seed {trial.seed}{_fold(trial)}"

    # --- listening --------------------------------------------------------------------------------

    def _messages(self, listening: Listening) -> list[tuple[int, Message]]:
        found = listening.messages()
        for running in self.running.values():
            running.heard = listening.excused(running.heard)
        return found

    def _take(self, slot: int, message: Message) -> None:
        running = self.running.get(slot)
        if running is None:
            return
        running.heard = time.monotonic()
        event = message.event
        if isinstance(event, WorkerDied):
            self._died(slot, running, event)
        elif isinstance(event, JobDone):
            del self.running[slot]
        elif message.trial is not None:
            self._hear(slot, running, self._row(message.trial), event)

    def _hear(self, slot: int, running: Slot, trial: TrialRow, event: Any) -> None:
        """What a worker says of one trial."""
        if isinstance(event, Progress):
            running.progress = event
        elif isinstance(event, TrialFacts):
            self._refuse_mixture(trial, event)
            self.store.record_facts(trial.id, event)
        elif isinstance(event, EpochRecord):
            self._epoch(slot, trial, event)
        elif isinstance(event, Incident):
            if event.kind == "oom":  # from nothing, in another way: what it committed is another run's
                self.store.restart_trial(trial.id, event)
                self.search.restart(trial.number)
                running.progress = None
            else:
                self.store.record_incident(self.row.id, trial.id, event)
            if event.kind == "group_failed":
                for each in running.trials.values():
                    self._begin_anew(each)
            self.observer.note(f"trial {trial.number}: {event.message}")
        elif isinstance(event, TrialOutcome):
            del running.trials[trial.id]
            self._end(trial, event)

    def _epoch(self, slot: int, trial: TrialRow, record: EpochRecord) -> None:
        """Commit first, then answer: a worker that goes on has its epoch in the database."""
        self.store.record_epoch(trial.id, record)
        done = len(self.store.epoch_values(trial.id, "validation", "loss"))
        objective = self.spec.objectives[0]
        value = record.value("validation", objective.metric)
        prune = self.search.report(trial.number, record.epoch, value)
        # no answer for an epoch that is only repeated, and none when nothing is left to save
        prune = prune and record.epoch == done and record.epoch < trial.config.epochs
        self.executor.decide(slot, prune=prune)

    def _end(self, trial: TrialRow, outcome: TrialOutcome) -> None:
        if outcome.state == "waiting":
            self._full = self._full or (outcome.message if outcome.reason == "disk" else "")
            kind = "disk" if outcome.reason == "disk" else "interrupted"
            self.store.requeue_trial(trial.id, Incident(kind, outcome.message))
            self._refresh(trial.id)
            return
        self._finish(trial, outcome)

    def _finish(self, trial: TrialRow, outcome: TrialOutcome) -> None:
        self.store.finish_trial(trial.id, outcome)
        ended = self._refresh(trial.id)
        self.search.finish(trial.number, outcome.state, Tried.of(ended).values)
        self._count_failures(ended)
        mirror.sync(self.store, self.row.id, [ended])
        shelf.tidy(self.store, self.trials, trial.id, self.spec.keep)
        self.observer.note(f"trial {trial.number} {self._ending_words(ended)}")

    def _ending_words(self, trial: TrialRow) -> str:
        if trial.state == "failed":
            return f"failed ({trial.reason}): {trial.message.splitlines()[0] if trial.message else ''}"
        objective = self.spec.objectives[0]
        value = "–" if trial.objective is None else f"{trial.objective:.4f}"
        seconds = "" if trial.total_seconds is None else f" in {trial.total_seconds:.1f} s"
        return f"{trial.state}{seconds}: {objective.metric} {value}; {trial.verdict_words or ''}"

    # --- trouble ----------------------------------------------------------------------------------

    def _count_failures(self, ended: TrialRow) -> None:
        """A sampler that proposes only what fails is stopped; a grid or a list of configurations has an end."""
        if ended.origin != "sampled":
            return
        self.failures_in_a_row = self.failures_in_a_row + 1 if ended.state == "failed" else 0
        if self.failures_in_a_row >= MOST_FAILURES_IN_A_ROW and not self._closed:
            self._closed = True
            self.observer.note(f"{self.failures_in_a_row} trials failed one after another: no more are started")

    def _died(self, slot: int, running: Slot, death: WorkerDied) -> None:
        """A worker killed from outside is given another; one that died of its trial fails it by name.

        Of several trials it is not known which one it was: each goes on alone.
        """
        del self.running[slot]
        for trial in running.trials.values():
            self._lost(trial, death, alone=len(running.trials) == 1)

    def _lost(self, trial: TrialRow, death: WorkerDied, alone: bool) -> None:
        message = f"{death.words} in trial {trial.number}{death.why}"
        again = not alone or death.forgiven(self.store.deaths(trial.id, death.kind))
        kind = "interrupted" if self.stop.asked else death.kind  # a death that was asked for does not count
        if self.stop.asked or again:
            self.store.requeue_trial(trial.id, Incident(kind, f"{message}; the trial goes on later", death.details))
            self._refresh(trial.id)
            self.observer.note(message)
        else:
            self._finish(
                trial, TrialOutcome("failed", "oom" if death.out_of_memory else "crashed", message, death.log_tail)
            )

    def _watch(self, listening: Listening) -> None:
        if (self.stop.asked or self._full or self.deadline.passed()) and not self._ending:
            self._ending = True
            for slot in self.running:  # first of all: who asks for an end may kill soon
                self.executor.interrupt(slot)
            self.observer.note("ending: trials write checkpoints and go on at the next run")
        if self.stop.asked > 1:
            for slot, running in list(self.running.items()):
                self.executor.kill(slot)
                self._died(slot, running, WorkerDied(-9))
        silence = self.spec.watchdog * 60
        for slot, running in list(self.running.items()):
            if listening.silence(running.heard) > silence:
                self._hung(slot, running)

    def _without_workers(self) -> bool:
        """Whether trials wait for a worker and there is none, as on a cluster whose nodes are gone.

        Raises:
            UnavailableError: for minutes now.
        """
        if self._closed or self._ending or self.stop.asked or self._full:
            return False
        if self._fill() or self.running or not self.work_left():
            self._lonely = None
            return bool(self.running)
        if self._lonely is None:
            self._lonely = time.monotonic()
            self.observer.note("no node of the cluster has room for a worker; waiting for one")
        if time.monotonic() - self._lonely > LONELY_SECONDS:
            raise UnavailableError(
                f"no node of the cluster has had room for a worker for {LONELY_SECONDS / 60:.0f} minutes; everything "
                f"recorded is safe. Add nodes, then go on with: harness run {self.row.name}"
            )
        return True

    def _without_database(self, words: str) -> None:
        """The database's server is away or its file is locked: an end can be asked for."""
        if self.stop.asked:
            raise Interrupted(f"interrupted; {words}", self.stop.exit_code)
        self.observer.note(words)

    def _hung(self, slot: int, running: Slot) -> None:
        self.executor.kill(slot)
        del self.running[slot]
        message = f"no step for {self.spec.watchdog:g} minutes; the worker was killed"
        for trial in running.trials.values():
            if len(running.trials) == 1:
                self._finish(trial, TrialOutcome("failed", "hung", message))
            else:
                self.store.requeue_trial(trial.id, Incident("worker_died", f"{message}; the trial goes on alone"))
                self._refresh(trial.id)

    # --- views --------------------------------------------------------------------------------------

    def _refresh(self, trial_id: int) -> TrialRow:
        trial = self.store.trial(trial_id)
        self.trials.put(trial)
        return trial

    def _row(self, trial_id: int) -> TrialRow:
        return self.trials.open(trial_id) or self.store.trial(trial_id)

    def board(self) -> Board:
        """The study at a glance."""
        choice = self.confirming.choice
        total = whole(self.spec, None if choice is None else choice.trials)
        return board(self.spec.study, total, self.trials, self.running, self.slots, self.deadline)


def selection(objectives: Sequence[Objective]) -> Objective:
    """What picks a trial's best epoch: the first objective with a value an epoch, else the validation loss."""
    return next((objective for objective in objectives if objective.metric not in metrics.costs()), Objective())


def times_its_trials(spec: StudySpec) -> bool:
    """Whether an objective is a time or a rate: then one trial runs at a time, or each would slow the others."""
    costs = metrics.costs()
    units = [costs[objective.metric].unit for objective in spec.objectives if objective.metric in costs]
    return any(unit == "seconds" or unit.endswith("/s") for unit in units)


def _fold(trial: TrialRow) -> str:
    return "" if trial.fold is None else f", fold {trial.fold}"


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)

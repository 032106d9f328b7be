"""A plain script's run in results.db: a study of the script's own, each run a trial.

What the database refuses now is tried again with the next record; a run is never stopped by its record.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from harness.configuration import Objective
from harness.errors import HeldError, StorageError, UsageError
from harness.jobs import Prepared
from harness.records import EpochRecord, Incident, TrialFacts, TrialOutcome
from harness.results import mirror
from harness.results.rows import SCRIPT, StudyRow
from harness.results.store import Store
from harness.results.targets import Target
from harness.spec import StudyFile, parse_study
from harness.yaml_reader import write_yaml

OPENING = "# A script trained these trials and harness.callback wrote them down; `harness run` cannot run them.\n"
log = logging.getLogger("harness.callback")


@dataclass(frozen=True)
class Opening:
    """What is known of a run when its training begins.

    Attributes:
        identity: hash of everything that the script set, its seed left out: equal runs with other seeds are replicates.
        environment: versions and device, as `environment.capture` gives them.
    """

    task: str
    objective: Objective
    seed: int
    identity: str
    facts: TrialFacts
    environment: dict[str, object]
    incidents: Sequence[Incident] = ()


def study_file(name: str, opening: Opening) -> StudyFile:
    """The study that holds a script's runs, as a study file says it.

    Raises:
        SpecError: for a name that no study can have.
    """
    values = {
        "study": name,
        "task": opening.task,
        "model": opening.facts.config.model,
        "seed": opening.seed,
        "data": {"path": f"{SCRIPT}{name}"},
        "configurations": [{}],
        "objective": {"metric": opening.objective.metric, "direction": opening.objective.direction},
    }
    return parse_study(OPENING + write_yaml(values), name=f"study {name}")


class Ledger:
    """The record of one run, written in order.

    Attributes:
        study, trial: where it is, once the database has taken it.
    """

    def __init__(self, target: Target, study: str) -> None:
        self.target, self.asked = target, study
        self.study: str | None = None
        self.trial: int | None = None
        self._store: Store | None = None
        self._trial_id = 0
        self._study_id = 0
        self._held = ExitStack()
        self._left: list[tuple[str, Callable[[], None]]] = []

    def begin(self, opening: Opening) -> None:
        """The run has begun."""
        self._write("the beginning of the run", lambda: self._begin(opening))

    def prepared(self, prepared: Prepared) -> None:
        """What the run is trained and judged on; the first run of a study says it for all that follow."""
        self._write("the data", lambda: self._prepare(prepared))

    def facts(self, facts: TrialFacts) -> None:
        """What was not known when it began."""
        self._write("what is run", lambda: self._open().record_facts(self._trial_id, facts))

    def incident(self, incident: Incident) -> None:
        """Something went otherwise than asked."""
        self._write("an incident", lambda: self._open().record_incident(self._study_id, self._trial_id, incident))

    def epoch(self, record: EpochRecord) -> None:
        """An epoch is over."""

        def write() -> None:
            self._open().record_epoch(self._trial_id, record)

        self._write(f"epoch {record.epoch}", write)

    def end(self, outcome: TrialOutcome) -> None:
        """The run is over."""
        self._write("the end of the run", lambda: self._open().finish_trial(self._trial_id, outcome))
        self._write("the copy for Optuna", self._copy)
        self._write("the end of the session", lambda: self._close(outcome))
        if self._left:
            lost = ", ".join(what for what, _ in self._left)
            log.error("%s: what could not be recorded of this run is lost: %s", self.target, lost)

    def _write(self, what: str, action: Callable[[], None]) -> None:
        """Everything that is still to be written, in order, as far as it goes."""
        self._left.append((what, action))
        while self._left:
            what, action = self._left[0]
            try:
                action()
            except Exception as error:  # whatever it is, hours of training are worth more than their record
                then = "training goes on, and it is tried again with the next record"
                log.error("%s: cannot record %s: %s: %s; %s", self.target, what, type(error).__name__, error, then)
                return
            finally:
                if self._store is not None:
                    self._store.engine.dispose()  # data loaders fork, and no connection may go along
            del self._left[0]

    # --- with the database ------------------------------------------------------------------------------

    def _open(self) -> Store:
        if self._store is None:
            raise UsageError("the run is not in the database yet")
        return self._store

    def _begin(self, opening: Opening) -> None:
        with ExitStack() as stack:
            store = stack.enter_context(Store.open(self.target))
            store.waiting = _impatient
            row = _held(stack, store, self.asked, opening)
            environment = store.record_environment(opening.environment)
            trial = store.add_script_run(row.id, opening.facts.config, opening.seed, opening.identity)
            store.start_trial(trial.id, "script", environment)
            store.record_facts(trial.id, opening.facts)
            for incident in opening.incidents:
                store.record_incident(row.id, trial.id, incident)
            self._held = stack.pop_all()
        self._store, self.study, self.trial = store, row.name, trial.number
        self._study_id, self._trial_id = row.id, trial.id
        log.info("%s: this run is %s:%s", self.target, row.name, trial.number)

    def _prepare(self, prepared: Prepared) -> None:
        store = self._open()
        known = store.data_fingerprint(self._study_id)
        if known is None:
            store.record_prepared(self._study_id, prepared)
        elif known != prepared.fingerprint:
            words = "the rows of this run are not those of the study's first run; figures of both do not compare"
            details = {"first": known, "this": prepared.fingerprint}
            store.record_incident(self._study_id, self._trial_id, Incident("other data", words, details))

    def _copy(self) -> None:
        mirror.sync(self._open(), self._study_id)

    def _close(self, outcome: TrialOutcome) -> None:
        error = RuntimeError(outcome.message) if outcome.state == "failed" else None
        self._held.__exit__(None if error is None else type(error), error, None)


def _impatient(words: str) -> None:
    """A night waits for its database; a training that only tells what it does goes on.

    Raises:
        StorageError: always.
    """
    raise StorageError(words)


def _held(stack: ExitStack, store: Store, asked: str, opening: Opening) -> StudyRow:
    """The study of the asked name, or with a number behind it where another run of the script is under way.

    Raises:
        UsageError: when the name is that of a study which no script wrote.
    """
    for number in itertools.count(1):
        name = asked if number == 1 else f"{asked}-{number}"
        row = store.study(name)
        if row is None:
            store.create_study(study_file(name, opening))
            row = next(each for each in store.studies() if each.name == name)
        if not row.of_script:
            raise UsageError(f"study {name!r} is one of `harness run` or `harness import`; give Recorder another name")
        try:
            stack.enter_context(store.hold(row.id))
        except HeldError:
            log.warning("%s: a run of study %s is under way; this one goes to another", store.target, name)
            continue
        return row
    raise AssertionError("unreachable")

"""The only writer of results.db: one coordinator, one transaction an epoch, states that move along known edges.

What it hands out are the values of `rows.py`; frames for analysis come from `frames.py`.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import sqlalchemy as sa

from harness.errors import HeldError, Interrupted, StorageError
from harness.records import (
    EpochRecord,
    Incident,
    Objective,
    Prepared,
    TrialConfig,
    TrialFacts,
    TrialOutcome,
    fingerprint,
)
from harness.results import outcomes, writes
from harness.results.columns import utc_now
from harness.results.engine import Target, files_folder, open_engine, storage_errors
from harness.results.ownership import Owner, lock_on_server
from harness.results.rows import StudyRow, TrialRow, select_trials
from harness.results.tables import (
    configuration,
    data,
    environment,
    example,
    model,
    session,
    study,
    trial,
)
from harness.results.text import plain

if TYPE_CHECKING:
    from harness.spec import StudyFile

Origin = Literal["explicit", "grid", "sampled", "baseline"]
ENDS = ("complete", "pruned", "failed")


class Store:
    """An open results.db.

    Attributes:
        files: the folder of checkpoints, caches and kept models that belongs to it.
    """

    def __init__(self, engine: sa.Engine, target: Target) -> None:
        self.engine = engine
        self.target = target
        self.files = files_folder(target)
        self._session: tuple[int, float] | None = None  # id, and monotonic clock at its start

    @classmethod
    def open(cls, target: Target, create: bool = True) -> Store:
        """Open for writing; a missing database is made unless `create` is false.

        Raises:
            HarnessError: as `engine.open_engine` says.
        """
        store = cls(open_engine(target, create=create), target)
        with storage_errors(store.files):
            for folder in ("trials", "cache", "models"):
                (store.files / folder).mkdir(parents=True, exist_ok=True)
        return store

    def close(self) -> None:
        """Release every connection."""
        self.engine.dispose()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _transaction(self) -> Iterator[sa.Connection]:
        with storage_errors(self.engine.url.set(password=None)), self.engine.begin() as connection:
            yield connection

    # --- studies ----------------------------------------------------------------------------------

    def create_study(self, file: StudyFile, source: Literal["own", "published"] = "own") -> int:
        """Store a new study and return its id.

        Raises:
            StorageError: when the name is taken.
        """
        spec = file.spec
        with self._transaction() as connection:
            added = connection.execute(
                sa.insert(study).values(
                    name=spec.study,
                    source=source,
                    created_at=utc_now(),
                    **_study_text(file),
                )
            )
        return _key(added)

    def extend_study(self, study_id: int, file: StudyFile) -> None:
        """Replace the text of a study by one that `spec.extends_only` allowed."""
        with self._transaction() as connection:
            connection.execute(sa.update(study).where(study.c.id == study_id).values(**_study_text(file)))

    def study(self, name: str) -> StudyRow | None:
        """The study of that name."""
        return next((row for row in self.studies() if row.name == name), None)

    def studies(self) -> list[StudyRow]:
        """All studies in order of creation."""
        with self._transaction() as connection:
            rows = connection.execute(sa.select(study).order_by(study.c.id)).mappings()
            return [StudyRow.read(row) for row in rows]

    def record_prepared(self, study_id: int, prepared: Prepared) -> None:
        """Store the data and models as found; what an earlier invocation stored is replaced."""
        with self._transaction() as connection:
            for table in (data, model, example):
                connection.execute(sa.delete(table).where(table.c.study_id == study_id))
            connection.execute(
                sa.insert(data).values(
                    study_id=study_id,
                    fingerprint=prepared.fingerprint,
                    label_names=list(prepared.label_names),
                    positive=prepared.positive,
                    splits={name: dataclasses.asdict(split) for name, split in prepared.splits.items()},
                    warnings=list(prepared.warnings),
                )
            )
            for found in prepared.models:
                connection.execute(sa.insert(model).values(study_id=study_id, **dataclasses.asdict(found)))
            rows = [
                {"study_id": study_id, "split": split, "position": i}
                | dict(zip(("source_row", "label", "grp", "text"), row, strict=True))
                for split, examples in prepared.examples.items()
                for i, row in enumerate(examples)
            ]
            if rows:
                connection.execute(sa.insert(example), rows)

    def data_fingerprint(self, study_id: int) -> str | None:
        """Hash of the rows that the study used; None before its first preparation."""
        with self._transaction() as connection:
            return connection.scalar(sa.select(data.c.fingerprint).where(data.c.study_id == study_id))

    def weights_hashes(self, study_id: int) -> dict[str, str]:
        """Model name -> hash of the pretrained weights that the study was begun with."""
        query = sa.select(model.c.name, model.c.weights_hash).where(model.c.study_id == study_id)
        with self._transaction() as connection:
            return {str(name): str(found) for name, found in connection.execute(query)}

    def record_environment(self, facts: Mapping[str, Any]) -> int:
        """Store an environment once and return its id."""
        identity = fingerprint(plain(facts))
        known = sa.select(environment.c.id).where(environment.c.fingerprint == identity)
        with self._transaction() as connection:
            found = connection.scalar(known)
            if found is not None:
                return int(found)
            values = {"fingerprint": identity, "facts": facts, "created_at": utc_now()}
            return _key(connection.execute(sa.insert(environment).values(**values)))

    # --- holding a study ---------------------------------------------------------------------------

    @contextmanager
    def hold(self, study_id: int) -> Iterator[None]:
        """Be the study's one coordinator; trials that a dead one left running go back to waiting.

        Raises:
            HeldError: another live process holds it: its id, machine and start.
        """
        server = self.engine.dialect.name != "sqlite"
        lock = lock_on_server(self.engine, study_id) if server else None
        state = "error"
        try:
            self._take(study_id, elsewhere=server and lock is None, locked=lock is not None)
            yield
            state = "finished"
        except (KeyboardInterrupt, Interrupted):
            state = "interrupted"
            raise
        finally:
            self._leave(state)
            if lock is not None:
                lock.invalidate()  # closing the session is what gives the lock back
                lock.close()

    def _take(self, study_id: int, elsewhere: bool, locked: bool) -> None:
        """Write this process down as the holder, in the transaction that looks for another."""
        open_sessions = sa.select(session).where(session.c.study_id == study_id, session.c.exit_state.is_(None))
        me = Owner.me()
        with self._transaction() as connection:
            for row in connection.execute(open_sessions).mappings().all():
                owner = Owner(row["pid"], row["boot_id"], row["process_started"], row["host"])
                if elsewhere or (not locked and owner.lives()):
                    raise HeldError(
                        f"the study is held by process {owner.pid} on {owner.host} since {row['started_at']}; "
                        "wait for it, or stop it with Ctrl-C there"
                    )
                vanished = {"exit_state": "vanished", "ended_at": utc_now()}
                connection.execute(sa.update(session).where(session.c.id == row["id"]).values(**vanished))
            if elsewhere:
                raise HeldError("the study is held by another process; wait for it")
            self._release_running(connection, study_id)
            added = connection.execute(
                sa.insert(session).values(
                    study_id=study_id,
                    pid=me.pid,
                    boot_id=me.boot_id,
                    process_started=me.started,
                    host=me.host,
                    started_at=utc_now(),
                    seconds=0.0,
                )
            )
        self._session = (_key(added), time.monotonic())

    def _release_running(self, connection: sa.Connection, study_id: int) -> None:
        """Trials that nobody runs any more wait again."""
        left = sa.select(trial.c.id).where(trial.c.study_id == study_id, trial.c.state == "running")
        for trial_id in connection.scalars(left).all():
            _move(connection, trial_id, ("running",), state="waiting", worker=None)
            what = Incident("interrupted", "its coordinator ended without a word; the trial waits again")
            writes.insert_incident(connection, study_id, trial_id, what)

    def _touch(self, connection: sa.Connection, **values: Any) -> None:
        """Renew the session's duration, so that a killed one has counted until its last record."""
        if self._session is not None:
            session_id, started = self._session
            seconds = time.monotonic() - started
            connection.execute(sa.update(session).where(session.c.id == session_id).values(seconds=seconds, **values))

    def _leave(self, state: str) -> None:
        if self._session is not None:
            with self._transaction() as connection:
                self._touch(connection, exit_state=state, ended_at=utc_now())
            self._session = None

    def invocation_seconds(self, study_id: int) -> float:
        """Seconds that all invocations of the study took so far, the one at hand included."""
        mine, running = (-1, 0.0) if self._session is None else (self._session[0], time.monotonic() - self._session[1])
        others = (session.c.study_id == study_id, session.c.id != mine)
        with self._transaction() as connection:
            return float(connection.scalar(sa.select(sa.func.sum(session.c.seconds)).where(*others)) or 0.0) + running

    # --- trials ------------------------------------------------------------------------------------

    def add_trial(
        self, study_id: int, config: TrialConfig, seed: int, replicate: int, fold: int | None, origin: Origin
    ) -> TrialRow:
        """Add a waiting trial, and its configuration when that is new.

        Raises:
            StorageError: when the study has a trial of that configuration, seed and fold.
        """
        with self._transaction() as connection:
            configuration_id = self._configuration(connection, study_id, config, origin)
            same_fold = trial.c.fold.is_(None) if fold is None else trial.c.fold == fold
            identity = (trial.c.configuration_id == configuration_id, trial.c.seed == seed, same_fold)
            known = connection.scalar(sa.select(trial.c.number).where(*identity))
            if known is not None:
                where = "" if fold is None else f" and fold {fold}"
                raise StorageError(f"trial {known} has this configuration with seed {seed}{where} already")
            added = connection.execute(
                sa.insert(trial).values(
                    study_id=study_id,
                    number=_next_number(connection, trial, study_id),
                    configuration_id=configuration_id,
                    replicate=replicate,
                    fold=fold,
                    seed=seed,
                    state="waiting",
                    message="",
                    traceback="",
                    stopped_early="",
                    attempt=0,
                    created_at=utc_now(),
                    asked=config.as_dict(),
                    **_as_run(config),
                )
            )
            return _trial(connection, _key(added))

    def _configuration(self, connection: sa.Connection, study_id: int, config: TrialConfig, origin: Origin) -> int:
        same = (configuration.c.study_id == study_id, configuration.c.fingerprint == config.fingerprint)
        found = connection.scalar(sa.select(configuration.c.id).where(*same))
        if found is not None:
            return int(found)
        added = connection.execute(
            sa.insert(configuration).values(
                study_id=study_id,
                number=_next_number(connection, configuration, study_id),
                fingerprint=config.fingerprint,
                config=config.as_dict(),
                origin=origin,
                created_at=utc_now(),
            )
        )
        return _key(added)

    def trials(self, study_id: int) -> list[TrialRow]:
        """All trials of a study by number."""
        with self._transaction() as connection:
            rows = connection.execute(select_trials().where(trial.c.study_id == study_id)).mappings()
            return [TrialRow.read(row) for row in rows]

    def trial(self, trial_id: int) -> TrialRow:
        """One trial by its id in the database.

        Raises:
            StorageError: when there is none.
        """
        with self._transaction() as connection:
            return _trial(connection, trial_id)

    def start_trial(self, trial_id: int, worker: str, environment_id: int | None) -> None:
        """From waiting to running, one attempt more."""
        with self._transaction() as connection:
            _move(
                connection,
                trial_id,
                ("waiting",),
                state="running",
                attempt=trial.c.attempt + 1,
                worker=worker,
                environment_id=environment_id,
                started_at=utc_now(),
            )
            self._touch(connection)

    def record_facts(self, trial_id: int, facts: TrialFacts) -> None:
        """Store what is really run, next to what was asked."""
        with self._transaction() as connection:
            _move(
                connection,
                trial_id,
                ("running",),
                done=dataclasses.asdict(facts),
                total_parameters=facts.total_parameters,
                trainable_parameters=facts.trainable_parameters,
                **_as_run(facts.config),
            )

    def record_epoch(self, trial_id: int, record: EpochRecord) -> Literal["stored", "same", "different"]:
        """Commit an epoch with everything it left; one that is there is compared, never rewritten.

        Raises:
            TrialFailure: when an epoch before it is missing.
            StorageError: when the trial is not running.
        """
        with self._transaction() as connection:
            _move(connection, trial_id, ("running",), state="running")
            self._touch(connection)
            if not writes.epoch_exists(connection, trial_id, record.epoch):
                attempt = connection.scalar(sa.select(trial.c.attempt).where(trial.c.id == trial_id))
                writes.insert_epoch(connection, trial_id, int(attempt or 0), record)
                return "stored"
            changed = writes.differences(writes.stored_metrics(connection, trial_id, record.epoch), record)
            if not changed:
                return "same"
            message = f"epoch {record.epoch} was computed again with other results; the committed ones stay"
            what = Incident("recomputed epoch differs", message, {"epoch": record.epoch, "metrics": changed})
            writes.insert_incident(connection, _study_of(connection, trial_id), trial_id, what)
            return "different"

    def finish_trial(self, trial_id: int, outcome: TrialOutcome, objectives: Sequence[Objective] | None = None) -> None:
        """From running to its end, with best epochs, objective values and verdict; an interrupted one waits again.

        `objectives` are the study's own unless given.
        """
        if outcome.state == "waiting":
            message = outcome.message or "stopped at a checkpoint; the trial waits again"
            self.requeue_trial(trial_id, Incident("interrupted", message))
            return
        if outcome.state not in ENDS:
            raise ValueError(f"a trial ends as {', '.join(ENDS)} or waiting, got {outcome.state!r}")
        with self._transaction() as connection:
            if objectives is None:
                objectives = _objectives_of(connection, trial_id)
            concluded = outcomes.conclude(connection, trial_id, outcome, objectives)
            _move(
                connection,
                trial_id,
                ("running",),
                state=outcome.state,
                reason=outcome.reason if outcome.state == "failed" else None,
                message=outcome.message,
                traceback=outcome.traceback,
                stopped_early=outcome.stopped_early,
                ended_at=utc_now(),
                shared_work=outcome.shared_work or None,
                model_folder=outcome.model_folder,
                **{f"{phase}_seconds": outcome.seconds.get(phase) for phase in outcomes.PHASES},
                **concluded,
            )
            self._touch(connection)

    def requeue_trial(self, trial_id: int, incident: Incident) -> None:
        """From running back to waiting, and why."""
        with self._transaction() as connection:
            _move(connection, trial_id, ("running",), state="waiting", worker=None)
            writes.insert_incident(connection, _study_of(connection, trial_id), trial_id, incident)

    def record_incident(self, study_id: int, trial_id: int | None, incident: Incident) -> None:
        """Store what went otherwise than asked."""
        with self._transaction() as connection:
            writes.insert_incident(connection, study_id, trial_id, incident)

    def epoch_values(self, trial_id: int, split: str, name: str) -> dict[int, float]:
        """Epoch -> value of one metric of all rows; non-finite values as measured."""
        with self._transaction() as connection:
            return outcomes.epoch_values(connection, trial_id, split, name)

    def kept(self, study_id: int) -> list[TrialRow]:
        """Trials whose weights are on disk: complete before pruned, then the best by the first objective first."""
        found = next(row for row in self.studies() if row.id == study_id)
        sign = -1.0 if found.objectives and found.objectives[0].direction == "maximize" else 1.0
        rows = [row for row in self.trials(study_id) if row.model_folder is not None]
        unmeasured = [row.objective is None for row in rows]
        order = [
            (row.state != "complete", missing, sign * (row.objective or 0.0), row.number)
            for row, missing in zip(rows, unmeasured, strict=True)
        ]
        return [row for _, row in sorted(zip(order, rows, strict=True), key=lambda pair: pair[0])]

    def trial_folder(self, trial_id: int) -> Path:
        """A trial's own folder, named by id and never by a user's text."""
        return self.files / "trials" / f"t{trial_id:06d}"

    def forget_model(self, trial_id: int) -> None:
        """The weights of a trial are no longer on disk."""
        with self._transaction() as connection:
            _move(connection, trial_id, ENDS, model_folder=None)


def _study_text(file: StudyFile) -> dict[str, Any]:
    spec = file.spec
    return {
        "text": file.text,
        "spec": spec.model_dump(mode="json"),
        "fingerprint": spec.fingerprint,
        "task": spec.task,
        "objectives": [dataclasses.asdict(objective) for objective in spec.objectives],
    }


def _as_run(config: TrialConfig) -> dict[str, Any]:
    """The hyperparameters that the summary shows."""
    names = ("model", "epochs", "batch_size", "effective_batch_size", "learning_rate", "max_length", "freeze")
    return {name: getattr(config, name) for name in names}


def _key(added: sa.CursorResult[Any]) -> int:
    key = added.inserted_primary_key
    if key is None:
        raise StorageError("the database gave no id for a new row")
    return int(key[0])


def _next_number(connection: sa.Connection, table: sa.Table, study_id: int) -> int:
    last = connection.scalar(sa.select(sa.func.max(table.c.number)).where(table.c.study_id == study_id))
    return 0 if last is None else int(last) + 1


def _trial(connection: sa.Connection, trial_id: int) -> TrialRow:
    row = connection.execute(select_trials().where(trial.c.id == trial_id)).mappings().first()
    if row is None:
        raise StorageError(f"there is no trial with id {trial_id}")
    return TrialRow.read(row)


def _study_of(connection: sa.Connection, trial_id: int) -> int:
    return int(connection.scalar(sa.select(trial.c.study_id).where(trial.c.id == trial_id)) or 0)


def _objectives_of(connection: sa.Connection, trial_id: int) -> tuple[Objective, ...]:
    query = sa.select(study.c.objectives).join(trial, trial.c.study_id == study.c.id).where(trial.c.id == trial_id)
    return tuple(Objective(**objective) for objective in connection.scalar(query) or ())


def _move(connection: sa.Connection, trial_id: int, states: Sequence[str], **values: Any) -> None:
    """Change a trial that is in one of these states; anything else is refused.

    Raises:
        StorageError: naming the state found.
    """
    allowed = (trial.c.id == trial_id, trial.c.state.in_(states))
    if connection.execute(sa.update(trial).where(*allowed).values(**values)).rowcount != 1:
        found = connection.scalar(sa.select(trial.c.state).where(trial.c.id == trial_id))
        raise StorageError(f"trial {trial_id} must be {' or '.join(states)}, it is {found or 'not in the database'}")

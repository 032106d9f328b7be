"""The only writer of results.db: one coordinator, one transaction an epoch, states that move along known edges.

The one entry: how rows are written stands in `study_writes.py`, `session_writes.py`, `trial_writes.py`
and `epoch_writes.py`. What it hands out are the values of `rows.py`; frames for analysis come from `frames.py`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from harness.configuration import Objective, TrialConfig
from harness.explanations import Explained
from harness.jobs import Adapted, Prepared
from harness.records import EpochRecord, Incident, TrialFacts, TrialOutcome
from harness.results import (
    attribution_writes,
    epoch_writes,
    outcomes,
    published_writes,
    script_writes,
    study_writes,
    trial_writes,
)
from harness.results.connecting import outlives_restarts
from harness.results.holding import Holder
from harness.results.rows import FINISHED, StudyRow, TrialRow
from harness.results.study_writes import Source
from harness.results.targets import trial_folder
from harness.results.trial_writes import Origin

if TYPE_CHECKING:
    from harness.published import PublishedFile
    from harness.spec import StudyFile

__all__ = ["Origin", "Store"]

PAGE = 1000  # trials that are read at a time


class Store(Holder):
    """An open results.db."""

    # --- studies ----------------------------------------------------------------------------------

    @outlives_restarts
    def create_study(self, file: StudyFile, source: Source = "own") -> int:
        """Store a new study and return its id.

        Raises:
            StorageError: when the name is taken.
        """
        with self.transaction() as connection:
            return study_writes.insert_study(connection, file, source)

    @outlives_restarts
    def publish(self, file: PublishedFile) -> int:
        """Store runs made elsewhere as a study that is marked, all of it or nothing, and return its id.

        Raises:
            StorageError: when the name is taken.
        """
        with self.transaction() as connection:
            return published_writes.insert_published(connection, file)

    @outlives_restarts
    def extend_study(self, study_id: int, file: StudyFile) -> None:
        """Replace the text of a study by one that `spec.extends_only` allowed."""
        with self.transaction() as connection:
            study_writes.update_study(connection, study_id, file)

    def study(self, name: str) -> StudyRow | None:
        """The study of that name."""
        return next((row for row in self.studies() if row.name == name), None)

    @outlives_restarts
    def studies(self) -> list[StudyRow]:
        """All studies in order of creation."""
        with self.transaction() as connection:
            return study_writes.studies(connection)

    @outlives_restarts
    def record_prepared(self, study_id: int, prepared: Prepared) -> None:
        """Store the data and models as found; what an earlier invocation stored is replaced."""
        with self.transaction() as connection:
            study_writes.replace_prepared(connection, study_id, prepared)

    @outlives_restarts
    def record_adaptation(self, study_id: int, adapted: Adapted, config: TrialConfig) -> None:
        """Store how an encoder was pretrained further; what an earlier night stored of the same stays."""
        with self.transaction() as connection:
            study_writes.insert_adaptation(connection, study_id, adapted, config)
            self._touch(connection)

    @outlives_restarts
    def data_fingerprint(self, study_id: int) -> str | None:
        """Hash of the rows that the study used; None before its first preparation."""
        with self.transaction() as connection:
            return study_writes.data_fingerprint(connection, study_id)

    @outlives_restarts
    def weights_hashes(self, study_id: int) -> dict[str, str]:
        """Model name -> hash of the pretrained weights that the study was begun with."""
        with self.transaction() as connection:
            return study_writes.weights_hashes(connection, study_id)

    @outlives_restarts
    def adapted_weights(self, study_id: int) -> dict[str, str]:
        """Model name -> hash of the adapted weights that a trial of the study has begun from."""
        with self.transaction() as connection:
            return study_writes.adapted_weights(connection, study_id)

    @outlives_restarts
    def data_revision(self, study_id: int) -> str | None:
        """Commit of the data set on the Hub that the study was begun with; None for files."""
        with self.transaction() as connection:
            return study_writes.data_revision(connection, study_id)

    @outlives_restarts
    def model_revisions(self, study_id: int) -> dict[str, str]:
        """Model name -> commit on the Hub that the study was begun with; folders have none."""
        with self.transaction() as connection:
            return study_writes.model_revisions(connection, study_id)

    @outlives_restarts
    def record_environment(self, facts: Mapping[str, Any]) -> int:
        """Store an environment once and return its id."""
        with self.transaction() as connection:
            return study_writes.environment_id(connection, facts)

    # --- trials ------------------------------------------------------------------------------------

    @outlives_restarts
    def add_trial(
        self,
        study_id: int,
        config: TrialConfig,
        seed: int,
        replicate: int,
        fold: int | None,
        origin: Origin,
        spared: str = "",
    ) -> TrialRow:
        """Add a waiting trial, and its configuration when that is new; with `spared`, words, one that ends pruned.

        Raises:
            StorageError: when the study has a trial of that configuration, seed and fold.
        """
        with self.transaction() as connection:
            added = trial_writes.insert_trial(connection, study_id, config, seed, replicate, fold, origin)
            if spared:
                trial_writes.spare(connection, added, spared)
            return trial_writes.trial_row(connection, added)

    @outlives_restarts
    def add_script_run(self, study_id: int, config: TrialConfig, seed: int, identity: str) -> TrialRow:
        """Add a waiting trial for a run of a script; those before it that died are failed.

        `identity` is a hash of everything that the script set; `script_writes` says what makes a replicate.
        """
        with self.transaction() as connection:
            script_writes.end_left(connection, study_id)
            added = script_writes.insert_run(connection, study_id, config, seed, identity)
            return trial_writes.trial_row(connection, added)

    @outlives_restarts
    def trials(self, study_id: int, after: int = -1, most: int | None = None) -> list[TrialRow]:
        """Trials of a study by number: all, or at most so many of those after a number."""
        with self.transaction() as connection:
            return trial_writes.trials(connection, study_id, after, most)

    def pages(self, study_id: int) -> Iterator[list[TrialRow]]:
        """All trials of a study by number, some at a time, for together they may fill the memory."""
        page = self.trials(study_id, most=PAGE)
        while page:
            yield page
            page = self.trials(study_id, page[-1].number, PAGE)

    @outlives_restarts
    def trial(self, trial_id: int) -> TrialRow:
        """One trial by its id in the database.

        Raises:
            StorageError: when there is none.
        """
        with self.transaction() as connection:
            return trial_writes.trial_row(connection, trial_id)

    @outlives_restarts
    def start_trial(self, trial_id: int, worker: str, environment_id: int | None) -> None:
        """From waiting to running, one attempt more."""
        with self.transaction() as connection:
            trial_writes.start(connection, trial_id, worker, environment_id)
            self._touch(connection)

    @outlives_restarts
    def record_facts(self, trial_id: int, facts: TrialFacts) -> None:
        """Store what is really run, next to what was asked."""
        with self.transaction() as connection:
            trial_writes.update_facts(connection, trial_id, facts)

    @outlives_restarts
    def record_epoch(self, trial_id: int, record: EpochRecord) -> Literal["stored", "same", "different"]:
        """Commit an epoch with everything it left; one that is there is compared, never rewritten.

        Raises:
            TrialFailure: when an epoch before it is missing.
            StorageError: when the trial is not running.
        """
        with self.transaction() as connection:
            trial_writes.must_run(connection, trial_id)
            self._touch(connection)
            if not epoch_writes.epoch_exists(connection, trial_id, record.epoch):
                attempt = trial_writes.trial_row(connection, trial_id).attempt
                epoch_writes.insert_epoch(connection, trial_id, attempt, record)
                return "stored"
            stored = epoch_writes.stored_metrics(connection, trial_id, record.epoch)
            changed = epoch_writes.differences(stored, record)
            if not changed:
                return "same"
            message = f"epoch {record.epoch} was computed again with other results; the committed ones stay"
            what = Incident("recomputed epoch differs", message, {"epoch": record.epoch, "metrics": changed})
            trial_writes.insert_trial_incident(connection, trial_id, what)
            return "different"

    @outlives_restarts
    def restart_trial(self, trial_id: int, incident: Incident) -> None:
        """A running trial begins again from nothing in another way: its epochs so far move into the incident.

        Raises:
            StorageError: when the trial is not running.
        """
        with self.transaction() as connection:
            trial_writes.must_run(connection, trial_id)
            self._touch(connection)
            taken = epoch_writes.take_epochs(connection, trial_id)
            what = dataclasses.replace(incident, details={**incident.details, **taken})
            trial_writes.insert_trial_incident(connection, trial_id, what)

    @outlives_restarts
    def finish_trial(self, trial_id: int, outcome: TrialOutcome, objectives: Sequence[Objective] | None = None) -> None:
        """From running to its end, with best epochs, objective values and verdict; an interrupted one waits again.

        `objectives` are the study's own unless given.
        """
        if outcome.state == "waiting":
            message = outcome.message or "stopped at a checkpoint; the trial waits again"
            self.requeue_trial(trial_id, Incident("interrupted", message))
            return
        if outcome.state not in FINISHED:
            raise ValueError(f"a trial ends as {', '.join(FINISHED)} or waiting, got {outcome.state!r}")
        with self.transaction() as connection:
            trial_writes.end(connection, trial_id, outcome, objectives)
            self._touch(connection)

    @outlives_restarts
    def requeue_trial(self, trial_id: int, incident: Incident) -> None:
        """From running back to waiting, and why."""
        with self.transaction() as connection:
            trial_writes.move(connection, trial_id, ("running",), state="waiting", worker=None)
            trial_writes.insert_trial_incident(connection, trial_id, incident)

    @outlives_restarts
    def record_incident(self, study_id: int, trial_id: int | None, *incidents: Incident) -> None:
        """Store what went otherwise than asked; of several all or none."""
        with self.transaction() as connection:
            for incident in incidents:
                trial_writes.insert_incident(connection, study_id, trial_id, incident)

    @outlives_restarts
    def deaths(self, trial_id: int, kind: str = "worker_died") -> int:
        """How often a worker, or with `node_died` its whole machine, died while it ran the trial, by the incidents."""
        with self.transaction() as connection:
            return trial_writes.count_incidents(connection, trial_id, kind)

    @outlives_restarts
    def config_as_run(self, trial_id: int) -> TrialConfig | None:
        """What the last attempt of a trial really ran, after every fallback; None before that is known."""
        with self.transaction() as connection:
            return trial_writes.config_as_run(connection, trial_id)

    @outlives_restarts
    def epoch_values(self, trial_id: int, split: str, name: str) -> dict[int, float]:
        """Epoch -> value of one metric of all rows; non-finite values as measured."""
        with self.transaction() as connection:
            return outcomes.epoch_values(connection, trial_id, split, name)

    @outlives_restarts
    def epoch_values_of(self, trial_ids: Sequence[int], split: str, name: str) -> dict[int, dict[int, float]]:
        """Trial id -> what `epoch_values` gives, in one query; trials without a value are not in it."""
        with self.transaction() as connection:
            return outcomes.epoch_values_of(connection, trial_ids, split, name)

    # --- explanations --------------------------------------------------------------------------------

    @outlives_restarts
    def record_attributions(self, trial_id: int, explained: Sequence[Explained]) -> int:
        """Store attributions of a kept model's answers; what is there stays. Returns how many were added."""
        with self.transaction() as connection:
            return attribution_writes.add(connection, trial_id, explained)

    # --- kept models ---------------------------------------------------------------------------------

    @outlives_restarts
    def kept(self, study_id: int) -> list[TrialRow]:
        """Trials whose weights are on disk: complete before pruned, then the best by the first objective first."""
        with self.transaction() as connection:
            found = next(row for row in study_writes.studies(connection) if row.id == study_id)
            return trial_writes.best_kept_first(found, trial_writes.trials(connection, study_id))

    def trial_folder(self, trial_id: int) -> Path:
        """A trial's own folder, named by id and never by a user's text."""
        return trial_folder(self.files, trial_id)

    @outlives_restarts
    def forget_model(self, trial_id: int) -> None:
        """The weights of a trial are no longer on disk."""
        with self.transaction() as connection:
            trial_writes.forget_model(connection, trial_id)

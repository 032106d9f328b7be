"""How a plain script's runs are written: each is a trial of its own, and one that died is found by the next.

Functions over a connection that `store.py` has opened.
"""

from __future__ import annotations

import sqlalchemy as sa

from harness.configuration import TrialConfig, fingerprint
from harness.records import TrialOutcome
from harness.results import trial_writes
from harness.results.tables import configuration, trial

LEFT = "its script ended without a word; the next run found it"


def insert_run(connection: sa.Connection, study_id: int, config: TrialConfig, seed: int, identity: str) -> int:
    """A waiting trial; returns its id.

    Runs of one identity and different seeds repeat one configuration. The same seed again is no repetition that says
    anything of the spread over seeds, so it makes a configuration of its own.

    Args:
        connection: of the transaction.
        study_id: its study.
        config: what the script set, as far as a configuration can say it.
        seed: of the run.
        identity: hash of everything that the script set and was given.
    """
    times = 1
    while True:
        identified = identity if times == 1 else fingerprint([identity, times])
        joined = trial.join(configuration, configuration.c.id == trial.c.configuration_id)
        same = (configuration.c.study_id == study_id, configuration.c.fingerprint == identified)
        seeds = connection.scalars(sa.select(trial.c.seed).select_from(joined).where(*same)).all()
        if seed not in seeds:
            break
        times += 1
    key = trial_writes.configuration_id(connection, study_id, config, "explicit", identified)
    return trial_writes.insert_row(connection, study_id, key, config, seed, len(seeds), None)


def end_left(connection: sa.Connection, study_id: int) -> None:
    """Trials that wait again because their script died have failed: nobody can go on with them."""
    left = sa.select(trial.c.id).where(trial.c.study_id == study_id, trial.c.state == "waiting")
    for trial_id in connection.scalars(left).all():
        trial_writes.move(connection, trial_id, ("waiting",), state="running")
        trial_writes.end(connection, trial_id, TrialOutcome("failed", "crashed", LEFT), None)

"""A process that dies between every two steps that must hold together: the next run, or the same night, goes on.

A place is `module:name before|after COUNT`: the process that comes to its so many-th call there kills itself.
"""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa
from forked_nights import ForkedNight, Outcome
from forking import Zygote
from places import plant
from records import violated
from results_support import process

from harness.repair import repair
from harness.results import schema
from harness.results.store import Store

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

SHORT = """
study: night
task: sequence-classification
model: builtin:tiny
data: {path: "builtin:reviews", rows: 40, validation: 16}
fixed: {max_length: 12, batch_size: 8, dtype: fp32}
configurations:
  - {epochs: 2, learning_rate: 1e-3}
  - {epochs: 1, learning_rate: 2e-4, freeze: top-2}
objective: accuracy
keep: 1
"""

ADAPT = "adapt: {epochs: 1, batch_size: 8}\n"

# Each line is one night, which dies at the first place, is begun again, dies at the second, and so on.
COORDINATOR = {
    "making the database": """
harness.results.engine:_fill before 1
harness.results.schema:upgrade after 1
harness.results.engine:_fill after 1
os:rename before 1
os:rename after 1
""",
    "beginning": """
harness.results.store:Store.create_study before 1
harness.results.store:Store.create_study after 1
harness.results.session_writes:take after 1
harness.results.store:Store.record_prepared before 1
harness.results.study_writes:replace_prepared after 1
harness.results.store:Store.record_prepared after 1
harness.results.store:Store.record_environment after 1
""",
    "adding and starting a trial": """
harness.results.store:Store.add_trial before 2
harness.results.trial_writes:insert_trial after 1
harness.results.store:Store.add_trial after 1
harness.results.store:Store.start_trial before 1
harness.results.store:Store.start_trial after 1
harness.results.store:Store.record_facts after 1
""",
    "recording an epoch": """
harness.results.store:Store.record_epoch before 2
harness.results.epoch_writes:insert_epoch before 2
harness.results.epoch_writes:insert_epoch after 1
""",
    "an epoch that is recorded": """
harness.results.store:Store.record_epoch after 2
harness.executors.local:LocalExecutor.decide after 1
""",
    "finishing a trial": """
harness.results.store:Store.finish_trial before 1
harness.results.trial_writes:end after 1
harness.results.store:Store.finish_trial after 1
""",
    "Optuna's tables": """
optuna.storages:RDBStorage.create_new_study after 1
harness.results.mirror:sync before 2
harness.results.mirror_rows:insert before 1
harness.results.mirror_rows:insert after 1
harness.results.mirror:_add after 1
""",
    "between the mirror and the next trial": """
harness.results.mirror:sync after 2
""",
    "the end": """
harness.shelf:tidy before 1
harness.shelf:_clear after 1
harness.shelf:tidy after 1
harness.results.session_writes:end before 1
harness.results.session_writes:end after 1
harness.results.store:Store._leave after 1
""",
}

# Of each line two workers die in one night; a third would be one too many for the same trial.
WORKER = (
    ("harness.checkpoints:save before 1", "harness.checkpoints:save_file after 2"),
    ("harness.checkpoints:publish before 2", "harness.checkpoints:_sha256 after 3"),
    ("pathlib:Path.rename before 1", "pathlib:Path.rename after 1"),
    ("pathlib:Path.rename before 2", "pathlib:Path.rename after 2"),
    ("harness.checkpoints:save after 2", "harness.checkpoints:find after 1"),
    ("harness.snapshots:capture after 1", "harness.cache:Cache.save before 1"),
    ("harness.cache:Cache.save after 1", "harness.kept_models:write before 1"),
    ("harness.kept_models:write after 1",),
)

ADAPTING = """
harness.adaptation:_keep before 1
harness.checkpoints:publish after 4
harness.adaptation:_keep after 1
""".strip().splitlines()

MIGRATION = """
harness.results.engine:back_up before 1
sqlite3:connect after 2
os:rename before 1
os:rename after 1
harness.results.engine:back_up after 1
harness.results.schema:upgrade before 1
harness.results.schema:upgrade after 1
""".strip().splitlines()


def short_night(folder: Path, parent: Zygote, more: str = "") -> ForkedNight:
    """A night as short as possible, with a checkpoint after every step."""
    return ForkedNight(folder, parent, SHORT + more, checkpoint_seconds=0.0)


@pytest.fixture(scope="module")
def short(parent: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """What the short study gives without trouble."""
    night = short_night(tmp_path_factory.mktemp("short"), parent)
    assert night.through() == 0, night.output
    assert violated(night.db) == []
    return night.outcome()


@pytest.mark.parametrize("places", COORDINATOR.values(), ids=COORDINATOR)
def test_a_coordinator_that_dies_between_two_steps_is_taken_over(
    parent: Zygote, short: Outcome, tmp_path: Path, places: str
) -> None:
    night = short_night(tmp_path, parent)
    for place in places.strip().splitlines():
        assert night.through(place) == -9, f"{place}: {night.output}"
        night.only_passing()
        (tmp_path / "died").unlink()
    night.ends_as(short)


@pytest.mark.parametrize("places", WORKER)
def test_a_worker_that_dies_between_two_steps_is_replaced_within_the_night(
    parent: Zygote, short: Outcome, tmp_path: Path, places: tuple[str, ...]
) -> None:
    night = short_night(tmp_path, parent)
    assert night.through(*places) == 0, night.output
    assert len(list(tmp_path.glob("died*"))) == len(places), "a place was never reached"
    assert night.rows("SELECT kind FROM harness_incident") == [("worker_died",)] * len(places)
    assert violated(night.db) == []
    night.ends_as(short)


LOOKING = ("harness.worker:prepare before 1 SIGKILL", "harness.worker:prepare after 1 SIGKILL")


def test_a_worker_that_is_killed_while_it_looks_at_the_data_is_replaced_within_the_night(
    parent: Zygote, short: Outcome, tmp_path: Path
) -> None:
    night = short_night(tmp_path, parent)
    assert night.through(*LOOKING) == 0, night.output
    words = "worker died with signal 9 before it had answered; another one goes on"
    assert night.rows("SELECT kind, trial_id, message FROM harness_incident") == [("worker_died", None, words)] * 2
    assert violated(night.db) == []
    night.ends_as(short)


def test_the_third_worker_that_is_killed_before_it_knows_the_data_ends_the_night_with_words(
    parent: Zygote, tmp_path: Path
) -> None:
    night = short_night(tmp_path, parent)
    assert night.through(*LOOKING, "harness.worker:Worker.do before 1 SIGKILL") == 70, night.output
    assert "the worker died with signal 9, as 2 before it" in " ".join(night.output.split())
    assert night.rows("SELECT count(*) FROM harness_trial") == [(0,)]


# --- further pretraining ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def adapted(parent: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """What the short study gives from an encoder that was pretrained further."""
    night = short_night(tmp_path_factory.mktemp("adapted"), parent, ADAPT)
    assert night.through() == 0, night.output
    return night.outcome()


@pytest.mark.parametrize("place", ADAPTING)
def test_a_worker_that_dies_while_it_publishes_an_adapted_encoder_is_replaced(
    parent: Zygote, short: Outcome, adapted: Outcome, tmp_path: Path, place: str
) -> None:
    assert adapted["metrics"] != short["metrics"]
    night = short_night(tmp_path, parent, ADAPT)
    assert night.through(place) == 0, night.output
    assert (tmp_path / "died").exists(), "the place was never reached"
    night.ends_as(adapted)


# --- trials that are trained together -----------------------------------------------------------------------

TOGETHER = """
study: night
task: sequence-classification
model: builtin:tiny
data: {path: "builtin:reviews", rows: 40, validation: 16}
fixed: {max_length: 12, batch_size: 8, dtype: fp32, freeze: classifier, epochs: 4}
search: {learning_rate: [1e-4, 1e-3, 1e-2]}
sampler: grid
objective: loss
keep: 1
"""
OF_A_GROUP = (
    "harness.results.store:Store.record_epoch after 5",
    "harness.results.store:Store.finish_trial after 1",
    "harness.results.store:Store.finish_trial after 2",
)


@pytest.fixture(scope="module")
def together(parent: Zygote, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[object, ...]]:
    """The metrics of three classifiers that nothing disturbed."""
    night = ForkedNight(tmp_path_factory.mktemp("together"), parent, TOGETHER)
    assert night.through() == 0, night.output
    return night.curves()


def alike(found: list[tuple[object, ...]], expected: list[tuple[object, ...]]) -> bool:
    """The same metrics of the same epochs; who trains together decides the last bits of some."""
    return [row[:-1] for row in found] == [row[:-1] for row in expected] and [
        row[-1] for row in found
    ] == pytest.approx([row[-1] for row in expected], rel=1e-4, abs=1e-5, nan_ok=True)


@pytest.mark.parametrize("place", OF_A_GROUP)
def test_a_coordinator_that_dies_among_trials_of_a_group_leaves_no_trial_of_two_runs(
    parent: Zygote, together: list[tuple[object, ...]], tmp_path: Path, place: str
) -> None:
    night = ForkedNight(tmp_path, parent, TOGETHER)
    assert night.through(place) == -9, night.output
    assert night.through() == 0, night.output
    assert violated(night.db) == []
    assert alike(night.curves(), together)


def test_a_worker_that_dies_among_trials_of_a_group_leaves_no_trial_of_two_runs(
    parent: Zygote, together: list[tuple[object, ...]], tmp_path: Path
) -> None:
    night = ForkedNight(tmp_path, parent, TOGETHER)
    assert night.through("harness.heads:epoch_record before 9") == 0, night.output
    assert (tmp_path / "died").exists(), "the place was never reached"
    assert violated(night.db) == []
    assert alike(night.curves(), together)
    begun_anew = "SELECT count(*) FROM harness_incident WHERE kind = 'begun_anew'"
    assert night.rows(begun_anew)[0][0] >= 1


def test_a_group_that_fails_in_mid_training_begins_anew_one_by_one(
    parent: Zygote, together: list[tuple[object, ...]], tmp_path: Path
) -> None:
    night = ForkedNight(tmp_path, parent, TOGETHER)
    assert night.through("harness.heads:epoch_record before 8 ERROR") == 0, night.output
    assert violated(night.db) == []
    assert alike(night.curves(), together)
    told = night.rows("SELECT kind, message, details FROM harness_incident ORDER BY id")
    assert [kind for kind, *_ in told] == ["group_failed", *["begun_anew"] * 3]
    assert "training 3 trials together failed, they go on one by one: RuntimeError: planted by a test" in told[0][1]
    kept = [json.loads(details)["replaced_epochs"] for _, _, details in told[1:]]
    assert sum(map(len, kept)) == 7  # every epoch that was committed before is in an incident
    assert night.rows("SELECT state FROM harness_trial") == [("complete",)] * 3


# --- an older file ------------------------------------------------------------------------------------------


def bring_forward(path: Path, place: str) -> None:
    """Open an older database, in a process that dies there."""
    plant(place, path.with_name("died"))
    Store.open(path).close()


@pytest.mark.parametrize("place", MIGRATION)
def test_a_process_that_dies_while_it_brings_an_older_file_forward_loses_no_row(tmp_path: Path, place: str) -> None:
    path = older_database(tmp_path / "results.db")
    child = process(bring_forward, path, place)
    child.start()
    child.join()
    assert child.exitcode == -9
    with Store.open(path) as store:
        assert [row.name for row in store.studies()] == ["old"]
    assert violated(path) == []
    (copy,) = tmp_path.glob("results.db.before-*")
    assert schema_of(copy) == "0001"
    repair(path)
    assert repair(path).done == ()


def older_database(path: Path) -> Path:
    """A database as the first release made it, with a study in it."""
    engine = sa.create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        schema.upgrade(connection, "0001")
        values = "1, 'old', 'own', 'sequence-classification', 'text', '{}', 'f', '[]', 'then'"
        connection.exec_driver_sql(f"INSERT INTO harness_study VALUES ({values})")
    engine.dispose()
    return path


def schema_of(path: Path) -> str:
    with sqlite3.connect(path) as connection:
        (found,) = connection.execute("SELECT version_num FROM harness_alembic_version").fetchone()
    connection.close()
    return str(found)

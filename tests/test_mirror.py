"""Ended trials stand once in Optuna's own tables, as Optuna itself would write them."""

from __future__ import annotations

import json
import math

import optuna
import pytest
import sqlalchemy as sa
from optuna.trial import TrialState
from results_support import epoch, process, running, study_file

from harness.configuration import Objective
from harness.errors import SpecError
from harness.records import TrialOutcome
from harness.results import mirror
from harness.results.store import Store
from harness.spec import parse_study

STRANGE = "a b%20?c{d}#.db"


@pytest.fixture
def store(database):
    with Store.open(database) as opened:
        yield opened


def finished(store: Store, study_id: int, outcome: TrialOutcome, losses=(0.5, 0.4), **config) -> int:
    row = running(store, study_id, **config)
    for number, loss in enumerate(losses, start=1):
        store.record_epoch(row.id, epoch(number, validation=loss))
    store.finish_trial(row.id, outcome, (Objective(),))
    return row.id


def storage_of(store: Store) -> optuna.storages.RDBStorage:
    """Optuna's own view of the database; it never closes a connection, so that none may wait idle."""
    url = store.engine.url.render_as_string(hide_password=False)
    return optuna.storages.RDBStorage(url, engine_kwargs={"poolclass": sa.NullPool})


def theirs(store: Store, name: str = "probe") -> optuna.Study:
    return optuna.load_study(study_name=name, storage=storage_of(store))


def test_a_finished_trial_is_there_with_parameters_and_epochs(store):
    study_id = store.create_study(study_file())
    finished(store, study_id, TrialOutcome("complete"), learning_rate=3e-4, batch_size=8, freeze="head")
    assert mirror.sync(store, study_id) == 1
    found = theirs(store).best_trial
    assert found.params == {"learning_rate": 3e-4, "batch_size": 8, "freeze": "head"}
    assert found.intermediate_values == {1: 0.5, 2: 0.4}
    assert (found.value, found.user_attrs["seed"], found.user_attrs["harness_trial"]) == (0.4, 42, 0)
    assert found.user_attrs["verdict"] == store.trials(study_id)[0].verdict_words
    assert found.distributions["learning_rate"].log


def test_nothing_is_mirrored_twice(store):
    study_id = store.create_study(study_file())
    finished(store, study_id, TrialOutcome("complete"))
    assert [mirror.sync(store, study_id) for _ in range(3)] == [1, 0, 0]
    finished(store, study_id, TrialOutcome("complete"), epochs=5)
    assert [mirror.sync(store, study_id) for _ in range(2)] == [1, 0]
    assert [trial.number for trial in theirs(store).trials] == [0, 1]


def test_a_trial_is_written_as_optuna_writes_it(store):
    study_id = store.create_study(study_file())
    finished(store, study_id, TrialOutcome("complete"), learning_rate=3e-4, batch_size=8, freeze="head")
    finished(store, study_id, TrialOutcome("failed", "diverged"), losses=(math.inf, -math.inf, math.nan), epochs=3)
    mirror.sync(store, study_id)
    ours = theirs(store)
    optunas = optuna.create_study(storage=storage_of(store), study_name="twin")
    optunas.add_trials(ours.trials)
    for one, other in zip(ours.trials, optunas.trials, strict=True):
        for name in ("number", "state", "datetime_start", "datetime_complete", "params", "distributions"):
            assert getattr(one, name) == getattr(other, name)
        assert (one.values, one.user_attrs, one.system_attrs) == (other.values, other.user_attrs, other.system_attrs)
        assert repr(one.intermediate_values) == repr(other.intermediate_values)
    tables = ("trial_values", "trial_params", "trial_user_attributes", "trial_intermediate_values")
    with store.engine.connect() as connection:
        for table in tables:
            rows = connection.exec_driver_sql(f"SELECT * FROM {table} ORDER BY 1").all()  # noqa: S608
            told = [[row[2:] for row in rows if (row[1] <= 2) == first] for first in (True, False)]
            assert told[0] and sorted(map(repr, told[0])) == sorted(map(repr, told[1]))


def test_waiting_and_running_trials_are_not_mirrored(store):
    study_id = store.create_study(study_file())
    running(store, study_id)
    assert mirror.sync(store, study_id) == 0


def test_states_are_optunas(store):
    study_id = store.create_study(study_file())
    finished(store, study_id, TrialOutcome("pruned"), epochs=2)
    finished(store, study_id, TrialOutcome("failed", "diverged"), losses=(0.3, math.nan), epochs=3)
    finished(store, study_id, TrialOutcome("complete"), losses=(), epochs=4)
    mirror.sync(store, study_id)
    trials = theirs(store).trials
    assert [trial.state for trial in trials] == [TrialState.PRUNED, TrialState.FAIL, TrialState.FAIL]
    assert trials[0].value == 0.4
    assert math.isnan(trials[1].intermediate_values[2])
    assert trials[1].user_attrs["reason"] == "diverged"


def test_configurations_outside_the_searched_space_are_mirrored_too(store):
    study_id = store.create_study(study_file())
    finished(store, study_id, TrialOutcome("complete"), learning_rate=0.5, freeze="top-1", batch_size=4)
    finished(store, study_id, TrialOutcome("complete"), learning_rate=1e-4, freeze="gradual", batch_size=8)
    assert mirror.sync(store, study_id) == 2
    explicit, unheard = theirs(store).trials
    assert explicit.params == {"learning_rate": 0.5, "freeze": "top-1", "batch_size": 4}
    assert (unheard.params.get("freeze"), unheard.user_attrs["freeze"]) == (None, "gradual")


OPTIONAL = """\
study: optional
task: sequence-classification
model: builtin:tiny
data: {path: "builtin:reviews"}
configurations: [{max_grad_norm: null}, {max_grad_norm: 0.5, train: 50}]
search:
  dropout: [null, 0.1, 0.3]
"""


def test_a_number_that_may_be_absent_has_the_range_of_its_numbers(store):
    study_id = store.create_study(parse_study(OPTIONAL))
    finished(store, study_id, TrialOutcome("complete"), dropout=0.2, max_grad_norm=2.0, train=80)
    mirror.sync(store, study_id)
    (found,) = theirs(store, "optional").trials
    assert found.params == {"dropout": 0.2, "max_grad_norm": 2.0, "train": 80}
    assert {name: (kind.low, kind.high) for name, kind in found.distributions.items()} == {
        "dropout": (0.1, 0.3),
        "max_grad_norm": (0.5, 2.0),
        "train": (50, 80),
    }


def test_a_number_that_is_absent_is_told_beside_the_parameters(store):
    study_id = store.create_study(parse_study(OPTIONAL))
    finished(store, study_id, TrialOutcome("complete"), dropout=None, max_grad_norm=None, train=None)
    mirror.sync(store, study_id)
    (found,) = theirs(store, "optional").trials
    assert (found.state, found.value) == (TrialState.COMPLETE, 0.4)
    assert found.params == {}
    assert {name: found.user_attrs[name] for name in ("dropout", "max_grad_norm", "train")} == dict.fromkeys(
        ("dropout", "max_grad_norm", "train")
    )


def test_times_are_ours(store):
    study_id = store.create_study(study_file())
    finished(store, study_id, TrialOutcome("complete"))
    mirror.sync(store, study_id)
    found, ours = theirs(store).trials[0], store.trials(study_id)[0]
    assert found.datetime_complete.astimezone().timestamp() == pytest.approx(
        mirror._local(ours.ended_at).astimezone().timestamp(), abs=1
    )


def test_any_file_name_works(tmp_path):
    with Store.open(tmp_path / STRANGE) as store:
        study_id = store.create_study(study_file())
        finished(store, study_id, TrialOutcome("complete"))
        assert [mirror.sync(store, study_id) for _ in range(2)] == [1, 0]
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == [STRANGE]


def test_a_study_of_another_kind_under_the_name_is_refused(store):
    study_id = store.create_study(study_file())
    optuna.create_study(storage=storage_of(store), study_name="probe", direction="maximize")
    with pytest.raises(SpecError, match="another study named 'probe' with directions"):
        mirror.sync(store, study_id)


def sync_in_a_child(database, study_id) -> None:
    with Store.open(database) as store:
        mirror.sync(store, study_id)


def test_studies_mirrored_at_once_do_not_disturb_each_other(store, database):
    ids = [store.create_study(study_file(f"study-{i}")) for i in range(3)]
    for study_id in ids:
        for epochs in (2, 3, 4):
            finished(store, study_id, TrialOutcome("complete"), epochs=epochs)
    children = [process(sync_in_a_child, database, study_id) for study_id in ids]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0, 0, 0]
    assert [len(theirs(store, f"study-{i}").trials) for i in range(3)] == [3, 3, 3]


def test_the_dashboard_lists_the_study(store):
    dashboard = pytest.importorskip("optuna_dashboard")
    study_id = store.create_study(study_file())
    finished(store, study_id, TrialOutcome("complete"))
    mirror.sync(store, study_id)
    storage = storage_of(store)
    said: list[str] = []
    environment = {"REQUEST_METHOD": "GET", "PATH_INFO": "/api/studies", "SERVER_NAME": "x", "SERVER_PORT": "1"}
    environment |= {"wsgi.url_scheme": "http", "wsgi.input": None}
    body = b"".join(dashboard.wsgi(storage)(environment, lambda status, _headers, *_: said.append(status)))
    assert said == ["200 OK"]
    assert [study["study_name"] for study in json.loads(body)["study_summaries"]] == ["probe"]
    storage.engine.dispose()

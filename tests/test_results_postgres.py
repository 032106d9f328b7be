"""What only a server can do to a night: refuse, restart, cut a commit short, hold many studies, tell its password.

That the record is the same on both is said by the tests that take the fixture `database`.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nights
import pytest
import scripted
import sqlalchemy as sa
from results_support import barrier, epoch, facts, pipe, process, running, study_file
from servers import Server

from harness.errors import HeldError, Interrupted, StorageError, UnavailableError, UsageError
from harness.jobs import TrialJob
from harness.records import Incident, TrialOutcome
from harness.results import connecting, frames, server, tables
from harness.results.engine import open_engine
from harness.results.holders import living_holders
from harness.results.invariants import violations
from harness.results.store import Store
from harness.results.targets import files_folder, public

pytestmark = [pytest.mark.postgres, pytest.mark.slow]


@pytest.fixture
def store(server_database: str) -> Iterator[Store]:
    with Store.open(server_database) as opened:
        yield opened


# --- another database than a file ------------------------------------------------------------------------------


def test_the_server_says_what_every_table_and_column_means(store: Store) -> None:
    found = sa.inspect(store.engine)
    for table in (tables.metadata.tables[name] for name in found.get_table_names() if name in tables.metadata.tables):
        assert found.get_table_comment(table.name)["text"] == table.comment
        comments = {column["name"]: column["comment"] for column in found.get_columns(table.name)}
        assert comments == {column.name: column.comment for column in table.columns}


def test_who_only_reads_cannot_write(store: Store, server_database: str) -> None:
    engine = open_engine(server_database, read_only=True)
    with pytest.raises(sa.exc.DBAPIError, match="read-only"), engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM harness_metric")


def test_what_is_there_is_refused_by_name(store: Store) -> None:
    study_id = store.create_study(study_file())
    row = running(store, study_id)
    with pytest.raises(StorageError, match="trial 0 has this configuration"):
        store.add_trial(study_id, row.config, row.seed, 0, None, "grid")


def test_files_of_two_databases_never_mix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = ["postgresql+psycopg://me@one/results", "postgresql+psycopg://me@one/other", "results.db"]
    folders = [files_folder(name) for name in names]
    assert len(set(folders)) == 3
    assert {folder.parent for folder in folders} == {tmp_path}
    assert files_folder("postgresql+psycopg://me@one/..%2Fup").parent == tmp_path


def open_together(url: str, gate, sender) -> None:
    gate.wait()
    try:
        Store.open(url).create_study(study_file(f"study-{os.getpid()}"))
        sender.send("made")
    except Exception as error:
        sender.send(repr(error))


def test_eight_processes_make_one_database_at_once(server_database: str) -> None:
    gate, (receiver, sender) = barrier(8), pipe()
    children = [process(open_together, server_database, gate, sender) for _ in range(8)]
    for child in children:
        child.start()
    assert [receiver.recv() for _ in children] == ["made"] * 8
    for child in children:
        child.join()


# --- passwords ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "code"),
    [(["status", "none"], 2), (["doctor"], 0), (["repair"], 2), (["run", "none"], 2), (["report", "none"], 2)],
)
@pytest.mark.parametrize("away", [False, True])
def test_no_message_shows_the_password(
    postgres: Server, tmp_path: Path, command: list[str], code: int, away: bool
) -> None:
    url = postgres.url("nowhere" if away else "postgres")
    night = nights.Night(tmp_path)
    found, output = night.harness(*command, "--db", url)
    assert found == (69 if away else code), output
    assert postgres.password not in output
    assert "Traceback" not in output


def test_a_password_in_the_options_of_a_url_is_not_shown_either(postgres: Server) -> None:
    url = f"postgresql+psycopg://{postgres.user}@127.0.0.1:{postgres.port}/nowhere?password={postgres.password}"
    assert postgres.password not in public(url)
    with pytest.raises(UnavailableError, match="nowhere") as caught:
        Store.open(url)
    assert postgres.password not in str(caught.value)
    assert caught.value.exit_code == 69


@pytest.mark.parametrize("url", ["mysql://me:hidden@host/db", "postgresql+psycopg://me:hidden@host:port/db", "://"])
def test_a_url_that_is_no_postgresql_servers_is_refused_in_words(url: str) -> None:
    with pytest.raises(UsageError, match="postgresql") as caught:
        Store.open(url)
    assert "hidden" not in str(caught.value)


# --- restarts -------------------------------------------------------------------------------------------------------


def cut_off(store: Store) -> None:
    """What a restart does to a session, without the restart."""
    assert store._held is not None
    pid = store._held.connection.connection.dbapi_connection.info.backend_pid  # type: ignore[union-attr]
    with store.engine.connect() as other:
        other.execute(sa.text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})


def test_a_session_that_is_cut_off_takes_its_lock_again_and_goes_on(store: Store) -> None:
    study_id = store.create_study(study_file())
    with store.hold(study_id):
        row = running(store, study_id)
        cut_off(store)
        assert store.record_epoch(row.id, epoch(1)) == "stored"
        with store.engine.connect() as other:
            assert living_holders(other, study_id) == ["a process that has the server's lock"]
        with Store.open(store.target) as second, pytest.raises(HeldError, match="held by process"):
            with second.hold(study_id):
                raise AssertionError("the lock was not taken again")
    assert list(frames.sessions(store.engine, "probe")["exit_state"]) == ["finished"]
    with store.engine.connect() as other:
        assert living_holders(other, study_id) == []


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_commit_without_an_answer_is_looked_up_and_done_exactly_once(store: Store, when: str) -> None:
    study_id = store.create_study(study_file())
    with store.hold(study_id):
        row = running(store, study_id)
        assert store._held is not None
        connection, committed = store._held.connection, []

        @sa.event.listens_for(store.engine, "commit")
        def lose_the_answer(committing: sa.Connection) -> None:
            if committing is not connection or committed:
                return
            committed.append(True)
            if when == "after":  # it happens, and then the answer is lost on its way
                committing.connection.dbapi_connection.commit()  # type: ignore[union-attr]
            cut_off(store)

        assert store.record_epoch(row.id, epoch(1)) == "stored"
        assert committed
        store.finish_trial(row.id, TrialOutcome("complete"))
        assert store.trial(row.id).state == "complete"
    assert list(frames.metrics(store.engine, "probe")["epoch"]) == [1] * 5


@pytest.fixture
def abandoned(store: Store) -> Iterator[Callable[[Callable[[str], None]], None]]:
    """Commits whose session the server cannot notice to be gone, as behind a dead network; afterwards it does."""
    stopped: list[int] = []

    def commit(waiting: Callable[[str], None]) -> None:
        def lose_the_server(committing: sa.Connection) -> None:
            if not stopped:
                client: Any = committing.connection.dbapi_connection
                stopped.append(client.info.backend_pid)
                os.kill(stopped[0], signal.SIGSTOP)
                with socket.socket(fileno=os.dup(client.fileno())) as line:
                    line.shutdown(socket.SHUT_RDWR)

        sa.event.listen(store.engine, "commit", lose_the_server)
        with connecting.transaction(store.engine, waiting) as connection:
            connection.exec_driver_sql("CREATE TABLE in_doubt (id int)")

    yield commit
    for pid in stopped:
        os.kill(pid, signal.SIGCONT)


def test_a_session_that_does_not_end_is_waited_for_as_long_as_people_like(
    abandoned: Callable[[Callable[[str], None]], None],
) -> None:
    def ask(words: str) -> None:
        raise Interrupted(words)

    with pytest.raises(Interrupted, match="has not noticed since 0 s that a session is gone"):
        abandoned(ask)


def test_a_session_that_never_ends_is_told_by_the_number_of_its_transaction(
    abandoned: Callable[[Callable[[str], None]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connecting, "ENDING_SECONDS", 1.0)
    heard: list[str] = []
    with pytest.raises(UnavailableError, match=r"nobody knows whether .* transaction \d+, in pg_stat_activity"):
        abandoned(heard.append)
    assert len(heard) >= 2


def test_who_lost_the_study_while_the_server_was_away_writes_nothing_more(store: Store) -> None:
    study_id = store.create_study(study_file())
    with pytest.raises(HeldError, match="another process took the study"), store.hold(study_id):
        row = running(store, study_id)
        cut_off(store)
        with Store.open(store.target) as other, other.hold(study_id):
            assert other.trial(row.id).state == "waiting"
        store.record_epoch(row.id, epoch(1))
    assert frames.metrics(store.engine, "probe").empty
    assert list(frames.sessions(store.engine, "probe")["exit_state"]) == ["vanished", "finished"]


def test_waiting_for_a_server_ends_when_an_end_is_asked_for(postgres: Server, store: Store) -> None:
    study_id = store.create_study(study_file())

    def ask(words: str) -> None:
        raise Interrupted(words)

    store.waiting = ask
    try:
        with pytest.raises(Interrupted, match="database server is away"), store.hold(study_id):
            running(store, study_id)
            postgres.stop()
            store.trials(study_id)
    finally:
        postgres.start()
    with store.hold(study_id):
        assert [row.state for row in store.trials(study_id)] == ["waiting"]


def test_a_server_that_stays_away_ends_the_night_by_name(
    postgres: Server, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "RESTART_SECONDS", 1.0)
    study_id = store.create_study(study_file())
    try:
        with pytest.raises(UnavailableError, match="cannot be reached"), store.hold(study_id):
            postgres.stop()
            store.trials(study_id)
    finally:
        postgres.start()


def test_a_transaction_that_the_server_dies_of_is_given_up(store: Store) -> None:
    study_id = store.create_study(study_file())

    @connecting.outlives_restarts
    def deadly(opened: Store) -> None:
        with opened.transaction():
            cut_off(opened)
            opened.engine.dispose()
            assert opened._held is not None
            opened._held.connection.scalar(sa.select(1))

    with store.hold(study_id), pytest.raises(UnavailableError, match="went away 5 times in deadly"):
        deadly(store)


def three_epochs(job: TrialJob) -> scripted.Words:
    yield facts(job.config)
    for number in range(1, 4):
        yield epoch(number, train=job.trial + number / 100)
    yield TrialOutcome("complete", seconds={"total": 1.0})


def test_a_night_through_many_restarts_has_every_epoch_once(postgres: Server, server_database: str) -> None:
    """The server is restarted as `pg_ctl restart -m immediate` does it, five times."""
    search = "search: {learning_rate: {low: 1.0e-5, high: 1.0e-3}}\nsampler: random\n"
    file = scripted.study(search + "fixed: {epochs: 3}\nbudget: {trials: 60}\n")
    executor, ended = scripted.Scripted(three_epochs, slots=4), []

    def whole_night() -> None:
        with Store.open(server_database) as store, store.hold(store.create_study(file)):
            scripted.night(store, file, executor).through()
        ended.append("well")

    thread = threading.Thread(target=whole_night)
    thread.start()
    for begun in range(5, 55, 10):
        wait_for(lambda begun=begun: len(executor.jobs) >= begun)
        assert thread.is_alive(), ended
        postgres.stop()
        postgres.start()
    thread.join(300)
    assert ended == ["well"]
    with Store.open(server_database) as store:
        trials = store.trials(1)
        assert [trial.state for trial in trials] == ["complete"] * 60
        for trial in trials:
            expected = {number: trial.id + number / 100 for number in (1, 2, 3)}
            assert store.epoch_values(trial.id, "train", "loss") == expected
        with store.engine.connect() as connection:
            assert connection.exec_driver_sql("SELECT count(*) FROM trials WHERE state = 'COMPLETE'").scalar() == 60
        assert list(frames.sessions(store.engine, "s")["exit_state"]) == ["finished"]


# --- who holds a study ------------------------------------------------------------------------------------------------


def hold_and_wait(url: str, sender) -> None:
    store = Store.open(url)
    with store.hold(1):
        running(store, 1)
        sender.send(os.getpid())
        time.sleep(600)


def test_a_stopped_holder_is_still_the_holder(store: Store, server_database: str) -> None:
    study_id = store.create_study(study_file())
    receiver, sender = pipe()
    child = process(hold_and_wait, server_database, sender)
    child.start()
    pid = receiver.recv()
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(HeldError, match=f"held by process {pid}"), store.hold(study_id):
            raise AssertionError("two coordinators hold one study")
    finally:
        os.kill(pid, signal.SIGKILL)
        child.join()
    with store.hold(study_id):
        assert [row.state for row in store.trials(study_id)] == ["waiting"]


def whole_study(url: str, name: str, gate, sender) -> None:
    """A coordinator without workers: a study of four trials from nothing to its end."""
    try:
        with Store.open(url) as store:
            study_id = store.create_study(study_file(name))
            with store.hold(study_id):
                gate.wait()
                for epochs in range(1, 5):
                    row = running(store, study_id, epochs=epochs)
                    for number in range(1, epochs + 1):
                        store.record_epoch(row.id, epoch(number, train=study_id + number / 100))
                    store.record_incident(study_id, row.id, Incident("odd", name))
                    store.finish_trial(row.id, TrialOutcome("complete"))
        sender.send(study_id)
    except Exception as error:
        sender.send(repr(error))


def test_sixty_four_studies_at_once_fit_on_a_server_with_its_usual_limits(server_database: str) -> None:
    with Store.open(server_database):
        pass
    gate, (receiver, sender) = threading.Barrier(64), pipe()
    workers = [
        threading.Thread(target=whole_study, args=(server_database, f"study-{i}", gate, sender)) for i in range(64)
    ]
    for worker in workers:
        worker.start()
    told = [receiver.recv() for _ in workers]
    for worker in workers:
        worker.join()
    assert [said for said in told if isinstance(said, str)] == []
    assert sorted(told) == list(range(1, 65))
    with Store.open(server_database) as store:
        for row in store.studies():
            trials = store.trials(row.id)
            assert [trial.state for trial in trials] == ["complete"] * 4
            for trial in trials:
                values = store.epoch_values(trial.id, "train", "loss")
                assert values == {number: row.id + number / 100 for number in range(1, trial.config.epochs + 1)}
            incidents = frames.incidents(store.engine, row.name)
            assert list(incidents["message"]) == [row.name] * 4


def while_away(postgres: Server, work: Callable[[], Any]) -> Any:
    """What something gives that begins while the server is away; that is back a second later."""
    postgres.stop()  # in this thread, with which the server would end
    with ThreadPoolExecutor(1) as pool:
        given = pool.submit(work)
        time.sleep(1.0)
        assert not given.done()
        postgres.start()
        return given.result(60)


def test_a_server_that_restarts_while_a_night_begins_is_waited_for(postgres: Server, server_database: str) -> None:
    told: list[str] = []
    with while_away(postgres, lambda: Store.open(server_database)) as store:
        store.waiting = told.append
        study_id = while_away(postgres, lambda: store.create_study(study_file()))
        held = store.hold(study_id)
        while_away(postgres, held.__enter__)
        assert [row.name for row in store.studies()] == ["probe"]
        held.__exit__(None, None, None)
    assert told and all(words.startswith("the database server is not there since") for words in told)


def test_a_server_that_does_not_come_in_time_ends_the_beginning_by_name(
    postgres: Server, server_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connecting, "OPENING_SECONDS", 1.0)
    postgres.stop()
    try:
        began = time.monotonic()
        with pytest.raises(UnavailableError, match="(?s)cannot be reached: .*refused.*start the server") as caught:
            Store.open(server_database)
        assert caught.value.exit_code == 69
        assert 1 < time.monotonic() - began < 10
        began = time.monotonic()
        with pytest.raises(UnavailableError):
            open_engine(server_database, read_only=True)  # who only reads does not wait
        assert time.monotonic() - began < 1
    finally:
        postgres.start()


def test_a_wrong_password_is_told_at_once(postgres: Server, server_database: str) -> None:
    began = time.monotonic()
    with pytest.raises(UnavailableError, match="password authentication failed"):
        Store.open(server_database.replace(postgres.password, "wrong"))
    assert time.monotonic() - began < connecting.OPENING_SECONDS / 3


# --- one whole night -----------------------------------------------------------------------------------------------


STUDY = """
study: night
task: sequence-classification
model: builtin:tiny
data: {path: "builtin:reviews", rows: 160, validation: 40}
fixed: {max_length: 24, batch_size: 8, dtype: fp32}
configurations:
  - {epochs: 2, learning_rate: 1e-3}
  - {epochs: 16, learning_rate: 5e-4}
objective: accuracy
keep: 1
"""


def curves(engine: sa.Engine) -> list[tuple[object, ...]]:
    frame = frames.metrics(engine, "night").sort_values(["trial", "epoch", "split", "name", "group"])
    return [tuple(row) for row in frame[["trial", "epoch", "split", "name", "value"]].itertuples(index=False)]


def wait_for(seen: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not seen():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.05)


def test_a_server_restart_in_mid_trial_loses_nothing(postgres: Server, server_database: str, tmp_path: Path) -> None:
    """The same night on a file and on a server that is away as it starts and restarted twice while a trial trains."""
    (tmp_path / "file").mkdir()
    undisturbed = nights.Night(tmp_path / "file", STUDY)
    assert undisturbed.run()[0] == 0
    night = nights.Night(tmp_path, STUDY)
    engine = open_engine(server_database)
    postgres.stop()
    running_night = night.forked("run", "night.yaml", "--db", server_database, server_seconds=60.0)
    time.sleep(2)
    assert running_night.poll() is None
    postgres.start()

    def epochs() -> int:
        query = "SELECT count(*) FROM harness_epoch WHERE study = 'night' AND trial = 1"
        with engine.connect() as connection:  # the server is there whenever this is asked
            return int(connection.exec_driver_sql(query).scalar_one())

    def told() -> int:
        return running_night.said.read_text().count("the database server is away")

    for count in (2, 6):
        wait_for(lambda count=count: epochs() >= count)  # type: ignore[misc]
        before = told()
        postgres.stop()
        wait_for(lambda before=before: told() > before)  # type: ignore[misc]
        postgres.start()
    output, _ = running_night.communicate(timeout=120)
    assert running_night.returncode == 0, output
    file = open_engine(undisturbed.db, read_only=True)
    assert curves(engine) == curves(file)
    assert violations(engine) == []
    assert frames.incidents(engine, "night").empty
    assert list(frames.sessions(engine, "night")["exit_state"]) == ["finished"]
    for command in (["status", "--json"], ["report", "night", "--out", str(tmp_path / "reports")], ["doctor"]):
        code, said = night.harness(*command, "--db", server_database)
        assert code == 0, said
        assert postgres.password not in said
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert postgres.password.encode() not in written

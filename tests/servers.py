"""Databases for tests: a file, or a new database of a PostgreSQL server that the tests start themselves.

Nothing of the server is left behind: it lies in a temporary folder and ends with the process that started it. Without
PostgreSQL's programs its tests are skipped, and the summary says so.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from harness.results.engine import open_engine

MISSING = "PostgreSQL is not installed here (apt-get install postgresql): nothing was tested on a server"
PR_SET_PDEATHSIG = 1


def programs() -> Path | None:
    """The folder of PostgreSQL's programs; Debian keeps it out of the search path."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in folders if (folder / "postgres").exists()), None)


def _as_nobody_special() -> dict[str, Any]:
    """PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    names = {entry.pw_name for entry in pwd.getpwall()}
    user = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def _end_with_the_tests() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGQUIT)


class Server:
    """A PostgreSQL server on a port of this machine."""

    user = "tester"

    def __init__(self, programs: Path) -> None:
        self.programs = programs
        self.password = f"pass{secrets.token_hex(8)}"
        self.folder = Path(tempfile.mkdtemp(prefix="harness-postgres-"))  # pytest's own only root may enter
        self._who = _as_nobody_special()
        if self._who:
            os.chown(self.folder, self._who["user"], self._who["group"])
        with socket.create_server(("127.0.0.1", 0)) as taken:
            self.port = taken.getsockname()[1]
        self._databases = 0
        self._model: str | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._make()
        self.start()

    def _make(self) -> None:
        words = self.folder / "password"
        words.write_text(self.password)
        words.chmod(0o644)
        command = [self.programs / "initdb", "-D", self.folder / "data", "-U", self.user, "-A", "scram-sha-256"]
        command += ["--pwfile", words, "-E", "UTF8", "--locale", "C", "--no-sync"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=self.folder, **self._who)

    def start(self) -> None:
        """Start, and wait until it answers. `fsync` is off: no test pulls the plug of the machine."""
        command = [self.programs / "postgres", "-D", self.folder / "data", "-p", str(self.port), "-k", self.folder]
        command += ["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stderr=log, stdout=log, cwd=self.folder, preexec_fn=_end_with_the_tests, **self._who
            )
        end = time.monotonic() + 30
        while True:
            try:
                psycopg.connect(self.dsn()).close()
                return
            except psycopg.OperationalError:
                if time.monotonic() > end or self._process.poll() is not None:
                    raise
                time.sleep(0.05)

    def stop(self) -> None:
        """As `pg_ctl stop -m immediate`: every session is cut off, and the next start recovers as after a crash."""
        assert self._process is not None
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait(30)

    def close(self) -> None:
        """Stop and forget."""
        self.stop()
        shutil.rmtree(self.folder)

    def dsn(self, database: str = "postgres") -> str:
        """For psycopg."""
        return f"host=127.0.0.1 port={self.port} user={self.user} password={self.password} dbname={database}"

    def url(self, database: str) -> str:
        """For `--db`."""
        return f"postgresql+psycopg://{self.user}:{self.password}@127.0.0.1:{self.port}/{database}"

    def new(self, empty: bool = True) -> str:
        """The URL of a new database, empty or with harness's tables, which are made once and copied."""
        if not empty and self._model is None:
            self._model = self.new()
            open_engine(self._model)
        self._databases += 1
        name = f"test{self._databases}"
        like = "template1" if empty or self._model is None else sa.make_url(self._model).database
        with psycopg.connect(self.dsn(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {like}".encode())
        return self.url(name)

    def drop(self, url: str) -> None:
        """Remove a database, whoever still uses it."""
        name = sa.make_url(url).database
        with psycopg.connect(self.dsn(), autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """The server of this process's tests."""
    found = programs()
    if found is None:
        pytest.skip(MISSING)
    server = Server(found)
    yield server
    server.close()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def database(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """What `Store.open` and `--db` take: a path where no file is yet, or the URL of a database without a study."""
    if request.param == "sqlite":
        yield tmp_path / "results.db"
        return
    monkeypatch.chdir(tmp_path)  # a server's files lie in the folder where harness is started
    server: Server = request.getfixturevalue("postgres")
    url = server.new(empty=False)
    yield url
    server.drop(url)


@pytest.fixture
def server_database(postgres: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of an empty database."""
    monkeypatch.chdir(tmp_path)
    url = postgres.new()
    yield url
    postgres.drop(url)

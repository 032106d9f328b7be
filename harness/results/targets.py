"""What `--db` names: a file or a server, where its other files lie, how messages call it, and what its errors mean."""

from __future__ import annotations

import importlib.util
import sqlite3
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock
import sqlalchemy as sa

import harness.disk as disk
from harness.errors import HarnessError, HeldError, SpecError, StorageError, UnavailableError, UsageError

Target = str | Path
BUSY_SECONDS = 60
SERVERS = ("postgresql", "postgresql+psycopg")


def is_server(target: Target) -> bool:
    """Whether the target is the URL of a database server rather than a file."""
    return isinstance(target, str) and "://" in target and not target.startswith("sqlite:")


def database_path(target: Target) -> Path:
    """The file that a path or an `sqlite:///` URL names, absolute."""
    if isinstance(target, str) and target.startswith("sqlite:///"):
        target = target.removeprefix("sqlite:///")
    return Path(target).absolute()


def files_folder(target: Target) -> Path:
    """Where checkpoints, caches and kept models lie: `results.files` beside `results.db`.

    Those of a server's database lie in the folder where harness is started, under the database's name.
    """
    if is_server(target):
        name = urllib.parse.quote(server_url(target).database or "postgres", safe="")
        return Path(f"{name}.postgresql.files").absolute()
    return database_path(target).with_suffix(".files")


def trial_folder(files: Path, trial_id: int) -> Path:
    """A trial's own folder, named by id and never by a user's text."""
    return files / "trials" / f"t{trial_id:06d}"


def server_url(target: Target) -> sa.URL:
    """The URL of a server that can be used.

    Raises:
        UsageError: it is none, or of another kind of server.
    """
    example = "postgresql+psycopg://USER@HOST/DATABASE"
    try:
        url = sa.make_url(str(target))
    except (sa.exc.ArgumentError, ValueError) as error:
        raise UsageError(f"--db is no URL of a server; write {example}") from error
    if url.drivername not in SERVERS:
        raise UsageError(f"--db names a {url.drivername} server; harness works with {example}, or with a file")
    if importlib.util.find_spec("psycopg") is None:
        raise UsageError("a PostgreSQL server needs the package psycopg: pip install '.[postgres]' in harness's folder")
    return url.set(drivername="postgresql+psycopg")


def public(target: Target | sa.URL) -> str:
    """A database as messages may name it: a server without password and options."""
    if not isinstance(target, sa.URL) and not is_server(target):
        return str(target)
    url = target if isinstance(target, sa.URL) else server_url(target)
    return url.set(password=None, query={}).render_as_string()


@contextmanager
def storage_errors(target: Target | sa.URL) -> Iterator[None]:
    """Turn a database's or the system's refusal into an error with an exit code and a remedy."""
    target = _shown(target)
    try:
        yield
    except sa.exc.DBAPIError as error:
        raise _explained(error.orig, target) from error
    except (sqlite3.Error, OSError, filelock.Timeout, UnicodeDecodeError) as error:
        raise _explained(error, target) from error


def _shown(target: Target | sa.URL) -> Target:
    """A file by its path instead of the URL that it was opened with, a server without its password."""
    if not isinstance(target, sa.URL):
        return public(target) if is_server(target) else target
    if target.get_backend_name() != "sqlite":
        return public(target)
    name = str(target.database)
    return urllib.parse.unquote(name.removeprefix("file:")) if name.startswith("file:") else name


def _explained(error: BaseException | None, target: Target) -> HarnessError:
    name = str(getattr(error, "sqlite_errorname", ""))
    if disk.is_full(error):
        server = f"the disk of {target} is full; everything recorded is safe. Free some space there, run again"
        return HeldError(server) if is_server(str(target)) else disk.full(database_path(str(target)))
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")) or isinstance(error, filelock.Timeout):
        return HeldError(f"{target} was locked by another process for more than {BUSY_SECONDS} seconds; run again")
    if name in ("SQLITE_READONLY_ROLLBACK", "SQLITE_READONLY_RECOVERY"):
        return StorageError(
            f"a process was killed while it wrote {target}, and its half of a commit cannot be undone where nothing "
            "can be written; copy the file together with those beside it to a place that you can write"
        )
    if name == "SQLITE_NOTADB":
        return SpecError(f"{target} is no database file; it was left as it is")
    if name.startswith("SQLITE_CORRUPT") or isinstance(error, UnicodeDecodeError):
        return StorageError(
            f"{target} is damaged; it was left as it is. `sqlite3 FILE .recover` saves what can be read"
        )
    if name.startswith("SQLITE_CONSTRAINT") or "UniqueViolation" in type(error).__name__:
        return StorageError(f"{target} refuses a row that is there already or breaks a rule: {error}")
    if is_server(target) and _unreachable(error):
        return UnavailableError(f"{target} cannot be reached: {error}; start the server, or name another with --db")
    return StorageError(f"{target} cannot be used: {error}; `--db` names another place")


def _unreachable(error: BaseException | None) -> bool:
    """Whether a server is away, starts or stops, refuses the connection, or has no room for one more."""
    code = getattr(error, "sqlstate", "") or ""
    return type(error).__name__ == "OperationalError" and not code or code[:2] in ("08", "28", "53", "57")

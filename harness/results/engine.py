"""Opening results.db: the settings that keep commits, and what is refused instead of damaged.

With `soundness.py` the only module with SQLite-only SQL. A path is a file, a `postgresql+psycopg://` URL a server.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import filelock
import sqlalchemy as sa

from harness.errors import SpecError, StorageError, UsageError
from harness.results import definitions, schema, targets
from harness.results.connecting import connected, nothing_left, outlives_restarts
from harness.results.filesystems import network_file_system
from harness.results.targets import Target, database_path, files_folder, is_server, public, server_url, storage_errors
from harness.results.views import VIEWS

# Within a minute a server notices a coordinator whose machine is gone, and gives its lock to the next.
NOTICE = "-c tcp_keepalives_idle=30 -c tcp_keepalives_interval=10 -c tcp_keepalives_count=3"
LOCK_KEY = 4_713_000_000  # PostgreSQL advisory lock of creation; a study's own is LOCK_KEY + its id


def wal_is_safe(version: tuple[int, ...] = sqlite3.sqlite_version_info) -> bool:
    """Whether this SQLite is free of the WAL-reset bug, which can corrupt a file with two connections.

    References: sqlite.org/wal.html#walresetbug; fixed in 3.51.3, 3.50.7 and 3.44.6, and 3.52.0 was withdrawn.
    """
    fixed = version >= (3, 51, 3) and version != (3, 52, 0)
    return fixed or (3, 50, 7) <= version < (3, 51) or (3, 44, 6) <= version < (3, 45)


def open_engine(target: Target, read_only: bool = False, create: bool = True) -> sa.Engine:
    """An engine on a checked database; a missing file is made unless `create` is false.

    Raises:
        UsageError: there is no such file and it is not to be made.
        StorageError: it cannot be read or written, is damaged, empty, or on a network file system.
        SpecError: it belongs to another program or to a newer harness.
    """
    if is_server(target):
        return _open_server(str(target), read_only, create)
    path = database_path(target)
    _refuse_odd_names(target)
    with storage_errors(path):
        if read_only or not create:
            _refuse_absent(path)
        else:
            _create_once(path)
        if read_only:
            _roll_back(path)
        engine = _sqlite_engine(path, read_only)
        try:
            _check(engine, path, read_only)
        except BaseException:
            engine.dispose()
            raise
    return engine


# --- SQLite ---------------------------------------------------------------------------------------


def _sqlite_engine(path: Path, read_only: bool) -> sa.Engine:
    if read_only:
        name = "file:" + urllib.parse.quote(str(path))
        url = sa.URL.create("sqlite", database=name, query={"mode": "ro", "uri": "true"})
    else:
        url = sa.URL.create("sqlite", database=str(path))
    engine = sa.create_engine(url, connect_args={"timeout": targets.BUSY_SECONDS}, hide_parameters=True)
    configure_sqlite(engine, read_only)
    return engine


def configure_sqlite(engine: sa.Engine, read_only: bool = False) -> None:
    """Give every new connection of an SQLite engine our settings and our way to begin."""
    sa.event.listen(engine, "connect", _configure)
    sa.event.listen(engine, "begin", _begin(read_only))


def _roll_back(path: Path) -> None:
    """Undo the commit in whose middle a writer was killed, which a read-only connection cannot do."""
    if not path.with_name(path.name + "-journal").exists():
        return
    connection = sqlite3.connect(path, timeout=targets.BUSY_SECONDS)
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchall()
    except sqlite3.OperationalError:
        pass  # a place that cannot be written: whoever reads is told why it cannot be read either
    finally:
        connection.close()


def _configure(connection: sqlite3.Connection, _record: Any) -> None:
    connection.isolation_level = None  # SQLAlchemy says BEGIN itself
    for pragma in (
        f"busy_timeout={targets.BUSY_SECONDS * 1000}",
        "synchronous=FULL",
        "foreign_keys=ON",
        "mmap_size=0",
        "trusted_schema=OFF",
    ):
        connection.execute(f"PRAGMA {pragma}").close()


def _begin(read_only: bool) -> Callable[[sa.Connection], None]:
    # A plain BEGIN that reads and then writes fails at once when another wrote in between.
    statement = "BEGIN" if read_only else "BEGIN IMMEDIATE"

    def begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql(statement)

    return begin


def _create_once(path: Path) -> None:
    """Make a new database under a lock: as a temporary file, then renamed, so that no one sees half of it."""
    kind = network_file_system(path.parent)
    if kind:
        raise StorageError(
            f"{path} lies on a network file system ({kind}), where locks do not hold; "
            "put the database on a local disk with --db, or use a postgresql+psycopg:// server"
        )
    if path.exists():
        return
    files = files_folder(path)
    files.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(files / "creation.lock", timeout=targets.BUSY_SECONDS):
        if path.exists():
            return
        handle, name = tempfile.mkstemp(prefix=draft_prefix(path), suffix=".db", dir=path.parent)  # mode 0600
        os.close(handle)
        try:
            _fill(Path(name))
            os.rename(name, path)
        finally:
            for leftover in (name, name + "-journal", name + "-wal", name + "-shm"):
                Path(leftover).unlink(missing_ok=True)
        _sync_folder(path.parent)


def draft_prefix(path: Path) -> str:
    """How the names of the temporary files begin from which a database is made."""
    return f".new-{path.name}-"


def _fill(path: Path) -> None:
    connection = sqlite3.connect(path)
    try:
        connection.execute(f"PRAGMA journal_mode={'WAL' if wal_is_safe() else 'DELETE'}")
    finally:
        connection.close()
    engine = _sqlite_engine(path, read_only=False)
    try:
        with engine.begin() as transaction:
            schema.upgrade(transaction)
    finally:
        engine.dispose()


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def revision_of(target: Target) -> str | None:
    """The schema of an existing database, older ones included; None where it has none of our tables.

    Raises:
        HarnessError: as `open_engine` says of what is missing, empty, damaged, foreign or newer.
    """
    if is_server(target):
        url = server_url(target)
        engine = _server_engine(url, read_only=True)
        with storage_errors(url), closing(engine), engine.connect() as connection:
            return schema.revision(connection, public(url))
    path = database_path(target)
    with storage_errors(path):
        _refuse_absent(path)
        _refuse_empty(path)
        _roll_back(path)
        engine = _sqlite_engine(path, read_only=True)
        with closing(engine), engine.begin() as connection:
            return _revision(connection, path)


@contextmanager
def closing(engine: sa.Engine) -> Iterator[None]:
    """Release an engine's connections at the end."""
    try:
        yield
    finally:
        engine.dispose()


def _refuse_odd_names(target: Target) -> None:
    name = str(target)
    if name.startswith("sqlite") and ":/" in name and not name.startswith("sqlite:///") or name == "sqlite:":
        raise UsageError(f"--db takes a file, sqlite:///FILE or postgresql+psycopg://USER@HOST/DATABASE, got {name!r}")
    try:
        name.encode()
    except UnicodeEncodeError:
        raise UsageError(f"--db: the name {name!r} is no UTF-8, and Optuna cannot open it; rename the file") from None


def _refuse_absent(path: Path) -> None:
    if not path.exists():
        raise UsageError(f"there is no database {path}; `harness run` makes it, `--db` names another")


def _refuse_empty(path: Path) -> None:
    if path.stat().st_size == 0:
        raise StorageError(f"{path} is empty (0 bytes), which no database is; move it away and run again")


def _check(engine: sa.Engine, path: Path, read_only: bool) -> None:
    """Refuse what is empty, damaged, foreign or newer; add our tables to a database of Optuna."""
    _refuse_empty(path)
    if not read_only:
        _quick_check(engine, path)
    with engine.begin() as connection:
        found = _revision(connection, path)
        if found == schema.HEAD:
            _refuse_others_definitions(connection, path)
    if not read_only:
        _choose_journal(engine)
    if found == schema.HEAD:
        return
    if read_only:
        raise SpecError(f"{path} {_behind(found)}")
    _upgrade_file(engine, path)


def _choose_journal(engine: sa.Engine) -> None:
    """Leave WAL where it is not safe; the pragma cannot run inside a transaction."""
    connection = engine.raw_connection()
    try:
        cursor = connection.cursor()
        current = str(cursor.execute("PRAGMA journal_mode").fetchone()[0]).lower()
        wanted = "wal" if wal_is_safe() else "delete"
        if current != wanted:  # a reader may hold it back: then it stays until the next start
            cursor.execute(f"PRAGMA journal_mode={wanted}")
        cursor.close()
    finally:
        connection.close()


def _quick_check(engine: sa.Engine, path: Path) -> None:
    """Read the whole file, which takes long: in no transaction of ours, which would keep others from writing."""
    connection = engine.raw_connection()
    try:
        cursor = connection.cursor()
        answer = cursor.execute("PRAGMA quick_check(1)").fetchone()[0]
        cursor.close()
    finally:
        connection.close()
    if answer != "ok":
        raise StorageError(
            f"{path} is damaged ({answer}); nothing was changed. `sqlite3 {path.name} .recover` saves what can be read"
        )


def _revision(connection: sa.Connection, path: Path) -> str | None:
    """The revision, after refusing files of other programs and triggers or views that are not ours."""
    listing = connection.exec_driver_sql("SELECT type, name FROM sqlite_master").all()
    tables = {name for kind, name in listing if kind == "table" and not name.startswith("sqlite_")}
    strange = sorted(name for kind, name in listing if kind in ("trigger", "view") and name not in VIEWS)
    ours = schema.VERSION_TABLE in tables
    optunas = {"studies", "trials", "version_info"} <= tables
    if not ours and not optunas:
        raise SpecError(f"{path} is a database of another program (tables: {', '.join(sorted(tables)) or 'none'})")
    if strange:
        raise SpecError(f"{path} holds triggers or views that are not harness's: {', '.join(strange)}; not opened")
    return schema.revision(connection, str(path))


def _refuse_others_definitions(connection: sa.Connection, path: Path) -> None:
    """A view of others under our name may say anything, or never end; an index that is lost can be mended."""
    changed = [name for name in definitions.changed(connection) if name.startswith("harness_")]
    if changed:
        raise SpecError(f"{path} defines {', '.join(changed)} otherwise than harness does; not opened")


def _behind(found: str | None) -> str:
    """What a reader is told of a database that only a writer may bring to our schema."""
    if found is None:
        return "holds no study of this harness yet; `harness run` makes its tables"
    return f"has schema {found} of an older harness; `harness run` brings it to {schema.HEAD}"


def _upgrade_file(engine: sa.Engine, path: Path) -> None:
    """Bring an older file to our schema, under the lock and after a copy."""
    files_folder(path).mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(files_folder(path) / "creation.lock", timeout=targets.BUSY_SECONDS):
        with engine.connect() as connection:
            if schema.revision(connection, str(path)) == schema.HEAD:
                return
        copy = path.with_name(f"{path.name}.before-{schema.HEAD}")
        if not copy.exists():
            back_up(path, copy)
        with engine.begin() as connection:
            schema.upgrade(connection)
    path.chmod(0o600)


def back_up(path: Path, copy: Path) -> None:
    """Copy a database that may be in use; the copy has its name only when it is whole, and only its owner reads it."""
    handle, name = tempfile.mkstemp(prefix=draft_prefix(path), suffix=".db", dir=path.parent)  # mode 0600
    os.close(handle)
    try:
        source, target = sqlite3.connect(path), sqlite3.connect(name)
        try:
            source.backup(target)
        finally:
            source.close()
            target.close()
        os.rename(name, copy)
    finally:
        Path(name).unlink(missing_ok=True)
    _sync_folder(path.parent)


# --- servers ------------------------------------------------------------------------------------------


def _open_server(target: str, read_only: bool, create: bool) -> sa.Engine:
    url = server_url(target)
    engine = _server_engine(url, read_only)
    with storage_errors(url):
        try:
            if read_only:
                with engine.connect() as connection:
                    found = schema.revision(connection, public(url))
                if found != schema.HEAD:
                    raise UsageError(f"{public(url)} {_behind(found)}")
            else:
                make_tables(engine, create)
        except BaseException:
            engine.dispose()
            raise
    return engine


@outlives_restarts
def make_tables(engine: sa.Engine, create: bool) -> None:
    """Bring a server's database to our schema, all of it or nothing; one without our tables only with `create`."""
    with nothing_left():
        with connected(engine) as connection:
            found = schema.revision(connection, public(engine.url))
        if found is None and not create:
            raise UsageError(f"{public(engine.url)} {_behind(found)}")
        if found != schema.HEAD:
            with creation_lock(engine), connected(engine) as connection, connection.begin():
                schema.upgrade(connection)


def _server_engine(url: sa.URL, read_only: bool) -> sa.Engine:
    """No connection waits idle in a pool: a study's coordinator has one, and a hundred studies fit on a server."""
    options = {"postgresql_readonly": True} if read_only else {}
    arguments = {} if "options" in url.query else {"options": NOTICE}
    return sa.create_engine(
        url, poolclass=sa.NullPool, hide_parameters=True, execution_options=options, connect_args=arguments
    )


@contextmanager
def creation_lock(engine: sa.Engine) -> Iterator[None]:
    """One process at a time makes tables in this database, ours or Optuna's."""
    if engine.dialect.name == "sqlite":
        path = Path(str(engine.url.database))
        with filelock.FileLock(files_folder(path) / "creation.lock", timeout=targets.BUSY_SECONDS):
            yield
        return
    with connected(engine) as connection:
        connection.execute(sa.select(sa.func.pg_advisory_lock(LOCK_KEY)))
        try:
            yield
        finally:
            connection.execute(sa.select(sa.func.pg_advisory_unlock(LOCK_KEY)))

"""Which revision of the schema a database holds, and bringing it to ours.

Alembic's own version table would collide with Optuna's, which lives in the same file.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from harness.errors import SpecError
from harness.results import tables
from harness.results.views import VIEWS

if TYPE_CHECKING:  # a quarter of a second that who only reads does not wait for
    from alembic.config import Config

VERSION_TABLE = "harness_alembic_version"
HEAD = "0007"
SCRIPTS = Path(str(import_module("harness.results.migrations").__file__)).parent


def _config() -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    return config


def revisions() -> set[str]:
    """Every revision that this version of harness knows."""
    from alembic.script import ScriptDirectory

    return {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}


def revision(connection: sa.Connection, name: str) -> str | None:
    """The revision that the database holds, `name` being what messages call it; None before our first table.

    Raises:
        SpecError: when a newer harness made it.
    """
    if not sa.inspect(connection).has_table(VERSION_TABLE):
        return None
    table = sa.table(VERSION_TABLE, sa.column("version_num"))
    found = connection.scalar(sa.select(table.c.version_num))
    if found is not None and found != HEAD and found not in revisions():
        raise SpecError(
            f"{name} was made by a newer harness: it has schema {found!r} and this harness knows up to {HEAD!r}; "
            "use the version of harness that made it, or a newer one (nothing was changed)"
        )
    return str(found) if found else None


def upgrade(connection: sa.Connection, target: str = "head") -> None:
    """Run the missing revisions inside the connection's transaction, up to the newest unless one is named."""
    from alembic import command

    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, target)
    if connection.dialect.supports_comments and target == "head":
        _describe(connection)


def _describe(connection: sa.Connection) -> None:
    """Give tables and columns on a server their meaning of today; a revision only says what they are."""
    for table in tables.metadata.sorted_tables:
        if table.name not in VIEWS:
            connection.execute(sa.schema.SetTableComment(table))
            for column in table.columns:
                connection.execute(sa.schema.SetColumnComment(column))

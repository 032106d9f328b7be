"""What alembic runs: the revisions, on the connection and in the transaction that `schema.upgrade` hands over."""

from __future__ import annotations

from alembic import context

from harness.results.schema import VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"],
    version_table=VERSION_TABLE,
    transaction_per_migration=False,
)
context.run_migrations()

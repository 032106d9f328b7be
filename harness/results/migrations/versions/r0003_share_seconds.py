"""The time that a trial spends on work that trials share is a part of its own."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

REAL: sa.types.TypeEngine[Any] = sa.Double().with_variant(sa.REAL(), "sqlite")


def upgrade() -> None:
    """Add the column; trials of before shared nothing."""
    op.add_column("harness_trial", sa.Column("share_seconds", REAL, nullable=True))

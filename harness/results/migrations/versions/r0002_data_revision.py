"""The commit of a data set on the Hub is recorded, as that of a model is."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the column; what is recorded already has none."""
    op.add_column("harness_data", sa.Column("revision", sa.Text(), nullable=True))

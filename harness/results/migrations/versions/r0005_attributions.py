"""What each token of a text did for an answer, worked out afterwards with a kept model."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

TABLE = "harness_attribution"
KEY: sa.types.TypeEngine[Any] = sa.BigInteger().with_variant(sa.INTEGER(), "sqlite")
REAL: sa.types.TypeEngine[Any] = sa.Double().with_variant(sa.REAL(), "sqlite")


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        TABLE,
        sa.Column("trial_id", KEY, autoincrement=False, nullable=False),
        sa.Column("split", sa.Text(), nullable=False),
        sa.Column("position", KEY, autoincrement=False, nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("method", "target")),
        *(sa.Column(name, KEY, nullable=False) for name in ("source_row", "weights_epoch")),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("label", "answer")),
        sa.Column("probability", REAL, nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("tokens", "scores")),
        sa.Column("value", REAL, nullable=False),
        *(sa.Column(name, REAL, nullable=True) for name in ("baseline_value", "delta")),
        sa.Column("baseline", sa.Text(), nullable=False),
        sa.Column("steps", KEY, nullable=True),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("trial_id", "split", "position", "method", "target", name=f"pk_{TABLE}"),
        sa.ForeignKeyConstraint(["trial_id"], ["harness_trial.id"], name=f"fk_{TABLE}_trial_id"),
        sqlite_strict=True,
    )

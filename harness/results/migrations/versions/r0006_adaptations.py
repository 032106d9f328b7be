"""Encoders that were pretrained further on a study's training texts, before its first trial."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

TABLE = "harness_adaptation"
KEY: sa.types.TypeEngine[Any] = sa.BigInteger().with_variant(sa.INTEGER(), "sqlite")
REAL: sa.types.TypeEngine[Any] = sa.Double().with_variant(sa.REAL(), "sqlite")


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        TABLE,
        sa.Column("study_id", KEY, nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("model", "key", "config")),
        *(
            sa.Column(name, KEY, nullable=False)
            for name in ("texts", "held_out_texts", "epochs", "best_epoch", "steps")
        ),
        *(sa.Column(name, REAL, nullable=True) for name in ("perplexity_before", "perplexity_after")),
        sa.Column("fresh_head", KEY, nullable=False),
        *(sa.Column(name, REAL, nullable=False) for name in ("seconds", "spent_seconds")),
        sa.Column("reused", KEY, nullable=False),
        sa.Column("at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("study_id", "model", name=f"pk_{TABLE}"),
        sa.ForeignKeyConstraint(["study_id"], ["harness_study.id"], name=f"fk_{TABLE}_study_id"),
        sqlite_strict=True,
    )

"""What an evaluation leaves behind depends on the task: question answering keeps spans and losses, not logits."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

TABLE = "harness_prediction"
CHECK = "ck_harness_prediction_kind_known"
COPY = """
INSERT INTO harness_prediction (trial_id, epoch, split, kind, shape, crc32, data)
SELECT trial_id, epoch, split, kind, shape, crc32, data FROM harness_prediction_before
"""
KINDS = "kind IN ('logits', 'spans', 'losses', 'margins')"


def upgrade() -> None:
    """Let the kinds in; SQLite takes a new constraint only with a new table."""
    if op.get_bind().dialect.name != "sqlite":
        op.drop_constraint(CHECK, TABLE)
        op.create_check_constraint(CHECK, TABLE, KINDS)
        return
    op.execute(f"ALTER TABLE {TABLE} RENAME TO {TABLE}_before")
    op.create_table(
        TABLE,
        sa.Column("trial_id", sa.Integer(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("split", "kind", "shape")),
        sa.Column("crc32", sa.Integer(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("trial_id", "epoch", "split", "kind", name=f"pk_{TABLE}"),
        sa.ForeignKeyConstraint(
            ["trial_id", "epoch"],
            ["harness_epoch_record.trial_id", "harness_epoch_record.epoch"],
            name=f"fk_{TABLE}_trial_id_epoch",
        ),
        sa.CheckConstraint(KINDS, name=CHECK),
        sqlite_strict=True,
    )
    op.execute(COPY)
    op.drop_table(f"{TABLE}_before")

"""Everything that the first release records."""

from __future__ import annotations

from alembic import op

from harness.results import views

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create all tables and views."""
    views.summary.metadata.create_all(op.get_bind(), checkfirst=False)

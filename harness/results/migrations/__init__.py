"""Revisions of the schema, run by alembic with a version table of its own."""

"""Notebooks: the report's own with thin cells, and those of plain pandas that a person goes on to edit."""

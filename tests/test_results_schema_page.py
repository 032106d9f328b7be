"""The page of the schema is that of the tables, and every table and column says what it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.results import tables, views
from harness.results.schema_page import page

DOCS = Path(__file__).parent.parent / "docs" / "schema.md"


def test_the_page_is_up_to_date():
    assert DOCS.read_text("utf-8") == page(), "run: python -m harness.results.schema_page > docs/schema.md"


@pytest.mark.parametrize("table", tables.metadata.sorted_tables, ids=lambda table: table.name)
def test_every_table_and_column_says_what_it_is(table):
    assert table.name.startswith("harness_")
    if table.name not in views.VIEWS:
        assert table.comment
        assert [column.name for column in table.columns if not column.comment] == []


@pytest.mark.parametrize("name", views.VIEWS)
def test_every_column_of_a_view_says_what_it_is(name):
    view, meanings = views.VIEWS[name]
    assert [column.name for column in view.columns] == list(meanings)
    assert all(meanings.values())

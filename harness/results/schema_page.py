"""docs/schema.md: the tables and views of results.db, written from the code that makes them."""

from __future__ import annotations

import sqlalchemy as sa

from harness.results import tables
from harness.results.views import VIEWS

HEAD = """# results.db

One SQLite file (or one PostgreSQL database) holds everything that every study left behind. This page is
written from `harness/results/`; do not edit it.

Two views are meant for reading with SQL and keep their columns:

```sql
SELECT trial, learning_rate, freeze, validation_loss, f1, verdict
FROM harness_summary WHERE study = 'quickstart' ORDER BY objective;

SELECT epoch, train_loss, validation_loss FROM harness_epoch WHERE study = 'quickstart' AND trial = 0;
```

Open it read-only while a study runs: `sqlite3 -readonly results.db`. Metrics are fractions, times are UTC
text, durations are seconds. A value that was not finite is missing; in `harness_metric` the column `kind`
says which. JSON columns are strict JSON text. Tables without the prefix `harness_` belong to Optuna:
a mirror for `optuna-dashboard sqlite:///results.db`.
"""


def page() -> str:
    """The whole page."""
    views = [_view(name, columns) for name, (_, columns) in VIEWS.items()]
    own = [table for table in tables.metadata.sorted_tables if table.name not in VIEWS]
    return "\n".join([HEAD, "## Views\n", *views, "## Tables\n", *(_table(table) for table in own)]).rstrip() + "\n"


def _view(name: str, columns: dict[str, str]) -> str:
    rows = "\n".join(f"| `{column}` | {comment} |" for column, comment in columns.items())
    return f"### {name}\n\n| column | meaning |\n|---|---|\n{rows}\n"


def _table(table: sa.Table) -> str:
    rows = "\n".join(_row(column) for column in table.columns)
    return f"### {table.name}\n\n{table.comment}\n\n| column | type | meaning |\n|---|---|---|\n{rows}\n"


def _row(column: sa.Column[object]) -> str:
    kind = type(column.type).__name__.lower()
    words = {"biginteger": "integer", "whole": "integer", "words": "text", "scrubbed": "text", "largebinary": "bytes"}
    marks = [words.get(kind, kind)]
    marks += ["key"] if column.primary_key else []
    marks += [f"→ {key.target_fullname}" for key in sorted(column.foreign_keys, key=lambda k: k.target_fullname)]
    marks += ["may be missing"] if column.nullable else []
    return f"| `{column.name}` | {', '.join(marks)} | {column.comment} |"


if __name__ == "__main__":
    import sys

    sys.stdout.write(page())

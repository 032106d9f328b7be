"""How attributions are written: each once; a second explanation of the same number leaves the first as it is.

Functions over a connection that `store.py` has opened.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from harness.explanations import BASELINE, STEPS, Attribution, Explained
from harness.results.columns import utc_now
from harness.results.tables import attribution, trial

SPLIT = "validation"


def add(connection: sa.Connection, trial_id: int, explained: Sequence[Explained]) -> int:
    """Store what is not there yet; returns how many rows that were."""
    epoch = connection.scalar(sa.select(trial.c.best_epoch).where(trial.c.id == trial_id))
    known = _known(connection, trial_id)
    rows = [
        {"trial_id": trial_id, "weights_epoch": epoch, **_row(example, each)}
        for example in explained
        for each in example.attributions
        if (example.position, each.method, each.target) not in known
    ]
    if rows:
        connection.execute(sa.insert(attribution), rows)
    return len(rows)


def _known(connection: sa.Connection, trial_id: int) -> set[tuple[int, str, str]]:
    """Position, method and target of what is stored of a trial."""
    table = attribution.c
    query = sa.select(table.position, table.method, table.target)
    rows = connection.execute(query.where(table.trial_id == trial_id, table.split == SPLIT))
    return {(int(row.position), str(row.method), str(row.target)) for row in rows}


def _row(example: Explained, each: Attribution) -> dict[str, Any]:
    compared = each.baseline_value is not None
    return {
        "split": SPLIT,
        "position": example.position,
        "method": each.method,
        "target": each.target,
        "source_row": example.source_row,
        "label": example.label,
        "answer": each.answer,
        "probability": each.probability,
        "tokens": [list(token) for token in each.tokens],
        "scores": list(each.scores),
        "value": each.value,
        "baseline_value": each.baseline_value,
        "delta": each.delta,
        "baseline": BASELINE if compared else "",
        "steps": STEPS if compared else None,
        "created_at": utc_now(),
    }

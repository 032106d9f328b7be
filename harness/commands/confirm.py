"""After the night: run the best configurations and the baseline again, with seeds that no choice was made by."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.commands.night import Caching, Placing, spend
from harness.commands.options import (
    DEFAULT_DB,
    Address,
    CacheBudget,
    Db,
    Exact,
    ExecutorName,
    NoCache,
    Set,
    Workers,
    bytes_of,
    exists,
    study_of,
)
from harness.errors import UsageError

Top = Annotated[int | None, typer.Option("--top", min=1, help="the best so many configurations; else as in the file")]
Seeds = Annotated[int | None, typer.Option("--seeds", min=2, help="new seeds for each of them; else as in the file")]


def confirm(
    study: Annotated[str, typer.Argument(metavar="STUDY", help="a study in the database, or its study file")],
    top: Top = None,
    seeds: Seeds = None,
    sets: Set = None,
    workers: Workers = None,
    executor: ExecutorName = "local",
    address: Address = None,
    no_cache: NoCache = False,
    cache_budget: CacheBudget = None,
    exact: Exact = False,
    db: Db = DEFAULT_DB,
) -> None:
    """Run the best configurations and the baseline of a study again with new seeds, whatever its budget says."""
    budget = bytes_of(cache_budget)
    file = study_of(study, [*(sets or []), *_overrides(top, seeds)], db)
    if file.spec.confirm is None:
        file = study_of(study, [*(sets or []), "confirm={}"], db)
    if not exists(db):
        raise UsageError(f"there is nothing to confirm in {db}; harness run {study} comes first")
    spend(file, db, Placing(executor, address, workers), Caching(not no_cache, budget, exact), searching=False)


def _overrides(top: int | None, seeds: int | None) -> list[str]:
    return [f"confirm.{name}={value}" for name, value in (("top", top), ("seeds", seeds)) if value is not None]

"""Any day after: run a recorded trial again from its record, and see whether the same comes out."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Annotated

import typer

from harness.commands.options import DEFAULT_DB, Db, Json, StudyArgument, exists, name_of, stop_on_signals, terminal
from harness.errors import UsageError

if TYPE_CHECKING:
    from harness.drift import Drift

TOLERANCE = 1e-3  # of a share 0.1 points
DRIFTED = 1  # exit code


def reproduce(
    study: StudyArgument,
    trial: Annotated[int, typer.Argument(metavar="TRIAL", help="number of the trial", min=0)],
    tolerance: Annotated[
        float,
        typer.Option(
            "--tolerance",
            min=0.0,
            help="up to which a metric counts as the same, relative to the larger of 1 and its size; 0: equal alone",
        ),
    ] = TOLERANCE,
    as_json: Json = False,
    db: Db = DEFAULT_DB,
) -> None:
    """Run a trial again from its record alone and say: bit-equal, within tolerance, or drifted (exit code 1) and why.

    The recorded numbers are only read; the verdict is added as an incident of the trial.
    """
    from harness.reproducing import reproduce as run_again
    from harness.results.store import Store
    from harness.results.targets import public

    if not exists(db):
        raise UsageError(f"there is no database {public(db)}; --db names another")
    stop = stop_on_signals()
    with Store.open(db, create=False) as store:
        drift = run_again(store, name_of(study), trial, tolerance, lambda line: typer.echo(line, err=True), stop)
    if as_json:
        typer.echo(json.dumps(drift.as_details(), indent=2))
    else:
        _print(drift)
    raise typer.Exit(DRIFTED if drift.verdict == "drifted" else 0)


def _print(drift: Drift) -> None:
    from harness.terminal import table_of

    columns = ("epoch", "farthest metric", "recorded", "now", "difference", "bits")
    rows = [
        (
            apart.epoch,
            apart.name or None,
            _number(apart.recorded),
            _number(apart.computed),
            f"{apart.distance:.2g}",
            "equal" if apart.same_bits else "differ",
        )
        for apart in drift.epochs
    ]
    console = terminal()
    console.print(table_of("", columns, rows))
    console.print(drift.words(), markup=False, highlight=False)


def _number(value: float) -> str | None:
    return None if math.isnan(value) else f"{value:.6g}"

"""What commands show: status and audit as tables, and text that cannot command the terminal.

Builds renderables; printing is the command line's work.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import select
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import IO, Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from harness.findings import Finding
from harness.jobs import AuditCounts
from harness.results.overview import Overview

MISSING = "–"


class Terminal(Console):
    """A console that leaves it to the command line what a closed pipe means."""

    def on_broken_pipe(self) -> None:
        """Rich would end the program with code 1, and without a word."""
        raise  # noqa: PLE0704 - it is called where the error is handled


def printable(text: str) -> str:
    """Text with control characters shown instead of obeyed: data may hold escape sequences."""
    return "".join(c if c.isprintable() or c in "\n\t" else repr(c)[1:-1] for c in text)


def silence(stream: IO[str]) -> None:
    """Whatever more is written goes nowhere, for nobody is there to read it; Python would end with an error of its own.

    Args:
        stream: standard output or error, whose terminal or pipe is gone.
    """
    with contextlib.suppress(io.UnsupportedOperation), open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), stream.fileno())


def is_unread(stream: IO[str]) -> bool:
    """Whether it goes into a pipe whose reader has closed it."""
    asked = select.poll()
    with contextlib.suppress(io.UnsupportedOperation):
        asked.register(stream.fileno(), select.POLLOUT)
    return any(event & select.POLLERR for _, event in asked.poll(0))


def duration(seconds: float | None) -> str:
    """Hours, minutes and seconds; a dash for the unknown."""
    return MISSING if seconds is None else str(timedelta(seconds=round(seconds)))


NUMBER = re.compile(r"[-+–]?\d[\d,.:]*( ?%| (s|ms|kB|MB|GB))?")  # a time of day and a version look so too


def table_of(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Table:
    """A plain table, numbers to the right; cells are text, never markup, and go on in the next line, never cut."""
    table = Table(title=title, title_justify="left", title_style="bold", box=None, header_style="dim", pad_edge=False)
    cells = [[cell_of(cell) for cell in row] for row in rows]
    for place, column in enumerate(columns):
        told = [row[place] for row in cells if row[place] != MISSING]
        right = bool(told) and all(NUMBER.fullmatch(cell) for cell in told)
        table.add_column(column, justify="right" if right else "left", overflow="fold")
    for row in cells:
        table.add_row(*map(Text, row))
    return table


def cell_of(value: Any) -> str:
    """What a table shows for a value."""
    return MISSING if value is None else printable(str(value))


def facts(pairs: Mapping[str, Any]) -> Table:
    """Name and value, one a line."""
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in pairs.items():
        table.add_row(Text(name, style="dim"), Text(printable(str(value))))
    return table


def remaining(overview: Overview, total: int | None) -> dict[str, Any]:
    """Trials of the finished study and seconds to it, from the mean of complete trials; None where unknown."""
    if total is None:
        return {"total": None, "remaining_seconds": None}
    left = total - sum(overview.states.get(state, 0) for state in ("complete", "pruned", "failed"))
    done = sum(row["epoch"] / row["epochs"] for row in overview.running)
    mean = overview.mean_trial_seconds
    workers = max(1, len(overview.running))
    seconds = None if mean is None else max(0.0, left - done) * mean / workers
    return {"total": total, "remaining_seconds": seconds}


def status(overview: Overview, rest: Mapping[str, Any]) -> RenderableType:
    """One study at a glance."""
    if overview.source == "published":
        pairs = {"published": _runs_of(overview), "best": _best(overview)}
        return Group(Text(overview.study, style="bold"), facts(pairs), Text())
    finished = sum(overview.states.get(state, 0) for state in ("complete", "pruned", "failed"))
    states = ", ".join(f"{count} {state}" for state, count in overview.states.items()) or "no trial yet"
    pairs = {
        "trials": f"{finished} of {rest['total'] or '?'} finished ({states})",
        "held by": overview.holder or "no one: harness run goes on"
        if rest["total"] != finished
        else "no one: all done",
        "best": _best(overview),
        "to finish": duration(rest["remaining_seconds"]),
        "spent": duration(overview.seconds),
    }
    if overview.spared:
        saved = overview.mean_trial_seconds
        time = "" if saved is None else f", about {duration(overview.spared * saved)} at the mean of complete trials"
        pairs["spared"] = f"{overview.spared} of the pruned were not trained: folds of worse configurations{time}"
    if overview.failures:
        pairs["failed"] = ", ".join(f"{count} {reason}" for reason, count in overview.failures.items())
    if overview.incidents:
        pairs["incidents"] = ", ".join(f"{count} {kind}" for kind, count in overview.incidents.items())
    for row in overview.running:
        pairs[f"trial {row['number']}"] = (
            f"running, {row['epoch']} of {row['epochs']} epochs, since {row['started_at']}"
        )
    return Group(Text(overview.study, style="bold"), facts(pairs), Text())


def _runs_of(overview: Overview) -> str:
    count = sum(overview.states.values())
    return f"{count} run{'' if count == 1 else 's'}, made elsewhere: {overview.origin}"


def _best(overview: Overview) -> str:
    best, objective = overview.best, overview.objective
    if best is None:
        return "–"
    if overview.source == "published":  # of a figure that stands without an epoch none is known
        return f"{objective['metric']} {best['objective']:.4f} of trial {best['number']}: {best['verdict']}"
    where = f"at epoch {best['best_epoch']} of trial {best['number']}: {best['verdict']}"
    if best["words"]:
        where = f"of configuration {best['configuration']}, {best['words']}; its best trial is {best['number']}"
    return f"{objective['metric']} {best['objective']:.4f} {where}"


STYLES = {"good": "green", "note": "yellow", "wrong": "bold red"}


def examination(findings: Iterable[Finding]) -> RenderableType:
    """What the doctor found: one row a finding, and below it what mends it."""
    table = Table(box=None, show_header=False, pad_edge=False)
    for finding in findings:
        words = with_commands(finding.words)
        if finding.mend:
            words.append(with_commands(f"\n→ {finding.mend}", style="dim"))
        table.add_row(Text(finding.check, style="dim"), Text(finding.state, style=STYLES[finding.state]), words)
    return table


def with_commands(words: str, style: str = "") -> Text:
    """Words whose commands stand in backticks; here they are bold instead."""
    parts = re.split("`([^`]+)`", printable(words))
    return Text.assemble(*((part, "bold" if place % 2 else "") for place, part in enumerate(parts)), style=style)


def audit_tables(counts: AuditCounts) -> list[RenderableType]:
    """The audit for a terminal: splits, token lengths, truncation by max_length, and the recommendation."""
    splits = table_of(
        "Splits",
        ("split", "rows", "labels", "dropped", "duplicates", "conflicting labels"),
        (
            (
                name,
                split.rows,
                _counts(split.labels),
                _counts(split.dropped),
                counts.duplicates.get(name),
                counts.conflicts.get(name),
            )
            for name, split in counts.splits.items()
        ),
    )
    lengths = table_of(
        "Tokens an example, special tokens included",
        ("model", "split", "median", "90%", "95%", "99%", "longest"),
        (
            (each.model, each.split, *(each.quantiles.get(share) for share in ("0.5", "0.9", "0.95", "0.99", "1")))
            for each in counts.lengths
        ),
    )
    truncation = table_of(
        "What each max_length cuts off",
        ("model", "split", "max_length", "examples", "tokens"),
        (
            (each.model, each.split, cut.max_length, f"{cut.examples:.1%}", f"{cut.tokens:.1%}")
            for each in counts.lengths
            for cut in each.truncation
        ),
    )
    windows = table_of(
        "Windows, and the answers that none of them holds",
        ("model", "split", "max_length", "stride", "examples", "windows", "answers lost", "questions cut"),
        (tuple(each) for each in counts.windows),
    )
    advice = [Text(f"max_length {length} for {model}: {counts.rule}") for model, length in counts.recommended.items()]
    warnings = [Text(f"warning: {printable(warning)}") for warning in counts.warnings]
    if counts.texts is not None:
        trained, held_out = counts.texts
        told = f"{trained:,} different training texts, and {held_out:,} held-out ones for its perplexity"
        advice.append(Text(f"adapt reads {told}"))
    of_windows = [windows] if counts.windows else []
    return [splits, lengths, truncation, *of_windows, Group(*warnings, *advice)]


def _counts(values: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in values.items()) or "none"

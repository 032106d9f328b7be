"""A plan on a terminal: what groups of trials cost, and the night in words.

Builds renderables; printing is the command line's work.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from rich.cells import cell_len
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from harness.plan_sums import Group, StudyPlan
from harness.terminal import cell_of, duration, facts, table_of

MOST_ROWS = 20
ALWAYS_SHOWN = ("freeze", "batch_size", "max_length", "epochs")
TIMES = ("trials", "time each", "together")
STEPS = ("steps each", "ms a step", "peak MB", "estimate")
ROW = "row"
GAP = 2  # between two columns


def plan_tables(plan: StudyPlan, width: int) -> list[RenderableType]:
    """The dearest groups in tables of this width, the night in a few lines, and what will not go well."""
    groups = sorted(plan.groups, key=lambda group: -group.seconds * group.trials)
    columns = shown_columns(groups)
    title = "Trials, dearest first" + (f" ({MOST_ROWS} of {len(groups)} groups)" if len(groups) > MOST_ROWS else "")
    rows = [(*_values(group, columns), *_costs(group)) for group in groups[:MOST_ROWS]]
    tables: list[RenderableType] = [*tables_within(width, title, (columns, TIMES, STEPS), rows)]
    hidden = groups[MOST_ROWS:]
    if hidden:
        trials, seconds = sum(g.trials for g in hidden), sum(g.seconds * g.trials for g in hidden)
        tables.append(Text(f"others: {trials} trials of {len(hidden)} groups, {span(seconds)} together"))
    return [*tables, Text(), facts(words(plan)), *(Text(f"warning: {warning}") for warning in warnings(plan))]


def tables_within(
    width: int, title: str, sections: Sequence[Sequence[str]], rows: Sequence[Sequence[Any]]
) -> list[Table]:
    """One table; or, where that is wider, some below each other whose rows bear the same numbers.

    Args:
        width: characters of a line.
        sections: names of columns that should stand together.
        rows: values of all columns, one section's behind the other's.
    """
    columns = [name for section in sections for name in section]
    wide = [GAP + max(cell_len(cell_of(row[place])) for row in (columns, *rows)) for place in range(len(columns))]
    if sum(wide) - GAP <= width:
        return [table_of(title, columns, rows)]
    parts = packed([len(section) for section in sections], wide, width - len(ROW))
    return [
        table_of(
            title if part is parts[0] else f"\n{title}, continued",
            (ROW, *(columns[place] for place in part)),
            [(number, *(row[place] for place in part)) for number, row in enumerate(rows, start=1)],
        )
        for part in parts
    ]


def packed(counts: Sequence[int], wide: Sequence[int], room: int) -> list[list[int]]:
    """Places of the columns of each table: sections stay whole as far as one fits into the room."""
    places = iter(range(len(wide)))
    parts: list[list[int]] = []
    for count in counts:
        section = list(islice(places, count))
        fits = sum(wide[place] for place in section) <= room
        for piece in [section] if fits else [[place] for place in section]:
            if parts and sum(wide[place] for place in (*parts[-1], *piece)) <= room:
                parts[-1] += piece
            else:
                parts.append(piece)
    return parts


def shown_columns(groups: Sequence[Group]) -> list[str]:
    """What every plan shows, and what differs between groups; what for, where some confirm."""
    names = list(groups[0].values)
    parts = ["part"] if any(group.part != "search" for group in groups) else []
    return parts + [name for name in names if name in ALWAYS_SHOWN or len({group.values[name] for group in groups}) > 1]


def _values(group: Group, columns: Sequence[str]) -> list[Any]:
    return [group.part if name == "part" else group.values[name] for name in columns]


def _costs(group: Group) -> tuple[Any, ...]:
    return (
        group.trials,
        span(group.seconds),
        span(group.seconds * group.trials),
        f"{group.steps:,}",
        f"{1000 * group.step_seconds:,.1f}",
        None if group.peak_memory_bytes is None else f"{group.peak_memory_bytes / 1e6:,.0f}",
        group.how,
    )


def words(plan: StudyPlan) -> Mapping[str, str]:
    """The night in words, a line each."""
    most = "at most " if plan.at_most else ""
    trials = "as many as time allows" if plan.trials is None else f"{plan.trials}"
    said = f" ({plan.finished} are finished)" if plan.finished else ""
    whole = plan.trials is not None and plan.trials - plan.confirming == plan.drawn
    drawn = "" if whole else f"; {plan.drawn} of the search were looked at, its others taken to cost as much"
    kind = "" if plan.exact else "; beyond its first ones a sampler will choose others than these"
    first = f" for the first {plan.drawn} trials"
    part = first if plan.trials is None else ""
    saved = plan.unshared_seconds - plan.seconds
    found = {
        "trials": f"{trials}{said}{drawn}{kind}",
        "steps": f"{most}{plan.steps:,}" + ("" if whole else first),
        "time": f"{most}{span(plan.seconds)}{part}" + (f", less by {plan.at_most}" if plan.at_most else ""),
        "adaptation": f"{span(plan.adapting_seconds)} of it, before the first trial; none where it was done before",
        "search": f"{span(plan.seconds - plan.confirming_seconds)} of it",
        "confirm": f"{plan.confirming} of the trials, {span(plan.confirming_seconds)} of the time; "
        "what the search finds is taken to cost what its trials cost in the mean",
        "caches": f"save {span(saved)} of {span(plan.unshared_seconds)}" if saved > 0 else "save nothing",
        "workers": f"{plan.workers} on {plan.device}"
        + ("; they are taken not to slow each other" if plan.workers > 1 else ""),
        "memory": f"{size(plan.memory_bytes)} free",
        "disk": ", ".join(f"{what} {size(amount)}" for what, amount in plan.disk.items())
        + f"; {size(plan.disk_free_bytes)} free",
        "estimate": f"{plan.probed} of {plan.shapes} shapes of steps probed"
        + ("" if plan.probed == plan.shapes else ", the others derived from them"),
    }
    if not plan.confirming:
        del found["search"], found["confirm"]
    if not plan.adapting_seconds:
        del found["adaptation"]
    if plan.seconds_left is not None:
        found["deadline"] = f"in {duration(plan.seconds_left)}: {plan.in_time} trials end before it"
    return found


def warnings(plan: StudyPlan) -> list[str]:
    """What will not go well."""
    return [*(_unfit(group) for group in plan.groups if group.fits is False), *plan.warnings]


def _unfit(group: Group) -> str:
    named = ", ".join(f"{name} {group.values[name]}" for name in ("model", *ALWAYS_SHOWN[:3]))
    if group.restarts_with is None:
        return f"{named} will not fit in memory, not even with one row at a time: its {group.trials} trials would fail"
    if group.restarts_with == group.values["batch_size"]:
        return f"{named} may not fit in memory: it took {size(group.peak_memory_bytes or 0)}, more than is free"
    return f"{named} will not fit in memory: it would begin again with batch_size {group.restarts_with}"


def span(seconds: float) -> str:
    """Seconds, where minutes would say little."""
    return f"{seconds:.1f} s" if seconds < 60 else duration(seconds)


def size(count: int) -> str:
    """Bytes for people."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count / 1e3:.1f} kB"

"""From the results to docs/benchmarks.md and the short table in README.md.

python -m benchmarks.table
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from tabulate import tabulate

from benchmarks.cases import AIMED_AT, AIMS
from benchmarks.extrapolation import TOLERANCE, error, whole_seconds
from benchmarks.quality import ALLOWANCE

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "benchmarks.md"
README = ROOT / "README.md"
BEGIN, END = "<!-- benchmarks -->", "<!-- /benchmarks -->"
HEADING, BEFORE = "## How fast", "## What it does not do"
NOTHING = "–"
ROWS = {
    ("ours", "cold"): "harness run",
    ("ours", "warm"): "harness run, cache filled",
    ("ours-dropout", "cold"): "harness run, frozen_mode: dropout",
    ("ours-dropout", "warm"): "harness run, frozen_mode: dropout, again",
    ("ours-exact", "cold"): "harness run --exact",
    ("ours-exact", "warm"): "harness run --exact, cache filled",
    ("ours-no-cache", "cold"): "harness run --no-cache",
    ("ours-no-cache", "warm"): "harness run --no-cache, again",
    ("B2", "cold"): "Trainer, tuned (B2)",
    ("B1", "cold"): "Trainer, dynamic padding (B1)",
    ("B0", "cold"): "Trainer as in tutorials (B0)",
}
SIDES = """\
- **harness run**: the whole command, from the start of the process to its end, on a fresh database; cold with an empty
  cache, and in rows that say so again with the cache that the cold run left. No weights are kept (`keep: 0`).
- **B0**: padded to max_length, Trainer defaults, evaluates and saves every epoch, as tutorials do.
- **B1**: `DataCollatorWithPadding`, else defaults: evaluation in batches of 8, fp32 on a CPU, bf16 on a GPU; saves
  nothing.
- **B2**: batches of like lengths, bf16 where the processor has it, evaluation in batches of 128,
  `logging_nan_inf_filter=False`, no log; saves nothing.
- The three run in one process, with `study.enqueue_trial` replaying the same configurations over the same rows.
  Batch size, epochs, learning rate, schedule, weight decay, clipping and points of evaluation are the same on all
  sides.
"""
SWITCHES = {
    "ours-dropout": "has `frozen_mode: dropout`, so that dropout is on in frozen layers, as in the Trainer",
    "ours-no-cache": "shares nothing between trials",
    "ours-exact": "takes the Trainer's batches and dropout and none of the exact savings",
}
DIFFERENCES = """\
| | harness run | B0, B1 | B2 |
|---|---|---|---|
| dropout in what is frozen | off | on | on |
| dropout elsewhere, in attention too | on; on a CPU coins of 16 bits | on | on |
| last layer below a pooler | first token | all tokens | all tokens |
| embedding rows that never occur | weight decay once, at the end | with every step | with every step |
| batches | of like lengths, shuffled | random | of like lengths |
| number format on a CPU | bf16 where the processor has it | fp32 | bf16 where the processor has it |
| evaluation | all rows by length, with more metrics and a probe of training rows | in order | by length |
"""


# --- numbers -----------------------------------------------------------------------------------------


def samples(record: Mapping[str, Any], case: Mapping[str, Any], side: str, cache: str) -> tuple[list[float], bool]:
    """Seconds of every repeat, and whether they are extrapolated; whole runs go before slices."""
    whole = [
        each["seconds"]
        for each in record["timings"]
        if (each["case"], each["side"], each["cache"]) == (case["name"], side, cache)
    ]
    if whole:
        return whole, False
    train, validation = record["rows"]["train"], record["rows"]["validation"]
    slices = [each for each in record["slices"] if each["side"] == side]
    return [whole_seconds(each, case["parts"], train, validation) for each in slices], True


def seconds(value: float) -> str:
    """Three digits, or whole seconds from 100 on."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def cell(values: Sequence[float], extrapolated: bool) -> str:
    """Median and range; `~` before what is extrapolated."""
    if not values:
        return NOTHING
    shown = f"{'~' if extrapolated else ''}{seconds(median(values))}"
    if len(values) == 1:
        return shown
    return f"{shown} ({seconds(min(values))} to {seconds(max(values))})"


def factor(ours: tuple[list[float], bool], theirs: tuple[list[float], bool]) -> str:
    """How many times as long they take; `~` where a side is extrapolated."""
    if not ours[0] or not theirs[0]:
        return NOTHING
    return f"{'~' if ours[1] or theirs[1] else ''}{median(theirs[0]) / median(ours[0]):.1f}"


def present(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(side, cache) of every row that has a number."""
    return [row for row in ROWS if any(samples(record, case, *row)[0] for case in record["cases"])]


def peak(record: Mapping[str, Any]) -> float:
    """Operations a second of the machine's fastest matrix products."""
    return float(max(record["machine"]["peak_flops"].values()))


# --- tables ------------------------------------------------------------------------------------------


def columns(records: Sequence[Mapping[str, Any]]) -> dict[str, tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Name of a case -> the first record that holds it, and the case."""
    found: dict[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = {}
    for record in records:
        for case in record["cases"]:
            found.setdefault(case["name"], (record, case))
    return found


def times(*records: Mapping[str, Any]) -> str:
    """Seconds of every side and case; of a case that several records hold, what the first of them holds."""
    found = columns(records)
    rows = [row for row in ROWS if any(samples(*column, *row)[0] for column in found.values())]
    body = [[ROWS[row], *(cell(*samples(*column, *row)) for column in found.values())] for row in rows]
    return markdown(["seconds", *found], body)


def aim(record: Mapping[str, Any], case: str, side: str) -> str:
    """What the factor of a case was to be, where this is the work that it was set for."""
    same = (record["model"], record["data"], record["rows"]["train"]) == AIMED_AT
    return f" (aim {AIMS[case][side]:,})" if same and side in AIMS.get(case, {}) else ""


def factors(record: Mapping[str, Any]) -> str:
    """Times as long as `harness run`, cold and warm, and what it was to be, cold."""
    body = []
    for side in (side for side in ("B2", "B1", "B0") if (side, "cold") in present(record)):
        for cache in ("cold", "warm"):
            values = [
                factor(samples(record, case, "ours", cache), samples(record, case, side, "cold"))
                for case in record["cases"]
            ]
            if set(values) != {NOTHING}:
                told = [
                    value + aim(record, case["name"], side) if cache == "cold" and value != NOTHING else value
                    for value, case in zip(values, record["cases"], strict=True)
                ]
                body.append([f"{side} / ours {cache}", *told])
    return markdown(["times as long", *(case["name"] for case in record["cases"])], body)


def utilisation(record: Mapping[str, Any]) -> str:
    """Operations asked for on real tokens, over time and peak."""
    body = []
    for row in present(record):
        cells = []
        for case in record["cases"]:
            values, extrapolated = samples(record, case, *row)
            share = case["flops"] / median(values) / peak(record) if values else None
            cells.append(NOTHING if share is None else f"{'~' if extrapolated else ''}{share:.0%}")
        body.append([ROWS[row], *cells])
    return markdown(["share of the peak", *(case["name"] for case in record["cases"])], body)


def validation(record: Mapping[str, Any]) -> str:
    """Extrapolations beside whole runs."""
    body = [
        [
            each["side"],
            each["shape"][0],
            f"~{seconds(each['expected'])}",
            seconds(each["whole"]),
            f"{error(each):+.1%}",
        ]
        for each in record["validation"]
    ]
    return markdown(["side", "trains", "extrapolated", "whole", "off by"], body)


def doubts(*records: Mapping[str, Any]) -> str:
    """A paragraph on the sides whose extrapolation missed a whole run by more than is allowed; empty without one."""
    missed: dict[str, list[float]] = {}
    for each in (each for record in records for each in record["validation"]):
        if abs(error(each)) > TOLERANCE:
            missed.setdefault(each["side"], []).append(error(each))
    if not missed:
        return ""
    found = ", ".join(f"{side} by {max(errors, key=abs):+.1%}" for side, errors in sorted(missed.items()))
    return (
        f"Checked against whole runs, extrapolations were off by more than {TOLERANCE:.0%}: {found} at most. Figures "
        "with `~` of these sides are no more exact than that.\n\n"
    )


def quality(record: Mapping[str, Any]) -> str:
    """Equivalence of accuracy and loss."""
    body = []
    for each in record["quality"]:
        for metric, test in each["tests"].items():
            interval = NOTHING if test["low"] is None else f"{test['low']:+.4f} to {test['high']:+.4f}"
            more = f"; {test['seeds']} seeds would be needed" if test["seeds"] else ""
            means = [sum(trial[metric] for trial in each[side]) / len(each[side]) for side in ("ours", "theirs")]
            body.append(
                [
                    f"{each['case']}, {each['side']} and {each['baseline']}",
                    metric.replace("_", " "),
                    len(each["seeds"]),
                    f"{means[0]:.4f}",
                    f"{means[1]:.4f}",
                    interval,
                    f"±{test['margin']:.4f}",
                    test["verdict"] + more,
                ]
            )
    return markdown(["case", "metric", "seeds", "ours", "Trainer", "difference, 90%", "margin", "verdict"], body)


def order(record: Mapping[str, Any]) -> str:
    """How alike configurations are ranked, in words and numbers."""
    first = record["ranks"][0]
    told = (
        f"{first['configurations']} configurations on {first['rows']:,} training rows, last epoch: Spearman's "
        f"correlation between ours and {first['baseline']} with one seed, and between {first['baseline']} with that "
        f"seed and with another. Ours may lie {ALLOWANCE} below."
    )
    words = {True: "as alike", False: "less alike", None: "cannot tell"}
    body = [
        [
            each["metric"].replace("_", " "),
            _correlation(each["ours"]),
            _correlation(each["theirs"]),
            words[each["holds"]],
        ]
        for each in record["ranks"]
    ]
    return told + "\n\n" + markdown(["metric", "ours and Trainer", "Trainer and itself", "verdict"], body)


def choice(record: Mapping[str, Any]) -> str:
    """What the chosen configurations reach on test rows."""
    (found,) = record["chosen"]
    ours, theirs = (
        f"freeze {each['freeze']}, learning rate {each['learning_rate']:g}" for each in found["configurations"]
    )
    picked = f"both choose {ours}" if ours == theirs else f"ours chooses {ours}; {found['baseline']} {theirs}"
    told = (
        f"Of those configurations {picked}, by validation loss. Each side trains its own with {len(found['seeds'])} "
        f"seeds and evaluates {found['test']:,} test rows; the means should lie no further apart than one standard "
        "deviation of the Trainer's over seeds."
    )
    words = {True: "within it", False: "further apart", None: "cannot tell"}
    body = []
    for metric in ("accuracy", "validation_loss"):
        each = found[metric]
        body.append(
            [
                metric.replace("validation_", "").replace("_", " "),
                f"{each['means'][0]:.4f}",
                f"{each['means'][1]:.4f}",
                f"{each['difference']:+.4f}",
                NOTHING if each["spread"] is None else f"{each['spread']:.4f}",
                words[each["holds"]],
            ]
        )
    headers = ["on test rows", "ours", "Trainer", "difference", "standard deviation", "verdict"]
    return told + "\n\n" + markdown(headers, body)


def _correlation(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.2f}"


def markdown(headers: Sequence[str], body: Sequence[Sequence[Any]]) -> str:
    """A table whose text stays as it is."""
    return str(tabulate(body, headers, tablefmt="pipe", disable_numparse=True))


# --- pages -------------------------------------------------------------------------------------------


def machine(record: Mapping[str, Any]) -> str:
    """The machine in one paragraph."""
    found = record["machine"]
    packages = ", ".join(f"{name} {found['packages'][name]}" for name in ("torch", "transformers", "optuna"))
    peaks = ", ".join(f"{dtype} {value / 1e9:,.0f}" for dtype, value in found["peak_flops"].items())
    busy = [each["load"]["busy"] for each in (*record["timings"], *record["slices"])]
    name = found["cpu"] if found["device"]["kind"] == "cpu" else f"{found['device']['name']}, {found['cpu']}"
    workers, threads = record["arguments"]["workers"], found["device"]["threads"]
    theirs = f"{threads} threads in the Trainer's process" if busy else f"{workers} Trainers beside each other"
    before = (
        f" Before a measurement {median(busy):.0%} of the CPUs were busy (median; at most {max(busy):.0%})."
        if busy
        else ""
    )
    return (
        f"{name}, {found['cores']['usable']} cores, {found['memory_bytes'] / 2**30:.0f} GiB; Python {found['python']}, "
        f"{packages}; {theirs}, `--workers {workers}` on our side. Matrix products reach, in GFLOP/s: {peaks}."
        f"{before}"
    )


def cases(*records: Mapping[str, Any]) -> str:
    """What each case is."""
    return "\n".join(f"- **{name}**: {case['title']}" for name, (_, case) in columns(records).items())


def page(record: Mapping[str, Any], others: Sequence[Mapping[str, Any]] = ()) -> str:
    """docs/benchmarks.md: one result in full, and what others have measured beside it."""
    rows, tokens = record["rows"], record["tokens"]
    parts = [
        "# Benchmarks\n",
        "*Made from the files in benchmarks/results by `python -m benchmarks.table`; do not edit.*\n",
        f"{record['model']} on {record['data']}: {rows['train']:,} training and {rows['validation']:,} validation "
        f"rows, {tokens['mean']:.0f} tokens on average, {tokens['longest']} at most. Measured on "
        f"{record['began'][:10]}, {_often(record)}.\n",
        machine(record) + "\n",
        f"## Cases\n\n{cases(record)}\n",
        f"## Sides\n\n{SIDES}",
        "## Wall clock\n\nMedian and range. `~` is extrapolated from slices.\n\n"
        f"{times(record)}\n\n{factors(record)}\n\n{doubts(record, *others)}"
        "## Utilisation\n\nOperations that the trials ask for on real tokens, by time and by the fastest matrix "
        "product measured. Padding counts as waste; work that is shared counts as done, so a share can pass 100%.\n\n"
        f"{utilisation(record)}\n",
    ]
    parts += checks(record, "##")
    parts += [f"## Further cases: {other['name']}, {other['began'][:10]}\n\n{beside(other)}\n" for other in others]
    parts.append(f"## What differs on purpose\n\n{DIFFERENCES}")
    return "\n".join(parts)


def _often(record: Mapping[str, Any]) -> str:
    """As far as it came: a comparison may be stopped early."""
    times_of = Counter((each["case"], each["side"], each["cache"]) for each in record["timings"])
    repeats = max(times_of.values(), default=0)
    return {0: "not timed", 1: "once"}.get(repeats, f"{repeats} repeats")


def checks(record: Mapping[str, Any], heading: str) -> list[str]:
    """Sections on whether the figures mean what they say: the extrapolation, and equal quality, where they were run."""
    parts = []
    if record["validation"]:
        told = f"One whole trial of each kind on {record['validation'][0]['rows']:,} rows; {TOLERANCE:.0%} is allowed."
        parts.append(f"{heading} Check of the extrapolation\n\n{told}\n\n{validation(record)}\n")
    if record["quality"]:
        told = (
            f"Last epoch, {record['quality'][0]['rows']:,} training rows, the same seeds on both sides. Two one-sided "
            "tests at 5%; the margin was fixed beforehand: 0.5 points of accuracy and 0.01 nats of loss, or half of "
            f"the Trainer's own standard deviation over seeds, whichever is larger.{_switches(record)}"
        )
        parts.append(f"{heading} Quality\n\n{told}\n\n{quality(record)}\n")
    if record.get("ranks"):
        parts.append(f"{heading} Order of configurations\n\n{order(record)}\n")
    if record.get("chosen"):
        parts.append(f"{heading} The chosen configuration\n\n{choice(record)}\n")
    return parts


def _switches(record: Mapping[str, Any]) -> str:
    """What the sides of a comparison of quality are, where there is another one than ours as it comes."""
    found = {each["side"] for each in record["quality"]} & set(SWITCHES)
    return "".join(f" `{side}` {SWITCHES[side]}." for side in SWITCHES if side in found)


def beside(record: Mapping[str, Any]) -> str:
    """The cases of another run, with its day, rows and machine."""
    told = (
        f"{record['model']} on {record['data']}, {record['rows']['train']:,} training rows, {record['began'][:10]}, "
        f"{_often(record)}. {machine(record)}"
    )
    parts = [cases(record), times(record), factors(record), doubts(record)] if record["timings"] else []
    shown = "\n\n".join([told, *parts]).rstrip()
    return "\n\n".join([shown, *(part.rstrip() for part in checks(record, "###"))])


def short(record: Mapping[str, Any], others: Sequence[Mapping[str, Any]] = ()) -> str:
    """The table of README.md; what is doubtful about a side stands below it, whichever run has found it.

    Cases that the record lacks come from the newest of the others that timed them, on as much work and such a machine.
    """
    newest = sorted(others, key=lambda other: other["began"], reverse=True)
    timed = [record, *(other for other in newest if other["timings"] and _alike(other, record))]
    days = sorted(each["began"][:10] for each, _ in columns(timed).values())
    when = days[0] if days[0] == days[-1] else f"{days[0]} to {days[-1]}"
    return (
        f"Wall clock of whole commands in seconds, {record['model']}, {record['rows']['train']:,} rows, "
        f"{record['machine']['cores']['usable']} cores of {record['machine']['cpu']}, {when}; `~` is "
        f"extrapolated. All sides, factors, checks and caveats: [benchmarks](docs/benchmarks.md).\n\n"
        f"{times(*timed)}\n\n{doubts(record, *others)}{cases(*timed)}\n{equal((record, *others))}"
    )


def _alike(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two records can stand in one table."""
    told = ("model", "data", "rows")
    machines = [(each["machine"]["cpu"], each["machine"]["cores"]["usable"]) for each in (one, other)]
    return all(one[name] == other[name] for name in told) and machines[0] == machines[1]


def equal(records: Sequence[Mapping[str, Any]]) -> str:
    """A paragraph on how equal quality is, of our side as it comes; empty where nobody has compared."""
    compared = [each for record in records for each in record["quality"]]
    dropped = {each["case"]: each["tests"] for each in compared if each["side"] == "ours-dropout"}
    told = []
    for each in (each for each in compared if each["side"] == "ours"):
        words = []
        for metric, test in each["tests"].items():
            with_dropout = dropped.get(each["case"], {}).get(metric, {}).get("verdict")
            more = f" ({with_dropout} with `frozen_mode: dropout`)" if test["verdict"] != "equivalent" else ""
            words.append(f"{metric.replace('_', ' ')} {test['verdict']}{more if with_dropout else ''}")
        told.append(f"`{each['case']}` ({len(each['seeds'])} seeds a side) {', '.join(words)}")
    return f"\nQuality against the Trainer's, two one-sided tests: {'; '.join(told)}.\n" if told else ""


def with_table(readme: str, table: str) -> str:
    """README.md with the table between its markers, which are added where they are missing."""
    if BEGIN not in readme:
        section = f"{HEADING}\n\n{BEGIN}\n{END}\n\n"
        place = readme.find(BEFORE)
        readme = readme + "\n" + section if place < 0 else readme[:place] + section + readme[place:]
    before, _, rest = readme.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table}{END}{after}"


def results(folder: Path = RESULTS) -> list[Path]:
    """The results that the pages show: of each name the one that began last; the one with most cases comes first."""
    records = {path: json.loads(path.read_text("utf-8")) for path in sorted(folder.glob("*.json"))}
    last: dict[str, Path] = {}
    for path in sorted(records, key=lambda path: records[path]["began"]):
        last[path.stem[len("2000-01-01-") :]] = path
    return sorted(last.values(), key=lambda path: (-len(records[path]["cases"]), path.name))


def main() -> int:
    """Entry of `python -m benchmarks.table`."""
    paths = results()
    if not paths:
        print(f"there is no result in {RESULTS.relative_to(ROOT)}; make one with: make bench")
        return 1
    record, *others = (json.loads(path.read_text("utf-8")) for path in paths)
    PAGE.write_text(page(record, others), "utf-8")
    README.write_text(with_table(README.read_text("utf-8"), short(record, others)), "utf-8")
    print(f"{', '.join(path.name for path in paths)}: {PAGE.relative_to(ROOT)}, {README.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

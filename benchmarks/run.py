"""Run the comparison and write everything that was measured to one JSON file.

    python -m benchmarks.run --cases full,classifier --repeats 3 --sides ours,B1

`benchmarks/README.md` says how to read it.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import math
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import benchmarks.machine as machine
import benchmarks.quality as quality
import benchmarks.rows as rows
from benchmarks.cases import CASES, DRAWS, QUALITY, SEED, Case, Configuration, Shape, ranked, shape_of
from benchmarks.commands import (
    BASELINES,
    OURS,
    ROOT,
    SIDES,
    Options,
    Rows,
    cache_of,
    replay,
    run_baseline,
    run_ours,
    run_slices,
)
from benchmarks.extrapolation import TOLERANCE, error, whole_seconds
from benchmarks.table import page
from harness.environment import git_state
from harness.tasks.base import Examples

CACHES = ("cold", "warm")
RESULTS = ROOT / "benchmarks" / "results"


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--name", default="benchmark", help="the result is DATE-NAME.json")
    add("--out", type=Path, default=RESULTS, help="folder of the result")
    add(
        "--cases",
        type=counted,
        default=counted("full,classifier,mixed"),
        help=f"{', '.join(CASES)}; mixed:1 repeats once",
    )
    add("--sides", type=known(SIDES), default=["ours", *BASELINES], help=", ".join(SIDES))
    add("--repeats", type=int, default=3, help="0 times nothing, for a comparison of quality alone")
    add("--caches", type=known(CACHES), default=list(CACHES), help="of our side: cold, or cold,warm")
    add("--data", default="builtin:reviews", help="folder, file or builtin:reviews")
    add("--text", default="text", help="column of the texts")
    add("--label", default="label", help="column of the labels")
    add("--train", default="2000", help="training rows: ROWS or SPLIT:ROWS")
    add("--validation", default="400", help="validation rows: ROWS or SPLIT:ROWS")
    add("--model", default="builtin:tiny", help="folder, Hub id or builtin:tiny")
    add("--workers", type=int, default=1, help="of harness run; for quality also processes of the Trainer")
    add("--steps", type=int, default=40, help="timed training steps of a slice")
    add("--warm-steps", type=int, default=5, help="steps before them, at least 1")
    add("--evaluation-batches", type=int, default=40, help="evaluation batches of a slice")
    add("--whole-below", type=float, default=60.0, help="run baselines whole that should take fewer seconds")
    add("--validate", action="store_true", help="also check the extrapolation against whole runs")
    add("--validate-rows", type=int, default=1000, help="training rows of that check")
    add("--quality-seeds", type=int, default=0, help="seeds a side for the comparison of quality; 0 leaves it out")
    add("--quality-rows", type=int, default=2000, help="training rows of that comparison")
    add("--quality-cases", type=known(QUALITY), default=list(QUALITY), help=", ".join(QUALITY))
    add("--quality-side", choices=BASELINES, default="B1", help="the baseline of that comparison")
    add("--ranks", type=int, default=0, help="configurations of each kind whose order is compared; 0 leaves it out")
    add("--test", help="test rows, for what the best of the ranked configurations reach: ROWS or SPLIT:ROWS")
    add("--work", type=Path, help="new folder that keeps the rows, and what a failed run left")
    found = parser.parse_args(words)
    if found.warm_steps < 1 or found.repeats < 0:
        parser.error("--warm-steps must be at least 1 and --repeats no less than 0")
    if not 0 <= found.ranks <= len(DRAWS):
        parser.error(f"--ranks {found.ranks}: a number from 0 to {len(DRAWS)}, as many learning rates are drawn")
    if found.test and not (found.ranks and found.quality_seeds):
        parser.error("--test needs --ranks, to choose configurations, and --quality-seeds, to train them with")
    if found.work and found.work.exists():
        parser.error(f"--work {found.work} exists; name a new folder")
    return found


def known(names: Any) -> Any:
    """A parser of names that are separated by commas."""

    def parse(text: str) -> list[str]:
        for name in (found := text.split(",")):
            if name not in names:
                raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(names)}")
        return found

    return parse


def counted(text: str) -> dict[str, int | None]:
    """Cases and how often each is repeated; None is as often as --repeats says."""
    found = dict(part.partition(":")[::2] for part in text.split(","))
    known(CASES)(",".join(found))
    if not all(count == "" or (count.isdecimal() and int(count)) for count in found.values()):
        raise argparse.ArgumentTypeError(f"{text!r}: repeats of a case are a number from 1 on, as in mixed:1")
    return {name: int(count) if count else None for name, count in found.items()}


class Benchmark:
    """One comparison: what is asked, where it works, and the record that grows with every measurement."""

    def __init__(self, asked: argparse.Namespace, work: Path) -> None:
        self.asked = asked
        self.work = work
        self.runs = 0
        amounts = {"train": asked.train, "validation": asked.validation, "test": asked.test}
        splits = rows.read(asked.data, asked.text, asked.label, **amounts)
        self.train, self.validation, self.test = splits.train, splits.validation, splits.test
        self.rows = self.export("rows", self.train, self.validation)
        self.options = Options(asked.model, asked.workers, asked.steps, asked.warm_steps, asked.evaluation_batches)
        self.cases = [CASES[name] for name in asked.cases]
        self.baselines = [side for side in asked.sides if side in BASELINES]
        self.began = datetime.datetime.now(datetime.UTC)
        self.record = self.opening()
        self.path = asked.out / f"{self.began:%Y-%m-%d}-{asked.name}.json"

    def opening(self) -> dict[str, Any]:
        """What is known before anything is timed."""
        lengths = rows.lengths(self.train.texts, self.asked.model, Configuration("none", 1, 1e-5).max_length)
        kept = {key: value for key, value in vars(self.asked).items() if key not in ("work", "out", "data", "model")}
        return {
            "name": self.asked.name,
            "began": self.began.isoformat(timespec="seconds"),
            "code": git_state(ROOT),
            "machine": machine.facts(),
            "arguments": kept,
            "data": Path(self.asked.data).name,  # a folder's own place is nobody's business
            "model": Path(self.asked.model).name,
            "rows": {"train": self.rows.train, "validation": self.rows.validation},
            "tokens": {"mean": float(lengths.mean()), "longest": int(lengths.max())},
            "cases": [self.described(case) for case in self.cases],
            "slices": [],
            "timings": [],
            "validation": [],
            "quality": [],
            "ranks": [],
            "chosen": [],
        }

    def described(self, case: Case) -> dict[str, Any]:
        """A case as the tables need it."""
        return {
            "name": case.name,
            "title": case.title,
            "trials": case.trials,
            "parts": case.parts(),
            "flops": rows.case_flops(case, self.train, self.validation, self.asked.model),
        }

    def export(self, name: str, train: Examples, validation: Examples) -> Rows:
        """Rows as files."""
        return Rows(rows.export(self.work / name, train, validation), len(train), len(validation))

    def folder(self) -> Path:
        """A new folder for a run."""
        self.runs += 1
        return self.work / f"run-{self.runs}"

    def save(self) -> None:
        """Write the record as far as it is, so that an interruption costs nothing."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps(self.record, indent=1) + "\n", "utf-8")

    # --- times -----------------------------------------------------------------------------------------

    def repeats(self, case: Case) -> int:
        """How often a case is timed."""
        count: int | None = self.asked.cases[case.name]
        return self.asked.repeats if count is None else count

    def repeat(self, number: int) -> None:
        """Every side once; the side that begins changes from repeat to repeat."""
        for side in self.baselines:
            self.slice(side, number)
        for case in (case for case in self.cases if number < self.repeats(case)):
            places = [(number + place) % len(self.asked.sides) for place in range(len(self.asked.sides))]
            for side in (self.asked.sides[place] for place in places):
                self.time_ours(case, side, number) if side in OURS else self.time_baseline(case, side, number)

    def slice(self, side: str, number: int) -> None:
        """Slices of a baseline for all cases."""
        shapes = list(dict.fromkeys(part.shape for case in self.cases for part in case.parts()))
        load, folder = machine.load(), self.folder()
        found = run_slices(side, shapes, self.rows, self.options, folder)
        shutil.rmtree(folder)
        self.record["slices"].append({"side": side, "repeat": number, "load": load} | found)
        self.save()
        say(f"{number + 1}  {side:14} slices of {len(shapes)} shapes")

    def time_ours(self, case: Case, side: str, number: int) -> None:
        """`harness run` with an empty cache, and, if asked, again with the cache that this left."""
        cold, warm = self.folder(), self.folder()
        for state, folder, cache in (("cold", cold, None), ("warm", warm, cache_of(cold))):
            if state == "cold" or state in self.asked.caches:
                load = machine.load()
                given = (side, case.configurations, self.rows, self.options, folder, case.seeds)
                found = run_ours(*given, cache=cache)
                self.note(case, side, state, number, load, found)
        for folder in (cold, warm):
            shutil.rmtree(folder, ignore_errors=True)

    def time_baseline(self, case: Case, side: str, number: int) -> None:
        """The whole loop where that is short; elsewhere the slices have to do."""
        slices = next(each for each in self.record["slices"] if (each["side"], each["repeat"]) == (side, number))
        expected = whole_seconds(slices, case.parts(), self.rows.train, self.rows.validation)
        say(f"{number + 1}  {side:14} {case.name:15} ~{expected:10.1f} s")
        if expected < self.asked.whole_below:
            load, folder = machine.load(), self.folder()
            found = run_baseline(side, case.configurations, self.rows, self.options, folder, case.seeds)
            self.note(case, side, "cold", number, load, found)
            shutil.rmtree(folder)

    def note(self, case: Case, side: str, cache: str, number: int, load: Any, found: dict[str, Any]) -> None:
        """Record one whole run."""
        which = {"case": case.name, "side": side, "cache": cache, "repeat": number, "load": load}
        self.record["timings"].append(which | found)
        self.save()
        say(f"{number + 1}  {side:14} {case.name:15}  {found['seconds']:10.1f} s  {cache}")

    # --- checks ----------------------------------------------------------------------------------------

    def validate(self) -> None:
        """The extrapolation against one whole trial of every kind, on fewer rows."""
        count = min(self.asked.validate_rows, len(self.train))
        few = rows.first(self.train, count), rows.first(self.validation, max(2, count // 4))
        small = self.export("rows-validate", *few)
        kinds: dict[Shape, Configuration] = {}
        for each in (configuration for case in self.cases for configuration in case.configurations):
            kinds.setdefault(shape_of(each), dataclasses.replace(each, epochs=min(each.epochs, 3)))
        for side in self.baselines:
            for shape, configuration in kinds.items():
                load = machine.load()
                slices = run_slices(side, [shape], small, self.options, self.folder())
                parts = [(shape, configuration.epochs, 1)]
                expected = whole_seconds(slices, parts, small.train, small.validation)
                whole = run_baseline(side, [configuration], small, self.options, self.folder())["seconds"]
                entry = {"side": side, "shape": shape, "rows": small.train, "load": load}
                self.record["validation"].append(entry | {"expected": expected, "whole": whole, "slices": slices})
                self.save()
                say(f"   {side:14} {shape.freeze:15} ~{expected:10.1f} s, whole {whole:.1f} s")

    def few(self, name: str, evaluated: Examples) -> Rows:
        """The training rows of the comparisons of quality, and those that are evaluated."""
        return self.export(name, rows.first(self.train, self.asked.quality_rows), evaluated)

    def seeds(self) -> list[int]:
        """Of the comparisons of quality."""
        return list(range(SEED, SEED + self.asked.quality_seeds))

    def compare_quality(self) -> None:
        """The same configurations with the same seeds on both sides."""
        few, seeds = self.few("rows-quality", self.validation), self.seeds()
        theirs = self.asked.quality_side
        for name in self.asked.quality_cases:
            configuration = [QUALITY[name]]
            found = replay(theirs, configuration, few, self.options, self.folder(), seeds)
            for side in (side for side in self.asked.sides if side in OURS):
                ours_found = run_ours(side, configuration, few, self.options, self.folder(), seeds)["results"]
                entry = {"case": name, "side": side, "baseline": theirs, "rows": few.train, "seeds": seeds}
                entry |= {"ours": ours_found, "theirs": found, "tests": quality.compare(ours_found, found)}
                self.record["quality"].append(entry)
                self.save()
                say(f"   quality of {name}: {entry['tests']['accuracy']['verdict']}")

    def compare_ranks(self) -> None:
        """The same configurations on ours, and twice on the Trainer."""
        configurations = ranked(self.asked.ranks)
        theirs, few = self.asked.quality_side, self.few("rows-ranks", self.validation)
        ours_found = run_ours("ours", configurations, few, self.options, self.folder(), (SEED,))["results"]
        both = replay(theirs, configurations, few, self.options, self.folder(), (SEED, SEED + 1))
        found = [ours_found, both[::2], both[1::2]]  # of a configuration all seeds, then the next one
        entry = {"baseline": theirs, "rows": few.train, "configurations": len(configurations)}
        for metric in quality.MARGINS:
            agreed = quality.agreement(*([trial[metric] for trial in side] for side in found))
            values = {"ours": nothing_for_nan(agreed.ours), "theirs": nothing_for_nan(agreed.theirs)}
            self.record["ranks"].append(entry | {"metric": metric, "holds": agreed.holds} | values)
        self.record["ranks"][-1]["results"] = found
        self.save()
        say(f"   ranks by {len(configurations)} configurations: {self.record['ranks'][0]['ours']}")

    def compare_choices(self, test: Examples) -> None:
        """What each side's best configuration reaches on rows that nobody chose by; trained by the side itself."""
        configurations, theirs = ranked(self.asked.ranks), self.asked.quality_side
        few, seeds, both = self.few("rows-test", test), self.seeds(), self.record["ranks"][-1]["results"][:2]
        ours_best, their_best = (configurations[best_of(results)] for results in both)
        found = [
            run_ours("ours", [ours_best], few, self.options, self.folder(), seeds)["results"],
            replay(theirs, [their_best], few, self.options, self.folder(), seeds),
        ]
        entry: dict[str, Any] = {"baseline": theirs, "rows": few.train, "test": few.validation, "seeds": seeds}
        entry |= {"configurations": [dataclasses.asdict(ours_best), dataclasses.asdict(their_best)], "results": found}
        for metric in quality.MARGINS:
            values = [[trial[metric] for trial in side] for side in found]
            result = quality.chosen(*values)
            told = {"difference": result.difference, "spread": nothing_for_nan(result.spread), "holds": result.holds}
            entry[metric] = told | {"means": [sum(side) / len(side) for side in values]}
        self.record["chosen"].append(entry)
        self.save()
        say(f"   chosen configurations on {few.validation} test rows: {entry['accuracy']['difference']:+.4f} accuracy")


def best_of(results: Sequence[dict[str, float]]) -> int:
    """Index of the lowest validation loss; the first one of equals."""
    return min(range(len(results)), key=lambda index: results[index]["validation_loss"])


def nothing_for_nan(value: float) -> float | None:
    """The number; None for NaN, which JSON does not have."""
    return None if math.isnan(value) else value


def within_tolerance(record: dict[str, Any]) -> bool:
    """Whether every extrapolation that was checked is within 5% of the whole run."""
    return all(abs(error(each)) <= TOLERANCE for each in record["validation"])


def say(words: str) -> None:
    """A line for whoever waits."""
    print(words, flush=True)


def main(words: Sequence[str] | None = None) -> int:
    """Entry of `python -m benchmarks.run`."""
    asked = arguments(words)
    if Path(asked.model).is_dir():
        asked.model = str(Path(asked.model).resolve())  # commands run in folders of their own
    with tempfile.TemporaryDirectory(prefix="benchmark-") as temporary:
        work = (asked.work or Path(temporary)).resolve()
        work.mkdir(parents=True, exist_ok=True)
        benchmark = Benchmark(asked, work)
        for number in range(max(benchmark.repeats(case) for case in benchmark.cases)):
            benchmark.repeat(number)
        if asked.validate:
            benchmark.validate()
        if asked.quality_seeds:
            benchmark.compare_quality()
        if asked.ranks:
            benchmark.compare_ranks()
        if benchmark.test is not None:
            benchmark.compare_choices(benchmark.test)
        benchmark.save()
    say("\n" + page(json.loads(benchmark.path.read_text("utf-8"))))
    say(str(benchmark.path))
    if not within_tolerance(benchmark.record):
        say(f"an extrapolation is off by more than {TOLERANCE:.0%}, which the pages say beside its figures")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

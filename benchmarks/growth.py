"""What a study costs as it grows: processor seconds of whole commands by trials, rows and epochs, and their line.

    python -m benchmarks.growth
    python -m benchmarks.growth --model FOLDER --max-length 64

Every study is a `harness run` of its own on a fresh database, with built-in reviews, and trains everything: no trial is
pruned, stopped early or shared. A study is linear when no point lies far from the line.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

BASE = {"trials": 2, "rows": 200, "epochs": 2}
SIZES = {"trials": (1, 2, 4, 8), "rows": (100, 200, 400, 800), "epochs": (1, 2, 4, 8)}
HEAD = """\
| by | sizes | processor seconds | at nothing | a unit | farthest from the line |
|---|---|---|---|---|---|"""
STUDY = """\
study: growth
task: sequence-classification
model: {model}
data: {{path: "builtin:reviews", train: {rows}, validation: 50}}
fixed: {{epochs: {epochs}, batch_size: 8, max_length: {max_length}}}
search: {{learning_rate: {{low: 1.0e-5, high: 1.0e-3, log: true}}}}
objective: loss
sampler: random
pruner: none
keep: 0
budget: {{trials: {trials}}}
"""


class Line(NamedTuple):
    """A line through some points, by least squares.

    Attributes:
        start, slope: seconds at nothing, and seconds a unit.
        off: the largest distance of a point from the line, as a share of what was measured there.
    """

    start: float
    slope: float
    off: float


def line(sizes: tuple[int, ...], seconds: list[float]) -> Line:
    """The line through seconds by size."""
    slope, start = np.polyfit(sizes, seconds, 1)
    expected = start + slope * np.asarray(sizes)
    return Line(float(start), float(slope), float(np.max(np.abs(1.0 - expected / np.asarray(seconds)))))


def seconds_of(model: str, max_length: int, sizes: Mapping[str, int]) -> float:
    """Processor seconds of one `harness run` and its workers.

    Raises:
        CalledProcessError: when it ended with another code than 0.
    """
    with tempfile.TemporaryDirectory() as folder:
        study = Path(folder) / "study.yaml"
        study.write_text(STUDY.format(model=model, max_length=max_length, **sizes), "utf-8")
        command = [sys.executable, "-m", "harness", "run", str(study), "--db", str(Path(folder) / "results.db")]
        before = os.times()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: S603
        after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="builtin:tiny")
    parser.add_argument("--max-length", type=int, default=64)
    given = parser.parse_args()
    print(HEAD)
    for name, sizes in SIZES.items():
        seconds = [seconds_of(given.model, given.max_length, BASE | {name: size}) for size in sizes]
        found = line(sizes, seconds)
        shown = (", ".join(map(str, sizes)), ", ".join(f"{each:.1f}" for each in seconds))
        print(f"| {name} | {' | '.join(shown)} | {found.start:.1f} | {found.slope:.3f} | {found.off:.0%} |", flush=True)


if __name__ == "__main__":
    main()

"""How far two runs of one trial lie apart, epoch by epoch, and what else differs between them.

Pure comparison of values; running the trial a second time is reproducing.py's work.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from harness.environment import VARIABLES
from harness.results.epoch_writes import MetricKey
from harness.results.recorded import Epoch

Verdict = Literal["bit-equal", "within tolerance", "drifted"]

AROUND = ("python", "packages", "platform", "machine", "cpu", "variables", "device", "git")
SELF_EVIDENT = ("packages", "variables", "config")  # their names need no other before them
WHOLE = ("truncated", "early_stopping")  # mappings that are one value


class Change(NamedTuple):
    """A version, setting or hash that is another one now; None where one side has none."""

    name: str
    then: Any
    now: Any

    def __str__(self) -> str:
        """The change in words."""
        then, now = ("none" if each is None else str(each) for each in (self.then, self.now))
        return f"{self.name} {then} → {now}"


class Apart(NamedTuple):
    """How far one epoch lies from its record.

    Attributes:
        distance: the largest of a metric, as `distance` measures it; infinite where a metric or array is missing.
        metric: of which that is; None where all are equal.
        recorded, computed: its two values; NaN where it is missing.
        same_bits: whether all metrics and arrays are equal bit for bit.
    """

    epoch: int
    distance: float
    metric: MetricKey | None
    recorded: float
    computed: float
    same_bits: bool

    @property
    def name(self) -> str:
        """The metric in words."""
        return "" if self.metric is None else " ".join(filter(None, (*self.metric[:2], self.metric[2])))


@dataclass(frozen=True)
class Drift:
    """What became of a trial that was run again.

    Attributes:
        epochs: how far each recorded epoch lies from its record.
        ends: the epochs and the state of both runs, where these differ; else empty.
        changes: what differs around them.
        tolerance: up to which metrics count as the same.
    """

    epochs: tuple[Apart, ...]
    ends: str
    changes: tuple[Change, ...]
    tolerance: float

    @property
    def farthest(self) -> Apart | None:
        """The epoch that lies farthest from its record, the first of several; None without an epoch."""
        return max(self.epochs, key=lambda apart: (apart.distance, -apart.epoch), default=None)

    @property
    def verdict(self) -> Verdict:
        """The word for it."""
        if self.ends or any(apart.distance > self.tolerance for apart in self.epochs):
            return "drifted"
        return "bit-equal" if all(apart.same_bits for apart in self.epochs) else "within tolerance"

    def words(self) -> str:
        """One sentence: the verdict, how far, and what changed."""
        return f"{self.verdict}{self._how_far()}; {self._why()}"

    def _how_far(self) -> str:
        if self.ends:
            return f": {self.ends}"
        if self.verdict == "bit-equal":
            count = len(self.epochs)
            return f": every metric, output and margin of {count} epoch{'' if count == 1 else 's'}"
        apart = self.farthest
        if apart is None or apart.metric is None:
            how = "differ" if self.verdict == "within tolerance" else "are missing or of another shape"
            return f": the metrics are equal, some outputs or margins {how}"
        values = f"{apart.recorded:.6g} recorded, {apart.computed:.6g} now"
        return f": at most {apart.distance:.2g}, {apart.name} of epoch {apart.epoch} ({values})"

    def _why(self) -> str:
        if self.changes:
            return "changed: " + ", ".join(map(str, self.changes))
        if self.verdict == "bit-equal":
            return "nothing changed"
        return "nothing that is recorded changed: the cause lies outside of the record"

    def as_details(self) -> dict[str, Any]:
        """Plain JSON values, for an incident or a script."""
        apart = self.farthest
        known = apart is not None and math.isfinite(apart.distance)
        return {
            "verdict": self.verdict,
            "tolerance": self.tolerance,
            "epochs": len(self.epochs),
            "largest_difference": apart.distance if apart is not None and known else None,
            "metric": apart.name if apart is not None else "",
            "ends": self.ends,
            "changed": [{"name": each.name, "then": each.then, "now": each.now} for each in self.changes],
        }


def distance(recorded: float, computed: float) -> float:
    """|computed - recorded| over the larger of 1 and |recorded|; 0 for equal ones, infinite where one is not finite."""
    if recorded == computed or (math.isnan(recorded) and math.isnan(computed)):
        return 0.0
    if not (math.isfinite(recorded) and math.isfinite(computed)):
        return math.inf
    return abs(computed - recorded) / max(1.0, abs(recorded))


def apart(number: int, recorded: Epoch, computed: Epoch) -> Apart:
    """How far an epoch lies from its record. Metrics that only the new run has do not count."""
    worst, farthest = 0.0, None
    for key in sorted(recorded.metrics):
        found = distance(recorded.metrics[key], computed.metrics[key]) if key in computed.metrics else math.inf
        if found > worst:
            worst, farthest = found, key
    same_bits = farthest is None
    for place, values in recorded.arrays.items():
        again = computed.arrays.get(place)
        if again is None or again.shape != values.shape:
            worst, same_bits = math.inf, False
        elif not np.array_equal(values, again, equal_nan=True):
            same_bits = False
    values_of = (
        (math.nan, math.nan)
        if farthest is None
        else (recorded.metrics[farthest], computed.metrics.get(farthest, math.nan))
    )
    return Apart(number, worst, farthest, *values_of, same_bits)


def compare(recorded: Mapping[int, Epoch], computed: Mapping[int, Epoch]) -> tuple[Apart, ...]:
    """Every epoch that both runs have."""
    return tuple(apart(number, recorded[number], computed[number]) for number in sorted(recorded.keys() & computed))


def changes(then: Mapping[str, Any], now: Mapping[str, Any], of: str = "") -> Iterator[Change]:
    """What differs between two mappings and those within; what was not recorded is left out.

    Args:
        then, now: recorded, and as it is today.
        of: goes before the names.
    """
    for name in sorted(then):
        old, new = then[name], now.get(name)
        if isinstance(old, Mapping) and isinstance(new, Mapping) and name not in WHOLE:
            yield from changes(old, new, "" if name in SELF_EVIDENT else f"{name} ")
        elif old != new:
            yield Change(f"{of}{name}", old, new)


def around(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The part of an environment that may decide numbers: no amounts of memory, no counts of cores."""
    chosen = {name: facts[name] for name in AROUND if name in facts}
    if "device" in chosen:
        chosen["device"] = {name: value for name, value in chosen["device"].items() if name != "memory_bytes"}
    if "variables" in chosen:  # one that is not set is a setting too
        chosen["variables"] = {name: chosen["variables"].get(name) for name in VARIABLES}
    return chosen

"""What is compared, as data: configurations, drawn once, and the study file that asks ours for the same.

Nothing here depends on a clock or a generator: both sides replay what stands in this file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import yaml

# numpy.random.default_rng(0).random(100).round(4): places of the learning rates within their range.
DRAWS = tuple(
    float(place)
    for place in """
0.637 0.2698 0.041 0.0165 0.8133 0.9128 0.6066 0.7295 0.5436 0.9351 0.8159 0.0027 0.8574 0.0336 0.7297 0.1757 0.8632
0.5415 0.2997 0.4227 0.0283 0.1243 0.6706 0.6472 0.6154 0.3837 0.9972 0.9808 0.6855 0.6505 0.6884 0.3889 0.1351 0.7215
0.5254 0.3102 0.4858 0.8895 0.934 0.3578 0.5715 0.3219 0.5943 0.3379 0.3916 0.8903 0.2272 0.6232 0.084 0.8326 0.7871
0.2394 0.8765 0.0586 0.3361 0.1503 0.4503 0.7963 0.2306 0.052 0.4046 0.1985 0.0908 0.5803 0.2987 0.672 0.1995 0.9421
0.3651 0.1055 0.6291 0.9272 0.4404 0.9546 0.4999 0.4252 0.6202 0.9951 0.9489 0.46 0.7577 0.4974 0.5293 0.7858 0.4147
0.7345 0.7111 0.9321 0.1149 0.729 0.9274 0.9679 0.0147 0.8636 0.9812 0.9572 0.1488 0.9726 0.8899 0.8224
""".split()
)
SEED = 42
RATES = {"none": (1e-5, 1e-4), "top-2": (2e-5, 5e-4), "head": (1e-4, 1e-2), "classifier": (1e-3, 1e-1)}


@dataclass(frozen=True)
class Configuration:
    """What one trial trains with; the names are those of a study file, the values mean the same on both sides."""

    freeze: str
    epochs: int
    learning_rate: float
    batch_size: int = 16
    max_length: int = 128
    weight_decay: float = 0.01


class Shape(NamedTuple):
    """What the time of one step depends on, but for the rows."""

    freeze: str
    batch_size: int
    max_length: int


class Part(NamedTuple):
    """Trials of a case that take the same time."""

    shape: Shape
    epochs: int
    trials: int


@dataclass(frozen=True)
class Case:
    """A study to be timed; every configuration runs once with each seed."""

    name: str
    title: str
    configurations: tuple[Configuration, ...]
    seeds: tuple[int, ...] = (SEED,)

    @property
    def trials(self) -> int:
        """How many there are."""
        return len(self.configurations) * len(self.seeds)

    def parts(self) -> list[Part]:
        """The trials, counted by what their time depends on."""
        kinds = Counter((shape_of(each), each.epochs) for each in self.configurations)
        return [Part(shape, epochs, count * len(self.seeds)) for (shape, epochs), count in kinds.items()]


def shape_of(configuration: Configuration) -> Shape:
    """The part of a configuration that a step's time depends on."""
    return Shape(configuration.freeze, configuration.batch_size, configuration.max_length)


def drawn(freeze: str, epochs: int, trials: int) -> tuple[Configuration, ...]:
    """The first `trials` learning rates of that kind, log-uniform in its range, four digits each."""
    low, high = RATES[freeze]
    rates = (float(f"{low * (high / low) ** place:.4g}") for place in DRAWS[:trials])
    return tuple(Configuration(freeze, epochs, rate) for rate in rates)


CASES = {
    case.name: case
    for case in (
        Case("full", "one trial, everything trains, 3 epochs", (Configuration("none", 3, 5e-5),)),
        Case(
            "classifier", "one trial, only the last layer trains, 20 epochs", (Configuration("classifier", 20, 1e-2),)
        ),
        Case(
            "mixed",
            "30 trials: 10 full and 10 top-2 of 3 epochs, 10 classifier of 20",
            drawn("none", 3, 10) + drawn("top-2", 3, 10) + drawn("classifier", 20, 10),
        ),
        Case("classifier-100", "100 trials, only the last layer trains, 20 epochs", drawn("classifier", 20, 100)),
        Case(
            "classifier-seeds",
            "100 trials, only the last layer trains, 20 epochs, each with a seed of its own: no two train together",
            (Configuration("classifier", 20, 1e-2),),
            seeds=tuple(range(42, 142)),
        ),
        Case("head-100", "100 trials, pooler and last layer train, 20 epochs", drawn("head", 20, 100)),
    )
}


# How many times as long as ours each baseline was to take, cold, on two cores; set before anything was measured.
AIMS = {
    "full": {"B0": 9, "B1": 3, "B2": 1.15},
    "classifier": {"B0": 130, "B1": 45, "B2": 14},
    "mixed": {"B0": 30, "B1": 10, "B2": 3.5},
    "classifier-100": {"B1": 1500, "B2": 500},
    "classifier-seeds": {"B1": 500, "B2": 150},
    "head-100": {"B1": 300, "B2": 100},
}
AIMED_AT = ("all-MiniLM-L6-v2", "sentiment140", 14_000)  # model, data, training rows


def ranked(each: int) -> tuple[Configuration, ...]:
    """Configurations whose order is compared, so many of each kind, over the whole range of learning rates."""
    return drawn("none", 3, each) + drawn("top-2", 3, each) + drawn("classifier", 20, each)


# One configuration of each kind for the comparison of quality.
QUALITY = {
    "full": Configuration("none", 3, 5e-5),
    "top-2": Configuration("top-2", 3, 2e-4),
    "classifier": Configuration("classifier", 20, 1e-2),
}


def study_text(
    name: str, configurations: Sequence[Configuration], data: Path, model: str, seeds: Sequence[int] = (SEED,),
    more: Mapping[str, Any] | None = None,
) -> str:  # fmt: skip
    """The study file of our side.

    Args:
        name: of the study.
        configurations: in the order in which they run.
        data: folder with train.parquet and validation.parquet, as `rows.export` writes it.
        model: folder, Hub id or builtin:tiny.
        seeds: every configuration runs once with each.
        more: what else it says.
    """
    document: dict[str, Any] = {
        "study": name,
        "task": "sequence-classification",
        "model": model,
        "seed": list(seeds) if len(seeds) > 1 else seeds[0],
        "data": {
            "path": str(data),
            "text": "text",
            "label": "label",
            "train": {"split": "train"},
            "validation": {"split": "validation"},
        },
        "configurations": [asdict(each) for each in configurations],
        "objective": {"metric": "loss"},
        "budget": {"trials": len(configurations) * len(seeds)},
        "keep": 0,  # the baselines that we compare with save no weights either
        **(more or {}),
    }
    return yaml.safe_dump(document, sort_keys=False)

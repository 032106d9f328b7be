"""Values as people read them: sensible digits, units in headings, a dash for what is missing."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pandas as pd

import harness.metrics as metrics
from harness.configuration import hyperparameters

MISSING = "–"


@dataclass(frozen=True)
class Column:
    """How a column is read by people: heading with its unit, and how one value is written."""

    heading: str
    text: Callable[[float], str]


def _digits(decimals: int) -> Callable[[float], str]:
    return lambda value: f"{value:,.{decimals}f}".replace("-", "−")


def points(value: float) -> str:
    """A fraction in percent: 0.8413 -> 84.1."""
    return f"{value * 100:.1f}".replace("-", "−")


def significant(value: float, digits: int = 3) -> str:
    """Three significant digits without a needless exponent: 33.03 -> 33.0, 2e-05 -> 2e-5."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    if not 1e-3 <= abs(value) < 1e7:
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        short = mantissa.rstrip("0").rstrip(".")
        return f"{short}e{int(exponent)}".replace("-", "−", 1) if value < 0 else f"{short}e{int(exponent)}"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:,.{decimals}f}".replace("-", "−")


def parameter(value: float) -> str:
    """A parameter's value as one writes it: 16, 0.01, 2e-5."""
    if value.is_integer() and abs(value) < 1e6:
        return str(int(value)).replace("-", "−")
    if 1e-3 <= abs(value) < 1e6:
        return f"{value:.4g}".replace("-", "−")
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"


def duration(seconds: float) -> str:
    """Seconds as people say them: 4.2 s, 3 min 20 s, 2 h 05 min."""
    if seconds < 120:
        return f"{significant(seconds)} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 120:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def signed(value: float, decimals: int = 3) -> str:
    """With its sign, unless nothing is left of it: +0.52, −0.016, 0.000."""
    written = f"{value:+.{decimals}f}"
    return written[1:] if float(written) == 0 else written.replace("-", "−")


def _seconds(value: float) -> str:
    return significant(value) if value >= 1 or value == 0 else f"{value:.3f}" if value >= 5e-4 else "<0.001"


def _mebibytes(value: float) -> str:
    return significant(value / 2**20)


def _signed(decimals: int, factor: float = 1.0) -> Callable[[float], str]:
    return lambda value: signed(value * factor, decimals)


_FRACTIONS = "train_accuracy last_accuracy share importance padding load confidence".split()
_LOSSES = "loss train_loss validation_loss last_validation_loss best_validation_loss last_train_loss".split()
_RATES = {"train_samples_per_second": "training", "eval_samples_per_second": "evaluation", "samples_per_second": ""}
_PLAIN = "objective value objective_value perplexity".split()
_SCORES = {*_LOSSES, "train_accuracy", "last_accuracy", "objective", "objective_value"}
_GAPS = "gap gap_at_best gap_at_last best_gap last_gap".split()


@lru_cache(maxsize=1)
def _columns() -> dict[str, Column]:
    known = {name: Column(f"{_heading(name)} (%)", points) for name in _FRACTIONS}
    known |= {name: Column(_heading(name), _digits(4)) for name in _LOSSES}
    known |= {name: Column(f"{what} samples/s".strip(), significant) for name, what in _RATES.items()}
    known |= {name: Column(_heading(name), significant) for name in _PLAIN}
    known |= {name: Column(_heading(name), _signed(3)) for name in _GAPS}
    known |= {name: Column(name, parameter) for name in hyperparameters()}
    known["loss_difference"] = Column("difference", _signed(4))
    known["mcc"] = Column("MCC", _digits(3))
    known["peak_memory_bytes"] = Column("peak memory (MiB)", _mebibytes)
    return known


def _heading(name: str) -> str:
    return {"f1": "F1", "macro_f1": "macro F1"}.get(name, name.replace("_", " "))


def is_fraction(name: str) -> bool:
    """Whether a metric is stored as a fraction and shown in percent, differences of it in points."""
    return name in _FRACTIONS or (name in metrics.known() and metrics.lookup(name).unit == "fraction")


def is_score(name: str) -> bool:
    """Whether a column holds what a trained model is worth, which another seed would change."""
    return name in _SCORES or (name in metrics.known() and name not in metrics.costs())


def column(name: str) -> Column:
    """The manners of a column by its name; suffixes `_seconds` and `_bytes` carry their unit."""
    known = _columns()
    if name in known:
        return known[name]
    if is_fraction(name):
        return Column(f"{_heading(name)} (%)", points)
    if name.endswith("_points"):
        return Column(f"{_heading(name.removesuffix('_points'))} (points)", _signed(1, 100))
    if name.endswith("_seconds"):
        return Column(f"{_heading(name.removesuffix('_seconds'))} (s)", _seconds)
    if name.endswith("_joules"):
        return Column(f"{_heading(name.removesuffix('_joules'))} (J)", significant)
    if name.endswith("_per_second"):
        return Column(f"{_heading(name.removesuffix('_per_second'))}/s", significant)
    if name.endswith("_share"):
        return Column(f"{_heading(name.removesuffix('_share'))} (%)", points)
    return Column(_heading(name), significant)


def is_missing(value: Any) -> bool:
    """None, NaN or NA; never a list or a mapping."""
    return value is None or value is pd.NA or (isinstance(value, float) and not math.isfinite(value))


def cell(name: str, value: Any) -> str:
    """One value as text for people, not yet escaped for any format."""
    if is_missing(value):
        return MISSING
    if isinstance(value, bool) or type(value).__name__ == "bool":
        return "yes" if value else "no"
    if isinstance(value, str):
        return value
    number = float(value) if hasattr(value, "__float__") else None
    if number is None:
        return str(value)
    manners = column(name)
    if number.is_integer() and manners.text in (significant, _seconds):
        return f"{int(number):,}" if abs(number) >= 10_000 else str(int(number)).replace("-", "−")
    return manners.text(number)

"""Metrics: what each scores, which way is better, its unit, and when it is undefined.

Pure functions over predictions and references. Turning logits into predictions is the task's work
(`tasks/`), the loss is the task's too; only its manners stand here. Every fraction is a fraction:
points (times 100) are made where a report is printed.

What is not defined is NaN, never 0.0: a metric of no rows, the precision of a class that was never
predicted, a correlation with a constant. An undefined metric is missing; it does not mean that
training diverged, which only the loss can say.

Importing the package registers the metrics of every kind of output: `labels` here below, `spans` and `tokens`.
"""

from __future__ import annotations

from harness.metrics import spans, tokens
from harness.metrics.labels import accuracy, confusion, cross_entropy, f1, macro_f1, mcc, precision, recall
from harness.metrics.registry import (
    COST,
    TASK,
    Direction,
    Metric,
    costs,
    direction,
    evaluate,
    known,
    lookup,
    metric,
    metrics_of,
    registered,
)

__all__ = [
    "COST",
    "TASK",
    "Direction",
    "Metric",
    "accuracy",
    "confusion",
    "costs",
    "cross_entropy",
    "direction",
    "evaluate",
    "f1",
    "known",
    "lookup",
    "macro_f1",
    "mcc",
    "metric",
    "metrics_of",
    "precision",
    "recall",
    "registered",
    "spans",
    "tokens",
]

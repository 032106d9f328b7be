"""Calibration: whether answers given with 80% probability are right in 80% of the cases.

Pure functions of the probability of the answer given, of whether it was right, and of logits. An answer is a class or a
span of text; what is right is decided elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from harness.analysis.statistics import Interval, t_interval, wilson
from harness.metrics import cross_entropy

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

BINS = 15
COLUMNS = ["bin", "low", "high", "examples", "confidence", "right", "right_low", "right_high"]
_DRAWS = 1000
_COLDEST, _HOTTEST = 1e-3, 1e3
# Stored probabilities are single precision: nearer to 0 or 1 than this, nothing is known of them.
_SURE = 1e-7


class Expected(NamedTuple):
    """A calibration error beside what chance gives a model that is calibrated perfectly.

    Attributes:
        error: measured.
        chance: mean of simulated ones.
        bound: 95% of the simulated ones lie below.
    """

    error: float
    chance: float
    bound: float

    @property
    def beyond_chance(self) -> bool:
        """Larger than in 95% of the simulations."""
        return self.error > self.bound


def softmax(logits: npt.ArrayLike) -> Floats:
    """Probabilities of logits, shape (examples, labels), in float64."""
    table = np.asarray(logits, np.float64)
    exponentials = np.exp(table - table.max(axis=1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))


# --- the reliability diagram --------------------------------------------------------------------------


def equal_width(bins: int = BINS) -> Floats:
    """Edges of `bins` bins as wide as each other, shape (bins + 1,); each bin holds its upper edge.

    Reference: Guo, Pleiss, Sun and Weinberger, "On Calibration of Modern Neural Networks", 2017, arXiv:1706.04599.
    """
    return np.arange(bins + 1) / bins


def equal_mass(confidence: npt.ArrayLike, bins: int = BINS) -> Floats:
    """Edges of at most `bins` bins with as many examples as each other; equal confidences share a bin.

    Reference: Nixon, Dusenberry, Zhang, Jerfel and Tran, "Measuring Calibration in Deep Learning", 2019,
    arXiv:1904.01685 (adaptive bins, here of the answer given).
    """
    ordered = np.sort(np.asarray(confidence, np.float64))
    last = np.ceil(np.arange(1, bins + 1) * ordered.size / bins).astype(np.int64) - 1
    return np.concatenate([ordered[:1], np.unique(ordered[last])]) if ordered.size else np.array([0.0, 1.0])


def reliability(confidence: npt.ArrayLike, right: npt.ArrayLike, edges: Floats) -> pd.DataFrame:
    """Of each bin of confidence: examples, their mean confidence, the share that is right with its Wilson interval.

    Args:
        confidence: probability of the answer given, shape (examples,).
        right: whether it was right, shape (examples,).
        edges: of the bins, ascending, shape (bins + 1,).

    Returns:
        Columns COLUMNS, one row a bin; an empty bin has 0 examples and no values.
    """
    sure, hits = np.asarray(confidence, np.float64), np.asarray(right, bool)
    place, bins = _bins(sure, edges), len(edges) - 1
    counts, correct = (np.bincount(place, weights, bins) for weights in (None, hits.astype(float)))
    total = np.bincount(place, sure, bins)
    shares = [wilson(int(k), int(n)) for k, n in zip(correct, counts, strict=True)]
    with np.errstate(invalid="ignore"):
        mean = total / counts
    return pd.DataFrame(
        {
            "bin": np.arange(1, bins + 1),
            "low": edges[:-1],
            "high": edges[1:],
            "examples": counts.astype(np.int64),
            "confidence": mean,
            "right": [share.estimate for share in shares],
            "right_low": [share.low for share in shares],
            "right_high": [share.high for share in shares],
        },
        columns=COLUMNS,
    )


def expected_error(confidence: npt.ArrayLike, right: npt.ArrayLike, edges: Floats) -> float:
    """Expected calibration error (ECE): mean distance of confidence and share right over bins, weighted by examples.

    A fraction; NaN without examples. Reference: Naeini, Cooper and Hauskrecht, "Obtaining Well Calibrated
    Probabilities Using Bayesian Binning", 2015, doi:10.1609/aaai.v29i1.9602.
    """
    sure, hits = np.asarray(confidence, np.float64), np.asarray(right, np.float64)
    if not sure.size:
        return math.nan
    return float(np.abs(np.bincount(_bins(sure, edges), sure - hits)).sum() / sure.size)


def against_chance(
    confidence: npt.ArrayLike, right: npt.ArrayLike, edges: Floats, draws: int = _DRAWS, seed: int = 0
) -> Expected:
    """The expected calibration error beside those of a model that is right exactly as often as it says.

    Few examples a bin make the error of a perfectly calibrated model large, too: each draw decides anew, with the
    stated confidence, which answers are right. Reference: Vaicenavicius et al., "Evaluating Model Calibration in
    Classification", 2019, arXiv:1902.06977 (consistency resampling, after Bröcker and Smith, 2007).
    """
    sure = np.asarray(confidence, np.float64)
    error = expected_error(sure, right, edges)
    if not sure.size:
        return Expected(error, math.nan, math.nan)
    rng, place = np.random.default_rng(seed), _bins(sure, edges)
    drawn = np.empty(draws)
    for i in range(draws):
        gap = sure - (rng.random(sure.size) < sure)
        drawn[i] = np.abs(np.bincount(place, gap)).sum() / sure.size
    return Expected(error, float(drawn.mean()), float(np.quantile(drawn, 0.95)))


def overconfidence(confidence: npt.ArrayLike, right: npt.ArrayLike) -> Interval:
    """Mean confidence minus share right, with its t interval; above zero the model promises too much."""
    return t_interval(np.asarray(confidence, np.float64) - np.asarray(right, np.float64))


def _bins(confidence: Floats, edges: Floats) -> npt.NDArray[np.int64]:
    # What lies above the last edge by rounding alone belongs to the last bin.
    return np.minimum(np.searchsorted(edges[1:], confidence, side="left"), len(edges) - 2)


# --- scores of probabilities --------------------------------------------------------------------------


def brier(probabilities: npt.ArrayLike, gold: npt.ArrayLike) -> Floats:
    """Brier score of each example: squared distance from the truth summed over classes, 0 to 2, shape (examples,).

    Reference: Brier, "Verification of Forecasts Expressed in Terms of Probability", 1950,
    doi:10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2.

    Args:
        probabilities: shape (examples, labels).
        gold: class ids, shape (examples,).
    """
    table = np.array(probabilities, np.float64)
    table[np.arange(len(table)), np.asarray(gold, np.int64)] -= 1
    return np.asarray((table**2).sum(axis=1))


def log_odds(confidence: npt.ArrayLike) -> Floats:
    """A yes-or-no question in the form of logits, shape (examples, 2): column 1 says that the answer is right.

    Their softmax is the confidence, but for those within 1e-7 of 0 or 1, which are moved to 1e-7.
    """
    sure = np.clip(np.asarray(confidence, np.float64), _SURE, 1 - _SURE)
    odds = np.log(sure) - np.log1p(-sure)
    return np.stack([np.zeros_like(odds), odds], axis=1)


def temperature(logits: npt.ArrayLike, gold: npt.ArrayLike) -> float:
    """The number that logits have to be divided by for the smallest mean NLL of these very rows.

    Above 1 the model is too sure. NaN where no finite one does: every answer right, or none better than guessing.
    Reference: Guo et al., 2017, arXiv:1706.04599, section 4.2.

    Args:
        logits: shape (examples, labels).
        gold: class ids, shape (examples,).
    """
    table, rows = np.asarray(logits, np.float64), np.arange(len(np.asarray(gold)))
    if not len(rows):
        return math.nan
    shifted = table - table.max(axis=1, keepdims=True)
    of_gold = shifted[rows, np.asarray(gold, np.int64)]

    def slope(log_coldness: float) -> float:
        """Derivative of the mean NLL by 1 / temperature, which rises: the NLL is convex in it."""
        expected = (softmax(shifted * math.exp(log_coldness)) * shifted).sum(axis=1)
        return float((expected - of_gold).mean())

    low, high = -math.log(_HOTTEST), -math.log(_COLDEST)
    if not slope(low) < 0 < slope(high):
        return math.nan
    return math.exp(-_root(slope, low, high))


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    """Where a rising function crosses zero, by halving the interval."""
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if function(middle) < 0 else (low, middle)
    return (low + high) / 2


# --- all of it ----------------------------------------------------------------------------------------


class Answers(NamedTuple):
    """What was answered, how surely, and what would have been right.

    Attributes:
        logits: shape (examples, labels); of a span its `log_odds`.
        gold: column that is right, shape (examples,); of a span 1 where it is right.
        given: column of the answer given, shape (examples,); of a span always 1.
    """

    logits: Floats
    gold: Ints
    given: Ints

    @property
    def right(self) -> Bools:
        """Whether the answer given was right, shape (examples,)."""
        return np.asarray(self.given == self.gold)

    @property
    def confidence(self) -> Floats:
        """Probability of the answer given, shape (examples,)."""
        return np.asarray(softmax(self.logits)[np.arange(len(self.gold)), self.given])

    def cooled(self, by: float) -> Answers:
        """The same answers with logits divided by a temperature."""
        return self._replace(logits=self.logits / by)


class Summary(NamedTuple):
    """How well the probabilities of a trial hold.

    Attributes:
        examples: how many answers.
        confidence: mean probability of the answer given.
        right: share of right answers, with Wilson's interval.
        over: confidence minus share right, with its interval.
        ece: in bins of one width.
        adaptive_ece: in bins of as many examples.
        brier: mean, with its interval.
        nll: mean, in nats, with its interval.
        temperature: the best on these rows; NaN where there is none.
        cooled_ece, cooled_nll: at that temperature; NaN where there is none.
    """

    examples: int
    confidence: float
    right: Interval
    over: Interval
    ece: Expected
    adaptive_ece: Expected
    brier: Interval
    nll: Interval
    temperature: float
    cooled_ece: float
    cooled_nll: float


def summary(answers: Answers) -> Summary:
    """Every measure of calibration, of at least one answer."""
    sure, right = answers.confidence, answers.right
    best = temperature(answers.logits, answers.gold)
    cooled = answers.cooled(best)  # NaN at NaN
    found = math.isfinite(best)
    return Summary(
        examples=len(sure),
        confidence=float(sure.mean()),
        right=wilson(int(right.sum()), len(right)),
        over=overconfidence(sure, right),
        ece=against_chance(sure, right, equal_width()),
        adaptive_ece=against_chance(sure, right, equal_mass(sure)),
        brier=t_interval(brier(softmax(answers.logits), answers.gold)),
        nll=t_interval(cross_entropy(answers.logits, answers.gold)),
        temperature=best,
        cooled_ece=expected_error(cooled.confidence, right, equal_width()) if found else math.nan,
        cooled_nll=float(cross_entropy(cooled.logits, answers.gold).mean()) if found else math.nan,
    )

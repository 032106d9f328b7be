"""What a search found: its history, which parameters mattered, and how sure the best configuration is.

How sure is a question about the validation examples: would another draw of as many examples name the
same trial? It says nothing of other seeds; confirming does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import special

import harness.analysis.fanova as fanova
import harness.metrics as metrics
from harness.analysis.answer import Answer, nothing
from harness.analysis.parameters import varied, varies
from harness.analysis.statistics import RESAMPLES, resampled_means, resampled_rows, simultaneous_differences

MIN_TRIALS = 10
"""Fewer finished trials than this, or than four a parameter, say nothing about importance: a forest of so few points
fits whatever is there."""
TRIALS_A_PARAMETER = 4
SHUFFLES = 20
"""What 20 shuffles never reached, by any parameter, is reached by chance in about one of twenty studies."""
AT_MOST = 30
"""Configurations compared when asking which is best; the ones behind them have no chance worth computing."""

SAMPLE = 200
"""Complete trials that importance is computed on at most, drawn at random: the time grows faster than their number, and
the shares hardly change beyond."""

HISTORY = ["trial", "state", "objective", "best_so_far", "is_best"]
IMPORTANCE = ["parameter", "importance", "by_chance", "clear"]
BEST = [
    "configuration",
    "value",
    "low",
    "high",
    "probability_best",
    "difference",
    "difference_low",
    "difference_high",
    "difference_error",
    "adjusted_p",
    "distinguishable",
]

Direction = str
Floats = npt.NDArray[np.float64]


def history(trials: pd.DataFrame, direction: Direction) -> pd.DataFrame:
    """The objective trial by trial and the best so far; a trial without a finite value changes nothing.

    Args:
        trials: columns trial, state, objective of `harness_summary`, one study.
        direction: minimize or maximize.

    Returns:
        Columns HISTORY in the order of trial numbers; best_so_far is NaN before the first value.
    """
    frame = trials[["trial", "state", "objective"]].sort_values("trial", ignore_index=True)
    value = frame["objective"].astype("float64").where(frame["state"] == "complete")
    best = value.cummin() if direction == "minimize" else value.cummax()
    frame["best_so_far"] = best.ffill()
    # The first of equal values leads, as it did in the search.
    leads = value.eq(frame["best_so_far"].iloc[-1]) if len(frame) else value.notna()
    frame["is_best"] = leads & ~leads.duplicated()
    return frame[HISTORY]


# --- importance -----------------------------------------------------------------------------------


def importance(trials: pd.DataFrame, parameters: list[str] | None = None, seed: int = 0) -> Answer:
    """Share of the objective's variance that each varied parameter explains, beside what chance would give.

    fANOVA over a random forest (see `fanova.shares`). Shares sum to 1 even in pure noise, so the objective is shuffled
    over the trials SHUFFLES times. `by_chance` is the share that the parameter would need to stand out as far as
    any parameter did in any shuffle (see `by_chance`), so that looking at many parameters does not make one of
    them stand out; `clear` says that the real share is larger. Of more than SAMPLE trials, that many are drawn.

    Args:
        trials: columns of `harness_summary`, and other hyperparameters where they vary; one study.
        parameters: names to assess; None takes those that vary.
        seed: of forest and shuffles.

    Returns:
        Columns IMPORTANCE, most important first; empty with a note when there are too few trials.
    """
    done = trials[(trials["state"] == "complete") & np.isfinite(trials["objective"].astype("float64"))]
    names = sorted(name for name in (parameters or varied(done)) if varies(done[name]))
    needed = max(MIN_TRIALS, TRIALS_A_PARAMETER * len(names))
    if not names:
        return nothing(IMPORTANCE, "no parameter varied among the complete trials")
    if len(done) < needed:
        given = f"{len(names)} parameter{'s' if len(names) > 1 else ''}"
        return nothing(IMPORTANCE, f"too few trials: {len(done)} complete, {needed} needed for {given}")
    complete = len(done)
    if np.ptp(done["objective"].to_numpy(dtype=np.float64)) == 0:
        return nothing(IMPORTANCE, "every complete trial has the same objective")
    rng = np.random.default_rng(seed)
    if complete > SAMPLE:
        done = done.iloc[np.sort(rng.choice(complete, SAMPLE, replace=False))]
    target = done["objective"].to_numpy(dtype=np.float64)
    encoded = fanova.encoded(done, names)
    shares = fanova.shares(encoded, target, seed)
    chance = by_chance(np.array([fanova.shares(encoded, rng.permutation(target), seed) for _ in range(SHUFFLES)]))
    frame = pd.DataFrame({"parameter": names, "importance": shares, "by_chance": chance, "clear": shares > chance})
    frame = frame.sort_values("importance", ascending=False, kind="stable", ignore_index=True)
    drawn = f"{SAMPLE} of {complete} complete trials, drawn at random" if complete > SAMPLE else None
    return Answer(frame, f"fANOVA on {drawn or f'{complete} complete trials'}; by_chance from {SHUFFLES} shuffles")


def by_chance(shuffled: Floats) -> Floats:
    """The share of each parameter that lies as far above its mean as any parameter's did in any shuffle.

    Far is measured in standard deviations over the shuffles, on the scale of log odds because shares end at 0 and 1:
    each shuffle by those of the others, as the real shares are by all (max-t; Westfall and Young,
    "Resampling-Based Multiple Testing", 1993).

    Args:
        shuffled: the shares of every shuffle, shape (shuffles, parameters).

    Returns:
        Shape (parameters,).
    """
    odds, furthest = special.logit(np.clip(shuffled, 1e-6, 1 - 1e-6)), 0.0
    for place, found in enumerate(odds):
        others = np.delete(odds, place, axis=0)
        spread = others.std(axis=0, ddof=1)
        above = np.divide(found - others.mean(axis=0), spread, out=np.zeros_like(found), where=spread > 1e-9)
        furthest = max(furthest, float(above.max()))
    bound = special.expit(odds.mean(axis=0) + furthest * odds.std(axis=0, ddof=1))
    return np.asarray(np.where(np.ptp(odds, axis=0) > 1e-9, bound, shuffled.mean(axis=0)), np.float64)


# --- how sure -----------------------------------------------------------------------------------------

Ints = npt.NDArray[np.int64]
Outputs = Mapping[Any, Sequence[npt.ArrayLike]]


class Sureness(NamedTuple):
    """How sure the best configuration is.

    Attributes:
        frame: columns BEST, the best configuration first.
        best: the first of the frame; None when nothing can be compared.
        not_distinguishable: configurations whose difference to the best may be none.
        note: what it rests on, or why it is empty.
    """

    frame: pd.DataFrame
    best: Any
    not_distinguishable: list[Any]
    note: str


def best_configuration(
    logits: Outputs,
    references: npt.ArrayLike,
    metric: str,
    *,
    leader: Any = None,
    positive: int | None = None,
    output: str = "labels",
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Sureness:
    """How sure the best configuration is, by a bootstrap over validation examples.

    Every resample draws the same examples for all configurations, so the comparison is paired. The
    replicates of a configuration are averaged first: per example for loss and accuracy, else the metric
    of each on the drawn examples. `probability_best` is the share of resamples that a configuration
    wins (ties are shared). `low` and `high` are the percentile interval of the metric itself; the
    interval of the difference to the best holds for all pairs of configurations at once, so that it does
    not matter that the same examples chose the best (see `statistics.simultaneous_differences`), and one
    whose interval reaches zero is not distinguishable from the best.

    Args:
        logits: configuration -> the logits of each replicate at the epoch that the objective reads, shape
            (examples, labels) each; of folds, all folds' examples one after the other. At most AT_MOST
            configurations are compared, the best ones on all examples.
        references: class ids, shape (examples,).
        metric: loss or a metric of `output`.
        leader: the configuration that was found best and that others are compared with; by default the one
            with the best value on these examples.
        positive: class that binary metrics speak of.
        output: kind of output that the metric belongs to.
        resamples: number of bootstrap samples.
        seed: of the draws.

    Raises:
        KeyError: for a metric that this output does not have.
        ValueError: when logits and references differ in their examples.
    """
    true = np.asarray(references, np.int64)
    tables = {key: [np.asarray(table, np.float64) for table in runs] for key, runs in logits.items()}
    for key, runs in tables.items():
        for table in runs:
            if table.ndim != 2 or len(table) != len(true):
                raise ValueError(f"configuration {key}: logits {table.shape} do not match {len(true)} references")
    score = _scorer(metric, output, positive)
    value = {key: _mean_score(score, runs, true) for key, runs in tables.items()} if len(true) else {}

    def draw(ranked: Sequence[Any]) -> Floats:
        return _draws(metric, score, [tables[key] for key in ranked], true, resamples, seed)

    return _sureness(value, draw, tables, metric, leader, f"{resamples} bootstrap samples of {len(true)}")


def best_by_example(
    scores: Mapping[Any, Sequence[npt.ArrayLike]],
    metric: str,
    *,
    leader: Any = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Sureness:
    """How sure the best configuration is where the metric is a mean over examples; otherwise as `best_configuration`.

    Args:
        scores: configuration -> the metric on each example of each replicate, shape (examples,) each.
        metric: for its direction.
        leader: the configuration that was found best; by default the one with the best mean.
        resamples: number of bootstrap samples.
        seed: of the draws.

    Raises:
        KeyError: for an unknown metric.
        ValueError: when configurations differ in their examples.
    """
    tables = {key: [np.asarray(run, np.float64) for run in runs] for key, runs in scores.items()}
    lengths = {len(run) for runs in tables.values() for run in runs}
    if len(lengths) > 1:
        raise ValueError(f"scores of {sorted(lengths)} examples cannot be compared")
    examples = max(lengths, default=0)
    means = {key: np.mean(runs, axis=0) for key, runs in tables.items()} if examples else {}
    value = {key: float(mean.mean()) for key, mean in means.items()}

    def draw(ranked: Sequence[Any]) -> Floats:
        return resampled_means(np.stack([means[key] for key in ranked], axis=1), resamples, seed)

    return _sureness(value, draw, tables, metric, leader, f"{resamples} bootstrap samples of {examples}")


def _sureness(
    value: Mapping[Any, float],
    draw: Callable[[Sequence[Any]], Floats],
    tables: Mapping[Any, Sequence[Floats]],
    metric: str,
    leader: Any,
    samples: str,
) -> Sureness:
    """Rank the configurations by value, draw their bootstrap samples, (resamples, configurations), and compare."""
    sign = 1.0 if metrics.direction(metric) == "maximize" else -1.0
    order = sorted((key for key in value if np.isfinite(value[key])), key=lambda key: -sign * value[key])
    if leader is not None and leader not in order:
        return Sureness(pd.DataFrame(columns=BEST), None, [], f"the best has no outputs to score {metric} on")
    ranked = [*([leader] if leader is not None else []), *(key for key in order if key != leader)][:AT_MOST]
    if not ranked:
        return Sureness(pd.DataFrame(columns=BEST), None, [], f"nothing has outputs to score {metric} on")
    frame = _compared(ranked, np.array([value[key] for key in ranked]), draw(ranked), sign)
    alike = frame.loc[~frame["distinguishable"], "configuration"].tolist()[1:]
    left_out = len(tables) - len(ranked)
    most = max(len(tables[key]) for key in ranked)
    seeds = "one seed" if most == 1 else f"scores averaged over {most} seeds first"
    note = f"{samples} validation examples, {seeds}"
    note += f"; {left_out} further behind or without a value are left out" if left_out else ""
    return Sureness(frame, ranked[0], alike, note)


Scorer = Callable[[Floats, Ints, Ints], float]


def _scorer(metric: str, output: str, positive: int | None) -> Scorer:
    """A function (logits, references, rows) -> the metric on those rows."""
    if metric == "loss":
        return lambda table, true, rows: float(metrics.cross_entropy(table[rows], true[rows]).mean())
    entry = metrics.metrics_of(output).get(metric)
    compute = None if entry is None else entry.compute
    if entry is None or compute is None:
        raise KeyError(f"{metric!r} is not computed from the logits of {output!r}")

    def score(table: Floats, true: Ints, rows: Ints) -> float:
        given = {"positive": positive, "num_labels": table.shape[1]}
        keywords = {key: given[key] for key in entry.needs}
        return compute(table[rows].argmax(axis=1), true[rows], **keywords)

    return score


def _mean_score(score: Scorer, runs: Sequence[Floats], true: Ints, rows: Ints | None = None) -> float:
    """The metric on those rows (all by default), averaged over replicates."""
    chosen = np.arange(len(true)) if rows is None else rows
    return float(np.mean([score(table, true, chosen) for table in runs]))


def _draws(metric: str, score: Scorer, tables: list[list[Floats]], true: Ints, resamples: int, seed: int) -> Floats:
    """The metric in every bootstrap sample, shape (resamples, configurations)."""
    # Loss and accuracy are means over examples: one matrix product instead of a call a sample and replicate.
    if metric in ("loss", "accuracy"):
        scores = [np.mean([_by_example(metric, table, true) for table in runs], axis=0) for runs in tables]
        return resampled_means(np.stack(scores, axis=1), resamples, seed)
    samples = resampled_rows(len(true), resamples, seed)
    return np.array([[_mean_score(score, runs, true, rows) for runs in tables] for rows in samples])


def _by_example(metric: str, table: Floats, true: Ints) -> Floats:
    """Loss, or 1 for a right answer and 0 for a wrong one, shape (examples,)."""
    return np.asarray(
        metrics.cross_entropy(table, true) if metric == "loss" else table.argmax(axis=1) == true, np.float64
    )


def _compared(keys: list[Any], value: Floats, draws: Floats, sign: float) -> pd.DataFrame:
    low, high = np.nanquantile(draws, [0.025, 0.975], axis=0)
    signed = np.where(np.isfinite(draws), sign * draws, -np.inf)
    winners = signed == signed.max(axis=1, keepdims=True)
    share = (winners / winners.sum(axis=1, keepdims=True)).mean(axis=0)
    difference = simultaneous_differences(value, draws, to=0)
    worse = difference.high < 0 if sign > 0 else difference.low > 0
    return pd.DataFrame(
        {
            "configuration": keys,
            "value": value,
            "low": low,
            "high": high,
            "probability_best": share,
            "difference": difference.estimate,
            "difference_low": difference.low,
            "difference_high": difference.high,
            "difference_error": difference.error,
            "adjusted_p": difference.p_value,
            "distinguishable": worse,
        }
    )

"""Speed and cost: samples a second with intervals, where time goes, what quality and each doubling cost.

Training speed comes from steady windows alone: no evaluation, no saving, no first steps. Trials that
took part of their work from a cache are told apart and never compared with trials that did not.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from harness.analysis.answer import Answer, nothing
from harness.analysis.parameters import is_numeric, keys, values
from harness.analysis.statistics import Interval, pareto_front, ratio_intervals, t_interval, t_quantile

BUSY = 0.1
"""From this share of the CPUs taken by other processes a measurement is marked: a tenth is more than the spread
between windows on an idle machine."""
BY_TRIALS = 3
"""With as many trials of one configuration the trials are the sample; with fewer, their windows."""

PHASES = ["load_seconds", "tokenise_seconds", "share_seconds", "train_seconds", "evaluate_seconds", "save_seconds"]
RATES = [
    "study",
    "configuration",
    "trials",
    "samples_per_second",
    "low",
    "high",
    "tokens_per_second",
    "padding",
    "sample",
    "n",
    "load",
    "busy",
    "shared",
]
DOUBLING = ["parameter", "factor", "low", "high", "trials"]
SAVED = ["kind", "trials", "fill_seconds", "saved_seconds", "net_seconds", "share", "silent"]
TOGETHER = "fused"  # as `group.py` writes it into `shared_work`
CURVE = ["train", "value", "low", "high", "n"]

Floats = npt.NDArray[np.float64]


def sharing(shared_work: Any) -> str:
    """How a trial shared work, such as "fused of 16, prefix at 6", kinds sorted; "" when it did all of its own.

    Trials compare in speed only where this is equal: a cut at another layer leaves other work to do, and a trial's
    share of a group's time hangs on how many there were.

    Args:
        shared_work: the column of `harness_summary`: JSON text, a mapping of kind -> amounts, or missing.
    """
    return ", ".join(_kind(kind, amount) for kind, amount in sorted(_amounts(shared_work).items()) if amount)


def _amounts(shared_work: Any) -> dict[str, Any]:
    """Kind of sharing -> its amounts."""
    if isinstance(shared_work, str) and shared_work:
        shared_work = json.loads(shared_work)
    return {str(kind): amount for kind, amount in shared_work.items()} if isinstance(shared_work, Mapping) else {}


def _kind(kind: str, amount: Any) -> str:
    amounts = amount if isinstance(amount, Mapping) else {}
    together = f" of {amounts['trials']}" if "trials" in amounts else ""
    return f"{kind}{together}" + (f" at {amounts['cut']}" if "cut" in amounts else "")


# --- samples a second ---------------------------------------------------------------------------


def rates(summary: pd.DataFrame, windows: pd.DataFrame, loads: pd.DataFrame | None = None) -> pd.DataFrame:
    """Training speed of each configuration with a 95% interval, fastest first.

    The rate is all samples over all seconds, so that long windows weigh more
    (`statistics.ratio_intervals`). The interval speaks of runs to come when a configuration ran in
    BY_TRIALS trials or more (`sample` is "trials"); with fewer it speaks of the steadiness of windows
    only. Compare rates only where `shared` is equal and `busy` is false.

    Args:
        summary: columns of `harness_summary`.
        windows: columns trial, seconds, samples, tokens, padded_tokens (and study, when of several);
            one row a window.
        loads: columns trial, load (other processes' share of the CPUs); one row an epoch.

    Returns:
        Columns RATES; padding is the share of padded places, load the mean, NaN when unknown.
    """
    about = summary[["study", "trial", "configuration"]].assign(shared=_shared(summary))
    joined = _with(about, windows)
    if joined.empty:
        return pd.DataFrame(columns=RATES)
    key = ["study", "configuration", "shared"]
    joined["group"] = joined.groupby(key, sort=False, dropna=False).ngroup()
    grouped = joined.groupby("group", sort=False)
    frame = grouped[key].first().assign(trials=grouped["trial"].nunique())
    sums = grouped[["samples", "seconds", "tokens", "padded_tokens"]].sum().astype("float64")
    by_trials = frame["trials"] >= BY_TRIALS
    over_trials = joined["group"].map(by_trials)
    merged = joined[over_trials].groupby(["group", "trial"], sort=False)[["samples", "seconds"]].sum().reset_index()
    units = pd.concat([merged, joined[~over_trials]], ignore_index=True)[["group", "samples", "seconds"]]
    intervals = ratio_intervals(units, "group", "samples", "seconds")
    frame = frame.join(intervals.rename(columns={"estimate": "samples_per_second"}))
    frame["tokens_per_second"] = sums["tokens"].replace(0.0, np.nan) / sums["seconds"]  # a script may not count them
    frame["padding"] = 1 - sums["tokens"].replace(0.0, np.nan) / sums["padded_tokens"].replace(0.0, np.nan)
    frame["sample"] = np.where(by_trials, "trials", "windows")
    frame["load"] = math.nan
    if loads is not None:
        mean = _with(about, loads).astype({"load": "float64"}).groupby(key)["load"].mean().rename("load")
        frame["load"] = frame[key].merge(mean.reset_index(), on=key, how="left")["load"].to_numpy()
    frame["busy"] = frame["load"] >= BUSY
    return frame[RATES].sort_values("samples_per_second", ascending=False, kind="stable", ignore_index=True)


def _shared(trials: pd.DataFrame) -> list[str]:
    return [sharing(work) for work in trials["shared_work"].tolist()]


def _with(about: pd.DataFrame, measured: pd.DataFrame) -> pd.DataFrame:
    return measured.merge(about, on=keys(measured, about), how="inner", validate="many_to_one")


def comparable(frame: pd.DataFrame) -> Answer:
    """The largest part of a frame whose trials shared work alike, since only those compare in speed.

    Args:
        frame: a column `shared` (as `rates` makes it), or `shared_work` of `harness_summary`.
    """
    if frame.empty:
        return Answer(frame)
    kinds = frame["shared"] if "shared" in frame.columns else pd.Series(_shared(frame), index=frame.index)
    # Ties go to trials that did all of their own work.
    most = min(kinds.value_counts().items(), key=lambda item: (-item[1], item[0]))[0]
    kept = frame[kinds == most]
    if len(kept) == len(frame):
        return Answer(frame)
    said = f"sharing {most}" if most else "that shared no work"
    return Answer(kept, f"only the {len(kept)} of {len(frame)} {said} are compared")


# --- where time goes ------------------------------------------------------------------------------


def phases(trials: pd.DataFrame) -> pd.DataFrame:
    """Seconds of each trial by phase; what no phase claims is `other_seconds`.

    Args:
        trials: columns trial (and study), total_seconds, and those of PHASES that are known (all but
            train_seconds come from the trial table, not from `harness_summary`).

    Returns:
        Columns trial (and study), the known PHASES, other_seconds, total_seconds; finished trials only.
    """
    known = [name for name in PHASES if name in trials.columns]
    timed = trials[trials["total_seconds"].notna()]
    frame = timed[[*keys(timed), *known]].reset_index(drop=True)
    total = timed["total_seconds"].astype("float64").reset_index(drop=True)
    # Clocks of phases may exceed the total by rounding.
    frame["other_seconds"] = (total - frame[known].astype("float64").sum(axis=1)).clip(lower=0.0)
    frame["total_seconds"] = total
    return frame


# --- what sharing saved -----------------------------------------------------------------------------


def saved_by_sharing(trials: pd.DataFrame) -> pd.DataFrame:
    """What each kind of sharing cost and saved, over all trials that took part in it.

    `saved_seconds` is what computing the taken features would have cost at the rate measured while
    filling; `fill_seconds` is what the trials spent on filling, and is charged against it.

    Args:
        trials: columns shared_work and total_seconds of `harness_summary`, one study.

    Returns:
        Columns SAVED, most saved first: share is net_seconds of what all trials would have taken without
        any sharing; silent counts trials that do not say both amounts, which count for nothing.
    """
    rows = [
        (kind, *(_number(amount, name) for name in ("fill_seconds", "saved_seconds")))
        for work in trials["shared_work"].tolist()
        for kind, amount in _amounts(work).items()
        if amount
    ]
    each = pd.DataFrame(rows, columns=["kind", "fill_seconds", "saved_seconds"])
    each["silent"] = each[["fill_seconds", "saved_seconds"]].isna().any(axis=1)
    each.loc[each["silent"], ["fill_seconds", "saved_seconds"]] = 0.0
    grouped = each.groupby("kind", sort=True)
    frame = grouped[["fill_seconds", "saved_seconds", "silent"]].sum().assign(trials=grouped.size()).reset_index()
    frame["net_seconds"] = frame["saved_seconds"] - frame["fill_seconds"]
    without = float(trials["total_seconds"].sum()) + float(frame["net_seconds"].sum())
    frame["share"] = frame["net_seconds"] / without if without > 0 else math.nan
    return frame[SAVED].sort_values("net_seconds", ascending=False, kind="stable", ignore_index=True)


def _number(amount: Any, name: str) -> float:
    value = amount.get(name) if isinstance(amount, Mapping) else None
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else math.nan


# --- quality against time -----------------------------------------------------------------------------


def quality_against_time(
    summary: pd.DataFrame, quality: str, direction: str, cost: str = "train_seconds"
) -> pd.DataFrame:
    """Mean quality and mean cost of each configuration's complete trials, and whether any other is better in both.

    Args:
        summary: columns of `harness_summary`.
        quality: a metric's column.
        direction: minimize or maximize, of the quality.
        cost: a column where less is better; a trial that shared work is cheap for a reason, see `shared`.

    Returns:
        Columns study, configuration, shared, quality and cost by their names, trials, front; cheapest first.
    """
    done = summary[summary["state"] == "complete"]
    done = done.assign(shared=_shared(done))
    grouped = done.groupby(["study", "configuration", "shared"], sort=False)
    frame = grouped[[quality, cost]].mean().assign(trials=grouped.size()).reset_index()
    frame["front"] = False
    for _, alike in frame.groupby("shared"):  # a cached trial's seconds are another thing than a whole trial's
        frame.loc[alike.index, "front"] = pareto_front(alike, {quality: direction, cost: "minimize"})
    return frame.sort_values(cost, kind="stable", ignore_index=True)


# --- what a doubling costs ------------------------------------------------------------------------------

FACTORS = ["model", "freeze", "dtype", "gradient_accumulation", "layer_decay"]
SIZES = ["batch_size", "max_length"]


def doubling(trials: pd.DataFrame, cost: str = "seconds_per_sample") -> Answer:
    """By what factor each doubling of batch_size and of max_length multiplies a cost.

    Least squares of log2(cost) on log2(batch_size) and log2(max_length), within groups of trials that
    are alike in everything else that changes speed (FACTORS and shared work): a fixed-effects
    regression (Wooldridge, "Introductory Econometrics", chapter 14), which with two trials a group is
    the comparison of matched pairs. The factor is 2 to the slope; its 95% interval uses t.

    Args:
        trials: columns of `harness_summary`; dtype and gradient_accumulation are read if there.
        cost: `seconds_per_sample` (from train_samples_per_second), or a column such as
            peak_memory_bytes or train_seconds.

    Returns:
        Columns DOUBLING; empty with a note when neither varies enough among trials alike otherwise. Trials that
        trained together are left out: their shares of one time are no measurements of their own.
    """
    done = trials[trials["state"] == "complete"]
    alone = done[np.array([TOGETHER not in _amounts(work) for work in done["shared_work"].tolist()], dtype=bool)]
    if alone.empty and len(done):
        return nothing(DOUBLING, "trials that trained together have a share of their group's time, none of their own")
    kept, note = comparable(alone)
    sizes = [name for name in SIZES if is_numeric(kept[name]) and kept[name].nunique() > 1]
    amount = _cost(kept, cost)
    use = np.isfinite(amount) & (amount > 0)
    kept, amount = kept[use], amount[use]
    if not sizes or len(kept) < 2:
        return nothing(DOUBLING, "not enough variation of batch_size or max_length to tell what a doubling costs")
    factors = [name for name in FACTORS if name in kept.columns]
    alike = pd.concat([values(kept[name]).astype("str") for name in factors], axis=1)
    groups = alike.groupby(factors, sort=False).ngroup()
    x = _within(np.log2(kept[sizes].to_numpy(dtype=np.float64)), groups)
    y = _within(np.log2(amount)[:, None], groups)[:, 0]
    return _slopes(sizes, x, y, len(kept) - groups.nunique(), note)


def _cost(trials: pd.DataFrame, cost: str) -> Floats:
    if cost == "seconds_per_sample":
        rate = trials["train_samples_per_second"].astype("float64").replace(0.0, np.nan)
        return np.asarray(1.0 / rate, np.float64)
    return trials[cost].to_numpy(dtype=np.float64, na_value=np.nan)


def _within(table: Floats, groups: pd.Series) -> Floats:
    """Each column minus the mean of its group, shape (trials, columns)."""
    means = pd.DataFrame(table).groupby(groups.to_numpy()).transform("mean")
    return np.asarray(table - means.to_numpy(), np.float64)


def _slopes(sizes: list[str], x: Floats, y: Floats, degrees: int, note: str) -> Answer:
    moving = np.ptp(x, axis=0) > 1e-9
    sizes, x = [name for name, moves in zip(sizes, moving, strict=True) if moves], x[:, moving]
    if not sizes or np.linalg.matrix_rank(x) < len(sizes):
        return nothing(DOUBLING, "not enough variation of batch_size or max_length among trials alike otherwise")
    slopes = np.linalg.lstsq(x, y, rcond=None)[0]
    free = degrees - len(sizes)
    half = np.full(len(sizes), np.nan)
    if free > 0:
        residuals = y - x @ slopes
        spread = float(residuals @ residuals) / free
        half = t_quantile(free) * np.sqrt(spread * np.diag(np.linalg.inv(x.T @ x)))
    low, high = 2 ** (slopes - half), 2 ** (slopes + half)
    frame = pd.DataFrame({"parameter": sizes, "factor": 2**slopes, "low": low, "high": high, "trials": len(y)})
    bare = "" if free > 0 else "too few trials for an interval"
    return Answer(frame, "; ".join(part for part in (note, bare) if part))


# --- more training rows -----------------------------------------------------------------------------------


def learning_curve(trials: pd.DataFrame, quality: str) -> Answer:
    """Mean quality at each size of the training set, with a t interval over the trials of that size.

    Args:
        trials: columns of `harness_summary`, and `train`, the number of training rows.
        quality: a metric's column.

    Returns:
        Columns CURVE, smallest size first; empty with a note when the size does not vary.
    """
    if "train" not in trials.columns:
        return nothing(CURVE, "the number of training rows did not vary")
    done = trials[(trials["state"] == "complete") & trials[quality].notna() & trials["train"].notna()]
    if done["train"].nunique() < 2:
        return nothing(CURVE, "the number of training rows did not vary among the complete trials")
    rows = [
        _curve_row(int(float(str(size))), t_interval(group[quality]))
        for size, group in done.groupby("train", sort=True)
    ]
    return Answer(pd.DataFrame(rows, columns=CURVE), "intervals over trials of one size, other parameters included")


def _curve_row(size: int, interval: Interval) -> dict[str, float]:
    return {"train": size, "value": interval.estimate, "low": interval.low, "high": interval.high, "n": interval.n}

"""Equal budgets: what each trial had reached when it had spent as many tokens, seconds or joules as the others.

Read off the recorded curves as step functions: a score counts from the end of the epoch that was evaluated, and nothing
is assumed between. Nothing is run again, so a trial whose schedule was made for more epochs is read in mid-schedule.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from harness.configuration import Objective

UNITS = ("tokens", "seconds", "joules")
CURVES = ["trial", "epoch", "value", *UNITS]
Groups = Mapping[int, Sequence[int]]  # configuration -> its trials


class Budgets(NamedTuple):
    """What can be compared equally: from the first budget by which all have a score to the most that all have spent."""

    first: float
    most: float


def curves(values: pd.DataFrame, records: pd.DataFrame, windows: pd.DataFrame) -> pd.DataFrame:
    """Score and everything spent until the end of each epoch, by trial.

    Args:
        values: columns trial, epoch, value: the score of each evaluated epoch.
        records: columns trial, epoch, steps (since the trial began), train_seconds, evaluate_seconds, save_seconds,
            energy_joules.
        windows: columns trial, epoch, steps, tokens: of the steady windows.

    Returns:
        Columns CURVES. Tokens are real ones of training; seconds are training, evaluation and saving; what loading,
        tokenising and the frozen parts took, which trials share, is left out. An amount that is not known for one
        epoch is missing from there on.
    """
    if records.empty:
        return pd.DataFrame(columns=CURVES)
    spent = records[["trial", "epoch", "steps"]].sort_values(["trial", "epoch"]).reset_index(drop=True)
    ordered = records.sort_values(["trial", "epoch"]).reset_index(drop=True)
    each = {
        "tokens": _tokens(spent, windows),
        "seconds": ordered[["train_seconds", "evaluate_seconds", "save_seconds"]]
        .astype("float64")
        .sum(axis=1, skipna=False),
        "joules": ordered["energy_joules"].astype("float64"),
    }
    for unit, amounts in each.items():
        spent[unit] = _until(amounts.to_numpy("float64"), spent["trial"].to_numpy("int64"))
    found = spent.merge(values[["trial", "epoch", "value"]], on=["trial", "epoch"], how="left")
    return found[CURVES]


def _until(amounts: npt.NDArray[np.float64], trials: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Running sum within each trial, whose rows lie together; what is missing once is missing from there on.

    All first epochs at once, then all second ones: a call for each of a hundred thousand trials takes most of a minute.
    """
    place = pd.Series(trials).groupby(trials).cumcount().to_numpy()
    sums = amounts.copy()
    order = np.argsort(place, kind="stable")
    for rows in np.split(order, np.cumsum(np.bincount(place))[:-1])[1:]:
        sums[rows] += sums[rows - 1]
    return sums


def _tokens(records: pd.DataFrame, windows: pd.DataFrame) -> pd.Series[float]:
    """Training tokens of each epoch: the windows leave out the first steps, and every epoch of a trial reads the same.

    Where no epoch was watched as a whole, the steps that were stand for those that were not.
    """
    seen = windows.groupby(["trial", "epoch"])[["steps", "tokens"]].sum().add_prefix("seen_").reset_index()
    frame = records.merge(seen, on=["trial", "epoch"], how="left").astype("float64")
    done = frame.groupby("trial")["steps"].diff().fillna(frame["steps"])
    scaled = frame["seen_tokens"] * done / frame["seen_steps"]
    whole = frame["seen_tokens"].where(frame["seen_steps"] == done)
    return whole.groupby(frame["trial"]).transform("max").fillna(scaled).astype("float64")


def equal(curves: pd.DataFrame, groups: Groups, unit: str) -> Budgets | None:
    """Between which budgets all configurations can be compared; None where there is none, or nothing is known."""
    rows = curves[curves["trial"].isin([trial for trials in groups.values() for trial in trials])]
    scored = rows[rows["value"].notna()]
    known = scored.groupby("trial")[unit]
    first, most = known.min(), known.max()
    wanted = {trial for trials in groups.values() for trial in trials}
    if len(groups) < 2 or set(first.dropna().index) != wanted or first.max() > most.min():
        return None
    return Budgets(float(first.max()), float(most.min()))


def epoch_at(curves: pd.DataFrame, trial: int, unit: str, budget: float, objective: Objective) -> int | None:
    """The epoch whose weights one would have kept after spending a budget; None where none was over by then."""
    rows = curves[(curves["trial"] == trial) & (curves[unit] <= budget * (1 + 1e-12))]
    values = {int(epoch): float(value) for epoch, value in zip(rows["epoch"], rows["value"], strict=True)}
    if objective.at == "last":
        return max((epoch for epoch, value in values.items() if np.isfinite(value)), default=None)
    return objective.best_epoch(values)


def reached(curves: pd.DataFrame, groups: Groups, unit: str, budget: float, objective: Objective) -> pd.DataFrame:
    """Mean score of each configuration's trials at a budget, best first; those with a trial that has none come last.

    Returns:
        Columns configuration, value, epochs (mean of those that the scores are of).
    """
    table = curves.set_index(["trial", "epoch"])["value"]
    rows = []
    for number, trials in groups.items():
        epochs = [epoch_at(curves, trial, unit, budget, objective) for trial in trials]
        found = [float(table[trial, epoch]) for trial, epoch in zip(trials, epochs, strict=True) if epoch is not None]
        whole = len(found) == len(trials)
        known = [epoch for epoch in epochs if epoch is not None]
        rows.append((number, np.mean(found) if whole else np.nan, np.mean(known) if whole else np.nan))
    frame = pd.DataFrame(rows, columns=["configuration", "value", "epochs"])
    ascending = objective.direction == "minimize"
    return frame.sort_values("value", ascending=ascending, kind="stable", ignore_index=True, na_position="last")


def steps(curves: pd.DataFrame, groups: Groups, unit: str, objective: Objective) -> pd.DataFrame:
    """The score of each configuration over the budget: where it changes, and the end of what was spent.

    Returns:
        Columns configuration, budget, value; a row for each budget at which one of its trials ended an epoch, as long
        as all of its trials were still running.
    """
    parts = []
    for number, trials in groups.items():
        rows = curves[curves["trial"].isin(list(trials))].dropna(subset=[unit])
        end = rows.groupby("trial")[unit].max().min() if set(rows["trial"]) == set(trials) else np.nan
        for budget in sorted({float(amount) for amount in rows[unit] if amount <= end}):
            value = reached(curves, {number: trials}, unit, budget, objective)["value"].iloc[0]
            if np.isfinite(value):
                parts.append((number, budget, float(value)))
    return pd.DataFrame(parts, columns=["configuration", "budget", "value"])


def leaders(curves: pd.DataFrame, groups: Groups, unit: str, objective: Objective) -> list[tuple[float, int]]:
    """From which budget which configuration has the best score, as measured, between those that compare equally."""
    between = equal(curves, groups, unit)
    if between is None:
        return []
    amounts = curves.loc[curves["trial"].isin([t for trials in groups.values() for t in trials]), unit]
    found: list[tuple[float, int]] = []
    for budget in sorted({float(a) for a in amounts.dropna() if between.first <= a <= between.most} | {between.first}):
        first = int(reached(curves, groups, unit, budget, objective)["configuration"].iloc[0])
        if not found or found[-1][1] != first:
            found.append((budget, first))
    return found


def alike(groups: Groups, kinds: Mapping[int, str]) -> dict[int, Sequence[int]]:
    """The most configurations whose trials shared work alike, for seconds and joules of others do not compare.

    Args:
        groups: configurations with their trials.
        kinds: trial -> how it shared work, as `speed.sharing` has it.
    """
    found: dict[str, dict[int, Sequence[int]]] = {}
    for number, trials in groups.items():
        own: Collection[str] = {kinds[trial] for trial in trials}
        if len(own) == 1:
            found.setdefault(next(iter(own)), {})[number] = trials
    return max((found[kind] for kind in sorted(found)), key=len, default={})

"""Overfitting of a study: verdict, gap and waste of each trial, the gap over two parameters, what to change.

Frames are those of `results/frames.py`; the rules are in `verdicts.py`. Drawing is the report's work.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

import harness.verdicts as verdicts
from harness.analysis.answer import Answer, nothing
from harness.analysis.parameters import KEYS, keys, levels, two_most_varied
from harness.curves import Curve
from harness.verdicts import Verdict

AT_MOST = 60

TABLE = [
    *KEYS,
    "verdict",
    "words",
    "strength",
    "reason",
    "best_loss_epoch",
    "last_epoch",
    "best_validation_loss",
    "last_validation_loss",
    "gap_at_best",
    "gap_at_last",
    "relative_rise",
    "epochs_after_best",
    "seconds_after_best",
    "seconds",
]


_STORED = ("reason", "verdict", "verdict_words", "verdict_evidence", "verdict_version")


def table(summary: pd.DataFrame, epochs: pd.DataFrame) -> pd.DataFrame:
    """One row a trial that trained: its verdict in words, gaps at the best and last epoch, spent after the best.

    The best epoch is that of the lowest validation loss. Verdicts are judged from the epochs' losses;
    where `summary` has `verdict_words` (stored when the trial ended, with the paired test that needs
    per-example losses) those words stand, and a stored `verdict` outweighs a judged one. Where
    `verdict_evidence` of the present rules is stored too, nothing is judged again.

    Args:
        summary: columns of `harness_summary`; `verdict_words` is read if there.
        epochs: columns of `harness_epoch`.

    Returns:
        Columns TABLE, one row a trial in the order of `summary`. Losses in nats, times in seconds,
        NaN where not measured.
    """
    trials = _measured(summary, epochs)
    trials = trials[trials["last_epoch"].notna() | (trials["reason"] == "diverged")]
    found = _found(trials, epochs)
    evidence = [each.evidence for each in found]
    words = ("strength", "reason")
    told = {name: pd.Series([each.get(name) for each in evidence], trials.index, object) for name in words}
    numbers = {name: _floats(each.get(name) for each in evidence) for name in ("best_epoch", *_MEASURED)}
    frame = trials.assign(
        verdict=[each.name for each in found],
        words=[each.words for each in found],
        **told,
        **numbers,
    )
    return frame.rename(columns={"best_epoch": "best_loss_epoch"})[TABLE].reset_index(drop=True)


_MEASURED = ("gap_at_best", "gap_at_last", "relative_rise", "epochs_after_best", "seconds_after_best")


def _floats(values: Iterable[float | None]) -> npt.NDArray[np.float64]:
    return np.array([math.nan if value is None else float(value) for value in values], dtype=np.float64)


def _measured(summary: pd.DataFrame, epochs: pd.DataFrame) -> pd.DataFrame:
    """Keys and stored verdict of each trial with what its epochs come to; missing where there are none."""
    known = [name for name in (*KEYS, *_STORED) if name in summary.columns]
    numbers = ("validation_loss", "epoch_seconds")
    curves = epochs[[*KEYS, "epoch"]].assign(**{name: epochs[name].astype("float64") for name in numbers})
    grouped = curves.sort_values("epoch", kind="stable").groupby(KEYS, sort=False)
    found = pd.DataFrame(
        {
            "last_epoch": grouped["epoch"].max().astype("float64"),
            "best_validation_loss": grouped["validation_loss"].min(),
            "last_validation_loss": grouped["validation_loss"].last(),  # the last that was measured
            "seconds": grouped["epoch_seconds"].sum(min_count=1),
        }
    )
    return summary[known].reset_index(drop=True).merge(found.reset_index(), on=KEYS, how="left", validate="one_to_one")


Losses = tuple[float, float, float]


def _curves(epochs: pd.DataFrame) -> dict[tuple[Any, Any], dict[int, Losses]]:
    """(study, trial) -> epoch -> training loss, validation loss and seconds; plain values, for there may be many."""
    measured = ("train_loss", "validation_loss", "epoch_seconds")
    columns = [epochs[name].astype("float64").tolist() for name in measured]
    found: dict[tuple[Any, Any], dict[int, Losses]] = {}
    keyed = zip(epochs["study"].tolist(), epochs["trial"].tolist(), epochs["epoch"].tolist(), strict=True)
    for (study, trial, epoch), losses in zip(keyed, zip(*columns, strict=True), strict=True):
        found.setdefault((study, trial), {})[int(epoch)] = losses
    return found


def _judge(curve: Mapping[int, Losses], diverged: bool) -> Verdict:
    """The verdict on a trial's losses; epochs without a row count as missing."""
    missing = (math.nan, math.nan, math.nan)
    by_epoch = [curve.get(epoch, missing) for epoch in range(1, max(curve, default=0) + 1)]
    train, validation, seconds = ([losses[place] for losses in by_epoch] for place in range(3))
    return verdicts.judge(Curve(train, validation, seconds, diverged=diverged))


class _Found(NamedTuple):
    """Name, words and evidence of a verdict."""

    name: str
    words: str
    evidence: Mapping[str, Any]


def _found(trials: pd.DataFrame, epochs: pd.DataFrame) -> list[_Found]:
    """The verdict on each trial: as stored by the present rules, else as judged here."""
    named = [trials[name].tolist() if name in trials else [None] * len(trials) for name in _STORED]
    stored = [dict(zip(_STORED, values, strict=True)) for values in zip(*named, strict=True)]
    ready = [_of_present_rules(each) for each in stored]
    keys_of = list(zip(*(trials[name].tolist() for name in KEYS), strict=True))
    lacking = trials.loc[[each is None for each in ready], KEYS]
    curves = _curves(epochs.merge(lacking, on=KEYS))
    return [
        _judged_here(trial, curves.get(key, {})) if known is None else known
        for trial, key, known in zip(stored, keys_of, ready, strict=True)
    ]


def _of_present_rules(trial: Mapping[str, Any]) -> _Found | None:
    name, words, evidence = (trial[key] for key in ("verdict", "verdict_words", "verdict_evidence"))
    whole = isinstance(name, str) and isinstance(words, str) and isinstance(evidence, Mapping)
    return _Found(name, words, evidence) if whole and trial["verdict_version"] == verdicts.VERSION else None


def _judged_here(trial: Mapping[str, Any], curve: Mapping[int, Losses]) -> _Found:
    verdict = _judge(curve, trial["reason"] == "diverged")
    judged = _stored(trial, verdict)
    if judged == (verdict.name, verdict.words):
        return _Found(*judged, verdict.evidence)
    return _Found(*judged, {**verdict.evidence, "strength": "", "reason": "as stored when the trial ended"})


def _stored(trial: Mapping[str, Any], verdict: Verdict) -> tuple[str, str]:
    """Name and words as stored, else as judged here."""
    name, words = trial.get("verdict"), trial.get("verdict_words")
    if not isinstance(name, str) or not name:
        return verdict.name, verdict.words
    if isinstance(words, str) and words:
        return name, words
    return name, verdict.words if name == verdict.name else name


# --- what was wasted, and what to change -------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Waste:
    """Spent after the best epoch, over all trials; what was not timed is left out.

    Attributes:
        trials: number of trials judged.
        epochs, all_epochs: epochs after the best one, and all that were run.
        seconds, all_seconds: wall clock of those epochs, and of all.
        counts: verdict -> trials, most frequent first.
    """

    trials: int
    epochs: int
    all_epochs: int
    seconds: float
    all_seconds: float
    counts: dict[str, int]


def waste(judged: pd.DataFrame) -> Waste:
    """Totals of a frame made by `table`."""
    timed = judged[judged["seconds_after_best"].notna()]
    return Waste(
        trials=len(judged),
        epochs=int(judged["epochs_after_best"].sum()),
        all_epochs=int(judged["last_epoch"].sum()),
        seconds=float(timed["seconds_after_best"].sum()),
        all_seconds=float(timed["seconds"].sum()),
        counts=dict(Counter(judged["verdict"].tolist()).most_common()),
    )


def counted(judged: pd.DataFrame) -> list[str]:
    """Each verdict with its trials, most frequent first: "3 healthy (1 of them learnt nothing yet)"."""
    idle = int((judged["words"] == verdicts.LEARNT_NOTHING).sum())
    aside = {"healthy": f" ({idle} of them learnt nothing yet)"} if idle else {}
    return [f"{count} {name}{aside.get(name, '')}" for name, count in waste(judged).counts.items()]


def advice(judged: pd.DataFrame) -> list[str]:
    """What to change in the next study, one sentence each; a verdict shared by more trials comes first.

    Args:
        judged: a frame made by `table`.
    """
    lines = []
    idle = judged[judged["words"] == verdicts.LEARNT_NOTHING]
    if len(idle):
        sentences = verdicts.advice("healthy", None, verdicts.LEARNT_NOTHING)
        lines.append(f"{_trials(idle.assign(verdict='learnt nothing yet'))}: {' '.join(sentences)}")
    for name, count in waste(judged).counts.items():
        of_name = judged[judged["verdict"] == name]
        turned = of_name[of_name["words"].str.contains("after epoch", regex=False)]
        if name == "overfitting" and len(turned):
            lines.append(_stop_earlier(turned, len(judged)))
        if name == "overfitting" and len(turned) == count:
            continue
        for sentence in verdicts.advice(name, None)[:1]:
            lines.append(f"{_trials(of_name.drop(turned.index) if name == 'overfitting' else of_name)}: {sentence}")
    return lines


def _stop_earlier(turned: pd.DataFrame, trials: int) -> str:
    epochs = int(turned["best_loss_epoch"].median())
    seconds = float(turned["seconds_after_best"].sum())
    long = f"{seconds:.3g} s" if seconds < 120 else f"{seconds / 60:.0f} min"
    saved = f", which would have saved {long}" if seconds > 0 else ""
    plural = "s" if epochs > 1 else ""
    when = f"after epoch {epochs}" if len(turned) == 1 else f"half of them after epoch {epochs} or earlier"
    return (
        f"{len(turned)} of {trials} trials overfit, {when}: "
        f"train for {epochs} epoch{plural} or stop early (patience 1 or 2){saved}; "
        "freezing more, more dropout and more training rows close the gap."
    )


def _trials(rows: pd.DataFrame, at_most: int = 8) -> str:
    numbers = [str(number) for number in rows["trial"].tolist()]
    shown = ", ".join(numbers[:at_most]) + (f" and {len(numbers) - at_most} more" if len(numbers) > at_most else "")
    return f"Trial{'s' if len(numbers) > 1 else ''} {shown} ({rows['verdict'].iloc[0]})"


# --- the gap over two parameters ---------------------------------------------------------------------


def gap_map(
    summary: pd.DataFrame,
    judged: pd.DataFrame,
    rows: str | None = None,
    columns: str | None = None,
    gap: str = "gap_at_last",
) -> Answer:
    """Mean gap of the trials at each pair of two parameters' values, for a heat map.

    Without names the two most varied parameters are taken: those with the most levels, ties in the
    order in which `records.TrialConfig` declares them. Numbers with more than five values are cut
    into five ranges with equally many trials.

    Args:
        summary: columns of `harness_summary`, and other hyperparameters where they vary.
        judged: a frame made by `table`.
        rows: parameter along the rows; None chooses.
        columns: parameter along the columns; None chooses.
        gap: gap_at_last or gap_at_best.

    Returns:
        Rows and columns are values of the parameters (named as index and columns); NaN where no trial was.
    """
    on = keys(summary, judged)
    joined = summary.merge(judged[[*on, gap]], on=on, validate="one_to_one").dropna(subset=[gap])
    chosen = [name for name in (rows, columns) if name is not None]
    chosen += [name for name in two_most_varied(joined) if name not in chosen][: 2 - len(chosen)]
    if len(chosen) < 2:
        return nothing([], "No heat map of the gap: fewer than two parameters vary among the trials that trained.")
    down, across = chosen if rows is not None or columns is None else chosen[::-1]
    grouped = pd.DataFrame({down: levels(joined[down]), across: levels(joined[across]), gap: joined[gap]})
    pivot = grouped.pivot_table(index=down, columns=across, values=gap, aggfunc="mean", observed=True)
    ends = gap.replace("_at_", " at the ")
    return Answer(pivot, f"mean {ends} epoch over {len(joined)} trials by {down} and {across}")


# --- which curves to draw ------------------------------------------------------------------------------


def choose_curves(judged: pd.DataFrame, summary: pd.DataFrame, at_most: int = AT_MOST) -> Answer:
    """The trials whose curves are drawn, each with the reason; all of them when they are few enough.

    The rule: a quarter of the places each for the best (lowest validation loss), the worst (highest),
    the most overfitting (largest gap at the last epoch) and failed near misses (failed or pruned, by
    lowest validation loss). Places left over go to the other trials by number. A trial is drawn once, for the first
    reason that chose it.

    Args:
        judged: a frame made by `table`.
        summary: columns of `harness_summary`, for the states.
        at_most: places.

    Returns:
        Columns study, trial, chosen_for; in the order of `judged`.
    """
    on = keys(summary, judged)
    frame = judged.merge(summary[[*on, "state"]], on=on, how="left", validate="one_to_one")
    chosen: dict[int, str] = {}
    if len(frame) <= at_most:
        chosen = dict.fromkeys(range(len(frame)), "all are shown")
    else:
        loss, missed = frame["best_validation_loss"].dropna(), frame["state"].isin(["failed", "pruned"])
        for reason, candidates in (
            ("best", loss.sort_values(kind="stable").index),
            ("worst", loss.sort_values(ascending=False, kind="stable").index),
            ("most overfitting", frame["gap_at_last"].dropna().sort_values(ascending=False, kind="stable").index),
            ("near miss", loss[missed[loss.index]].sort_values(kind="stable").index),
        ):
            fresh = (int(i) for i in candidates if int(i) not in chosen)
            chosen |= dict.fromkeys(list(itertools.islice(fresh, at_most // 4)), reason)
        rest = [int(i) for i in frame.sort_values(KEYS).index if int(i) not in chosen]
        chosen |= dict.fromkeys(rest[: at_most - len(chosen)], "by number")
    places = np.array(sorted(chosen), dtype=np.int64)
    picked = frame.loc[places, KEYS].assign(chosen_for=[chosen[int(i)] for i in places]).reset_index(drop=True)
    return Answer(picked, f"{len(picked)} of {len(frame)} curves are shown" if len(picked) < len(frame) else "")

"""Speed: samples a second by configuration, where the time of a trial goes, quality against time, cost of doublings."""

from __future__ import annotations

import pandas as pd

from harness.analysis import speed
from harness.metrics import costs
from harness.report import best
from harness.report.cells import cell, duration, is_fraction, points, significant
from harness.report.charts import bars, scatter
from harness.report.naming import listed, plural
from harness.report.section import Content, Drawing, Table, section
from harness.report.study_frames import StudyFrames

_TOO_WIDE = 4  # an interval from half to twice says nothing of a doubling
_AT_MOST = 30
_PHASES = {
    "load_seconds": "load",
    "tokenise_seconds": "tokenise",
    "share_seconds": "frozen parts",
    "train_seconds": "train",
    "evaluate_seconds": "evaluate",
    "save_seconds": "save",
    "other_seconds": "other",
}


@section(order=20, title="Speed")
def build(study: StudyFrames) -> Content:
    """Training speed with intervals, where time goes, quality against time, and what each doubling costs."""
    parts = [_rates(study), _saved(study), _phases(study), _quality(study), _doublings(study), _learning(study)]
    if not any(part.tables for part in parts):
        return Content(findings=["No trial trained long enough to measure its speed."])
    return Content(
        findings=[sentence for part in parts for sentence in part.findings],
        drawings=[drawing for part in parts for drawing in part.drawings],
        tables=[table for part in parts for table in part.tables],
        notes=[note for part in parts for note in part.notes],
    )


def _rates(study: StudyFrames) -> Content:
    windows, loads = (frame.assign(study=study.name) for frame in (study.windows, study.loads))
    rates = speed.rates(study.trials, windows, loads)
    if rates.empty:
        return Content()
    names = study.configurations
    rates["name"] = [names[int(number)] for number in rates["configuration"].tolist()]
    alike = speed.comparable(rates)
    kept, note = alike.frame, alike.note
    fastest, slowest = kept.iloc[0], kept.iloc[-1]
    busy = rates[rates["busy"].astype(bool)]
    findings = [] if busy.empty else [_busy(busy, len(rates))]
    measured = "trains fastest" if busy.empty else "was measured fastest"
    findings.append(f"Configuration {fastest['name']} {measured}: {_rate(fastest)}.")
    if len(kept) > 1:
        factor = significant(fastest["samples_per_second"] / slowest["samples_per_second"], 2)
        overlap = fastest["low"] <= slowest["high"]  # a missing bound overlaps with nothing
        told = "; their intervals overlap, so this may be chance" if overlap else ""
        findings.append(f"That is {factor} times the speed of the slowest, {slowest['name']}: {_rate(slowest)}{told}.")
    notes = [note] if note else []
    figure = bars.dots(_bounded(kept.head(_AT_MOST)), "name", "samples_per_second", "training samples/s")
    caption = (
        f"Training speed of {min(len(kept), _AT_MOST)} of {plural(len(rates), 'configuration')}, fastest first, with "
        "95% intervals: over trials where there are three or more, otherwise over the steady windows of that trial, "
        "which says nothing of other days. First steps, evaluation and saving are left out."
    )
    shown = _bounded(rates).rename(columns={"sample": "interval_over", "n": "count", "padding": "padding_share"})
    none_shared = ["shared"] if not shown["shared"].any() else []
    shown = _named(shown.drop(columns=["study", "configuration", *none_shared]), "configuration")
    table = Table("speed", shown, _TABLE.format(plural(len(rates), "configuration")))
    return Content(findings, (), [Drawing("speed-rates", figure, caption)], [table], notes)


def _busy(busy: pd.DataFrame, configurations: int) -> str:
    low, high = points(busy["load"].min()), points(busy["load"].max())
    took = f"{low}%" if low == high else f"{low}% to {high}%"
    return (
        f"{len(busy)} of {plural(configurations, 'configuration')} ran while other processes took {took} of the "
        "processors: speed is understated, and that may decide the order below."
    )


_TABLE = (
    "Training speed of {} with 95% intervals. Tokens are real ones; padding is the share of padded "
    "places; load is what other processes took of the processors. Only rows with equal shared work compare."
)


def _named(frame: pd.DataFrame, what: str) -> pd.DataFrame:
    """The column `name` first, under the heading of what it names."""
    return frame[["name", *[column for column in frame if column != "name"]]].rename(columns={"name": what})


def _bounded(rates: pd.DataFrame) -> pd.DataFrame:
    return rates.rename(columns={"low": "samples_per_second_low", "high": "samples_per_second_high"})


def _rate(row: pd.Series) -> str:
    interval = "" if pd.isna(row["low"]) else f" (95%: {significant(row['low'])} to {significant(row['high'])})"
    return f"{significant(row['samples_per_second'])} samples/s{interval}"


def _saved(study: StudyFrames) -> Content:
    frame = speed.saved_by_sharing(study.trials)
    if frame.empty:
        return Content()
    spent, net = float(study.trials["total_seconds"].sum()), float(frame["net_seconds"].sum())
    fill, saved = float(frame["fill_seconds"].sum()), float(frame["saved_seconds"].sum())
    cost = f"filling cost {duration(fill)}, and what was taken would have cost {duration(saved)} to compute"
    if net > 0:
        finding = (
            f"Without sharing the trials would have taken about {duration(spent + net)} instead of {duration(spent)}"
        )
    else:
        finding = f"Sharing saved nothing; without it the trials would have taken about {duration(spent + net)}"
        finding += f" instead of {duration(spent)}"
    silent = int(frame["silent"].sum())
    notes = (
        [f"{plural(silent, 'trial')} shared work without saying how much; they count for nothing."] if silent else []
    )
    caption = (
        "What was saved by sharing, by kind: seconds that trials spent on filling, seconds that computing what was "
        "taken would have cost at the rate measured while filling, and their difference, also as a share of what all "
        "trials would have taken without. An estimate: nothing was run twice."
    )
    named = {"kind": "shared", "share": "net_share"}
    table = Table("saved-by-sharing", frame.drop(columns="silent").rename(columns=named), caption)
    return Content([f"{finding}: {cost}."], (), (), [table], notes)


def _phases(study: StudyFrames) -> Content:
    frame = speed.phases(study.trials)
    if frame.empty:
        return Content()
    frame["name"] = [study.labels[int(trial)] for trial in frame["trial"].tolist()]
    known = {name: words for name, words in _PHASES.items() if name in frame and frame[name].notna().any()}
    total = float(frame["total_seconds"].sum())
    shares = {words: float(frame[name].sum()) / total for name, words in known.items()} if total else {}
    most = sorted(shares.items(), key=lambda item: -item[1])[:3]
    said = listed([f"{points(share)}% {words}" for words, share in most])
    findings = [f"{plural(len(frame), 'finished trial')} took {duration(total)} in all: {said}."]
    longest = frame.sort_values("total_seconds", ascending=False, kind="stable").head(_AT_MOST)
    figure = bars.stacked(longest, "name", known, "seconds")
    caption = (
        f"Where the wall clock went, of the {len(longest)} longest of {plural(len(frame), 'finished trial')}; "
        "other is what no phase claims: start-up, waiting, moving data."
    )
    shown = _named(frame[["name", *known, "total_seconds"]], "trial")
    table = Table("time", shown, "Seconds of each finished trial by phase.")
    return Content(findings, (), [Drawing("speed-phases", figure, caption)], [table])


def _quality(study: StudyFrames) -> Content:
    """Quality is the first objective that is no cost; the loss where there is none."""
    objective = next((each for each in study.objectives if each.metric not in costs()), None)
    column = "validation_loss" if objective is None or objective.metric == "loss" else objective.metric
    direction = "minimize" if objective is None else objective.direction
    if column not in study.trials or study.trials[column].isna().all():
        return Content()
    frame = speed.quality_against_time(study.trials, column, direction)
    frame = frame.dropna(subset=[column, "train_seconds"])
    if frame.empty:
        return Content()
    names = study.configurations
    frame["name"] = [names[int(number)] for number in frame["configuration"].tolist()]
    words = "validation loss" if column == "validation_loss" else column
    factor, unit = (100, " (%)") if is_fraction(column) else (1, "")
    drawn = frame.assign(number=frame["configuration"].astype("str"), quality=factor * frame[column])
    figure = scatter.front(drawn, "train_seconds", "quality", "front", "training time (s)", words + unit, "number")
    better = "lower" if direction == "minimize" else "higher"
    caption = (
        f"{words[:1].upper()}{words[1:]} at the best epoch ({better} is better) against training time, of "
        f"{plural(len(frame), 'configuration')} with complete trials, each the mean of its trials; numbers are "
        "configurations. On the front no other that shared work alike is both faster and better; differences within "
        "the interval of the search section may be chance."
    )
    shown = _named(frame[["name", column, "train_seconds", "trials", "front"]], "configuration")
    table = Table("quality-against-time", shown, f"{words[:1].upper()}{words[1:]} and training time, cheapest first.")
    return Content(_unbeaten(frame, words), (), [Drawing("speed-front", figure, caption)], [table])


def _unbeaten(frame: pd.DataFrame, words: str) -> list[str]:
    """The front of each way to share work, for only times of trials that shared alike compare."""
    found = []
    for shared in sorted(set(frame["shared"].tolist())):
        alike = frame[frame["shared"] == shared]
        front = alike.loc[alike["front"].astype(bool), "configuration"].tolist()
        how = f"that shared {shared}" if shared else "that shared no work"
        among = "" if frame["shared"].nunique() == 1 else f" {how}"
        found.append(
            f"As measured, no other beats configuration{'s' if len(front) > 1 else ''} {listed(front, 12)} of "
            f"{len(alike)}{among} in both {words} and training time."
        )
    return found


def _doublings(study: StudyFrames) -> Content:
    measured = {"seconds_per_sample": "time per sample", "peak_memory_bytes": "peak memory"}
    frames, findings, notes = [], [], []
    for cost, words in measured.items():
        answer = speed.doubling(study.trials, cost)
        notes += [f"Doublings, {words}: {answer.note}."] if answer.note else []
        for row in answer.frame.to_dict("records"):
            interval = "" if pd.isna(row["low"]) else f" (95%: {significant(row['low'])} to {significant(row['high'])})"
            if row["high"] > _TOO_WIDE * row["low"]:  # false where there are no bounds
                told = f"{row['trials']} trials cannot tell what a doubling of {row['parameter']} does{interval}"
                notes.append(f"Doublings, {words}: {told}.")
                continue
            findings.append(
                f"Each doubling of {row['parameter']} multiplies {words} by {significant(row['factor'])}{interval}."
            )
        frames.append(answer.frame.assign(cost=words))
    kept = [frame for frame in frames if len(frame)]
    if not kept:
        return Content(notes=notes)
    table = pd.concat(kept, ignore_index=True).rename(columns={"low": "factor_low", "high": "factor_high"})
    table = table[["parameter", "cost", "factor", "factor_low", "factor_high", "trials"]]
    caption = (
        "By what factor each doubling multiplies a cost, among complete trials alike in everything else that changes "
        "speed, with 95% intervals; a factor of 1 costs nothing."
    )
    return Content(findings, (), (), [Table("doublings", table, caption)], notes)


def _learning(study: StudyFrames) -> Content:
    column = "validation_loss" if study.objective.metric == "loss" else study.objective.metric
    if column not in study.trials:
        return Content()
    curve, note = speed.learning_curve(study.trials, column)
    if curve.empty:
        return Content()
    words = best.words_of(study.objective)
    factor, axis = best.axis_of(study.objective)
    named = curve.rename(columns={"low": f"{column}_low", "high": f"{column}_high", "value": column, "n": "trials"})
    ends = ("", "_low", "_high")
    drawn = named.assign(group=words, **{f"{column}{end}": factor * named[f"{column}{end}"] for end in ends})
    figure = scatter.lines(drawn, "train", column, "group", "training rows", axis)
    first, last = (cell(column, named[column].iloc[place]) for place in (0, -1))
    finding = (
        f"From {int(curve['train'].iloc[0])} to {int(curve['train'].iloc[-1])} training rows the mean "
        f"{axis} goes from {first} to {last}."
    )
    table = named[["train", *(f"{column}{end}" for end in ends), "trials"]]
    caption = f"Mean {words} at the best epoch by number of training rows, with 95% t intervals: {note}."
    return Content([finding], (), [Drawing("speed-learning", figure, caption)], [Table("learning", table, caption)])

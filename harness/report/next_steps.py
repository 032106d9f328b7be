"""What to run next after a night: go on, look beyond a border, confirm with new seeds, or take what there is."""

from __future__ import annotations

import shlex
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from harness.analysis import families, next_steps, replicated
from harness.analysis.power import POWER, pairs_needed
from harness.analysis.selection import one_standard_error
from harness.errors import HarnessError
from harness.grid import whole
from harness.metrics import costs
from harness.report import best, confirmed, stated
from harness.report.cells import cell, duration, is_fraction, parameter
from harness.report.confirmed import Confirmed
from harness.report.naming import listed, plural
from harness.report.study_frames import StudyFrames
from harness.results.choices import CHOSEN
from harness.results.holders import living_holders
from harness.results.rows import SCRIPT
from harness.spec import parse_study

SEEDS, MOST = 5, 5
"""New seeds that are advised, and configurations at most that are run with them."""
MOST_SEEDS = 30
"""A difference that more seeds than this would be needed to tell is not worth them."""
LATE = 0.8
"""A best trial that came in the last fifth of the search says that it had not settled."""


class Step(NamedTuple):
    """One thing to do.

    Attributes:
        words: what and why.
        command: that does it; empty where none does.
    """

    words: str
    command: str = ""


def of(study: StudyFrames) -> list[Step]:
    """What to run next, most pressing first; never empty."""
    if stated.is_published(study):
        return [Step("Nothing: these runs were made elsewhere; the report of a study of one's own judges them.")]
    if str((study.spec.get("data") or {}).get("path", "")).startswith(SCRIPT):
        return [Step("Run the script again with other seeds: it alone can, and with one seed little can be told.")]
    going_on = _unfinished(study)
    if best.of(study).standing is None:
        return going_on or [Step("No trial completed: mend first what failed.", _command("doctor", study.name))]
    if going_on:
        return going_on  # what is to be said of half a search or half a confirmation may be otherwise tomorrow
    found = confirmed.of(study)
    steps = [*_beyond(study), *_unconfirmed(study)] if found is None else _after_confirmation(study, found)
    return steps or [Step("Nothing: there is one configuration, and it ran as it should.")]


def total(study: StudyFrames) -> int | None:
    """Trials that the study will have, those that confirm included; None where that is not known."""
    chosen = study.incidents[study.incidents["kind"] == CHOSEN]
    try:
        spec = parse_study(str(study.row["text"]), name=study.name).spec
        return whole(spec, int(chosen.iloc[-1]["details"]["trials"]) if len(chosen) else None)
    except (HarnessError, KeyError, TypeError):  # the record may be another's
        return None


def holder(study: StudyFrames) -> str | None:
    """Process and machine that runs the study now; None when no one does."""
    with study.engine.connect() as connection:
        return next(iter(living_holders(connection, int(study.row["id"]))), None)


def _command(verb: str, *arguments: str) -> str:
    return " ".join(["harness", verb, *(each if each.startswith("--") else shlex.quote(each) for each in arguments)])


def _unfinished(study: StudyFrames) -> list[Step]:
    states = study.trials["state"]
    asked, ended = total(study), int(states.isin(["complete", "pruned", "failed"]).sum())
    left = max(asked - ended, 0) if asked is not None else int(states.isin(["waiting", "running"]).sum())
    if not left:
        return []
    if holder(study) is not None:
        return [Step(f"Wait: {plural(left, 'trial')} of {ended + left} still to come, and the study is running.")]
    return [
        Step(f"Go on: {plural(left, 'trial')} of {ended + left} still to come.", _command("run", study.name)),
    ]


# --- the search ---------------------------------------------------------------------------------------------


def _beyond(study: StudyFrames) -> list[Step]:
    """Where the best may lie outside of what was searched, or the search was not over."""
    found = best.of(study)
    assert found.trial is not None and found.standing is not None  # noqa: S101 - the caller has looked
    space = study.spec.get("search") or {}
    steps = [Step(_extend(each)) for each in next_steps.borders(space, found.trial)]
    if found.trial["verdict"] == "still learning":
        steps.append(Step(f"Train for more epochs: trial {found.standing.best} was still learning at its last one."))
    return [*steps, *_more_trials(study, space)]


def _extend(border: next_steps.Border) -> str:
    way = "below" if border.end == "low" else "above"
    limit, value = (parameter(number).replace("−", "-") for number in (border.limit, border.value))
    said = f", with {value}" if value != limit else ""
    return f"Extend {border.parameter} {way} {limit}: the best lies at that end of what was searched{said}."


def _more_trials(study: StudyFrames, space: Any) -> list[Step]:
    budget = (study.spec.get("budget") or {}).get("trials")
    done = study.trials[study.trials["state"] == "complete"].sort_values("trial")
    if not space or not budget or best.several(study) or len(done) < 8:
        return []
    more = _command("run", study.name, "--set", f"budget.trials={2 * int(budget)}")
    values = done["objective"].astype("float64").to_numpy()
    if study.spec.get("sampler") == "random":
        return _doubled(study, values, more)
    place = next_steps.place_of_best(values, study.objective.direction)
    if place is None or place <= LATE * len(values):
        return []
    words = f"The best came as number {place} of {len(values)} complete trials: the search may not be over."
    return [Step(words, more)]


def _doubled(study: StudyFrames, values: Any, more: str) -> list[Step]:
    """What the second half of a random search was worth is what another doubling may be worth, and hardly more."""
    found = next_steps.doubling(values, study.objective.direction)
    frame = best.of(study).sureness.frame
    if found is None or len(frame) < 2:
        return []
    worth = found.gain > float(frame["difference_error"].iloc[1])
    if not worth:
        return []
    gain = _difference(study, found.gain)
    words = f"Doubling the trials from {found.half} to {len(values)} was worth {gain}: more of them may be worth it."
    return [Step(words, more)]


# --- before and after a confirmation --------------------------------------------------------------------------


def _unconfirmed(study: StudyFrames) -> list[Step]:
    places, sureness = best.standings(study), best.of(study).sureness
    if len(places) < 2 or study.objective.metric in costs():
        return []
    what, leader = best.noun(study), best.numbers(study)[places[0].configuration]
    alike = sureness.not_distinguishable
    top = min(len(alike) + 1, MOST) if alike else 2
    seeds = _seeds_needed(study)
    command = _command("confirm", study.name, "--top", str(top), "--seeds", str(seeds))
    runs = f"run the best {top} again with {seeds} new seeds"
    if not alike:
        first = f"Confirm: {what} {leader} leads by the seeds that it had; {runs}."
        return [Step(first, command), *_cheaper(study)]
    others = listed([best.numbers(study)[number] for number in alike], 4)
    noun = f"{what}s" if len(alike) > 1 else what
    words = f"Confirm: {what} {leader} cannot be told apart from {noun} {others}; {runs}.{_examples_needed(study)}"
    return [Step(words, command), *_cheaper(study)]


def _seeds_needed(study: StudyFrames) -> int:
    """From the seeds that the first two share, where they share several; SEEDS otherwise."""
    first, second = best.standings(study)[:2]
    runs = [(each.configuration, run.replicate, run.objective) for each in (first, second) for run in each.runs]
    frame = pd.DataFrame(runs, columns=["configuration", "replicate", "value"])
    table = replicated.by_seed(frame, int((study.spec.get("data") or {}).get("folds") or 1))
    apart = (table[first.configuration] - table[second.configuration]).dropna()
    needed = pairs_needed(float(apart.mean()), float(apart.std(ddof=1))) if len(apart) > 1 else None
    return SEEDS if needed is None else min(max(needed, SEEDS), MOST_SEEDS)


def _examples_needed(study: StudyFrames) -> str:
    """With how many validation examples the lead over the runner-up could be told, were the seed no matter."""
    frame = best.of(study).sureness.frame
    examples = 0 if study.examples.empty else len(study.examples)
    if len(frame) < 2 or not examples:
        return ""
    row: dict[Any, Any] = frame.iloc[1].to_dict()
    pairs = len(frame) * (len(frame) - 1) // 2  # the bounds hold for all of them at once
    needed = families.of_all_at_once("", "", study.objective.metric, row, examples, pairs).needed
    if needed is None or needed <= examples:
        return ""
    number = best.numbers(study)[int(row["configuration"])]
    return (
        f" To tell a lead of {_difference(study, abs(float(row['difference'])))} over {best.noun(study)} {number} on "
        f"one seed would take {_rounded(needed)} validation examples, not {examples:,} ({POWER:.0%} power)."
    )


def _rounded(number: int) -> str:
    """Two digits of a large figure, which is rough."""
    return str(number) if number < 1000 else f"about {int(float(f'{number:.1e}')):,}"


def _cheaper(study: StudyFrames) -> list[Step]:
    """One standard error: the cheapest that is not clearly worse than the best."""
    frame = best.of(study).sureness.frame
    if len(frame) < 2:
        return []
    seconds = study.trials.groupby("configuration")["train_seconds"].mean()
    prices = [float(seconds.get(number, np.nan)) for number in frame["configuration"].tolist()]
    values = frame["value"].to_numpy(dtype=np.float64)
    row = one_standard_error(values, frame["difference_error"], prices, study.objective.direction)
    if not row or not np.isfinite(prices[0]):
        return []
    number = best.numbers(study)[int(frame["configuration"].iloc[row])]
    name = "validation_loss" if study.objective.metric == "loss" else study.objective.metric
    unit = "%" if is_fraction(name) else ""
    words = (
        f"Where time matters take {best.noun(study)} {number}: {cell(name, values[row])}{unit} lies within one "
        f"standard error of the best, and training took {duration(prices[row])}, not {duration(prices[0])}."
    )
    return [Step(words)]


def _after_confirmation(study: StudyFrames, found: Confirmed) -> list[Step]:
    """More seeds where they could still tell; else what to take."""
    means = found.table.mean()
    if means.dropna().empty:
        return []
    leader = int(str(means.idxmax() if study.objective.direction == "maximize" else means.idxmin()))
    name = found.names[leader]
    untold = [
        (each, pair)
        for each, pair in zip(found.comparisons, found.pairs, strict=True)
        if leader in pair and not each.told_apart
    ]
    met = {number for pair in found.pairs if leader in pair for number in pair}
    unmet = [found.names[number].partition(" (")[0] for number in means.dropna().index if number not in met]
    if not untold:
        words = f"Nothing: {name} has the best mean over the new seeds and is told apart from all that it was run with."
        if unmet:
            words = (
                f"Take {name}: it has the best mean over the new seeds. It was not compared with {listed(unmet)}, for "
                "the pairs were settled before anything was measured."
            )
        return [Step(words, _command("report", study.name, "--paper"))]
    worth = {
        found.names[b if a == leader else a].partition(" (")[0]: each.needed
        for each, (a, b) in untold
        if each.needed is not None and len(found.table) < each.needed <= MOST_SEEDS
    }
    if not worth:
        return [_take(study, found, leader, f"more than {MOST_SEEDS} seeds would be needed to tell; ")]
    most = max(worth.values())
    words = f"{most} seeds in all would tell {name} from {listed([*worth], 3)}, if the difference is as it looks."
    command = _command("confirm", study.name, "--seeds", str(most))
    return [Step(words, command), _take(study, found, leader, "without more seeds ")]


def _take(study: StudyFrames, found: Confirmed, leader: int, why: str) -> Step:
    prices = found.costs()
    chosen = replicated.cheapest(found.table, prices, study.objective.direction)
    if chosen is None or chosen == leader:
        return Step(f"Take {found.names[leader]}: {why}it has the best mean, and nothing as good is cheaper.")
    best_mean = found.names[leader].partition(" (")[0]
    return Step(
        f"Take {found.names[chosen]}: {why}it is the cheapest within one standard error of the best mean, that of "
        f"{best_mean}: {duration(prices[chosen])} of training, not {duration(prices[leader])}."
    )


def _difference(study: StudyFrames, value: float) -> str:
    metric = "validation_loss" if study.objective.metric == "loss" else study.objective.metric
    return f"{100 * value:.1f} points" if is_fraction(metric) else cell(metric, value)

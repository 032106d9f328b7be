"""The morning after: what ran, what failed and why, what was mended by itself, the best so far, what to run next.

Computed once; the report's first screen and `harness status --morning` show it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from harness.analysis import overfitting, parameters, record, replicated
from harness.metrics import costs
from harness.records import STATES
from harness.report import best, confirmed, expected, next_steps
from harness.report.cells import cell, duration, is_fraction
from harness.report.confirmed import Confirmed
from harness.report.naming import listed, plural, unstated, value
from harness.report.next_steps import Step
from harness.report.plain import ARROW
from harness.report.study_frames import StudyFrames
from harness.results.choices import CHOSEN, OPENED

_ALWAYS = ["model", "epochs", "batch_size", "learning_rate", "max_length", "freeze"]
_NO_TROUBLE = {CHOSEN, OPENED, "reproduction"}
_MENDED = {
    "oom": "out of memory, gone on without CUDA graphs or in smaller parts of a batch",
    "worker_died": "a worker died and was replaced, its work went on",
    "node_died": "a node died, its work went on elsewhere",
    "interrupted": "interrupted, gone on from the last checkpoint",
    "begun_anew": "begun anew, so that its record is of one run",
    "group_failed": "trials that trained together went on one by one",
    "graphs_refused": "steps were launched one by one instead of as CUDA graphs, more slowly",
    "checkpoint_refused": "a damaged checkpoint was set aside",
    "cache_damaged": "a damaged part of the cache was worked out again",
    "adaptation_damaged": "a damaged adapted encoder was made again",
}
_REMEDIES = {
    "oom": "Shorten max_length, or freeze more: not even one row fitted.",
    "diverged": "Lower learning_rate or warm up longer.",
    "hung": "See the worker's log; `watchdog` sets the minutes that it may be silent.",
    "crashed": "The worker's log tells how it died.",
    "data": "`harness audit` tells what is wrong with the data.",
    "disk": "Make room on the disk; `harness run` goes on.",
}


class Morning(NamedTuple):
    """What the first screen says, in sentences.

    Attributes:
        best: the best so far, its interval, what is expected of it again, how sure it is.
        steps: what to run next, most pressing first.
        ran, failed, mended: empty where there is nothing to tell.
    """

    study: str
    best: Sequence[str]
    steps: Sequence[Step]
    ran: Sequence[str]
    failed: Sequence[str]
    mended: Sequence[str]

    def groups(self) -> list[tuple[str, list[str]]]:
        """Everything but the best under its heading; a step's command stands after it."""
        steps = [f"{each.words}{ARROW}{each.command}" if each.command else each.words for each in self.steps]
        groups = [("What to run next", steps), ("What ran", [*self.ran])]
        groups += [("What failed and why", [*self.failed]), ("What was mended by itself", [*self.mended])]
        return [(title, sentences) for title, sentences in groups if sentences]

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**self._asdict(), "steps": [each._asdict() for each in self.steps]}


def of(study: StudyFrames) -> Morning:
    """The morning of a study, from its record alone."""
    return study.once("morning", lambda: _find(study))


def _find(study: StudyFrames) -> Morning:
    mended, noted = _incidents(study)
    return Morning(study.name, _best(study), next_steps.of(study), _ran(study), [*_failed(study), *noted], mended)


# --- the best -------------------------------------------------------------------------------------------------


def _best(study: StudyFrames) -> list[str]:
    found, again = best.of(study), confirmed.of(study)
    said = []
    if found.trial is not None:
        words = f"{_configuration(study, found)}, with {found.value} ({_which(study, found)})"
        said.append(f"Best configuration: {words}.")
    said.append(found.certainty)
    said += [_interval(study), _again(study, again) if again is not None else expected.words(study)]
    return [sentence for sentence in said if sentence]


def _configuration(study: StudyFrames, found: best.Best) -> str:
    assert found.trial is not None  # noqa: S101 - the caller has looked
    names = parameters.varied(study.trials) or _ALWAYS
    return ", ".join(f"{name} {value(found.trial[name])}" for name in names if not unstated(name, found.trial[name]))


def _which(study: StudyFrames, found: best.Best) -> str:
    assert found.standing is not None  # noqa: S101 - the caller has looked
    numbers = [run.trial for run in found.standing.runs]
    trials = f"trial{'s' if len(numbers) > 1 else ''} {listed(numbers)}"
    return f"configuration {found.standing.configuration}, {trials}" if best.several(study) else trials


def _interval(study: StudyFrames) -> str:
    """The 95% interval of the best score over the validation examples."""
    frame, metric = best.of(study).sureness.frame, study.objective.metric
    if frame.empty or metric in costs():
        return ""
    name, unit = _written(metric)
    low, high = (f"{cell(name, float(frame[end].iloc[0]))}{unit}" for end in ("low", "high"))
    seeds = "" if best.several(study) else "; another seed may move it further"
    return f"95% interval over other examples of this kind: {low} to {high} (bootstrap){seeds}."


def _again(study: StudyFrames, found: Confirmed) -> str:
    """What the best comes to over the new seeds, with Student's interval, and which one has a better mean there.

    The best is the one named above it, else the search's choice, and never the one that these rows make look best: its
    mean is flattered by having been picked, and its interval covers less than it says.
    """
    measured: list[dict[Any, Any]] = replicated.means(found.table).dropna(subset=["value"]).to_dict("records")
    means = {int(row["configuration"]): row for row in measured}
    standing = best.of(study).standing
    named = [] if standing is None else [standing.configuration]
    mine = next((number for number in (*named, *found.best) if number in means), None)
    if mine is None:
        return ""
    name, unit = _written(found.metric)
    own = means[mine]
    number, low, high = (f"{cell(name, float(own[f'value{end}']))}{unit}" for end in ("", "_low", "_high"))
    rows = f"{found.examples:,} " if found.examples else ""
    said = (
        f"Confirmed over {plural(int(own['seeds']), 'new seed')}: {found.names[mine]} comes to {number} on the "
        f"{rows}{found.split} rows, 95% interval {low} to {high} (Student's t over the seeds)."
    )
    sign = 1 if study.objective.direction == "minimize" else -1
    other = min(means, key=lambda number: sign * float(means[number]["value"]))
    if other == mine or means[other]["value"] == own["value"]:
        return said
    better = f"{cell(name, float(means[other]['value']))}{unit}"
    there = f"{_capital(found.names[other])} has a better mean there, {better}"
    return f"{said} {there}: Comparison says what that is worth."


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]


def _written(metric: str) -> tuple[str, str]:
    """Column name and unit of a metric's values."""
    name = "validation_loss" if metric == "loss" else metric
    return name, "%" if is_fraction(name) else ""


# --- what ran -------------------------------------------------------------------------------------------------


def _ran(study: StudyFrames) -> list[str]:
    counts = study.trials["state"].value_counts()
    said = [f"{int(counts[state])} {state}" for state in STATES if state in counts.index]
    if not said:
        return ["No trial was started."]
    failed = study.trials[study.trials["state"] == "failed"]
    reasons = ", ".join(f"{count} {reason}" for reason, count in failed["reason"].value_counts().items())
    trials = f"{plural(len(study.trials), 'trial')}: {listed(said)}{f' (failed: {reasons})' if reasons else ''}."
    judged = study.judged
    verdicts = "" if judged.empty else f"Verdicts: {listed(overfitting.counted(judged))}."
    return [sentence for sentence in (trials, _when(study), verdicts) if sentence]


def _when(study: StudyFrames) -> str:
    sessions = study.sessions
    if sessions.empty:
        return ""
    started, last = str(sessions["started_at"].iloc[0]), sessions["ended_at"].iloc[-1]
    running = next_steps.holder(study) is not None
    until = f" to {_minute(last)} UTC" if isinstance(last, str) else " UTC on" if running else " UTC, its end unknown"
    spent, count = duration(float(sessions["seconds"].sum())), plural(len(sessions), "invocation")
    return f"From {_minute(started)}{until}, {spent} in {count}."


def _minute(time: str) -> str:
    return time[:16].replace("T", " ")


def _failed(study: StudyFrames) -> list[str]:
    """A sentence for each reason, with the trials, the first message and what helps."""
    said = []
    for row in record.failures(study.trials).to_dict("records"):
        trials = f"trial{'s' if row['trials'] > 1 else ''} {listed(row['numbers'].split(', '))}"
        message = str(row["message"]).strip().split("\n")[0].rstrip(".")
        why = f": {message}" if message else ""
        said.append(f"{row['trials']} {row['reason']} ({trials}){why}. {_REMEDIES.get(str(row['reason']), '')}".strip())
    return said


def _incidents(study: StudyFrames) -> tuple[list[str], list[str]]:
    """What was mended by itself, and what happened and was only written down, by kind and most frequent first."""
    happened = study.incidents[~study.incidents["kind"].isin(list(_NO_TROUBLE))]
    mended, noted = [], []
    for row in record.incidents(happened).to_dict("records"):
        where = f" (trial{'s' if ',' in row['trials'] else ''} {listed(row['trials'].split(', '))})"
        times, where = f"{row['count']} ×" if row["count"] > 1 else "once", where if row["trials"] else ""
        if row["kind"] in _MENDED:
            words = _MENDED[row["kind"]]
            mended.append(f"{words[:1].upper()}{words[1:]}, {times}{where}.")
        else:
            message = str(row["message"]).strip().split("\n")[0].rstrip(".")
            noted.append(f"Noted {times}, {row['kind']}{where}: {message}.")
    return mended, noted

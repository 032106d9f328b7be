"""Chosen trials side by side, of one study or several: curves, speed, and differences on the same examples.

The first trial named is the one that the others are compared with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from harness.analysis import families, overfitting, parameters, statistics
from harness.analysis.families import Comparison
from harness.analysis.sentences import sentence
from harness.errors import StorageError, UsageError
from harness.report import answered, best, flips, outputs, plain, spent, stated
from harness.report.build import write
from harness.report.cells import is_missing
from harness.report.charts import bars, curves
from harness.report.flips import Flipped
from harness.report.naming import describe, listed, plural
from harness.report.pieces import guarded
from harness.report.section import Content, Drawing, Table
from harness.report.study_frames import StudyFrames, opened

_SHOWN = [
    "state",
    "best_epoch",
    "validation_loss",
    "accuracy",
    "exact_match",
    "f1",
    "mcc",
    "last_validation_loss",
    "train_seconds",
    "total_seconds",
    "train_samples_per_second",
    "peak_memory_bytes",
    "trainable_parameters",
    "verdict_words",
]


class Compared(NamedTuple):
    """A comparison as text for a terminal, the files written with the page first, and what could not be made."""

    text: str
    paths: tuple[Path, ...]
    failures: tuple[str, ...]


def compare(engine_target: str | Path, trials: Sequence[tuple[str, int]], folder: str | Path) -> Compared:
    """Write a page, figures and tables of the chosen trials below `folder`, and return the same as text.

    Args:
        engine_target: path of results.db, or the URL of a server.
        trials: (study, number) of two or more trials; the first is the one that others are compared with.

    Raises:
        UsageError: there is no such study or trial, or fewer than two are named.
        StorageError: the folder cannot be written.
    """
    folder = Path(folder)
    with ExitStack() as stack:
        studies: dict[str, StudyFrames] = {}
        for name in dict.fromkeys(name for name, _ in trials):
            studies[name] = opened(engine_target, name)
            stack.callback(studies[name].close)
        chosen = choose(studies, trials)
        built = guarded("compare", "Comparison", lambda: content(chosen))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        paths = write(folder, " and ".join(each.name for each in chosen), "", [built])
    except OSError as error:
        raise StorageError(f"the comparison cannot be written below {folder}: {error}") from error
    return Compared(plain.text(built), tuple(paths), (built.failure,) if built.failure else ())


@dataclass(frozen=True)
class Chosen:
    """One of the trials compared: its study's frames, its row, and its name such as `tweets:4`."""

    study: StudyFrames
    row: Mapping[Any, Any]

    @property
    def name(self) -> str:
        """STUDY:NUMBER, and whether it was made elsewhere."""
        return f"{self.study.name}:{self.row['trial']}{' (published)' if stated.is_published(self.study) else ''}"

    @property
    def number(self) -> int:
        """The trial's number within its study."""
        return int(self.row["trial"])


def choose(studies: Mapping[str, StudyFrames], wanted: Sequence[tuple[str, int]]) -> list[Chosen]:
    """The trials of those studies and numbers, in order.

    Raises:
        UsageError: for fewer than two trials, one named twice, or a number that the study does not have.
    """
    if len(wanted) < 2 or len(set(wanted)) < len(wanted):
        raise UsageError(f"compare takes two or more different trials as STUDY:NUMBER, got {_written(wanted)}")
    found = []
    for name, number in wanted:
        rows = studies[name].trials
        row = rows[rows["trial"] == number]
        if row.empty:
            raise UsageError(f"study {name!r} has no trial {number}; its trials are 0 to {len(rows) - 1}")
        found.append(Chosen(studies[name], row.iloc[0].to_dict()))
    return found


def _written(wanted: Sequence[tuple[str, int]]) -> str:
    return ", ".join(f"{name}:{number}" for name, number in wanted) or "none"


def content(chosen: Sequence[Chosen]) -> Content:
    """What a report section would say, for the chosen trials."""
    family, reasons = _differences(chosen)
    rates = _rates(chosen)
    once = [len(_values_by_seed(each)) < 2 for each in chosen]
    table = Table("compared", _side_by_side(chosen), "The trials side by side; metrics at the best epoch.", once)
    drawings, tables = [_curves(chosen)], [table]
    tables += _equal_budgets(chosen)
    if len(rates):
        figure = bars.dots(rates, "trial", "samples_per_second", "training samples/s")
        caption = "Training speed with 95% intervals over the steady windows of each trial; other days are not in them."
        drawings.append(Drawing("compare-speed", figure, caption))
        tables.append(Table("compare-speed", rates, caption))
    if family:
        caption = _DIFFERENCES.format(chosen[0].name) + (_WITHOUT_PAIRS if any(each.shares for each in family) else "")
        tables.append(Table("compare-differences", _table(family), caption))
    flipped = _flips(chosen)
    if any(len(each.rows) for each in flipped):
        rows = pd.concat([each.rows for each in flipped], ignore_index=True)
        tables.append(Table("compare-flips", rows, _FLIPS.format(flips.AT_MOST, chosen[0].name)))
    findings = [
        *(f"{sentence(each)}." for each in [*_over_seeds(chosen), *family]),
        *(each.said for each in flipped),
        *_standings(chosen),
        *_verdicts(chosen),
    ]
    return Content(findings, (), drawings, tables, reasons)


_DIFFERENCES = (
    "Difference to {}, on the same validation examples at each trial's best epoch: exact McNemar test for right and "
    "wrong, a bootstrap over the examples for other scores; p values are corrected for the number of comparisons "
    "(Holm). Two runs are compared: other seeds are not in the interval."
)
_WITHOUT_PAIRS = (
    " With published runs no pairs are known: there Fisher's exact test and Newcombe's interval compare two shares, "
    "each at the last epoch where none is stated of the best."
)
_FLIPS = (
    "Validation examples that a trial answers otherwise than {1}, at most {0} of each, the surest new answers "
    "first; source row counts the rows of the data as read, from 0."
)
_COMPARED = ["a", "b", "metric", "difference", "difference_low", "difference_high", "adjusted_p", "test", "examples"]


def _table(family: Sequence[Comparison]) -> pd.DataFrame:
    """Differences as raw values, of fractions too."""
    return families.table(family)[[*_COMPARED, "needed"]]


def _over_seeds(chosen: Sequence[Chosen]) -> list[Comparison]:
    """The configurations of the trials over their seeds, where both sides have several and the data are the same."""
    first, found = chosen[0], []
    for other in chosen[1:]:
        same_data = _data_fingerprint(first) is not None and _data_fingerprint(first) == _data_fingerprint(other)
        same_goal = first.study.objective == other.study.objective and _missing(first.row["fold"]) is None
        mine, theirs = _values_by_seed(first), _values_by_seed(other)
        of_one = first.study.name == other.study.name and first.row["configuration"] == other.row["configuration"]
        if not same_data or not same_goal or of_one or min(len(mine), len(theirs)) < 2:
            continue
        common = sorted(mine.keys() & theirs.keys())
        a, b = (f"the configuration of {each.name}" for each in (other, first))
        metric, examples = first.study.objective.metric, len(first.study.examples) or None
        if len(common) > 1:
            sides = [[values[seed] for seed in common] for values in (theirs, mine)]
            found.append(families.over_seeds(a, b, metric, sides[0], sides[1], examples))
        else:
            sides = [list(values.values()) for values in (theirs, mine)]
            found.append(families.over_other_seeds(a, b, metric, sides[0], sides[1], examples))
    return families.corrected(found)


def _values_by_seed(each: Chosen) -> dict[int, float]:
    """Seed -> objective of the complete trials of a trial's configuration."""
    trials = each.study.trials
    own = trials[(trials["configuration"] == each.row["configuration"]) & (trials["state"] == "complete")]
    own = own[own["objective"].notna()]
    return {
        int(seed): float(value) for seed, value in zip(own["seed"].tolist(), own["objective"].tolist(), strict=True)
    }


def _side_by_side(chosen: Sequence[Chosen]) -> pd.DataFrame:
    rows = pd.DataFrame([dict(each.row) for each in chosen])
    varied = [name for name in parameters.varied(rows) if name in rows]
    shown = rows[[name for name in (*varied, *_SHOWN) if name in rows and not rows[name].isna().all()]]
    shown.insert(0, "name", [each.name for each in chosen])
    return shown.rename(columns={"verdict_words": "verdict", "name": "trial"})


def _names(chosen: Sequence[Chosen]) -> dict[str, str]:
    rows = pd.DataFrame([dict(each.row) for each in chosen])  # a published run has but the columns that it states
    varied = parameters.varied(rows)
    described = zip(chosen, rows.to_dict("records"), strict=True)
    return {each.name: f"{each.name} {describe(row, varied)}".strip() for each, row in described}


def _curves(chosen: Sequence[Chosen]) -> Drawing:
    parts = [each.study.epochs[each.study.epochs["trial"] == each.number].assign(trial=each.name) for each in chosen]
    figure = curves.overlay(pd.concat(parts, ignore_index=True), _names(chosen))
    caption = (
        f"Validation loss (solid) and training loss (thin, dashed) by epoch of {plural(len(chosen), 'trial')}. Losses "
        "of different data or tasks do not compare."
    )
    return Drawing("compare-curves", figure, caption)


def _rates(chosen: Sequence[Chosen]) -> pd.DataFrame:
    rows = []
    for each in chosen:
        windows = each.study.windows[each.study.windows["trial"] == each.number]
        found = statistics.ratio_interval(windows["samples"].to_numpy(float), windows["seconds"].to_numpy(float))
        if found.n:
            low, high = found.low, found.high
            bounds = {"samples_per_second_low": low, "samples_per_second_high": high}
            rows.append({"trial": each.name, "samples_per_second": found.estimate, **bounds, "windows": found.n})
    return pd.DataFrame(rows)


def _equal_budgets(chosen: Sequence[Chosen]) -> list[Table]:
    """Where the scores compare at all: the same objective on the same rows."""
    prints = {_data_fingerprint(each) for each in chosen}
    folds = {_missing(each.row.get("fold")) for each in chosen}
    objectives = {each.study.objective for each in chosen}
    if None in prints or max(len(prints), len(folds), len(objectives)) > 1:
        return []
    found = spent.at_equal_budgets([(each.name, each.study, each.number) for each in chosen])
    return [] if found is None else [found]


def _standings(chosen: Sequence[Chosen]) -> list[str]:
    """Where a trial is one of several of its configuration: the mean that the configuration is ranked by."""
    sentences = []
    for each in (each for each in chosen if best.several(each.study)):
        places = best.standings(each.study)
        for place, standing in enumerate(places, start=1):
            if each.number in [run.trial for run in standing.runs]:
                objective = each.study.objective
                value = f"{best.words_of(objective)} {best.mean_words(objective, standing)}"
                where = f"configuration {standing.configuration}, place {place} of {len(places)}"
                sentences.append(f"{each.name} is of {where}: {value}.")
    return sentences


def _verdicts(chosen: Sequence[Chosen]) -> list[str]:
    sentences = []
    for each in chosen:
        own = each.study.trials[each.study.trials["trial"] == each.number]
        judged = overfitting.table(own, each.study.epochs[each.study.epochs["trial"] == each.number])
        if len(judged):
            sentences.append(f"{each.name}: {judged['words'].iloc[0]}.")
    return sentences


# --- differences on the same examples -----------------------------------------------------------------


def _differences(chosen: Sequence[Chosen]) -> tuple[list[Comparison], list[str]]:
    """Each trial against the first on the same examples, corrected, and why some could not be compared."""
    first = chosen[0]
    family, reasons = [], []
    for other in chosen[1:]:
        if stated.is_published(first.study) or stated.is_published(other.study):
            found = _shares(first, other)
            family += found
            reasons += [] if found else [f"{other.name} and {first.name} state no share of a known number of examples."]
            continue
        why = _not_paired(first, other)
        if why:
            reasons.append(f"{other.name} cannot be compared with {first.name} example by example: {why}.")
            continue
        mine, theirs = (outputs.scores_by_example(each.study, each.row) for each in (first, other))
        for metric in (name for name in mine if name in theirs and len(mine[name]) == len(theirs[name])):
            family.append(families.over_examples(other.name, first.name, metric, theirs[metric], mine[metric]))
    return families.corrected(family), reasons


def _shares(first: Chosen, other: Chosen) -> list[Comparison]:
    """A published run against another trial by shares, of which no pairs are known; of one task only."""
    found: list[Comparison] = []
    if first.study.row["task"] == other.study.row["task"]:
        for metric in stated.SHARES:
            theirs, mine = (stated.share(each.study, each.number, metric) for each in (other, first))
            found += stated.compared(other.name, first.name, metric, theirs, mine)
    return found


def _flips(chosen: Sequence[Chosen]) -> list[Flipped]:
    """What each trial answers otherwise than the first, of those with the same examples."""
    first = chosen[0]
    found = []
    for other in chosen[1:]:
        if not _not_paired(first, other):
            given = [answered.of_trial(each.study, each.row, each.name) for each in (first, other)]
            found.append(flips.between(given[0], given[1], first.name, other.name))
    return [each for each in found if each is not None]


def _not_paired(first: Chosen, other: Chosen) -> str:
    """Why two trials have no common examples; empty when they have."""
    if _missing(first.row.get("fold")) != _missing(other.row.get("fold")):
        return "they validated on different folds"
    prints = [_data_fingerprint(each) for each in (first, other)]
    if None in prints:
        return "the data of one of them is not in the record"
    if prints[0] != prints[1]:
        return f"their data differ (fingerprints {prints[0]} and {prints[1]})"
    if first.study.row["task"] != other.study.row["task"]:
        return "their tasks differ"
    if outputs.answers_questions(first.study):
        absent = [each.name for each in (first, other) if outputs.example_scores(each.study, each.row, "loss") is None]
        return f"no validation outputs of {listed(absent)} are stored" if absent else ""
    found_logits = [outputs.validation_logits(each.study, each.row, each.study.objective) for each in (first, other)]
    absent = [each.name for each, found in zip((first, other), found_logits, strict=True) if found is None]
    if absent:
        return f"no validation outputs of {listed(absent)} are stored"
    gold = [outputs.gold_labels(each.study, each.row.get("fold")) for each in (first, other)]
    if gold[0] is None or gold[1] is None or not np.array_equal(gold[0], gold[1]):
        return "their validation labels differ or are not stored"
    if any(found is None or len(found) != len(gold[0]) for found in found_logits):
        return "their validation outputs have different lengths"
    if any(found is None or found.ndim != 2 or gold[0].max(initial=0) >= found.shape[1] for found in found_logits):
        return "their validation outputs do not fit the labels"
    return ""


def _missing(value: Any) -> Any:
    return None if is_missing(value) else value


def _data_fingerprint(each: Chosen) -> str | None:
    details = each.study.details
    done = details.loc[details["trial"] == each.number, "done"].iloc[0]
    return str(done["data_fingerprint"]) if isinstance(done, Mapping) and done.get("data_fingerprint") else None

"""What the report knows of a confirmation: what was chosen, how it ran again and on which rows, and what compares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

import harness.metrics as metrics
from harness.analysis import replicated, speed
from harness.analysis.families import Comparison
from harness.analysis.replicated import Further
from harness.analysis.statistics import Floats
from harness.configuration import TrialConfig
from harness.report import outputs
from harness.report.naming import listed, plural
from harness.report.study_frames import StudyFrames
from harness.results.choices import CHOSEN, OPENED, Choice

MARGIN = 0.01
"""Of a fraction, such as accuracy: what is smaller is called alike where that is proven."""


@dataclass(frozen=True)
class Confirmed:
    """A study whose best configurations ran again.

    Attributes:
        choice: what was chosen last.
        split: test, or validation where no rows were set aside.
    """

    study: StudyFrames
    choice: Choice
    split: str

    @property
    def metric(self) -> str:
        """Name of the first objective's metric."""
        return self.study.objective.metric

    @cached_property
    def rows(self) -> pd.DataFrame:
        """The complete trials that confirm: rows of `StudyFrames.trials` with their `value` on the split."""
        trials, prints = self.study.trials, _prints(self.study)
        mine = [
            prints.get(int(trial)) in self.choice.prints and int(replicate) in self.choice.replicates
            for trial, replicate in zip(trials["trial"].tolist(), trials["replicate"].tolist(), strict=True)
        ]
        found = trials[np.array(mine, dtype=bool) & (trials["state"] == "complete").to_numpy()]
        return found.assign(value=self._values(found)).reset_index(drop=True)

    def _values(self, found: pd.DataFrame) -> list[float]:
        if self.split != outputs.TEST:
            return [float(value) for value in found["objective"].astype("float64").tolist()]
        read = self.study.test_metrics[self.study.test_metrics["name"] == self.metric]
        known = dict(zip(zip(read["trial"].tolist(), read["epoch"].tolist(), strict=True), read["value"], strict=True))
        rows: list[dict[Any, Any]] = found.to_dict("records")
        return [float(known.get((row["trial"], outputs.epoch_read(row, self.study.objective)), np.nan)) for row in rows]

    @cached_property
    def table(self) -> pd.DataFrame:
        """The metric by seed (rows) and configuration (columns)."""
        return replicated.by_seed(self.rows, _folds(self.study))

    @cached_property
    def best(self) -> list[int]:
        """Numbers of the chosen configurations that have run, the best of the search first."""
        return [self._numbers[key] for key in self.choice.configurations if key in self._numbers]

    @property
    def baseline(self) -> int | None:
        """Number of the baseline, if there is one that has run."""
        return self._numbers.get(self.choice.baseline or "")

    @cached_property
    def _numbers(self) -> dict[str, int]:
        prints = _prints(self.study)
        columns = zip(self.rows["trial"].tolist(), self.rows["configuration"].tolist(), strict=True)
        return {prints[int(trial)]: int(configuration) for trial, configuration in columns}

    @cached_property
    def names(self) -> dict[int, str]:
        """Configuration -> "configuration 3 (batch 16, lr 2e-5)", and the baseline by that word."""
        those = [*self.best, *([] if self.baseline is None else [self.baseline])]
        found = named(self.study, those)
        if self.baseline is not None:
            found[self.baseline] = found[self.baseline].replace(f"configuration {self.baseline}", "the baseline", 1)
        return found

    def seeds(self, noun: str = "seed") -> str:
        """With how many each configuration was measured, in words: 5 seeds, or 3 to 5 seeds where runs were lost."""
        counts = self.table.notna().sum()
        fewest, most = int(counts.min()), int(counts.max())
        return plural(most, noun) if fewest == most else f"{fewest} to {plural(most, noun)}"

    @cached_property
    def lost(self) -> dict[int, int]:
        """Configuration -> how many of its seeds have no value; one that has them all is not named."""
        prints, trials = _prints(self.study), self.study.trials
        columns = zip(trials["trial"].tolist(), trials["configuration"].tolist(), strict=True)
        numbers = {prints[int(trial)]: int(number) for trial, number in columns if int(trial) in prints}
        measured = {int(str(number)): int(count) for number, count in self.table.notna().sum().items()}
        asked = [numbers[key] for key in self.choice.prints if key in numbers]
        without = {number: len(self.choice.replicates) - measured.get(number, 0) for number in asked}
        return {number: count for number, count in without.items() if count}

    @property
    def lost_words(self) -> str:
        """The same as a sentence; empty where every run has a value."""
        of = len(self.choice.replicates)
        found = [
            f"{count} of {of} {'runs of ' if place == 0 else 'of '}"
            f"{'the baseline' if number == self.baseline else f'configuration {number}'}"
            for place, (number, count) in enumerate(self.lost.items())
        ]
        return f"{listed(found, 12)} did not complete; their pairs are left out." if found else ""

    @property
    def examples(self) -> int | None:
        """Rows that each run was measured on; None with folds, where they differ, or where it is not known."""
        data = self.study.data
        if data.empty or (self.split != outputs.TEST and _folds(self.study) > 1):
            return None
        splits = data.iloc[0]["splits"]
        return int(splits[self.split]["rows"]) if self.split in splits else None

    @cached_property
    def pairs(self) -> list[tuple[int, int]]:
        """What is compared."""
        return replicated.pairs_of(self.best, self.baseline) if self.best else []

    @cached_property
    def comparisons(self) -> list[Comparison]:
        """Each pair over its common seeds, corrected for each other."""
        return replicated.compare(
            self.table, self.pairs, self.names, self.metric, self.examples, self.split, self.looks
        )

    @cached_property
    def further(self) -> list[Further | None]:
        """The same with the examples as a sample too; None for a pair without scores by example of two common seeds.

        Empty where that is so of every pair, and for a metric that is no mean over examples.
        """
        if _folds(self.study) > 1 or self.metric not in ("loss", "accuracy", *outputs.QUESTION_METRICS):
            return []
        scores = self._scores
        tables: dict[int, tuple[Floats, Floats]] = {}
        for place, (a, b) in enumerate(self.pairs):
            common = sorted(scores.get(a, {}).keys() & scores.get(b, {}).keys())
            if len(common) > 1:
                first, second = (np.stack([scores[each][seed] for seed in common]) for each in (a, b))
                tables[place] = first, second
        found = dict(zip(tables, replicated.further(list(tables.values()), self.looks), strict=True))
        return [found.get(place) for place in range(len(self.pairs))] if found else []

    @cached_property
    def _scores(self) -> dict[int, dict[int, Floats]]:
        """Configuration -> replicate -> score of every example."""
        found: dict[int, dict[int, Floats]] = {}
        rows: list[dict[Any, Any]] = self.rows.to_dict("records")
        for row in rows:
            scores = outputs.scores_by_example(self.study, row, self.split).get(self.metric)
            if scores is not None and np.isfinite(scores).all():
                found.setdefault(int(row["configuration"]), {})[int(row["replicate"])] = scores
        return found

    @property
    def times_opened(self) -> int:
        """How often the test rows were opened."""
        return int((self.study.incidents["kind"] == OPENED).sum())

    @property
    def looks(self) -> int:
        """How often something was chosen to run again: each time the same could be tested on more runs."""
        return int((self.study.incidents["kind"] == CHOSEN).sum())

    def costs(self) -> Mapping[int, float]:
        """Configuration -> mean seconds of training."""
        seconds = self.rows.groupby("configuration")["train_seconds"].mean()
        return {int(str(number)): float(value) for number, value in seconds.items()}

    def comparable_costs(self) -> tuple[Mapping[int, float], str]:
        """The same of the largest part of the trials that shared work alike, and how many those are if not all."""
        kept, note = speed.comparable(self.rows)
        seconds = kept.groupby("configuration")["train_seconds"].mean()
        return {int(str(number)): float(value) for number, value in seconds.items()}, note

    @property
    def margin(self) -> float | None:
        """The difference below which two are called alike where that is proven; None for a metric without points."""
        return MARGIN if metrics.lookup(self.metric).unit == "fraction" else None


def of(study: StudyFrames) -> Confirmed | None:
    """The newest confirmation of a study; None where none was begun or none of its trials is complete."""
    return study.once("confirmed", lambda: _find(study))


def _find(study: StudyFrames) -> Confirmed | None:
    chosen = study.incidents[study.incidents["kind"] == CHOSEN]
    if chosen.empty:
        return None
    choice = Choice.read(chosen.iloc[-1]["details"])
    read = bool((study.test_metrics["name"] == study.objective.metric).any())
    found = Confirmed(study, choice, outputs.TEST if read else "validation")
    return found if len(found.rows) else None


def named(study: StudyFrames, those: Sequence[int]) -> dict[int, str]:
    """Configuration -> "configuration 3 (batch 16, lr 2e-5)"."""
    words = {each: study.configurations[each].partition(": ")[2] for each in those}
    return {each: f"configuration {each}" + (f" ({words[each]})" if words[each] else "") for each in those}


def searched(study: StudyFrames) -> Mapping[int, float]:
    """Configuration -> the objective that the search saw, the mean over its trials that no choice let run again."""
    chosen = [Choice.read(details) for details in study.incidents.loc[study.incidents["kind"] == CHOSEN, "details"]]
    prints, trials = _prints(study), study.trials
    confirming = [
        trial
        for trial, replicate in zip(trials["trial"].tolist(), trials["replicate"].tolist(), strict=True)
        if any(choice.has(prints.get(int(trial), ""), int(replicate)) for choice in chosen)
    ]
    done = study.trials[(study.trials["state"] == "complete") & study.trials["objective"].notna()]
    own = done[~done["trial"].isin(confirming)]
    return {int(str(k)): float(v) for k, v in own.groupby("configuration")["objective"].mean().items()}


def _prints(study: StudyFrames) -> dict[int, str]:
    """Trial -> fingerprint of its configuration as asked."""
    columns = zip(study.details["trial"].tolist(), study.details["asked"].tolist(), strict=True)
    return study.once("prints", lambda: {int(n): TrialConfig.from_dict(asked).fingerprint for n, asked in columns})


def _folds(study: StudyFrames) -> int:
    data = study.spec.get("data")
    return int((data.get("folds") if isinstance(data, Mapping) else None) or 1)

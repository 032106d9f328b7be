"""Which rows of a table rest on one seed: their scores bear a mark, whichever section shows them."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pandas as pd

from harness.report import best
from harness.report.section import Content, Table
from harness.report.study_frames import StudyFrames

_NUMBER = re.compile(r"(?:configuration |trial )?(\d+)(?!\d)")


def marked(study: StudyFrames, content: Content) -> Content:
    """The same content; tables of trials or configurations know which of their rows rest on one seed."""
    return dataclasses.replace(content, tables=[_marked(study, table) for table in content.tables])


def _marked(study: StudyFrames, table: Table) -> Table:
    if len(table.once):
        return table
    for name in ("configuration", "trial"):
        if name in table.frame:
            return dataclasses.replace(table, once=once(study, name, table.frame[name]))
    return table


def once(study: StudyFrames, kind: str, names: pd.Series) -> list[bool]:
    """For each trial or configuration, by its number or a name that begins with it, whether it has but one seed.

    Args:
        study: that they are of.
        kind: trial or configuration.
        names: numbers or names.
    """
    if not best.several(study):
        return [True] * len(names)  # a trial stands for each configuration
    alone = study.once("one seed", lambda: _of_one_seed(study))
    return [_number(name) in alone[kind] for name in names.tolist()]


def _of_one_seed(study: StudyFrames) -> dict[str, set[int]]:
    done = study.trials[study.trials["state"] == "complete"]
    seeds = done.groupby("configuration")["seed"].nunique()
    several = {int(str(number)) for number, count in seeds.items() if count > 1}
    configurations = {int(number) for number in study.trials["configuration"].tolist()} - several
    trials = study.trials[study.trials["configuration"].isin(list(configurations))]
    return {"configuration": configurations, "trial": {int(number) for number in trials["trial"].tolist()}}


def _number(name: Any) -> int | None:
    found = _NUMBER.match(str(name))
    return int(found[1]) if found else None

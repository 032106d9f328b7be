"""A reproducibility checklist filled in from the record: what it holds, and what the authors have to add."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from harness.report import confirmed
from harness.report.cells import duration, is_missing
from harness.report.naming import listed, plural
from harness.report.paper import conditions
from harness.report.section import Table
from harness.report.study_frames import StudyFrames

RECORDED, NOT_RECORDED, NO = "recorded", "not recorded", "no"


class Item(NamedTuple):
    """One question of the checklist.

    Attributes:
        question: what a reader wants to know.
        answer: recorded, not recorded, or no where the record says that it was not done.
        detail: the value, or what the authors have to add.
    """

    question: str
    answer: str
    detail: str


def table(study: StudyFrames) -> Table:
    """The checklist as a table."""
    items = [*_study(study), *_data(study), *_models(study), *_runs(study), *_statistics(study), *_machine(study)]
    caption = (
        "Reproducibility checklist, filled in from the record of the study; what is not recorded is for the authors to "
        "add."
    )
    return Table("checklist", pd.DataFrame([*items, *_outside()], columns=list(Item._fields)), caption)


def _item(question: str, value: Any, detail: str = "", lacking: str = "") -> Item:
    """Recorded where there is a value."""
    there = not is_missing(value) and value not in ("", {}, [])
    return Item(question, RECORDED if there else NOT_RECORDED, (detail or str(value)) if there else lacking)


def _study(study: StudyFrames) -> list[Item]:
    return [
        _item("Study file", study.row["text"], f"whole text; fingerprint {study.row['fingerprint']}"),
        _item("Search space with bounds", study.spec.get("search"), "Table hyperparameters", "nothing was searched"),
        _item(
            "Rule that chose the best", study.objective.metric, "first objective; mean over a configuration's trials"
        ),
    ]


def _data(study: StudyFrames) -> list[Item]:
    used: Mapping[Any, Any] = study.data.iloc[0].to_dict() if len(study.data) else {}
    splits = used.get("splits") or {}
    rows = listed([f"{split['rows']:,} {name}" for name, split in splits.items()])
    dropped = sum(sum((split.get("dropped") or {}).values()) for split in splits.values())
    texts = study.spec.get("store_texts")
    return [
        _item("Rows of each split", splits, rows),
        _item("Rows left out, with reasons", splits, f"{dropped:,} dropped; Table data"),
        _item("Identity of the rows used", used.get("fingerprint"), f"SHA-256 {str(used.get('fingerprint'))[:16]}…"),
        _item("Revision of the data set", used.get("revision"), "", "no commit of the Hub; say where the data lie"),
        Item("Texts of the examples", RECORDED if texts else NO, "" if texts else "store_texts: false"),
        Item("Rows set aside for the test", *((RECORDED, "data.test") if "test" in splits else (NO, "no data.test"))),
    ]


def _models(study: StudyFrames) -> list[Item]:
    rows: Sequence[Mapping[Any, Any]] = study.models.to_dict("records")
    weights = listed([f"{str(row['weights_hash'])[:16]}…" for row in rows], 4)
    revisions = [str(row["revision"]) for row in rows if not is_missing(row["revision"]) and row["revision"]]
    sizes = listed([f"{int(row['total_parameters']):,}" for row in rows], 4)
    return [
        _item("Pretrained weights", weights, f"SHA-256 {weights}"),
        _item(
            "Revision of the model", revisions, listed(revisions, 4), "no commit of the Hub; say where the weights lie"
        ),
        _item("Number of parameters", sizes),
    ]


def _runs(study: StudyFrames) -> list[Item]:
    counts = study.trials["state"].value_counts()
    ended = listed([f"{int(counts[state])} {state}" for state in counts.index])
    seeds = conditions.seeds(study)
    done = [facts for facts in study.details["done"].tolist() if isinstance(facts, Mapping)]
    total, sessions = float(study.trials["total_seconds"].sum()), float(study.sessions["seconds"].sum())
    return [
        _item("Trials, those that failed or were stopped included", ended),
        _item("Every hyperparameter as asked and as run", done, "of each trial that began"),
        _item("Seeds", seeds, listed(seeds, 12)),
        _item("Scores of every epoch", study.losses["trial"].tolist(), "of each trial that trained"),
        _item("Time in trials", total or None, duration(total)),
        _item("Time of all invocations", sessions or None, duration(sessions)),
        Item("What went otherwise than asked", RECORDED, plural(len(study.incidents), "incident")),
    ]


def _statistics(study: StudyFrames) -> list[Item]:
    found = confirmed.of(study)
    if found is None:
        again = "nothing ran again after the search; scores of one seed are marked"
        return [Item("Repeated with new seeds after the search", NO, again)]
    opened = plural(found.times_opened, "time") if found.split == "test" else "never"
    pairs = plural(len(found.pairs), "comparison")
    return [
        Item("Repeated with new seeds after the search", RECORDED, plural(len(found.table), "seed")),
        Item("How often the test rows were opened", RECORDED, opened),
        Item("Intervals, test, correction for several comparisons", RECORDED, f"{pairs}; see methods"),
    ]


def _machine(study: StudyFrames) -> list[Item]:
    facts: list[Mapping[str, Any]] = study.environment["facts"].tolist()
    commits = sorted({str((each.get("git") or {}).get("commit") or "") for each in facts} - {""})
    changed = any((each.get("git") or {}).get("changed") for each in facts)
    written = listed([commit[:12] for commit in commits])
    machine = conditions.hardware(study).removeprefix("Hardware: ").removesuffix(".") if facts else ""
    return [
        _item("Hardware", machine),
        _item("Versions of software", conditions.versions(study)),
        _item(
            "Commit of the study's repository", commits, f"{written}{' with changes' if changed else ''}", "none found"
        ),
    ]


def _outside() -> list[Item]:
    """What no record of runs can know."""
    return [
        Item("Energy used", NOT_RECORDED, "measure it, or leave it out"),
        Item("Licences of data and model", NOT_RECORDED, "add them"),
        Item("Consent, personal data, possible harm", NOT_RECORDED, "add what applies"),
        Item("Where code and record are published", NOT_RECORDED, "add an address"),
    ]

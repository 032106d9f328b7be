"""Record: where and on what the study ran, what failed and why, and where it was run otherwise than asked."""

from __future__ import annotations

import pandas as pd

from harness.analysis import record
from harness.report import stated
from harness.report.cells import duration
from harness.report.naming import listed, plural
from harness.report.section import Content, Table, section
from harness.report.study_frames import StudyFrames


@section(order=40, title="Record")
def build(study: StudyFrames) -> Content:
    """Environment, data, models, failures with their reasons, asked against done, and incidents."""
    failed = record.failures(study.trials)
    changed = record.asked_against_done(study.details.assign(study=study.name))
    happened = record.incidents(study.incidents)
    tables = [*_data(study), *_environments(study)]
    if len(failed):
        tables.append(Table("failures", failed, "Failed trials by reason, with the first message of each."))
    if len(changed):
        decided = "Hyperparameters that ran otherwise than asked; for dtype `auto`, what was chosen."
        tables.append(Table("asked-against-done", _alike(changed), decided))
    if len(happened):
        tables.append(
            Table("incidents", happened, "What went otherwise and was dealt with; the first message of each.")
        )
    if len(study.sessions):
        tables.append(_sessions(study))
    return Content(_findings(study, failed, changed, happened), _facts(study), (), tables, _warnings(study))


def _findings(study: StudyFrames, failed: pd.DataFrame, changed: pd.DataFrame, happened: pd.DataFrame) -> list[str]:
    sentences = []
    if len(failed):
        why = [f"{row['trials']} {row['reason']} (trial {row['numbers']})" for row in failed.to_dict("records")]
        sentences.append(f"{plural(int(failed['trials'].sum()), 'trial')} failed: {listed(why)}.")
    else:
        sentences.append("No trial failed.")
    fallbacks = changed[changed["what"] != "dtype"]
    if len(fallbacks):
        trials = fallbacks["trial"].nunique()
        sentences.append(
            f"{plural(trials, 'trial')} ran otherwise than asked: {listed(sorted(set(fallbacks['what'])))}."
        )
    if len(happened):
        counts = [f"{row['count']} {row['kind']}" for row in happened.to_dict("records")]
        sentences.append(f"Incidents that were dealt with: {listed(counts)}.")
    return sentences


def _facts(study: StudyFrames) -> list[tuple[str, str]]:
    facts = [
        ("task", str(study.row["task"])),
        (
            "imported" if stated.is_published(study) else "started",
            str(study.row["created_at"])[:16].replace("T", " ") + " UTC",
        ),
    ]
    if len(study.sessions):
        facts.append(("invocations", str(len(study.sessions))))
        facts.append(("time of all invocations", duration(float(study.sessions["seconds"].sum()))))
    if len(study.data):
        data = study.data.iloc[0]
        facts.append(("data", str(data["fingerprint"])[:16]))
        facts.append(("labels", listed(list(data["label_names"]))))
        if isinstance(data["positive"], str):
            facts.append(("positive class", data["positive"]))
    return facts


def _alike(changed: pd.DataFrame) -> pd.DataFrame:
    """One row for all trials that share a difference."""
    grouped = changed.groupby(["what", "asked", "done"], sort=False)["trial"]
    frame = grouped.agg(trials="size", numbers=lambda trials: listed(trials.tolist(), 12)).reset_index()
    return frame[["what", "asked", "done", "trials", "numbers"]]


def _data(study: StudyFrames) -> list[Table]:
    tables = []
    if len(study.data):
        caption = "Rows used of each split, rows dropped with the reasons, and rows by label."
        tables.append(Table("data", record.data(study.data.iloc[0]["splits"]), caption))
    if len(study.models):
        caption = "Pretrained encoders as found; parameters without the task's head; hashes shortened."
        shown = study.models.assign(weights_hash=study.models["weights_hash"].str[:16])
        tables.append(Table("models", shown, caption))
    return tables


def _environments(study: StudyFrames) -> list[Table]:
    tables = []
    for place, row in enumerate(study.environment.to_dict("records"), start=1):
        name = "environment" if len(study.environment) == 1 else f"environment-{place}"
        caption = f"Software and machine that {plural(int(row['trials']), 'trial')} ran on."
        tables.append(Table(name, record.environment(row["facts"]), caption))
    return tables


def _sessions(study: StudyFrames) -> Table:
    frame = study.sessions[["started_at", "ended_at", "seconds", "exit_state"]]
    frame = frame.assign(**{name: _minute(frame[name]) for name in ("started_at", "ended_at")})
    return Table("invocations", frame, "Invocations of `harness run` on this study; times are UTC.")


def _minute(times: pd.Series) -> pd.Series:
    return times.str[:16].str.replace("T", " ", regex=False)


def _warnings(study: StudyFrames) -> list[str]:
    found = list(study.data.iloc[0]["warnings"]) if len(study.data) else []
    return [f"Warning about the data: {warning}" for warning in found]

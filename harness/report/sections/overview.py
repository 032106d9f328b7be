"""Overview: what was asked, the best configuration and how sure it is, what ran, what failed, how long it took."""

from __future__ import annotations

from pathlib import Path

from harness.analysis import overfitting, parameters
from harness.records import STATES
from harness.report import best, stated
from harness.report.cells import cell, duration
from harness.report.naming import listed, plural, unstated, value
from harness.report.section import Content, section
from harness.report.study_frames import StudyFrames

_NAMES = {"accuracy": "accuracy", "exact_match": "exact match", "f1": "F1", "mcc": "MCC"}


@section(order=0, title="Overview")
def build(study: StudyFrames) -> Content:
    """The first screen: the answer with its certainty, what ran, what failed, and the verdicts in numbers."""
    found = best.of(study)
    findings = []
    if found.trial is not None:
        findings.append(
            f"Best configuration: {_configuration(study, found)}, with {found.value} ({_which(study, found)})."
        )
    findings.append(found.certainty)
    findings.append(_verdicts(study))
    findings.append(_ran(study))
    return Content(findings=[sentence for sentence in findings if sentence], facts=_facts(study, found))


def _configuration(study: StudyFrames, found: best.Best) -> str:
    assert found.trial is not None  # noqa: S101 - the caller has looked
    names = parameters.varied(study.trials) or [
        "model",
        "epochs",
        "batch_size",
        "learning_rate",
        "max_length",
        "freeze",
    ]
    return ", ".join(f"{name} {value(found.trial[name])}" for name in names if not unstated(name, found.trial[name]))


def _which(study: StudyFrames, found: best.Best) -> str:
    assert found.standing is not None  # noqa: S101 - the caller has looked
    numbers = [run.trial for run in found.standing.runs]
    trials = f"trial{'s' if len(numbers) > 1 else ''} {listed(numbers)}"
    return f"configuration {found.standing.configuration}, {trials}" if best.several(study) else trials


def _verdicts(study: StudyFrames) -> str:
    judged = study.judged
    if judged.empty:
        return ""
    return f"Verdicts: {listed(overfitting.counted(judged))}."


def _ran(study: StudyFrames) -> str:
    counts = study.trials["state"].value_counts()
    said = [f"{int(counts[state])} {state}" for state in STATES if state in counts.index]
    if not said:
        return "No trial was started."
    failed = study.trials[study.trials["state"] == "failed"]
    reasons = ", ".join(f"{count} {reason}" for reason, count in failed["reason"].value_counts().items())
    return f"{plural(len(study.trials), 'trial')}: {listed(said)}{f' (failed: {reasons})' if reasons else ''}."


def _facts(study: StudyFrames, found: best.Best) -> list[tuple[str, str]]:
    facts = [("study", study.name), ("task", str(study.row["task"]))]
    if stated.is_published(study):
        facts.append(("published", "made elsewhere, nothing was trained here"))
    models = sorted({str(model) for model in study.trials["model"].tolist()})
    facts.append(("model" if len(models) == 1 else "models", listed([_last(model) for model in models], 3)))
    data = study.spec.get("data")
    if isinstance(data, dict) and data.get("path"):
        facts.append(("data", _last(str(data["path"]))))
    if len(study.data):
        splits = study.data.iloc[0]["splits"]
        facts.append(("rows", ", ".join(f"{split['rows']:,} {name}" for name, split in splits.items())))
    facts.append(("objective", f"{best.words_of(study.objective)}, {best.aim(study.objective)}"))
    facts.append(("trials", f"{int((study.trials['state'] == 'complete').sum())} complete of {len(study.trials)}"))
    total = float(study.trials["total_seconds"].sum())
    facts.append(("time in trials", duration(total) if total else cell("", None)))
    if found.standing is not None:
        own = study.trials[study.trials["trial"].isin([run.trial for run in found.standing.runs])]
        mean = "mean " if len(own) > 1 else ""
        scores = {name: own[name].mean() for name in _NAMES if name in own and own[name].notna().all()}
        facts += [(f"best {best.noun(study)}: {mean}{_NAMES[name]}", _score(name, scores[name])) for name in scores]
    return facts


def _last(path: str) -> str:
    """The last part of a folder's full path; names of the Hub as they are."""
    return Path(path).name if Path(path).is_absolute() else path


def _score(name: str, number: float) -> str:
    return cell(name, number) + ("" if name == "mcc" else "%")

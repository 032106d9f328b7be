"""Overview: the morning after, with what was asked and how long it took."""

from __future__ import annotations

from pathlib import Path

from harness.report import best, expected, morning, stated
from harness.report.cells import cell, duration
from harness.report.naming import listed
from harness.report.section import Content, section
from harness.report.study_frames import StudyFrames

_NAMES = {"accuracy": "accuracy", "exact_match": "exact match", "f1": "F1", "mcc": "MCC"}


@section(order=0, title="Overview")
def build(study: StudyFrames) -> Content:
    """The first screen: the best with its interval and certainty, what to run next, what ran, failed and was mended."""
    found = morning.of(study)
    notes = [expected.SOURCE] if expected.of(study) is not None else []
    return Content(found.best, _facts(study, best.of(study)), notes=notes, groups=found.groups())


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

"""Published: runs made elsewhere, judged by the rules of one's own and laid over the trials that repeat them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from harness.analysis import families
from harness.analysis.families import Comparison
from harness.analysis.sentences import sentence
from harness.report import best, stated
from harness.report.charts import curves
from harness.report.naming import listed, plural
from harness.report.section import Content, Drawing, Table, section
from harness.report.study_frames import StudyFrames

_MOST_PAIRS = 3  # drawn: six curves are told apart, more are not
_RULE = (
    "Verdicts follow the same rules as those of trials run here, from the losses that a source states. Shares without "
    "known pairs are compared by Fisher's exact test and Newcombe's interval, p values corrected for all comparisons "
    "(Holm)."
)
_STATED = "A figure that is stated without an epoch stands at the run's last one. – is what the source does not state."

_BEST = " (the best here)"
_CHOSEN = "The best here was chosen by the rows that its share is of, which flatters it beside a run that nobody chose."


@section(order=12, title="Published runs")
def build(study: StudyFrames) -> Content:
    """Runs made elsewhere: what they state, which of them can be told apart, and what their repetition here gave."""
    if stated.is_published(study):
        return _of_published(study)
    return _of_own(study, stated.beside(study))


# --- a study that is published ------------------------------------------------------------------------------


def _of_published(study: StudyFrames) -> Content:
    count = len(study.trials)
    first = f"{plural(count, 'run')} made elsewhere; nothing was trained here. Source: {stated.source(study)}."
    family = _pairs(study)
    findings = [first, *(f"{sentence(each)}." for each in _with_the_best(family)), *_without_examples(study)]
    caption = f"What the source states of {plural(count, 'run')}, with the verdict on its losses."
    return Content(findings, (), (), [Table("published-runs", _table(study), caption)], [_RULE, _STATED])


def _pairs(study: StudyFrames) -> list[Comparison]:
    """All pairs of runs by each share, corrected together; the higher share stands first."""
    names = {number: str(run["name"]) for number, run in enumerate(stated.runs(study))}
    found: list[Comparison] = []
    for metric in stated.SHARES:
        known = [(number, share) for number in names if (share := stated.share(study, number, metric)) is not None]
        known.sort(key=lambda each: -each[1].right)
        for (a, first), (b, second) in itertools.combinations(known, 2):
            found += stated.compared(names[a], names[b], metric, first, second)
    return families.corrected(found)


def _with_the_best(family: Sequence[Comparison]) -> list[Comparison]:
    """The comparisons of the run with the highest share, which stands first in its metric's."""
    leaders = {each.metric: each.a for each in reversed(family)}
    return [each for each in family if each.a == leaders[each.metric]]


def _without_examples(study: StudyFrames) -> list[str]:
    if (study.spec.get("data") or {}).get("validation") is not None:
        return []
    known = [metric.replace("_", " ") for metric in stated.SHARES if stated.scores(study)[metric].notna().any()]
    if not known:
        return []
    return [f"On how many examples {listed(known)} was measured is not stated, so it can be compared with nothing."]


def _table(study: StudyFrames) -> pd.DataFrame:
    judged = study.judged.set_index("trial")
    rows = []
    for number, run in enumerate(stated.runs(study)):
        verdict: Mapping[Any, Any] = judged.loc[number].to_dict() if number in judged.index else {}
        rows.append(
            {
                "trial": number,
                "run": run["name"],
                "best_loss_epoch": verdict.get("best_loss_epoch"),
                "best_validation_loss": verdict.get("best_validation_loss"),
                "last_validation_loss": verdict.get("last_validation_loss"),
                **stated.scores(study).loc[number].to_dict(),
                "verdict": verdict.get("words"),
                "note": run["note"] or None,
            }
        )
    return pd.DataFrame(rows).dropna(axis="columns", how="all")


# --- a study of one's own, with published runs beside it ----------------------------------------------------


def _of_own(study: StudyFrames, published: Sequence[StudyFrames]) -> Content:
    chosen = best.of(study)
    if not published or chosen.standing is None:
        return Content()
    own = chosen.standing.best
    pairs = [(each, stated.repeats(study, each)) for each in published]
    rows = pd.concat([_beside(study, each, repeated) for each, repeated in pairs], ignore_index=True)
    family = [each for other, repeated in pairs for each in _shares(study, own, other, repeated)]
    others = [words for each in published for words in _other_models(study, each)]
    findings = [*_agreement(rows), *others, *(f"{sentence(each)}." for each in families.corrected(family))]
    sources = "; ".join(f"{each.name}: {stated.source(each)}" for each in published)
    caption = f"Published runs, and the trial here that has every hyperparameter which a run states. {sources}."
    drawings = [_overlay(study, own, each, repeated, place) for place, (each, repeated) in enumerate(pairs, start=1)]
    chosen_by_rows = [_CHOSEN] if any(_BEST in each.a for each in family) else []
    tables = [Table("published-beside", rows, caption)]
    return Content(findings, (), drawings, tables, [_RULE, _STATED, *chosen_by_rows])


def _beside(study: StudyFrames, published: StudyFrames, repeated: Mapping[int, int]) -> pd.DataFrame:
    table = _table(published).rename(columns={"trial": "published_trial", "verdict": "published_verdict"})
    here = study.judged.set_index("trial")
    trials = [repeated.get(int(number)) for number in table["published_trial"].tolist()]
    losses: list[Any] = [None if number is None else here.loc[number, "best_validation_loss"] for number in trials]
    verdicts = [None if number is None else here.loc[number, "words"] for number in trials]
    shown = table.drop(columns=["published_trial", "note", "last_validation_loss"], errors="ignore")
    return shown.assign(
        trial_here=pd.array(trials, dtype="Int64"), loss_here=losses, verdict_here=pd.Series(verdicts, dtype="object")
    )


def _agreement(rows: pd.DataFrame) -> list[str]:
    both = rows[rows["trial_here"].notna()]
    if both.empty:
        return ["No trial here has the model and hyperparameters of a published run; curves are of other settings."]
    same = int((both["published_verdict"] == both["verdict_here"]).sum())
    return [f"Of {plural(len(both), 'published run')} repeated here, {same} got the same verdict."]


def _other_models(study: StudyFrames, published: StudyFrames) -> list[str]:
    """Runs that only a trial with another model resembles, which is no repetition."""
    trained = study.trials.set_index("trial")["model"]
    asked = dict(zip(published.details["trial"].tolist(), published.details["asked"].tolist(), strict=True))
    names = {number: str(run["name"]) for number, run in enumerate(stated.runs(published))}
    return [
        f"Trial {trial} has the same hyperparameters as the published {names[number]} with another model "
        f"({stated.base_name(trained[trial])}, not {stated.base_name(asked[number]['model'])})."
        for number, trial in stated.with_another_model(study, published).items()
    ]


def _shares(study: StudyFrames, own: int, published: StudyFrames, repeated: Mapping[int, int]) -> list[Comparison]:
    """Each published share against the trial that repeats its run, else against the best of the study."""
    found = []
    for number, run in enumerate(stated.runs(published)):
        mine = repeated.get(number, own)
        name = f"trial {mine}{'' if number in repeated else _BEST}"
        for metric in stated.SHARES:
            shares = stated.share(study, mine, metric), stated.share(published, number, metric)
            found += stated.compared(name, f"the published {run['name']}", metric, *shares)
    return found


def _overlay(study: StudyFrames, own: int, published: StudyFrames, repeated: Mapping[int, int], place: int) -> Drawing:
    """The published curves with the lowest losses, each with its repetition, or all with the best trial here."""
    judged = published.judged.dropna(subset=["best_validation_loss"]).sort_values("best_validation_loss")
    order = sorted((int(number) for number in judged["trial"].tolist()), key=lambda number: number not in repeated)
    numbers = order[:_MOST_PAIRS]
    mine = list(dict.fromkeys(repeated[number] for number in numbers if number in repeated)) or [own]
    names = {f"p{number}": f"published: {stated.runs(published)[number]['name']}" for number in numbers}
    names |= {f"t{number}": f"trial {number} here" for number in mine}
    parts = [_curve(published, number, f"p{number}") for number in numbers]
    parts += [_curve(study, number, f"t{number}") for number in mine]
    caption = (
        f"Losses by epoch of {plural(len(numbers), 'published run')} of {len(stated.runs(published))} "
        f"({published.name}) and of {plural(len(mine), 'trial')} here. Their validation rows may differ."
    )
    return Drawing(f"published-{place}", curves.overlay(pd.concat(parts), names), caption)


def _curve(study: StudyFrames, number: int, key: str) -> pd.DataFrame:
    return study.losses[study.losses["trial"] == number].assign(trial=key)

"""Attributions: which words mattered for answers that `harness explain` has looked into."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from harness.analysis import attributions
from harness.analysis.attributions import SPECIAL, TOLERANCE
from harness.metrics.spans import exact_scores
from harness.report.cells import points, signed, significant
from harness.report.excerpts import excerpt
from harness.report.naming import listed, plural
from harness.report.outputs import answers_questions
from harness.report.section import Content, Shading, Table, section
from harness.report.shaded_words import Explained, shaded
from harness.report.shades import LEGEND, Marked
from harness.report.study_frames import StudyFrames

_SHOWN = 12  # examples of one trial and method whose texts are shown
_CHARACTERS = 500
_WORDS = 5
_GRADIENTS, _ATTENTION = "integrated-gradients", "attention-rollout"
_METHODS = {
    _GRADIENTS: (
        "Integrated gradients split the rise of a logit, from a text of which all words are hidden to the text as it "
        "is, among its tokens; a word's share is the sum over its tokens."
    ),
    _ATTENTION: (
        "Attention rollout follows the attention of all layers down to the tokens; it says from where the state behind "
        "an answer was mixed, whatever was answered, so it knows no words against."
    ),
}


@section(order=38, title="Which words mattered")
def build(study: StudyFrames) -> Content:
    """Which words mattered for single answers, as `harness explain` found them: texts shaded, and what is missed."""
    stored = study.attributions
    if stored.empty:
        return Content()
    stored = _told(study, stored)
    groups = [
        (method, trial, stored[(stored["method"] == method) & (stored["trial"] == trial)])
        for method in sorted(set(stored["method"].tolist()), key=lambda name: (name != _GRADIENTS, name))
        for trial in sorted(set(stored["trial"].tolist()))
    ]
    groups = [group for group in groups if len(group[2])]
    findings = [sentence for group in groups for sentence in _findings(study, *group)]
    shadings = [_shading(study, *group) for group in groups] if study.texts else []
    notes = [_METHODS[method] for method in dict.fromkeys(method for method, _, _ in groups) if method in _METHODS]
    if not study.texts:
        notes.append("Texts of examples are left out, and with them the words.")
    return Content(
        findings=[*findings, *_agreement(stored)],
        shadings=shadings,
        tables=[_table(study, stored)],
        notes=[*notes, *_limits(stored)],
    )


def _told(study: StudyFrames, stored: pd.DataFrame) -> pd.DataFrame:
    """With the right answer in words, whether the answer is wrong, and what the scores miss; the surest wrong first."""
    right = [_references(label) if answers_questions(study) else [str(label)] for label in stored["label"]]
    if answers_questions(study):
        wrong = exact_scores(stored["answer"].tolist(), right) == 0.0
    else:
        wrong = stored["answer"].to_numpy() != stored["label"].to_numpy()
    told = stored.assign(
        right=[" / ".join(dict.fromkeys(each)) or "no answer" for each in right],
        wrong=wrong.astype(bool),
        missed_share=attributions.missed(stored),
    )
    return told.sort_values(["wrong", "probability", "position"], ascending=[False, False, True], kind="stable")


def _references(label: str) -> list[str]:
    return [str(text) for _, text in json.loads(label)] if label else []


# --- findings -------------------------------------------------------------------------------------------


def _findings(study: StudyFrames, method: str, trial: int, part: pd.DataFrame) -> list[str]:
    examples = part.drop_duplicates("position")
    wrong = int(examples["wrong"].sum())
    said = [
        f"{plural(len(examples), 'validation example')} of trial {trial} explained by {_name(method)}: {wrong:,} "
        f"answered wrongly, {len(examples) - wrong:,} rightly."
    ]
    return [*said, *_complete(part), *_parts(study, part)]


def _complete(part: pd.DataFrame) -> list[str]:
    """Whether the scores add up to what they have to explain."""
    missed = part.dropna(subset=["missed_share"])
    if missed.empty:
        return []
    shares = missed["missed_share"].to_numpy(dtype=float)
    told = (
        f"Completeness: words and special tokens add up to the rise of the logit within {_percent(np.median(shares))} "
        f"in the median and {_percent(shares.max())} at worst, over {plural(len(shares), 'explained logit')}"
    )
    beyond = missed[shares > TOLERANCE]
    if beyond.empty:
        return [f"{told}; {points(TOLERANCE)}% is tolerated."]
    places = listed([str(place) for place in dict.fromkeys(beyond["position"].tolist())])
    return [f"{told}: more than the tolerated {points(TOLERANCE)}% for example {places}, to be read with care."]


def _parts(study: StudyFrames, part: pd.DataFrame) -> list[str]:
    """Where the answers hang: on which text, and on how much that is no word."""
    of_each = pd.DataFrame(
        [attributions.by_part(tokens, scores) for tokens, scores in zip(part["tokens"], part["scores"], strict=True)]
    ).mean()
    names = {0: "the words"}
    if of_each.loc[1] > 0:
        names = dict(
            enumerate(("the question", "the context") if answers_questions(study) else ("the first text", "the second"))
        )
    if of_each.loc[SPECIAL] > 0:  # which stand in the baseline of gradients too
        names[SPECIAL] = "special tokens"
    if len(names) < 2:
        return []
    shares = listed([f"{points(of_each.loc[place])}% on {name}" for place, name in names.items()])
    return [f"Of all that tokens did, for and against, there fell {shares}."]


def _agreement(stored: pd.DataFrame) -> list[str]:
    found = attributions.agreement(stored, _GRADIENTS, _ATTENTION)
    if not found:
        return []
    return [
        f"The two methods order the words of {plural(len(found), 'explained answer')} with a median rank correlation "
        f"of {signed(float(np.median(found)), 2)} (from {signed(min(found), 2)} to {signed(max(found), 2)}); 1 is the "
        "same order, 0 no order in common."
    ]


def _limits(stored: pd.DataFrame) -> list[str]:
    return [
        "An attribution explains the model, not the matter: it says which words moved a logit, not which ones ought "
        f"to. Example is the place within the validation rows, from 0. {_baseline(stored)}".strip()
    ]


def _baseline(stored: pd.DataFrame) -> str:
    compared = stored[stored["baseline"] != ""]
    if compared.empty:
        return ""
    return f"Baseline: {compared['baseline'].iloc[0]}; {int(compared['steps'].iloc[0])} steps on the way."


def _percent(share: float) -> str:
    return f"{significant(100 * float(share), 2)}%" if share >= 1e-5 else "less than 0.001%"


def _name(method: str) -> str:
    return method.replace("-", " ")


# --- texts and table --------------------------------------------------------------------------------------


def _shading(study: StudyFrames, method: str, trial: int, part: pd.DataFrame) -> Shading:
    positions = list(dict.fromkeys(part["position"].tolist()))
    texts = [_marked(study, part[part["position"] == position]) for position in positions[:_SHOWN]]
    left = f" Of {len(positions)} examples the first {_SHOWN} are shown." if len(positions) > _SHOWN else ""
    caption = (
        f"Words that mattered for answers of trial {trial}, by {_name(method)}; wrong answers first, the surest on "
        f"top. {LEGEND} Of a text of more than {_CHARACTERS} characters the stretch is shown whose words did "
        f"most.{left}"
    )
    return Shading(f"attributions-{method}-{trial}", texts, caption)


def _marked(study: StudyFrames, rows: pd.DataFrame) -> Marked:
    """One example: a line for every explained number and text."""
    first = rows.iloc[0]
    ordered = _ordered(rows)
    names = [excerpt(name, 60) for name in ordered["target"]]
    explained = [Explained(*each) for each in zip(names, ordered["tokens"], ordered["scores"], strict=True)]
    shown = shaded(explained, answers_questions(study), _CHARACTERS)
    answer = excerpt(first["answer"] or "no answer", 80)
    verdict = f"wrong, right is {excerpt(first['right'], 80)}" if first["wrong"] else "right"
    title = (
        f"Example {first['position']} (source row {first['source_row']}): {answer}, {points(first['probability'])}%, "
        f"{verdict}"
    )
    return Marked(title, shown)


def _ordered(rows: pd.DataFrame) -> pd.DataFrame:
    """Of classes the one that was answered first; the start before the end."""
    first = rows["target"].isin(["start"]) | (rows["target"] == rows["answer"])
    return rows.assign(first=first).sort_values(["first", "target"], ascending=[False, True], kind="stable")


def _table(study: StudyFrames, stored: pd.DataFrame) -> Table:
    shown = ["trial", "method", "position", "source_row", "target", "answer", "right", "wrong", "probability"]
    shown += ["value", "baseline_value", "missed_share"]
    frame = stored[shown].rename(
        columns={"position": "example", "target": "explained", "right": "right answer", "probability": "confidence"}
    )
    if study.texts:
        frame = frame.assign(**{"words that did most": [_most(row) for _, row in stored.iterrows()]})
    elif answers_questions(study):
        frame = frame.drop(columns=["answer", "right answer"])
    caption = (
        "Explained answers: value is the explained logit, baseline value the same where all words are hidden, missed "
        "what the scores do not add up to as a share of the rise."
    )
    return Table("attributions", frame.reset_index(drop=True), caption)


def _most(row: pd.Series[Any]) -> str:
    found: Sequence[attributions.Word] = attributions.words(row["tokens"], row["scores"])
    return ", ".join(f"{excerpt(w.text, 30)} {signed(w.score, 2)}" for w in attributions.strongest(found, _WORDS))

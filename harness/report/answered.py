"""What the best trial answered to each validation example, at the epoch that the objective reads.

Read once, for the sections on errors and on calibration.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from harness.analysis import calibration, errors, span_errors
from harness.errors import UsageError
from harness.report import best, outputs
from harness.report.study_frames import StudyFrames

LABELS, SPANS = "sequence-classification", "question-answering"


@dataclass(frozen=True)
class Answered:
    """The answers of one trial at one epoch.

    Attributes:
        trial: in words: trial 3 (lr 2e-5) at epoch 2.
        frame: of classes as `errors.answers` gives it, of spans as `span_errors.answers` does; None where there is
            none, for the reason `lacking`.
        names: of the classes; empty for spans.
        left_out: examples without finite outputs.
        lacking: why there are no answers to speak of; empty when there are, or when the study has nothing to do with
            this.
    """

    trial: str = ""
    frame: pd.DataFrame | None = None
    probabilities: calibration.Answers | None = None
    names: Sequence[str] = ()
    left_out: int = 0
    lacking: str = ""

    @property
    def has_texts(self) -> bool:
        """Whether texts of the examples are stored."""
        return self.frame is not None and bool(self.frame["text"].notna().any())


def of(study: StudyFrames) -> Answered:
    """The answers of the best trial of a study."""
    return study.once("answered", lambda: _find(study))


def _find(study: StudyFrames) -> Answered:
    found = best.of(study)
    return Answered() if found.trial is None else of_trial(study, found.trial, _trial(study, found))


def of_trial(study: StudyFrames, trial: Mapping[Any, Any], name: str) -> Answered:
    """The answers of one row of `study.trials`, which sentences call `name`."""
    task = study.row["task"]
    if task not in (LABELS, SPANS) or study.row["source"] == "published":
        return Answered()
    epoch = outputs.epoch_read(trial, study.objective)
    if epoch is None:
        return Answered(lacking="it finished no epoch")
    read = _labels if task == LABELS else _spans
    return read(study, trial, epoch, f"{name} at epoch {epoch}")


def _trial(study: StudyFrames, found: best.Best) -> str:
    assert found.standing is not None  # noqa: S101 - the caller has looked
    number, _, apart = found.name.partition(": ")
    own = f"trial {found.standing.best} of configuration {number}" if best.several(study) else f"trial {number}"
    return f"{own} ({apart})" if apart else own


def _labels(study: StudyFrames, trial: Mapping[Any, Any], epoch: int, words: str) -> Answered:
    gold = outputs.gold_labels(study, trial["fold"])
    try:
        logits = study.outputs(int(trial["trial"]), epoch, "logits")
    except UsageError:
        return Answered(words, lacking="its outputs are not stored")
    if gold is None or len(gold) != len(logits):
        return Answered(words, lacking="the right labels of the examples are not stored")
    names = [str(name) for name in study.data["label_names"].iloc[0]]
    if logits.shape != (len(gold), len(names)):  # the record may be another's and damaged
        return Answered(words, lacking=f"its outputs of shape {logits.shape} are not those of {len(names)} classes")
    frame = errors.answers(logits, gold, outputs.examples_of(study, trial["fold"]))
    if frame.empty:
        return Answered(words, lacking="none of its outputs is a finite number")
    finite = np.isfinite(logits).all(axis=1)
    probabilities = calibration.Answers(
        np.asarray(logits[finite], np.float64), frame["gold"].to_numpy(), frame["predicted"].to_numpy()
    )
    return Answered(words, frame, probabilities, names, len(gold) - len(frame))


def _spans(study: StudyFrames, trial: Mapping[Any, Any], epoch: int, words: str) -> Answered:
    number, examples = int(trial["trial"]), outputs.examples_of(study, trial["fold"])
    try:
        spans = study.outputs(number, epoch, "spans")
    except UsageError:
        return Answered(words, lacking="its answers are not stored")
    if len(examples) != len(spans):
        return Answered(words, lacking="the right answers of the examples are not stored")
    if examples["text"].isna().any():
        without = "the texts are not stored (store_texts: false), without which no answer can be told right or wrong"
        return Answered(words, lacking=without)
    try:
        losses = study.outputs(number, epoch, "losses")
    except UsageError:
        losses = None
    frame = span_errors.answers(spans, losses, examples)
    if frame.empty:
        return Answered(words, lacking="none of its outputs is a finite number")
    right = (~frame["wrong"].to_numpy(dtype=bool)).astype(np.int64)
    probabilities = calibration.Answers(calibration.log_odds(frame["probability"]), right, np.ones_like(right))
    return Answered(words, frame, probabilities, (), len(spans) - len(frame))

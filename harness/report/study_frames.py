"""One study's record as frames, each read once and only when a section asks for it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd
import sqlalchemy as sa

from harness.analysis import overfitting
from harness.configuration import Objective
from harness.report import naming
from harness.results import frames
from harness.results.engine import open_engine
from harness.spec import WRITTEN_OUT

Answered = TypeVar("Answered")
PHASES = ("load_seconds", "tokenise_seconds", "share_seconds", "evaluate_seconds", "save_seconds")


class StudyFrames:
    """What the sections read; the frames are those of `results.frames`.

    Args:
        engine: read-only.
        name: of the study.
        texts: whether texts of examples may be shown.
    """

    def __init__(self, engine: sa.Engine, name: str, texts: bool = True) -> None:
        self.engine = engine
        self.name = name
        self.texts = texts
        self._computed: dict[str, Any] = {}

    def once(self, key: str, compute: Callable[[], Answered]) -> Answered:
        """What `compute` returns, computed for the first section that asks."""
        if key not in self._computed:
            self._computed[key] = compute()
        return self._computed[key]  # type: ignore[no-any-return]

    def close(self) -> None:
        """Let go of the database."""
        self.engine.dispose()

    @cached_property
    def row(self) -> Mapping[str, Any]:
        """The study's own row: task, text, spec, objectives, created_at."""
        found = frames.studies(self.engine)
        return dict(found[found["name"] == self.name].iloc[0])

    @cached_property
    def objectives(self) -> tuple[Objective, ...]:
        """What was optimised, the first one first."""
        return tuple(Objective(**objective) for objective in self.row["objectives"]) or (Objective(),)

    @property
    def objective(self) -> Objective:
        """The first objective."""
        return self.objectives[0]

    @property
    def spec(self) -> Mapping[str, Any]:
        """The study file as understood."""
        return dict(self.row["spec"] or {})

    @cached_property
    def question(self) -> str:
        """The comment that opens the study file: what the study asks; not the note on `--set`, which asks nothing."""
        lines: list[str] = []
        if str(self.row["text"]).startswith(WRITTEN_OUT):
            return ""
        for line in str(self.row["text"]).splitlines():
            if not line.startswith("#") or (not line.strip("# ") and lines):
                break
            lines.append(line.lstrip("# ").strip())
        return " ".join(line for line in lines if line)

    @cached_property
    def summary(self) -> pd.DataFrame:
        """harness_summary: one row a trial."""
        return frames.summary(self.engine, self.name)

    @cached_property
    def trials(self) -> pd.DataFrame:
        """The summary with every hyperparameter as run, the verdict's name and words, and each phase's seconds."""
        details = self.details
        stored = zip(details["asked"].tolist(), details["done"].tolist(), strict=True)
        run = [_as_run(asked, done, self._training_rows) for asked, done in stored]
        left_out = {*self.summary.columns, "early_stopping"}
        names = [name for name in dict.fromkeys(itertools.chain(*run)) if name not in left_out]
        columns = {name: [each.get(name, np.nan) for each in run] for name in names}
        config = pd.DataFrame(columns, index=details.index)
        verdict = ["verdict_words", "verdict_evidence", "verdict_version"]
        added = details[["trial", *verdict, "message", "stopped_early", "origin", *PHASES]]
        named = added.assign(verdict=details["verdict_name"]).join(config)
        last = self.losses.groupby("trial")["epoch"].max().rename("last_epoch").reset_index()
        merged = self.summary.drop(columns=["verdict"]).merge(named, on="trial", validate="one_to_one")
        return merged.merge(last, on="trial", how="left", validate="one_to_one")

    @cached_property
    def labels(self) -> Mapping[int, str]:
        """Trial -> its number and what sets it apart (`naming.labels`)."""
        return naming.labels(self.trials)

    @cached_property
    def configurations(self) -> Mapping[int, str]:
        """Configuration -> its number and what sets it apart (`naming.configurations`)."""
        return naming.configurations(self.trials)

    @property
    def _training_rows(self) -> int | None:
        """Rows of the training split; None before the data was prepared."""
        splits = {} if self.data.empty else self.data.iloc[0]["splits"]
        return int(splits["train"]["rows"]) if "train" in splits else None

    @cached_property
    def judged(self) -> pd.DataFrame:
        """The verdict on every trial that trained."""
        return overfitting.table(self.trials, self.losses)

    @cached_property
    def details(self) -> pd.DataFrame:
        """One row a trial with everything stored."""
        return frames.trial_details(self.engine, self.name)

    @cached_property
    def epochs(self) -> pd.DataFrame:
        """harness_epoch: one row an epoch."""
        return frames.epochs(self.engine, self.name)

    @cached_property
    def epoch_records(self) -> pd.DataFrame:
        """Times, FLOPs, energy and load of every epoch, without its metrics."""
        return frames.epoch_records(self.engine, self.name)

    @cached_property
    def losses(self) -> pd.DataFrame:
        """The loss curves: columns study, trial, epoch, train_loss, validation_loss, epoch_seconds of harness_epoch."""
        return frames.losses(self.engine, self.name)

    @cached_property
    def loads(self) -> pd.DataFrame:
        """Other processes' share of the CPUs in every epoch: columns trial, load."""
        return self.epoch_records[["trial", "load"]]

    @cached_property
    def group_metrics(self) -> pd.DataFrame:
        """Every metric of every epoch that is of a group of examples."""
        return frames.metrics(self.engine, self.name, of_groups=True)

    @cached_property
    def test_metrics(self) -> pd.DataFrame:
        """Metrics of the test rows, which only confirming trials read."""
        return frames.test_metrics(self.engine, self.name)

    @cached_property
    def windows(self) -> pd.DataFrame:
        """Steady training windows."""
        return frames.windows(self.engine, self.name)

    @cached_property
    def incidents(self) -> pd.DataFrame:
        """What went otherwise than asked."""
        return frames.incidents(self.engine, self.name)

    @cached_property
    def environment(self) -> pd.DataFrame:
        """Environments of the trials."""
        return frames.environment(self.engine, self.name)

    @cached_property
    def data(self) -> pd.DataFrame:
        """The data as used, one row, or none before it was prepared."""
        return frames.data(self.engine, self.name)

    @cached_property
    def models(self) -> pd.DataFrame:
        """The encoders as found."""
        return frames.models(self.engine, self.name)

    @cached_property
    def adaptations(self) -> pd.DataFrame:
        """The encoders that were pretrained further before the first trial."""
        return frames.adaptations(self.engine, self.name)

    @cached_property
    def attributions(self) -> pd.DataFrame:
        """What each token did for answers that were explained."""
        return frames.attributions(self.engine, self.name)

    @cached_property
    def sessions(self) -> pd.DataFrame:
        """Invocations of `harness run`."""
        return frames.sessions(self.engine, self.name)

    @cached_property
    def examples(self) -> pd.DataFrame:
        """Validation examples in the order of the predictions."""
        return frames.examples(self.engine, self.name)

    @cached_property
    def test_examples(self) -> pd.DataFrame:
        """Test examples in the order of the predictions."""
        return frames.examples(self.engine, self.name, "test")

    @cached_property
    def training_examples(self) -> pd.DataFrame:
        """Training examples in the order from which folds are cut."""
        return frames.examples(self.engine, self.name, "train")

    @cached_property
    def _ids(self) -> dict[int, int]:
        """Trial -> its id in the database."""
        return dict(zip(self.details["trial"].tolist(), self.details["trial_id"].tolist(), strict=True))

    def logits(self, trial: int, epoch: int) -> npt.NDArray[np.float32]:
        """Validation logits of one epoch, shape (examples, labels).

        Raises:
            UsageError: when none were stored.
        """
        return self.outputs(trial, epoch, "logits")

    def outputs(self, trial: int, epoch: int, kind: str, split: str | None = None) -> npt.NDArray[np.float32]:
        """What the task kept of one epoch's validation rows (or of another split), such as logits or spans.

        Raises:
            UsageError: when none were stored.
        """
        return frames.predictions(self.engine, self._ids[trial], epoch, kind, split)


def opened(target: str | Path, study: str, texts: bool = True) -> StudyFrames:
    """Open results.db for reading and check that it holds the study.

    Args:
        target: path of results.db, or the URL of a server.
        study: its name.
        texts: whether texts of examples may be shown.

    Raises:
        UsageError: there is no such database or no such study.
        StorageError, SpecError: the database cannot be read.
    """
    engine = open_engine(target, read_only=True)
    found = StudyFrames(engine, study, texts)
    try:
        _ = found.summary
    except BaseException:
        engine.dispose()
        raise
    return found


def _as_run(asked: Mapping[str, Any], done: object, rows: int | None) -> Mapping[str, Any]:
    """The configuration as run, `train` being the rows that were there; as asked where no training started.

    Where nothing else was asked it is going to be all rows.
    """
    if not isinstance(done, Mapping) or "config" not in done:
        return {**asked, "train": rows} if asked.get("train") is None else asked
    return {**done["config"], "train": done.get("train_rows", done["config"]["train"])}

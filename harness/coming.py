"""The trials that a study is still going to run, as far as that can be known before they are run.

Configurations and grids are what they are. A sampler is asked as in the night, and told that every trial came out
alike: its first random points are exact then, the later ones stand for what it will choose.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from harness.configuration import TrialConfig
from harness.confirming import Confirming
from harness.grid import confirming, folds
from harness.opening import Commits, commits_of
from harness.records import State
from harness.results.engine import open_engine
from harness.results.rows import Known, TrialRow
from harness.results.store import Store
from harness.results.targets import Target, database_path, is_server
from harness.sampling import Tried
from harness.search import Proposal, Search
from harness.spec import PrunerSpec, StudyFile, StudySpec
from harness.study import refuse_another

DRAWN = 200  # of a sampler's trials are looked at one by one
# All that a trial's cost depends on. Dropout, too, but only in that a model is loaded anew for another one.
COSTLY = (
    "model",
    "adapt",  # other weights have other states of frozen prefixes
    "epochs",
    "batch_size",
    "max_length",
    "stride",
    "freeze",
    "train",
    "gradient_accumulation",
    "dtype",
    "frozen_mode",
)


class Begun(NamedTuple):
    """What the record holds of a study: trials, seconds of all invocations, what is confirmed, commits of the Hub."""

    trials: Sequence[TrialRow] = ()
    seconds: float = 0.0
    confirming: Confirming | None = None
    commits: Commits = Commits()

    @property
    def finished(self) -> int:
        """Trials to which nothing more will happen."""
        return sum(trial.finished for trial in self.trials)

    def confirms(self, trial: TrialRow) -> bool:
        """Whether a trial is not the search's."""
        return self.confirming is not None and self.confirming.of(trial)


class Coming(NamedTuple):
    """A trial that will be run; `independent` of what others come to, so that it can be placed beside them."""

    config: TrialConfig
    seed: int
    replicate: int
    fold: int | None
    independent: bool = True

    @property
    def course(self) -> tuple[TrialConfig, int | None]:
        """What its cost depends on: trials of the same course cost alike."""
        return TrialConfig(**{name: getattr(self.config, name) for name in COSTLY}), self.fold


class Ahead(NamedTuple):
    """What is still to come.

    Attributes:
        drawn: the search's, one by one, in order.
        total: of these, those that were not drawn included; None while only time bounds the study.
        exact: whether the drawn ones are these and no others, whatever comes out.
        confirming: those after the search whose configuration is known.
        unknown: how many more confirm what the search has yet to find.
    """

    drawn: list[Coming]
    total: int | None
    exact: bool
    confirming: list[Coming]
    unknown: int


def begun(target: Target, file: StudyFile) -> Begun:
    """What a database holds of a study; writes nothing.

    Raises:
        SpecError: when it was run with another study file under the same name.
    """
    if not is_server(target) and not database_path(target).exists():
        return Begun()
    with Store(open_engine(target, read_only=True), target) as store:
        row = store.study(file.spec.study)
        if row is None:
            return Begun()
        refuse_another(store, row, file)
        confirmed = Confirming(store, row, file.spec)
        trials = store.trials(row.id)
        commits = commits_of(store, row) if any(trial.attempt for trial in trials) else Commits()
        return Begun(trials, store.invocation_seconds(row.id), confirmed, commits)


def ahead(spec: StudySpec, record: Begun) -> Ahead:
    """The trials that wait or were interrupted, those that the search will propose, and those that confirm."""
    # nothing is pruned of what came out alike; to ask gp is dear, and its points are not known before the night anyway
    asked = spec.model_copy(update={"pruner": PrunerSpec()} | ({"sampler": "random"} if spec.sampler == "gp" else {}))
    searched = [row for row in record.trials if not record.confirms(row)]
    search = Search(asked, [Tried.of(row) for row in searched])
    known = {(row.config.fingerprint, row.replicate, row.fold): row for row in searched}
    drawn = [Coming(row.config, row.seed, row.replicate, row.fold) for row in known.values() if not row.finished]
    sampled, number = 0, len(record.trials)
    while sampled < DRAWN:
        independent = search.independent()
        if (proposal := search.next()) is None:
            break
        drawn.append(Coming(proposal.config, proposal.seed, proposal.replicate, proposal.fold, independent))
        search.add(_alike(number, drawn[-1]))
        search.finish(number, "complete", [0.0] * len(spec.objectives))
        sampled += proposal.origin == "sampled"
        number += 1
    finished = sum(row.finished for row in searched)
    total = None if search.total is None else max(search.total - finished, len(drawn))
    return Ahead(drawn, total, sampled == 0, *_to_confirm(spec, record, search, searching=bool(drawn)))


def _to_confirm(spec: StudySpec, record: Begun, search: Search, searching: bool) -> tuple[list[Coming], int]:
    """The trials after the search that are known, and how many more there will be."""
    if not searching and record.confirming is not None:
        configs = {row.id: row.config for row in record.trials}
        proposals = record.confirming.to_come(map(Known.of, record.trials), search, configs.__getitem__)
        waiting = [row for row in record.trials if record.confirms(row) and not row.finished]
        both: list[TrialRow | Proposal] = [*waiting, *proposals]
        return [Coming(each.config, each.seed, each.replicate, each.fold, False) for each in both], 0
    known = []
    if spec.confirm is not None and spec.confirm.baseline is not None:
        config, first = spec.complete(spec.confirm.baseline), max(spec.replicates, len(spec.seeds))
        known = [
            Coming(config, search.seed_of(replicate), replicate, fold, False)
            for replicate in range(first, first + spec.confirm.seeds)
            for fold in folds(spec)
        ]
    return known, confirming(spec) - len(known)


def _alike(number: int, trial: Coming, state: State = "waiting") -> Tried:
    return Tried(number, trial.config, trial.seed, trial.replicate, trial.fold, state)

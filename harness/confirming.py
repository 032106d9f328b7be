"""After the search: the best few configurations and the baseline again, with seeds that no choice was made by.

They are replicates of one configuration, on the same new seeds for all, so that they can be compared in pairs. Where
the study file sets test rows aside (`data.test`), these trials and no others look at them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from harness.configuration import TrialConfig
from harness.grid import confirming, folds
from harness.ranking import Plan, Run, plan_of, ranked
from harness.records import Incident
from harness.results.choices import CHOSEN, OPENED, Choice, choices
from harness.results.rows import Known, StudyRow, TrialRow
from harness.results.store import Store
from harness.search import Proposal, Search
from harness.spec import StudySpec


class Confirming:
    """The part of a study that comes after its search; of a study without `confirm:`, nothing.

    Attributes:
        choice: the newest one; None before the search is over.
    """

    def __init__(self, store: Store, row: StudyRow, spec: StudySpec) -> None:
        self.store = store
        self.row = row
        self.spec = spec
        with store.engine.connect() as connection:
            self._choices = choices(connection, row.id)

    @property
    def choice(self) -> Choice | None:
        """What was chosen last."""
        return self._choices[-1] if self._choices else None

    def of(self, trial: TrialRow | Known) -> bool:
        """Whether a trial confirms, and so is not the search's."""
        return any(choice.has(trial.fingerprint, trial.replicate) for choice in self._choices)

    def reads_test(self, trial: TrialRow) -> bool:
        """Whether a trial may look at the test rows."""
        return self.spec.data.test is not None and self.of(trial)

    def due(self, trials: Iterable[Known]) -> bool:
        """Whether something is left to choose or to run, given that the search is over."""
        known = list(trials)
        wanted = self._wanted(known)
        return wanted is not None and (wanted != self.choice or next(self._missing(wanted, known), None) is not None)

    def left(self, trials: Iterable[Known]) -> int:
        """How many trials would be left to run if the search ended now with as many as are to be chosen."""
        known = list(trials)
        wanted = self._wanted(known)
        if wanted is None:
            return confirming(self.spec)
        ended = {(trial.fingerprint, trial.replicate, trial.fold) for trial in known if trial.finished}
        return max(0, confirming(self.spec) - sum(run in ended for run in self._runs(wanted, wanted.replicates)))

    def begin(self, trials: Iterable[Known], search: Search) -> list[Proposal]:
        """Choose, which goes on record before anything runs, and give the trials that are to be added.

        Args:
            trials: all of the study; the search is over.
            search: knows the seed of a replicate.
        """
        known = list(trials)
        wanted = self._wanted(known)
        if wanted is None:
            return []
        if wanted != self.choice:
            self._record(wanted, known, search)
            self._choices.append(wanted)
        return self.to_come(known, search, lambda trial_id: self.store.trial(trial_id).config)

    def to_come(
        self, trials: Iterable[Known], search: Search, config_of: Callable[[int], TrialConfig]
    ) -> list[Proposal]:
        """The trials that `begin` gives, without choosing; `config_of` is asked for the configuration of a trial."""
        known = list(trials)
        wanted = self._wanted(known)
        if wanted is None:
            return []
        configs = self._configs(wanted, known, config_of)
        return [
            Proposal(configs[key], search.seed_of(replicate), replicate, fold, "baseline")
            for key, replicate, fold in self._missing(wanted, known)
        ]

    # --- choosing -------------------------------------------------------------------------------

    def _wanted(self, trials: list[Known]) -> Choice | None:
        """The choice that the search's results ask for; None where there is nothing to confirm."""
        confirm = self.spec.confirm
        if confirm is None:
            return None
        baseline = None if confirm.baseline is None else self.spec.complete(confirm.baseline).fingerprint
        best = [key for key in self._ranked(trials) if key != baseline][: confirm.top]
        if not best:
            return None
        chosen = Choice(tuple(best), baseline, (), 0)
        replicates = self._replicates(chosen, trials)
        return Choice(chosen.configurations, baseline, replicates, len(list(self._runs(chosen, replicates))))

    def _ranked(self, trials: list[Known]) -> list[str]:
        """Fingerprints by the rule of `ranking`, as if nothing had been confirmed."""
        searched = [
            each
            for each in trials
            if each.state == "complete"
            and each.objective is not None
            and (each.replicate < len(self.spec.seeds) or not self.of(each))
        ]
        prints = {each.configuration: each.fingerprint for each in searched}
        runs = (Run(t.configuration, t.number, t.objective or 0.0, t.replicate, t.fold) for t in searched)
        plan = plan_of(self.spec.model_dump(mode="json", include={"seed", "replicates", "data"}))
        found = ranked(runs, self.spec.objectives[0], Plan(plan.searched))
        return [prints[standing.configuration] for standing in found]

    def _replicates(self, chosen: Choice, trials: list[Known]) -> tuple[int, ...]:
        """The same new seeds for all: those of an earlier choice, as long as the search has run none of them."""
        assert self.spec.confirm is not None
        seeds = self.spec.confirm.seeds
        used = {t.replicate for t in trials if t.fingerprint in chosen.prints and not self.of(t)}
        for first in dict.fromkeys(choice.replicates[0] for choice in reversed(self._choices)):
            if not used & set(range(first, first + seeds)):
                return tuple(range(first, first + seeds))
        first = 1 + max([len(self.spec.seeds) - 1, *(trial.replicate for trial in trials)])
        return tuple(range(first, first + seeds))

    def _runs(self, chosen: Choice, replicates: tuple[int, ...]) -> Iterator[tuple[str, int, int | None]]:
        """Seed by seed, so that a night that ends early has whole pairs."""
        for replicate in replicates:
            for key in chosen.prints:
                for fold in folds(self.spec):
                    yield key, replicate, fold

    def _missing(self, chosen: Choice, trials: list[Known]) -> Iterator[tuple[str, int, int | None]]:
        there = {(trial.fingerprint, trial.replicate, trial.fold) for trial in trials}
        return (run for run in self._runs(chosen, chosen.replicates) if run not in there)

    def _configs(
        self, chosen: Choice, trials: list[Known], config_of: Callable[[int], TrialConfig]
    ) -> dict[str, TrialConfig]:
        assert self.spec.confirm is not None
        last = {trial.fingerprint: trial.id for trial in trials if trial.fingerprint in chosen.prints}
        found = {fingerprint: config_of(trial_id) for fingerprint, trial_id in last.items()}
        if self.spec.confirm.baseline is not None:
            baseline = self.spec.complete(self.spec.confirm.baseline)
            found[baseline.fingerprint] = baseline
        return found

    # --- the record -----------------------------------------------------------------------------

    def _record(self, chosen: Choice, trials: list[Known], search: Search) -> None:
        numbers = {trial.fingerprint: trial.configuration for trial in trials}
        best = ", ".join(str(numbers[key]) for key in chosen.configurations)
        seeds = ", ".join(str(search.seed_of(replicate)) for replicate in chosen.replicates)
        what = f"configurations {best}{'' if chosen.baseline is None else ' and the baseline'}"
        words = f"the search is over; {what} run again with seeds {seeds}"
        incidents = [Incident(CHOSEN, words, chosen.as_details())]
        if self.spec.data.test is not None:
            times = len(self._choices) + 1
            again = f" for the {_ordinal(times)} time, after results on them were known" if times > 1 else ""
            told = f"the test rows are opened{again}, to compare {what}"
            incidents.append(Incident(OPENED, told, {"times": times}))
        self.store.record_incident(self.row.id, None, *incidents)


def _ordinal(number: int) -> str:
    return {2: "second", 3: "third"}.get(number, f"{number}th")

"""Optuna in memory: the space in its terms, samplers, pruners, and a study rebuilt from the record.

The seed is mixed anew for every ask, so that a study that was interrupted asks for the same points
as one that was not. What to try besides the sampler's points is search.py's work.
"""

from __future__ import annotations

import hashlib
import math
import multiprocessing
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from harness.configuration import Direction, TrialConfig, canonical_json
from harness.grid import contains, grid_size, grid_values
from harness.median_pruning import MedianPruner
from harness.records import State
from harness.results.rows import TrialRow
from harness.spec import Choice, PrunerSpec, Range, StudySpec

Params = dict[str, Any]
STARTUP_TRIALS = 10  # of TPE, at random


@dataclass(frozen=True)
class Tried:
    """A trial that the record holds, as far as the search must know it.

    Attributes:
        values: one number an objective; empty until it is complete.
        epochs: objective value of each finished epoch, for the pruner.
        spared: why it ended without being started, in words; empty for any other.
    """

    number: int
    config: TrialConfig
    seed: int
    replicate: int
    fold: int | None
    state: State
    values: Sequence[float] = ()
    epochs: Mapping[int, float] = field(default_factory=dict)
    spared: str = ""

    @classmethod
    def of(cls, trial: TrialRow, epochs: Mapping[int, float] | None = None) -> Tried:
        """A row of the record; an objective that has no finite value is NaN."""
        values = [math.nan if value is None else value for value in trial.objective_values]
        state = cast(State, trial.state)
        run = (trial.config, trial.seed, trial.replicate, trial.fold)
        return cls(trial.number, *run, state, values, epochs or {}, trial.message if trial.spared else "")


def mix(seed: int, number: int) -> int:
    """A 31-bit seed for the n-th ask: restarting with one seed would repeat the same points."""
    digest = hashlib.sha256(f"{seed}:{number}".encode()).digest()
    return int.from_bytes(digest[:4], "big") & 0x7FFFFFFF


# --- the space in Optuna's terms ----------------------------------------------------------------


def quasi_random(space: Mapping[str, Choice | Range], seed: int, index: int) -> Params:
    """The index-th point of a scrambled Sobol sequence over the space.

    References: Owen, "Scrambling Sobol' and Niederreiter-Xing points", 1998
    """
    import scipy.stats  # tens of megabytes that no other sampler needs

    engine = scipy.stats.qmc.Sobol(len(space), scramble=True, rng=seed)
    if index:
        engine.fast_forward(index)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # balance wants powers of two; one point at a time is the use here
        unit = engine.random(1)[0]
    return {name: _at(dimension, u) for (name, dimension), u in zip(space.items(), unit, strict=True)}


def _at(dimension: Choice | Range, unit: float) -> Any:
    if grid_size({"": dimension}) is not None:
        values = grid_values(dimension)
        return values[min(int(unit * len(values)), len(values) - 1)]
    assert isinstance(dimension, Range)
    if dimension.log:
        value = dimension.low * (dimension.high / dimension.low) ** unit
    else:
        value = dimension.low + unit * (dimension.high - dimension.low)
    return round(value) if dimension.integer else value


def distribution(dimension: Choice | Range) -> BaseDistribution:
    """A dimension in Optuna's terms. Choices that are no scalars (early stopping) travel as canonical JSON."""
    if isinstance(dimension, Choice):
        return CategoricalDistribution([_plain(value) for value in dimension.values])
    if dimension.integer:
        return IntDistribution(int(dimension.low), int(dimension.high), dimension.log, int(dimension.step or 1))
    return FloatDistribution(dimension.low, dimension.high, dimension.log, dimension.step)


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, str | int | float | bool) else canonical_json(value)


# --- Optuna ---------------------------------------------------------------------------------------

NOTHING: dict[Any, Any] = {}  # attributes and epochs of every ended trial that has none, which nobody changes


class Ended(optuna.trial.FrozenTrial):
    """An ended trial: the storage, which copies what it is given, takes it as it is, for nobody changes it any more."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Ended:
        return self


def looks_at_epochs(spec: StudySpec, state: str) -> bool:
    """Whether the epochs of a trial in that state still matter to a sampler or pruner."""
    if state in ("waiting", "running") or spec.pruner.name == "hyperband":
        return True
    return state == "pruned" or (state == "complete" and spec.pruner.name == "median")


class Sampling:
    """An in-memory Optuna study that mirrors the record; asks, reports and tells."""

    def __init__(self, spec: StudySpec) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.spec = spec
        self.space = {name: distribution(dimension) for name, dimension in spec.search.items()}
        self.storage = optuna.storages.InMemoryStorage()
        self.study = optuna.create_study(
            storage=self.storage,
            study_name=spec.study,  # hyperband hashes the name
            directions=[objective.direction for objective in spec.objectives],
            pruner=pruner(spec.pruner, self._longest(), spec.objectives[0].direction),
        )
        self._asked: optuna.Trial | None = None
        self._size = 0  # trials of the Optuna study, which counting would copy
        self._numbers: dict[int, int] = {}  # of the record -> of the Optuna study, of trials that have not ended
        self._points = 0  # trials within the space
        self._rebuilt = datetime.now()
        self._around: dict[str, Any] = {}  # the values beside the searched ones, the same at every point of the space

    def add(self, trial: Tried) -> bool:
        """Mirror a trial of the record if it lies within the space; whether it does."""
        values = trial.config.as_dict()
        if not self._within(values):
            return False
        params = {name: _plain(values[name]) for name in self.space}
        self._points += 1
        ended = trial.state in ("complete", "pruned", "failed")
        if ended and self.spec.pruner.name != "hyperband":
            self._added(self._frozen(trial, params))
            return True
        self._numbers[trial.number] = self._running_number(params)
        for epoch, value in sorted(trial.epochs.items()):
            self.report(trial.number, epoch, value)  # asked again, since hyperband writes down its rungs when asked
        if ended:
            self.finish(trial.number, trial.state, trial.values)
        return True

    def ask(self, seed: int) -> Params:
        """New parameters; `add` of the trial made from them takes them up."""
        if self._asked is not None:
            return self._decoded(self._asked.params)
        if self.spec.sampler == "qmc":
            return quasi_random(self.spec.search, self.spec.seeds[0], self._points)
        if self.spec.sampler == "gp":
            return self._decoded(_ask_elsewhere(self.study, self.space, seed))
        self.study.sampler = sampler(self.spec.sampler, seed)
        self._asked = self.study.ask(self.space)
        self._size += 1
        return self._decoded(self._asked.params)

    @property
    def blind(self) -> bool:
        """Whether the sampler's next point hangs on no result: always, or as long as it draws at random."""
        name = self.spec.sampler
        return name in ("random", "qmc", "grid") or (name == "tpe" and self._size < STARTUP_TRIALS)

    def restart(self, number: int) -> None:
        """Forget the epochs of a trial, and what the pruner has noted about them."""
        if number not in self._numbers:
            return
        trial = self._stored(self._numbers[number])
        trial.intermediate_values.clear()
        trial.system_attrs.clear()

    def _running_number(self, params: Params) -> int:
        asked, self._asked = self._asked, None
        if asked is not None and asked.params == params:
            return asked.number
        if asked is not None:  # an explicit trial came in between: the point is free again
            self.study.tell(asked.number, state=optuna.trial.TrialState.FAIL)
        states = optuna.trial.TrialState
        number = self._added(optuna.create_trial(state=states.RUNNING, params=params, distributions=self.space))
        self._stored(number).distributions = self.space  # the storage has made a copy for each trial
        return number

    def _added(self, trial: optuna.trial.FrozenTrial) -> int:
        self.study.add_trial(trial)
        self._size += 1
        return self._size - 1

    def _stored(self, number: int) -> optuna.trial.FrozenTrial:
        """A trial of the Optuna study: an in-memory storage hands out the trial itself."""
        identity = self.storage.get_trial_id_from_study_id_trial_number(self.study._study_id, number)
        return self.storage.get_trial(identity)

    def _frozen(self, trial: Tried, params: Params) -> Ended:
        """An ended trial as `report` and `finish` would leave it, in one step."""
        several = len(self.spec.objectives) > 1
        epochs = {} if several else {epoch: v for epoch, v in sorted(trial.epochs.items()) if math.isfinite(v)}
        state = _ended(trial.state, trial.values)
        values: Sequence[float] | None = trial.values if state == optuna.trial.TrialState.COMPLETE else None
        if state == optuna.trial.TrialState.PRUNED and epochs:
            values = [epochs[max(epochs)]]  # Optuna's `tell` takes the last one for a pruned trial's value
        return Ended(
            number=self._size,
            state=state,
            value=None,
            values=values,
            datetime_start=self._rebuilt,
            datetime_complete=self._rebuilt,
            params=params,
            distributions=self.space,
            user_attrs=NOTHING,
            system_attrs=NOTHING,
            intermediate_values=self._left(state, epochs),
            trial_id=self._size,
        )

    def _left(self, state: optuna.trial.TrialState, epochs: dict[int, float]) -> dict[int, float]:
        """Of an ended trial's, once the median has counted them: TPE looks at the last one of a pruned trial."""
        states = optuna.trial.TrialState
        if state == states.COMPLETE and isinstance(self.study.pruner, MedianPruner):
            self.study.pruner.add(epochs)
        if state == states.PRUNED and epochs:
            return {max(epochs): epochs[max(epochs)]}
        return NOTHING

    def report(self, number: int, epoch: int, value: float) -> bool:
        """Epoch objective to the pruner; False for trials outside the space or with several objectives."""
        if number not in self._numbers or len(self.spec.objectives) > 1 or not math.isfinite(value):
            return False
        identity = self.storage.get_trial_id_from_study_id_trial_number(self.study._study_id, self._numbers[number])
        # past optuna.Trial, which would walk through all trials to find the search space again
        if epoch not in self.storage.get_trial(identity).intermediate_values:
            self.storage.set_trial_intermediate_value(identity, epoch, float(value))
        return self.study.pruner.prune(self.study, self.storage.get_trial(identity))

    def finish(self, number: int, state: State, values: Sequence[float]) -> None:
        """Complete trials with finite values count; pruned and failed ones as Optuna's own states."""
        if number not in self._numbers:
            return
        ended = _ended(state, values)
        complete = ended == optuna.trial.TrialState.COMPLETE
        there = self._numbers.pop(number)
        self.study.tell(there, list(values) if complete else None, state=ended)
        if self.spec.pruner.name != "hyperband":  # it writes down its rungs in the trials
            trial = self._stored(there)
            trial.intermediate_values = self._left(ended, trial.intermediate_values)
            trial.distributions, trial.user_attrs, trial.system_attrs = self.space, NOTHING, NOTHING

    def _within(self, values: Mapping[str, Any]) -> bool:
        if not self.space or not all(contains(dimension, values[name]) for name, dimension in self.spec.search.items()):
            return False
        if not self._around:
            point = self.spec.complete({name: values[name] for name in self.space}).as_dict()
            self._around = {name: value for name, value in point.items() if name not in self.space}
        return all(values[name] == value for name, value in self._around.items())

    def _decoded(self, params: Mapping[str, Any]) -> Params:
        originals = {
            name: {_plain(value): value for value in dimension.values}
            for name, dimension in self.spec.search.items()
            if isinstance(dimension, Choice)
        }
        return {name: originals.get(name, {}).get(value, value) for name, value in params.items()}

    def _longest(self) -> int:
        epochs = self.spec.search.get("epochs")
        if isinstance(epochs, Choice):
            return int(max(epochs.values))
        return int(epochs.high) if epochs is not None else self.spec.complete({}).epochs


def _ended(state: State, values: Sequence[float]) -> optuna.trial.TrialState:
    """A complete trial without a finite value of every objective is a failed one to the sampler."""
    states = optuna.trial.TrialState
    if state == "complete" and values and all(math.isfinite(value) for value in values):
        return states.COMPLETE
    return states.PRUNED if state == "pruned" else states.FAIL


def ask_there(study: optuna.Study, space: dict[str, BaseDistribution], seed: int) -> Params:
    """Runs in the child: ask the Gaussian process on a copy of the study."""
    study.sampler = optuna.samplers.GPSampler(seed=seed, warn_independent_sampling=False)
    return dict(study.ask(space).params)


def _ask_elsewhere(study: optuna.Study, space: dict[str, BaseDistribution], seed: int) -> Params:
    """The Gaussian process needs torch, which has no place in the coordinator: a child asks."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(ask_there, study, space, seed).result()


def sampler(name: str, seed: int) -> optuna.samplers.BaseSampler:
    """A sampler by its name in study files; everything that its defaults may change is said."""
    if name == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    return optuna.samplers.TPESampler(seed=seed, n_startup_trials=STARTUP_TRIALS, multivariate=True, constant_liar=True)


def pruner(spec: PrunerSpec, longest: int, direction: Direction) -> optuna.pruners.BasePruner:
    """A pruner by its name; `longest` is the largest number of epochs, hyperband's resource."""
    if spec.name == "median":
        return MedianPruner(spec.startup_trials, spec.warmup_epochs, direction)
    if spec.name == "hyperband":
        return optuna.pruners.HyperbandPruner(spec.min_resource, longest, spec.reduction_factor)
    if spec.name == "patient":
        return optuna.pruners.PatientPruner(None, spec.patience, spec.min_delta)
    return optuna.pruners.NopPruner()

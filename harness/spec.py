"""The study file as one frozen value: what is asked of a study, validated before anything trains.

The sections and their rules stand in `study_file/`; YAML and its line numbers are yaml_reader.py's.
"""

from __future__ import annotations

import copy
import dataclasses
import difflib
import functools
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
from pydantic import AfterValidator, BeforeValidator, Field

from harness.configuration import Objective, TrialConfig, fingerprint
from harness.errors import SpecError
from harness.jobs import Demand
from harness.study_file.cross_checks import study_faults
from harness.study_file.explanations import explain, keys_at
from harness.study_file.overrides import apply
from harness.study_file.search_space import Choice as Choice
from harness.study_file.search_space import Range as Range
from harness.study_file.search_space import Search, as_mapping, listed_values
from harness.study_file.sections import PRUNER_OPTIONS, ObjectiveField, Seed, bare_word, checked, mapping_of, study_name
from harness.study_file.sections import BudgetSpec as BudgetSpec
from harness.study_file.sections import ConfirmSpec as ConfirmSpec
from harness.study_file.sections import DataSpec as DataSpec
from harness.study_file.sections import PrunerSpec as PrunerSpec
from harness.study_file.sections import SplitSpec as SplitSpec
from harness.study_file.template import init_template as init_template
from harness.study_file.values import ADAPT, Adapt, Configuration, Fixed, Section, model_name
from harness.yaml_reader import MAX_BYTES, Document, read_yaml, write_yaml
from harness.yaml_reader import Path as KeyPath

Values = Mapping[str, Any]
WRITTEN_OUT = "# Written out with these values of the command line:"


class StudySpec(Section):
    """A study: what is trained on what, what is tried, and when it is enough."""

    study: Annotated[str, AfterValidator(study_name)] = Field(description="name in results.db and below reports/")
    task: str = Field(default="sequence-classification", description="kind of fine-tuning")
    model: Annotated[str, AfterValidator(model_name)] = Field(
        description="Hub id (NAME or NAME@REVISION), folder or builtin:tiny, for every trial that names no other"
    )
    seed: Seed = Field(
        default=42, description="replicate r runs with seed + r; a list gives the replicates' seeds themselves"
    )
    data: DataSpec = Field(description="the data and their splits")
    fixed: Annotated[Values, as_mapping(Fixed)] = Field(
        default_factory=dict, description="hyperparameters that all trials share"
    )
    configurations: list[Annotated[Values, as_mapping(Configuration)]] = Field(
        default_factory=list,
        max_length=10_000,
        description="trials to run first, as written; what they leave out is fixed",
    )
    search: Annotated[Mapping[str, Choice | Range], as_mapping(Search)] = Field(
        default_factory=dict, description="hyperparameters to search: a list of values, or {low, high, log, step}"
    )
    adapt: Annotated[Values, as_mapping(Adapt)] | None = Field(
        default=None,
        description="pretrain the encoder further on the training texts, once, and begin the trials from it; or {}",
    )
    single: ObjectiveField | None = Field(
        default=None,
        alias="objective",
        description="what is optimised: a metric or {metric, direction, at}; default loss",
    )
    several: Annotated[list[ObjectiveField], Field(min_length=1)] | None = Field(
        default=None, alias="objectives", description="several objectives; the result is a Pareto front"
    )
    budget: BudgetSpec = Field(default_factory=lambda: BudgetSpec(), description="when the study is done")
    sampler: Annotated[Literal["tpe", "random", "grid", "gp", "qmc"], BeforeValidator(bare_word)] = Field(
        default="tpe", description="how the search chooses its next point"
    )
    pruner: Annotated[PrunerSpec, mapping_of("name", PrunerSpec, tuple(PRUNER_OPTIONS))] = Field(
        default_factory=lambda: PrunerSpec(), description="what stops hopeless trials: a word, or {name, options}"
    )
    confirm: ConfirmSpec | None = Field(default=None, description="the best configurations again with more seeds")
    keep: Annotated[int, Field(ge=0)] = Field(default=3, description="trials whose best weights stay on disk")
    watchdog: Annotated[float, Field(gt=0)] = Field(
        default=30.0, description="minutes without a step until a worker counts as hung"
    )
    frozen_mode: Literal["eval", "dropout"] = Field(
        default="eval", description="how frozen parts run: without dropout or with it"
    )
    store_texts: bool = Field(default=True, description="keep the examples' texts in results.db for error analysis")
    replicates: Annotated[int, Field(ge=1, le=1000)] = Field(default=1, description="seeds for every configuration")

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> StudySpec:
        return checked(self, study_faults(self))

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """What is optimised, one or several."""
        return tuple(self.several) if self.several else (self.single or Objective(),)

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seed of every replicate, in order."""
        return tuple(self.seed) if isinstance(self.seed, list) else tuple(self.seed + r for r in range(self.replicates))

    @property
    def fingerprint(self) -> str:
        """Identity of everything that the file says, defaults included."""
        return fingerprint(self.content())

    def complete(self, values: Values) -> TrialConfig:
        """A point of the space with everything fixed around it.

        Raises:
            SpecError: for a name or value that no hyperparameter takes.
        """
        try:
            given = Configuration.model_validate(dict(values)).given()
        except pydantic.ValidationError as error:
            raise explain(error, lambda path: "configuration", lambda path: list(Configuration.model_fields)) from None
        base = {"model": self.model, "frozen_mode": self.frozen_mode, "adapt": self.adapt is not None, **self.fixed}
        return TrialConfig.from_dict(base | given)

    def explicit(self) -> list[TrialConfig]:
        """The configurations that the file writes out."""
        return [self.complete(values) for values in self.configurations]

    def _used(self, name: str) -> list[Any]:
        """Every value that a trial of this study may have for a word or number; of a continuous range both ends."""
        found = [getattr(config, name) for config in self._written_out()]
        if self.search:
            found += self.searched(name)
        return list(dict.fromkeys(found))

    def _written_out(self) -> list[TrialConfig]:
        """The explicit configurations, and the baseline where there is one."""
        baseline = None if self.confirm is None else self.confirm.baseline
        return self.explicit() + ([] if baseline is None else [self.complete(baseline)])

    def searched(self, name: str) -> list[Any]:
        """The values that the search may give to a word or number, or the one that it leaves alone."""
        dimension = self.search.get(name)
        return [getattr(self.complete({}), name)] if dimension is None else list(listed_values(dimension))

    def models(self) -> tuple[str, ...]:
        """Every model that a trial may use, in order of appearance."""
        return tuple(self._used("model"))

    def max_lengths(self) -> tuple[int, ...]:
        """Every max_length that a trial may use, ascending; a range of more than 16 lengths gives 16 of them."""
        lengths = sorted({math.ceil(length) for length in self._used("max_length")})
        stride = max(1, math.ceil(len(lengths) / 16))
        return tuple(sorted({*lengths[::stride], lengths[-1]}))

    def strides(self) -> tuple[int | None, ...]:
        """Every stride that a trial may use, in order of appearance."""
        return tuple(self._used("stride"))

    def freezes(self) -> tuple[str, ...]:
        """Every freezing strategy that a trial may use, in order of appearance."""
        return tuple(self._used("freeze"))

    def adaptations(self) -> tuple[TrialConfig, ...]:
        """How each model is pretrained further that a trial may begin from; empty without `adapt:`, or with no use."""
        if self.adapt is None or True not in self._used("adapt"):
            return ()
        return tuple(TrialConfig.from_dict({**ADAPT, **self.adapt, "model": model}) for model in self.models())

    def demands(self) -> tuple[Demand, ...]:
        """What its trials may ask of a model and the device, each combination once; of searched lengths the longest."""
        found = [Demand(c.model, c.max_length, c.freeze, c.dtype) for c in self._written_out()]
        if self.search:
            longest = math.ceil(max(self.searched("max_length")))
            words = itertools.product(self.searched("model"), self.searched("freeze"), self.searched("dtype"))
            found += [Demand(model, longest, freeze, dtype) for model, freeze, dtype in words]
        found += [Demand(c.model, c.max_length, c.freeze, c.dtype) for c in self.adaptations()]
        return tuple(dict.fromkeys(found))

    def content(self) -> dict[str, Any]:
        """Everything as plain JSON values, defaults included, however it was written."""
        plain = self.model_dump(mode="json", by_alias=True, exclude={"single", "several"})
        return plain | {"objectives": [dataclasses.asdict(objective) for objective in self.objectives]}


@dataclass(frozen=True)
class StudyFile:
    """A study and the text that says it.

    Attributes:
        text: exactly what was read; with overrides a complete study file that says the same.
        path: where it was read, None for a text of the database.
    """

    spec: StudySpec
    text: str
    path: Path | None = None


def read_study(path: Path | str, overrides: Sequence[str] = ()) -> StudyFile:
    """Read and validate a study file.

    Args:
        path: the file.
        overrides: texts such as `data.train=500`, each over a value of the file.

    Raises:
        SpecError: naming file, line, key, value and remedy of everything that is wrong.
    """
    path = Path(path)
    try:
        if path.exists() and not path.is_file():
            raise SpecError(f"{path}: is no file; name a study file such as studies/quickstart.yaml")
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        text = content.decode("utf-8-sig")
    except FileNotFoundError:
        raise SpecError(f"{path}: no such study file{_similar_file(path)}") from None
    except (OSError, ValueError) as error:
        raise SpecError(f"{path}: cannot be read as UTF-8 text: {error}; save it as UTF-8") from None
    return dataclasses.replace(parse_study(text, overrides, str(path)), path=path)


def _similar_file(path: Path) -> str:
    siblings = sorted(p.name for p in path.parent.glob("*.y*ml")) if path.parent.is_dir() else []
    close = difflib.get_close_matches(path.name, siblings, n=1)
    return f"; did you mean {path.with_name(close[0])}?" if close else "; `harness init` writes one"


def parse_study(text: str, overrides: Sequence[str] = (), name: str = "<study>") -> StudyFile:
    """Validate the text of a study file, such as the one that the database keeps.

    Args:
        text: YAML.
        overrides: as in `read_study`.
        name: what messages call the text.

    Raises:
        SpecError: as `read_study`.
    """
    document = read_yaml(text, name)
    if not isinstance(document.value, dict):
        what = "is empty" if document.value is None else "holds no keys"
        raise SpecError(f"{name}:1: {what}; begin with `study: NAME`, or let `harness init` write a study file")
    values = copy.deepcopy(document.value)
    places = apply(values, overrides)
    spec = _validated(values, document, places, name)
    return StudyFile(spec, _merged_text(text, values, overrides) if overrides else text)


@functools.cache
def _schema() -> dict[str, Any]:
    return StudySpec.model_json_schema(by_alias=True)


def _validated(values: dict[str, Any], document: Document, places: Mapping[KeyPath, str], name: str) -> StudySpec:
    def place(path: KeyPath) -> str:
        for length in range(len(path), -1, -1):
            if path[:length] in places:
                return places[path[:length]]
            if path[:length] in document.lines:
                return f"{name}:{document.lines[path[:length]]}"
        return name

    try:
        return StudySpec.model_validate(values)
    except pydantic.ValidationError as error:
        raise explain(error, place, lambda path: keys_at(_schema(), path)) from None


def _merged_text(text: str, values: Mapping[str, Any], overrides: Sequence[str]) -> str:
    """A study file that says what file and command line said together, with the file's opening comment."""
    opening = "".join(itertools.takewhile(lambda line: line.startswith("#"), text.splitlines(keepends=True)))
    said = "".join(f"#   --set {' '.join(override.split())}\n" for override in overrides)
    head = f"{opening}\n" if opening and not opening.startswith(WRITTEN_OUT) else ""
    return f"{head}{WRITTEN_OUT}\n{said}{write_yaml(values)}"


# --- comparing -----------------------------------------------------------------------------------------

_ABSENT = object()


def changes(old: StudySpec, new: StudySpec) -> list[str]:
    """What differs, a readable line a key: `budget.trials: 30 -> 60`."""
    return [f"{'.'.join(key)}: {_told(before)} -> {_told(after)}" for key, before, after in _differences(old, new)]


def extends_only(old: StudySpec, new: StudySpec) -> bool:
    """Whether `new` asks for the same trials as `old` and more: what is done stays valid."""
    return all(_extends(".".join(key), before, after) for key, before, after in _differences(old, new))


def _extends(key: str, before: Any, after: Any) -> bool:
    if key.partition(".")[0] in ("keep", "watchdog", "confirm") or key == "budget.until":
        return True
    if key in ("budget.trials", "budget.time"):
        return after is None or bool(before is not None and after > before)
    return bool(key == "replicates" and after > before)


def _differences(old: StudySpec, new: StudySpec) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    before, after = dict(_leaves(old.content())), dict(_leaves(new.content()))
    for key in [*before, *(key for key in after if key not in before)]:
        if before.get(key, _ABSENT) != after.get(key, _ABSENT):
            yield key, before.get(key, _ABSENT), after.get(key, _ABSENT)


def _leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every value below mappings and lists of mappings, with its path."""
    if isinstance(value, dict) and value:
        for key, below in value.items():
            yield from _leaves(below, (*path, key))
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for index, below in enumerate(value):
            yield from _leaves(below, (*path, str(index)))
    elif value != {} and value != []:
        yield path, value


def _told(value: Any) -> str:
    if value is _ABSENT:
        return "(nothing)"
    if value is None:
        return "null"
    return write_yaml(value).strip() if isinstance(value, list) else write_yaml([value]).strip()[1:-1]

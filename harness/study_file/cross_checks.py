"""What no single key of a study file can know: contradictions between keys, found before anything trains.

Every check yields the key path that an author would edit, and the sentence that goes behind it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from harness.configuration import hyperparameters
from harness.metrics import costs
from harness.study_file.search_space import Choice, Range, finite
from harness.study_file.values import nearest
from harness.tasks.base import names as task_names
from harness.yaml_reader import Path, shown

if TYPE_CHECKING:
    from harness.spec import StudySpec
    from harness.study_file.sections import DataSpec, SplitSpec

Fault = tuple[Path, str]
BUILTIN_DATA = "builtin:reviews"
QUESTION_ANSWERING = "question-answering"
MASKED_LANGUAGE_MODELING = "masked-language-modeling"
OF_QUESTIONS = ("question", "context", "answers", "id", "unanswerable")
COLUMNS = {  # keys of data that a task reads, of those that not every task does
    "sequence-classification": ("text", "text_pair", "label", "positive"),
    MASKED_LANGUAGE_MODELING: ("text", "text_pair"),
    QUESTION_ANSWERING: OF_QUESTIONS,
}


def split_faults(split: SplitSpec) -> Iterator[Fault]:
    """Contradictions within one split; paths begin below it."""
    if split.stratify and not split.shuffle:
        yield (
            ("shuffle",),
            "must be true beside stratify: true, got false; write stratify: false too for the first rows",
        )


def data_faults(data: DataSpec) -> Iterator[Fault]:
    """Contradictions within `data`; paths begin below it."""
    if data.path.startswith("builtin:") and data.path != BUILTIN_DATA:
        yield ("path",), f"must be {BUILTIN_DATA}, the only builtin data, a Hub id or files, got {shown(data.path)}"
    for option in ("noise", "rows"):
        if data.path != BUILTIN_DATA and getattr(data, option) is not None:
            yield (option,), f"belongs to {BUILTIN_DATA} alone, and path is {shown(data.path)}; take it out"
    for first, *others in (("text", "text_pair"), ("text", "label"), OF_QUESTIONS[:4]):
        yield from _same_column(data, first, others)
    asked = sum(amount for amount in (data.train, data.validation, data.test) if isinstance(amount, int))
    if data.rows is not None and asked > data.rows:
        yield ("rows",), f"must be at least {asked}, the rows of all splits, got {data.rows}; raise it"


def _same_column(data: DataSpec, first: str, others: Sequence[str]) -> Iterator[Fault]:
    taken = {getattr(data, first): first}
    for key in others:
        column = getattr(data, key)
        if (other := taken.setdefault(column, key)) != key:
            yield (key,), f"must be another column than {other}, got {shown(column)}; name the column that holds it"


def study_faults(spec: StudySpec) -> Iterator[Fault]:
    """Contradictions between the sections of a study file."""
    if spec.task not in task_names():
        yield ("task",), f"must be a known task, got {shown(spec.task)}; {nearest(spec.task, task_names())}"
    yield from _columns_of_another_task(spec)
    if not spec.configurations and not spec.search:
        yield (), "asks for no trial; add `search:` with a list of values, or `configurations:`"
    yield from _twice(spec)
    yield from _too_many_rows(spec)
    yield from _of_other_tasks(spec)
    yield from _adaptation(spec)
    yield from _strides(spec)
    yield from _objectives(spec)
    yield from _endless(spec)
    if isinstance(spec.seed, list) and spec.replicates > 1:
        yield ("replicates",), f"must be 1 beside a list of seeds, got {spec.replicates}; give one seed or take it out"


def study_cautions(spec: StudySpec) -> Iterator[str]:
    """What may be asked for and does not mean what it seems to."""
    varied = [name for name, used in (("max_length", spec.max_lengths()), ("stride", spec.strides())) if len(used) > 1]
    by_loss = [objective.metric for objective in spec.objectives if objective.metric == "loss"]
    if spec.task == QUESTION_ANSWERING and varied and by_loss:
        yield (
            f"trials with another {' or '.join(varied)} see other windows, and the loss is their mean: shorter windows "
            "without an answer lower it; objective: f1 or exact_match compares such trials"
        )


def _columns_of_another_task(spec: StudySpec) -> Iterator[Fault]:
    read = COLUMNS.get(spec.task)
    if read is None:
        return
    columns = [key for key in read if key not in ("positive", "unanswerable")]
    words = (
        f"is not read by task {spec.task}, whose columns are {', '.join(columns[:-1])} and {columns[-1]}; take it out"
    )
    for key in dict.fromkeys(key for keys in COLUMNS.values() for key in keys if key not in read):
        if key in spec.data.model_fields_set:
            yield ("data", key), words


def _twice(spec: StudySpec) -> Iterator[Fault]:
    for key in spec.search:
        if key in spec.fixed:
            yield ("search", key), "stands under fixed too; take it out there, or here"
    seen: dict[str, int] = {}
    for index, config in enumerate(spec.explicit()):
        first = seen.setdefault(config.fingerprint, index)
        if first != index:
            words = (
                f"is the same trial as configurations.{first}; take it out, `replicates: 2` repeats with another seed"
            )
            yield ("configurations", index), words


def _too_many_rows(spec: StudySpec) -> Iterator[Fault]:
    available = spec.data.train if isinstance(spec.data.train, int) else getattr(spec.data.train, "size", None)
    if not isinstance(available, int):
        return
    for path, value in _values(spec, "train"):
        if isinstance(value, int) and value > available:
            yield path, f"must be at most {available}, the rows of data.train, got {value}; raise data.train"


def _of_other_tasks(spec: StudySpec) -> Iterator[Fault]:
    for name, (declared, manners) in hyperparameters().items():
        if manners.tasks and spec.task not in manners.tasks:
            for path, value in _values(spec, name):
                if value != declared.default:
                    yield path, f"is read by {' and '.join(manners.tasks)} alone, and task is {spec.task}; take it out"


def _adaptation(spec: StudySpec) -> Iterator[Fault]:
    if spec.adapt is None:
        for path, value in _values(spec, "adapt"):
            if value:
                yield path, "asks for an adapted encoder, and there is no `adapt:`; add `adapt: {epochs: 3}`"
    elif spec.task == MASKED_LANGUAGE_MODELING:
        yield ("adapt",), f"does what task {spec.task} does anyway; take it out"
    elif spec.data.folds is not None:
        words = "is not possible beside data.folds, whose held-out texts it would be trained on; take one of them out"
        yield ("adapt",), words


def _strides(spec: StudySpec) -> Iterator[Fault]:
    for index, config in enumerate(spec.explicit()):
        if config.stride is not None and config.stride > config.max_length // 2:
            place = ("configurations", index) if "stride" in spec.configurations[index] else ("fixed",)
            yield (*place, "stride"), _too_wide(config.stride, config.max_length)
    if spec.search:
        shortest = min(spec.searched("max_length"))
        for path, value in _values(spec, "stride"):
            if path[0] in ("fixed", "search") and isinstance(value, int | float) and value > shortest // 2:
                yield path, _too_wide(value, shortest)


def _too_wide(stride: float, max_length: float) -> str:
    half = int(max_length // 2)
    return f"must be at most {half}, half of max_length {max_length}, got {stride}; a third is usual"


def _values(spec: StudySpec, name: str) -> Iterator[tuple[Path, object]]:
    """Every place where a hyperparameter gets a value; of a range both ends."""
    if name in spec.fixed:
        yield ("fixed", name), spec.fixed[name]
    for index, values in enumerate(spec.configurations):
        if name in values:
            yield ("configurations", index, name), values[name]
    dimension = spec.search.get(name)
    if isinstance(dimension, Choice):
        for index, value in enumerate(dimension.values):
            yield ("search", name, index), value
    if isinstance(dimension, Range):
        yield ("search", name, "high"), dimension.high


def _objectives(spec: StudySpec) -> Iterator[Fault]:
    names = [objective.metric for objective in spec.objectives]
    if spec.single is not None and spec.several is not None:
        yield ("objectives",), "stands beside objective; keep one of them (objective: null takes the other out)"
    if len(set(names)) < len(names):
        yield ("objectives",), f"must name every metric once, got {shown(names)}; take one out"
    if spec.pruner.name == "none":
        return
    if len(names) > 1:
        yield ("pruner",), f"must be none with several objectives, got {shown(spec.pruner.name)}; take it out"
    elif names[0] in costs():
        words = f"must be none, since {names[0]} is no metric of an epoch, got {shown(spec.pruner.name)}; take it out"
        yield ("pruner",), words
    yield from _between_folds(spec)


def _between_folds(spec: StudySpec) -> Iterator[Fault]:
    """What keeps the wilcoxon pruner from ever pruning: there must be a fold left when p can be small enough."""
    if spec.pruner.name != "wilcoxon":
        return
    if spec.data.folds is None:
        words = "must not be wilcoxon without data.folds, got 'wilcoxon': it prunes between folds; set data.folds: 10"
        yield ("pruner",), f"{words}, or take median, which prunes between epochs"
        return
    seeds = max(spec.replicates, len(spec.seeds))
    trials, fewest = spec.data.folds * seeds, spec.pruner.fewest_pairs
    if trials <= fewest:
        each = f"{spec.data.folds} folds" + (f" of {seeds} seeds" if seeds > 1 else "")
        words = (
            f"prunes nothing before {fewest} folds (p_threshold {spec.pruner.p_threshold:g}, startup_folds "
            f"{spec.pruner.startup_folds}), got {each} a configuration; set data.folds to {fewest + 1} or more"
        )
        yield ("pruner",), words


def _endless(spec: StudySpec) -> Iterator[Fault]:
    for name, dimension in spec.search.items():
        if spec.sampler == "grid" and isinstance(dimension, Range) and dimension.continuous:
            yield ("search", name), "must be a list or have a step (and no log) for sampler: grid; list some values"
    if spec.budget.limitless and not finite(spec.search):
        yield ("budget",), "is missing and the search has no end; add `budget: {trials: 30}` or a time"

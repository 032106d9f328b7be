"""Before any training: read and check all data, load every model once, and say what was found.

What a trial would stumble over in the night is refused here, with the field and the remedy.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers

import harness.data as rows
import harness.devices as devices
import harness.disk as disk
import harness.environment as environment
import harness.metrics as metrics
from harness.architectures import architecture_of, layer_count, max_positions
from harness.encoder import outline, weights_hash
from harness.errors import DataError, HarnessError, SpecError, TrialFailure, UnavailableError
from harness.freezing import parse as parse_freeze
from harness.hub import Located, locate
from harness.jobs import Demand, ModelSummary, Prepared, PrepareJob, SplitSummary
from harness.spec import DataSpec
from harness.tasks import base as tasks
from harness.tasks.base import Examples, Task

MOST_LAYERS = 1_000


def prepare(job: PrepareJob) -> Prepared:
    """Check everything that a study needs.

    Raises:
        SpecError: a metric that the task does not have, an unsupported model, a max_length or a number of layers
            beyond what a model has.
        DataError: rows, labels or sizes that cannot be used, or a damaged model folder.
        UnavailableError: the Hub is needed and cannot be reached, or this device cannot do what is asked.
    """
    task = tasks.load(job.task)
    check_metrics(job.metrics, task)
    found = {name: locate(name, job.revisions.get(name)) for name in dict.fromkeys(job.models)}
    configs = {name: read_config(name, where.path) for name, where in found.items()}
    for demand in job.demands:
        check_demand(demand, configs[demand.model])
    splits = rows.load(DataSpec.model_validate(dict(job.data)), task, job.seed)
    labels = len(splits.label_names)
    models = [summarise_model(name, found[name], configs[name], task, labels) for name in found]
    return Prepared(
        fingerprint=splits.fingerprint,
        label_names=splits.label_names,
        positive=None if splits.positive is None else splits.label_names[splits.positive],
        splits=summarise(splits),
        warnings=splits.warnings,
        models=tuple(summary for summary, _ in models),
        examples={name: list_examples(task, part, job.with_texts) for name, part in splits.parts().items()},
        environment=environment.capture(device_facts()),
        data_revision=splits.revision,
        fusing=frozenset(summary.name for summary, fuses in models if fuses),
    )


def check_metrics(asked: Sequence[str], task: Task) -> None:
    """Refuse metrics that the task's output does not have."""
    known = metrics.known(task.output)
    for name in asked:
        if name not in known:
            raise SpecError(f"metric {name!r} is none of {task.name}; it has {', '.join(known)}")


def check_demand(demand: Demand, config: Any) -> None:
    """Refuse what a model or this device cannot do: too long a text, too many layers, an unknown number format."""
    limit, layers = max_positions(config), layer_count(config)
    if demand.max_length > limit:
        raise SpecError(f"max_length {demand.max_length} is more than model {demand.model!r} can take; at most {limit}")
    if (top := parse_freeze(demand.freeze).top) > layers:
        raise SpecError(
            f"freeze: {demand.freeze} asks for {top} layers, but model {demand.model!r} has {layers}; "
            f"name at most top-{layers} where trials may have this model"
        )
    try:
        devices.resolve_dtype(demand.dtype, devices.pick())
    except TrialFailure as failure:
        raise UnavailableError(str(failure)) from None


# --- data -------------------------------------------------------------------------------------------


def summarise(splits: rows.Splits) -> dict[str, SplitSummary]:
    """Split -> rows kept, left out, and by label."""
    return {name: summarise_split(part) for name, part in splits.parts().items()}


def summarise_split(examples: Examples) -> SplitSummary:
    """Rows kept, left out, and by label name."""
    labels = examples.labels.tolist()
    counts = {name: labels.count(i) for i, name in enumerate(examples.label_names)}
    return SplitSummary(rows=len(examples), dropped=dict(examples.dropped), labels=counts)


def list_examples(task: Task, examples: Examples, with_texts: bool) -> list[tuple[int, str, str, str | None]]:
    """(row in the source, answer, group, text or None) of each example; of a pair both texts, a line each."""
    listed = []
    for i, row in enumerate(examples.rows.tolist()):
        label = task.answer(examples, i)
        text = examples.texts[i] if examples.pairs is None else f"{examples.texts[i]}\n{examples.pairs[i]}"
        listed.append((row, label, examples.groups[i] if examples.groups else "", text if with_texts else None))
    return listed


# --- models -----------------------------------------------------------------------------------------


def read_config(name: str, path: str) -> Any:
    """The configuration of a model, with a row in the table of architectures.

    Args:
        name: as in the study file, for the messages.
        path: its folder.

    Raises:
        SpecError: an unsupported architecture.
        DataError: a folder that holds no readable model.
    """
    with reading(name, path):
        config = transformers.AutoConfig.from_pretrained(path, trust_remote_code=False)
    if not 1 <= layer_count(config) <= MOST_LAYERS:  # before a model of so many is built
        raise DataError(f"model {name!r}: its config.json has {layer_count(config)} layers; 1 to {MOST_LAYERS} can be")
    return config


def read_tokenizer(name: str, path: str) -> Any:
    """The tokeniser beside a model.

    Raises:
        DataError: when its files cannot be read.
    """
    with reading(name, path):
        return transformers.AutoTokenizer.from_pretrained(path, trust_remote_code=False)


@contextmanager
def reading(name: str, path: str) -> Iterator[None]:
    """Whatever the libraries raise over the files of a model is said of the files.

    By no list of types: what the files may hold is without end, and every library has errors of its own.
    """
    try:
        yield
    except (HarnessError, MemoryError):
        raise
    except Exception as error:
        if disk.is_full(error):
            raise
        said = str(error).strip().split("\n")[0] or type(error).__name__
        words = f"model {name!r}: the folder {path} holds no readable model: {said}"
        raise DataError(words) from error


def summarise_model(name: str, found: Located, config: Any, task: Task, num_labels: int) -> tuple[ModelSummary, bool]:
    """Load a model with the task's head, as a trial will, and its tokeniser; tell what it is, and whether it fuses."""
    path = found.path
    tokenizer = read_tokenizer(name, path)
    with reading(name, path):
        model = task.model(path, num_labels, dropout=None)
    check_weights(name, model)
    check_tokenizer(name, tokenizer, config)
    summary = ModelSummary(
        name=name,
        architecture=type(model).__name__,
        layers=layer_count(config),
        total_parameters=sum(parameter.numel() for parameter in model.parameters()),
        max_positions=max_positions(config),
        revision=found.commit,
        weights_hash=weights_hash(model.state_dict(), model.fresh_parameters),
    )
    return summary, outline(model, task.place_head(architecture_of(config)), task.first_token).fuses


def check_weights(name: str, model: Any) -> None:
    """Refuse weights from which no training could begin."""
    for parameter, values in model.named_parameters():
        if not torch.isfinite(values).all():
            raise DataError(f"model {name!r}: its weights {parameter} are not finite; take them from their source anew")


def check_tokenizer(name: str, tokenizer: Any, config: Any) -> None:
    """Refuse a tokeniser that does not fit the model."""
    if not tokenizer.is_fast:
        raise DataError(f"model {name!r}: its tokeniser has no fast form (tokenizer.json), which harness needs")
    if tokenizer.pad_token_id is None:
        raise DataError(f"model {name!r}: its tokeniser has no padding token")
    if len(tokenizer) > config.vocab_size:
        raise DataError(
            f"model {name!r}: its tokeniser has {len(tokenizer)} tokens, its embeddings {config.vocab_size}; "
            "the two files do not belong together"
        )


# --- the worker's device ----------------------------------------------------------------------------


def device_facts() -> dict[str, Any]:
    """Name, memory, driver and CUDA of the device that this process trains on, and its CPU threads."""
    device = devices.pick()
    facts: dict[str, Any] = {"kind": device.type, "name": devices.name(device), "threads": torch.get_num_threads()}
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        facts |= {
            "memory_bytes": properties.total_memory,
            "capability": f"{properties.major}.{properties.minor}",
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
            "driver": driver_version(),
        }
    return facts


def driver_version() -> str | None:
    """Version of the NVIDIA driver; None where the kernel module does not say."""
    version = Path("/sys/module/nvidia/version")
    return version.read_text().strip() if version.exists() else None

"""What a Trainer is about to do, as the record says it: configuration, data, weights, and what is beside them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import torch

from harness.architectures import describe, layer_count, max_positions
from harness.configuration import Objective, TrialConfig, fingerprint
from harness.encoder import weights_hash
from harness.errors import SpecError
from harness.freezing import frozen
from harness.jobs import ModelSummary
from harness.metrics import direction, known
from harness.records import TrialFacts

TASKS = {
    "ForSequenceClassification": "sequence-classification",
    "ForQuestionAnswering": "question-answering",
    "ForMaskedLM": "masked-language-modeling",
}
SAID = (
    "optim", "optim_args", "adam_beta1", "adam_beta2", "adam_epsilon", "label_smoothing_factor", "lr_scheduler_kwargs",
    "max_steps", "train_sampling_strategy", "dataloader_drop_last", "neftune_noise_alpha", "data_seed",
)  # fmt: skip
"""Arguments of Trainer that change what is learned and that no configuration says."""
OTHER = "other"
"""What `freeze` says where the frozen parameters are those of no strategy."""


class Rows(NamedTuple):
    """A data set as Trainer is given it: rows, tokens of the longest, hash of the content; None is not known."""

    number: int | None
    longest: int | None
    fingerprint: str | None


def rows_of(dataset: Any) -> Rows:
    """Read off the Arrow table of a `datasets.Dataset`; rows of another kind are counted and never asked for.

    Asking a data set of the script's own for its rows could draw random numbers, and change the training.
    """
    count = len(dataset) if hasattr(dataset, "__len__") else None
    if not hasattr(dataset, "with_format") or count is None:
        return Rows(count, None, None)
    digest, longest = hashlib.sha256(), 0
    for batch in dataset.with_format("arrow").iter(batch_size=1000):
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, batch.schema.remove_metadata()) as writer:
            writer.write_table(batch.replace_schema_metadata().combine_chunks())
        digest.update(sink.getvalue())
        if "input_ids" in batch.column_names:
            longest = max(longest, pc.max(pc.list_value_length(batch["input_ids"])).as_py() or 0)
    return Rows(count, longest or None, digest.hexdigest()[:16])


def task_of(model: Any) -> str | None:
    """The task that a model's class speaks of; None for any other class."""
    return next((task for ending, task in TASKS.items() if type(model).__name__.endswith(ending)), None)


def objective_of(args: Any) -> Objective:
    """What Trainer is asked to choose the best model by, where it is a known metric; else the validation loss."""
    name = str(args.metric_for_best_model or "loss").removeprefix("eval_")
    return Objective(name, direction(name)) if name in known() else Objective()


def config_of(args: Any, epochs: int, model: Any, optimizer: Any, rows: Rows) -> TrialConfig:
    """What is set, as far as a configuration can say it; rates are those of the optimiser as it stands."""
    groups = optimizer.param_groups if optimizer is not None else []
    rates = [float(group.get("initial_lr", group["lr"])) for group in groups]
    decays = [float(group.get("weight_decay", 0.0)) for group in groups]
    schedule = str(getattr(args.lr_scheduler_type, "value", args.lr_scheduler_type))
    return TrialConfig(
        model=name_of(model),
        epochs=epochs,
        batch_size=args.train_batch_size * args.world_size,
        gradient_accumulation=args.gradient_accumulation_steps,
        learning_rate=max(rates, default=args.learning_rate),
        weight_decay=max(decays, default=args.weight_decay),
        max_length=rows.longest or _positions(model) or 0,
        freeze=freeze_of(model),
        warmup=float(args.warmup_steps),
        lr_schedule=schedule,
        dtype="bf16" if args.bf16 else "fp16" if args.fp16 else _dtype(model),
        max_grad_norm=args.max_grad_norm or None,
        dropout=None,
        frozen_mode="dropout",
    )


def name_of(model: Any) -> str:
    """The name that the model was loaded by, or its class."""
    return str(getattr(getattr(model, "config", None), "name_or_path", "") or type(model).__name__)


def freeze_of(model: Any) -> str:
    """The strategy that freezes what is frozen."""
    parameters = dict(model.named_parameters())
    fixed = {name for name, parameter in parameters.items() if not parameter.requires_grad}
    if not fixed:
        return "none"
    try:
        found = [describe(name, model.config) for name in parameters]
        layers = layer_count(model.config)
    except (SpecError, AttributeError):
        return OTHER
    for word in ("embeddings", *(f"top-{k}" for k in range(1, layers)), "head", "classifier"):
        if frozen(found, word, epoch=1, epochs=1, layers=layers) == fixed:
            return word
    return OTHER


def _positions(model: Any) -> int | None:
    try:
        return max_positions(model.config)
    except (SpecError, AttributeError):
        return None


def _dtype(model: Any) -> str:
    names = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}
    return names.get(next(model.parameters()).dtype, "fp32")


def notes_of(args: Any, optimizer: Any, rows: Rows) -> tuple[str, ...]:
    """What no configuration says, a line each."""
    fields = type(args).__dataclass_fields__
    values = {name: getattr(args, name) for name in SAID if name in fields}
    found = [
        f"{name}: {getattr(value, 'value', value)}" for name, value in values.items() if value != fields[name].default
    ]
    if args.num_train_epochs % 1:
        found.append(f"num_train_epochs: {args.num_train_epochs}")
    wrapped = getattr(optimizer, "optimizer", optimizer)  # by accelerate
    found.append(f"optimizer: {type(wrapped).__name__}")
    if rows.fingerprint is None:
        found.append("the training rows could not be hashed")
    if rows.longest is None:
        found.append("max_length is what the model can read; the lengths of the rows are not known")
    return tuple(found)


def identity_of(config: TrialConfig, facts: TrialFacts) -> str:
    """Hash of everything that a run is, its seed left out."""
    return fingerprint([config.as_dict(), list(facts.notes), facts.train_rows, facts.data_fingerprint])


def summary_of(model: Any) -> ModelSummary:
    """The model as it stands before the first step."""
    config = getattr(model, "config", None)
    try:
        layers = layer_count(config)
    except (SpecError, AttributeError):
        layers = int(getattr(config, "num_hidden_layers", 0) or 0)
    return ModelSummary(
        name=name_of(model),
        architecture=type(model).__name__,
        layers=layers,
        total_parameters=sum(parameter.numel() for parameter in model.parameters()),
        max_positions=_positions(model) or 0,
        revision=getattr(config, "_commit_hash", None),
        weights_hash=weights_hash(_pretrained(model), frozenset()),
    )


def _pretrained(model: Any) -> Mapping[str, torch.Tensor]:
    """The weights below the head, which is drawn anew in every run."""
    state: Mapping[str, torch.Tensor] = getattr(model, "base_model", model).state_dict()
    return state

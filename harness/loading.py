"""From a job to something that can be trained: data, tokens and model loaded, the plan made, the facts stated."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from harness.data import Splits
from harness.devices import name, resolve_dtype
from harness.encoder import Encoder
from harness.records import TrialConfig, TrialFacts, TrialJob
from harness.tasks import base as tasks
from harness.tasks.base import Task
from harness.training_plan import Plan
from harness.warm import Encoded, Warm, first_rows, on_device, probe_rows, revision_of

EVALUATION_PLACES = {"cpu": 8_192, "cuda": 131_072}  # padded tokens of an evaluation batch


@dataclass(frozen=True)
class Loaded:
    """What the warm state gave for this trial; `identity` is what a checkpoint has to agree with."""

    task: Task
    encoder: Encoder
    splits: Splits
    train: Encoded
    probe: Encoded
    validation: Encoded
    identity: Mapping[str, Any]


def load(job: TrialJob, warm: Warm, seconds: dict[str, float]) -> Loaded:
    """Data, tokens and model, from the warm state where it has them; books the time under load and tokenise."""
    began = time.perf_counter()
    task = tasks.load(job.task)
    splits = warm.splits(job, task)
    encoder = warm.encoder(task, job.config, len(splits.label_names))
    loaded = time.perf_counter()
    seconds["load"] += loaded - began
    source = f"{splits.fingerprint}/{job.fold}"
    all_rows = warm.encoded(task, job.config, "train", splits.train, source)
    train = first_rows(all_rows, job.config.train)
    validation = warm.encoded(task, job.config, "validation", splits.validation, source)
    probe = probe_rows(train, len(splits.validation), job.data_seed)
    seconds["tokenise"] += time.perf_counter() - loaded
    identity = {
        "configuration": job.config.fingerprint,
        "seed": job.seed,
        "fold": job.fold,
        "data": splits.fingerprint,
        "weights": encoder.weights_hash,
    }
    return Loaded(task, encoder, splits, train, probe, validation, identity)


def make_plan(job: TrialJob, loaded: Loaded, config: TrialConfig, halvings: int) -> Plan:
    """What the loop will do.

    Args:
        job: what was asked.
        loaded: what `load` gave.
        config: what will be done: the job's, or with smaller batches.
        halvings: how often memory ran out; evaluation batches shrink with it.
    """
    device = loaded.encoder.device
    return Plan(
        task=loaded.task,
        encoder=loaded.encoder,
        config=config,
        seed=job.seed,
        train=on_device(loaded.train, device),
        probe=on_device(loaded.probe, device),
        validation=on_device(loaded.validation, device),
        objective=job.objective,
        positive=loaded.splits.positive,
        dtype=resolve_dtype(config.dtype, device),
        evaluation_places=EVALUATION_PLACES[device.type] >> halvings,
    )


def facts_of(plan: Plan, loaded: Loaded) -> TrialFacts:
    """What is really run, for the record."""
    encoder, config = plan.encoder, plan.config
    trained = set(encoder.trained_names(config.freeze, config.epochs))
    return TrialFacts(
        config=config,
        device=name(encoder.device),
        dtype=plan.dtype,
        attention=str(encoder.config._attn_implementation),
        threads=torch.get_num_threads(),
        total_steps=plan.total_steps,
        train_rows=len(loaded.train.examples),
        validation_rows=len(loaded.validation.examples),
        data_fingerprint=loaded.splits.fingerprint,
        model_revision=revision_of(encoder),
        weights_hash=encoder.weights_hash,
        total_parameters=encoder.count({p.name for p in encoder.parameters}),
        trainable_parameters=encoder.count(trained),
        truncated={
            "train": loaded.train.features.truncated_examples,
            "validation": loaded.validation.features.truncated_examples,
        },
        notes=encoder.notes,
    )

"""From a job to something that can be trained: data, tokens and model loaded, the plan made, the facts stated."""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

import harness.dropout_draws as dropout_draws
from harness.configuration import TrialConfig
from harness.data import Splits
from harness.devices import name, resolve_dtype, threads_for
from harness.encoder import Encoder
from harness.head_steps import takes
from harness.hub import Located
from harness.jobs import EXACT_BATCHES, TrialJob
from harness.prefix import Recipe
from harness.profiling import layer_shape
from harness.records import Incident, Progress, TrialFacts
from harness.sharing import Rows, Shared, share
from harness.streams import derive
from harness.tasks import base as tasks
from harness.tasks.base import Task
from harness.training_plan import Plan
from harness.warm import Encoded, Warm, first_rows, on_device, probe_rows

BATCHES = {False: "batches of rows of about equal length, shuffled", True: EXACT_BATCHES}
ORDER = 2  # of batches; it counts changes, for an epoch may not go on in another order than it began in
RECORDED = "steps of full batches recorded as CUDA graphs and replayed"
DRAWN = "dropout draws four coins from each random number"
BY_HAND = "gradients of the small head by their formula, without autograd"
FIRST_ALONE = "the last layer works out the first token alone"
USED_ROWS = "embedding rows that no text uses are left out of the optimiser's work"
ADAPTED = "the encoder was pretrained further on the training texts"
EVALUATION_PLACES = {"cpu": 8_192, "cuda": 131_072}  # padded tokens of an evaluation batch


@dataclass(frozen=True)
class Loaded:
    """What the warm state gave for this trial; `identity` is what a checkpoint has to agree with."""

    task: Task
    model: Located
    encoder: Encoder
    splits: Splits
    train: Encoded
    probe: Encoded
    validation: Encoded
    test: Encoded | None
    identity: Mapping[str, Any]

    @property
    def rows(self) -> Rows:
        """Features of the splits that may be shared."""
        splits = (self.train.features, self.probe.features, self.validation.features)
        whole = len(self.train.examples) == len(self.splits.train)
        return Rows(*splits, crossed=whole and self.identity["fold"] is not None)


def load(job: TrialJob, warm: Warm, seconds: dict[str, float]) -> Loaded:
    """Data, tokens and model, from the warm state where it has them; books the time under load and tokenise."""
    began = time.perf_counter()
    task = tasks.load(job.task)
    splits = warm.splits(job, task)
    model = warm.located(job)
    encoder = warm.encoder(task, model.path, job.config, len(splits.label_names))
    loaded = time.perf_counter()
    seconds["load"] += loaded - began
    source = f"{splits.fingerprint}/{job.fold}"
    all_rows = warm.encoded(task, model.path, job.config, "train", splits.train, source)
    train = first_rows(all_rows, job.config.train)
    validation = warm.encoded(task, model.path, job.config, "validation", splits.validation, source)
    probe = probe_rows(train, len(splits.validation), job.data_seed)
    seed = derive(job.data_seed, "drawn")  # one for all trials of a study
    probe, validation = (each._replace(features=task.drawn(each.features, seed)) for each in (probe, validation))
    test = None
    if job.test and splits.test is not None:
        test = warm.encoded(task, model.path, job.config, "test", splits.test, source)
        test = test._replace(features=task.drawn(test.features, seed))
    seconds["tokenise"] += time.perf_counter() - loaded
    identity = {
        "configuration": job.config.fingerprint,
        "seed": job.seed,
        "fold": job.fold,
        "data": splits.fingerprint,
        "weights": encoder.weights_hash,
        "model_config": encoder.config_hash,
        "exact": job.sharing.exact,
        "order": ORDER,
    }
    return Loaded(task, model, encoder, splits, train, probe, validation, test, identity)


def take_shared(
    job: TrialJob, warm: Warm, loaded: Loaded, config: TrialConfig, halvings: int
) -> Generator[Progress | Incident, None, Shared]:
    """What the trial may take from others' work; and the threads that its training will use from now on."""
    encoder, sharing = loaded.encoder, job.sharing
    torch.set_num_threads(warm.threads)
    places = EVALUATION_PLACES[encoder.device.type] >> halvings
    recipe = Recipe(encoder, resolve_dtype(config.dtype, encoder.device), places)
    shared = yield from share(sharing, warm.cache(sharing), recipe, config, loaded.rows, job.seed)
    vectors = len(shared.cuts) == config.epochs and all(encoder.is_vector(cut) for cut in shared.cuts.values())
    torch.set_num_threads(threads_for(layer_shape(encoder.config).width, vectors, warm.threads))
    return shared


def make_plan(
    job: TrialJob, loaded: Loaded, config: TrialConfig, halvings: int, shared: Shared, recordable: bool = True
) -> Plan:
    """What the loop will do.

    Args:
        job: what was asked.
        loaded: what `load` gave.
        config: what will be done: the job's, or with smaller batches.
        halvings: how often memory ran out; evaluation batches shrink with it.
        shared: what `take_shared` gave.
        recordable: whether steps may be recorded as CUDA graphs.
    """
    device = loaded.encoder.device
    return Plan(
        task=loaded.task,
        encoder=loaded.encoder,
        config=config,
        seed=job.seed,
        train=replace(on_device(loaded.train, device), states=shared.train),
        probe=replace(on_device(loaded.probe, device), states=shared.probe),
        validation=replace(on_device(loaded.validation, device), states=shared.validation),
        objective=job.objective,
        positive=loaded.splits.positive,
        dtype=resolve_dtype(config.dtype, device),
        evaluation_places=EVALUATION_PLACES[device.type] >> halvings,
        exact=job.sharing.exact,
        test=None if loaded.test is None else on_device(loaded.test, device),
        recorded=recordable and job.sharing.folder is not None,
    )


def facts_of(plan: Plan, loaded: Loaded, shared: Shared, together: bool = False) -> TrialFacts:
    """What is really run, for the record; `together` with other trials as one batched layer, or alone."""
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
        model_revision=loaded.model.commit,
        weights_hash=encoder.weights_hash,
        total_parameters=encoder.count({p.name for p in encoder.parameters}),
        trainable_parameters=encoder.count(trained),
        truncated={
            "train": loaded.train.features.truncated_examples,
            "validation": loaded.validation.features.truncated_examples,
        },
        notes=(
            *encoder.notes,
            *([ADAPTED] if config.adapt else []),
            *filter(None, [shared.note]),
            BATCHES[plan.exact],
            *([FIRST_ALONE] if encoder.first_token and not plan.exact else []),
            *([USED_ROWS] if plan.trains_used_rows else []),
            *([DRAWN] if dropout_draws.used(plan) and dropout_draws.drops(encoder.model) else []),
            *([RECORDED] if plan.graphs is not None and not together else []),
            *([BY_HAND] if together or (plan.graphs is None and takes(plan)) else []),
        ),
    )

"""Pretrains an encoder further on a study's own training texts, once: kept by content and used by all of its trials.

It is a trial of masked language modelling on the study's rows, with checkpoints, fallbacks and its best epoch. What
is kept is the study's own kind of model with the weights that both share, so that a trial loads it as any other model.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

import harness.checkpoints as checkpoints
import harness.devices as devices
import harness.kept_models as kept_models
from harness.cache import Cache
from harness.configuration import canonical_json, fingerprint
from harness.encoder import weights_hash
from harness.errors import DataError
from harness.evaluation import measure, predict
from harness.hub import WANTED
from harness.jobs import Adapted, AdaptJob, TrialJob
from harness.loading import load, make_plan
from harness.records import EpochRecord, Incident, Progress, TrialOutcome
from harness.sharing import Shared
from harness.tasks import base as tasks
from harness.training_plan import prepare
from harness.trial import Control, run
from harness.warm import Warm

VERSION = 1  # of what a kept model means
FACTS = "adaptation.json"
TURN_SECONDS = 0.2
MOST_HALVINGS = 12

Event = Progress | EpochRecord | Incident | Adapted | TrialOutcome


def adapt(job: AdaptJob, warm: Warm, control: Control) -> Iterator[Event]:
    """Pretrain, or find what was pretrained before; the last event is `Adapted`, or the outcome of what came between.

    Interrupted, it ends as waiting and goes on from its checkpoint the next time.
    """
    began = time.perf_counter()
    final = Path(job.folder) / key_of(job, warm)
    while (turn := Cache(Path(job.folder), 0).take_turn(final.name)) is None:  # another study does the same
        if control.interrupted():
            yield TrialOutcome("waiting", message="interrupted")
            return
        yield Progress(0, 0, 1)
        time.sleep(TURN_SECONDS)
    with turn:
        if final.exists():
            fault = checkpoints.verify(final)
            if not fault:
                facts = json.loads((final / FACTS).read_text())
                now = {"model": job.config.model, "reused": True, "spent_seconds": 0.0}
                yield Adapted(**facts | now, weights_hash=_weights_hash(final))
                return
            yield Incident("adaptation_damaged", f"the adapted {job.config.model} is made again: {fault}")
        yield from _work_out(job, warm, control, final, began)


def _work_out(job: AdaptJob, warm: Warm, control: Control, final: Path, began: float) -> Iterator[Event]:
    trial = job.as_trial(str(final.with_name(f"{final.name}-training")))
    before, texts, held_out, fresh = _before(trial, warm)
    spent = time.perf_counter() - began
    records: list[EpochRecord] = []
    for event in run(trial, warm, control):
        if isinstance(event, TrialOutcome) and event.state != "complete":
            yield event
            return
        if isinstance(event, EpochRecord):
            records.append(event)
        if isinstance(event, Incident) and event.kind == "oom":
            records.clear()
        if isinstance(event, EpochRecord | Incident | Progress):
            yield event
        if isinstance(event, TrialOutcome):
            spent += event.seconds["total"]
    best = trial.objective.best_epoch({record.epoch: record.value("validation", "loss") for record in records})
    assert best is not None  # a loss that is not finite ends the trial
    chosen = records[best - 1]
    facts: dict[str, Any] = dict(
        model=job.config.model,
        key=final.name,
        texts=texts,
        held_out_texts=held_out,
        epochs=len(records),
        best_epoch=best,
        steps=chosen.steps,
        perplexity_before=before,
        perplexity_after=_finite(chosen.value("validation", "perplexity")),
        fresh_head=fresh,
        seconds=spent,
        spent_seconds=spent,
        reused=False,
    )
    _keep(job, warm, Path(trial.folder), final, facts)
    yield Adapted(**facts, weights_hash=_weights_hash(final))


def _weights_hash(kept: Path) -> str:
    """Of what a trial loads from there; its head, which is not kept, is no part of the hash either."""
    return weights_hash(load_file(kept / "model.safetensors"), leave_out=frozenset())


def key_of(job: AdaptJob, warm: Warm) -> str:
    """Name of the kept model: equal for the same files, rows, settings and seed, whatever they are called."""
    trial = job.as_trial("")
    splits = warm.splits(trial, tasks.load(trial.task))
    config = {name: value for name, value in job.config.as_dict().items() if name != "model"}
    return fingerprint(
        {
            "version": VERSION,
            "files": _files(Path(warm.located(trial).path)),
            "data": splits.fingerprint,
            "task": job.task,
            "config": config,
            "seed": job.seed,
        }
    )


def _files(folder: Path) -> dict[str, str]:
    """SHA-256 of everything that a model is made of."""
    found = {}
    for path in sorted({path for pattern in WANTED for path in folder.glob(pattern)}):
        with path.open("rb") as file:
            found[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def _before(trial: TrialJob, warm: Warm) -> tuple[float | None, int, int, bool]:
    """Perplexity of held-out texts before anything is trained, both numbers of texts, and whether the head is fresh.

    Where every validation text is a training text, none is held out, and the perplexity is of those that were learnt.
    """
    loaded = load(trial, warm, {"load": 0.0, "tokenise": 0.0})
    for halvings in range(MOST_HALVINGS):
        plan = make_plan(trial, loaded, trial.config, halvings, Shared())
        prepare(plan)
        try:
            kept = predict(plan.encoder, plan.validation.table, plan.dtype, plan.evaluation_places, plan.task.kept)
            break
        except Exception as error:
            if not devices.is_out_of_memory(error) or halvings == MOST_HALVINGS - 1:
                raise
    values = {m.name: m.value for m in measure(plan.task, plan.validation, kept, trial.config, "validation", None)}
    known = set(loaded.train.examples.texts)
    held_out = sum(text not in known for text in loaded.validation.examples.texts)
    return values.get("perplexity"), len(known), held_out, bool(plan.encoder.fresh)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _keep(job: AdaptJob, warm: Warm, training: Path, final: Path, facts: Mapping[str, Any]) -> None:
    """Publish the study's kind of model with the weights that were trained; the trial's own folder goes.

    Parameters that the file of the original model lacks are left out here too: a trial begins with a head of its seed.
    """
    task = tasks.load(job.task)
    trial = job.as_trial(str(training))
    path = warm.located(trial).path
    labels = len(warm.splits(replace(trial, reader=""), task).label_names)
    model: Any = task.model(path, labels, dropout=None)
    state = {name: value for name, value in model.state_dict().items() if name not in model.fresh_parameters}
    trained = load_file(training / kept_models.FOLDER / "model.safetensors")
    shared = [name for name in state if name in trained and trained[name].shape == state[name].shape]
    _refuse_nothing_shared(job.config.model, shared)
    state |= {name: trained[name] for name in shared}
    with checkpoints.whole_or_nothing(final) as draft:
        whole = {name: value.detach().clone().contiguous() for name, value in state.items()}
        save_file(whole, draft / "model.safetensors", metadata={"format": "pt"})
        model.config.architectures = [type(model).__name__]
        model.config.save_pretrained(draft)
        warm.tokenizer(path).save_pretrained(draft)
        (draft / FACTS).write_text(canonical_json(dict(facts)), encoding="utf-8")
    shutil.rmtree(training, ignore_errors=True)


def _refuse_nothing_shared(model: str, shared: Sequence[str]) -> None:
    if not shared:
        raise DataError(f"model {model!r}: its masked language model shares no weight with the study's; take adapt out")

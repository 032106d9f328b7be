"""Probe: what every trial of a study would cost on this device, from a few real steps of some of its shapes.

At most so many shapes are measured as the job says, chosen by `shapes.choose`; a trial that freezes gradually has
one shape an epoch. The others are derived from these (`pacing.py`).
"""

from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import psutil
import torch

import harness.devices as devices
import harness.kept_models as kept_models
from harness.configuration import TrialConfig
from harness.errors import DataError, TrialFailure
from harness.jobs import ModelCost, Probed, ProbeJob, TrialCost, TrialJob
from harness.loading import EVALUATION_PLACES, Loaded, load
from harness.pacing import Pace, Tried, pace_of, starts_from_vectors
from harness.prefix import Recipe
from harness.rehearsal import clock, rehearse, step_work
from harness.shapes import Shape, choose, shape_of
from harness.sharing import FLOAT_BYTES, taken
from harness.states_cost import StatesCost
from harness.streams import bucketed_order, epoch_order
from harness.tasks import base as tasks
from harness.trial import smaller_batches
from harness.warm import Warm


@dataclass(frozen=True)
class Outline:
    """A trial of the job before its steps are measured.

    Attributes:
        shapes: of each epoch.
        cuts: epoch -> cut that it starts from.
        note: why it shares nothing.
        tokenise_seconds: spent on its rows; 0 where another trial had them already.
    """

    job: TrialJob
    shapes: tuple[Shape, ...]
    cuts: dict[int, int]
    note: str
    tokenise_seconds: float


def probe(job: ProbeJob) -> Probed:
    """Measure and add up.

    Raises:
        DataError: where a trial of the study would fail for its data.
    """
    try:
        return Probe(job).answer()
    except TrialFailure as failure:
        raise DataError(f"a trial of this study would fail: {failure}") from failure


class Probe:
    """One probe: what was measured so far, and the costs made of it."""

    def __init__(self, job: ProbeJob) -> None:
        self.job = job
        self.folder = Path(job.folder)
        self.warm = Warm()
        self.models: dict[str, ModelCost] = {}
        self.tried: dict[Shape, Tried] = {}
        self.states: dict[tuple[str, str, bool], StatesCost] = {}
        cuda = self.warm.device.type == "cuda"
        self.memory = (
            int(torch.cuda.mem_get_info(self.warm.device)[0]) if cuda else int(psutil.virtual_memory().available)
        )

    def answer(self) -> Probed:
        """Everything, one model after another, since only one is held."""
        began = clock()
        first = self.job.trials[0]
        self.warm.splits(first, tasks.load(first.task))
        data_seconds = clock() - began
        by_model: dict[str, list[int]] = {}
        for number, trial in enumerate(self.job.trials):
            by_model.setdefault(trial.config.model, []).append(number)
        numbers = [number for members in by_model.values() for number in members]
        outlines = {number: self._outline(self.job.trials[number]) for number in numbers}
        shapes = [shape for number in sorted(numbers) for shape in outlines[number].shapes]
        chosen = choose(shapes, self.job.most)
        costs: dict[int, TrialCost] = {}
        for members in by_model.values():
            for number in members:
                self._measure(outlines[number], chosen)
            for number in members:
                costs[number] = self._cost(outlines[number])
        return Probed(
            costs=tuple(costs[number] for number in sorted(costs)),
            models=self.models,
            data_seconds=data_seconds,
            device=devices.name(self.warm.device),
            memory_bytes=self.memory,
            shapes=len(set(shapes)),
            probed=len(chosen),
        )

    def _load(self, job: TrialJob) -> tuple[Loaded, dict[str, float]]:
        torch.set_num_threads(self.warm.threads)
        seconds = {"load": 0.0, "tokenise": 0.0}
        original = replace(job, config=replace(job.config, adapt=False))  # it costs what an adapted one does
        return load(original, self.warm, seconds), seconds

    # --- outlines -----------------------------------------------------------------------------------

    def _outline(self, job: TrialJob) -> Outline:
        loaded, seconds = self._load(job)
        config, encoder = job.config, loaded.encoder
        if config.model not in self.models:
            self.models[config.model] = self._model_cost(job, loaded, seconds["load"])
        cuts, note = taken(job.sharing, encoder, config, loaded.rows)
        epochs = range(1, config.epochs + 1)
        shapes = tuple(shape_of(encoder, config, epoch, cuts.get(epoch)) for epoch in epochs)
        return Outline(job, shapes, cuts, note, seconds["tokenise"])

    def _model_cost(self, job: TrialJob, loaded: Loaded, load_seconds: float) -> ModelCost:
        """Write the model once, as the best epoch's is."""
        began = clock()
        tokenizer = self.warm.tokenizer(loaded.model.path)
        names = loaded.splits.label_names if loaded.task.output == "labels" else ()
        folder = kept_models.write(self.folder / "kept", loaded.encoder.model, tokenizer, names, "")
        keep_seconds = clock() - began
        kept_bytes = sum(path.stat().st_size for path in folder.iterdir())
        everything = {p.name for p in loaded.encoder.parameters}
        return ModelCost(load_seconds, keep_seconds, kept_bytes, loaded.encoder.count(everything) * FLOAT_BYTES)

    # --- measuring ----------------------------------------------------------------------------------

    def _measure(self, outline: Outline, chosen: Sequence[Shape]) -> None:
        for shape in outline.shapes:
            if shape in chosen and shape not in self.tried:
                self.tried[shape] = self._try(outline, shape)

    def _try(self, outline: Outline, shape: Shape) -> Tried:
        """Measure, with smaller and smaller batches where memory runs out, as the trial itself would."""
        config: TrialConfig | None = replace(outline.job.config, freeze=shape.kind.freeze, epochs=1)
        while config is not None:
            try:
                loaded, _ = self._load(outline.job)
                dtype = torch.float32
                if outline.cuts:
                    dtype = self._states_cost(outline, loaded).filling.dtype
                job = replace(outline.job, config=config)
                return Tried(rehearse(job, loaded, shape.kind.cut, dtype, self.warm.threads), config.batch_size)
            except Exception as error:
                if not devices.is_out_of_memory(error):
                    raise
            self.warm.forget()  # outside of except: the traceback would hold on to the tensors
            gc.collect()
            if self.warm.device.type == "cuda":
                torch.cuda.empty_cache()
            config = smaller_batches(config)
        return Tried(None, None)

    def _states_cost(self, outline: Outline, loaded: Loaded) -> StatesCost:
        """What states of frozen prefixes cost for this model in this number format."""
        encoder = loaded.encoder
        dtype = outline.shapes[0].kind.dtype
        key = (outline.job.config.model, dtype, outline.job.config.adapt)
        if key not in self.states:
            recipe = Recipe(encoder, dtype, EVALUATION_PLACES[encoder.device.type])
            place = self.folder / f"states-{len(self.states)}"
            self.states[key] = StatesCost.measure(recipe, loaded.train, place)
        return self.states[key]

    # --- adding up ----------------------------------------------------------------------------------

    def _cost(self, outline: Outline) -> TrialCost:
        loaded, _ = self._load(outline.job)
        job, features = outline.job, loaded.train.features
        paces = {shape: pace_of(shape, self.tried, loaded) for shape in outline.shapes}
        sizes = [self.tried[shape].batch_size if shape in self.tried else shape.batch_size for shape in outline.shapes]
        smallest = None if None in sizes else min(size for size in sizes if size is not None)
        config = smaller_until(job.config, smallest)
        order = _order(job, features.lengths)
        seconds = {}
        for shape, pace in paces.items():
            work = step_work(features.lengths, order, config, starts_from_vectors(pace.kind, loaded))
            seconds[shape] = pace.law.seconds(work)
        evaluations = [self._evaluation(paces[shape], loaded) for shape in outline.shapes]
        shared = None
        if outline.cuts:
            torch.set_num_threads(self.warm.threads)  # which is part of the names of what is there
            shared = self._states_cost(outline, loaded).of(job, loaded, loaded.rows, outline.cuts)
        near = [pace.near for pace in paces.values()]
        peaks = [pace.peak for pace in paces.values() if pace.peak is not None]
        encoder = loaded.encoder
        return TrialCost(
            how="probed" if all(shape in self.tried for shape in outline.shapes) else "derived",
            train_rows=len(loaded.train.examples),
            validation_rows=len(loaded.validation.examples),
            steps_per_epoch=-(-len(features) // config.effective_batch_size),
            train_seconds=tuple(seconds[shape] for shape in outline.shapes),
            evaluate_seconds=float(np.mean(evaluations)),
            save_seconds=max(each.save_seconds for each in near),
            begin_seconds=near[0].begin_seconds + (shared.read_seconds if shared else 0.0),
            tokenise_seconds=outline.tokenise_seconds,
            fill_seconds=shared.fill_seconds if shared else 0.0,
            spared_seconds=shared.spared_seconds if shared else 0.0,
            cache_bytes=shared.new_bytes if shared else 0,
            row_bytes=_row_bytes(loaded),
            trained_bytes=encoder.count(set(encoder.trained_names(config.freeze, config.epochs))) * FLOAT_BYTES,
            fusible=set(outline.cuts.values()) == {encoder.layers + 1},  # as `group.py` asks
            batch_size=smallest,
            fits=self._fits(outline.shapes, peaks),
            peak_memory_bytes=max(peaks) if len(peaks) == len(paces) else None,
            note=outline.note,
        )

    def _evaluation(self, pace: Pace, loaded: Loaded) -> float:
        """Seconds of evaluating the validation rows and the probe."""
        splits = (loaded.validation.features, loaded.probe.features)
        vectors = starts_from_vectors(pace.kind, loaded)
        amount = sum(len(split) if vectors else int(split.lengths.sum()) for split in splits)
        return pace.near.token_seconds * amount + pace.near.metric_seconds

    def _fits(self, shapes: Sequence[Shape], peaks: Sequence[int]) -> bool | None:
        """By what was tried: also a shape fits of whose kind a larger one did."""
        if any(shape in self.tried and self.tried[shape].batch_size != shape.batch_size for shape in shapes):
            return False
        if any(peak > self.memory for peak in peaks):
            return False
        known = [
            any(
                tried.batch_size == other.batch_size and other.kind == shape.kind and other.places >= shape.places
                for other, tried in self.tried.items()
            )
            for shape in shapes
        ]
        return True if all(known) else None


def smaller_until(config: TrialConfig, batch_size: int | None) -> TrialConfig:
    """The configuration with batches of so many rows, and as many rows a step."""
    if batch_size is None or batch_size == config.batch_size:
        return config
    factor = config.batch_size // batch_size
    return replace(config, batch_size=batch_size, gradient_accumulation=config.gradient_accumulation * factor)


def _order(job: TrialJob, lengths: np.ndarray) -> np.ndarray:
    if job.sharing.exact:
        return epoch_order(len(lengths), job.seed, 1)
    return bucketed_order(lengths, job.seed, 1, job.config.effective_batch_size)


def _row_bytes(loaded: Loaded) -> int:
    labels = int(loaded.encoder.config.num_labels)
    return (len(loaded.validation.features) * labels + len(loaded.train.features)) * FLOAT_BYTES

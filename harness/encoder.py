"""A pretrained model as stages: loaded once, frozen by part, set back between trials.

Where the parts lie is `architectures.py`'s knowledge, and which of them are frozen `freezing.py`'s. The
stages `embeddings | layers | head` are module lists, from below.
"""

from __future__ import annotations

import copy
import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from harness.architectures import Architecture, architecture_of, describe, layer_count
from harness.batches import Batch
from harness.freezing import ParameterInfo, cut, frozen
from harness.graphs import Graphs
from harness.stages import AskedModel, Suffix, capture, first_token_model, logits_of
from harness.tasks.base import IntArray
from harness.used_rows import UsedRows

_UNREAD = (
    *("_name_or_path", "transformers_version", "architectures", "id2label", "label2id", "problem_type"),
    *("dtype", "torch_dtype", "initializer_range", "output_hidden_states", "return_dict", "use_cache"),
)


def weights_hash(state: Mapping[str, torch.Tensor], leave_out: frozenset[str]) -> str:
    """SHA-256 over names, shapes and float32 bytes of the pretrained weights, in order of name."""
    digest = hashlib.sha256()
    for name in sorted(set(state) - leave_out):
        digest.update(f"{name}{tuple(state[name].shape)}".encode())
        digest.update(state[name].detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def config_hash(config: Any, dropouts: Sequence[str]) -> str:
    """SHA-256 over what a configuration says of the forward pass: not its names, labels and dropouts."""
    values = config.to_dict()
    said = {name: value for name, value in values.items() if name not in {*_UNREAD, *dropouts}}
    return hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode()).hexdigest()


def set_seed(seed: int) -> None:
    """Seed Python, numpy and torch, as transformers.set_seed does."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


class Outline(NamedTuple):
    """What a model is made of, as far as sharing asks.

    Attributes:
        fresh: parameters that a seed initialises.
        pooled: whether the task's head reads the first token's states alone.
    """

    config: Any
    row: Architecture
    parameters: Sequence[ParameterInfo]
    fresh: frozenset[str]
    pooled: bool

    def cut(self, freeze: str, epoch: int, epochs: int) -> int | None:
        """How far the frozen prefix reaches in an epoch whose output is the same for every trial.

        None when there is none. What a seed initialised is no part of it, and a model that does not run with
        layers taken out is cut above all of them or not at all.
        """
        layers = layer_count(self.config)
        found = cut(self.parameters, frozen(self.parameters, freeze, epoch, epochs, layers), layers)
        if found is None:
            return None
        if not self.pooled:
            return min(found, layers) if self.row.sliceable or found >= layers else None
        if getattr(self.config, "classifier_pooling", "cls") != "cls":
            return None
        fresh = {p.part for p in self.parameters if p.name in self.fresh}
        if found > layers and (not self.row.last_dropout or fresh & {"pooler", "head"}):
            found = layers
        return None if found < layers and not self.row.sliceable else found

    @property
    def fuses(self) -> bool:
        """Whether linear classifiers over this model can train together: nothing below them is made by a seed."""
        return self.cut("classifier", 1, 1) == layer_count(self.config) + 1


def outline(model: Any, row: Architecture, pooled: bool) -> Outline:
    """The outline of a model as a task loads it."""
    parameters = tuple(describe(name, model.config, row) for name, _ in model.named_parameters())
    return Outline(model.config, row, parameters, model.fresh_parameters, pooled)


class Encoder:
    """One pretrained model with a task's head, on one device.

    Attributes:
        model: the transformers model that trains.
        parameters: what and where every parameter is.
        layers: layers that can be frozen one by one.
        notes: what the record should say about the loading.
        graphs: recorded steps over these weights; None on a device that cannot record them.
        exact: run the whole model as transformers does, also where a part of the last layer is not read.
        pooled: whether there is one vector for each text from the end of the layers on, and not one for each token.

    Args:
        model: as a task loads it.
        device: where it runs.
        pooled: whether the task's head reads the first token's states alone.
        row: the architecture with the task's head; None takes that of a classification.
    """

    def __init__(self, model: Any, device: torch.device, pooled: bool = False, row: Architecture | None = None) -> None:
        self._pretrained = model.eval()
        self.model = copy.deepcopy(model).to(device)
        self.device = device
        self.config = model.config
        self.pooled = pooled
        self.row: Architecture = row or architecture_of(model.config)
        self.layers = layer_count(model.config)
        self.fresh: frozenset[str] = model.fresh_parameters
        self.outline = outline(model, self.row, pooled)
        self.parameters = self.outline.parameters
        self.weights_hash = weights_hash(model.state_dict(), self.fresh)
        self.config_hash = config_hash(self.config, self.row.dropouts)
        self.notes = self._notes()
        self._stages = self._find_stages()
        self._suffixes: dict[tuple[int, bool], Suffix] = {}
        self._short = first_token_model(self.model, self.row) if pooled else None
        self.exact = False
        self.graphs: Graphs | None = None
        self._used_rows: UsedRows | None = None
        self._last_rows: UsedRows | None = None
        self._asked_model: AskedModel | None = None

    def _notes(self) -> tuple[str, ...]:
        kept = [p.name for p in self.parameters if p.part == "classifier" and p.name not in self.fresh]
        new = sorted({p.name.rsplit(".", 1)[0] for p in self.parameters if p.name in self.fresh})
        notes = [f"freshly initialised: {', '.join(new)}"] if new else []
        return (*notes, *([f"the classifier was loaded from the model's file: {', '.join(kept)}"] if kept else []))

    def _find_stages(self) -> list[tuple[nn.Module, frozenset[str]]]:
        """Modules of embeddings and layers, each with the names of its parameters; dropout of the head is in none."""
        row = self.row
        paths = [prefix.rstrip(".") for prefix in (*row.embeddings, *row.top, *row.bottom, *row.pooler, *row.head)]
        paths += [f"{row.layers}{number}" for number in range(self.layers)]
        modules = dict(self.model.named_modules())
        return [
            (modules[path], frozenset(p.name for p in self.parameters if p.name.startswith(f"{path}.")))
            for path in paths
            if path in modules
        ]

    def reset(self, seed: int) -> None:
        """Back to the pretrained weights, with the head as `from_pretrained` after `set_seed(seed)` makes it."""
        self.whole()
        for name, parameter in self._pretrained.named_parameters():
            parameter._is_hf_initialized = name not in self.fresh
        for module in self._pretrained.modules():
            module._is_hf_initialized = False
        set_seed(seed)
        self._pretrained.initialize_weights()  # on the CPU, so that every device starts from the same head
        self.model.load_state_dict(self._pretrained.state_dict())
        self.model.zero_grad(set_to_none=True)

    def use_rows(self, used: IntArray, pad_id: int, exactly: bool = False) -> None:
        """Train the rows of the input embeddings that occur and no others; `used_rows.can_be_cut` says whether.

        Recorded steps go on with the rows that trials before used, which is exact as well, as long as they hold these.
        `exactly` is for a trial that goes on with tensors of these rows.
        """
        self.whole()
        last, grows = self._last_rows, self.graphs is not None and not exactly
        if last is None or not (last.hold(used, pad_id) if grows else last.are_those_of(used, pad_id)):
            if self.graphs is not None and last is not None:
                used = np.union1d(used, last.used) if grows else used
                self.graphs.forget()
            self._last_rows = UsedRows(self.model, used, pad_id)
        assert self._last_rows is not None
        self._last_rows.take()
        self._used_rows = self._last_rows

    def whole(self, decay: float = 1.0) -> None:
        """Put the whole embedding matrix back; rows that did not occur are shrunk by `decay`."""
        if self._used_rows is not None:
            self._used_rows.whole(decay)
            self._used_rows = None

    @property
    def trains_used_rows(self) -> bool:
        """Whether the input embeddings are cut down to the rows that occur."""
        return self._used_rows is not None

    @property
    def rows_in_use(self) -> IntArray | None:
        """The rows that they are cut down to, which may be more than the trial's own; None where all are there."""
        return None if self._used_rows is None else self._used_rows.used

    @property
    def first_token(self) -> bool:
        """Whether the last layer works out the first token alone."""
        return self._short is not None and not self.exact

    @property
    def input_embeddings(self) -> str:
        """Name of the matrix whose rows are looked up by token."""
        matrix = self.model.get_input_embeddings().weight
        name: str = next(name for name, parameter in self.model.named_parameters() if parameter is matrix)
        return name

    def freeze(self, freeze: str, epoch: int, epochs: int) -> None:
        """Fix the parameters that the strategy names for this epoch; the others train."""
        fixed = frozen(self.parameters, freeze, epoch, epochs, self.layers)
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(name not in fixed)

    def training_mode(self, frozen_mode: str) -> None:
        """Dropout on; with frozen_mode "eval" it stays off in stages of which nothing trains."""
        self.model.train()
        if frozen_mode == "dropout":
            return
        training = {name for name, parameter in self.model.named_parameters() if parameter.requires_grad}
        for module, names in self._stages:
            if names and not names & training:
                module.eval()

    def forward(self, batch: Batch) -> torch.Tensor:
        """Logits of a batch, in the dtype of the forward pass.

        Shape (batch, labels); (batch, sequence, 2) of spans; (batch, k, vocabulary) of the k tokens asked for.
        """
        model = self._in_use()
        if batch.hidden is not None:
            key = (batch.cut, self.exact)
            if key not in self._suffixes:
                self._suffixes[key] = Suffix(model, self.row, batch.cut, self.pooled)
            return self._suffixes[key].logits(batch.hidden, self._mask(batch))
        assert batch.input_ids is not None
        ids = batch.input_ids if self._used_rows is None else self._used_rows.places(batch.input_ids)
        arguments = {"input_ids": ids, "attention_mask": self._mask(batch)}
        if batch.token_type_ids is not None:
            arguments["token_type_ids"] = batch.token_type_ids
        if batch.asked is not None:
            self._asked_model = self._asked_model or AskedModel(self.model, self.row)
            return self._asked_model.logits(batch.asked, arguments, self.model.training)
        return logits_of(model(**arguments))

    def _in_use(self) -> Any:
        if self.exact or self._short is None:
            return self.model
        self._short.training = self.model.training  # of all modules the outermost alone is not the same object
        return self._short

    def cut(self, freeze: str, epoch: int, epochs: int) -> int | None:
        """How far the frozen prefix reaches in an epoch; see `Outline.cut`."""
        return self.outline.cut(freeze, epoch, epochs)

    def states(self, batch: Batch, cuts: Sequence[int]) -> dict[int, torch.Tensor]:
        """What flows through some cuts for a batch of tokens, in the shapes of `Batch.hidden`."""
        return capture(self._in_use(), self.row, cuts, lambda: self.forward(batch), self.pooled)

    def is_vector(self, cut: int) -> bool:
        """Whether the states at a cut are one vector for each text, and not one for each token."""
        return self.pooled and cut >= self.layers

    def top(self) -> tuple[nn.Module, nn.Linear]:
        """The dropout and the linear layer above the highest cut, for an architecture that has that cut."""
        modules = dict(self.model.named_modules())
        linear = modules[self.row.classifier.rstrip(".")]
        assert isinstance(linear, nn.Linear)
        return modules[self.row.last_dropout], linear

    def pooler(self) -> nn.Linear:
        """The linear layer of the pooler, for an architecture that names it (`pooler_dense`)."""
        dense = self.model.get_submodule(self.row.pooler_dense)
        assert isinstance(dense, nn.Linear)
        return dense

    def _mask(self, batch: Batch) -> torch.Tensor | None:
        """The mask as attention takes it: given a flat one, transformers would wait for the device to look inside."""
        mask = batch.attention_mask
        if mask is None:
            return None
        if not self.row.plain_mask:
            return mask.long()  # DeBERTa calculates with it
        size, width = mask.shape
        return mask[:, None, None, :].expand(size, 1, width, width)

    def count(self, names: set[str]) -> int:
        """Number of scalars in the named parameters."""
        return sum(parameter.numel() for name, parameter in self._pretrained.named_parameters() if name in names)

    def trained_names(self, freeze: str, epochs: int) -> list[str]:
        """Parameters that train in the last epoch; since strategies only unfreeze, all that ever train."""
        fixed = frozen(self.parameters, freeze, epochs, epochs, self.layers)
        return [p.name for p in self.parameters if p.name not in fixed]

    def tensors(self, names: Sequence[str]) -> dict[str, torch.Tensor]:
        """Copies of the named parameters, on the device."""
        parameters = dict(self.model.named_parameters())
        return {name: parameters[name].detach().clone() for name in names}

    def assign(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Write values into the named parameters."""
        parameters = dict(self.model.named_parameters())
        with torch.no_grad():
            for name, value in tensors.items():
                parameters[name].copy_(value)

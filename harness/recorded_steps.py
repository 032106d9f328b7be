"""Steps that are recorded once and replayed, where a device can do that.

They do the arithmetic of plain steps, but pad batches to a few widths and hold them at fixed addresses, so that dropout
draws other numbers; without dropout the two agree up to rounding.
"""

from __future__ import annotations

import torch

from harness.batches import Batch
from harness.devices import seed_dropout
from harness.graphs import Graphs, Places, decay, key_of, widths
from harness.optimization import set_learning_rate
from harness.steps import Pass, PlainSteps, clip, logits_of
from harness.streams import derive
from harness.tasks.base import IntArray
from harness.training_plan import Plan, State, Weighing


class RecordedSteps:
    """Steps of a full batch, recorded once for each width that batches are padded to; the others are plain."""

    def __init__(self, plan: Plan, state: State, weights: Weighing, graphs: Graphs, plain: PlainSteps) -> None:
        self._plan, self._state, self._graphs, self._plain = plan, state, graphs, plain
        self._classes = weights.classes
        self._widths = widths(plan.train.features.lengths)
        self.needed = 0
        self._held: tuple[int, object] = (0, None)  # epoch, and what its recordings hold beside their places

    def take(self, epoch: Pass, rows: IntArray, step: int) -> tuple[int, int]:
        """Take one step; one of a last, shorter batch, or of a task whose batches have no fixed shape, is plain."""
        plan = self._plan
        batch = epoch.table.batch(rows)
        if len(rows) < plan.config.batch_size or batch.asked is not None:
            return self._plain.take(epoch, rows, step)
        given = self._widened(batch)
        shape = tuple((name, tensor.shape, tensor.dtype) for name, tensor in given.items())
        places = self._graphs.places((shape, self._baked(epoch.running.epoch, batch.cut)), lambda: self._places(given))
        for name, tensor in given.items():
            places.tensors[name].copy_(tensor)
        set_learning_rate(self._state.optimizer, plan.learning_rate(step))
        seed = derive(plan.seed, "dropout", step)
        self._graphs.take(
            places,
            lambda: self._step(places, batch.cut),
            self._state.optimizer,
            lambda: seed_dropout(plan.encoder.device, seed),
        )
        self.needed = max(self.needed, places.needed)
        epoch.running.trace[batch.rows] = places.trace
        epoch.watch.add(places.loss.clone(), places.norm.clone())
        return batch.tokens, next(iter(given.values())).shape[0] * self._width(batch)

    def _width(self, batch: Batch) -> int:
        """The first width that takes the batch; 1 where it has none."""
        sequence = batch.input_ids if batch.hidden is None else batch.hidden
        assert sequence is not None
        if batch.hidden is not None and batch.hidden.dim() == 2:
            return 1
        return next(width for width in self._widths if width >= sequence.shape[1])

    def _widened(self, batch: Batch) -> dict[str, torch.Tensor]:
        """The batch's tensors by name, as wide as the step that takes them; always with a mask."""
        width, pad = self._width(batch), self._plan.train.features.pad_id
        given = {"labels": batch.labels}
        if self._classes is not None:
            given["classes"] = self._classes
        if batch.hidden is not None and batch.hidden.dim() == 2:
            return {"hidden": batch.hidden, **given}
        sequences = {"input_ids": batch.input_ids, "token_type_ids": batch.token_type_ids, "hidden": batch.hidden}
        found = {name: tensor for name, tensor in sequences.items() if tensor is not None}
        for name, tensor in found.items():
            wide = tensor.new_full((tensor.shape[0], width, *tensor.shape[2:]), pad if name == "input_ids" else 0)
            wide[:, : tensor.shape[1]] = tensor
            given[name] = wide
        size, own = next(iter(found.values())).shape[:2]
        mask = torch.zeros((size, width), dtype=torch.bool, device=batch.labels.device)
        mask[:, :own] = True if batch.attention_mask is None else batch.attention_mask
        return {**given, "attention_mask": mask}

    def _baked(self, epoch: int, cut: int) -> object:
        """All that an epoch's recordings hold beside what lies in their places; it is the same for all its steps."""
        if self._held[0] != epoch:
            plan, encoder = self._plan, self._plan.encoder
            names = tuple(name for name, parameter in encoder.model.named_parameters() if parameter.requires_grad)
            groups = tuple(key_of(group) for group in self._state.optimizer.param_groups)
            settings = (cut, encoder.trains_used_rows, plan.config.frozen_mode, plan.dtype, plan.config.max_grad_norm)
            self._held = (epoch, (settings, names, groups))
        return self._held[1]

    def _places(self, given: dict[str, torch.Tensor]) -> Places:
        plan, device = self._plan, self._plan.encoder.device
        shape = (plan.config.batch_size, plan.task.trace_width(plan.train.examples.label_names))
        loss, norm = torch.zeros((), device=device), torch.zeros((), device=device)
        copies = {name: tensor.clone() for name, tensor in given.items()}
        return Places(copies, torch.zeros(shape, device=device), loss, norm)

    def _step(self, places: Places, cut: int) -> None:
        """Forward, backward and update over what lies in the places."""
        plan, optimizer, tensors = self._plan, self._state.optimizer, places.tensors
        batch = Batch(
            tensors.get("input_ids"),
            tensors.get("attention_mask"),
            tensors.get("token_type_ids"),
            tensors["labels"],
            rows=tensors["labels"],  # nobody asks
            tokens=0,
            padded_tokens=0,
            hidden=tensors.get("hidden"),
            cut=cut,
        )
        logits = logits_of(plan, batch)
        places.trace.copy_(plan.task.trace(logits.detach(), batch.labels))
        loss = plan.task.loss(logits, batch.labels, tensors.get("classes"))
        torch.autograd.backward(loss)
        places.loss.copy_(loss.detach())
        places.norm.copy_(clip(optimizer, plan.config.max_grad_norm))
        decay(optimizer)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

"""A model run from a cut upwards, and what flows through its cuts on the way up.

A cut is a place between stages: 0 lies above the embeddings, k above k layers, `layers` below the pooler and
`layers + 1` right below the last linear layer. Which cut a freezing strategy allows is `freezing.cut`'s answer.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers.modeling_outputs import BaseModelOutputWithPastAndCrossAttentions

from harness.architectures import Architecture, layer_count


class Given(nn.Module):
    """Stands where stages were taken out and answers with what they would have calculated."""

    def __init__(self, wrap: bool) -> None:
        super().__init__()
        self._wrap = wrap
        self.hidden: torch.Tensor | None = None

    def forward(self, *_: Any, **__: Any) -> torch.Tensor | BaseModelOutputWithPastAndCrossAttentions:
        """The states given last; wrapped as an encoder's output where an encoder was taken out."""
        assert self.hidden is not None
        if not self._wrap:
            return self.hidden
        return BaseModelOutputWithPastAndCrossAttentions(last_hidden_state=self.hidden, hidden_states=(self.hidden,))


class FirstTokenLayer(nn.Module):
    """A BERT layer that works out the first token alone: as the last layer below a pooler nothing else is read.

    Keys and values come from all tokens, query, output and feed-forward from the first. It shares the layer's modules.
    """

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self._layer = layer

    def forward(
        self, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None = None, *_: Any, **__: Any
    ) -> torch.Tensor:
        """States of the first token, (batch, 1, width), from those of all, (batch, sequence, width)."""
        attention = self._layer.attention.self
        first = hidden_states[:, :1]
        query, key, value = (
            project(states).unflatten(-1, (-1, attention.attention_head_size)).transpose(1, 2)
            for project, states in (
                (attention.query, first),
                (attention.key, hidden_states),
                (attention.value, hidden_states),
            )
        )
        context = functional.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=None if attention_mask is None else attention_mask[:, :, :1],
            dropout_p=attention.dropout.p if attention.training else 0.0,
            scale=attention.scaling,
        )
        attended = self._layer.attention.output(context.transpose(1, 2).flatten(2), first)
        states: torch.Tensor = self._layer.feed_forward_chunk(attended)
        return states


class AskedTokens(nn.Module):
    """Stands where a head takes the states and takes those of the tokens asked for alone.

    A vocabulary times all tokens would be most of a masked language model's memory and time. It shares the module.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self._module = module
        self.asked: torch.Tensor | None = None

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """States of all tokens, (batch, sequence, width), to those of the tokens asked for, (batch, k, ...)."""
        assert self.asked is not None
        chosen: torch.Tensor = self._module(states.gather(1, self.asked[:, :, None].expand(-1, -1, states.shape[2])))
        return chosen


class AskedModel:
    """A masked language model that works out the logits of the tokens asked for alone."""

    def __init__(self, model: Any, row: Architecture) -> None:
        path = row.language[0].rstrip(".")
        self._place = AskedTokens(model.get_submodule(path))
        self._model = _replaced(model, path, self._place)

    def logits(self, asked: torch.Tensor, arguments: Mapping[str, Any], training: bool) -> torch.Tensor:
        """Logits of the tokens asked for, (batch, k, vocabulary).

        Args:
            asked: places in the sequence, (batch, k).
            arguments: of the model.
            training: whether dropout is on.
        """
        self._model.training = training  # the outermost module is a copy; all below it are shared
        self._place.asked = asked
        logits: torch.Tensor = self._model(**arguments).logits
        self._place.asked = None
        return logits


def first_token_model(model: Any, row: Architecture) -> Any:
    """The model with its last layer on the first token alone; None for an architecture whose layers are others."""
    if not row.bert_layers or model.config._attn_implementation != "sdpa":
        return None
    path = f"{row.layers}{layer_count(model.config) - 1}"
    return _replaced(model, path, FirstTokenLayer(model.get_submodule(path)))


class Suffix:
    """What lies above a cut. It shares every module with the whole model, so that training one trains the other."""

    def __init__(self, model: Any, row: Architecture, cut: int, pooled: bool = True) -> None:
        self._layers = layer_count(model.config)
        self._cut = cut
        self._first_token = pooled and cut == self._layers
        above_layers = cut == self._layers
        if cut > self._layers:
            modules = dict(model.named_modules())
            self._top = nn.Sequential(modules[row.last_dropout], modules[row.classifier.rstrip(".")])
            return
        embeddings, encoder = Given(wrap=False), Given(wrap=True)
        self._given = (embeddings, encoder)
        container = _container(row)
        self._model = model
        for prefix in row.embeddings:
            path = prefix.rstrip(".")
            gone = above_layers and prefix.startswith(f"{container}.")
            if _has(model, path) and not gone:
                first = prefix == row.embeddings[0]
                self._model = _replaced(self._model, path, embeddings if first else nn.Identity())
        if above_layers:
            self._model = _replaced(self._model, container, encoder)
            return
        layers = row.layers.rstrip(".")
        self._model = _replaced(self._model, layers, model.get_submodule(layers)[cut:])

    def logits(self, hidden: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """Logits of a batch, (batch, labels), or (batch, sequence, 2) of spans.

        Args:
            hidden: states at the cut: (batch, sequence, width) below the last layer's end. At and above it, of a
                pooled model (batch, width): of the first token, and of what is pooled; of others all tokens'.
            mask: attention mask as the model takes it, where `hidden` is a sequence.
        """
        if self._cut > self._layers:
            top: torch.Tensor = self._top(hidden)
            return top
        states = hidden[:, None] if self._first_token else hidden
        for given in self._given:
            given.hidden = states
        logits = logits_of(self._model(inputs_embeds=states, attention_mask=mask))
        for given in self._given:
            given.hidden = None
        return logits


def logits_of(output: Any) -> torch.Tensor:
    """Logits of a transformers model's output; those of spans, (batch, sequence, 2), as start and end."""
    if "start_logits" in output:
        return torch.stack((output.start_logits, output.end_logits), dim=-1)
    logits: torch.Tensor = output.logits
    return logits


def _container(row: Architecture) -> str:
    """Path of the module that runs the layers and what lies on top of them."""
    return row.layers.rstrip(".").rpartition(".")[0]


def _has(model: nn.Module, path: str) -> bool:
    return any(name == path for name, _ in model.named_modules())


def _replaced(model: Any, path: str, other: nn.Module) -> Any:
    """The model with another module at `path`: modules on the way there are copied flat, all others are shared."""
    flat = copy.copy(model)
    flat._modules = dict(model._modules)
    name, _, rest = path.partition(".")
    flat._modules[name] = _replaced(model._modules[name], rest, other) if rest else other
    return flat


# --- what flows through the cuts -------------------------------------------------------------------


class _Enough(Exception):
    """The highest cut has been seen; nothing above it has to run."""


def capture(
    model: Any, row: Architecture, cuts: Sequence[int], run: Callable[[], object], pooled: bool = True
) -> dict[int, torch.Tensor]:
    """The states at some cuts while `run` runs the model once, in the shapes that `Suffix.logits` takes."""
    layers = layer_count(model.config)
    seen: dict[int, torch.Tensor] = {}
    highest = max(cuts)

    def keep(cut: int, states: torch.Tensor) -> None:
        seen[cut] = states
        if cut == highest:
            raise _Enough

    hooks = [_hook(model, row, cut, layers, partial(keep, cut), pooled) for cut in cuts]
    try:
        run()
    except _Enough:
        return seen
    finally:
        for hook in hooks:
            hook.remove()
    return seen


def _hook(
    model: Any, row: Architecture, cut: int, layers: int, keep: Callable[[torch.Tensor], None], pooled: bool
) -> Any:
    if cut > layers:
        classifier = model.get_submodule(row.classifier.rstrip("."))
        return classifier.register_forward_pre_hook(lambda _, arguments: keep(arguments[0]))
    if cut == layers:
        return model.get_submodule(_container(row)).register_forward_hook(
            lambda _, __, output: keep(output[0][:, 0] if pooled else output[0])
        )
    layer = model.get_submodule(f"{row.layers}{cut}")
    return layer.register_forward_pre_hook(lambda _, arguments: keep(arguments[0]))

"""Pretrained models from a folder: float32, of a known architecture, with no hole in the encoder."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from typing import Any

import torch
import transformers

from harness.architectures import Architecture, architecture_of, describe
from harness.errors import SpecError, UsageError
from harness.freezing import ParameterInfo

PICKLES = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"

transformers.logging.set_verbosity_error()  # a missing head is normal here and said in the trial's facts
transformers.logging.disable_progress_bar()


def load_pretrained(
    auto_class: Any,
    path: str,
    *,
    dropout: float | None,
    place_head: Callable[[Architecture], Architecture] = lambda row: row,
    **settings: Any,
) -> Any:
    """A model of `auto_class`, float32 whatever the file holds, without code from the model's author.

    Args:
        auto_class: such as transformers.AutoModelForSequenceClassification.
        path: folder with the files, as `hub.locate` gives it.
        dropout: replaces every dropout setting; None keeps the model's own.
        place_head: gives the architecture the head that `auto_class` puts on top.
        settings: further fields of the model's configuration, such as num_labels.

    Returns:
        The model on the CPU. Parameters that the file does not hold are named in `model.fresh_parameters`.

    Raises:
        UsageError: when the environment would let files run code.
        SpecError: for an unsupported architecture, or when embeddings or layers are missing in the file, or unused.
    """
    _refuse_pickles()
    config = transformers.AutoConfig.from_pretrained(path, trust_remote_code=False, **settings)
    row = place_head(architecture_of(config))
    if dropout is not None:
        for field in row.dropouts:
            setattr(config, field, dropout)
    model, loading = auto_class.from_pretrained(
        path,
        config=config,
        dtype=torch.float32,
        attn_implementation=row.attention,
        trust_remote_code=False,
        use_safetensors=True,
        ignore_mismatched_sizes=True,  # a head for another number of labels counts as missing
        output_loading_info=True,
    )
    fresh = set(loading["missing_keys"]) | {entry[0] for entry in loading["mismatched_keys"]}
    _refuse_holes(path, [describe(name, config, row) for name in sorted(fresh)])
    _refuse_unused_layers(path, sorted(loading["unexpected_keys"]))
    model.fresh_parameters = frozenset(fresh)
    return model


def _refuse_pickles() -> None:
    """Refuse an environment in which torch unpickles whatever a file holds."""
    value = os.environ.get(PICKLES, "")
    if value.lower() in ("1", "y", "yes", "true"):
        raise UsageError(f"{PICKLES} is {value} in the environment: a weights file could run code; unset it")


def _refuse_holes(path: str, fresh: Sequence[ParameterInfo]) -> None:
    holes = [p.name for p in fresh if p.part in ("embeddings", "layer")]
    if holes:
        raise SpecError(
            f"model: {path} lacks {len(holes)} weights of its encoder, such as {holes[0]}; "
            "training would start from noise"
        )


def _refuse_unused_layers(path: str, unused: Sequence[str]) -> None:
    """A head that is not used is normal; a layer that is not used is another model than the file's."""
    layers = [name for name in unused if re.search(r"(^|\.)layers?\.\d+\.", name)]
    if layers:
        raise SpecError(
            f"model: {path} holds layers that its config.json does not speak of, such as {layers[0]}; "
            "to train fewer layers, save the smaller model with `save_pretrained`"
        )

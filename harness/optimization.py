"""The optimiser's groups and the schedule of the learning rate, as pure functions of names and steps."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from harness.configuration import TrialConfig
from harness.freezing import ParameterInfo

BETAS = (0.9, 0.999)
EPSILON = 1e-8
CLIP_EPSILON = 1e-6  # as torch.nn.utils.clip_grad_norm_
_NO_DECAY_NAME = re.compile(r"bias|layernorm|rmsnorm|(?:^|\.)norm(?:$|\.)|_norm(?:$|\.)")


def decayed(model: nn.Module) -> set[str]:
    """Names of the parameters that weight decay shrinks: all but biases and the weights of normalisations.

    The same rule as transformers.Trainer: by name, and by membership in an nn.LayerNorm.
    """
    norms = {f"{path}." for path, module in model.named_modules() if isinstance(module, nn.LayerNorm)}
    return {
        name
        for name, _ in model.named_parameters()
        if not _NO_DECAY_NAME.search(name.lower()) and not name.startswith(tuple(norms))
    }


def depth(parameter: ParameterInfo, layers: int) -> int:
    """Steps down from the head: 0 for pooler, head and classifier, 1 for the top layer, layers + 1 for embeddings."""
    if parameter.part == "embeddings":
        return layers + 1
    return 0 if parameter.layer is None else layers - parameter.layer


def parameter_groups(
    model: nn.Module, parameters: Sequence[ParameterInfo], layers: int, config: TrialConfig, trained: set[str]
) -> list[dict[str, Any]]:
    """Groups for AdamW: with and without decay, and one pair a depth when `layer_decay` is below 1.

    Args:
        model: the model with its head.
        parameters: where each of its parameters lies.
        layers: layers of the model.
        config: learning rate, weight decay and layer decay.
        trained: names of the parameters that ever train; others get no group.

    Returns:
        Groups with params, names, weight_decay, `decay` (the same, which stays when another than AdamW applies it) and
        `scale` (the group's share of the learning rate).
    """
    shrunk = decayed(model)
    by_name = dict(model.named_parameters())
    groups: dict[tuple[float, float], dict[str, Any]] = {}
    for parameter in parameters:
        if parameter.name not in trained:
            continue
        scale = config.layer_decay ** depth(parameter, layers)
        decay = config.weight_decay if parameter.name in shrunk else 0.0
        empty = {"params": [], "names": [], "scale": scale, "lr": config.learning_rate * scale}
        group = groups.setdefault((scale, decay), {**empty, "weight_decay": decay, "decay": decay})
        group["params"].append(by_name[parameter.name])
        group["names"].append(parameter.name)
    return [groups[key] for key in sorted(groups, reverse=True)]


def adamw(groups: list[dict[str, Any]], capturable: bool = False) -> torch.optim.AdamW:
    """The optimiser that transformers.Trainer takes by default: betas 0.9 and 0.999, epsilon 1e-8, fused.

    Args:
        groups: of `parameter_groups`.
        capturable: whether a CUDA graph may record its steps.
    """
    kept = ("params", "names", "weight_decay", "decay", "scale", "lr")
    settings = [{key: group[key] for key in kept} for group in groups]
    return torch.optim.AdamW(settings, betas=BETAS, eps=EPSILON, fused=True, capturable=capturable)


def warmup_steps(warmup: float, total_steps: int) -> int:
    """Steps of linear warm-up: below 1 a share of all steps, rounded up, from 1 a number of steps."""
    return math.ceil(warmup * total_steps) if warmup < 1 else int(warmup)


def schedule(kind: str, step: int, warmup: int, total: int) -> float:
    """Factor on the learning rate at one step.

    Args:
        kind: "linear" falls to 0 at `total`, "cosine" half a wave to 0, "constant" stays.
        step: counted from 0.
        warmup: steps of rise from 0.
        total: steps of the whole trial.
    """
    if step < warmup:
        return step / max(1, warmup)
    done = (step - warmup) / max(1, total - warmup)
    if kind == "constant":
        return 1.0
    if kind == "cosine":
        return max(0.0, 0.5 * (1.0 + math.cos(math.pi * done)))
    return max(0.0, (total - step) / max(1, total - warmup))


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every group its share of the rate; a rate that is a tensor keeps its address."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], torch.Tensor):
            group["lr"].fill_(rate * group["scale"])
        else:
            group["lr"] = rate * group["scale"]


def no_moments(parameter: torch.nn.Parameter) -> dict[str, torch.Tensor]:
    """AdamW's state before its first step, as the fused implementation makes it."""
    return {
        "step": torch.zeros((), dtype=torch.float32, device=parameter.device),
        "exp_avg": torch.zeros_like(parameter),
        "exp_avg_sq": torch.zeros_like(parameter),
    }

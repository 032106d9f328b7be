"""`--set a.b=c`: values of the command line over those of the file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness.configuration import hyperparameters
from harness.errors import SpecError
from harness.yaml_reader import Path, read_yaml, shown

_SHORT: dict[Path, str] = {
    ("pruner",): "name",
    ("objective",): "metric",
    ("data", "train"): "size",
    ("data", "validation"): "size",
    ("data", "test"): "size",
}
"""Where a bare value stands for a mapping, and under which key it would stand there."""


def apply(values: dict[str, Any], overrides: Sequence[str]) -> dict[Path, str]:
    """Put every override into `values`, in place.

    Args:
        values: of the study file, nested.
        overrides: texts such as `fixed.epochs=3` or `search.model=[a, b]`; null takes an optional key out.

    Returns:
        key path -> the override that decided it, for messages.

    Raises:
        SpecError: for a text without `=`, a value that is no YAML, or a path through something else
            than a mapping or list.
    """
    places: dict[Path, str] = {}
    for override in overrides:
        name = f"--set {override}"
        key, equals, text = override.partition("=")
        path: Path = tuple(part.strip() for part in key.split("."))
        if not equals or not all(path):
            raise SpecError(f"{name}: must be key=value with a dotted key, such as --set data.train=500")
        places[_put(values, path, read_yaml(text, name).value, name)] = name
    return places


def _put(values: dict[str, Any], path: Path, value: Any, name: str) -> Path:
    """Store one value; returns the path with list positions as numbers."""
    inside: Any = values
    found: Path = ()
    for part in path[:-1]:
        step = _step(inside, part, found, name)
        if isinstance(inside, dict) and inside.get(str(step)) is None:
            inside[str(step)] = {}
        found = (*found, step)
        if found in _SHORT and not isinstance(inside[step], dict | list):
            inside[step] = {_SHORT[found]: inside[step]}
        inside = inside[step]
    last = _step(inside, path[-1], found, name)
    if isinstance(inside, dict) and value is None and not _null_is_a_value(found, str(last)):
        inside.pop(last, None)
    else:
        inside[last] = value
    return (*found, last)


def _step(inside: Any, part: str | int, found: Path, name: str) -> str | int:
    """The key or position that `part` means within `inside`."""
    where = ".".join(str(p) for p in found)
    if isinstance(inside, dict):
        return part
    if not isinstance(inside, list):
        raise SpecError(f"{name}: {where} is {shown(inside)}, which has no key {shown(part)}; set {where} as a whole")
    if not str(part).isascii() or not str(part).isdigit() or len(str(part)) > 6 or int(part) >= len(inside):
        allowed = f"0 to {len(inside) - 1}" if inside else "nothing, it is empty"
        raise SpecError(f"{name}: {where} is a list; its positions are {allowed}, got {shown(part)}")
    return int(part)


def _null_is_a_value(parent: Path, key: str) -> bool:
    """Null means something for a hyperparameter such as dropout, where hyperparameters are written."""
    field = hyperparameters().get(key)
    holds_values = bool(parent) and parent[0] in ("fixed", "configurations", "confirm")
    return holds_values and field is not None and "None" in str(field[0].type)

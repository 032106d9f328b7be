"""What is wrong with a study file, in words: file, line, key, value, what is allowed, a remedy.

Turns pydantic's errors into sentences. Which values are allowed is said by the models themselves.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pydantic

from harness.configuration import hyperparameters
from harness.errors import SpecError
from harness.study_file.values import MARK, nearest
from harness.yaml_reader import Path, shown

MOST = 10
"""So many faults are listed; the rest usually follows from them."""

_KINDS = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "string_type": "text",
    "bool_type": "true or false",
    "list_type": "a list such as [1, 2]",
    "model_type": "a mapping of keys and values",
    "dict_type": "a mapping of keys and values",
    "greater_than": "greater than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "literal_error": "one of {expected}",
    "too_short": "longer: it holds {actual_length} values, at least {min_length} are needed",
    "too_long": "shorter: it holds {actual_length} values, at most {max_length} are allowed",
    "string_too_short": "text of at least {min_length} character",
}
_REMEDIES = {
    "bool_type": "write true or false without quotes",
    "list_type": "put it in brackets",
    "model_type": "write `key: value` lines below it, indented",
    "dict_type": "write `key: value` lines below it, indented",
    "greater_than": "raise it",
    "greater_than_equal": "raise it",
    "less_than": "lower it",
    "less_than_equal": "lower it",
    "string_too_short": "take the key out or write a word",
    "too_short": "add a value or take the key out",
    "too_long": "take values out, or write a range",
    "int_type": "write it without quotes and point",
    "float_type": "write it without quotes, such as 0.1 or 1e-5",
}


def explain(
    error: pydantic.ValidationError, place: Callable[[Path], str], known: Callable[[Path], Sequence[str]]
) -> SpecError:
    """One error for everything that is wrong, a line a fault.

    Args:
        error: of the study file's model.
        place: key path -> "file:line" or "--set key=value", the nearest that is known.
        known: path of a mapping -> the keys that it takes.
    """
    faults = error.errors(include_url=False, include_context=True)
    lines = [_sentence(fault, place, known) for fault in faults[:MOST]]
    rest = [f"... and {len(faults) - MOST} more"] if len(faults) > MOST else []
    return SpecError("\n".join(lines + rest))


def key_path(location: Sequence[str | int]) -> Path:
    """A location of pydantic without the tags of unions."""
    return tuple(part for part in location if not str(part).startswith(MARK))


def dotted(path: Path) -> str:
    """A key path as `--set` takes it."""
    return ".".join(_key(part) for part in path) or "the study file"


def _key(part: str | int) -> str:
    """A key as it stands, or escaped and cut where it is no word."""
    return str(part) if re.fullmatch(r"[\w.-]{1,60}", str(part), re.ASCII) else shown(part)


def _sentence(fault: Any, place: Callable[[Path], str], known: Callable[[Path], Sequence[str]]) -> str:
    path = key_path(fault["loc"])
    if fault["type"] == "extra_forbidden":  # the last part is a key, whatever it begins with
        path = (*key_path(fault["loc"][:-1]), fault["loc"][-1])
    return f"{place(path)}: {dotted(path)} {_words(fault, path, known)}"


def _words(fault: Any, path: Path, known: Callable[[Path], Sequence[str]]) -> str:
    kind, given, context = fault["type"], fault["input"], fault.get("ctx", {})
    if kind == "harness":
        return str(context["words"])
    if kind == "missing":
        return f"is missing; add `{path[-1]}:`"
    if kind == "extra_forbidden":
        return f"is no known key; {_better_key(str(path[-1]), path[:-1], known)}"
    if kind.startswith("union_tag"):
        return _wrong_shape(path, given)
    if kind not in _KINDS:
        return f"is not allowed: {fault['msg']}, got {shown(given)}"
    allowed = _KINDS[kind].format(**{k: _number(v) for k, v in context.items()})
    if kind in ("too_short", "too_long"):
        return f"must be {allowed}; {_REMEDIES[kind]}"
    remedy = _remedy(kind, path, given, context)
    return f"must be {allowed}, got {shown(given)}" + (f"; {remedy}" if remedy else "")


def _number(value: Any) -> Any:
    """A bound as people write it: 1, not 1.0."""
    return f"{value:g}" if isinstance(value, float) else value


def _remedy(kind: str, path: Path, given: Any, context: Mapping[str, Any]) -> str:
    if kind == "literal_error" and isinstance(given, str):
        return nearest(given, context["expected"].replace("'", "").replace(" or ", ", ").split(", "))
    usual = next((_usual(str(part)) for part in reversed(path) if _usual(str(part))), "")
    if isinstance(given, str) and given.strip().lower() == "none" and _nullable(str(path[-1])):
        return "write null"
    if kind == "string_type":
        return "write one word" if isinstance(given, list | dict) else "put it in quotes"
    return usual or _REMEDIES.get(kind, "")


def _usual(key: str) -> str:
    entry = hyperparameters().get(key)
    return entry[1].usual if entry else ""


def _nullable(key: str) -> bool:
    entry = hyperparameters().get(key)
    return entry is not None and "None" in str(entry[0].type)


def _better_key(key: str, parent: Path, known: Callable[[Path], Sequence[str]]) -> str:
    allowed = known(parent)
    if not parent and key in hyperparameters():
        return f"a hyperparameter stands under fixed, as `fixed: {{{key}: ...}}`, or under search"
    if key == "model" and parent == ("fixed",):
        return "the model stands at the top level, `model: ...`"
    if key == "frozen_mode":
        return "it stands at the top level, `frozen_mode: eval`"
    return nearest(key, allowed)


def _wrong_shape(path: Path, given: Any) -> str:
    if path and path[0] == "search":
        allowed = "a list of values or {low, high, log, step}"
        return f"must be {allowed}, got {shown(given)}; a single value stands under fixed"
    if path and path[-1] == "seed":
        return f"must be a whole number or a list of them, got {shown(given)}; 42 is usual"
    if path and path[-1] == "size":
        return f"must be a number of rows or a share below 1, got {shown(given)}; 500 or 0.1, say"
    if path and path[-1] in ("train", "validation", "test"):
        shapes = "a number of rows, a share below 1 or {split, size, stratify, shuffle}"
        return f"must be {shapes}, got {shown(given)}; 0.1, say"
    return f"must be a word or a mapping of keys and values, got {shown(given)}"


def keys_at(schema: Mapping[str, Any], path: Path) -> list[str]:
    """The keys that a JSON Schema allows in the mapping at `path`."""
    nodes = _alternatives(schema, schema)
    for part in path:
        below = [
            node["items"] if isinstance(part, int) else node["properties"][part] for node in nodes if _has(node, part)
        ]
        nodes = [found for node in below for found in _alternatives(node, schema)]
    return [key for node in nodes for key in node.get("properties", {})]


def _has(node: Mapping[str, Any], part: str | int) -> bool:
    return "items" in node if isinstance(part, int) else part in node.get("properties", {})


def _alternatives(node: Mapping[str, Any], schema: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The node itself, or what its reference and its alternatives lead to."""
    if "$ref" in node:
        return _alternatives(schema["$defs"][node["$ref"].rpartition("/")[2]], schema)
    options = [*node.get("anyOf", ()), *node.get("oneOf", ())]
    return [found for option in options for found in _alternatives(option, schema)] or [node]

"""Safe YAML with line numbers: plain values in, plain values out, and where each of them stands.

Walks the parser's event stream in one loop, so that depth, size and repetition are checked before
anything is built. Scalars follow YAML 1.2: `1e-5` is a number, `no` is text, `010` is ten. What the
keys mean is spec.py's affair.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from harness.errors import SpecError

MAX_BYTES = 1_000_000
MAX_DEPTH = 50
Path = tuple[str | int, ...]

_NULLS = {"", "~", "null", "Null", "NULL"}
_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INTEGER = re.compile(r"[-+]?[0-9]+")
_OTHER_BASE = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_LARGEST = 2**63 - 1
# The C parser reads a full megabyte in 0.15 s, the Python one in 3 s; wheels of PyYAML ship it.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Document:
    """A parsed text.

    Attributes:
        value: nested dicts, lists and scalars.
        lines: key path -> line number, counted from 1. The root has the empty path.
    """

    value: Any
    lines: Mapping[Path, int]


@dataclass
class _Open:
    """A mapping or sequence whose end has not been read yet."""

    value: dict[str, Any] | list[Any]
    path: Path
    key: str | None = None
    keys: dict[str, int] = field(default_factory=dict)


def plain_scalar(text: str) -> Any:
    """What an unquoted YAML 1.2 scalar means: None, bool, int, float or the text itself.

    Raises:
        ValueError: for infinity, not-a-number, and numbers that 64 bits cannot hold.
    """
    if text in _NULLS:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if _NOT_FINITE.fullmatch(text):
        raise ValueError(f"{text} is no finite number; write a finite one, or quote it if it is text")
    if _OTHER_BASE.fullmatch(text):
        return _bounded(int(text, 0), text)
    if _INTEGER.fullmatch(text):
        # Python refuses to convert more than 4,300 digits, and no key takes more than 19.
        return _bounded(int(text) if len(text) < 40 else math.inf, text)
    if _FLOAT.fullmatch(text):
        return _bounded(float(text), text)
    return text


def _bounded(number: float, text: str) -> float:
    if not math.isfinite(number) or (isinstance(number, int) and abs(number) > _LARGEST):
        raise ValueError(f"{shown(text)} is too large for a number; quote it if it is text")
    return number


def shown(value: Any) -> str:
    """A value as an error message shows it: escaped, at most 60 characters."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def read_yaml(text: str, name: str) -> Document:
    """Parse one YAML document.

    Args:
        text: the document.
        name: what stands before the line number in messages, usually the file.

    Raises:
        SpecError: naming the line and the remedy, for anything that is not plain, finite, shallow YAML
            without repetition.
    """
    if len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise SpecError(f"{name} is larger than {MAX_BYTES:,} bytes; a study file is a page or two, data go elsewhere")
    reader = _Reader(name)
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            reader.take(event)
    except yaml.MarkedYAMLError as error:
        raise SpecError(_syntax(error, name)) from None
    except (yaml.YAMLError, UnicodeError) as error:
        problem = str(error).splitlines()[0]
        raise SpecError(f"{name}: {problem}; save the file as UTF-8 text without control characters") from None
    return Document(reader.value, reader.lines)


def _syntax(error: yaml.MarkedYAMLError, name: str) -> str:
    mark = error.problem_mark or error.context_mark
    line = mark.line + 1 if mark else 1
    problem = str(error.problem or error.context or "not YAML")
    if "\\t" in problem or "cannot start any token" in problem:
        remedy = "indent with spaces, not tabs, and quote text that begins with @, ` or %"
    elif "mapping values" in problem:
        remedy = "quote text that holds a colon, and indent keys of one level alike"
    else:
        remedy = "check indentation, brackets and quotes in this line and the one above"
    return f"{name}:{line}: {problem}; {remedy}"


class _Reader:
    """Builds values from events without recursion."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.value: Any = None
        self.lines: dict[Path, int] = {(): 1}
        self._stack: list[_Open] = []
        self._documents = 0

    def take(self, event: yaml.Event) -> None:
        line: int = event.start_mark.line + 1  # type: ignore[union-attr]  # only events made by hand have no mark
        if isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                raise self._error(line, "a second document begins; keep one study a file and drop the line `---`")
        elif isinstance(event, yaml.AliasEvent):
            raise self._error(line, f"the alias *{event.anchor} is not allowed; write the value out")
        elif isinstance(event, yaml.NodeEvent):
            self._node(event, line)
        elif isinstance(event, yaml.CollectionEndEvent):
            self._stack.pop()

    def _node(self, event: yaml.NodeEvent, line: int) -> None:
        if event.anchor:
            raise self._error(line, f"the anchor &{event.anchor} is not allowed; write the value out where it is used")
        tag = getattr(event, "tag", None)
        if tag not in (None, "!"):
            raise self._error(line, f"the tag {shown(tag)} is not allowed; values are plain text and numbers")
        awaits_key = bool(self._stack) and isinstance(self._stack[-1].value, dict) and self._stack[-1].key is None
        if awaits_key:
            self._key(event, line)
        elif isinstance(event, yaml.ScalarEvent):
            self._place(self._scalar(event, line), line)
        else:
            value: dict[str, Any] | list[Any] = {} if isinstance(event, yaml.MappingStartEvent) else []
            path = self._place(value, line)
            if len(self._stack) == MAX_DEPTH:
                raise self._error(line, f"nested deeper than {MAX_DEPTH} levels; a study file needs five")
            self._stack.append(_Open(value, path))

    def _key(self, event: yaml.NodeEvent, line: int) -> None:
        top = self._stack[-1]
        if not isinstance(event, yaml.ScalarEvent):
            raise self._error(line, "a key must be a word, not a list or mapping; check brackets and question marks")
        if event.value in top.keys:
            first = top.keys[event.value]
            raise self._error(line, f"{shown(event.value)} stands twice, first in line {first}; keep one of them")
        top.key = event.value
        top.keys[event.value] = line

    def _scalar(self, event: yaml.ScalarEvent, line: int) -> Any:
        if event.style or not event.implicit[0]:
            return event.value
        try:
            return plain_scalar(event.value)
        except ValueError as error:
            raise self._error(line, str(error)) from None

    def _place(self, value: Any, line: int) -> Path:
        """Put a value where the open collection wants it; returns its path."""
        if not self._stack:
            self.value = value
            self.lines[()] = line
            return ()
        top = self._stack[-1]
        if isinstance(top.value, list):
            path: Path = (*top.path, len(top.value))
            top.value.append(value)
            self.lines[path] = line
            return path
        assert top.key is not None  # noqa: S101
        path = (*top.path, top.key)
        top.value[top.key] = value
        self.lines[path] = top.keys[top.key]
        top.key = None
        return path

    def _error(self, line: int, words: str) -> SpecError:
        return SpecError(f"{self.name}:{line}: {words}")


class _Dumper(yaml.SafeDumper):
    """Writes what `read_yaml` reads back: no aliases, and text that looks like a number in quotes."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    try:
        is_text = isinstance(plain_scalar(text), str)
    except ValueError:
        is_text = False
    folded = any(mark in text for mark in "\x85\u2028\u2029")  # line breaks to YAML 1.1 alone: only quotes keep them
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if is_text and not folded else '"')


_Dumper.add_representer(str, _represent_text)


def write_yaml(value: Any) -> str:
    """The inverse of `read_yaml` for plain values; keys keep their order."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120, default_flow_style=None)

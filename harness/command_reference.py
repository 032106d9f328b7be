"""docs/commands.md: the commands, their arguments and options, and the exit codes, read from the code that has them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

from typer.models import ArgumentInfo, OptionInfo

from harness.cli import app
from harness.errors import HarnessError, Interrupted

_INTRODUCTION = """\
# Commands

*Made from the code by `make docs`; edit the descriptions there.*

`harness COMMAND --help` says the same in a terminal. STUDY is a study file, or the name of a study in the database;
a TRIAL is named STUDY:NUMBER. What a study file holds stands in [the study file](study-file.md).

Commands work in the current folder: `results.db` and `results.files/` (checkpoints, kept models, logs of workers)
are made there, reports below `reports/`. `--db night.db` moves the database, and its files to `night.files/`; with
the URL of a server the files stay in the current folder.
"""

_OUTCOMES = """\
## Exit codes

An error is one message on stderr: what was wrong, the value, and what is allowed.

| code | error | meaning |
|---|---|---|
| 0 | | done: for `run`, the study has reached its total; trials that failed are listed |
"""


_UNREAD = """
A command whose reader closes the pipe, as in `harness status | head -1`, ends in silence with 141, the code of programs
that SIGPIPE ended. A night is none of these: it goes on in silence.
"""


class Parameter(NamedTuple):
    """One argument or option: as typed, what it takes, its default in words, its line of help."""

    typed: str
    value: str
    default: str
    help: str
    is_option: bool


def commands() -> dict[str, Callable[..., Any]]:
    """Name -> function of every command, in the order of `harness --help`."""
    found = [(command.name, command.callback) for command in app.registered_commands]
    return {name or callback.__name__: callback for name, callback in found if callback is not None}


def parameters(command: Callable[..., Any]) -> list[Parameter]:
    """Arguments and options of a command, in order."""
    hints = get_type_hints(command, include_extras=True)
    defaults = inspect.signature(command).parameters
    return [_parameter(name, hint, defaults[name].default) for name, hint in hints.items() if name != "return"]


def _parameter(name: str, hint: Any, default: Any) -> Parameter:
    kind, info = next(_annotated(hint))
    if isinstance(info, ArgumentInfo):
        named = str(info.metavar or name.upper())
        typed = named.strip("[]") if named.startswith("[") else named
        return Parameter(typed, "", _default(default, kind), info.help or "", False)
    # Inside Annotated typer takes the first name for a default.
    names = [word for word in (info.default, *(info.param_decls or ())) if isinstance(word, str)]
    typed = ", ".join(names or [f"--{name.replace('_', '-')}"])
    return Parameter(typed, _value(kind, info), _default(default, kind), info.help or "", True)


def _annotated(hint: Any) -> Iterator[tuple[Any, ArgumentInfo | OptionInfo]]:
    """The plain type and what typer knows of a parameter; `X | None` may stand around it."""
    if get_origin(hint) is Annotated:
        kind, *extras = get_args(hint)
        yield from ((kind, extra) for extra in extras if isinstance(extra, ArgumentInfo | OptionInfo))
    else:
        for inner in get_args(hint):
            yield from _annotated(inner)


def _value(kind: Any, info: OptionInfo) -> str:
    """What an option takes, in words; empty for a switch."""
    plain = next((each for each in get_args(kind) if each is not type(None)), kind) if _optional(kind) else kind
    if plain is bool:
        return ""
    if info.metavar:
        return f"`{info.metavar}`" + (", any number of times" if get_origin(plain) is list else "")
    if get_origin(plain) is Literal:
        return ", ".join(f"`{word}`" for word in get_args(plain))
    words = {int: "whole number", float: "number", Path: "path", str: "text"}[plain]
    return words if info.min is None else f"{words} ≥ {info.min}"


def _optional(kind: Any) -> bool:
    return type(None) in get_args(kind)


def _default(value: Any, kind: Any) -> str:
    if value is inspect.Parameter.empty:
        return "**required**"
    return "" if value is None or kind is bool else f"`{value}`"


def command_reference() -> str:
    """The reference page of commands, in Markdown."""
    return "\n".join([_INTRODUCTION, *(_command(*each) for each in commands().items()), _exit_codes()])


def _command(name: str, command: Callable[..., Any]) -> str:
    known = parameters(command)
    words = [f"[{p.typed}]" if p.default != "**required**" else p.typed for p in known if not p.is_option]
    usage = " ".join(["harness", name, *words, *(["[OPTIONS]"] if any(p.is_option for p in known) else [])])
    parts = [f"## harness {name}\n", (inspect.getdoc(command) or "") + "\n", f"    {usage}\n"]
    if known:
        rows = [f"| `{p.typed}` | {p.value} | {p.default} | {p.help} |" for p in known]
        parts += ["| | value | default | meaning |", "|---|---|---|---|", *rows, ""]
    return "\n".join(parts)


def exit_codes() -> dict[type[HarnessError], tuple[str, str]]:
    """Error -> its codes and its meaning."""
    found = {error: (str(error.exit_code), _first_line(error)) for error in HarnessError.__subclasses__()}
    found[Interrupted] = ("130, 143", _first_line(Interrupted))
    found[HarnessError] = (str(HarnessError.exit_code), "Anything else, such as a section of a report that failed.")
    return dict(sorted(found.items(), key=lambda each: int(each[1][0].split(",")[0])))


def _first_line(documented: Any) -> str:
    return (inspect.getdoc(documented) or "").partition("\n")[0]


def _exit_codes() -> str:
    rows = [f"| {code} | {error.__name__} | {meaning} |" for error, (code, meaning) in exit_codes().items()]
    return _OUTCOMES + "\n".join(rows) + "\n" + _UNREAD

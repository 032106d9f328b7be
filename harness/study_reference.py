"""The study file's documentation, made from its models: the JSON Schema and the reference page."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from harness.freezing import words as freeze_words
from harness.metrics import costs, registered
from harness.spec import StudySpec
from harness.study_file.sections import PRUNER_OPTIONS
from harness.study_file.template import init_template
from harness.tasks.base import names as task_names

Node = Mapping[str, Any]

_INTRODUCTION = """\
# The study file

*Made from the code by `make docs`; edit the descriptions there.*

A study file is YAML: one file, one question. `harness init` writes a commented one, `harness schema` prints the
[JSON Schema](study.schema.json) with which editors complete it. Any value can be set from the command line:

    harness run studies/tweets.yaml --set study=tweets-small --set data.train=500 --set "search.batch_size=[8, 16]"

A dotted key names a place in the file (a position in a list counts from 0), the value is YAML, and `null` takes an
optional key out. What the study then runs is written out in full and kept in `results.db`. The words that keys take
stand in [names](names.md), the commands in [commands](commands.md).

Numbers and words follow YAML 1.2: `1e-5` is a number, `no` and `12:30:00` are text, `010` is ten; only `true` and
`false` are true and false. Refused, with the line and a remedy: keys that stand twice, unknown keys, anchors and
aliases, tags, numbers that are not finite, files over 1 MB, nesting beyond 50 levels.
"""

_SEARCH = """\
Each key takes a list of values, or for numbers a range: `{low: 1e-5, high: 5e-5, log: true}`, or
`{low: 0, high: 0.3, step: 0.1}`. Both ends are included; a whole-number hyperparameter stays whole. A search whose
dimensions can all be listed is a grid with an end; any other needs a budget. A key stands under `fixed` or under
`search`, not both.
"""


def schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of study files."""
    found = StudySpec.model_json_schema(by_alias=True)
    found["properties"]["task"]["enum"] = list(task_names())
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "harness study file"}
    return head | {key: _untitled(value) for key, value in found.items() if key != "title"}


def _untitled(node: Any) -> Any:
    """Without the titles that pydantic makes from field names; editors show key and description."""
    if isinstance(node, dict):
        return {k: _untitled(v) for k, v in node.items() if k != "title" or not isinstance(v, str)}
    return [_untitled(v) for v in node] if isinstance(node, list) else node


def schema_text() -> str:
    """The schema as the file in docs holds it."""
    return json.dumps(schema(), indent=2) + "\n"


def study_file_reference() -> str:
    """The reference page of study files, in Markdown."""
    whole = schema()
    parts = [_INTRODUCTION, "## Keys\n", _table(whole, whole)]
    parts += ["## data\n", _definition(whole, "DataSpec")]
    parts += ["A split is a number of rows, a share below 1, or a mapping:\n", _definition(whole, "SplitSpec")]
    parts += ["## fixed and configurations\n", _definition(whole, "Configuration"), _freezing()]
    parts += ["`early_stopping` is null or a mapping:\n", _definition(whole, "EarlyStopping")]
    parts += ["## search\n", _SEARCH, _searchable(whole)]
    parts += ["## objective, objectives\n", _definition(whole, "ObjectiveSpec"), _metrics()]
    parts += ["## budget\n", _definition(whole, "BudgetSpec")]
    parts += ["## pruner\n", _definition(whole, "PrunerSpec"), _pruners()]
    parts += ["## confirm\n", _definition(whole, "ConfirmSpec")]
    parts += ["## An example\n", "```yaml\n" + init_template("my-study") + "```\n"]
    return "\n".join(parts)


def _definition(whole: Node, name: str) -> str:
    return _table(whole["$defs"][name], whole)


def _table(node: Node, whole: Node) -> str:
    rows = ["| key | value | default | meaning |", "|---|---|---|---|"]
    for key, field in node["properties"].items():
        default = "**required**" if key in node.get("required", ()) else _default(field)
        rows.append(f"| `{key}` | {_cell(_value(field, whole))} | {default} | {_cell(field.get('description', ''))} |")
    return "\n".join(rows) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _default(field: Node) -> str:
    return "" if field.get("default") is None else f"`{json.dumps(field['default'])}`"


def _value(node: Node, whole: Node) -> str:
    """What a key takes, in words."""
    if "$ref" in node:
        name = node["$ref"].rpartition("/")[2]
        return "a range" if name.endswith("_range") else "mapping"
    options = [*node.get("anyOf", ()), *node.get("oneOf", ())]
    if options:
        return " or ".join(dict.fromkeys(_value(option, whole) for option in options))
    if "enum" in node:
        # Metrics have a table of their own.
        return "a metric" if len(node["enum"]) > 8 else ", ".join(f"`{word}`" for word in node["enum"])
    if node.get("type") == "array":
        return f"list of: {_value(node['items'], whole)}"
    names = {"integer": "whole number", "number": "number", "string": "text", "boolean": "`true`, `false`"}
    kind = names.get(node.get("type", ""), "`null`" if node.get("type") == "null" else "mapping")
    return f"{kind} {_bounds(node)}".strip()


def _bounds(node: Node) -> str:
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    found = {sign: node[key] for key, sign in signs.items() if key in node}
    return ", ".join(f"{sign} {int(bound) if bound == int(bound) else bound:,}" for sign, bound in found.items())


def _freezing() -> str:
    rows = [f"| `{word}` | {_cell(doc)} |" for word, doc in freeze_words().items()]
    return "\n".join(["| freeze | |", "|---|---|", *rows]) + "\n"


def _metrics() -> str:
    rows = [
        f"| `{entry.name}` | {entry.output} | {entry.direction} | {entry.unit} | {_cell(entry.doc)} |"
        for entry in registered()
    ]
    listed = ", ".join(f"`{name}`" for name in costs())
    note = f"Costs of a trial have no epochs, so no pruner can follow them: {listed}.\n"
    return "\n".join(["| metric | of | direction | unit | |", "|---|---|---|---|---|", *rows, "", note])


def _pruners() -> str:
    rows = [f"| `{name}` | {', '.join(f'`{o}`' for o in options)} |" for name, options in PRUNER_OPTIONS.items()]
    return "\n".join(["| pruner | its options |", "|---|---|", *rows]) + "\n"


def _searchable(whole: Node) -> str:
    return "Searchable: " + ", ".join(f"`{key}`" for key in whole["$defs"]["Search"]["properties"]) + ".\n"

"""Using the result: score a file of answers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from harness.commands.options import Json, terminal
from harness.errors import UsageError

SHOWN_IDS = 5


def score(
    predictions: Annotated[Path, typer.Argument(help='answers as SQuAD has them: a JSON file, {"id": "text", ...}')],
    data: Annotated[Path, typer.Option("--data", help="the questions: a SQuAD json file, parquet or jsonl")],
    na_probs: Annotated[
        Path | None,
        typer.Option("--na-probs", help='null probabilities of version 2.0: a JSON file, {"id": number, ...}'),
    ] = None,
    na_threshold: Annotated[
        float, typer.Option("--na-threshold", help="an answer with a higher null probability counts as none")
    ] = 1.0,
    as_json: Json = False,
) -> None:
    """Score a file of answers as SQuAD's official scripts do: exact match and F1, in points."""
    from harness.metrics.squad import score as score_answers
    from harness.question_rows import read_references
    from harness.sources import read_file
    from harness.squad_files import read_mapping

    for path in (predictions, data, *([] if na_probs is None else [na_probs])):
        if not path.is_file():
            raise UsageError(f"{path}: there is no such file")
    answers = read_mapping(predictions, "text")
    references, v2 = read_references(read_file(data), str(data))
    null = None if na_probs is None else read_mapping(na_probs, "number")
    found = score_answers(answers, references, v2=v2, null_probabilities=null, threshold=na_threshold)
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    _print_scores(found)
    _tell_ids("without a prediction, which score 0", [key for key in references if key not in answers])
    _tell_ids("of no question here, left out", [key for key in answers if key not in references])


def _print_scores(found: Mapping[str, Any]) -> None:
    from harness.terminal import table_of

    rows = [("all", found["exact_match"], found["f1"], found["total"])]
    for kind, words in (("HasAns", "with an answer"), ("NoAns", "without an answer")):
        if f"{kind}_total" in found:
            rows.append((words, found[f"{kind}_exact"], found[f"{kind}_f1"], found[f"{kind}_total"]))
    cells = [(words, f"{exact:.2f}", f"{f1:.2f}", f"{total:,}") for words, exact, f1, total in rows]
    terminal().print(table_of("Points", ("questions", "exact match", "F1", "number"), cells))
    if "best_exact" in found:
        at = ((name, found[f"best_{name}"], found[f"best_{name}_thresh"]) for name in ("exact", "f1"))
        best = [(words, f"{points:.2f}", f"{threshold:.6g}") for words, points, threshold in at]
        terminal().print(table_of("Best threshold on the null probability", ("metric", "points", "threshold"), best))


def _tell_ids(words: str, ids: list[str]) -> None:
    from harness.terminal import printable

    if ids:
        more = ", ..." if len(ids) > SHOWN_IDS else ""
        typer.echo(f"{len(ids)} {words}: {printable(', '.join(ids[:SHOWN_IDS]))}{more}", err=True)

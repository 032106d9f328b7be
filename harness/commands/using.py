"""Using the result: answers of the best model, a local page for it, the score of a file of answers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.commands.options import DEFAULT_DB, Db, Json, StudyArgument, name_of, stop_on_signals, terminal
from harness.commands.progress import progress
from harness.errors import UsageError

if TYPE_CHECKING:
    from harness.answers import Answer
    from harness.prediction_files import Targets
    from harness.predictor import Chosen, Predictor

SHOWN_IDS = 5
TrialNumber = Annotated[
    int | None, typer.Option("--trial", min=0, help="the trial whose kept model answers; by default the best kept one")
]


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


# --- answers of a kept model ------------------------------------------------------------------------------


def predict(
    study: StudyArgument,
    text: Annotated[str | None, typer.Option("--text", help="a text to label")] = None,
    pair: Annotated[str | None, typer.Option("--pair", help="its second text, where the study has pairs")] = None,
    question: Annotated[str | None, typer.Option("--question", help="a question to answer from --context")] = None,
    context: Annotated[str | None, typer.Option("--context", help="the text that holds the answer")] = None,
    input_file: Annotated[
        Path | None,
        typer.Option("--input", help="rows to answer: csv, tsv, jsonl, parquet or SQuAD json, columns as in the study"),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", help="JSON lines with the answer to each row of --input")
    ] = None,
    predictions: Annotated[
        Path | None,
        typer.Option("--predictions", help="answers to --input as harness score and SQuAD's scripts read them"),
    ] = None,
    na_probs: Annotated[
        Path | None, typer.Option("--na-probs", help="null probabilities of the same, for version 2.0")
    ] = None,
    trial: TrialNumber = None,
    as_json: Json = False,
    db: Db = DEFAULT_DB,
) -> None:
    """Label a text or answer a question with the best kept model of a study, or do so for every row of a file."""
    from harness.prediction_files import Targets
    from harness.predictor import Predictor, choose, typed_inputs
    from harness.results.targets import files_folder

    given = {"--text": text, "--pair": pair, "--question": question, "--context": context}
    typed = {option: value for option, value in given.items() if value is not None}
    targets = Targets(output, predictions, na_probs)
    _check_modes(input_file, [option for option, file in targets.by_option().items() if file], [*typed], as_json)
    chosen = choose(db, name_of(study), trial)
    inputs = None if input_file is not None else typed_inputs(chosen, typed)
    _tell_model(chosen)
    with Predictor(chosen.model, files_folder(db) / "logs" / "predict", stop_on_signals()) as predictor:
        if inputs is None:
            _answer_file(predictor, chosen, Path(str(input_file)), targets)
            return
        (answer,) = next(predictor.answers(inputs))
    if as_json:
        typer.echo(json.dumps(answer.as_dict(), indent=2, ensure_ascii=False))
    else:
        _print_answer(answer)
    _tell_cut(chosen, answer.cut_tokens and f"{answer.cut_tokens:,} of its {answer.tokens:,} tokens were not read")


def _check_modes(input_file: Path | None, files: list[str], typed: list[str], as_json: bool) -> None:
    """Either a file in and files out, or texts on the command line."""
    more = [*typed, *(["--json"] if as_json else [])]
    if input_file is not None and more:
        raise UsageError(f"--input answers every row of a file, {', '.join(more)} go with a single text; leave one out")
    if input_file is not None and not files:
        raise UsageError("--input needs a file for the answers: --output FILE.jsonl or --predictions FILE.json")
    if input_file is None and files:
        raise UsageError(f"{', '.join(files)} is for the answers to the rows of --input, which is not given")


def _answer_file(predictor: Predictor, chosen: Chosen, path: Path, targets: Targets) -> None:
    from harness.prediction_files import answer_file

    with progress("rows") as told:
        done = answer_file(predictor, chosen, path, targets, told)
    _tell_cut(
        chosen, done.cut and f"{done.cut:,} of {done.rows:,} were not read whole; cut_tokens says how much is lost"
    )
    for file in targets.by_option().values():
        if file is not None:
            typer.echo(str(file))


def _tell_model(chosen: Chosen) -> None:
    best = "the best" if chosen.of_best else "the best that is kept; the best configuration kept no weights"
    value = "" if chosen.trial.objective is None else f", {chosen.metric} {chosen.trial.objective:.4f}"
    asked = "" if chosen.asked_for else f" ({best}{value})"
    typer.echo(f"trial {chosen.trial.number} of {chosen.study}{asked} answers", err=True)


def _tell_cut(chosen: Chosen, words: object) -> None:
    if words:
        what = "question" if chosen.asks else "text"
        typer.echo(f"{what} longer than max_length {chosen.model.config.max_length}: {words}", err=True)


def _print_answer(answer: Answer) -> None:
    from harness.answers import LabelAnswer
    from harness.terminal import table_of

    if isinstance(answer, LabelAnswer):
        columns: tuple[str, ...] = ("label", "probability")
        rows: list[tuple[str, ...]] = [(name, f"{value:.4f}") for name, value in answer.probabilities.items()]
    else:
        columns = ("answer", "probability", "characters")
        rows = [(span.answer or "(no answer)", f"{span.probability:.4f}", span.place) for span in answer.ranked]
    terminal().print(table_of("", columns, rows))


def demo(
    study: StudyArgument,
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="of the page, on this machine alone")] = 7860,
    trial: TrialNumber = None,
    db: Db = DEFAULT_DB,
) -> None:
    """Open a local page on which the best kept model of a study answers; Ctrl-C ends it."""
    from harness.demo import serve
    from harness.predictor import Predictor, choose
    from harness.results.targets import files_folder

    chosen = choose(db, name_of(study), trial)
    _tell_model(chosen)
    stop = stop_on_signals()
    with Predictor(chosen.model, files_folder(db) / "logs" / "demo", stop) as predictor:
        serve(chosen, predictor, port, stop, lambda address: typer.echo(f"{address} (Ctrl-C ends it)"))

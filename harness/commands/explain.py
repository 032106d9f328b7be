"""Which words mattered: explanations of a kept model's answers, stored for the report or printed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from harness.commands.options import DEFAULT_DB, Db, name_of, stop_on_signals, terminal
from harness.commands.progress import progress
from harness.errors import UsageError

if TYPE_CHECKING:
    from harness.explanations import Attribution, Explained

WORDS, ANSWER = 6, 40  # words of a text, and characters of an answer, that a line tells


def explain(
    study: Annotated[
        str,
        typer.Argument(metavar="STUDY[:TRIAL]", help="a study; of no trial the best one with kept weights is taken"),
    ],
    example: Annotated[
        list[int] | None,
        typer.Option("--example", metavar="N", min=0, help="place of a validation example, counted from 0"),
    ] = None,
    text: Annotated[str | None, typer.Option("--text", help="a text of your own; it is not stored")] = None,
    pair: Annotated[str | None, typer.Option("--pair", help="its second text, where the study has pairs")] = None,
    question: Annotated[str | None, typer.Option("--question", help="a question of your own, with --context")] = None,
    context: Annotated[str | None, typer.Option("--context", help="the text that holds the answer")] = None,
    method: Annotated[
        Literal["integrated-gradients", "attention-rollout"],
        typer.Option("--method", help="how a word's part in an answer is found"),
    ] = "integrated-gradients",
    db: Db = DEFAULT_DB,
) -> None:
    """Say which words mattered: for the surest wrong and right answers, for chosen examples, or for your own text."""
    from harness.explaining import explain_examples, explain_inputs
    from harness.predictor import choose, typed_inputs
    from harness.results.targets import files_folder

    options = {"--text": text, "--pair": pair, "--question": question, "--context": context}
    typed = {option: value for option, value in options.items() if value is not None}
    if typed and example:
        raise UsageError(
            f"--example names examples of the record and {', '.join(typed)} a text of your own: one of them"
        )
    name, number = study_and_trial(study)
    chosen = choose(db, name, number)
    logs, stop = files_folder(db) / "logs" / "explain", stop_on_signals()
    if typed:
        _print(explain_inputs(chosen.model, typed_inputs(chosen, typed), method, logs, stop), numbered=False)
        return
    with progress("examples") as told:
        found = explain_examples(db, chosen, example or [], method, logs, stop, told)
    _print(found.explained, numbered=True)
    if found.known:
        typer.echo(f"explained before and left as they are: example {', '.join(map(str, found.known))}")
    typer.echo(f"stored {found.stored} attributions of trial {chosen.trial.number}; harness report {name} draws them")


def study_and_trial(text: str) -> tuple[str, int | None]:
    """A study's name, and the number of a trial where one is given."""
    name, _, number = text.rpartition(":")
    return (name_of(name), int(number)) if name and number.isdigit() else (name_of(text), None)


def _print(explained: tuple[Explained, ...], numbered: bool) -> None:
    """One line an attribution: what was answered, how surely, and the words that did most."""
    from harness.terminal import table_of

    rows = [
        (*((str(each.position),) if numbered else ()), *_line(attribution))
        for each in explained
        for attribution in each.attributions
    ]
    columns = (*(("example",) if numbered else ()), "answer", "probability", "explained", "words that did most")
    if rows:
        terminal().print(table_of("Which words mattered", columns, rows))


def _line(found: Attribution) -> tuple[str, str, str, str]:
    from harness.analysis.attributions import strongest, words
    from harness.report.excerpts import excerpt

    most = strongest(words(found.tokens, found.scores), WORDS)
    told = ", ".join(f"{excerpt(word.text, ANSWER)} {word.score:+.2f}" for word in most)
    value = f"{found.target} {found.value:.2f}"
    if found.baseline_value is not None:
        value += f", baseline {found.baseline_value:.2f}"
    return excerpt(found.answer or "no answer", ANSWER), f"{found.probability:.3f}", value, told

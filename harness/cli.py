"""The command line: arguments -> one call; the only exit code.

Commands import what they need when they run, so that `harness --help` answers at once.
"""

from __future__ import annotations

import io
import signal
import sys
import traceback

import typer

from harness.commands import before, care, confirm, exchange, explain, morning, night, notebook, reproduce, using
from harness.errors import HarnessError, Interrupted

UNREAD = 128 + signal.SIGPIPE  # what a shell says of a program that its reader's end has ended

app = typer.Typer(
    help="Fine-tuning studies of BERT-like models: run them overnight, and read the verdict in the morning.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for _command in (
    before.init,
    before.schema,
    before.audit,
    before.plan,
    night.run,
    confirm.confirm,
    reproduce.reproduce,
    night.status,
    morning.report,
    morning.compare,
    notebook.notebook,
    exchange.export,
    using.predict,
    using.demo,
    using.score,
    explain.explain,
    care.doctor,
    care.repair,
):
    app.command()(_command)
app.command("import")(exchange.import_runs)


def _interrupted(*_: object) -> None:
    raise Interrupted("interrupted")


def main() -> None:
    """Entry of the `harness` command: every error becomes one message and its exit code."""
    signal.signal(signal.SIGINT, _interrupted)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that lacks a letter ends no night
    try:
        _obey()
    except HarnessError as error:
        _tell(f"harness: {error}")
        sys.exit(error.exit_code)
    except Exception as error:
        if isinstance(error, BrokenPipeError) and _hang_up():
            sys.exit(UNREAD)
        _tell(traceback.format_exc())  # a mistake of this program: whoever mends it needs the place
        sys.exit(HarnessError.exit_code)


def _obey() -> None:
    """Do what the arguments say; typer would end with code 1 and no word whichever pipe broke, ours to workers too."""
    try:
        app()
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):
            raise end.__context__ from None
        raise


def _hang_up() -> bool:
    """Whether nobody reads what is said any more; then nothing more is said."""
    from harness.terminal import is_unread, silence

    unread = [stream for stream in (sys.__stdout__, sys.__stderr__) if stream is not None and is_unread(stream)]
    for stream in unread:
        silence(stream)
    return bool(unread)


def _tell(text: str) -> None:
    """Say it on standard error; where that is gone the exit code alone says it."""
    from harness.terminal import silence

    try:
        typer.echo(_public(text), err=True)
    except OSError:
        for stream in (sys.stdout, sys.stderr):
            silence(stream)


def _public(text: str) -> str:
    """What may go to a terminal or a log: without control characters, passwords and tokens."""
    from harness.results.text import scrub
    from harness.terminal import printable

    return printable(scrub(text))


if __name__ == "__main__":
    main()

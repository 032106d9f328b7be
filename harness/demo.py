"""The demo: a local page that asks a kept model, which lives in a worker. Needs Gradio, the extra `demo`.

Bound to 127.0.0.1, without share link, analytics or anything from elsewhere.
"""

from __future__ import annotations

import importlib
import os
import socket
import time
from collections.abc import Callable
from html import escape
from importlib.util import find_spec
from typing import Any

from harness.deadline import Stop
from harness.demo_page import STYLE, answer_html, error_html, words_html
from harness.errors import HarnessError, UnavailableError, UsageError
from harness.explanations import METHODS, ExplainJob, Explanations
from harness.predictor import Chosen, Inputs, Predictor, typed_inputs

HOST = "127.0.0.1"
CHARACTERS = 100_000  # of a text at most
WAITING = 16  # questions in the queue; a further one is turned away
LOOK_SECONDS = 0.2
FONTS = ("system-ui", "sans-serif")
OPTIONS = {"--text": "Text", "--pair": "Second text", "--question": "Question", "--context": "Context"}


def serve(chosen: Chosen, predictor: Predictor, port: int, stop: Stop, told: Callable[[str], None]) -> None:
    """Show the page until an end is asked for.

    Args:
        chosen, predictor: the model, and who asks it.
        port: of this machine.
        stop: ends the page.
        told: called with the page's address when it is there.

    Raises:
        UnavailableError: without Gradio, or when the port is taken.
        HarnessError: when the model cannot be loaded.
    """
    gradio = _gradio()
    _check_port(port)
    for _ in predictor.answers(_trial_run(chosen)):
        pass  # the model is loaded, or the error is told here and not on the page
    page = build(gradio, chosen, predictor)
    try:
        page.queue(max_size=WAITING, default_concurrency_limit=1, api_open=False)
        page.launch(
            server_name=HOST,
            server_port=port,
            share=False,
            prevent_thread_lock=True,
            quiet=True,
            footer_links=[],
            run_history=False,
            ssr_mode=False,
            mcp_server=False,
            enable_monitoring=False,
            css=STYLE,
            theme=gradio.themes.Default(font=FONTS, font_mono=("ui-monospace", "monospace")),
        )
        told(f"http://{HOST}:{port}")
        while not stop.asked:
            time.sleep(LOOK_SECONDS)
    finally:
        page.close(verbose=False)


def build(gradio: Any, chosen: Chosen, predictor: Predictor) -> Any:
    """The page: texts in, the answer, and, where captum is installed, the words that mattered."""
    options = ["--question", "--context"] if chosen.asks else ["--text"]
    options += ["--pair"] if chosen.data.text_pair is not None and not chosen.asks else []
    model = chosen.model.config.model.rpartition("/")[2]  # of a folder its name alone
    title = f"{chosen.study}: {model}, trial {chosen.trial.number}"
    with gradio.Blocks(analytics_enabled=False, title=title) as page:
        gradio.HTML(f"<h2>{escape(title)}</h2>", js_on_load=None)
        boxes = [
            gradio.Textbox(
                label=OPTIONS[option],
                lines=1 if option == "--question" else 6,
                max_length=CHARACTERS,
                elem_id=option.strip("-"),
            )
            for option in options
        ]
        button = gradio.Button("Answer", variant="primary", elem_id="ask")
        shown = gradio.HTML(elem_id="answer", js_on_load=None, min_height=60)
        asked = _Asked(chosen, predictor, options)
        _on(gradio, [button.click, *([boxes[0].submit] if chosen.asks else [])], asked.answer, boxes, shown)
        if find_spec("captum") is not None:
            method = gradio.Radio(list(METHODS), value=METHODS[0], label="Method", elem_id="method")
            explain = gradio.Button("Which words mattered", elem_id="explain")
            words = gradio.HTML(elem_id="words", js_on_load=None, min_height=60)
            _on(gradio, [explain.click], asked.words, [method, *boxes], words)
    return page


def _on(gradio: Any, triggers: list[Any], act: Callable[..., str], inputs: list[Any], output: Any) -> None:
    gradio.on(triggers, act, inputs, output, api_visibility="private", show_progress="minimal")


class _Asked:
    """What the buttons do: texts of the page in, HTML out; an error is shown in words."""

    def __init__(self, chosen: Chosen, predictor: Predictor, options: list[str]) -> None:
        self._chosen = chosen
        self._predictor = predictor
        self._options = options

    def answer(self, *texts: str) -> str:
        """The model's answer."""
        try:
            inputs = self._inputs(texts)
            (answer,) = next(self._predictor.answers(inputs))
        except HarnessError as error:
            return error_html(str(error))
        return answer_html(answer, texts[-1], self._chosen.model.config.max_length)

    def words(self, method: str, *texts: str) -> str:
        """Which words the answer hangs on."""
        try:
            inputs = self._inputs(texts)
            job = ExplainJob(self._chosen.model, inputs.texts, inputs.pairs, method=method)
            found: Explanations = self._predictor.ask(job)
        except HarnessError as error:
            return error_html(str(error))
        return words_html(found.examples[0].attributions, self._chosen.asks)

    def _inputs(self, texts: tuple[str, ...]) -> Inputs:
        for option, text in zip(self._options, texts, strict=True):
            name = OPTIONS[option]
            if not text.strip():
                raise UsageError(f"{name} is empty: write something into the field")
            if len(text) > CHARACTERS:
                raise UsageError(
                    f"{name} has {len(text):,} characters, the page takes {CHARACTERS:,}; harness predict takes more"
                )
        return typed_inputs(self._chosen, dict(zip(self._options, texts, strict=True)))


def _trial_run(chosen: Chosen) -> Inputs:
    pairs = ("first",) if chosen.asks or chosen.data.text_pair is not None else None
    return Inputs(("first",), pairs)


def _gradio() -> Any:
    """Gradio, told to stay on this machine.

    Raises:
        UnavailableError: when it is not installed.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    for name in ("NO_PROXY", "no_proxy"):  # it asks its own page whether it is there, which no proxy knows
        os.environ[name] = ",".join([part for part in (os.environ.get(name), HOST) if part])
    try:
        return importlib.import_module("gradio")
    except ImportError as error:
        raise UnavailableError(f"the demo needs Gradio ({error}): pip install '.[demo]' in harness's folder") from error


def _check_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            words = f"port {port} of {HOST} cannot be had ({error.strerror}); name another: --port"
            raise UnavailableError(words) from error

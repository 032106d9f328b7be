"""A headless Chromium for tests: opened on a page, typed into, clicked and read over its DevTools protocol."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import websocket

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SECONDS = 60.0


@contextmanager
def tab(folder: Path, unchecked: str) -> Iterator[Chromium]:
    """A browser; where there is none the tests are skipped, and say what is not checked."""
    if BROWSER is None:
        pytest.skip(f"no Chromium here: {unchecked} is checked where there is one")
    with Chromium(folder) as found:
        yield found


class Chromium:
    """One tab; everything that the page asks the network for is noted in `requests`."""

    def __init__(self, folder: Path) -> None:
        assert BROWSER is not None
        arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
        arguments += ["--remote-debugging-port=0", "--window-size=1100,1300", f"--user-data-dir={folder}"]
        self._process = subprocess.Popen(
            [BROWSER, *arguments, "about:blank"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        port = self._wait_for(lambda: self._port(folder))
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=SECONDS) as answer:
            tabs = [tab for tab in json.load(answer) if tab["type"] == "page"]
        self._socket = websocket.create_connection(
            tabs[0]["webSocketDebuggerUrl"], timeout=SECONDS, suppress_origin=True
        )
        self._number = 0
        self._loads = 0
        self.requests: list[str] = []
        self.errors: list[str] = []
        for domain in ("Page", "Network", "Runtime"):
            self._command(f"{domain}.enable")

    def __enter__(self) -> Chromium:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the tab and the browser."""
        self._socket.close()
        self._process.terminate()
        self._process.wait(SECONDS)

    def open(self, address: str) -> None:
        """Go to a page and wait until it is loaded."""
        self._command("Page.navigate", url=address)
        self.wait("document.readyState === 'complete'")

    def reload(self) -> None:
        """Load the page anew and wait until it is there; `readyState` may be the old page's for a while."""
        before = self._loads
        self._command("Page.reload")
        while self._loads == before:
            self._message()

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression."""
        answer = self._command("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait(self, script: str, seconds: float = SECONDS) -> Any:
        """The first true value of an expression."""
        return self._wait_for(lambda: self.run(script), seconds, script)

    def type(self, selector: str, text: str) -> None:
        """Put text into a field as a keyboard does, in place of what it holds."""
        element = f"document.querySelector({json.dumps(selector)})"
        self.wait(f"!!{element}")
        self.run(f"{element}.focus(), {element}.select()")
        self._command("Input.insertText", text=text)

    def press(self, key: str) -> None:
        """A key by its name, such as ArrowLeft or Enter, where the focus is."""
        for kind in ("keyDown", "keyUp"):
            self._command("Input.dispatchKeyEvent", type=kind, key=key, code=key)

    def move(self, x: float, y: float) -> None:
        """The mouse, to a place of the window."""
        self._command("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def seen_as(self, media: str = "screen", dark: bool = False) -> None:
        """How the page is looked at: on a screen or on paper, by a system that is light or dark."""
        features = {"prefers-color-scheme": "dark" if dark else "light", "prefers-reduced-motion": "reduce"}
        given = [{"name": name, "value": value} for name, value in features.items()]
        self._command("Emulation.setEmulatedMedia", media=media, features=given)
        self._command("Emulation.setFocusEmulationEnabled", enabled=True)

    def press_enter(self) -> None:
        """The key, in the field that has the focus."""
        key = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"}
        self._command("Input.dispatchKeyEvent", type="keyDown", **key)
        self._command("Input.dispatchKeyEvent", type="keyUp", **key)

    def click(self, selector: str) -> None:
        """A click of the mouse into the middle of an element."""
        element = f"document.querySelector({json.dumps(selector)})"
        self.wait(f"!!{element}")
        self.run(f"{element}.scrollIntoView({{block: 'center'}})")
        middle = self.run(f"(b => [b.x + b.width / 2, b.y + b.height / 2])({element}.getBoundingClientRect())")
        button = {"x": middle[0], "y": middle[1], "button": "left", "clickCount": 1}
        self._command("Input.dispatchMouseEvent", type="mousePressed", **button)
        self._command("Input.dispatchMouseEvent", type="mouseReleased", **button)

    def text(self, selector: str) -> str:
        """What an element shows."""
        return str(self.run(f"document.querySelector({json.dumps(selector)}).innerText"))

    def picture(self, path: Path) -> None:
        """The page as PNG."""
        shot = self._command("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))

    def _command(self, method: str, **parameters: Any) -> Any:
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while (message := self._message()).get("id") != self._number:
            pass
        assert "error" not in message, message
        return message["result"]

    def _message(self) -> Any:
        """The next message; what the page does by itself is noted."""
        message = json.loads(self._socket.recv())
        if message.get("method") == "Network.requestWillBeSent":
            self.requests.append(message["params"]["request"]["url"])
        if message.get("method") == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(message["params"]["exceptionDetails"])[:500])
        if message.get("method") == "Page.loadEventFired":
            self._loads += 1
        return message

    @staticmethod
    def _port(folder: Path) -> str | None:
        file = folder / "DevToolsActivePort"
        lines = file.read_text().splitlines() if file.exists() else []
        return lines[0] if lines else None

    @staticmethod
    def _wait_for(seen: Any, seconds: float = SECONDS, what: str = "the browser") -> Any:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if found := seen():
                return found
            time.sleep(0.05)
        raise AssertionError(f"{what} never came true in {seconds:g} seconds")

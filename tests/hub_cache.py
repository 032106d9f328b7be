"""A Hub for tests: its cache as huggingface_hub lays it out, and a server on this machine that speaks its protocol."""

from __future__ import annotations

import hashlib
import http.server
import json
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from harness.builtin.tiny import folder

FIRST, SECOND = "1" * 40, "2" * 40


def model_folder(path: Path, shift: float = 0.0) -> Path:
    """builtin:tiny's files, its weights moved by a little."""
    shutil.copytree(folder(), path)
    weights = load_file(path / "model.safetensors")
    weights["bert.encoder.layer.0.output.dense.bias"] += shift
    save_file(weights, path / "model.safetensors", metadata={"format": "pt"})
    return path


def lay_out(cache: Path, repository: str, commits: Mapping[str, Path]) -> None:
    """Snapshots of a repository in the cache: blobs by hash, and links to them by name."""
    place = cache / f"models--{repository.replace('/', '--')}"
    (place / "blobs").mkdir(parents=True, exist_ok=True)
    for commit, files in commits.items():
        snapshot = place / "snapshots" / commit
        snapshot.mkdir(parents=True)
        for file in files.iterdir():
            blob = place / "blobs" / hashlib.sha256(file.read_bytes()).hexdigest()
            blob.write_bytes(file.read_bytes())
            (snapshot / file.name).symlink_to(f"../../blobs/{blob.name}")


def point(cache: Path, repository: str, name: str, commit: str) -> None:
    """Let a branch or tag of the cache name a commit."""
    reference = cache / f"models--{repository.replace('/', '--')}" / "refs" / name
    reference.parent.mkdir(parents=True, exist_ok=True)
    reference.write_text(commit)


@contextmanager
def server(repository: str, commits: Mapping[str, Path], branches: dict[str, str]) -> Iterator[tuple[str, list[str]]]:
    """The address of a Hub with one model, and the list of the requests that it has had."""
    asked: list[str] = []

    class Hub(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer()

        def do_GET(self) -> None:
            self.answer()

        def answer(self) -> None:
            path = self.path.partition("?")[0]
            asked.append(path)
            api, files = f"/api/models/{repository}/", f"/{repository}/resolve/"
            if path.startswith(f"{api}revision/"):
                self.send_json({"id": repository, "sha": branches[path.removeprefix(f"{api}revision/")]})
            elif path.startswith(f"{api}tree/"):
                found = commits[path.removeprefix(f"{api}tree/")]
                self.send_json(
                    [{"type": "file", "path": f.name, "size": f.stat().st_size, "oid": "0"} for f in found.iterdir()]
                )
            elif path.startswith(files):
                commit, _, name = path.removeprefix(files).partition("/")
                self.send((commits[commit] / name).read_bytes(), commit)
            else:
                self.send_error(404)

        def send_json(self, value: Any) -> None:
            self.send(json.dumps(value).encode(), "")

        def send(self, body: bytes, commit: str) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
            self.send_header("X-Repo-Commit", commit)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    listening = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listening.server_port}", asked
    finally:
        listening.shutdown()
        listening.server_close()

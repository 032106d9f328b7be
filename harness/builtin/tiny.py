"""`builtin:tiny`, the shipped encoder, and how model names that begin with `builtin:` become folders.

Torch-free. How the weights were made is pretrain.py's matter.
"""

from __future__ import annotations

from pathlib import Path

from harness.errors import SpecError

PREFIX = "builtin:"


def folder() -> str:
    """Path of the shipped `from_pretrained` folder: BERT, 4 layers, 128 wide, its own lower-case WordPiece."""
    return str(Path(__file__).parent / "tiny")


MODELS = {"tiny": folder}


def resolve_model(name: str) -> str:
    """The folder of a `builtin:` model; every other name is a Hub id or a folder and stays as it is.

    Raises:
        SpecError: for a `builtin:` name that does not exist, with those that do.
    """
    if not name.startswith(PREFIX):
        return name
    found = MODELS.get(name.removeprefix(PREFIX))
    if found is None:
        known = ", ".join(PREFIX + key for key in sorted(MODELS))
        raise SpecError(f"model {name!r} is not built in; built in are: {known}")
    return found()

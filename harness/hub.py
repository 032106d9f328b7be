"""Where a model's files lie: a folder, the built-in one, or a snapshot of the Hub at one commit.

Everything loads from the folder that `locate` gives, so that a trial reads the commit that its study was begun with,
wherever the branch points by then. Weights are safetensors: reading other files can run code.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import NamedTuple

from huggingface_hub import snapshot_download
from huggingface_hub.utils.tqdm import disable_progress_bars

from harness.builtin.tiny import PREFIX, resolve_model
from harness.errors import DataError, UnavailableError
from harness.study_file.values import split_revision

disable_progress_bars()

WANTED = ("*.safetensors", "*.json", "*.txt", "*.model", "*.jinja")  # weights, settings, tokenisers
ELSEWHERE = ("*/*",)  # the same model for other programs


class Located(NamedTuple):
    """The folder of a model, and the Hub's commit that it holds; None for a folder that is not the Hub's."""

    path: str
    commit: str | None


def locate(model: str, commit: str | None = None) -> Located:
    """The folder that holds a model's files, downloaded when it is not here.

    Args:
        model: builtin:tiny, a folder, or a name on the Hub, with @REVISION or without.
        commit: what an earlier look at the Hub found; None takes the revision that the name asks for, or the newest.

    Raises:
        SpecError: an unknown built-in model.
        DataError: a model without safetensors.
        UnavailableError: neither here nor to be had from the Hub.
    """
    if model.startswith(PREFIX) or os.path.isdir(model):
        found = Located(resolve_model(model), None)
    else:
        found = snapshot(model, commit)
    if not any(Path(found.path).glob("*.safetensors")):
        raise without_safetensors(model, found)
    refuse_shards_elsewhere(model, Path(found.path))
    return found


def refuse_shards_elsewhere(model: str, folder: Path) -> None:
    """An index of shards may name the files beside it and no others.

    Raises:
        DataError: it names another place, or cannot be read.
    """
    index = folder / "model.safetensors.index.json"
    if not index.exists():
        return
    try:
        names = {str(name) for name in json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"model {model!r}: {index} is damaged: {error!r}") from None
    elsewhere = sorted(name for name in names if Path(name).name != name)
    if elsewhere:
        raise DataError(f"model {model!r}: {index} names weights outside of its folder: {elsewhere[0]!r}")


def snapshot(model: str, commit: str | None) -> Located:
    """A model of the Hub; a commit whose files are all in the cache is found without the Hub."""
    repository, revision = split_revision(model)
    try:
        path = snapshot_download(
            repository, revision=commit or revision, allow_patterns=list(WANTED), ignore_patterns=list(ELSEWHERE)
        )
    except Exception as error:  # the Hub's client raises errors of its HTTP library, whose name changes
        if not isinstance(error, OSError | ValueError) and not type(error).__module__.startswith("http"):
            raise
        raise out_of_reach(model, commit, error) from error
    return Located(path, Path(path).name)


def out_of_reach(model: str, commit: str | None, error: Exception) -> UnavailableError:
    """The error for a model that is neither a folder nor to be had."""
    first_line = str(error).strip().split("\n")[0]
    at = f" at commit {commit}, with which the study was begun," if commit else ""
    return UnavailableError(
        f"model {model!r}{at} is no folder here and cannot be had from the Hub: {first_line} "
        "Check name, revision and network (HF_HUB_OFFLINE must not be 1), log in for a gated model, "
        "or name a folder or builtin:tiny"
    )


def without_safetensors(model: str, found: Located) -> DataError:
    """The error for weights that only a pickle holds, or that are not there at all."""
    place = f"the folder {found.path}" if found.commit is None else f"commit {found.commit}"
    other = f", or name a revision that has them: {split_revision(model)[0]}@REVISION" if found.commit else ""
    return DataError(
        f"model {model!r}: {place} holds no *.safetensors, and weights in other files are not loaded, since reading "
        f"them can run code. Convert them once with `save_pretrained` of transformers{other}"
    )

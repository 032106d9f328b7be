"""Files that are there whole or not at all: a draft beside the place gets its name when everything is written."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast


@contextmanager
def draft_of(path: Path) -> Iterator[BinaryIO]:
    """A stream whose bytes become the file when the block ends well; of a failure nothing is left.

    The file is its owner's alone: it may hold texts of a data set.

    Raises:
        OSError: when it cannot be written.
    """
    handle, name = tempfile.mkstemp(prefix=".new-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            yield cast(BinaryIO, stream)
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)

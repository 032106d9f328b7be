"""Documentation made from the code: every generated file below docs/, and the check that none is stale.

What a page says stands in the modules that are named here; the pages written by hand are not its work.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from harness.command_reference import command_reference
from harness.name_reference import name_reference
from harness.results.schema_page import page as database_reference
from harness.study_reference import schema as schema
from harness.study_reference import schema_text, study_file_reference

PAGES: Mapping[str, Callable[[], str]] = {
    "study-file.md": study_file_reference,
    "study.schema.json": schema_text,
    "commands.md": command_reference,
    "names.md": name_reference,
    "schema.md": database_reference,
}
"""File below docs/ -> the function that makes its text."""


def differing(folder: Path) -> list[str]:
    """Names of the pages whose file is missing or says something else than the code."""
    files = {name: folder / name for name in PAGES}
    return [name for name, file in files.items() if not file.exists() or file.read_text("utf-8") != PAGES[name]()]


def write(folder: Path) -> None:
    """Write every page that differs."""
    for name in differing(folder):
        (folder / name).write_text(PAGES[name](), encoding="utf-8")


def main() -> None:
    """`python -m harness.reference --write docs`, or `--check docs`, which fails when a page differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--write", type=Path, metavar="FOLDER")
    action.add_argument("--check", type=Path, metavar="FOLDER")
    asked = parser.parse_args()
    if asked.write:
        write(asked.write)
    elif stale := differing(asked.check):
        sys.exit(f"{', '.join(stale)} in {asked.check} differ from the code; run `make docs`")


if __name__ == "__main__":
    main()

"""Where rows come from: the Hub, a folder, a file, or `builtin:reviews`; each split as one Arrow table.

Files are read by the format that their ending names, in full and each time anew: no cache stands between a
file and its rows. Nothing is guessed, nothing is executed. Checking rows is the tasks' work.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from harness.builtin import corpus
from harness.errors import DataError, UnavailableError
from harness.squad_files import read_squad
from harness.strict_json import parse
from harness.yaml_reader import shown

if TYPE_CHECKING:
    from harness.spec import DataSpec

BUILTIN = "builtin:"
COMMIT = re.compile("[0-9a-f]{40}")
# What the Hub's library raises over descriptions of data that are damaged.
DAMAGED = (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, pa.ArrowException)
# A text may be longer than the 131,072 characters at which Python's reader stops.
csv.field_size_limit(2**31 - 1)


class Source:
    """The splits of one data set, read when asked for.

    Attributes:
        where: what the user wrote, for the messages.
        splits: name -> function that reads the split.
        revision: commit on the Hub; None for what is not the Hub's.
    """

    def __init__(self, where: str, splits: Mapping[str, Callable[[], pa.Table]], revision: str | None = None) -> None:
        self.where = where
        self.splits = splits
        self.revision = revision

    def read(self, split: str) -> pa.Table:
        """All rows of a split.

        Raises:
            DataError: when there is no such split, with those that there are, or when a file is damaged.
        """
        if split not in self.splits:
            raise DataError(f"{self.where} has no split {split!r}; it has {', '.join(self.splits)}")
        try:
            table = self.splits[split]()
            table.validate(full=True)  # a damaged offset would be read out of memory that is not the table's
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{self.where}, split {split!r}: cannot be read: {error}") from error
        return table


def open_source(data: DataSpec) -> Source:
    """The data set that `data.path` names.

    Raises:
        DataError: nothing of that name, or nothing readable in it.
        UnavailableError: the Hub cannot be reached and the data set is not in its cache.
    """
    if data.path.startswith(BUILTIN):
        return open_builtin(data)
    try:
        path = Path(data.path).expanduser()
        is_file, is_folder = path.is_file(), path.is_dir()
    except (OSError, RuntimeError) as error:  # a name that no system takes, or ~ of a user that is not there
        raise DataError(f"data.path {shown(data.path)} can be no file or folder: {error}") from None
    if is_file:
        return Source(data.path, {"train": lambda: read_file(path)})
    if is_folder:
        return open_folder(path)
    if looks_local(data.path):
        raise DataError(f"data.path {data.path!r}: there is no such file or folder")
    return open_hub(data)


def looks_local(path: str) -> bool:
    """True when this can be no name on the Hub, which is NAME or OWNER/NAME."""
    return Path(path).suffix.lower() in READERS or not re.fullmatch(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?", path)


# --- made up ----------------------------------------------------------------------------------------


def open_builtin(data: DataSpec) -> Source:
    """`builtin:reviews`, of `data.rows` rows with `data.noise` label noise; one split, always the same rows."""
    if data.path != "builtin:reviews":
        raise DataError(f"data.path {data.path!r} is not built in; built in is: builtin:reviews")
    rows = corpus.ROWS if data.rows is None else data.rows
    noise = corpus.NOISE if data.noise is None else data.noise
    return Source(data.path, {"train": lambda: corpus.reviews(rows, noise=noise)})


# --- files and folders --------------------------------------------------------------------------------


def read_parquet(path: Path) -> pa.Table:
    """A parquet file."""
    return pq.read_table(path)


def read_csv(path: Path) -> pa.Table:
    """A comma-separated file with a header, every value a string: the text `NA` stays the text `NA`."""
    return read_delimited(path, ",")


def read_tsv(path: Path) -> pa.Table:
    """A tab-separated file with a header, every value a string."""
    return read_delimited(path, "\t")


def read_delimited(path: Path, delimiter: str) -> pa.Table:
    """A file with a header and as many values in each line as names in the header."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        try:
            header = next(reader, [])
            if not header or len(set(header)) < len(header):
                raise DataError(f"{path}: the first line must name every column once, got {header}")
            columns: list[list[str]] = [[] for _ in header]
            for values in reader:
                if len(values) not in (0, len(header)):
                    raise DataError(
                        f"{path}, line {reader.line_num}: {len(values)} values for {len(header)} columns; "
                        "quote texts that hold the delimiter"
                    )
                for column, value in zip(columns, values, strict=False):
                    column.append(value)
        except csv.Error as error:
            raise DataError(f"{path}, line {reader.line_num}: {error}") from error
    return pa.table({name: pa.array(column, pa.string()) for name, column in zip(header, columns, strict=True)})


def read_jsonl(path: Path) -> pa.Table:
    """A file with one JSON object a line; a column has one type throughout."""
    rows = list(json_lines(path))
    names = dict.fromkeys(name for row in rows for name in row)
    return pa.table({name: uniform_column(path, name, [row.get(name) for row in rows]) for name in names})


def json_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a file, line by line; blank lines are skipped."""
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = parse(line)
            except ValueError as error:
                raise DataError(f"{path}, line {number}: not JSON: {error}") from error
            if not isinstance(row, dict):
                raise DataError(f"{path}, line {number}: expected an object such as {{...}}, got {line.strip()[:60]!r}")
            yield row


def uniform_column(path: Path, name: str, values: list[Any]) -> pa.Array:
    """An Arrow array, or an error that names the first row of another type than the first."""
    kinds = [type(value) for value in values if value is not None]
    for row, value in enumerate(values):
        numbers = {type(value), kinds[0]} <= {int, float} if kinds else False
        if value is not None and type(value) is not kinds[0] and not numbers:
            raise DataError(
                f"{path}: column {name!r} begins with {kinds[0].__name__} values, "
                f"but row {row} (counted from 0) has the {type(value).__name__} {value!r}"
            )
    try:
        return pa.array(values)
    except OverflowError:
        huge = next(value for value in values if isinstance(value, int) and abs(value) >= 2**63)
        raise DataError(f"{path}: column {name!r} holds {huge}, which is too large for a whole number") from None


READERS: dict[str, Callable[[Path], pa.Table]] = {
    ".parquet": read_parquet,
    ".csv": read_csv,
    ".tsv": read_tsv,
    ".jsonl": read_jsonl,
    ".ndjson": read_jsonl,
    ".json": read_squad,
}


def read_file(path: Path) -> pa.Table:
    """A whole file, by its ending.

    Raises:
        DataError: for an unknown ending, a damaged file, or text that is not UTF-8.
    """
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"{path}: the ending must be one of {', '.join(READERS)}")
    try:
        return reader(path)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 at byte {error.start}; save it as UTF-8") from error
    except UnicodeEncodeError as error:
        raise DataError(f"{path}: holds {error.object[error.start]!r}, half of a character; mend the text") from error
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error


def open_folder(path: Path) -> Source:
    """A folder of files named after their splits, in shards or not, or one written by `save_to_disk`.

    `train.parquet`, `train-00000-of-00002.parquet` and `train_1.csv` are all parts of the split train. Beside data in
    another format a .json file describes them.
    """
    if (path / "dataset_dict.json").exists() or (path / "state.json").exists():
        return open_saved(path)
    files = sorted(f for place in (path, path / "data") if place.is_dir() for f in place.iterdir())
    readable = [file for file in files if file.suffix.lower() in READERS]
    splits: dict[str, list[Path]] = {}
    for file in [file for file in readable if file.suffix.lower() != ".json"] or readable:
        split = re.split(r"[-_.]", file.name)[0]
        splits.setdefault(split, []).append(file)
    if not splits:
        raise DataError(f"{path}: no file with one of the endings {', '.join(READERS)}, named after its split")
    for split, parts in splits.items():
        if len({part.suffix for part in parts}) > 1:
            raise DataError(
                f"{path}: split {split!r} lies there in several formats: {', '.join(p.name for p in parts)}"
            )
    return Source(str(path), {split: lambda parts=parts: read_parts(parts) for split, parts in splits.items()})  # type: ignore[misc]


def read_parts(parts: list[Path]) -> pa.Table:
    """The shards of a split as one table."""
    tables = [read_file(part) for part in parts]
    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException as error:
        raise DataError(f"{', '.join(map(str, parts))}: the parts do not fit together: {error}") from error


# --- the Hub's library --------------------------------------------------------------------------------


def open_saved(path: Path) -> Source:
    """A folder written by `Dataset.save_to_disk` or `DatasetDict.save_to_disk`."""
    import datasets  # heavy, and not needed for plain files

    try:
        return hub_source(str(path), datasets.load_from_disk(str(path)))
    except DAMAGED as error:
        raise DataError(f"{path}: cannot be read: {error!r}") from error


def open_hub(data: DataSpec) -> Source:
    """A data set of the Hub, at `data.revision`, downloaded once into the Hub's own cache.

    A commit that the cache holds is read from there. Left to itself the Hub's library, when it cannot reach the Hub,
    gives whatever it cached last, so what it gives is compared with the commit that was asked for.
    """
    import datasets  # heavy, and not needed for plain files

    asked = data.revision if data.revision and COMMIT.fullmatch(data.revision) else None
    if asked and (folder := cached_folder(Path(datasets.config.HF_DATASETS_CACHE), data, asked)):
        return cached_source(data.path, folder)
    try:
        found = datasets.load_dataset(data.path, data.name, revision=data.revision)
    except (ConnectionError, datasets.exceptions.DatasetNotFoundError) as error:
        raise out_of_reach(data, str(error)) from error
    except (*DAMAGED, RuntimeError, datasets.exceptions.DatasetGenerationError) as error:  # RuntimeError: a script
        raise DataError(f"data.path {data.path!r}, data.name {data.name!r}: cannot be read: {error}") from error
    source = hub_source(data.path, found)
    if asked and source.revision != asked:
        raise out_of_reach(data, f"its cache holds commit {source.revision} alone, not {asked}")
    return source


def out_of_reach(data: DataSpec, why: str) -> UnavailableError:
    """The error for a data set that is neither a file nor to be had."""
    return UnavailableError(
        f"data.path {data.path!r} is neither here as a file or folder nor to be had from the Hub ({why}). "
        "Check the name and the network (HF_HUB_OFFLINE must not be 1), log in for a gated data set, "
        "or point data.path at a local copy"
    )


def cached_folder(cache: Path, data: DataSpec, commit: str) -> Path | None:
    """Where the Hub's library keeps one configuration of one commit: `DATA_SET/CONFIGURATION/VERSION/COMMIT`."""
    found = [info.parent for info in cache.glob(f"*/*/*/{commit}/dataset_info.json")]
    named = [folder for folder in found if data.name in (None, folder.parts[-3])]
    return named[0] if len(named) == 1 else None


def cached_source(where: str, folder: Path) -> Source:
    """The splits of a folder of the cache, whose files are named `DATA_SET-SPLIT.arrow`, in shards or not."""
    try:
        splits = list(json.loads((folder / "dataset_info.json").read_text(encoding="utf-8"))["splits"])
    except DAMAGED as error:
        raise DataError(f"{folder} in the Hub's cache cannot be read ({error!r}); delete it and run again") from error

    def read(split: str) -> pa.Table:
        name = re.compile(rf".*-{re.escape(split)}(-\d{{5}}-of-\d{{5}})?\.arrow")
        parts = sorted(file for file in folder.iterdir() if name.fullmatch(file.name))
        return pa.concat_tables([pa.ipc.open_stream(pa.memory_map(str(part))).read_all() for part in parts])

    return Source(where, {split: lambda split=split: read(split) for split in splits}, folder.name)  # type: ignore[misc]


def hub_source(where: str, found: Any) -> Source:
    """The splits of a `DatasetDict`, or a lone `Dataset` as its split train."""
    splits = found if isinstance(found, dict) else {"train": found}
    readers = {str(name): lambda part=part: arrow_table(part) for name, part in splits.items()}
    return Source(where, readers, commit_of(splits))


def commit_of(splits: Mapping[Any, Any]) -> str | None:
    """The commit that the Hub's library read: it names the folder of its cache by it. None for other folders."""
    folders = {Path(file["filename"]).parent.name for part in splits.values() for file in part.cache_files}
    return next((name for name in folders if COMMIT.fullmatch(name)), None)


def arrow_table(part: Any) -> pa.Table:
    """The rows of a `Dataset`, with the class names that it declares kept in the schema."""
    table: pa.Table = part.with_format("arrow")[:]
    return table.replace_schema_metadata(part.features.arrow_schema.metadata)

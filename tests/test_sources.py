"""Every format gives the same rows, damage is named by its place, nothing of a data set runs, and commits are told."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harness.errors import DataError, UnavailableError
from harness.sources import Source, open_source
from harness.spec import DataSpec

ROWS = {"text": ["one", "two"], "label": ["a", "b"]}


def source(path: Path | str, **data: Any) -> Source:
    return open_source(DataSpec.model_validate({"path": str(path), **data}))


def read(path: Path | str, split: str = "train") -> dict[str, list[Any]]:
    return source(path).read(split).to_pydict()


def test_every_format_gives_the_same_rows(tmp_path: Path):
    pq.write_table(pa.table(ROWS), tmp_path / "rows.parquet")
    (tmp_path / "rows.csv").write_text("text,label\none,a\ntwo,b\n")
    (tmp_path / "rows.tsv").write_text("text\tlabel\none\ta\ntwo\tb\n")
    (tmp_path / "rows.jsonl").write_text('{"text": "one", "label": "a"}\n\n{"text": "two", "label": "b"}\n')
    for ending in ("parquet", "csv", "tsv", "jsonl"):
        assert read(tmp_path / f"rows.{ending}") == ROWS


@pytest.mark.parametrize("word", ["NA", "null", "None", "nan", "N/A", "1e5", "007", " x ", "true"])
def test_a_csv_text_stays_the_text_it_is(tmp_path: Path, word: str):
    (tmp_path / "rows.csv").write_text(f"text,label\n{word},a\n")
    assert read(tmp_path / "rows.csv")["text"] == [word]


def test_quotes_delimiters_line_breaks_and_a_byte_order_mark_are_read(tmp_path: Path):
    (tmp_path / "rows.csv").write_bytes('\ufefftext,label\n"a, ""b""\nc",x\n'.encode())
    assert read(tmp_path / "rows.csv") == {"text": ['a, "b"\nc'], "label": ["x"]}


def test_a_text_may_be_very_long(tmp_path: Path):
    (tmp_path / "rows.csv").write_text(f"text,label\n{'word ' * 60_000},a\n")
    assert len(read(tmp_path / "rows.csv")["text"][0]) == 300_000


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("rows.csv", b"text,label\na,b\nc\n", "line 3: 1 values for 2 columns"),
        ("rows.csv", b"text,label\na,b,c\n", "line 2: 3 values for 2 columns"),
        ("rows.csv", b'text,label\n"a,b\n', "line 2: unexpected end of data"),
        ("rows.csv", "text,label\ncafé,b\n".encode("latin-1"), "not UTF-8"),
        ("rows.csv", b"text,text\na,b\n", "every column once"),
        ("rows.csv", b"", "first line"),
        ("rows.jsonl", b'{"text": "a"}\n{"text": \n', "line 2: not JSON"),
        ("rows.jsonl", b'["a"]\n', "line 1: expected an object"),
        ("rows.jsonl", b'{"label": 1}\n{"label": "1"}\n', "row 1 .* has the str '1'"),
        ("rows.parquet", b"PAR1 but cut off", "cannot be read"),
        ("rows.txt", b"a", "ending must be one of .parquet, .csv"),
    ],
)
def test_a_damaged_file_is_refused_with_file_and_line(tmp_path: Path, name: str, content: bytes, words: str):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=words) as error:
        read(tmp_path / name)
    assert name in str(error.value)


def test_a_truncated_parquet_file_is_refused(tmp_path: Path):
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"text": [str(i) for i in range(1000)]}), path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match="cannot be read"):
        read(path)


def test_a_changed_file_of_equal_size_and_time_is_read_anew(tmp_path: Path):
    path = tmp_path / "rows.csv"
    path.write_text("text,label\none,a\n")
    before = path.stat()
    assert read(path)["text"] == ["one"]
    path.write_text("text,label\ntwo,a\n")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert read(path)["text"] == ["two"]


def test_a_folder_has_the_splits_that_its_files_name_shards_included(tmp_path: Path):
    for name, text in (("train-00000-of-00002", "one"), ("train-00001-of-00002", "two"), ("test", "three")):
        pq.write_table(pa.table({"text": [text], "label": [0]}), tmp_path / f"{name}.parquet")
    (tmp_path / "README.md").write_text("not a split")
    assert set(source(tmp_path).splits) == {"train", "test"}
    assert read(tmp_path)["text"] == ["one", "two"]
    assert read(tmp_path, "test")["text"] == ["three"]
    with pytest.raises(DataError, match="no split 'validation'; it has test, train"):
        read(tmp_path, "validation")


def test_a_folder_without_data_or_with_two_formats_is_refused(tmp_path: Path):
    with pytest.raises(DataError, match="no file with one of the endings"):
        source(tmp_path)
    (tmp_path / "train.csv").write_text("text,label\na,b\n")
    (tmp_path / "train.jsonl").write_text('{"text": "a"}\n')
    with pytest.raises(DataError, match="several formats"):
        source(tmp_path)


def test_a_saved_data_set_is_read_with_its_class_names(tmp_path: Path):
    features = datasets.Features(text=datasets.Value("string"), label=datasets.ClassLabel(names=["no", "yes"]))
    saved = datasets.Dataset.from_dict({"text": ["a", "b"], "label": [1, 0]}, features=features)
    datasets.DatasetDict(train=saved, test=saved.select([1])).save_to_disk(tmp_path / "saved")
    table = source(tmp_path / "saved").read("train")
    assert table.to_pydict() == {"text": ["a", "b"], "label": [1, 0]}
    assert b"yes" in table.schema.metadata[b"huggingface"]
    assert read(tmp_path / "saved", "test")["text"] == ["b"]


def test_a_damaged_saved_data_set_is_refused(tmp_path: Path):
    datasets.Dataset.from_dict(ROWS).save_to_disk(tmp_path)
    (tmp_path / "dataset_info.json").unlink()
    with pytest.raises(DataError, match="cannot be read"):
        source(tmp_path)


def test_nothing_of_a_data_folder_is_executed(tmp_path: Path):
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "set.py").write_text(f"open({str(tmp_path / 'canary')!r}, 'w')")
    (folder / "train.csv").write_text("text,label\na,b\n")
    assert read(folder)["text"] == ["a"]
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("path", ["./nowhere", "nowhere.csv", "/no/such/folder", "~/no such folder"])
def test_a_local_path_that_is_not_there_is_a_data_error(path: str):
    with pytest.raises(DataError, match="no such file or folder"):
        source(path)


def test_an_unknown_built_in_data_set_is_refused():
    with pytest.raises(DataError, match="built in is: builtin:reviews"):
        open_source(DataSpec.model_construct(path="builtin:tweets"))  # a study file is refused sooner


def test_the_hub_out_of_reach_is_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    with pytest.raises(UnavailableError, match="HF_HUB_OFFLINE must not be 1.*local copy"):
        source("someone/some-set")


def test_built_in_reviews_follow_rows_and_noise():
    assert source("builtin:reviews", rows=30).read("train").num_rows == 30
    clean, noisy = (source("builtin:reviews", rows=400, noise=n).read("train")["label"] for n in (0.0, 0.4))
    assert clean != noisy


# --- one commit of the Hub's ----------------------------------------------------------------------------


FIRST, SECOND = "1" * 40, "2" * 40


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without network whose cache holds two commits of someone/some-set, the second one fresher."""
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    for number, commit in enumerate((FIRST, SECOND)):
        files = {}
        for split in ("train", "test"):
            files[split] = str(tmp_path / f"{split}-{number}.jsonl")
            Path(files[split]).write_text(f'{{"text": "{split} {number}", "label": "a"}}\n')
        built = datasets.load_dataset("json", data_files=files, cache_dir=str(tmp_path / str(number)))
        made = Path(built["train"].cache_files[0]["filename"]).parent
        folder = tmp_path / "cache" / "someone___some-set" / "default" / "0.0.0" / commit
        shutil.copytree(made, folder)
        info = json.loads((folder / "dataset_info.json").read_text())
        info |= {"config_name": "default", "dataset_name": "some-set"}
        (folder / "dataset_info.json").write_text(json.dumps(info))
        for file in folder.glob("json-*.arrow"):
            file.rename(folder / file.name.replace("json-", "some-set-"))
        os.utime(folder, (number, number))
    return tmp_path / "cache"


def test_the_commit_that_was_read_is_told(cached: Path):
    found = source("someone/some-set")
    assert found.revision == SECOND
    assert found.read("train").to_pydict()["text"] == ["train 1"]


def test_an_older_commit_is_read_although_a_newer_one_is_there(cached: Path):
    found = source("someone/some-set", revision=FIRST)
    assert (found.revision, list(found.splits)) == (FIRST, ["train", "test"])
    assert found.read("train").to_pydict() == {"text": ["train 0"], "label": ["a"]}
    assert found.read("test").to_pydict()["text"] == ["test 0"]


def test_another_commit_than_the_one_asked_for_is_no_substitute(cached: Path):
    with pytest.raises(UnavailableError, match=f"cache holds commit {SECOND} alone, not 3{{40}}"):
        source("someone/some-set", revision="3" * 40)


def test_files_and_built_in_data_have_no_commit(tmp_path: Path):
    datasets.Dataset.from_dict(ROWS).save_to_disk(tmp_path)
    assert source(tmp_path).revision is None
    assert source("builtin:reviews").revision is None

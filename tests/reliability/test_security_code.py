"""Files of others run no code here: pickles in every place that is read, code of model authors, hostile settings."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import hub_cache
import numpy as np
import pyarrow as pa
import pytest
import torch
from nights import Night
from records import finished_study
from safetensors.torch import load_file, save_file

import harness.checkpoints as checkpoints
from harness.cache import Cache
from harness.data import load
from harness.errors import DataError, HarnessError, StorageError
from harness.hub import WANTED
from harness.jobs import PrepareJob
from harness.preparation import prepare
from harness.results import frames
from harness.results.engine import open_engine
from harness.sources import open_hub, open_source
from harness.spec import DataSpec
from harness.tasks import base as tasks

DATA = {"path": "builtin:reviews", "rows": 60, "train": 30, "validation": 20}
ROWS = {"text": [f"text {n}" for n in range(20)], "label": [0, 1] * 10}


class Code:
    """Leaves a file behind where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


@pytest.fixture
def canary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """What must not be there afterwards; nothing that is asked on stdin is answered."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)  # where hostile settings would make one
    path = tmp_path / "canary"
    with open(os.devnull) as nothing:
        monkeypatch.setattr("sys.stdin", nothing)
        yield path
    assert not path.exists(), "code of others ran"


def pickled(canary: Path, how: str = "plain") -> bytes:
    """A pickle that runs code: as it stands, or as torch writes one."""
    if how == "plain":
        return pickle.dumps(Code(canary))
    path = canary.with_name("pickled")
    torch.save({"weight": torch.ones(2), "code": Code(canary)}, path)
    return path.read_bytes()


def test_the_canary_sings_where_a_pickle_is_read(tmp_path: Path) -> None:
    for number, how in enumerate(("plain", "torch")):
        path = tmp_path / f"canary-{number}"
        file = tmp_path / "file"
        file.write_bytes(pickled(path, how))
        pickle.loads(file.read_bytes()) if how == "plain" else torch.load(file, weights_only=False)
        assert path.exists()


def prepared(folder: Path) -> Any:
    """The preparation of a night reads every file of a model that a trial reads."""
    job = PrepareJob("sequence-classification", DATA, 1, [str(folder)], [], ["loss"], False, {})
    return prepare(job).models[0]


# --- pickles (S1) --------------------------------------------------------------------------------------------

BESIDE = ("pytorch_model.bin", "training_args.bin", "optimizer.pt", "scheduler.pt", "rng_state.pth", "scaler.pt")
INSTEAD = ("model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json")


@pytest.mark.parametrize("how", ["plain", "torch"])
@pytest.mark.parametrize("name", BESIDE)
def test_a_pickle_beside_the_weights_is_not_read(name: str, how: str, tmp_path: Path, canary: Path) -> None:
    folder = hub_cache.model_folder(tmp_path / "model")
    (folder / name).write_bytes(pickled(canary, how))
    assert prepared(folder).architecture == "BertForSequenceClassification"


@pytest.mark.parametrize("how", ["plain", "torch"])
@pytest.mark.parametrize("name", INSTEAD)
def test_a_pickle_in_the_place_of_a_file_is_refused(name: str, how: str, tmp_path: Path, canary: Path) -> None:
    folder = hub_cache.model_folder(tmp_path / "model")
    (folder / name).write_bytes(pickled(canary, how))
    with pytest.raises(DataError, match="no readable model|is no fast form"):
        prepared(folder)


def test_pickles_are_not_even_downloaded() -> None:
    assert not [pattern for pattern in WANTED if pattern.endswith((".bin", ".pt", ".pth", ".pkl", ".py", "*"))]


@pytest.mark.parametrize("name", ["model.safetensors", "state.json"])
@pytest.mark.parametrize("how", ["plain", "torch"])
def test_a_pickle_in_a_checkpoint_is_refused_with_and_without_a_right_checksum(
    name: str, how: str, tmp_path: Path, canary: Path
) -> None:
    folder = tmp_path / "trial" / "checkpoints" / "000001"
    folder.mkdir(parents=True)
    save_file({"weight": torch.ones(2)}, folder / "model.safetensors")
    (folder / "state.json").write_text('{"identity": {}}')
    (folder / name).write_bytes(pickled(canary, how))
    (folder / "manifest.json").write_text(json.dumps({"format": checkpoints.FORMAT, "sha256": {name: "0" * 64}}))
    assert checkpoints.find(tmp_path / "trial", {}).snapshot is None
    (folder / "manifest.json").unlink()
    draft = folder.with_name("draft")
    folder.rename(draft)
    checkpoints.publish(draft, folder)  # its checksums are right now
    assert checkpoints.verify(folder) == ""
    found = checkpoints.find(tmp_path / "trial", {})
    assert found.snapshot is None and found.incidents[0].kind == "checkpoint_refused"


@pytest.mark.parametrize("how", ["plain", "torch"])
def test_a_pickle_in_the_cache_is_worked_out_anew(how: str, tmp_path: Path, canary: Path) -> None:
    folder = tmp_path / "cache"
    cache = Cache(folder, 10**9)
    cache.save("key", torch.ones(2, 3), 1.0)
    assert cache.load("key") is not None
    (file,) = [path for path in folder.rglob("*") if path.is_file() and path.suffix == ".safetensors"]
    file.write_bytes(pickled(canary, how))
    assert Cache(folder, 10**9).load("key") is None


@pytest.mark.parametrize("ending", [".parquet", ".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".pkl", ".npy", ".pt"])
def test_a_pickle_as_data_is_refused(ending: str, tmp_path: Path, canary: Path) -> None:
    path = tmp_path / f"rows{ending}"
    path.write_bytes(pickled(canary))
    with pytest.raises(HarnessError):
        load(DataSpec.model_validate({"path": str(path), "validation": 3}), tasks.load("sequence-classification"), 1)


def test_an_arrow_type_that_is_a_pickle_is_not_made(tmp_path: Path, canary: Path) -> None:
    said = {b"ARROW:extension:name": b"arrow.py_extension_type", b"ARROW:extension:metadata": pickled(canary)}
    schema = pa.schema([pa.field("text", pa.string()), pa.field("label", pa.int64(), metadata=said)])
    folder = tmp_path / "saved"
    datasets.Dataset.from_dict(ROWS).save_to_disk(folder)
    with pa.OSFile(str(folder / "data-00000-of-00001.arrow"), "wb") as file:
        with pa.ipc.new_stream(file, schema) as stream:
            stream.write_table(pa.table(ROWS, schema=schema))
    data = DataSpec.model_validate({"path": str(folder), "validation": 6})
    try:
        load(data, tasks.load("sequence-classification"), 1)
    except HarnessError:
        return


@pytest.mark.parametrize("name", ["state.json", "dataset_info.json", "data-00000-of-00001.arrow"])
def test_a_pickle_in_a_saved_data_set_is_refused(name: str, tmp_path: Path, canary: Path) -> None:
    datasets.Dataset.from_dict(ROWS).save_to_disk(tmp_path / "saved")
    (tmp_path / "saved" / name).write_bytes(pickled(canary))
    with pytest.raises(DataError):
        data = DataSpec.model_validate({"path": str(tmp_path / "saved"), "validation": 6})
        load(data, tasks.load("sequence-classification"), 1)


def test_a_pickle_in_the_database_stays_bytes(tmp_path: Path, canary: Path) -> None:
    finished_study(tmp_path / "results.db")
    with sqlite3.connect(tmp_path / "results.db") as connection:
        connection.execute("UPDATE harness_prediction SET data = ?", (pickled(canary),))
    connection.close()
    engine = open_engine(tmp_path / "results.db", read_only=True)
    with pytest.raises(StorageError, match="damaged"):
        frames.predictions(engine, 1, 1)
    engine.dispose()


@pytest.mark.slow
def test_a_night_does_not_begin_where_the_environment_lets_files_run_code(
    tmp_path: Path, canary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    night = Night(tmp_path)
    code, output = night.run()
    assert code == 2 and "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD is 1" in output and "unset it" in output
    assert night.rows("SELECT count(*) FROM harness_trial") == [(0,)]


# --- scripts of data sets (S3) -------------------------------------------------------------------------------


def scripted(folder: Path, canary: Path) -> Path:
    """A data set as the Hub's library knew them once: a program of the folder's name that makes the rows."""
    folder.mkdir()
    (folder / f"{folder.name}.py").write_text(f"import os\nos.mkdir({str(canary)!r})\n")
    return folder


def test_a_script_beside_the_data_of_a_folder_is_not_run(tmp_path: Path, canary: Path) -> None:
    folder = scripted(tmp_path / "reviews", canary)
    with pytest.raises(DataError, match="no file with one of the endings"):
        open_source(DataSpec(path=str(folder)))
    rows = "\n".join(json.dumps({"text": text, "label": label}) for text, label in zip(*ROWS.values(), strict=True))
    (folder / "train.jsonl").write_text(rows)
    assert open_source(DataSpec(path=str(folder))).read("train").num_rows == 20


def test_a_script_that_the_hubs_library_finds_is_refused_by_name(tmp_path: Path, canary: Path) -> None:
    """As `load_dataset` finds one: of the Hub's data sets it is the same library that looks at the same folder."""
    folder = scripted(tmp_path / "reviews", canary)
    with pytest.raises(
        DataError, match=r"data\.path .* cannot be read: .*scripts are no longer supported.*reviews\.py"
    ):
        open_hub(DataSpec(path=str(folder)))


# --- code and settings of model authors (S2) -----------------------------------------------------------------

EVIL = "import os\nos.mkdir({canary!r})\nclass Evil:\n    pass\n"


def hostile(folder: Path, canary: Path, file: str, **settings: Any) -> Path:
    """builtin:tiny's files, with code beside them and settings that ask for it."""
    hub_cache.model_folder(folder)
    (folder / "evil.py").write_text(EVIL.format(canary=str(canary)))
    said = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps(said | settings))
    return folder


AUTO = ("AutoConfig", "AutoModel", "AutoModelForSequenceClassification", "AutoModelForQuestionAnswering")


@pytest.mark.parametrize(
    ("file", "settings"),
    [
        ("config.json", {"auto_map": dict.fromkeys(AUTO, "evil.Evil")}),
        ("config.json", {"auto_map": dict.fromkeys(AUTO, "attacker/repository--evil.Evil")}),
        ("config.json", {"auto_map": dict.fromkeys(AUTO, "evil.Evil"), "model_type": "evil"}),
        ("config.json", {"architectures": ["evil.Evil"]}),
        ("config.json", {"attn_implementation": "attacker/kernel"}),
        ("config.json", {"_attn_implementation": "attacker/kernel"}),
        ("config.json", {"_attn_implementation_internal": "attacker/kernel"}),
        ("config.json", {"_experts_implementation_internal": "attacker/kernel"}),
        ("config.json", {"use_kernels": True, "kernel_config": {"a": "b"}}),
        ("config.json", {"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}}),
        ("config.json", {"quantization_config": {"quant_method": "evil"}}),
        ("config.json", {"torch_dtype": "os.system"}),
        ("config.json", {"hidden_act": "__import__('os').mkdir('canary')"}),
        ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["evil.Evil", "evil.Evil"]}}),
        ("tokenizer_config.json", {"tokenizer_class": "evil.Evil"}),
        ("tokenizer_config.json", {"chat_template": "{{ ''.__class__.__mro__[1].__subclasses__() }}"}),
    ],
)
def test_a_hostile_setting_runs_nothing_and_asks_nothing(
    file: str, settings: dict[str, Any], tmp_path: Path, canary: Path
) -> None:
    folder = hostile(tmp_path / "model", canary, file, **settings)
    try:
        found = prepared(folder)
    except HarnessError:
        return
    assert found.architecture == "BertForSequenceClassification"


def test_attention_is_the_one_that_the_table_of_architectures_names(tmp_path: Path, canary: Path) -> None:
    folder = hostile(tmp_path / "model", canary, "config.json", attn_implementation="attacker/kernel")
    model = tasks.load("sequence-classification").model(str(folder), 2, dropout=None)
    assert model.config._attn_implementation == "sdpa"


def test_shards_outside_of_the_folder_are_not_read(tmp_path: Path, canary: Path) -> None:
    outside = hub_cache.model_folder(tmp_path / "outside")
    folder = hub_cache.model_folder(tmp_path / "model")
    names = list(load_file(folder / "model.safetensors"))
    (folder / "model.safetensors").rename(folder / "other.safetensors")
    where = os.path.relpath(outside / "model.safetensors", folder)
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {}, "weight_map": dict.fromkeys(names, where)})
    )
    with pytest.raises(DataError, match="no readable model|outside"):
        prepared(folder)


# --- damaged model folders (F16) -----------------------------------------------------------------------------


def cut(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1_000])


def written(name: str, content: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(content)


def configured(**values: Any) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        said = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(said | values))

    return change


def weighed(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[[Path], object]:
    def rewrite(folder: Path) -> None:
        weights = change(load_file(folder / "model.safetensors"))
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})

    return rewrite


DAMAGES: dict[str, Callable[[Path], object]] = {
    "weights cut": cut,
    "weights of git-lfs": written("model.safetensors", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
    "weights empty": written("model.safetensors", b""),
    "weights with a header of 2^63 bytes": written("model.safetensors", b"\xff" * 8 + b"{}"),
    "weights absent": lambda folder: (folder / "model.safetensors").unlink(),
    "weights of another shape": weighed(lambda found: {name: value[..., :1].clone() for name, value in found.items()}),
    "weights without the encoder": weighed(lambda found: {f"x.{name}": value for name, value in found.items()}),
    "weights of no tensor": weighed(lambda found: {}),
    "config no json": written("config.json", b"{"),
    "config no utf-8": written("config.json", b"\xff\xfe"),
    "config a number": written("config.json", b"3"),
    "config nested too deep": written("config.json", b"[" * 100_000),
    "config without model_type": written("config.json", b"{}"),
    "config of another type": configured(model_type="nope"),
    "config with text for a number": configured(hidden_size="a"),
    "config without width": configured(hidden_size=0),
    "config without heads": configured(num_attention_heads=0),
    "config without layers": configured(num_hidden_layers=-1),
    "config with fewer layers than the file": configured(num_hidden_layers=2),
    "config with a million layers": configured(num_hidden_layers=10**6),
    "config with a vocabulary beyond memory": configured(vocab_size=10**13),
    "config with an unknown activation": configured(hidden_act="nope"),
    "tokenizer no json": written("tokenizer.json", b"{"),
    "tokenizer null": written("tokenizer.json", b"null"),
    "tokenizer nested too deep": written("tokenizer.json", b"[" * 100_000),
    "tokenizer settings a list": written("tokenizer_config.json", b"[]"),
    "no config": lambda folder: (folder / "config.json").unlink(),
    "empty folder": lambda folder: shutil.rmtree(folder) or folder.mkdir(),  # type: ignore[func-returns-value]
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_model_is_refused_before_the_first_trial(damage: str, tmp_path: Path, canary: Path) -> None:
    folder = hub_cache.model_folder(tmp_path / "model")
    DAMAGES[damage](folder)
    with pytest.raises(HarnessError) as refused:
        prepared(folder)
    assert refused.value.exit_code in (65, 78) and str(folder) in str(refused.value)


def test_weights_that_are_not_numbers_are_no_result(tmp_path: Path, canary: Path) -> None:
    folder = hub_cache.model_folder(tmp_path / "model")
    weighed(lambda found: {name: value * np.nan for name, value in found.items()})(folder)
    with pytest.raises(DataError, match="not finite"):
        prepared(folder)

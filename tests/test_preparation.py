"""Before the night a worker reads data and models once, tells what they are, and refuses what no trial could do."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import small_models
import torch

from harness import environment
from harness.builtin.tiny import folder
from harness.data import load
from harness.errors import DataError, SpecError, UnavailableError
from harness.jobs import Demand, Prepared, PrepareJob
from harness.preparation import device_facts, prepare
from harness.spec import DataSpec
from harness.tasks.sequence_classification import SequenceClassification

DATA = {"path": "builtin:reviews", "rows": 300, "train": 100, "validation": 50, "groups": "product"}


def prepared(**changes: Any) -> Prepared:
    job = {"models": ["builtin:tiny"], "demands": [], "metrics": ["loss", "f1", "train_seconds"], **changes}
    return prepare(
        PrepareJob(**{"task": "sequence-classification", "data": DATA, "seed": 1, "with_texts": True, **job})
    )


def damaged_model(tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder(), tmp_path / "model"))


def test_what_is_prepared_is_what_a_trial_loads():
    found = prepared()
    splits = load(DataSpec.model_validate(DATA), SequenceClassification(), 1)
    assert found.fingerprint == splits.fingerprint
    assert found.positive == "positive"
    assert found.splits["train"].labels == {"negative": 50, "positive": 50}
    rows = [(row, text) for row, _, _, text in found.examples["validation"]]
    assert rows == list(zip(splits.validation.rows.tolist(), splits.validation.texts, strict=True))


def test_examples_carry_label_and_group_and_texts_only_if_wanted():
    _, label, group, text = prepared().examples["train"][0]
    assert label in ("negative", "positive") and group and text
    assert {text for *_, text in prepared(with_texts=False).examples["train"]} == {None}


def test_a_model_is_told_by_size_layers_limit_and_hash():
    (model,) = prepared().models
    assert (model.name, model.layers, model.max_positions) == ("builtin:tiny", 4, 256)
    assert 900_000 < model.total_parameters < 1_100_000
    assert len(model.weights_hash) == 64
    assert prepared().models[0].weights_hash == model.weights_hash


@pytest.mark.parametrize(("kind", "fuses"), [("bert", True), ("distilbert", False), ("roberta", False)])
def test_models_are_named_whose_linear_classifiers_train_together(kind: str, fuses: bool, tmp_path: Path):
    """What a seed initialises below the classifier would have to be the same for all of them."""
    path = small_models.model_folder(tmp_path, kind)
    assert prepared(models=[str(path)]).fusing == ({str(path)} if fuses else set())


def test_other_weights_have_another_hash(tmp_path: Path):
    from safetensors.torch import load_file, save_file

    other = damaged_model(tmp_path)
    weights = load_file(other / "model.safetensors")
    weights["bert.encoder.layer.0.output.dense.bias"][0] += 1
    save_file(weights, other / "model.safetensors", metadata={"format": "pt"})
    first, second = prepared(models=["builtin:tiny", str(other)]).models
    assert first.weights_hash != second.weights_hash


def demand(**values: Any) -> Demand:
    return Demand(**{"model": "builtin:tiny", "max_length": 256, "freeze": "top-4", "dtype": "auto", **values})


def test_what_model_and_device_can_just_do_is_accepted():
    assert prepared(demands=[demand(), demand(freeze="gradual", dtype="bf16")]).models


def test_a_max_length_beyond_the_model_is_refused():
    with pytest.raises(SpecError, match="max_length 512 is more than model 'builtin:tiny' can take; at most 256"):
        prepared(demands=[demand(), demand(max_length=512)])


def test_more_layers_than_one_of_the_models_has_are_refused_naming_both(tmp_path: Path):
    small = small_models.model_folder(tmp_path, "bert")  # three layers
    message = rf"freeze: top-4 asks for 4 layers, but model '{small}' has 3; name at most top-3"
    with pytest.raises(SpecError, match=message):
        prepared(models=["builtin:tiny", small], demands=[demand(), demand(model=small, max_length=16)])


def test_half_precision_is_refused_on_a_cpu_before_any_training(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("harness.devices.pick", lambda: torch.device("cpu"))
    with pytest.raises(UnavailableError, match="dtype: fp16 needs a CUDA device.*use bf16, fp32 or auto"):
        prepared(demands=[demand(dtype="fp16")])


def test_a_metric_of_another_task_is_refused_with_the_known_ones():
    with pytest.raises(SpecError, match="'exact_match' is none of sequence-classification; it has .*macro_f1"):
        prepared(metrics=["exact_match"])


def test_an_unknown_built_in_model_is_refused():
    with pytest.raises(SpecError, match="built in are: builtin:tiny"):
        prepared(models=["builtin:tinny"])


def test_a_hub_model_out_of_reach_is_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UnavailableError, match="'someone/some-model'.*HF_HUB_OFFLINE must not be 1"):
        prepared(models=["someone/some-model"])


def cut_weights(model: Path) -> None:
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])


def lfs_pointer(model: Path) -> None:
    (model / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")


def no_weights(model: Path) -> None:
    (model / "model.safetensors").unlink()


def torn_config(model: Path) -> None:
    (model / "config.json").write_text("{")


def torn_tokenizer(model: Path) -> None:
    (model / "tokenizer.json").write_text("{")


def small_embeddings(model: Path) -> None:
    tokenizer = json.loads((model / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"] |= {f"word{i}": len(tokenizer["model"]["vocab"]) + i for i in range(9)}
    (model / "tokenizer.json").write_text(json.dumps(tokenizer))


@pytest.mark.parametrize(
    "damage", [cut_weights, lfs_pointer, no_weights, torn_config, torn_tokenizer, small_embeddings]
)
def test_a_damaged_model_folder_is_refused_before_the_night(damage: Any, tmp_path: Path):
    model = damaged_model(tmp_path)
    damage(model)
    with pytest.raises(DataError, match=r"model"):
        prepared(models=[str(model)])


def test_the_environment_has_versions_and_device_and_no_secret(monkeypatch: pytest.MonkeyPatch):
    for name in ("HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "DATABASE_URL", "HF_HUB_OFFLINE_TOKEN"):
        monkeypatch.setenv(name, "canary-7f3a")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    facts = environment.capture(device_facts())
    assert facts["packages"]["torch"] and facts["packages"]["optuna"]
    assert facts["device"]["kind"] in ("cpu", "cuda")
    assert facts["cores"]["usable"] >= 1 and facts["memory_bytes"] > 0
    assert facts["variables"]["OMP_NUM_THREADS"] == "1"
    assert "canary-7f3a" not in json.dumps(facts)


def test_a_folder_outside_of_git_has_no_commit(tmp_path: Path):
    assert environment.git_state(tmp_path) == {}


def test_a_commit_and_its_changes_are_told(tmp_path: Path):
    import subprocess

    def git(*arguments: str) -> None:
        subprocess.run(
            ["git", "-C", str(tmp_path), "-c", "user.name=A", "-c", "user.email=a@b", *arguments], check=True
        )

    git("init", "-q")
    (tmp_path / "study.yaml").write_text("study: a\n")
    git("add", ".")
    git("commit", "-qm", "first")
    assert len(environment.git_state(tmp_path)["commit"]) == 40
    assert environment.git_state(tmp_path)["changed"] is False
    (tmp_path / "study.yaml").write_text("study: b\n")
    assert environment.git_state(tmp_path)["changed"] is True

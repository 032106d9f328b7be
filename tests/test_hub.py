"""A study keeps the commit that it was begun with, and loads no file that can run code."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import hub_cache
import pytest
import small_models
from hub_cache import FIRST, SECOND
from nights import STUDY, Night, worker_of

from harness.builtin.tiny import folder
from harness.configuration import Objective, TrialConfig
from harness.errors import DataError, SpecError, UnavailableError, UsageError
from harness.hub import Located, locate
from harness.jobs import ModelSummary, PrepareJob, TrialJob
from harness.preparation import prepare
from harness.records import TrialFacts
from harness.spec import parse_study
from harness.tasks.sequence_classification import SequenceClassification
from harness.trial import Control, Warm, run

MODEL = "someone/tiny"
DATA = {"path": "builtin:reviews", "rows": 120, "train": 40, "validation": 40}


@pytest.fixture(scope="module")
def commits(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two commits of a model, with other weights in each."""
    place = tmp_path_factory.mktemp("commits")
    return {c: hub_cache.model_folder(place / c, shift) for c, shift in ((FIRST, 0.0), (SECOND, 0.5))}


@pytest.fixture
def cache(tmp_path: Path, commits: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache of a machine without network, in which the main branch is at the first commit."""
    hub_cache.lay_out(tmp_path / "hub", MODEL, commits)
    hub_cache.point(tmp_path / "hub", MODEL, "main", FIRST)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def prepared(model: str = MODEL, pinned: str | None = None) -> ModelSummary:
    job = PrepareJob(
        task="sequence-classification", data=DATA, seed=1, models=[model], demands=[], metrics=["loss"],
        with_texts=False, revisions={MODEL: pinned} if pinned else {},
    )  # fmt: skip
    return prepare(job).models[0]


def facts(tmp_path: Path, model: str, revision: str | None, warm: Warm | None = None) -> TrialFacts:
    config = TrialConfig(model=model, epochs=1, batch_size=40, max_length=16, dtype="fp32")
    job = TrialJob(
        trial=1, task="sequence-classification", data=DATA, data_seed=1, config=config, seed=1, fold=None,
        objective=Objective(), folder=str(tmp_path / "trial"), keep=False, revision=revision,
    )  # fmt: skip
    return next(e for e in run(job, warm or Warm(small_models.CPU), Control()) if isinstance(e, TrialFacts))


# --- pinned ---------------------------------------------------------------------------------------------


def test_the_commit_found_is_kept_although_the_branch_moves_on(cache: Path) -> None:
    begun = prepared()
    hub_cache.point(cache, MODEL, "main", SECOND)
    assert begun.revision == FIRST
    assert prepared(pinned=FIRST) == begun
    newest = prepared()
    assert newest.revision == SECOND
    assert newest.weights_hash != begun.weights_hash


def test_a_trial_loads_the_commit_of_its_job_and_not_the_newest(cache: Path, tmp_path: Path) -> None:
    begun = prepared()
    hub_cache.point(cache, MODEL, "main", SECOND)
    warm = Warm(small_models.CPU)
    found = facts(tmp_path, MODEL, FIRST, warm)
    assert (found.model_revision, found.weights_hash) == (FIRST, begun.weights_hash)
    other = facts(tmp_path / "other", MODEL, SECOND, warm)  # what is warm is not mistaken for it
    assert (other.model_revision, other.weights_hash) == (SECOND, prepared().weights_hash)


def test_a_name_can_ask_for_a_revision(cache: Path) -> None:
    hub_cache.point(cache, MODEL, "refs/pr/1", SECOND)
    assert locate(f"{MODEL}@refs/pr/1").commit == SECOND
    assert locate(f"{MODEL}@{SECOND}").commit == SECOND
    assert locate(MODEL).commit == FIRST


def test_a_commit_that_is_nowhere_is_named_with_the_remedy(cache: Path) -> None:
    with pytest.raises(UnavailableError, match=f"'{MODEL}' at commit 3{{40}}.*HF_HUB_OFFLINE must not be 1"):
        locate(MODEL, "3" * 40)
    with pytest.raises(UnavailableError, match="'someone/tiny@nowhere'.*revision"):
        locate(f"{MODEL}@nowhere")


def test_a_folder_has_no_commit_even_with_an_at_in_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub_cache.model_folder(tmp_path / "tiny@home")
    monkeypatch.chdir(tmp_path)
    assert locate("tiny@home") == Located("tiny@home", None)
    assert locate("builtin:tiny") == Located(folder(), None)


@pytest.mark.parametrize("name", ["bert@", "bert@a@b", "bert@a//b", "someone/bert@a b"])
def test_a_study_file_with_half_a_revision_is_refused(name: str) -> None:
    with pytest.raises(SpecError, match=r"model must have a branch, tag or commit behind @, got .*; .*@main, say"):
        parse_study(STUDY, [f"model={name}"])


@pytest.mark.parametrize("name", ["bert@v1.0", "someone/bert@refs/pr/1", "/models/a@b@c", "./a@"])
def test_revisions_and_folders_are_accepted_as_models(name: str) -> None:
    assert parse_study(STUDY, [f"model={name}"]).spec.models() == (name,)


# --- downloaded -----------------------------------------------------------------------------------------


def test_the_newest_commit_is_downloaded_without_pickles_and_read_again_without_a_request(
    tmp_path: Path, commits: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in commits.values():
        (place / "pytorch_model.bin").write_bytes(b"code")
    branches = {"main": FIRST}
    with hub_cache.server(MODEL, commits, branches) as (address, asked):
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
        urls = f"{address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", urls)
        found = locate(MODEL)
        assert found.commit == FIRST
        weights = (Path(found.path) / "model.safetensors").read_bytes()
        assert weights == (commits[FIRST] / "model.safetensors").read_bytes()
        assert not [path for path in asked if path.endswith(".bin")]
        branches["main"] = SECOND
        asked.clear()
        assert locate(MODEL, FIRST) == found
        assert asked == []
        assert locate(MODEL).commit == SECOND


# --- what can run code ----------------------------------------------------------------------------------


class Canary:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def only_pickled(place: Path, canary: Path) -> Path:
    """A model's folder whose weights are in a pickle that runs code."""
    hub_cache.model_folder(place)
    (place / "model.safetensors").unlink()
    (place / "pytorch_model.bin").write_bytes(pickle.dumps(Canary(canary)))
    return place


def test_a_folder_without_safetensors_is_refused_and_nothing_is_unpickled(tmp_path: Path) -> None:
    model = only_pickled(tmp_path / "model", tmp_path / "canary")
    with pytest.raises(DataError, match=r"holds no \*.safetensors.*Convert them once with `save_pretrained`"):
        prepared(str(model))
    with pytest.raises(OSError, match="safetensors"):
        SequenceClassification().model(str(model), 2, dropout=None)
    assert not (tmp_path / "canary").exists()


def test_a_hub_model_without_safetensors_is_refused_with_the_way_out(cache: Path, tmp_path: Path) -> None:
    hub_cache.lay_out(cache, "someone/old", {FIRST: only_pickled(tmp_path / "old", tmp_path / "canary")})
    hub_cache.point(cache, "someone/old", "main", FIRST)
    with pytest.raises(DataError, match=rf"'someone/old': commit {FIRST}.*name a revision.*someone/old@REVISION"):
        prepared("someone/old")


@pytest.mark.parametrize("value", ["1", "true"])
def test_no_weights_are_loaded_where_the_environment_lets_files_run_code(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", value)
    with pytest.raises(UsageError, match=f"TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD is {value}.*unset it"):
        prepared("builtin:tiny")
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "0")
    assert prepared("builtin:tiny").revision is None


# --- a whole study --------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_study_that_goes_on_later_keeps_the_weights_that_it_began_with(
    tmp_path: Path, commits: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "home" / "hub"
    hub_cache.lay_out(cache, MODEL, commits)
    hub_cache.point(cache, MODEL, "main", FIRST)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    night = Night(tmp_path, STUDY.replace("builtin:tiny", MODEL).replace("epochs: 12", "epochs: 2"))
    night.within = ["env"]  # an interpreter of its own: HF_HOME is read once
    assert night.run("--set", "replicates=1")[0] == 0
    hub_cache.point(cache, MODEL, "main", SECOND)
    code, output = night.run("--set", "replicates=2")
    assert code == 0, output
    found = [tuple(row) for row in night.rows("SELECT name, revision FROM harness_model")]
    assert found == [(MODEL, FIRST)]
    loaded = night.rows("SELECT json_extract(done, '$.model_revision') FROM harness_trial")
    assert [row[0] for row in loaded] == [FIRST] * 6


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_hub_that_goes_away_once_all_is_fetched_is_not_missed_even_by_a_new_worker(
    tmp_path: Path, commits: dict[str, Path]
) -> None:
    night = Night(tmp_path, STUDY.replace("builtin:tiny", MODEL).replace("epochs: 12", "epochs: 2"))
    environment = {name: value for name, value in os.environ.items() if name not in ("HF_HUB_OFFLINE", "HF_HUB_CACHE")}
    environment |= {"HF_HOME": str(tmp_path / "home"), "CUDA_VISIBLE_DEVICES": ""}
    with hub_cache.server(MODEL, commits, {"main": FIRST}) as (address, asked), open(tmp_path / "said", "w") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "harness", "run", "night.yaml"], cwd=tmp_path, stdout=said, stderr=said,
            env={**environment, "HF_ENDPOINT": address},
        )  # fmt: skip
        night.wait_for(process, lambda: bool(night.rows("SELECT 1 FROM harness_trial WHERE state = 'running'")))
        os.kill(worker_of(process.pid), signal.SIGKILL)  # what it has in memory is gone with it
        assert [path for path in asked if path.endswith("/model.safetensors")] != []
        assert night.rows("SELECT count(*) FROM harness_trial WHERE state = 'complete'") == [(0,)]
        asked.clear()
    code = process.wait(300)
    assert code == 0, (tmp_path / "said").read_text()
    assert asked == []
    assert night.rows("SELECT DISTINCT state, json_extract(done, '$.model_revision') FROM harness_trial") == [
        ("complete", FIRST)
    ]
    assert night.rows("SELECT kind FROM harness_incident") == [("worker_died",)]

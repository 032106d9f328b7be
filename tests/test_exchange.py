"""What other tools read of an exported study, by their own readers."""

from __future__ import annotations

import dataclasses
import json
import math
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from report_study import add_trial, curve, epoch, facts, prepared, study_file
from typer.testing import CliRunner

from harness.cli import app
from harness.configuration import TrialConfig
from harness.errors import UnavailableError, UsageError
from harness.exchange import mlflow, tensorboard, wandb
from harness.exchange.runs import Point, Run, runs_of, seconds_of
from harness.records import MetricValue, TrialOutcome
from harness.results import frames
from harness.results.engine import open_engine
from harness.results.store import Store

# MLflow's own queries use what SQLAlchemy 2.1 deprecates
pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")

CONFIG = TrialConfig(model="builtin:tiny", epochs=3, batch_size=8, max_length=32, learning_rate=1e-3)
LONG = "a long message " * 5000


@pytest.fixture(scope="module")
def database(tmp_path_factory) -> Path:
    """Two replicates, a failed trial with a loss that is not a number, a pruned one, one that has not ended."""
    path = tmp_path_factory.mktemp("exchange") / "results.db"
    with Store.open(path) as store:
        study = store.create_study(study_file("reviews"))
        store.record_prepared(study, prepared())
        with store.hold(study):
            add_trial(store, study, CONFIG, "overfitting", seed=42)
            add_trial(store, study, CONFIG, "overfitting", seed=43)
            _diverged(store, study)
            add_trial(store, study, dataclasses.replace(CONFIG, batch_size=16), state="pruned", message=LONG)
            store.add_trial(study, dataclasses.replace(CONFIG, batch_size=32), 42, 0, None, "sampled")
    return path


def _diverged(store: Store, study: int) -> None:
    config = dataclasses.replace(CONFIG, learning_rate=1.0)
    trial = store.add_trial(study, config, 42, 0, None, "sampled")
    store.start_trial(trial.id, "local-0", store.record_environment({"python": "3.12", "packages": {"torch": "2.11"}}))
    store.record_facts(trial.id, facts(config, batch_size=4))
    store.record_epoch(trial.id, epoch(1, 0.5, 0.7, config))
    second = epoch(2, 0.6, 0.8, config)
    broken = tuple(m for m in second.metrics if m.name != "loss") + (MetricValue("validation", "loss", math.nan),)
    store.record_epoch(trial.id, dataclasses.replace(second, metrics=(*broken, MetricValue("train", "loss", math.inf))))
    store.finish_trial(trial.id, TrialOutcome("failed", "diverged", "training loss was inf at step 71"))


@pytest.fixture(scope="module")
def runs(database) -> list[Run]:
    return runs_of(open_engine(database, read_only=True), "reviews").finished


@pytest.fixture(scope="module")
def connections() -> Iterator[list[Any]]:
    """Whom the libraries connect to while they write: addresses of the internet are refused and remembered."""
    asked: list[Any] = []
    original = socket.socket.connect

    def connect(self: socket.socket, address: Any) -> None:
        if self.family != socket.AF_UNIX:
            asked.append(address)
            raise OSError("no network in this test")
        original(self, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", connect)
        yield asked


def losses(kind: str = "overfitting") -> tuple[list[float], list[float]]:
    train, validation = zip(*curve(kind, 3), strict=True)
    return list(train), list(validation)


# --- what is taken along ----------------------------------------------------------------------------------


def test_only_trials_that_have_ended_are_runs(database, runs):
    assert [run.state for run in runs] == ["complete", "complete", "failed", "pruned"]
    assert runs_of(open_engine(database, read_only=True), "reviews").unfinished == 1


def test_a_trial_has_the_same_key_in_every_export_and_no_other_has_it(database, runs):
    again = runs_of(open_engine(database, read_only=True), "reviews").finished
    assert [run.key for run in again] == [run.key for run in runs]
    assert len({run.key for run in runs}) == 4


def test_what_was_run_is_exported_and_what_was_asked_where_it_differs(runs):
    assert (runs[2].parameters["batch_size"], runs[2].tags["asked.batch_size"]) == (4, "8")
    assert "asked.batch_size" not in runs[0].tags


def test_replicates_name_each_other(runs):
    assert (runs[0].tags["repeated_by"], runs[1].tags["repeated_by"]) == ("reviews:1", "reviews:0")
    assert (runs[0].parameters["seed"], runs[1].parameters["seed"]) == (42, 43)
    assert "repeated_by" not in runs[2].tags


def test_what_is_not_finite_is_said_in_words(runs):
    assert [point.value for point in runs[2].curves["validation/loss"]] == [0.7]
    assert runs[2].tags["not_finite"] == "train/loss of epoch 2 is +inf; validation/loss of epoch 2 is nan"
    assert all(math.isfinite(p.value) for run in runs for points in run.curves.values() for p in points)


@pytest.mark.parametrize(
    ("group", "name"), [("german", "german"), ("a/b", "a_2f_b"), ("..", "_2e_"), ("100 %", "100 _25_"), ("", "")]
)
def test_a_group_of_any_name_makes_a_name_that_no_tool_refuses(group, name):
    from mlflow.utils.validation import _validate_metric_name

    from harness.exchange.runs import metric_name

    made = metric_name({"split": "validation", "name": "f1", "group": group})
    assert made == ("validation/f1/" + name if name else "validation/f1")
    _validate_metric_name(made)


# --- TensorBoard --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def events(runs, tmp_path_factory, connections) -> list[Path]:
    return tensorboard.write(runs, tmp_path_factory.mktemp("tensorboard") / "reviews")


def read_events(path: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(path.parent))
    read.Reload()
    return read


def test_tensorboard_reads_every_curve_by_epoch_with_its_times(database, events):
    read = read_events(events[0])
    train, validation = losses()
    for name, expected in (("train/loss", train), ("validation/loss", validation)):
        found = read.Scalars(name)
        assert [point.step for point in found] == [1, 2, 3]
        assert [point.value for point in found] == pytest.approx(expected)
    records = frames.epoch_records(open_engine(database, read_only=True), "reviews")
    recorded = [seconds_of(at) for at in records[records["trial"] == 0]["recorded_at"]]
    assert [point.wall_time for point in read.Scalars("validation/loss")] == pytest.approx(recorded, abs=1e-6)


def test_tensorboard_knows_hyperparameters_and_how_a_trial_ended(events):
    from tensorboard.plugins.hparams import api_pb2, metadata

    found = []
    for path in events:
        read = read_events(path)
        content = read.summary_metadata
        begun = metadata.parse_session_start_info_plugin_data(
            content[metadata.SESSION_START_INFO_TAG].plugin_data.content
        )
        ended = metadata.parse_session_end_info_plugin_data(content[metadata.SESSION_END_INFO_TAG].plugin_data.content)
        found.append((begun.hparams["batch_size"].number_value, begun.group_name, api_pb2.Status.Name(ended.status)))
    assert found == [
        (8, "reviews: configuration 0", "STATUS_SUCCESS"),
        (8, "reviews: configuration 0", "STATUS_SUCCESS"),
        (4, "reviews: configuration 1", "STATUS_FAILURE"),
        (16, "reviews: configuration 2", "STATUS_FAILURE"),
    ]
    tags = read_events(events[2]).Tensors("harness")[0]
    assert b"| state | failed |" in tags.tensor_proto.string_val[0]


def test_a_second_export_for_tensorboard_changes_no_byte(runs, events):
    before = {path: path.read_bytes() for path in events}
    tensorboard.write(runs, events[0].parent.parent)
    found = [path for path in events[0].parent.parent.rglob("*") if path.is_file()]
    assert {path: path.read_bytes() for path in found} == before


# --- W&B ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def offline(runs, tmp_path_factory, connections) -> list[Path]:
    return wandb.write(runs, tmp_path_factory.mktemp("wandb"))


def read_offline(folder: Path) -> list[dict[str, Any]]:
    """The records of a folder as W&B's own program reads them."""
    from wandb.util import get_core_path

    log = next(folder.glob("run-*.wandb"))
    command = [get_core_path(), "leet", "inspect", "--no-observability", "--json", "--run-file", str(log)]
    done = subprocess.run([*command, str(folder.parent)], capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def of_kind(records: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [record[kind] for record in records if record["type"] == kind]


def test_wandb_reads_every_curve_by_epoch_with_its_times(runs, offline):
    history = [item["item"] for item in of_kind(read_offline(offline[0]), "history")]
    train, validation = losses()
    assert [item["epoch"] for item in history] == [item["_step"] for item in history] == [1, 2, 3]
    assert [item["train/loss"] for item in history] == train
    assert [item["validation/loss"] for item in history] == validation
    at = [point.at for point in runs[0].curves["train/loss"]]
    assert [item["_timestamp"] for item in history] == pytest.approx(at, abs=1e-3)


def test_wandb_knows_what_a_run_was_when_it_began_and_how_it_ended(runs, offline):
    found = []
    for run, folder in zip(runs, offline, strict=True):
        records = read_offline(folder)
        opening, config = of_kind(records, "run")[0], of_kind(records, "run")[0]["config"]["update"]
        assert (opening["run_id"], opening["project"]) == (run.key, "reviews")
        assert seconds_of(opening["start_time"]) == pytest.approx(run.begun, abs=1e-5)
        found.append((config["batch_size"], config["harness"]["state"], opening["run_group"]))
        code = of_kind(records, "exit")[0].get("exit_code", 0)
        assert code == {"complete": 0, "failed": 1, "pruned": 255}[run.state]
    assert found == [
        (8, "complete", "configuration 0"),
        (8, "complete", "configuration 0"),
        (4, "failed", "configuration 1"),
        (16, "pruned", "configuration 2"),
    ]


def test_wandb_reads_records_that_are_longer_than_a_block_of_its_log(offline):
    opening = of_kind(read_offline(offline[3]), "run")[0]
    assert len(LONG) > 2 * wandb.BLOCK
    assert opening["config"]["update"]["harness"]["message"] == LONG


@pytest.mark.parametrize("room", range(10))
def test_wandb_reads_a_log_whose_record_ends_near_the_end_of_a_block(runs, tmp_path, room):
    [folder] = wandb.write([dataclasses.replace(runs[0], tags={})], tmp_path / "short")
    size = next(folder.glob("run-*.wandb")).stat().st_size
    assert size < wandb.BLOCK
    tags = {"x": "x" * (2 * wandb.BLOCK - size - room)}
    [folder] = wandb.write([dataclasses.replace(runs[0], tags=tags)], tmp_path / "long")
    records = read_offline(folder)
    assert of_kind(records, "run")[0]["config"]["update"]["harness"] == tags
    assert [record["type"] for record in records][-2:] == ["summary", "exit"]


def test_a_second_export_for_wandb_leaves_the_first_and_its_mark_of_upload(runs, offline):
    log = next(offline[0].glob("run-*.wandb"))
    mark, before = log.with_name(log.name + ".synced"), log.stat().st_mtime_ns
    mark.touch()
    assert wandb.write(runs, offline[0].parent) == offline
    assert log.stat().st_mtime_ns == before
    changed = [dataclasses.replace(runs[0], finals={"final/objective": 0.1})]
    with pytest.raises(UsageError, match="was uploaded with other figures"):
        wandb.write(changed, offline[0].parent)
    mark.unlink()


# --- MLflow -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def store_of_mlflow(runs, tmp_path_factory, connections) -> Path:
    folder = tmp_path_factory.mktemp("mlflow")
    mlflow.write(runs, folder)
    mlflow.write(runs, folder)
    return folder


def client_of(folder: Path) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=f"sqlite:///{folder / mlflow.FILE}")


def read_runs(folder: Path) -> list[Any]:
    client = client_of(folder)
    found = client.search_runs([client.get_experiment_by_name("reviews").experiment_id])
    return sorted(found, key=lambda run: run.info.run_name)


def test_mlflow_has_each_trial_once_after_two_exports(runs, store_of_mlflow):
    found = read_runs(store_of_mlflow)
    assert [run.info.run_name for run in found] == ["reviews:0", "reviews:1", "reviews:2", "reviews:3"]
    assert [run.info.status for run in found] == ["FINISHED", "FINISHED", "FAILED", "KILLED"]
    assert [run.info.start_time for run in found] == [round(1000 * run.begun) for run in runs]
    assert [run.info.end_time for run in found] == [round(1000 * run.ended) for run in runs]


def test_mlflow_reads_every_curve_by_epoch_with_its_times(runs, store_of_mlflow):
    read = read_runs(store_of_mlflow)[0]
    history = client_of(store_of_mlflow).get_metric_history(read.info.run_id, "validation/loss")
    assert [(point.step, point.value) for point in history] == list(enumerate(losses()[1], start=1))
    at = [round(1000 * point.at) for point in runs[0].curves["validation/loss"]]
    assert [point.timestamp for point in history] == at


def test_mlflow_knows_parameters_figures_and_tags(store_of_mlflow):
    failed = read_runs(store_of_mlflow)[2]
    assert (failed.data.params["learning_rate"], failed.data.params["batch_size"]) == ("1.0", "4")
    assert failed.data.metrics["final/validation/loss"] == 0.7
    assert failed.data.metrics["validation/loss"] == 0.7
    tags = {name: failed.data.tags[f"harness.{name}"] for name in ("state", "reason", "environment.packages.torch")}
    assert tags == {"state": "failed", "reason": "diverged", "environment.packages.torch": "2.11"}


def test_a_run_that_is_another_by_now_takes_the_place_of_the_old_one(runs, store_of_mlflow):
    changed = dataclasses.replace(runs[0], curves={"train/loss": [Point(1, runs[0].begun, 0.25)]})
    mlflow.write([changed], store_of_mlflow)
    found = read_runs(store_of_mlflow)
    assert [run.info.run_name for run in found] == ["reviews:0", "reviews:1", "reviews:2", "reviews:3"]
    assert found[0].data.metrics["train/loss"] == 0.25


# --- all of them --------------------------------------------------------------------------------------------


def test_no_library_asks_for_the_network(events, offline, store_of_mlflow, connections):
    assert connections == []
    with pytest.raises(OSError, match="no network"):
        socket.create_connection(("127.0.0.1", 9))
    connections.clear()


def test_the_command_says_what_was_written_what_to_do_with_it_and_what_was_left_out(database, tmp_path):
    arguments = ["export", "reviews", "--db", str(database), "--format", "tensorboard", "--out", str(tmp_path)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert f"4 runs; tensorboard --logdir {tmp_path / 'tensorboard'}" in done.output
    assert "1 trial has not ended yet and will come with a later export" in done.output
    assert len(list((tmp_path / "tensorboard" / "reviews").glob("trial-*/events.out.tfevents.*"))) == 4


@pytest.mark.parametrize(
    ("write", "module", "extra"),
    [
        (tensorboard.write, "tensorboard.summary.writer.record_writer", "tensorboard"),
        (wandb.write, "wandb.proto", "wandb"),
        (mlflow.write, "mlflow", "mlflow"),
    ],
)
def test_a_missing_library_is_named_with_its_extra(write, module, extra, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, module, None)
    with pytest.raises(UnavailableError, match=rf'pip install "\.\[{extra}\]"'):
        write([], tmp_path)

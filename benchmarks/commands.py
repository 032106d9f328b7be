"""Both sides as commands: started, timed from outside from start to end, their results read."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.cases import Configuration, Shape, study_text
from harness.environment import usable_cores
from harness.hub import locate

ROOT = Path(__file__).parent.parent


class Ours(NamedTuple):
    """A way of running our side: flags of `harness run`, and what the study file says beside the configurations."""

    flags: tuple[str, ...] = ()
    study: Mapping[str, Any] = {}


OURS = {
    "ours": Ours(),
    "ours-dropout": Ours(study={"frozen_mode": "dropout"}),
    "ours-no-cache": Ours(("--no-cache",)),
    "ours-exact": Ours(("--exact",)),
}
BASELINES = ("B0", "B1", "B2")
SIDES = (*OURS, *BASELINES)
TAIL = 2_000
RESULTS = """
    SELECT s.seed AS seed, e.validation_loss AS validation_loss, e.accuracy AS accuracy
    FROM harness_epoch e JOIN harness_summary s ON s.study = e.study AND s.trial = e.trial
    WHERE s.state = 'complete' AND e.epoch = (
        SELECT max(epoch) FROM harness_epoch l WHERE l.study = e.study AND l.trial = e.trial)
    ORDER BY e.trial
"""


class CommandFailed(RuntimeError):
    """A side that did not end well: its benchmark means nothing."""


@dataclass(frozen=True)
class Rows:
    """Exported rows: the folder that both sides read, and how many it holds."""

    folder: Path
    train: int
    validation: int


@dataclass(frozen=True)
class Options:
    """What all commands of one benchmark share."""

    model: str
    workers: int
    steps: int
    warm_steps: int
    evaluation_batches: int


def timed(command: Sequence[str], folder: Path, more: Mapping[str, str] | None = None) -> float:
    """Seconds of a whole command.

    Args:
        command: its words.
        folder: where it works.
        more: environment variables beside those of this process.

    Raises:
        CommandFailed: with the end of what it printed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "output.log"
    # Rows are read and tokenised anew every time: no cache of an earlier run may help.
    environment = os.environ | {"HF_DATASETS_CACHE": str(folder / "datasets"), "PYTHONPATH": str(ROOT)}
    environment |= more or {}
    with log.open("wb") as stream:
        began = time.perf_counter()
        done = subprocess.run(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT,
            check=False,
        )  # fmt: skip
        seconds = time.perf_counter() - began
    if done.returncode != 0:
        tail = log.read_bytes()[-TAIL:].decode(errors="replace")
        raise CommandFailed(f"{' '.join(command)} ended with {done.returncode}:\n{tail}")
    return seconds


# --- ours ------------------------------------------------------------------------------------------


def run_ours(
    side: str, configurations: Sequence[Configuration], rows: Rows, options: Options, folder: Path,
    seeds: Sequence[int] = (42,), cache: Path | None = None,
) -> dict[str, Any]:  # fmt: skip
    """`harness run` on a fresh database.

    Args:
        side: one of `OURS`.
        configurations: the trials.
        rows: what they train on.
        options: model and workers.
        folder: new folder of this run.
        seeds: of every configuration.
        cache: an earlier run's cache folder, which is copied first; the copying is not timed.

    Returns:
        seconds, and `results` of every trial after its last epoch.
    """
    folder.mkdir(parents=True)
    if cache is not None and cache.exists():
        shutil.copytree(cache, cache_of(folder))
    study = folder / "study.yaml"
    text = study_text("benchmark", configurations, rows.folder, options.model, seeds, OURS[side].study)
    study.write_text(text, "utf-8")
    command = [sys.executable, "-m", "harness", "run", str(study), "--db", str(folder / "results.db")]
    seconds = timed([*command, "--workers", str(options.workers), *OURS[side].flags], folder)
    return {"seconds": seconds, "results": results_of(folder / "results.db", len(configurations) * len(seeds))}


def cache_of(folder: Path) -> Path:
    """Where a run in that folder keeps states of frozen prefixes."""
    return folder / "results.files" / "cache"


def results_of(database: Path, trials: int) -> list[dict[str, float]]:
    """Validation loss and accuracy of each trial after its last epoch.

    Raises:
        CommandFailed: when not all trials are complete.
    """
    with closing(sqlite3.connect(database)) as connection:
        connection.row_factory = sqlite3.Row
        found = [dict(row) for row in connection.execute(RESULTS)]
    if len(found) != trials:
        raise CommandFailed(f"{len(found)} of {trials} trials are complete in {database}")
    return found


# --- the Trainer -----------------------------------------------------------------------------------


def run_baseline(
    side: str, configurations: Sequence[Configuration], rows: Rows, options: Options, folder: Path,
    seeds: Sequence[int] = (42,),
) -> dict[str, Any]:  # fmt: skip
    """The whole Optuna loop of a baseline; what it gives is what `run_ours` gives."""
    replayed = [asdict(each) | {"seed": seed} for each in configurations for seed in seeds]
    job = baseline_job(side, rows, options, folder, configurations[0].max_length) | {"configurations": replayed}
    seconds, results = run_job("benchmarks.baselines", job, folder)
    return {"seconds": seconds, "results": results}


def replay(
    side: str, configurations: Sequence[Configuration], rows: Rows, options: Options, folder: Path, seeds: Sequence[int]
) -> list[dict[str, float]]:
    """What `run_baseline` gives, but for the time: as many processes as our side has workers share the trials."""
    replayed = [asdict(each) | {"seed": seed} for each in configurations for seed in seeds]
    processes = min(options.workers, len(replayed))
    threads = {"OMP_NUM_THREADS": str(max(1, usable_cores() // processes))} if processes > 1 else {}

    def share(number: int) -> Any:
        place = folder / str(number)
        job = baseline_job(side, rows, options, place, configurations[0].max_length)
        job |= {"configurations": replayed[number::processes]}
        return run_job("benchmarks.baselines", job, place, threads)[1]

    found: list[dict[str, float]] = [{}] * len(replayed)
    with ThreadPoolExecutor(processes) as pool:
        for number, results in enumerate(pool.map(share, range(processes))):
            found[number::processes] = results
    return found


def run_slices(side: str, shapes: Sequence[Shape], rows: Rows, options: Options, folder: Path) -> dict[str, Any]:
    """Raw times of a baseline, as `extrapolation.py` reads them."""
    job = baseline_job(side, rows, options, folder, shapes[0].max_length) | {
        "shapes": [list(shape) for shape in shapes],
        "steps": options.steps,
        "warm_steps": options.warm_steps,
        "evaluation_batches": options.evaluation_batches,
        "began": time.time(),
    }
    _, found = run_job("benchmarks.slices", job, folder)
    return found | {"teardown": max(0.0, time.time() - found.pop("ended"))}


def baseline_job(side: str, rows: Rows, options: Options, folder: Path, max_length: int) -> dict[str, Any]:
    """What every job of a baseline says."""
    return {
        "variant": side,
        "data": str(rows.folder),
        "model": locate(options.model).path,
        "max_length": max_length,
        "output": str(folder / "checkpoints"),
        "out": str(folder / "out.json"),
    }


def run_job(
    module: str, job: Mapping[str, Any], folder: Path, environment: Mapping[str, str] | None = None
) -> tuple[float, Any]:
    """Seconds of `python -m MODULE JOB.json`, and what it wrote."""
    folder.mkdir(parents=True)
    path = folder / "job.json"
    path.write_text(json.dumps(job), "utf-8")
    seconds = timed([sys.executable, "-m", module, str(path)], folder, environment)
    return seconds, json.loads(Path(job["out"]).read_text("utf-8"))

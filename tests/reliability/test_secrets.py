"""Twenty planted secrets and nights that end in ten ways: no output, no file and no page of the database has one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import hub_cache
import pytest
from forked_nights import STUDY, ForkedNight
from forking import Zygote, zygote
from nights import Night
from safetensors.torch import load_file, save_file

from harness.environment import without_secrets
from harness.executors.local import LocalExecutor
from harness.report.build import build
from harness.results.text import scrub

# Made up, each in the shape that its kind of secret has; what has no shape of its own is told by where it stands.
HUB, GITHUB, SLACK = "hf_" + "CanaryHub" * 3, "ghp_" + "CanaryGit" * 4, "xoxb-" + "1234567890-CanarySlack"
AWS_ID, AWS_KEY = "AKIA" + "CANARY0123456789", "canaryAwsKey/0123456789+abcdefghijklmnop"
OPENAI, JWT = "sk-" + "CanaryOpen" * 3, "eyJ" + "CanaryHeader" + ".eyJCanaryBody." + "CanarySignature"
KEY = "-----BEGIN RSA PRIVATE KEY-----\nCanaryPrivateKeyBody0123456789\n-----END RSA PRIVATE KEY-----"
ENVIRONMENT = {
    "HF_TOKEN": HUB,
    "GITHUB_TOKEN": GITHUB,
    "AWS_ACCESS_KEY_ID": AWS_ID,
    "AWS_SECRET_ACCESS_KEY": AWS_KEY,
    "OPENAI_API_KEY": OPENAI,
    "SLACK_BOT_TOKEN": SLACK,
    "CI_JOB_JWT": JWT,
    "DEPLOY_KEY": KEY,
    "PGPASSWORD": "canary-pgpassword-01",
    "DATABASE_URL": "postgresql://canary:canary-database-url-02@db.example/x",
    "MY_PASSWORD": "canary-password-03",
    "WANDB_API_KEY": "canary0wandb0key04",
    "AZURE_CLIENT_SECRET": "canary-azure-secret-05",
    "SMTP_PASSWD": "canary-smtp-06",
    "KAGGLE_KEY": "canary-kaggle-key-07",
}
FILES = {".netrc": "canary-netrc-08", "hf/token": "hf_" + "CanaryFile" * 3}
ARGUMENTS = {"url": "canary-argument-09", "server": "canary-server-10", "model": "canary-model-11"}
BODIES = {"DEPLOY_KEY": "CanaryPrivateKeyBody0123456789", "DATABASE_URL": "canary-database-url-02"}
SECRETS = [BODIES.get(name, secret) for name, secret in ENVIRONMENT.items()] + [*FILES.values(), *ARGUMENTS.values()]

SLOW = STUDY.replace("rows: 64", "rows: 640").replace("epochs: 3", "epochs: 60")
HUNG = SLOW + "watchdog: 0.0005\n"
DIVERGED = STUDY.replace("builtin:tiny", "./huge")


def test_there_are_twenty_secrets() -> None:
    assert len(set(SECRETS)) == 20


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home folder and an environment full of secrets."""
    home = tmp_path_factory.mktemp("home")
    (home / "hf").mkdir()
    (home / ".netrc").write_text(f"machine huggingface.co login me password {FILES['.netrc']}\n")
    (home / ".netrc").chmod(0o600)
    (home / "hf" / "token").write_text(FILES["hf/token"])
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**ENVIRONMENT, "HOME": str(home), "HF_HOME": str(home / "hf")}.items():
            patch.setenv(name, value)
        yield home


@pytest.fixture(scope="module")
def mother(planted: Path) -> Iterator[Zygote]:
    with zygote() as one:
        yield one


def ended(night: ForkedNight, *arguments: str) -> int:
    """Exit code of `harness run` with these arguments."""
    return night.end(night.begin(arguments=["run", "night.yaml", *arguments]))


def huge(folder: Path) -> None:
    """Weights that are numbers, and from which none is computed."""
    weights = {name: value.float() for name, value in load_file(folder / "model.safetensors").items()}
    weights["bert.encoder.layer.0.output.dense.bias"].fill_(3e38)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def leaks(folder: Path) -> list[tuple[str, str]]:
    """Which file holds which secret; of a database every byte is looked at, free pages included."""
    found = []
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            content = path.read_bytes()
            found += [(str(path.relative_to(folder)), secret) for secret in SECRETS if secret.encode() in content]
    return found


def test_a_secret_in_a_file_would_be_found(tmp_path: Path) -> None:
    for number, secret in enumerate(SECRETS):
        (tmp_path / str(number)).write_bytes(b"\0" * 5_000 + secret.encode())
    assert len(leaks(tmp_path)) == 20


@pytest.mark.timeout(300)
def test_a_night_that_succeeds_and_its_report_hold_no_secret(mother: Zygote, tmp_path: Path) -> None:
    night = ForkedNight(tmp_path, mother)
    assert ended(night) == 0, night.output
    assert build(night.db, "night", tmp_path / "reports").failures == ()
    assert leaks(tmp_path) == []


ENDS = {
    "damaged data": (65, STUDY, ["--set", "data.path=nowhere.csv", "--set", "data.rows=null"]),
    "data at an address": (
        65,
        STUDY,
        [
            "--set",
            f"data.path=https://me:{ARGUMENTS['url']}@host.example/x.csv",
            "--set",
            "data.rows=null",
        ],
    ),
    "a model at an address": (69, STUDY, ["--set", f"model=https://me:{ARGUMENTS['model']}@host.example/m"]),
    "an unreachable server": (69, STUDY, ["--db", f"postgresql+psycopg://me:{ARGUMENTS['server']}@127.0.0.1:1/x"]),
    "a bad study file": (78, STUDY + "nothing: 1\n", ["--set", f"study=https://me:{ARGUMENTS['url']}@x"]),
    "diverged trials": (3, DIVERGED, []),
    "hung trials": (3, HUNG, []),
}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("end", ENDS)
def test_a_night_that_ends_badly_tells_no_secret(end: str, mother: Zygote, tmp_path: Path) -> None:
    code, text, arguments = ENDS[end]
    night = ForkedNight(tmp_path, mother, text)
    if text == DIVERGED:
        huge(hub_cache.model_folder(tmp_path / "huge"))
    found = ended(night, *arguments)
    assert "Traceback" not in night.output and found == code, night.output
    if end == "hung trials":
        assert {row[0] for row in night.rows("SELECT reason FROM harness_trial")} == {"hung"}
    if end == "diverged trials":
        assert {row[0] for row in night.rows("SELECT reason FROM harness_trial")} == {"diverged"}
    assert leaks(tmp_path) == []


@pytest.mark.timeout(300)
def test_a_killed_worker_and_an_interrupted_night_tell_no_secret(mother: Zygote, tmp_path: Path) -> None:
    killed = ForkedNight(tmp_path / "killed", mother)
    assert killed.through("harness.checkpoints:save before 1") == 0, killed.output
    assert killed.rows("SELECT kind FROM harness_incident WHERE kind = 'worker_died'")
    stopped = ForkedNight(tmp_path / "stopped", mother, SLOW)
    pid = stopped.begin()
    end = time.monotonic() + 120
    while time.monotonic() < end and not (stopped.db.exists() and stopped.epochs_of(0)):
        time.sleep(0.05)
    os.kill(pid, signal.SIGTERM)
    assert stopped.end(pid) == 143, stopped.output
    assert leaks(tmp_path) == []


def test_a_mistake_nobody_thought_of_is_told_without_secrets(tmp_path: Path) -> None:
    script = tmp_path / "broken.py"
    script.write_text(
        "import sys, harness.commands.night, harness.cli\n"
        "from harness.commands import options\n"
        f"def study_of(*_): raise RuntimeError('could not log in: password={ARGUMENTS['url']} {HUB}')\n"
        "harness.commands.night.study_of = study_of\n"
        "sys.argv = ['harness', 'run', 'x.yaml']\n"
        "harness.cli.main()\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 70 and "RuntimeError" in done.stderr and "study_of" in done.stderr
    assert not [secret for secret in SECRETS if secret in done.stderr + done.stdout]


# --- what a worker is given ----------------------------------------------------------------------------------


def test_a_worker_has_no_secret_but_the_hubs(planted: Path, tmp_path: Path) -> None:
    executor = LocalExecutor(tmp_path)
    process = executor._start(0)
    try:
        given = Path(f"/proc/{process.popen.pid}/environ").read_bytes()
        arguments = Path(f"/proc/{process.popen.pid}/cmdline").read_bytes()
    finally:
        executor.kill(0)
        executor.close()
    held = [name for name, secret in ENVIRONMENT.items() if secret.encode() in given + arguments]
    assert held == ["HF_TOKEN"]  # a gated model cannot be had without it
    assert b"HOME=" in given and b"PATH=" in given


@pytest.mark.parametrize(
    "name",
    [
        "TOKENIZERS_PARALLELISM",
        "HF_HUB_DISABLE_IMPLICIT_TOKEN",
        "HF_HOME",
        "PATH",
        "CUDA_VISIBLE_DEVICES",
        "KEYBOARD",
        "HTTPS_PROXY",
        "PYTHONPATH",
        "LD_LIBRARY_PATH",
        "OMP_NUM_THREADS",
        "MONKEY",
        "XDG_SESSION_ID",
        "MASTER_ADDR",
    ],
)
def test_what_a_worker_needs_is_left_to_it(name: str) -> None:
    assert without_secrets({name: "x", "HTTP_PROXY": "http://me:pw@proxy:1"}) == {
        name: "x",
        "HTTP_PROXY": "http://me:pw@proxy:1",
    }


def test_what_has_a_shape_is_replaced_wherever_it_stands() -> None:
    for secret in (HUB, GITHUB, SLACK, AWS_ID, OPENAI, JWT, KEY):
        assert secret not in scrub(f"it said {secret}, and ended") and "it said" in scrub(f"it said {secret}")


@pytest.mark.slow
def test_the_command_line_itself_is_nowhere(planted: Path, tmp_path: Path) -> None:
    night = Night(tmp_path)
    code, output = night.run("--db", f"postgresql+psycopg://me:{ARGUMENTS['server']}@127.0.0.1:1/x")
    assert code == 69 and ARGUMENTS["server"] not in output and "127.0.0.1" in output

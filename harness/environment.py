"""What a result depends on beside the study file: versions, machine, chosen settings; by an allow-list.

Torch-free: versions are read from package metadata. Never the command line, never the whole environment. What
the worker's device is, the worker adds.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import subprocess  # noqa: S404
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

PACKAGES = (
    "harness", "torch", "transformers", "tokenizers", "datasets", "huggingface_hub", "safetensors", "optuna",
    "numpy", "scipy", "scikit-learn", "pandas", "pyarrow", "sqlalchemy",
)  # fmt: skip
VARIABLES = (
    "CUDA_VISIBLE_DEVICES", "CUBLAS_WORKSPACE_CONFIG", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "PYTHONHASHSEED",
    "HF_HUB_OFFLINE", "TOKENIZERS_PARALLELISM", "PYTORCH_CUDA_ALLOC_CONF",
)  # fmt: skip

# A gated model cannot be had without the Hub's token, nor any behind a proxy without its password.
NEEDED = ("HF_", "HUGGING_FACE_", "HUGGINGFACE_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy")
SECRET = re.compile(r"(?i)secret|passw|passphrase|credential|(^|_)(token|jwt|key|access_key_id)$|api_?key|private_?key")
SECRET_URL = re.compile(r"://[^/\s:@]*:[^/\s@]+@|PRIVATE KEY-----")


def capture(device: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The facts as plain JSON values.

    Args:
        device: what only a process with torch can tell: name, memory, driver, CUDA, threads.
    """
    return {
        "python": platform.python_version(),
        "packages": {name: version for name in PACKAGES if (version := installed(name))},
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cpu": cpu_model(),
        "cores": {"physical": psutil.cpu_count(logical=False), "logical": psutil.cpu_count(), "usable": usable_cores()},
        "memory_bytes": psutil.virtual_memory().total,
        "variables": {name: os.environ[name] for name in VARIABLES if name in os.environ},
        "device": dict(device or {}),
    }


def without_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """What a process that reads the files of others is given: no passwords or keys but those of Hub and proxy."""
    return {
        name: value
        for name, value in environment.items()
        if name.startswith(NEEDED) or not (SECRET.search(name) or SECRET_URL.search(value))
    }


def installed(package: str) -> str | None:
    """Version of an installed package; None when it is not there."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def cpu_model() -> str:
    """What the CPU calls itself."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def usable_cores() -> int:
    """Cores that this process may run on, which a container may have made fewer."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def git_state(folder: Path) -> dict[str, Any]:
    """Commit of the repository around a folder and whether it holds uncommitted changes; empty without one."""
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None:
        return {}
    return {"commit": commit, "changed": bool(_git(folder, "status", "--porcelain", "--untracked-files=no"))}


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(  # noqa: S603
            ["git", "-C", str(folder), *arguments],  # noqa: S607  the user's own git
            capture_output=True, text=True, timeout=10, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None

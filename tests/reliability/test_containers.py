"""Harness as all that a container runs: it is process 1 there."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from nights import Night

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
STUDY = """
study: night
task: sequence-classification
model: builtin:tiny
data: {path: "builtin:reviews", rows: 64, validation: 16}
fixed: {max_length: 16, batch_size: 8, dtype: fp32}
configurations: [{epochs: 1}]
objective: accuracy
"""
ALONE = ["unshare", "--map-root-user", "--pid", "--fork", "--mount-proc"]


def test_a_night_that_is_process_1_is_a_night_like_another(tmp_path: Path) -> None:
    """Docker's exec form and a Kubernetes Job begin it so; a parent that is process 1 is no sign of an orphan there."""
    if shutil.which("unshare") is None or os.system(f"{' '.join(ALONE)} true 2>/dev/null") != 0:
        pytest.skip("no process name spaces here: a night that is process 1 is checked where there are")
    night = Night(tmp_path, STUDY)
    night.within = ALONE
    code, output = night.run()
    assert code == 0, output
    assert night.rows("SELECT state FROM harness_trial") == [("complete",)]

"""`harness score` gives a file of answers its official figures, and says what is missing, unknown or no such file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

QUESTIONS = [
    {"id": "q1", "answers": {"text": ["The Elbe"], "answer_start": [0]}},
    {"id": "q2", "answers": {"text": ["red fox", "fox"], "answer_start": [3, 7]}},
]
IMPOSSIBLE = {"id": "q3", "answers": {"text": [], "answer_start": []}}


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    path = tmp_path / "dev.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in QUESTIONS))
    return path


def score(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    code = (
        "import sys\nfrom harness.cli import main\n"
        "try:\n    main()\nfinally:\n    assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    words = [sys.executable, "-c", code, "score", *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True)


def written(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_answers_are_scored_in_points_without_torch(tmp_path: Path, questions: Path):
    predictions = written(tmp_path / "predictions.json", {"q1": "elbe", "q2": "A fox, red"})
    done = score(predictions, "--data", questions)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1].split() == ["all", "50.00", "100.00", "2"]


def test_missing_and_unknown_ids_are_told(tmp_path: Path, questions: Path):
    predictions = written(tmp_path / "predictions.json", {"q1": "Elbe", "x\x1b[31m": "?"})
    done = score(predictions, "--data", questions)
    assert done.stdout.splitlines()[-1].split() == ["all", "50.00", "50.00", "2"]
    assert "1 without a prediction, which score 0: q2" in done.stderr
    assert "1 of no question here, left out: x\\x1b[31m" in done.stderr


def test_json_holds_the_official_names_and_best_thresholds(tmp_path: Path, questions: Path):
    with questions.open("a") as file:
        file.write(json.dumps(IMPOSSIBLE) + "\n")
    predictions = written(tmp_path / "predictions.json", {"q1": "elbe", "q2": "red", "q3": "blue"})
    null = written(tmp_path / "null.json", {"q1": 0.1, "q2": 0.2, "q3": 0.9})
    done = score(predictions, "--data", questions, "--na-probs", null, "--na-threshold", "0.5", "--json")
    assert json.loads(done.stdout) == pytest.approx(
        {
            "exact_match": 200 / 3,
            "f1": (100 + 200 / 3 + 100) / 3,
            "total": 3,
            "missing": 0,
            "unknown": 0,
            "HasAns_exact": 50.0,
            "HasAns_f1": (100 + 200 / 3) / 2,
            "HasAns_total": 2,
            "NoAns_exact": 100.0,
            "NoAns_f1": 100.0,
            "NoAns_total": 1,
            "best_exact": 200 / 3,
            "best_exact_thresh": 0.1,
            "best_f1": (100 + 200 / 3 + 100) / 3,
            "best_f1_thresh": 0.2,
        }
    )
    table = score(predictions, "--data", questions, "--na-probs", null).stdout
    assert "without an answer" in table and "Best threshold" in table


@pytest.mark.parametrize(
    ("content", "code", "words"),
    [
        (None, 2, "there is no such file"),
        ('{"q1": ', 65, "line 1: not JSON"),
        ('[{"id": "q1"}]', 65, "must be one object"),
        ('{"q1": ["Elbe"]}', 65, "question 'q1' must be a text"),
    ],
)
def test_a_file_that_is_no_predictions_file_is_told_with_its_exit_code(
    tmp_path: Path, questions: Path, content: str | None, code: int, words: str
):
    path = tmp_path / "predictions.json"
    if content is not None:
        written(path, content)
    done = score(path, "--data", questions)
    assert (done.returncode, done.stdout) == (code, "")
    assert words in done.stderr and "Traceback" not in done.stderr


def test_data_that_are_no_questions_are_told(tmp_path: Path):
    predictions = written(tmp_path / "predictions.json", {})
    data = written(tmp_path / "rows.csv", "text,label\na,b\n")
    done = score(predictions, "--data", data)
    assert done.returncode == 65 and "data.id is 'id'" in done.stderr

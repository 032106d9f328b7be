"""Two finished studies in one database whose best models were kept, one of texts and one of questions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import small_models
from nights import Night

LABELS = """
study: labels
task: sequence-classification
model: builtin:tiny
data: {path: "builtin:reviews", rows: 300, validation: 60}
fixed: {max_length: 12, batch_size: 16, dtype: fp32, learning_rate: 1e-3}
configurations: [{epochs: 2}, {epochs: 1, freeze: head}]
objective: accuracy
keep: 1
"""
QUESTIONS = """
study: questions
task: question-answering
model: model
data: {path: squad, validation: {split: validation, stratify: false}, unanswerable: true}
fixed: {max_length: 16, stride: 4, batch_size: 8, dtype: fp32, learning_rate: 1e-3, max_answer_length: 4}
configurations: [{epochs: 2}]
objective: f1
"""


def squad(rows: int, seed: int) -> dict[str, Any]:
    """Made-up questions of version 2.0: the answer stands behind the question's word; every fourth has none."""
    random = np.random.default_rng(seed)
    paragraphs = []
    for number in range(rows):
        words = [f"w{n}" for n in random.permutation(small_models.VOCABULARY - 5)[:30]]
        place, none = int(random.integers(0, 28)), number % 4 == 0
        answer = {"text": words[place + 1], "answer_start": len(" ".join(words[: place + 1])) + 1}
        asked = {"id": f"{seed}-{number}", "question": words[place], "is_impossible": none}
        paragraphs.append({"context": " ".join(words), "qas": [{**asked, "answers": [] if none else [answer]}]})
    return {"version": "v2.0", "data": [{"title": "made up", "paragraphs": paragraphs}]}


def kept_studies(folder: Path) -> Night:
    """The folder in which both have run."""
    small_models.model_folder(folder / "model")
    (folder / "squad").mkdir()
    for split, rows, seed in (("train", 64, 1), ("validation", 24, 2)):
        (folder / "squad" / f"{split}.json").write_text(json.dumps(squad(rows, seed)))
    found = Night(folder, LABELS)
    (folder / "questions.yaml").write_text(QUESTIONS)
    for file in ("night.yaml", "questions.yaml"):
        code, output = found.harness("run", file)
        assert code == 0, output
    return found

"""A real night of question answering, from a file in SQuAD's schema to report, comparison, score and resume."""

import json
import signal

import numpy as np
import pytest
from nights import Night, end

from harness.builtin import corpus
from harness.spec import parse_study
from harness.study_file.cross_checks import study_cautions

STUDY = """
study: night
task: question-answering
model: builtin:tiny
data: {path: questions, train: 24, validation: {split: validation, size: 16, stratify: false}}
fixed: {max_length: 48, stride: 12, batch_size: 8, dtype: fp32}
configurations:
  - {epochs: 2, learning_rate: 1e-3}
  - {epochs: 3, learning_rate: 3e-3, freeze: head}
  - {epochs: 2, learning_rate: 1e-3, freeze: top-2}
objective: {metric: f1, at: best}
"""


def questions(count, seed):
    """Which word stands where, asked of built-in reviews set one behind the other."""
    random = np.random.default_rng(seed)
    texts = corpus.reviews(400, noise=0.0).column("text").to_pylist()
    rows = []
    for number in range(count):
        context = " ".join(texts[int(i)] for i in random.integers(0, len(texts), 4))
        words = context.split()
        place = int(random.integers(1, len(words) - 2))
        start = len(" ".join(words[:place])) + 1
        answer = " ".join(words[place : place + 2])
        assert context[start : start + len(answer)] == answer
        asked = f"what follows {words[place - 1]} ?"
        given = {"text": [answer], "answer_start": [start]}
        rows.append({"id": f"{seed}-{number}", "question": asked, "context": context, "answers": given})
    return rows


def prepared(folder):
    (folder / "questions").mkdir()
    for name, count, seed in (("train", 30, 1), ("validation", 20, 2)):
        lines = "\n".join(json.dumps(row) for row in questions(count, seed))
        (folder / "questions" / f"{name}.jsonl").write_text(lines)
    return Night(folder, STUDY)


@pytest.fixture(scope="module")
def night(tmp_path_factory):
    night = prepared(tmp_path_factory.mktemp("questions"))
    code, output = night.run()
    assert code == 0, output
    return night


@pytest.mark.parametrize(
    ("text", "warned"),
    [
        (STUDY.replace("metric: f1", "metric: loss").replace("learning_rate: 3e-3", "stride: 8"), "another stride"),
        (STUDY.replace("learning_rate: 3e-3", "stride: 8"), ""),
        (STUDY.replace("metric: f1", "metric: loss"), ""),
    ],
)
def test_a_choice_by_losses_of_other_windows_is_warned_of(text, warned):
    cautions = list(study_cautions(parse_study(text).spec))
    assert [warned in caution for caution in cautions] == ([True] if warned else [])


def test_every_trial_has_exact_match_f1_and_loss(night):
    rows = night.rows("SELECT state, exact_match, f1, validation_loss, accuracy, verdict FROM harness_summary")
    assert [row[0] for row in rows] == ["complete"] * 3
    assert all(0 <= row[1] <= row[2] <= 1 and row[3] > 0 and row[4] is None and row[5] for row in rows)


def test_windows_are_more_than_questions_and_steps_count_windows(night):
    (done,) = night.rows("SELECT done FROM harness_trial WHERE number = 0")[0]
    assert json.loads(done)["train_rows"] == 24
    assert json.loads(done)["total_steps"] > 2 * 24 / 8


def test_frozen_prefixes_are_shared_as_states_of_all_tokens(night):
    shared = {n: json.loads(work or "{}") for n, work in night.rows("SELECT number, shared_work FROM harness_trial")}
    assert shared[0] == {}
    assert shared[1]["prefix"]["cut"] == 4 and shared[2]["prefix"]["cut"] == 2
    tokens = shared[1]["prefix"]["bytes"] / shared[1]["prefix"]["rows"]
    assert tokens > 10 * 4 * 64  # far more than one vector a window


def test_spans_losses_and_margins_are_stored_and_nothing_else(night):
    kinds = dict(night.rows("SELECT kind, count(*) FROM harness_prediction GROUP BY kind"))
    assert kinds == {"spans": 7, "losses": 7, "margins": 7}


def test_the_report_has_no_gap_and_says_how_sure_it_is(night):
    code, output = night.harness("report", "night")
    assert code == 0, output
    page = (night.folder / "reports" / "night" / "report.html").read_text()
    assert "bootstrap samples" in page or "cannot be told apart" in page
    assert "questions are not answered exactly" in page


def test_trials_are_compared_on_the_same_questions(night):
    code, output = night.harness("compare", "night:0", "night:1")
    assert code == 0, output
    assert "points of exact match" in output and "points of F1" in output and "16 examples" in output


def test_the_kept_model_answers_where_transformers_loads_it(night):
    import transformers

    (folder,) = sorted((night.folder / "results.files" / "trials").glob("*/model"))[:1]
    model = transformers.AutoModelForQuestionAnswering.from_pretrained(folder)
    assert model.qa_outputs.out_features == 2


def test_an_interrupted_night_ends_with_the_same_numbers(night, tmp_path):
    again = prepared(tmp_path)
    process = again.forked("run", "night.yaml")
    again.wait_for(process, lambda: again.epochs_of(0) >= 1)
    assert end(process, signal.SIGTERM) == 143
    code, output = again.run()
    assert code == 0, output
    query = "SELECT trial, exact_match, f1, validation_loss FROM harness_summary ORDER BY trial"
    assert again.rows(query) == night.rows(query)

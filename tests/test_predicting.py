"""A kept model answers as it did in its trial: labels, spans, files of both, and every mistake in words."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from kept_studies import LABELS, kept_studies, squad
from nights import Night

import harness.predicting as predicting
import harness.prediction_files as prediction_files
from harness.answers import KeptModel, LabelAnswer, PredictJob, SpanAnswer
from harness.builtin import corpus
from harness.configuration import TrialConfig
from harness.deadline import Stop
from harness.errors import DataError, StorageError, UsageError
from harness.predictor import ROWS, Chosen, Inputs, Predictor, choose, typed_inputs
from harness.results import frames
from harness.results.engine import open_engine
from harness.spans import N_BEST, NULL, best_spans
from harness.warm import Warm


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Night:
    return kept_studies(tmp_path_factory.mktemp("predicting"))


def chosen(night: Night, study: str) -> Chosen:
    return choose(str(night.db), study)


@pytest.fixture(scope="module")
def labels(night: Night) -> Iterator[Predictor]:
    with Predictor(chosen(night, "labels").model, night.folder / "logs", Stop()) as predictor:
        yield predictor


@pytest.fixture(scope="module")
def spans(night: Night) -> Iterator[Predictor]:
    with Predictor(chosen(night, "questions").model, night.folder / "logs", Stop()) as predictor:
        yield predictor


def stored(night: Night, study: str, kind: str) -> np.ndarray:
    """What the record keeps of the best epoch of the trial whose model answers."""
    trial = chosen(night, study).trial
    assert trial.best_epoch is not None
    return frames.predictions(open_engine(str(night.db), read_only=True), trial.id, trial.best_epoch, kind)


def validation_rows(night: Night, study: str) -> list[int]:
    found = frames.examples(open_engine(str(night.db), read_only=True), study)
    return [int(row) for row in found["source_row"]]


def all_answers(predictor: Predictor, inputs: Inputs) -> list[Any]:
    return [answer for answers in predictor.answers(inputs) for answer in answers]


# --- the same as in the trial ---------------------------------------------------------------------------


def test_labels_of_the_validation_rows_are_those_of_the_best_epoch(night: Night, labels: Predictor) -> None:
    texts = corpus.reviews(300).column("text").to_pylist()
    found = all_answers(labels, Inputs(tuple(texts[row] for row in validation_rows(night, "labels"))))
    logits = torch.from_numpy(stored(night, "labels", "logits")).double()
    names = labels.model.label_names
    expected = logits.softmax(dim=1).numpy()
    assert len(found) == len(expected) == 60
    for answer, row in zip(found, expected, strict=True):
        assert [answer.probabilities[name] for name in names] == pytest.approx(row.tolist(), abs=1e-5)
        assert answer.label == names[int(row.argmax())]
        assert answer.probability == max(answer.probabilities.values())
        assert sum(answer.probabilities.values()) == pytest.approx(1.0, abs=1e-12)


def test_spans_of_the_validation_rows_are_those_of_the_best_epoch(night: Night, spans: Predictor) -> None:
    inputs = prediction_files.read_inputs(night.folder / "squad" / "validation.json", chosen(night, "questions"))
    rows = validation_rows(night, "questions")
    found = all_answers(spans, inputs)
    for position, row in enumerate(rows):
        kept = stored(night, "questions", "spans")[position]
        ranked = found[row].ranked
        assert inputs.pairs is not None
        for span, (start, end, _, probability) in zip(ranked, kept.tolist(), strict=False):
            assert (NULL if span.start is None else span.start) == start
            assert (NULL if span.end is None else span.end) == end
            assert span.probability == pytest.approx(probability, abs=1e-5)
            assert span.answer == ("" if start == NULL else inputs.pairs[row][int(start) : int(end)])
    assert {answer.windows for answer in found} == {4}  # 30 words in windows of 16 tokens that share 4
    assert len(rows) == 24


def test_a_row_is_answered_alike_alone_and_among_others(labels: Predictor) -> None:
    texts = tuple(corpus.reviews(ROWS + 40).column("text").to_pylist())
    jobs = list(labels.answers(Inputs(texts)))
    assert [len(job) for job in jobs] == [ROWS, 40]
    for row in (0, ROWS - 1, ROWS, ROWS + 39):
        (alone,) = all_answers(labels, Inputs((texts[row],)))
        among = jobs[row // ROWS][row % ROWS]
        assert among.label == alone.label
        assert among.probability == pytest.approx(alone.probability, abs=1e-5)
    assert list(labels.answers(Inputs(()))) == []


def test_no_answer_has_the_share_of_its_score_beside_the_best_spans(night: Night) -> None:
    model = chosen(night, "questions").model
    task, warm = predicting.tasks.load(model.task), Warm(torch.device("cpu"))
    raw = squad(12, 5)["data"][0]["paragraphs"]
    job = PredictJob(model, tuple(p["qas"][0]["question"] for p in raw), tuple(p["context"] for p in raw))
    encoder, tokenizer = predicting.kept_encoder(model, task, warm)
    examples = predicting.examples_of(job)
    features = task.encode(examples, tokenizer, model.config)
    logits = predicting._logits(encoder, features, "fp32")
    spans = best_spans(logits, features, 12, model.config.max_answer_length, True)
    for example, found in enumerate(predicting.null_probabilities(logits, features, spans).tolist()):
        windows = [w for w in range(len(features)) if features.example[w] == example]
        null = min(float(logits[w, 0].astype(np.float64).sum()) for w in windows)
        others = [s for s, start in zip(spans.score[example], spans.start[example], strict=True) if start != NULL]
        assert found == pytest.approx(np.exp(null) / (np.exp(null) + sum(np.exp(others))), rel=1e-9)
    sums = np.nansum(spans.probability, axis=1)
    assert spans.probability.shape[1] == N_BEST
    assert sums == pytest.approx(np.ones(12))


def test_a_batch_that_does_not_fit_is_halved(night: Night, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []
    whole = predicting.logits_of_all

    def short_of_memory(encoder: Any, table: Any, dtype: str, places: int) -> Any:
        tried.append(places)
        if places > 1_000:
            raise torch.OutOfMemoryError("out of memory")
        return whole(encoder, table, dtype, places)

    model = chosen(night, "labels").model
    job = PredictJob(model, ("a good phone", "a bad lamp"))
    expected = predicting.predict(job, Warm(torch.device("cpu")))
    monkeypatch.setattr(predicting, "logits_of_all", short_of_memory)
    assert predicting.predict(job, Warm(torch.device("cpu"))) == expected
    assert tried == [8_192, 4_096, 2_048, 1_024, 512]


# --- what is cut ----------------------------------------------------------------------------------------


def test_a_text_beyond_max_length_says_how_much_of_it_was_not_read(labels: Predictor) -> None:
    short, long = all_answers(labels, Inputs(("good", " ".join(["good"] * 30))))
    assert (short.tokens, short.cut_tokens) == (3, 0)
    assert (long.tokens, long.cut_tokens) == (32, 20)  # max_length is 12, two of it special tokens


def test_of_a_question_is_cut_what_leaves_no_room_for_the_context(spans: Predictor) -> None:
    context = " ".join(f"w{n}" for n in range(30))
    short, long = all_answers(spans, Inputs(("w1", " ".join(["w1"] * 12)), (context, context)))
    assert (short.tokens, short.cut_tokens) == (1, 0)
    assert (long.tokens, long.cut_tokens) == (12, 4)  # 16 tokens, less 3 special, 4 shared and 1 more of the context


# --- files ----------------------------------------------------------------------------------------------


def test_a_file_of_questions_scores_as_the_trial_did(night: Night) -> None:
    """The whole way: rows in, JSON lines and SQuAD's two files out, scored as the official scripts do."""
    code, output = night.harness(
        "predict", "questions", "--input", "squad/validation.json", "--output", "answers.jsonl",
        "--predictions", "predictions.json", "--na-probs", "null.json",
    )  # fmt: skip
    assert code == 0, output
    lines = [json.loads(line) for line in (night.folder / "answers.jsonl").read_text().splitlines()]
    assert [line["row"] for line in lines] == list(range(24))
    predictions = json.loads((night.folder / "predictions.json").read_text())
    assert predictions == {line["id"]: line["answer"] for line in lines}
    assert [*predictions] == [f"2-{row}" for row in range(24)]
    null = json.loads((night.folder / "null.json").read_text())
    assert null == {line["id"]: line["null_probability"] for line in lines}
    code, scored = night.harness(
        "score", "predictions.json", "--data", "squad/validation.json", "--na-probs", "null.json", "--json"
    )
    assert code == 0, scored
    trial = frames.summary(open_engine(str(night.db), read_only=True), "questions").iloc[0]
    assert json.loads(scored)["exact_match"] == pytest.approx(100 * trial["exact_match"])
    assert json.loads(scored)["f1"] == pytest.approx(100 * trial["f1"])


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_rows_of_every_kind_of_file_are_answered_in_order(night: Night, tmp_path: Path, ending: str) -> None:
    texts = ['good, "fine" and\nlong', "NA", "schlecht ß 中"]
    path = tmp_path / f"rows.{ending}"
    if ending == "csv":
        path.write_text(
            "id,text\n" + "".join(f'{n},"{t.replace(chr(34), 2 * chr(34))}"\n' for n, t in enumerate(texts))
        )
    elif ending == "jsonl":
        path.write_text("".join(json.dumps({"id": str(n), "text": text}) + "\n" for n, text in enumerate(texts)))
    else:
        pq.write_table(pa.table({"id": ["0", "1", "2"], "text": texts}), path)
    found = prediction_files.read_inputs(path, chosen(night, "labels"))
    assert found == Inputs(tuple(texts), None, ("0", "1", "2"))


def test_a_file_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(DataError), prediction_files.whole_file(tmp_path / "out.jsonl") as file:
        file.write("half\n")
        raise DataError("broken off")
    assert list(tmp_path.iterdir()) == []
    with prediction_files.whole_file(tmp_path / "out.jsonl") as file:
        file.write("all\n")
    assert [path.name for path in tmp_path.iterdir()] == ["out.jsonl"]


# --- the command ----------------------------------------------------------------------------------------


def test_the_command_answers_in_json_and_says_what_it_cut(night: Night) -> None:
    code, output = night.harness("predict", "labels", "--text", "a lovely phone, it works well " * 9, "--json")
    assert code == 0, output
    start, end = output.index("{"), output.rindex("}") + 1
    answer = json.loads(output[start:end])
    assert set(answer["probabilities"]) == {"negative", "positive"}
    assert sum(answer["probabilities"].values()) == pytest.approx(1.0)
    told = output[:start] + output[end:]
    assert "trial 0 of labels (the best, accuracy" in told
    assert f"longer than max_length 12: {answer['cut_tokens']} of its {answer['tokens']} tokens were not read" in told


def test_the_command_asks_a_worker_and_holds_no_torch(night: Night) -> None:
    code = (
        "import sys, harness.cli\n"
        "sys.argv = ['harness', 'predict', 'questions', '--question', 'w1', '--context', 'w0 w1 w2', '--json']\n"
        "try:\n    harness.cli.main()\nexcept SystemExit: pass\n"
        "print(sorted({'torch', 'transformers', 'tokenizers', 'datasets'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=night.folder, capture_output=True, text=True, timeout=120)
    *answer, loaded = done.stdout.strip().splitlines()
    assert loaded == "[]", done.stderr
    assert set(json.loads("".join(answer))) == {
        "answer", "probability", "start", "end", "next_best", "null_probability", "windows", "tokens", "cut_tokens",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["absent", "--text", "x"], 2, "no study 'absent'"),
        (["labels"], 2, "--text is missing: study 'labels' (sequence-classification) takes --text \"...\""),
        (["labels", "--text", " \n"], 2, "--text is empty"),
        (["labels", "--text", "x", "--pair", "y"], 2, "--pair is nothing that the model reads"),
        (["labels", "--question", "x"], 2, "--question is nothing that the model reads"),
        (["questions", "--text", "x"], 2, 'takes --question "..." --context "..."'),
        (["questions", "--question", "x"], 2, "--context is missing"),
        (["questions", "--question", "x", "--context", ""], 2, "--context is empty"),
        (["labels", "--text", "x", "--trial", "9"], 2, "has no trial 9, it has 0 to 1; weights are kept of trial 0"),
        (["labels", "--text", "x", "--trial", "1"], 2, "trial 1 of study 'labels' (complete) has kept no weights"),
        (["labels", "--text", "x", "--output", "o"], 2, "--output is for the answers to the rows of --input"),
        (["labels", "--input", "rows.csv"], 2, "--output FILE.jsonl"),
        (["labels", "--input", "rows.csv", "--output", "o", "--text", "x"], 2, "leave one out"),
        (["labels", "--input", "absent.csv", "--output", "o"], 2, "there is no such file"),
        (["labels", "--input", "rows.csv", "--output", "night.yaml"], 2, "exists and is not overwritten"),
        (["labels", "--input", "rows.csv", "--output", "no/o"], 2, "there is no folder no"),
        (["labels", "--input", "rows.csv", "--predictions", "o"], 2, "labels texts"),
        (["labels", "--input", "rows.csv", "--output", "o"], 65, "has no column 'text', which is data.text"),
        (
            ["labels", "--input", "holes.jsonl", "--output", "o"],
            65,
            "row 1 (counted from 0): empty text; so it is with",
        ),
        (["labels", "--input", "rows.txt", "--output", "o"], 65, "the ending must be one of"),
        (["questions", "--input", "twice.jsonl", "--predictions", "o"], 65, "row 1 (counted from 0) has the id 'a' of"),
    ],
)
def test_a_mistake_is_told_in_words(night: Night, arguments: list[str], code: int, words: str) -> None:
    (night.folder / "rows.csv").write_text("review\ngood\n")
    (night.folder / "rows.txt").write_text("good\n")
    (night.folder / "holes.jsonl").write_text('{"text": "good"}\n{"text": " "}\n{"text": null}\n')
    (night.folder / "twice.jsonl").write_text('{"id": "a", "question": "w1", "context": "w2"}\n' * 2)
    found, output = night.harness("predict", *arguments)
    assert found == code, output
    assert words in " ".join(output.split())
    assert "Traceback" not in output
    assert not (night.folder / "o").exists()


def test_questions_that_always_have_an_answer_have_no_null_probabilities(night: Night) -> None:
    found = chosen(night, "questions")
    always = found._replace(model=KeptModel("question-answering", found.model.folder, found.model.config, ()))
    with pytest.raises(UsageError, match="always answer"):
        prediction_files.Targets(na_probs=Path("null.json")).check(always)


def test_a_text_that_no_encoding_can_write_is_refused(night: Night) -> None:
    with pytest.raises(UsageError, match="--text is no valid UTF-8 at character 2"):
        typed_inputs(chosen(night, "labels"), {"--text": "ab\udce4"})


def test_a_study_that_kept_nothing_says_how_to_keep(night: Night) -> None:
    (night.folder / "none.yaml").write_text(
        LABELS.replace("study: labels", "study: none")
        .replace("keep: 1", "keep: 0")
        .replace(", {epochs: 1, freeze: head}", "")
    )
    assert night.harness("run", "none.yaml")[0] == 0
    with pytest.raises(UsageError, match="has kept no model; `keep` in the study file"):
        chosen(night, "none")


def test_a_folder_without_its_model_is_told(night: Night, tmp_path: Path) -> None:
    model = KeptModel("sequence-classification", str(tmp_path), TrialConfig(max_length=8), ("a", "b"))
    with pytest.raises(DataError, match="holds no readable model"):
        predicting.predict(PredictJob(model, ("x",)), Warm(torch.device("cpu")))


def test_a_folder_that_is_gone_is_told(night: Night) -> None:
    folder = Path(chosen(night, "labels").model.folder)
    away = folder.with_name("away")
    folder.rename(away)
    try:
        with pytest.raises(StorageError, match="the weights of trial 0 are not at"):
            chosen(night, "labels")
    finally:
        away.rename(folder)


def test_answers_are_plain_values() -> None:
    label = LabelAnswer("b", 0.75, {"b": 0.75, "a": 0.25}, 3, 0)
    assert json.loads(json.dumps(label.as_dict()))["probabilities"] == {"b": 0.75, "a": 0.25}
    span = SpanAnswer("x", 0.5, 1, 2, (), None, 1, 2, 0)
    assert "null_probability" not in span.as_dict()
    assert span.ranked[0].place == "1 to 2"

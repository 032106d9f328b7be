"""Exact match and F1 of answers are those of the official scripts, as is the best threshold for no answer."""

from __future__ import annotations

import math
import random
import string
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import DataError
from harness.metrics import evaluate, known, lookup, metrics_of
from harness.metrics.spans import exact_match, exact_scores, f1, f1_scores, words
from harness.metrics.squad import score

# --- slow, obvious twins --------------------------------------------------------------------------------


def slow_words(text: str) -> list[str]:
    """Letter by letter: lower case, no ASCII punctuation, no run of letters that is an article."""
    kept = "".join(letter for letter in text.lower() if letter not in string.punctuation)
    runs: list[str] = []
    for letter in kept:
        of_a_word = letter.isalnum() or letter == "_"
        if of_a_word and runs and runs[-1][-1].isalnum():
            runs[-1] += letter
        else:
            runs.append(letter)
    return "".join(" " if run in ("a", "an", "the") else run for run in runs).split()


def slow_f1(prediction: str, reference: str, *, v2: bool) -> float:
    predicted, right = slow_words(prediction), slow_words(reference)
    if v2 and not (predicted and right):
        return float(predicted == right)
    left, shared = list(right), 0
    for word in predicted:
        if word in left:
            left.remove(word)
            shared += 1
    if not shared:
        return 0.0
    precision, recall = shared / len(predicted), shared / len(right)
    return 2 * precision * recall / (precision + recall)


def slow_score(predictions: dict[str, str], references: dict[str, list[str]], *, v2: bool) -> tuple[float, float]:
    """Exact match and F1 in points, as the two official scripts go through the questions."""
    exact = f1_total = 0.0
    for key, texts in references.items():
        if key not in predictions:
            continue
        right = ([text for text in texts if slow_words(text)] or [""]) if v2 else texts
        exact += max(slow_words(predictions[key]) == slow_words(text) for text in right)
        f1_total += max(slow_f1(predictions[key], text, v2=v2) for text in right)
    return 100 * exact / len(references), 100 * f1_total / len(references)


def slow_best(
    predictions: dict[str, str], references: dict[str, list[str]], sure: dict[str, float], scores: dict[str, float]
) -> tuple[float, float]:
    """The best total over every cut of the questions in order of null probability: those before it are answered."""
    order = sorted(sure, key=lambda key: sure[key])
    found = []
    for cut in range(len(order) + 1):
        total = 0.0
        for place, key in enumerate(order):
            if place >= cut:
                total += not references[key]
            elif references[key]:
                total += scores[key]
            else:
                total += predictions[key] == ""
        found.append((total, 0.0 if cut == 0 else sure[order[cut - 1]]))
    best = max(total for total, _ in found)
    return 100 * best / len(references), next(threshold for total, threshold in found if total == best)


# Letters that trip a normalisation: capitals without a lower case of one letter, combining marks, other spaces and
# dashes, articles inside of words, punctuation beyond ASCII.
TEXTS = st.one_of(
    st.text(alphabet="aAnN theTHE.,'-_–\u00a0\u2003\u0301İßçあ1«”\t", max_size=16),
    st.lists(st.sampled_from(["the", "a", "an", "An", "theatre", "red", "Red!", "fox", "...", ""]), max_size=6).map(
        " ".join
    ),
    st.text(alphabet=string.punctuation, max_size=4),
    st.text(max_size=10),
)


# --- one answer -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The Denver Broncos!", ("denver", "broncos")),
        ("an  apple\ta day", ("apple", "day")),
        ("U.S. $1.5-million", ("us", "15million")),
        ("24–10", ("24–10",)),  # a dash beyond ASCII stays
        ("a–b", ("–b",)),  # and ends a word, so that an article before it goes
        ("theatre", ("theatre",)),
        ("T.h.e", ()),  # punctuation goes first
        ("", ()),
        (" ?! ", ()),
    ],
)
def test_an_answer_is_its_words_without_case_punctuation_and_articles(text: str, expected: tuple[str, ...]):
    assert words(text) == expected


@given(TEXTS)
def test_words_are_those_of_the_twin(text: str):
    assert list(words(text)) == slow_words(text)


def test_two_words_of_three_shared_by_hand():
    predictions, references = ["the quick brown fox", "blue"], [["quick red fox"], ["Blue.", "green"]]
    assert f1_scores(predictions, references).tolist() == [pytest.approx(2 / 3), 1.0]
    assert exact_scores(predictions, references).tolist() == [0.0, 1.0]
    assert f1(predictions, references) == pytest.approx((2 / 3 + 1) / 2)
    assert exact_match(predictions, references) == 0.5


def test_a_repeated_word_counts_as_often_as_both_have_it():
    assert f1_scores(["new new york"], [["new york city"]]).tolist() == [pytest.approx(2 / 3)]
    assert f1_scores(["new new york"], [["new york new"]]).tolist() == [1.0]


def test_the_best_reference_counts_separately_for_each_metric():
    assert f1_scores(["red fox"], [["a fox", "the red fox jumps", "cat"]]).tolist() == [pytest.approx(4 / 5)]


def test_a_question_without_reference_wants_the_empty_answer():
    predictions, references = ["", "the", "Paris", "Paris"], [[], [], [], ["Paris"]]
    assert exact_scores(predictions, references).tolist() == [1.0, 1.0, 0.0, 1.0]
    assert f1_scores(predictions, references).tolist() == [1.0, 1.0, 0.0, 1.0]


def test_the_two_versions_differ_in_answers_without_words_alone():
    assert (exact_match(["a"], [["The"]]), f1(["a"], [["The"]])) == (1.0, 0.0)
    assert exact_scores(["a", ""], [["The", "cat"], []]).tolist() == [0.0, 1.0]
    assert f1_scores(["a", ""], [["The"], []]).tolist() == [1.0, 1.0]


def test_as_many_predictions_as_references_are_asked_for():
    with pytest.raises(ValueError, match="2 predictions and 1 references"):
        f1(["a", "b"], [["a"]])


# --- as registered --------------------------------------------------------------------------------------


def spans(predictions: list[str], references: list[Any]) -> dict[str, float]:
    return evaluate("spans", predictions, references, positive=None, num_labels=0)


def test_answers_have_their_metrics_among_the_known_ones():
    assert set(metrics_of("spans")) == {
        "exact_match",
        "f1",
        "has_answer_exact_match",
        "has_answer_f1",
        "no_answer_accuracy",
    }
    assert {"exact_match", "f1", "loss"} <= set(known("spans")) and "accuracy" not in known("spans")
    assert lookup("exact_match").direction == "maximize"


def test_without_rows_nothing_is_defined():
    assert all(math.isnan(value) for value in spans([], []).values())


def test_the_split_by_answerable_exists_only_where_there_is_something_to_split():
    answered = spans(["x", "red fox"], [["x"], ["red"]])
    assert {name for name, value in answered.items() if not math.isnan(value)} == {"exact_match", "f1"}
    mixed = spans(["x", "red fox", "", "z"], [["x"], ["red"], [], []])
    assert mixed == pytest.approx(
        {
            "exact_match": 2 / 4,
            "f1": (1 + 2 / 3 + 1) / 4,
            "has_answer_exact_match": 1 / 2,
            "has_answer_f1": (1 + 2 / 3) / 2,
            "no_answer_accuracy": 1 / 2,
        }
    )
    none = spans(["", "z"], [[], []])
    assert math.isnan(none["has_answer_f1"]) and none["no_answer_accuracy"] == 0.5


def test_ten_thousand_questions_are_measured_within_a_second():
    rng = random.Random(0)
    vocabulary = [f"Word{i}," for i in range(5000)] + ["the", "a"]

    def answer() -> str:
        return " ".join(rng.choices(vocabulary, k=rng.randint(1, 5)))

    references = [[answer() for _ in range(3)] for _ in range(10_570)]
    predictions = [texts[0] if rng.random() < 0.6 else answer() for texts in references]
    words.cache_clear()
    begin = time.perf_counter()
    found = spans(predictions, references)
    assert time.perf_counter() - begin < 2  # 0.4 s alone; the machine may be busy
    assert 0.6 < found["exact_match"] < found["f1"] < 0.7


# --- a predictions file ---------------------------------------------------------------------------------

QUESTIONS = st.dictionaries(st.text(max_size=3), st.lists(TEXTS, max_size=3), min_size=1, max_size=8)


@settings(max_examples=200)
@given(st.data())
def test_any_predictions_file_scores_as_the_twin_of_the_official_script(data: st.DataObject):
    references = data.draw(QUESTIONS)
    predictions = data.draw(st.dictionaries(st.sampled_from(sorted(references)), TEXTS))
    v2 = data.draw(st.booleans()) or not all(references.values())
    found = score(predictions, references, v2=v2)
    assert (found["exact_match"], found["f1"]) == pytest.approx(slow_score(predictions, references, v2=v2))
    assert found["missing"] == len(references) - len(predictions)
    for kind, wanted in (("HasAns", True), ("NoAns", False)):
        part = {key: texts for key, texts in references.items() if bool(texts) is wanted}
        if v2 and part:
            chosen = {key: text for key, text in predictions.items() if key in part}
            expected = slow_score(chosen, part, v2=True)
            assert (found[f"{kind}_exact"], found[f"{kind}_f1"]) == pytest.approx(expected)
            assert found[f"{kind}_total"] == len(part)
        else:
            assert f"{kind}_exact" not in found


@settings(max_examples=200)
@given(st.data())
def test_the_best_threshold_is_that_of_every_cut_tried(data: st.DataObject):
    references = data.draw(QUESTIONS) | {"none": []}
    predictions = {key: data.draw(TEXTS) for key in references}
    sure = {key: data.draw(st.sampled_from([0.0, 0.25, 0.5, 1.0, 3.5])) for key in references}
    found = score(predictions, references, null_probabilities=sure)
    for name in ("exact", "f1"):
        scores = {
            key: slow_score({key: predictions[key]}, {key: references[key]}, v2=True)[name == "f1"] / 100
            for key in references
        }
        best, threshold = slow_best(predictions, references, sure, scores)
        assert found[f"best_{name}"] == pytest.approx(best)
        if name == "exact":  # sums of thirds may differ in their last digit, and so may the place of the best
            assert found[f"best_{name}_thresh"] == threshold
        refused = {key: "" if sure[key] > 1 else text for key, text in predictions.items()}
        right = {key: [text for text in texts if slow_words(text)] for key, texts in references.items()}
        if all(bool(right[key]) == bool(references[key]) for key in references):
            expected = slow_score(refused, references, v2=True)[name == "f1"]
            assert found["exact_match" if name == "exact" else "f1"] == pytest.approx(expected)


def test_a_threshold_by_hand():
    references = {"q1": ["red"], "q2": ["blue"], "q3": []}
    predictions = {"q1": "red", "q2": "green", "q3": "black"}
    sure = {"q1": 0.1, "q2": 0.2, "q3": 0.9}
    found = score(predictions, references, null_probabilities=sure)
    assert (found["exact_match"], found["HasAns_exact"], found["NoAns_exact"]) == pytest.approx((100 / 3, 50, 0))
    assert (found["best_exact"], found["best_exact_thresh"]) == pytest.approx((200 / 3, 0.1))
    cut = score(predictions, references, null_probabilities=sure, threshold=0.5)
    assert (cut["exact_match"], cut["NoAns_exact"]) == pytest.approx((200 / 3, 100))


def test_the_worked_examples_that_the_metric_is_published_with():
    references = {"56e10a3be3433e1400422b22": ["1976"]}  # of the model cards and metric cards for SQuAD
    found = score({"56e10a3be3433e1400422b22": "1976"}, references)
    assert (found["exact_match"], found["f1"]) == (100.0, 100.0)
    both = {"56d2051ce7d4791d0090260b": ["Beyoncé and Bruno Mars"], "56e10a3be3433e1400422b22": ["1976"]}
    answers = {"56d2051ce7d4791d0090260b": "Bruno Mars", "56e10a3be3433e1400422b22": "1976"}
    found = score(answers, both)
    assert (found["exact_match"], found["f1"]) == pytest.approx((50.0, (100 * 2 / 3 + 100) / 2))


def test_missing_and_unknown_ids_are_counted_and_missing_ones_score_nothing():
    found = score({"q1": "red", "q9": "x"}, {"q1": ["red"], "q2": ["blue"]})
    assert found == {"exact_match": 50.0, "f1": 50.0, "total": 2, "missing": 1, "unknown": 1}
    found = score({"q1": "red"}, {"q1": ["red"], "q2": []})
    assert (found["exact_match"], found["NoAns_exact"]) == (50.0, 0.0)
    found = score({"q1": "red"}, {"q1": ["red"], "q2": []}, null_probabilities={"q1": 0.2})
    assert (found["best_exact"], found["best_exact_thresh"]) == (50.0, 0.2)


@pytest.mark.parametrize(
    ("predictions", "references", "null", "words"),
    [
        ({}, {}, None, "no question"),
        ({"q": None}, {"q": ["x"]}, None, "question 'q' must be a text.*None"),
        ({"q": "x"}, {"q": ["x"]}, {"q": 0.1}, "all of these have an answer"),
        ({"q": "x"}, {"q": []}, {}, "'q' has a prediction, but no null probability"),
        ({"q": "x"}, {"q": []}, {"q": math.nan}, "must be a number, got nan"),
        ({"q": "x"}, {"q": []}, {"q": "0.5"}, "must be a number, got '0.5'"),
    ],
)
def test_what_cannot_be_scored_is_refused(predictions: Any, references: Any, null: Any, words: str):
    with pytest.raises(DataError, match=words):
        score(predictions, references, null_probabilities=null)

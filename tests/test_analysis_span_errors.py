"""Each wrong answer is wrong in one way, and answers are scored by kind of question and place in the text."""

from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pytest

from harness.analysis import span_errors
from harness.analysis.span_errors import Question, question_word, taken_apart, way
from harness.analysis.statistics import t_interval, wilson

CONTEXT = "In 1066 William the Conqueror crossed the Channel and won at Hastings."
NULL = (-1.0, -1.0)


def example(question: str, *references: str, context: str = CONTEXT) -> tuple[str, str]:
    """Text and label as stored."""
    pairs = [[context.index(answer), answer] for answer in references]
    return f"{question}\n{context}", json.dumps(pairs)


def of(answer: str, context: str = CONTEXT) -> tuple[float, float]:
    return float(context.index(answer)), float(context.index(answer) + len(answer))


def answered(stored: list[tuple[str, str]], spans: list[list[tuple[float, float]]]) -> pd.DataFrame:
    """Answers whose scores fall by 1 from place to place; source rows are 10, 11, ..."""
    table = np.full((len(stored), 5, 4), np.nan, np.float32)
    for row, each in enumerate(spans):
        for place, (start, end) in enumerate(each):
            table[row, place] = (start, end, -place, 0.5 / (place + 1))
    examples = pd.DataFrame(
        {
            "source_row": pd.Series(range(10, 10 + len(stored)), dtype="Int64"),
            "label": pd.Series([label for _, label in stored], dtype="str"),
            "text": pd.Series([text for text, _ in stored], dtype="str"),
        }
    )
    return span_errors.answers(table, np.arange(len(stored), dtype=np.float32), examples)


# --- examples -------------------------------------------------------------------------------------------


def test_a_stored_pair_is_question_and_context_with_its_references():
    found = taken_apart(*example("Who won?", "William", "William the Conqueror"))
    assert found == Question("Who won?", CONTEXT, (8, 8), ("William", "William the Conqueror"))


def test_a_question_of_two_lines_is_told_from_its_context_by_the_references():
    found = taken_apart(f"Who won\nthat day?\n{CONTEXT}", json.dumps([[8, "William"]]))
    assert (found.question, found.context) == ("Who won\nthat day?", CONTEXT)


def test_a_context_of_two_paragraphs_stays_whole():
    found = taken_apart("Who?\nfirst\nWilliam", json.dumps([[6, "William"]]))
    assert (found.question, found.context) == ("Who?", "first\nWilliam")


def test_without_references_the_first_line_is_the_question():
    assert taken_apart("Who?\nfirst\nsecond", "[]") == Question("Who?", "first\nsecond", (), ())


# --- answers --------------------------------------------------------------------------------------------


def test_an_answer_is_its_stretch_of_the_context_scored_against_the_best_reference():
    stored = [example("Who won?", "William", "William the Conqueror")] * 3
    found = answered(stored, [[of("William the Conqueror")], [of("the Conqueror crossed")], [of("Hastings.")]])
    assert found["predicted"].tolist() == ["William the Conqueror", "the Conqueror crossed", "Hastings."]
    assert found["exact"].tolist() == [True, False, False] and found["wrong"].tolist() == [False, True, True]
    # {conqueror, crossed} and {william, conqueror} share one of two words each
    assert found["f1"].tolist() == pytest.approx([1.0, 0.5, 0.0])
    assert found["probability"].tolist() == [0.5] * 3 and found["loss"].tolist() == [0.0, 1.0, 2.0]
    assert found["source_row"].tolist() == [10, 11, 12]


def test_articles_case_and_punctuation_do_not_count():
    assert answered([example("Where?", "Hastings")], [[of("Hastings.")]])["exact"].tolist() == [True]


def test_the_place_of_the_first_exact_answer_is_kept():
    stored = [example("When?", "1066")] * 3
    wrong = of("Hastings")
    found = answered(stored, [[of("1066")], [wrong, wrong, of("1066"), of("In 1066"), of("1066")], [wrong]])
    assert found["exact_rank"].tolist() == [1, 3, 0]


def test_places_that_no_span_fills_are_no_null_answers():
    stored = [example("Who lost?"), example("When?", "1066")]
    found = answered(stored, [[of("William")], [of("1066")]])
    assert found["exact_rank"].tolist() == [0, 1]  # the empty text would be right for the first
    assert answered(stored, [[of("William"), NULL], [of("1066")]])["exact_rank"].tolist() == [2, 1]


def test_a_question_without_an_answer_is_right_with_none():
    stored = [example("Who lost?"), example("When?", "1066")]
    found = answered(stored, [[NULL], [NULL]])
    assert found["predicted"].tolist() == ["", ""] and found["exact"].tolist() == [True, False]
    assert found["way"].tolist() == ["", "no answer given"]


def test_an_example_without_a_finite_span_is_left_out():
    found = answered([example("When?", "1066"), example("Who?", "William")], [[], [of("William")]])
    assert found["source_row"].tolist() == [11]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("William the Conqueror crossed", "too long"),
        ("William", "too short"),
        ("Conqueror crossed", "shifted"),
        ("the Channel", "elsewhere"),
    ],
)
def test_a_wrong_answer_misses_in_one_way(answer: str, expected: str):
    part = Question("Who?", CONTEXT, (8,), ("William the Conqueror",))
    assert way(part, *(int(place) for place in of(answer)), 0.0) == expected


def test_words_of_the_reference_at_another_place_are_told_from_other_words():
    part = Question("Who?", "William and William", (12,), ("William I",))
    assert way(part, 0, 7, 0.5) == "same words elsewhere" and way(part, 0, 7, 0.0) == "elsewhere"
    assert way(Question("Who?", "x", (), ()), 0, 1, 0.0) == "answered without need"


# --- all errors -------------------------------------------------------------------------------------------


def test_each_wrong_answer_is_counted_in_one_way():
    stored = [example("Who won?", "William the Conqueror")] * 5
    spans = [
        [of("William the Conqueror")],
        [of("William"), of("William the Conqueror")],
        [of("William")],
        [of("Hastings")],
        [of("1066")],
    ]
    found = span_errors.by_way(answered(stored, spans))
    assert found[["way", "examples", "next_four"]].values.tolist() == [["too short", 2, 1], ["elsewhere", 2, 0]]
    assert found["share_low"][0] == wilson(2, 4).low


def test_near_misses_share_words_or_have_the_right_answer_next():
    stored = [example("Who won?", "William the Conqueror")] * 4
    spans = [
        [of("William")],
        [of("Hastings"), of("William the Conqueror")],
        [of("1066")],
        [of("William the Conqueror")],
    ]
    found = span_errors.near_misses(answered(stored, spans))
    assert found["source_row"].tolist() == [10, 11]


# --- kinds of questions -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("question", "word"),
    [
        ("In what year did who win?", "what"),
        ("WHOSE ship was it?", "who"),
        ("To whom?", "who"),
        ("How many ships?", "how many"),
        ("How much did it cost?", "how many"),
        ("How did he win?", "how"),
        ("The somehow whatever of it", "other"),
        ("Name the battle.", "other"),
    ],
)
def test_the_first_word_that_asks_counts(question: str, word: str):
    assert question_word(question) == word


def test_exact_match_and_f1_of_each_kind_with_their_intervals():
    stored = [example("Who won?", "William the Conqueror")] * 2 + [
        example("When was it?", "1066"),
        example("Who lost?"),
    ]
    found = span_errors.by_kind(
        answered(stored, [[of("William the Conqueror")], [of("William")], [of("1066")], [NULL]])
    )
    rows = {(row["kind"], row["part"]): row for row in found.to_dict("records")}
    who = rows["question word", "who"]
    assert (who["examples"], who["wrong"]) == (3, 1) and who["exact_match_low"] == wilson(2, 3).low
    assert who["f1"] == pytest.approx((1 + 2 / 3 + 1) / 3) and who["f1_low"] == t_interval([1, 2 / 3, 1]).low
    assert who["f1_high"] == 1.0 < t_interval([1, 2 / 3, 1]).high  # an F1 ends there
    assert who["loss"] == pytest.approx((0 + 1 + 3) / 3)
    assert [part for kind, part in rows if kind == "length of the answer"] == ["1 word", "3 to 4 words", "no answer"]
    assert [part for kind, part in rows if kind == "place of the answer in the context"] == ["first fifth"]
    assert sum(row["examples"] for (kind, _), row in rows.items() if kind.startswith("length of the context")) == 4


def test_an_answer_at_the_very_end_is_in_the_last_fifth():
    found = span_errors.by_kind(answered([example("Where?", "Hastings.")], [[of("Hastings.")]]))
    assert "last fifth" in found["part"].tolist()


def test_a_part_of_one_question_has_no_interval_of_f1():
    found = span_errors.by_kind(answered([example("Where?", "Hastings.")], [[of("Hastings.")]]))
    assert found["f1"].tolist() == [1.0] * 4 and all(math.isnan(low) for low in found["f1_low"])

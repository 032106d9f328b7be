"""From tokens to words, and what the numbers of an explanation come to."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.analysis.attributions import Word, agreement, by_part, missed, stretch, strongest, words
from harness.report.shaded_words import Explained, shaded
from harness.report.shades import STRENGTHS, Mark, strength

TOKENS = [("[CLS]", -1, -1), ("un", 0, 0), ("kind", 0, 0), (" act", 0, 1), ("[SEP]", -1, -1), ("yes", 1, 2)]
SCORES = [0.5, 0.25, 0.25, -1.0, 0.0, 2.0]


def test_pieces_of_a_word_are_one_word_with_the_sum_of_their_scores() -> None:
    assert words(TOKENS, SCORES) == [Word("unkind", 0, 0.5), Word(" act", 0, -1.0), Word("yes", 1, 2.0)]


def test_the_strongest_words_are_those_of_either_sign() -> None:
    assert [word.text for word in strongest(words(TOKENS, SCORES), 2)] == ["yes", " act"]


def test_what_was_done_is_shared_among_texts_and_special_tokens() -> None:
    assert by_part(TOKENS, SCORES) == {-1: 0.125, 0: 0.375, 1: 0.5}


def test_what_the_scores_miss_is_a_share_of_the_rise() -> None:
    frame = pd.DataFrame({"value": [3.0, 1.0], "baseline_value": [1.0, math.nan], "delta": [-0.1, math.nan]})
    assert missed(frame).tolist()[0] == pytest.approx(0.05) and math.isnan(missed(frame).tolist()[1])


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 20)), max_size=14), st.integers(1, 30))
def test_a_stretch_is_the_heaviest_of_all_that_fit(pairs: list[tuple[int, int]], at_most: int) -> None:
    lengths, weights = [pair[0] for pair in pairs], [float(pair[1]) for pair in pairs]
    found = stretch(lengths, weights, at_most)
    inside = range(len(pairs) + 1)
    fitting = [
        sum(weights[a:b]) for a in inside for b in inside if a < b and (sum(lengths[a:b]) <= at_most or b == a + 1)
    ]
    assert sum(weights[found]) == max(fitting, default=0)
    assert sum(lengths[found]) <= at_most or found.stop - found.start == 1


def test_methods_that_order_words_alike_agree_whatever_their_signs() -> None:
    tokens = [(word, 0, place) for place, word in enumerate("abcd")]
    rows = [("integrated-gradients", [-4.0, 3.0, -2.0, 1.0]), ("attention-rollout", [0.4, 0.3, 0.2, 0.1])]
    frame = pd.DataFrame(
        [{"trial": 0, "position": 0, "target": "a", "method": m, "tokens": tokens, "scores": s} for m, s in rows]
    )
    assert agreement(frame, "integrated-gradients", "attention-rollout") == [pytest.approx(1.0)]
    assert agreement(frame.head(1), "integrated-gradients", "attention-rollout") == []


def test_shades_have_as_many_strengths_for_as_against() -> None:
    assert [strength(score, 2.0) for score in (-2, -1.1, 0.1, 1.1, 2)] == [-5, -3, 0, 3, 5]
    assert strength(0.0, 0.0) == 0
    marks = [Mark("x", step) for step in range(-STRENGTHS, STRENGTHS + 1)]
    assert len({mark.shade for mark in marks}) == len({mark.style for mark in marks}) == 2 * STRENGTHS + 1


def test_a_long_text_is_cut_to_what_did_most() -> None:
    tokens = [(f" w{place}", 0, place) for place in range(100)]
    scores = np.zeros(100)
    scores[50] = 1.0
    ((_, marks),) = shaded([Explained("good", tokens, scores.tolist())], asks=False, at_most=30)
    text = "".join(mark.text for mark in marks)
    assert "w50" in text and len(text) < 45 and text.endswith(" …")


def test_what_attention_says_of_two_classes_is_said_once() -> None:
    same = [Explained(name, TOKENS, SCORES) for name in ("bad", "good")]
    assert [name for name, _ in shaded(same, asks=False)] == ["bad and good: first text", "bad and good: second text"]


def test_a_question_without_a_shade_is_not_repeated() -> None:
    tokens = [("who", 0, 0), ("Ann", 1, 1)]
    both = [Explained("start", tokens, [0.0, 1.0]), Explained("end", tokens, [0.0, 2.0])]
    assert [name for name, _ in shaded(both, asks=True)] == [
        "start of the answer: question", "start of the answer: context", "end of the answer: context",
    ]  # fmt: skip

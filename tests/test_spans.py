"""The best spans against the field's script written slowly: lists, loops, one example after the other."""

import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.spans import N_BEST, NULL, STORED, best_spans, window_losses
from harness.tasks.base import Features


def windows(offsets, example):
    """Features that have these offsets; what else they hold is not read here."""
    count = len(offsets)
    return Features(
        input_ids=[np.zeros(len(each), dtype=np.int32) for each in offsets],
        token_type_ids=None,
        labels=np.zeros((count, 2), dtype=np.int64),
        example=np.array(example, dtype=np.int64),
        truncated=np.zeros(count, dtype=bool),
        pad_id=0,
        offsets=[np.array(each, dtype=np.int32).reshape(-1, 2) for each in offsets],
    )


def slowly(logits, features, example, longest, null):
    """(score, start, end) of one example, best first: every window, every start, every end, as run_squad.py does it."""
    found, null_score = [], math.inf
    for row in np.flatnonzero(features.example == example):
        offsets = features.offsets[row].tolist()
        tokens = range(len(offsets))
        starts = sorted(tokens, key=lambda t: -logits[row, t, 0])[:N_BEST]  # sorted is stable
        ends = sorted(tokens, key=lambda t: -logits[row, t, 1])[:N_BEST]
        null_score = min(null_score, float(logits[row, 0, 0]) + float(logits[row, 0, 1]))
        for start in starts:
            for end in ends:
                if offsets[start][0] < 0 or offsets[end][0] < 0 or end < start or end - start + 1 > longest:
                    continue
                score = float(logits[row, start, 0]) + float(logits[row, end, 1])
                found.append((score, offsets[start][0], offsets[end][1]))
    found.sort(key=lambda each: -each[0])
    unique = list({each[1:]: each for each in reversed(found)}.values())[::-1]  # the first of equal spans stays
    unique.sort(key=lambda each: (-each[0], found.index(each)))
    if null or not unique:
        unique.append((null_score, NULL, NULL))
        unique.sort(key=lambda each: -each[0])
    return unique[:N_BEST]


def random_case(seed, examples=6, whole=False):
    """Windows of random length and offsets; small whole logits give many ties."""
    random = np.random.default_rng(seed)
    offsets, example = [], []
    for number in range(examples):
        for window in range(random.integers(1, 4)):
            asked, length = random.integers(2, 5), int(random.integers(1, 40))
            first = 10 * window
            places = [(first + 3 * n, first + 3 * n + 2) for n in range(length)]
            offsets.append([(NULL, NULL)] * asked + places + [(NULL, NULL)])
            example.append(number)
    features = windows(offsets, example)
    logits = np.full((len(offsets), int(features.lengths.max()), 2), -np.inf, dtype=np.float32)
    for row, length in enumerate(features.lengths):
        values = random.integers(-2, 3, (length, 2)) if whole else random.normal(0, 4, (length, 2))
        logits[row, :length] = values
    return logits, features, examples


@pytest.mark.parametrize("null", [False, True])
@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), whole=st.booleans(), longest=st.integers(1, 12))
def test_spans_scores_and_ties_are_those_of_the_slow_twin(null, seed, whole, longest):
    logits, features, examples = random_case(seed, whole=whole)
    found = best_spans(logits, features, examples, longest, null)
    for number in range(examples):
        expected = slowly(logits, features, number, longest, null)
        count = len(expected)
        assert list(zip(found.start[number, :count], found.end[number, :count], strict=True)) == [
            e[1:] for e in expected
        ]
        np.testing.assert_array_equal(found.score[number, :count], [e[0] for e in expected])
        assert np.isnan(found.score[number, count:]).all()
        weights = np.exp([e[0] - expected[0][0] for e in expected])
        np.testing.assert_allclose(found.probability[number, :count], weights / weights.sum(), rtol=1e-12)


def test_the_answer_is_read_from_the_best_window_in_the_contexts_characters():
    context = "Ada wrote it in 1843."
    tokens = [(0, 3), (4, 9), (10, 12), (13, 15), (16, 20), (20, 21)]
    features = windows([[(NULL, NULL)] * 3 + tokens[:4] + [(NULL, NULL)], [(NULL, NULL)] * 3 + tokens[3:]], [0, 0])
    logits = np.zeros((2, 8, 2), dtype=np.float32)
    logits[0, 3] = 4.0  # Ada
    logits[1, 4] = 5.0  # 1843
    logits[1, 6:] = -np.inf
    found = best_spans(logits, features, 1, 30, null=False)
    assert found.texts([context]) == ["1843"]


def test_no_answer_wins_only_where_it_scores_more_than_every_span():
    features = windows([[(NULL, NULL), (0, 3)]] * 3, [0, 1, 2])
    logits = np.zeros((3, 2, 2), dtype=np.float32)
    logits[0, 0], logits[1, 1] = 1.0, 1.0  # the first denies, the second answers, the third is even
    assert best_spans(logits, features, 3, 30, null=True).texts(["yes"] * 3) == ["", "yes", "yes"]
    assert best_spans(logits, features, 3, 30, null=False).texts(["yes"] * 3) == ["yes"] * 3


def test_a_context_without_tokens_has_the_empty_answer():
    features = windows([[(NULL, NULL)] * 3], [0])
    found = best_spans(np.zeros((1, 3, 2), dtype=np.float32), features, 1, 30, null=False)
    assert (found.texts(["   "]), found.probability[0, 0]) == ([""], 1.0)


def test_the_record_keeps_five_spans_and_says_where_there_are_fewer():
    features = windows([[(NULL, NULL), (0, 3), (4, 7)]], [0])
    stored = best_spans(np.zeros((1, 3, 2), dtype=np.float32), features, 1, 30, null=False).stored()
    assert stored.shape == (1, STORED, 4) and stored.dtype == np.float32
    assert stored[0, :3, :2].tolist() == [[0, 3], [0, 7], [4, 7]]
    assert np.isnan(stored[0, 3:]).all()


def test_the_loss_of_a_window_is_the_mean_of_two_cross_entropies_without_padding():
    logits = np.array([[[0.0, 2.0], [1.0, 0.0], [-np.inf, -np.inf]]], dtype=np.float32)
    start = math.log(1 + math.e) - 1.0
    end = math.log(math.exp(2) + 1) - 2.0
    assert window_losses(logits, np.array([[1, 0]])).item() == pytest.approx((start + end) / 2, rel=1e-12)


def test_ten_thousand_questions_take_seconds():
    random = np.random.default_rng(0)
    count, length = 10_570, 170
    offsets = np.stack([5 * np.arange(length), 5 * np.arange(length) + 4], axis=1)
    offsets[:12] = NULL
    features = windows([offsets] * count, np.arange(count))
    logits = random.normal(0, 3, (count, length, 2)).astype(np.float32)
    began = time.process_time()
    best_spans(logits, features, count, 30, null=False)
    assert time.process_time() - began < 20

"""The built-in reviews are balanced, depend on their seed alone, and cannot be told apart by their words one by one."""

from __future__ import annotations

import re
import time

import numpy as np
import pytest

from harness.builtin import vocabulary
from harness.builtin.corpus import LONGEST, SHORTEST, reviews


def test_equal_seeds_give_equal_tables_and_other_seeds_others():
    assert reviews(50, seed=3).equals(reviews(50, seed=3))
    assert not reviews(50, seed=3).equals(reviews(50, seed=4))


def test_the_first_reviews_never_change():
    """Published figures rest on them."""
    first = reviews(2)
    assert first["text"].to_pylist()[1] == (
        "The water tank is really pleasant. "
        "The first cup is ready before I am awake and it is in no way poor as a brewer, I must say."
    )
    assert first["label"].to_pylist() == ["negative", "positive"]


def test_a_larger_table_begins_with_the_smaller_one():
    assert reviews(200).slice(0, 51).equals(reviews(51))


def test_labels_are_balanced_with_and_without_noise():
    for noise in (0.0, 0.3):
        labels = reviews(500, noise=noise)["label"].to_pylist()
        assert labels.count("positive") == labels.count("negative") == 250


def test_noise_is_the_share_of_labels_that_contradict_their_text():
    clean, noisy = reviews(4000, noise=0.0), reviews(4000, noise=0.1)
    assert clean["text"].equals(noisy["text"])
    turned = np.mean([a != b for a, b in zip(clean["label"].to_pylist(), noisy["label"].to_pylist(), strict=True)])
    assert turned == pytest.approx(0.1, abs=0.02)


def test_lengths_spread_from_five_to_a_hundred_and_twenty_words():
    lengths = np.array([len(text.split()) for text in reviews(2000)["text"].to_pylist()])
    assert (lengths.min(), lengths.max()) == (SHORTEST, LONGEST) == (5, 120)
    assert np.mean(lengths < 15) > 0.1
    assert np.mean(lengths > 60) > 0.1


def test_a_thousand_rows_take_less_than_a_second():
    start = time.perf_counter()
    reviews(1000)
    assert time.perf_counter() - start < 1


def opinion_of_single_clause(text: str) -> str | None:
    """Obvious twin for reviews of one plain clause such as `The lid is hardly good.`; None for any other."""
    good, bad = "|".join(vocabulary.GOOD), "|".join(vocabulary.BAD)
    nots = "|".join(vocabulary.NEGATIONS)
    found = re.fullmatch(rf"The [a-z ]+ (?:is|are) (?:({nots}) )?(?:[a-z]+ )?(?:({good})|({bad}))\.", text)
    return found and ("positive" if bool(found[2]) != bool(found[1]) else "negative")


def test_a_negation_turns_the_opinion_round():
    table = reviews(20_000, noise=0.0)
    rows = zip(table["text"].to_pylist(), table["label"].to_pylist(), strict=True)
    pairs = [(opinion, label, text) for text, label in rows if (opinion := opinion_of_single_clause(text))]
    assert len(pairs) > 30
    assert any(" not " in text for *_, text in pairs)
    assert [text for opinion, label, text in pairs if opinion != label] == []


def test_in_a_contrast_the_last_clause_decides():
    table = reviews(20_000, noise=0.0)
    rows = zip(table["text"].to_pylist(), table["label"].to_pylist(), strict=True)
    ends = [(text, label) for text, label in rows if text.count(".") == 1 and " but the " in text]
    ruined = [label for text, label in ends if any(text.endswith(f"{end}.") for end in vocabulary.RUINED)]
    saved = [label for text, label in ends if any(text.endswith(f"{end}.") for end in vocabulary.SAVED)]
    assert set(ruined) == {"negative"}
    assert set(saved) == {"positive"}


def test_words_alone_do_not_give_the_label_away():
    """A bag of words must leave room for an encoder: clearly above chance, far below the noise ceiling."""
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression

    table = reviews(3000, noise=0.0)
    labels = np.array(table["label"].to_pylist())
    words = CountVectorizer().fit_transform(table["text"].to_pylist())
    model = LogisticRegression(C=0.1, max_iter=1000).fit(words[:2000], labels[:2000])
    assert 0.7 < model.score(words[2000:], labels[2000:]) < 0.92


@pytest.mark.parametrize(("rows", "noise"), [(1, 0.0), (10, 0.6), (10, -0.1)])
def test_impossible_tables_are_refused(rows: int, noise: float):
    with pytest.raises(ValueError, match="must"):
        reviews(rows, noise=noise)


def test_every_row_has_a_product_and_a_title():
    table = reviews(300)
    assert set(table["product"].to_pylist()) == set(vocabulary.KINDS)
    assert all(table["title"].to_pylist())

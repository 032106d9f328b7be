"""The script that makes the built-in model hides words, asks for topics, and reads no review of a study."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import transformers
from safetensors import safe_open

from harness.builtin import corpus, pretrain
from harness.builtin.topics import text_topics, word_topics

# Word ids: 0 to 3 stand in reviews of one matter, 4 to 7 in those of another; 8 stands everywhere, 9 nowhere.
REVIEWS = [
    [[0, 8], [1, 8]],
    [[2, 8], [3, 8]],
    [[0, 2], [1, 3, 8]],
    [[4, 8], [5, 8]],
    [[6, 8], [7, 8]],
    [[4, 6], [5, 7, 8]],
]


def test_words_of_one_matter_lie_on_one_side():
    first = word_topics(REVIEWS, words=10, topics=1)[:, 0]
    assert len(set(np.sign(first[:4]))) == len(set(np.sign(first[4:8]))) == 1
    assert np.sign(first[0]) == -np.sign(first[4])
    assert first[8] == pytest.approx(0, abs=1e-9)
    assert first[9] == 0


def test_topics_agree_with_a_slow_twin():
    """Pairs of words counted one by one, then the correspondence analysis of the textbook."""
    rng = np.random.default_rng(0)
    reviews = [[rng.integers(0, 6, 3).tolist() for _ in range(rng.integers(1, 5))] for _ in range(50)]
    counts = np.zeros((6, 6))
    for review in reviews:
        middle = (len(review) + 1) // 2
        for a in {word for sentence in review[:middle] for word in sentence}:
            for b in {word for sentence in review[middle:] for word in sentence}:
                counts[a, b] += 1
                counts[b, a] += 1
    share = counts / counts.sum()
    mass = share.sum(1)
    residuals = np.diag(mass**-0.5) @ (share - np.outer(mass, mass)) @ np.diag(mass**-0.5)
    values, axes = np.linalg.eigh(residuals)
    expected = np.diag(mass**-0.5) @ axes[:, [values.argmax()]]
    found = word_topics(reviews, words=6, topics=1)
    np.testing.assert_allclose(np.abs(found), np.minimum(np.abs(expected), 3), atol=1e-5)
    assert (mass[:, None] * found**2).sum() == pytest.approx(1, abs=1e-5)


def test_a_text_counts_each_of_its_words_once():
    assert text_topics(np.array([[1.0], [4.0]]), [0, 0, 0, 1]).tolist() == [2.5]


@pytest.fixture(scope="module")
def tokenizer():
    return pretrain.train_tokenizer(corpus.reviews(300, seed=3)["text"].to_pylist())


def reader(reviews: list[list[list[int]]], words: int, seed: int = 0) -> pretrain.Reader:
    return pretrain.Reader(reviews, np.random.default_rng(1).normal(size=(words, pretrain.TOPICS)), seed)


def test_sentences_end_to_end_are_the_text(tokenizer):
    texts = corpus.reviews(60, seed=4)["text"].to_pylist()
    joined = [[id_ for sentence in text for id_ in sentence] for text in pretrain.sentences(tokenizer, texts)]
    assert joined == [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]


def test_what_is_seen_and_what_is_hidden_make_up_the_review():
    review = [[5, 6], [7, 8, 9], [10]]
    read = reader([review, [[11], [12]]], words=20)
    sides = set()
    for _ in range(200):
        row = read.row(review)
        assert (row.ids[0], row.ids[-1]) == (pretrain.CLS, pretrain.SEP)
        seen = row.ids[1:-1]
        hidden = [word for word in range(5, 11) if word not in seen]
        if hidden:
            np.testing.assert_allclose(row.topics, text_topics(read.coordinates, hidden))
        else:
            assert np.isnan(row.topics).all()
        sides.add(tuple(seen))
    assert sides == {(5, 6), (7, 8, 9, 10), (5, 6, 7, 8, 9), (10,), (5, 6, 7, 8, 9, 10)}


def test_of_a_single_sentence_nothing_is_hidden_and_no_topic_is_asked():
    read = reader([[[5, 6, 7]], [[8, 9]]], words=20)
    model = pretrain.new_model(read.coordinates)
    _, topics = pretrain.batch_losses(model, torch.nn.Linear(128, pretrain.TOPICS), next(read.batches(2)))
    assert topics.item() == 0


def test_the_pooler_learns_from_the_topics(tokenizer):
    reviews = pretrain.sentences(tokenizer, corpus.reviews(40, seed=5)["text"].to_pylist())
    read = reader(reviews, words=tokenizer.get_vocab_size())
    model = pretrain.new_model(read.coordinates)
    losses = pretrain.batch_losses(model, torch.nn.Linear(128, pretrain.TOPICS), next(read.batches(16)))
    torch.autograd.backward(losses[1])
    assert model.bert.pooler.dense.weight.grad.abs().sum() > 0


def test_words_begin_at_their_topics():
    coordinates = np.zeros((30, pretrain.TOPICS))
    coordinates[:10, 0], coordinates[10:20, 0] = 3, -3
    torch.manual_seed(0)
    words = torch.nn.functional.normalize(pretrain.new_model(coordinates).bert.embeddings.word_embeddings.weight, dim=1)
    alike, apart = words[:10] @ words[:10].T, words[:10] @ words[10:20].T
    assert alike.min() > 0 > apart.max()


def test_equal_seeds_read_equal_batches():
    reviews = [[[5, 6], [7]], [[8], [9, 10]], [[11, 12]]]
    first, second = (next(reader(reviews, words=20, seed=2).batches(3)) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        torch.testing.assert_close(a, b, equal_nan=True)


def test_what_is_saved_loads_whole_as_a_classifier(tokenizer, tmp_path):
    coordinates = np.random.default_rng(0).normal(size=(tokenizer.get_vocab_size(), pretrain.TOPICS))
    model = pretrain.new_model(coordinates)
    pretrain.save(model, tokenizer, tmp_path)
    _, loading = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert set(loading["missing_keys"]) == {"classifier.weight", "classifier.bias"}
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert {file.get_tensor(name).dtype for name in file.keys()} == {torch.float16}  # noqa: SIM118  not a dict


def test_no_review_of_a_study_is_read():
    """At full size, for the shipped weights were made so."""
    assert pretrain.CORPUS_SEED != corpus.SEED
    read = pretrain.corpus_texts(40_000)
    assert len(read) > 39_000
    assert not set(read) & set(corpus.reviews()["text"].to_pylist())

"""The built-in model is small, knows its corpus, and has learnt from it what a frozen encoder needs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers

from harness.builtin import corpus, tiny
from harness.builtin.tiny import resolve_model
from harness.errors import SpecError
from harness.pretrained import load_pretrained


def test_the_shipped_folder_is_smaller_than_four_megabytes():
    assert sum(file.stat().st_size for file in Path(tiny.folder()).rglob("*") if file.is_file()) < 4_000_000


def test_other_names_stay_as_they_are():
    assert resolve_model("bert-base-uncased") == "bert-base-uncased"
    assert resolve_model("builtin:tiny") == tiny.folder()


def test_an_unknown_built_in_model_is_refused_with_the_known_ones():
    with pytest.raises(SpecError, match="builtin:tiny"):
        resolve_model("builtin:huge")


def test_it_is_a_bert_of_at_least_four_layers_with_few_words():
    config = transformers.AutoConfig.from_pretrained(tiny.folder())
    assert config.model_type == "bert"
    assert config.num_hidden_layers >= 4
    assert config.vocab_size <= 2000


def test_the_vocabulary_covers_the_corpus():
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny.folder())
    encoded = tokenizer(corpus.reviews(300, seed=5)["text"].to_pylist())["input_ids"]
    assert not any(tokenizer.unk_token_id in ids for ids in encoded)
    assert len(tokenizer) <= transformers.AutoConfig.from_pretrained(tiny.folder()).vocab_size


def test_pairs_get_segment_ids():
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny.folder())
    encoded = tokenizer("the lid is good", "the jar is bad")
    assert set(encoded["token_type_ids"]) == {0, 1}
    assert tokenizer.decode(encoded["input_ids"]).count("[SEP]") == 2


def test_only_the_classifier_is_new_to_a_study():
    settings = {"dropout": None, "revision": None}
    model = load_pretrained(transformers.AutoModelForSequenceClassification, tiny.folder(), **settings)
    assert model.fresh_parameters == {"classifier.weight", "classifier.bias"}


def test_a_classifier_on_the_frozen_encoder_tells_good_from_bad_on_fresh_reviews():
    """Or studies that freeze would have nothing to compare; half of these reviews are positive."""
    from sklearn.linear_model import LogisticRegression

    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny.folder())
    model = transformers.AutoModel.from_pretrained(tiny.folder(), dtype=torch.float32).eval()
    table = corpus.reviews(900, seed=606, noise=0.0)
    pooled = []
    for start in range(0, 900, 100):
        texts = table["text"].to_pylist()[start : start + 100]
        with torch.inference_mode():
            encoded = tokenizer(texts, max_length=64, truncation=True, padding=True, return_tensors="pt")
            pooled.append(model(**encoded).pooler_output)
    features, labels = torch.cat(pooled).numpy(), table["label"].to_pylist()
    classifier = LogisticRegression(max_iter=1000).fit(features[:600], labels[:600])
    assert classifier.score(features[600:], labels[600:]) > 0.7


@pytest.mark.slow
def test_it_guesses_masked_words_far_better_than_chance():
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny.folder())
    model = transformers.AutoModelForMaskedLM.from_pretrained(tiny.folder(), dtype=torch.float32).eval()
    hits = 0
    texts = ["I stayed [MASK] in a storm.", "Money well [MASK].", "It came in a blue [MASK] with a small booklet."]
    for text, word in zip(texts, ("dry", "spent", "box"), strict=True):
        encoded = tokenizer(text, return_tensors="pt")
        with torch.inference_mode():
            logits = model(**encoded).logits[0]  # (sequence, vocabulary)
        place = encoded["input_ids"][0].tolist().index(tokenizer.mask_token_id)
        hits += tokenizer.decode([int(logits[place].argmax())]).strip() == word
    assert hits == 3

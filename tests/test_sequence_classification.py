"""Texts and pairs into features, on a tokeniser of made-up words."""

import numpy as np
import pytest
import small_models
import torch
import transformers

from harness.configuration import TrialConfig
from harness.tasks.base import Examples, load
from harness.tasks.sequence_classification import SequenceClassification


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return transformers.AutoTokenizer.from_pretrained(small_models.model_folder(tmp_path_factory.mktemp("model")))


def examples(texts, pairs=None):
    count = np.arange(len(texts))
    return Examples(rows=count, texts=texts, pairs=pairs, labels=count, label_names=("a", "b", "c"))


def test_a_text_becomes_its_tokens_without_padding(tokenizer):
    features = SequenceClassification().encode(examples(["w0 w1", "w2"]), tokenizer, TrialConfig(max_length=8))
    assert [ids.tolist() for ids in features.input_ids] == [[2, 5, 6, 3], [2, 7, 3]]
    assert features.lengths.tolist() == [4, 3]
    assert features.pad_id == 0


def test_rows_that_lose_tokens_are_counted_and_those_that_just_fit_are_not(tokenizer):
    features = SequenceClassification().encode(
        examples(["w0 w1 w2", "w0 w1", "w0"]), tokenizer, TrialConfig(max_length=4)
    )
    assert features.truncated.tolist() == [True, False, False]
    assert features.truncated_examples == 1
    assert [len(ids) for ids in features.input_ids] == [4, 4, 3]


def test_of_a_pair_the_longer_text_is_cut_and_token_types_tell_them_apart(tokenizer):
    features = SequenceClassification().encode(examples(["w0 w1 w2 w3"], ["w4"]), tokenizer, TrialConfig(max_length=6))
    assert features.input_ids[0].tolist() == [2, 5, 6, 3, 9, 3]
    assert features.token_type_ids[0].tolist() == [0, 0, 0, 0, 1, 1]
    assert features.truncated.tolist() == [True]


def test_the_loss_is_cross_entropy_by_hand():
    logits = torch.log(torch.tensor([[0.5, 0.5], [0.2, 0.8]]))
    labels = torch.tensor([0, 0])
    loss = SequenceClassification().loss
    assert loss(logits, labels).item() == pytest.approx(-(np.log(0.5) + np.log(0.2)) / 2)
    weighted = loss(logits, torch.tensor([0, 1]), torch.tensor([3.0, 1.0])).item()
    assert weighted == pytest.approx(-(3 * np.log(0.5) + np.log(0.8)) / 4)


def test_the_prediction_is_the_highest_logit():
    logits = np.array([[0.1, 0.9, 0.0], [5.0, -1.0, 4.9]], dtype=np.float32)
    assert SequenceClassification().decode(logits, None, None, None).tolist() == [1, 0]


def test_the_task_is_found_by_its_name():
    assert isinstance(load("sequence-classification"), SequenceClassification)

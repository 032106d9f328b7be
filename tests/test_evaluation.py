"""Logits, losses, metrics and groups."""

import numpy as np
import pytest
import small_models
import torch

from harness.configuration import TrialConfig
from harness.evaluation import measure, predict
from harness.tasks.sequence_classification import SequenceClassification


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    made = small_models.encoder(small_models.model_folder(tmp_path_factory.mktemp("model")), labels=3)
    made.reset(1)
    return made


def test_logits_come_in_the_order_of_the_split_whatever_the_batches(encoder):
    split = small_models.split(23, 4, labels=3)
    one_by_one = predict(encoder, split.table, "fp32", places=1)
    sorted_batches = predict(encoder, split.table, "fp32", places=64)
    np.testing.assert_allclose(sorted_batches, one_by_one, atol=1e-5)
    assert np.array_equal(sorted_batches, predict(encoder, split.table, "fp32", places=64))


def test_batches_hold_every_row_once_and_keep_to_their_places():
    table = small_models.split(40, 4).table
    batches = list(table.by_length(50))
    assert sorted(np.concatenate(batches)) == list(range(40))
    assert all(len(rows) == 1 or table.lengths[rows].max() * len(rows) <= 50 for rows in batches)


def test_evaluation_neither_draws_random_numbers_nor_leaves_gradients(encoder):
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    predict(encoder, small_models.split(5, 1, labels=3).table, "fp32", places=64)
    assert torch.equal(torch.rand(1), expected)
    assert all(parameter.grad is None for parameter in encoder.model.parameters())


def test_groups_are_measured_on_their_own_rows(encoder):
    split = small_models.split(30, 4, labels=3, groups=True)
    logits = predict(encoder, split.table, "fp32", places=64)
    found = {
        (m.name, m.group): m.value
        for m in measure(SequenceClassification(), split, logits, TrialConfig(), "validation", None, True)
    }
    german = np.array(split.examples.groups) == "de"
    expected = (logits[german].argmax(1) == split.examples.labels[german]).mean()
    assert found["accuracy", "de"] == expected
    loss = torch.nn.functional.cross_entropy(torch.tensor(logits[german]), torch.tensor(split.examples.labels[german]))
    assert found["loss", "de"] == pytest.approx(loss.item())
    assert {group for _, group in found} == {"", "de", "en"}


def test_a_metric_that_is_not_defined_is_left_out_and_a_loss_never(encoder):
    split = small_models.split(6, 4, labels=3)
    split.examples.labels[:] = 0
    split.features.labels[:] = 0
    logits = np.zeros((6, 3), dtype=np.float32)
    names = {m.name for m in measure(SequenceClassification(), split, logits, TrialConfig(), "validation", None)}
    assert "mcc" not in names
    assert {"loss", "accuracy"} <= names


def test_the_margin_is_the_gold_logit_minus_the_best_other():
    logits = np.array([[1.0, 3.0, 2.0], [5.0, 1.0, 0.0], [np.nan, 0.0, 0.0]], dtype=np.float32)
    np.testing.assert_array_equal(
        SequenceClassification().margins(logits, np.array([2, 0, 0])), np.float32([-1.0, 4.0, np.nan])
    )

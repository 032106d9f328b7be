"""Training the embedding rows that occur, and no others, gives what training the whole matrix gives."""

from dataclasses import replace

import numpy as np
import pytest
import small_models
import torch

from harness.encoder import Encoder
from harness.records import EpochRecord
from harness.training import decay_of_unused_rows, train
from harness.training_plan import prepare

SETTINGS = {"epochs": 3, "learning_rate": 5e-3, "weight_decay": 0.5, "dropout": 0.1}


@pytest.fixture(scope="module", params=small_models.KINDS)
def path(request, tmp_path_factory):
    return small_models.model_folder(tmp_path_factory.mktemp(request.param), request.param)


def trained(path, **values):
    """Losses of every epoch and all weights in the end, in the whole model's shapes."""
    plan = small_models.plan(path, rows=20, **SETTINGS | values)
    state = prepare(plan)
    rows = len(plan.encoder.model.get_input_embeddings().weight)
    records = [event for event in train(plan, state) if isinstance(event, EpochRecord)]
    plan.encoder.whole(decay_of_unused_rows(plan, state, plan.config.epochs))
    losses = [record.value(split, "loss") for record in records for split in ("train", "validation")]
    return rows, losses, {name: value.clone() for name, value in plan.encoder.model.state_dict().items()}


@pytest.mark.parametrize("values", [{}, {"freeze": "gradual", "epochs": 6}, {"layer_decay": 0.8}])
def test_losses_and_all_weights_are_those_of_the_whole_matrix(path, values, monkeypatch):
    rows, losses, weights = trained(path, **values)
    monkeypatch.setattr(Encoder, "use_rows", lambda *_: None)
    all_rows, expected, whole = trained(path, **values)
    assert rows < all_rows == small_models.VOCABULARY
    assert losses == pytest.approx(expected, rel=1e-6)
    for name, value in whole.items():
        torch.testing.assert_close(weights[name], value, rtol=1e-5, atol=1e-7, msg=name)


def test_rows_that_never_occur_shrink_by_weight_decay_alone(tmp_path):
    path = small_models.model_folder(tmp_path)
    plan = small_models.plan(path, rows=20, **SETTINGS)
    before = plan.encoder.model.get_input_embeddings().weight.detach().clone()
    *_, weights = trained(path)
    after = weights[plan.encoder.input_embeddings]
    splits = (plan.train, plan.probe, plan.validation)
    used = np.unique(np.concatenate([ids for split in splits for ids in split.features.input_ids]))
    unused = np.setdiff1d(np.arange(1, small_models.VOCABULARY), used)
    assert len(unused) > 0
    ratio = (after[unused] / before[unused]).flatten()
    assert 0.9 < float(ratio.min()) and float(ratio.max()) < 1.0
    assert float(ratio.max() - ratio.min()) < 1e-5


def test_a_reset_brings_the_whole_pretrained_matrix_back(tmp_path):
    path = small_models.model_folder(tmp_path)
    plan = small_models.plan(path, rows=20, **SETTINGS)
    before = {name: value.clone() for name, value in plan.encoder.model.state_dict().items()}
    state = prepare(plan)
    list(train(plan, state))
    plan.encoder.reset(plan.seed)
    after = plan.encoder.model.state_dict()
    for name, value in before.items():
        if name not in plan.encoder.fresh:
            assert torch.equal(after[name], value), name
    assert plan.encoder.count({plan.encoder.input_embeddings}) == small_models.VOCABULARY * small_models.WIDTH


def test_exact_trials_train_all_rows(tmp_path):
    path = small_models.model_folder(tmp_path)
    plan = small_models.plan(path, rows=20, **SETTINGS)
    exact = replace(plan, exact=True)
    assert plan.trains_used_rows and not exact.trains_used_rows
    for each, cut in ((plan, True), (exact, False)):
        prepare(each)
        assert each.encoder.trains_used_rows is cut
        assert (len(each.encoder.model.get_input_embeddings().weight) < small_models.VOCABULARY) is cut


def test_the_gradient_of_a_trial_that_crashed_in_mid_step_is_not_the_next_ones(tmp_path):
    path = small_models.model_folder(tmp_path)
    plan = small_models.plan(path, rows=20, **SETTINGS)
    prepare(plan)
    weight = plan.encoder.model.get_input_embeddings().weight
    weight.grad = torch.ones_like(weight)
    prepare(plan)
    assert plan.encoder.model.get_input_embeddings().weight is weight
    assert weight.grad is None

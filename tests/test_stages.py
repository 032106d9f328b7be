"""A model from a cut upwards gives what the whole model gives: logits, gradients and dropout."""

import pytest
import small_models
import torch

from harness.batches import Batch

STRATEGIES = ("embeddings", "top-1", "top-2", "head", "classifier")


@pytest.fixture(scope="module", params=small_models.KINDS)
def encoder(request, tmp_path_factory):
    encoder = small_models.encoder(small_models.model_folder(tmp_path_factory.mktemp(request.param), request.param))
    encoder.reset(1)
    return encoder


def batch_of_tokens(rows=5):
    table = small_models.split(rows, 1).table
    return table.batch(next(table.by_length(10_000)))


def from_the_cut(encoder, batch: Batch, cut: int) -> Batch:
    encoder.model.eval()
    with torch.inference_mode():
        hidden = encoder.states(batch, [cut])[cut].clone()
    return batch._replace(
        input_ids=None,
        token_type_ids=None,
        attention_mask=batch.attention_mask if hidden.ndim == 3 else None,
        hidden=hidden.clone(),
        cut=cut,
    )


def cut_of(encoder, freeze):
    return None if freeze == f"top-{encoder.layers + 1}" else encoder.cut(freeze, 1, 1)


def gradients(encoder, batch, freeze, seed=3):
    encoder.freeze(freeze, 1, 1)
    encoder.training_mode("eval")
    encoder.model.zero_grad(set_to_none=True)
    torch.manual_seed(seed)
    logits = encoder.forward(batch)
    torch.nn.functional.cross_entropy(logits, batch.labels).backward()
    found = {name: p.grad.clone() for name, p in encoder.model.named_parameters() if p.grad is not None}
    return logits.detach(), found


@pytest.mark.parametrize("freeze", STRATEGIES)
def test_from_the_cut_the_logits_and_gradients_are_those_of_the_whole_model(encoder, freeze):
    cut = cut_of(encoder, freeze)
    if cut is None:
        pytest.skip("not meant for this case: this architecture runs as a whole")
    batch = batch_of_tokens()
    whole, expected = gradients(encoder, batch, freeze)
    part, found = gradients(encoder, from_the_cut(encoder, batch, cut), freeze)
    torch.testing.assert_close(part, whole, rtol=1e-5, atol=1e-6)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-6, msg=name)


def test_one_pass_gives_the_states_of_every_cut(encoder):
    cuts = sorted({cut for freeze in STRATEGIES if (cut := cut_of(encoder, freeze)) is not None})
    batch = batch_of_tokens()
    encoder.model.eval()
    with torch.inference_mode():
        together = encoder.states(batch, cuts)
        alone = {cut: encoder.states(batch, [cut])[cut] for cut in cuts}
    assert list(together) == cuts
    for cut in cuts:
        assert torch.equal(together[cut], alone[cut])


def test_every_architecture_shares_at_least_the_whole_frozen_encoder(encoder):
    assert encoder.cut("head", 1, 1) == encoder.layers
    assert encoder.cut("none", 1, 1) is None


def test_gradual_unfreezing_moves_the_cut_down_by_a_layer_each_epoch(tmp_path):
    encoder = small_models.encoder(small_models.model_folder(tmp_path))
    assert [encoder.cut("gradual", epoch, 9) for epoch in range(1, 6)] == [3, 2, 1, 0, None]


def test_what_the_seed_initialised_is_never_below_the_cut(tmp_path):
    encoder = small_models.encoder(small_models.model_folder(tmp_path, "distilbert"))
    assert any(name.startswith("pre_classifier") for name in encoder.fresh)
    assert encoder.cut("classifier", 1, 1) == encoder.layers


def test_the_whole_model_is_left_as_it_was(encoder):
    before = {name: id(module) for name, module in encoder.model.named_modules()}
    from_cut = from_the_cut(encoder, batch_of_tokens(), encoder.layers)
    encoder.forward(from_cut)
    assert {name: id(module) for name, module in encoder.model.named_modules()} == before
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in encoder.model.modules())


@pytest.mark.parametrize("freeze", ["none", *STRATEGIES])
def test_the_first_token_alone_in_the_last_layer_gives_the_logits_and_gradients_of_all_tokens(encoder, freeze):
    if cut_of(encoder, freeze) is None and freeze != "none":
        pytest.skip("not meant for this case: this architecture runs as a whole")
    batch = batch_of_tokens()
    before = {name: module.p for name, module in encoder.model.named_modules() if isinstance(module, torch.nn.Dropout)}
    for module in encoder.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0  # the short way draws fewer numbers
    encoder.exact = True
    whole, expected = gradients(encoder, batch, freeze)
    encoder.exact = False
    short, found = gradients(encoder, batch, freeze)
    for name, module in encoder.model.named_modules():
        if name in before:
            module.p = before[name]
    torch.testing.assert_close(short, whole, rtol=1e-5, atol=1e-6)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-6, msg=name)


def test_bert_and_its_kin_work_out_the_first_token_alone(tmp_path):
    short = set()
    for kind in small_models.KINDS:
        encoder = small_models.encoder(small_models.model_folder(tmp_path / kind, kind))
        encoder.model.eval()
        widths: list[int] = []
        last = list(encoder.model.get_submodule(encoder.row.layers.rstrip(".")))[-1]
        linear = [module for module in last.modules() if isinstance(module, torch.nn.Linear)][-1]
        hook = linear.register_forward_hook(lambda _, inputs, __, widths=widths: widths.append(inputs[0].shape[1]))
        encoder.forward(batch_of_tokens())
        hook.remove()
        if widths and set(widths) == {1}:
            short.add(kind)
    assert short == {"bert", "roberta", "electra"}

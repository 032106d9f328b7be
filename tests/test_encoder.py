"""Loading, placing, freezing and setting back the seven architectures."""

import pytest
import small_models
import torch
import transformers

import harness.architectures as architectures
from harness.errors import SpecError
from harness.freezing import ParameterInfo


@pytest.fixture(scope="module", params=small_models.KINDS)
def folder(request, tmp_path_factory):
    return small_models.model_folder(tmp_path_factory.mktemp(request.param), request.param)


def test_every_parameter_has_a_place(folder):
    encoder = small_models.encoder(folder)
    parts = {p.part for p in encoder.parameters}
    assert {"embeddings", "layer", "classifier"} <= parts
    layers = {p.layer for p in encoder.parameters if p.part == "layer"}
    assert layers == set(range(encoder.layers))


def test_reset_gives_what_from_pretrained_gives_after_set_seed(folder):
    encoder = small_models.encoder(folder)
    encoder.reset(1)
    with torch.no_grad():
        for parameter in encoder.model.parameters():
            parameter.add_(1.0)
    torch.rand(7)
    encoder.reset(5)
    transformers.set_seed(5)
    fresh = transformers.AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2, dtype=torch.float32)
    expected = fresh.state_dict()
    for name, value in encoder.model.state_dict().items():
        assert torch.equal(value, expected[name]), name


def test_another_seed_gives_another_head(folder):
    encoder = small_models.encoder(folder)
    heads = []
    for seed in (1, 2):
        encoder.reset(seed)
        heads.append(encoder.tensors([p.name for p in encoder.parameters if p.part == "classifier"]))
    assert any(not torch.equal(heads[0][name], heads[1][name]) for name in heads[0])


def test_dropout_replaces_every_rate(folder):
    encoder = small_models.encoder(folder, dropout=0.3)
    rates = [module.p for module in encoder.model.modules() if isinstance(module, torch.nn.Dropout)]
    assert rates and set(rates) == {0.3}


def test_logits_do_not_depend_on_padding_or_mask_form(folder):
    encoder = small_models.encoder(folder)
    encoder.reset(1)
    encoder.model.eval()
    table = small_models.split(6, 1).table
    rows = next(table.by_length(10_000))
    with torch.inference_mode():
        together = encoder.forward(table.batch(rows))
        alone = torch.cat([encoder.forward(table.batch(rows[i : i + 1])) for i in range(len(rows))])
    torch.testing.assert_close(together, alone, atol=2e-5, rtol=1e-4)


def test_frozen_parameters_have_no_gradient_and_no_dropout(folder):
    encoder = small_models.encoder(folder, dropout=0.5)
    encoder.reset(1)
    encoder.freeze("head", 1, 1)
    encoder.training_mode("eval")
    table = small_models.split(4, 1).table
    batch = table.batch(next(table.by_length(10_000)))
    base, mask = getattr(encoder.model, encoder.model.base_model_prefix), (batch.input_ids != 0).long()
    first, second = (base(batch.input_ids, mask).last_hidden_state for _ in range(2))
    assert torch.equal(first, second)
    encoder.forward(batch).sum().backward()
    for parameter, info in zip(encoder.model.parameters(), encoder.parameters, strict=True):
        assert (parameter.grad is None) == (info.part in ("embeddings", "layer")), info


def test_frozen_mode_dropout_leaves_dropout_on(folder):
    encoder = small_models.encoder(folder, dropout=0.5)
    encoder.freeze("head", 1, 1)
    encoder.training_mode("dropout")
    assert all(module.training for module in encoder.model.modules())


def test_classifier_alone_trains_the_last_linear_layer(folder):
    encoder = small_models.encoder(folder, labels=3)
    names = encoder.trained_names("classifier", 1)
    assert encoder.count(set(names)) == 3 * small_models.WIDTH + 3


def test_half_precision_files_load_as_float32(tmp_path):
    encoder = small_models.encoder(small_models.model_folder(tmp_path, dtype=torch.float16))
    assert {parameter.dtype for parameter in encoder.model.parameters()} == {torch.float32}


def test_weights_hash_is_of_the_weights_and_not_of_the_head(tmp_path):
    path = small_models.model_folder(tmp_path)
    assert small_models.encoder(path).weights_hash == small_models.encoder(path, labels=4).weights_hash
    model = transformers.BertModel.from_pretrained(path)
    with torch.no_grad():
        next(model.parameters())[0, 0] += 1e-3
    model.save_pretrained(tmp_path / "other")
    assert small_models.encoder(str(tmp_path / "other")).weights_hash != small_models.encoder(path).weights_hash


def test_a_model_without_a_row_is_refused_with_those_that_have_one(tmp_path):
    config = transformers.GPT2Config(n_embd=8, n_layer=1, n_head=1, vocab_size=20)
    transformers.GPT2Model(config).save_pretrained(tmp_path)
    with pytest.raises(SpecError, match="'gpt2' is not supported; supported are bert, distilbert"):
        small_models.encoder(str(tmp_path))


def test_a_file_without_a_layer_is_refused(tmp_path):
    path = small_models.model_folder(tmp_path)
    model = transformers.BertModel.from_pretrained(path)
    state = {name: value for name, value in model.state_dict().items() if "layer.1." not in name}
    model.save_pretrained(tmp_path, state_dict=state)
    with pytest.raises(SpecError, match=r"lacks \d+ weights of its encoder"):
        small_models.encoder(path)


def test_a_classifier_of_another_size_is_replaced_and_one_that_fits_is_noted(tmp_path):
    path = small_models.model_folder(tmp_path)
    model = transformers.BertForSequenceClassification.from_pretrained(path, num_labels=2)
    model.save_pretrained(tmp_path / "tuned")
    assert any("loaded from" in note for note in small_models.encoder(str(tmp_path / "tuned")).notes)
    replaced = small_models.encoder(str(tmp_path / "tuned"), labels=5)
    assert not any("loaded from" in note for note in replaced.notes)
    assert "classifier.weight" in replaced.fresh


def test_roberta_keeps_two_positions_to_itself():
    assert architectures.max_positions(small_models.configuration("roberta")) == 38


def test_what_shared_layers_share_counts_as_one_layer():
    assert architectures.layer_count(small_models.configuration("albert")) == 1


def test_a_parameter_in_no_known_part_is_an_error():
    with pytest.raises(SpecError, match="'bert.extra.weight'"):
        architectures.describe("bert.extra.weight", small_models.configuration("bert"))


def test_the_final_norm_belongs_to_the_top_layer():
    found = architectures.describe("model.final_norm.weight", small_models.configuration("modernbert"))
    assert found == ParameterInfo("model.final_norm.weight", "layer", small_models.LAYERS - 1)

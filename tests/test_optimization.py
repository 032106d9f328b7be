"""Groups of the optimiser and the schedule."""

import math

import pytest
import small_models
import transformers

from harness.configuration import TrialConfig
from harness.freezing import ParameterInfo
from harness.optimization import adamw, decayed, depth, parameter_groups, schedule, set_learning_rate, warmup_steps


@pytest.mark.parametrize("kind", small_models.KINDS)
def test_decay_spares_what_the_trainer_spares(kind, tmp_path):
    model = transformers.AutoModelForSequenceClassification.from_config(small_models.configuration(kind))
    arguments = transformers.TrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to="none")
    expected = transformers.Trainer(model=model, args=arguments).get_decay_parameter_names(model)
    assert decayed(model) == set(expected)


def test_depth_counts_down_from_the_head():
    places = [
        ParameterInfo("c", "classifier"),
        ParameterInfo("p", "pooler"),
        ParameterInfo("l2", "layer", 2),
        ParameterInfo("l0", "layer", 0),
        ParameterInfo("e", "embeddings"),
    ]
    assert [depth(place, 3) for place in places] == [0, 0, 1, 3, 4]


def test_layer_decay_scales_the_rate_of_each_layer(tmp_path):
    encoder = small_models.encoder(small_models.model_folder(tmp_path))
    config = TrialConfig(layer_decay=0.5, learning_rate=0.1, weight_decay=0.01)
    trained = {p.name for p in encoder.parameters}
    groups = parameter_groups(encoder.model, encoder.parameters, encoder.layers, config, trained)
    optimizer = adamw(groups)
    set_learning_rate(optimizer, 0.08)
    rate = {
        name: made["lr"] for group, made in zip(groups, optimizer.param_groups, strict=True) for name in group["names"]
    }
    assert rate["classifier.weight"] == rate["classifier.bias"] == 0.08
    assert rate["bert.encoder.layer.2.output.dense.weight"] == 0.04
    assert rate["bert.encoder.layer.0.output.dense.weight"] == 0.01
    assert rate["bert.embeddings.word_embeddings.weight"] == 0.005
    assert set(rate) == trained


def test_frozen_parameters_are_in_no_group(tmp_path):
    encoder = small_models.encoder(small_models.model_folder(tmp_path))
    trained = set(encoder.trained_names("head", 1))
    groups = parameter_groups(encoder.model, encoder.parameters, encoder.layers, TrialConfig(), trained)
    assert {name for group in groups for name in group["names"]} == trained


def test_warm_up_below_one_is_a_share_rounded_up():
    assert [warmup_steps(warmup, 25) for warmup in (0.0, 0.1, 0.99, 1, 7.0)] == [0, 3, 25, 1, 7]


def test_the_schedule_rises_then_falls_to_zero():
    assert [schedule("linear", step, 2, 6) for step in range(7)] == [0.0, 0.5, 1.0, 0.75, 0.5, 0.25, 0.0]
    assert [schedule("constant", step, 2, 6) for step in (0, 1, 2, 5)] == [0.0, 0.5, 1.0, 1.0]
    assert schedule("cosine", 4, 2, 6) == pytest.approx(0.5)
    assert schedule("cosine", 3, 2, 6) == pytest.approx(0.5 * (1 + math.cos(math.pi / 4)))

"""Clocks, memory, load and the FLOP formula."""

import time

import numpy as np
import pytest
import small_models
import torch
import transformers
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from harness.batches import Batch
from harness.encoder import Encoder
from harness.freezing import ParameterInfo
from harness.profiling import Load, MemoryPeak, Stopwatch, training_flops


def watched(steps, warm_up, seconds=0.0, away=0.0):
    clock = Stopwatch(small_models.CPU, steps, warm_up)
    for _ in range(steps):
        time.sleep(seconds)
        clock.step(samples=4, tokens=20, padded_tokens=32)
        if away:
            time.sleep(away)
            clock.away(away)
    return clock, clock.stop()


def test_the_first_tenth_and_at_least_three_steps_are_left_out():
    assert sum(window.steps for window in watched(100, warm_up=True)[0].windows) == 90
    assert sum(window.steps for window in watched(20, warm_up=True)[0].windows) == 17
    assert sum(window.steps for window in watched(20, warm_up=False)[0].windows) == 20


def test_a_very_short_epoch_keeps_half_of_its_steps():
    assert sum(window.steps for window in watched(2, warm_up=True)[0].windows) == 1


def test_a_long_epoch_has_several_windows_that_count_everything():
    windows = watched(100, warm_up=False)[0].windows
    assert 5 <= len(windows) <= 10
    assert sum(window.samples for window in windows) == 400
    assert sum(window.tokens for window in windows) == 2000
    assert sum(window.padded_tokens for window in windows) == 3200


def test_time_away_is_no_training_time():
    clock, seconds = watched(10, warm_up=False, seconds=0.002, away=0.03)
    assert 0.02 <= seconds < 0.2
    assert sum(window.seconds for window in clock.windows) == pytest.approx(seconds, abs=0.02)
    assert clock.away_seconds == pytest.approx(0.3)


def test_peak_memory_sees_a_large_tensor_and_forgets_an_earlier_one():
    size = 300_000_000
    peak = MemoryPeak(small_models.CPU)
    held = torch.ones(size // 4)
    high = peak.read()
    del held
    later = MemoryPeak(small_models.CPU).read()
    assert high - later > 0.8 * size


def test_load_leaves_this_process_out():
    load = Load()
    end = time.perf_counter() + 0.3
    while time.perf_counter() < end:
        pass
    share = load.read()
    assert share is not None and 0.0 <= share <= 1.0


@pytest.mark.parametrize("kind", ["bert", "distilbert", "roberta", "albert"])
@pytest.mark.parametrize("freeze", ["none", "embeddings", "top-1", "head"])
def test_flops_are_what_torch_counts(kind, freeze):
    if kind == "albert" and freeze == "top-1":
        pytest.skip("not meant for this case: its one shared layer is all of them; counted as embeddings")
    transformers.set_seed(0)
    config = small_models.configuration(kind)
    for field, value in (("hidden_size", 128), ("intermediate_size", 256), ("dim", 128), ("hidden_dim", 256)):
        if hasattr(config, field):
            setattr(config, field, value)
    config.num_labels = 2
    model = transformers.AutoModelForSequenceClassification.from_config(config, attn_implementation="eager")
    model.fresh_parameters = frozenset()
    encoder = Encoder(model, small_models.CPU)
    encoder.freeze(freeze, 1, 1)
    encoder.model.train()
    lengths = np.array([30, 30, 30, 30])
    ids = torch.full((4, 30), 7)
    with FlopCounterMode(display=False) as counter:
        encoder.model(input_ids=ids).logits.sum().backward()
    trained = set(encoder.trained_names(freeze, 1))
    formula = training_flops(encoder.config, encoder.parameters, trained, lengths)
    assert formula == pytest.approx(counter.get_total_flops(), rel=0.03)


def test_flops_of_bert_base_are_those_of_the_literature():
    config = transformers.BertConfig()
    parameters = [ParameterInfo("e", "embeddings"), *(ParameterInfo(f"l{n}", "layer", n) for n in range(12))]
    everything = {p.name for p in parameters}
    assert training_flops(config, parameters, everything, np.array([128])) == pytest.approx(67.0e9, rel=0.001)
    assert training_flops(config, parameters, set(), np.array([128])) == pytest.approx(22.35e9, rel=0.001)


@pytest.mark.parametrize("freeze", ["none", "embeddings", "top-1", "top-2", "head"])
def test_flops_with_the_first_token_alone_in_the_last_layer_are_those_that_torch_counts(freeze):
    config = small_models.configuration("bert")
    config.hidden_size, config.intermediate_size, config.num_labels = 256, 1024, 2
    model = transformers.AutoModelForSequenceClassification.from_config(config, attn_implementation="sdpa")
    model.fresh_parameters = frozenset()
    encoder = Encoder(model, small_models.CPU, pooled=True)
    encoder.freeze(freeze, 1, 1)
    encoder.training_mode("eval")
    lengths = np.array([30, 30, 30, 30])
    batch = Batch(torch.full((4, 30), 7), None, None, torch.zeros(4), torch.arange(4), 120, 120)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        encoder.forward(batch).sum().backward()
    trained = set(encoder.trained_names(freeze, 1))
    formula = training_flops(encoder.config, encoder.parameters, trained, lengths, first_token=True)
    assert formula == pytest.approx(counter.get_total_flops(), rel=0.03)
    assert formula < training_flops(encoder.config, encoder.parameters, trained, lengths)

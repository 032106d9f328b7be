"""What stays fixed in which epoch, on a model of three layers."""

import pytest

from harness.errors import SpecError
from harness.freezing import ParameterInfo, frozen, parse, words

MODEL = (
    ParameterInfo("emb", "embeddings"),
    ParameterInfo("layer0", "layer", 0),
    ParameterInfo("layer1", "layer", 1),
    ParameterInfo("layer2", "layer", 2),
    ParameterInfo("pool", "pooler"),
    ParameterInfo("dense", "head"),
    ParameterInfo("out", "classifier"),
)


def fixed(freeze, epoch=1, epochs=9):
    return frozen(MODEL, freeze, epoch, epochs, layers=3)


@pytest.mark.parametrize(
    ("freeze", "expected"),
    [
        ("none", set()),
        ("embeddings", {"emb"}),
        ("top-1", {"emb", "layer0", "layer1"}),
        ("top-3", {"emb"}),
        ("head", {"emb", "layer0", "layer1", "layer2"}),
        ("classifier", {"emb", "layer0", "layer1", "layer2", "pool", "dense"}),
    ],
)
def test_each_word_fixes_its_parts(freeze, expected):
    assert fixed(freeze) == expected


def test_gradual_frees_one_more_layer_from_the_top_each_epoch_and_the_embeddings_last():
    everything = ["emb", "layer0", "layer1", "layer2"]
    assert [sorted(fixed("gradual", epoch)) for epoch in range(1, 7)] == [
        everything,
        everything[:3],
        everything[:2],
        everything[:1],
        [],
        [],
    ]


def test_the_top_is_cut_from_the_word():
    assert parse("top-12") == ("top-K", 12)
    assert parse("head") == ("head", 0)


@pytest.mark.parametrize("text", ["top", "top-K", "top-0", "top--1", "top-1.5", "all", "", "head-2", "None"])
def test_an_unknown_word_is_refused_with_those_that_are_known(text):
    with pytest.raises(SpecError, match="none, embeddings, top-K, head, classifier, gradual"):
        parse(text)


def test_more_layers_than_there_are_is_an_error():
    with pytest.raises(SpecError, match="asks for 4 layers, but this model has 3"):
        fixed("top-4")


def test_every_word_has_a_line_of_documentation():
    assert all(line.endswith(".") for line in words().values())

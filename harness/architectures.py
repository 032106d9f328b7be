"""Where embeddings, layers, pooler, head and classifier lie in each architecture: one row each.

A new architecture is one row here. Loading and freezing models is `encoder.py`'s work.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from harness.errors import SpecError
from harness.freezing import ParameterInfo, Part


@dataclass(frozen=True, slots=True)
class Architecture:
    """One row: prefixes of parameter names, names of settings, and what the FLOP formula needs.

    Attributes:
        embeddings: prefixes of the embeddings and of what all layers share.
        layers: prefix of the numbered layers.
        top: prefixes of what lies between the last layer and the pooler; it trains with the last layer.
        bottom: prefixes of what works right after the first layer and trains with it.
        pooler: prefixes of what was pretrained to sum up a text.
        head: prefixes of new parameters below the last linear layer.
        classifier: prefix of the last linear layer.
        spans: prefix of the linear layer of its question answering.
        language: prefixes of the head of its masked language model: first the module that takes the states, last what
            is left when the others are taken away.
        dropouts: settings that `dropout` replaces, all of them.
        layer_count: setting with the number of numbered layers; ALBERT's shared layers are counted by group.
        mlp_matrices: weight matrices of width x intermediate size in one layer's feed-forward part.
        attention: kernel asked for; "eager" where the model has no other.
        plain_mask: takes a ready-made attention mask of shape (batch, 1, sequence, sequence).
        reserved_positions: positions that the model has but a text cannot use.
        pooler_dense: linear layer of a pooler that is this layer and tanh, and works on the first token.
        last_dropout: module between what is pooled and the classifier, where it acts there alone.
        sliceable: whether the encoder runs with its lower layers taken out.
        bert_layers: whether its layers are built as BERT's, so that `stages.FirstTokenLayer` can stand for one.
        recordable: whether its forward pass never waits for the device, so that a CUDA graph can hold it.
    """

    embeddings: tuple[str, ...]
    layers: str
    classifier: str
    dropouts: tuple[str, ...]
    spans: str = "qa_outputs."
    language: tuple[str, ...] = ("cls.predictions.transform.", "cls.")
    top: tuple[str, ...] = ()
    bottom: tuple[str, ...] = ()
    pooler: tuple[str, ...] = ()
    head: tuple[str, ...] = ()
    layer_count: str = "num_hidden_layers"
    mlp_matrices: int = 2
    attention: str = "sdpa"
    plain_mask: bool = True
    reserved_positions: int = 0
    pooler_dense: str = ""
    last_dropout: str = ""
    sliceable: bool = True
    bert_layers: bool = False
    recordable: bool = True


_BERT_DROPOUTS = ("hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout")

ARCHITECTURES: dict[str, Architecture] = {
    "bert": Architecture(
        embeddings=("bert.embeddings.",),
        layers="bert.encoder.layer.",
        pooler=("bert.pooler.",),
        pooler_dense="bert.pooler.dense",
        classifier="classifier.",
        dropouts=_BERT_DROPOUTS,
        last_dropout="dropout",
        bert_layers=True,
    ),
    "distilbert": Architecture(
        embeddings=("distilbert.embeddings.",),
        layers="distilbert.transformer.layer.",
        head=("pre_classifier.",),
        classifier="classifier.",
        language=("vocab_transform.", "vocab_layer_norm.", "vocab_projector."),
        dropouts=("dropout", "attention_dropout", "seq_classif_dropout", "qa_dropout"),
        last_dropout="dropout",
    ),
    "roberta": Architecture(
        embeddings=("roberta.embeddings.",),
        layers="roberta.encoder.layer.",
        head=("classifier.dense.",),
        classifier="classifier.out_proj.",
        language=("lm_head.dense.", "lm_head.layer_norm.", "lm_head."),
        dropouts=_BERT_DROPOUTS,
        reserved_positions=2,  # positions count from padding_idx + 1
        bert_layers=True,
    ),
    "electra": Architecture(
        embeddings=("electra.embeddings.", "electra.embeddings_project."),
        layers="electra.encoder.layer.",
        head=("classifier.dense.",),
        classifier="classifier.out_proj.",
        language=("generator_predictions.dense.", "generator_predictions.LayerNorm.", "generator_lm_head."),
        dropouts=_BERT_DROPOUTS,
        bert_layers=True,
    ),
    "albert": Architecture(
        embeddings=("albert.embeddings.", "albert.encoder.embedding_hidden_mapping_in."),
        layers="albert.encoder.albert_layer_groups.",
        pooler=("albert.pooler.",),
        pooler_dense="albert.pooler",
        classifier="classifier.",
        language=("predictions.dense.", "predictions.LayerNorm.", "predictions."),
        dropouts=("hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout_prob"),
        layer_count="num_hidden_groups",  # all layers of a group are the same weights: top-K means K groups
        last_dropout="dropout",
        sliceable=False,  # it counts its layers in the configuration
    ),
    "deberta-v2": Architecture(
        embeddings=(
            "deberta.embeddings.",
            "deberta.encoder.rel_embeddings.",  # read by every layer
            "deberta.encoder.LayerNorm.",  # normalises the relative positions, not the output
        ),
        layers="deberta.encoder.layer.",
        bottom=("deberta.encoder.conv.",),
        pooler=("pooler.",),
        classifier="classifier.",
        dropouts=("hidden_dropout_prob", "attention_probs_dropout_prob", "pooler_dropout", "cls_dropout"),
        attention="eager",
        plain_mask=False,
        recordable=False,  # its buckets of distances are worked out on the host
        last_dropout="dropout",
        sliceable=False,  # the convolution belongs to the first layer that it has
    ),
    "modernbert": Architecture(
        embeddings=("model.embeddings.",),
        layers="model.layers.",
        top=("model.final_norm.",),
        head=("head.",),
        classifier="classifier.",
        spans="classifier.",
        language=("head.dense.", "head.norm.", "decoder."),
        dropouts=("embedding_dropout", "mlp_dropout", "attention_dropout", "classifier_dropout"),
        mlp_matrices=3,
        plain_mask=False,  # local and global layers need different masks
        recordable=False,  # whether it takes a mask at all hangs on a look at the batch
        last_dropout="drop",
    ),
}


def architecture_of(config: Any) -> Architecture:
    """The row of a transformers configuration.

    Raises:
        SpecError: for an architecture without a row, with those that have one.
    """
    if config.model_type not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise SpecError(f"model: architecture {config.model_type!r} is not supported; supported are {known}")
    return ARCHITECTURES[config.model_type]


def layer_count(config: Any) -> int:
    """Layers that can be frozen one by one."""
    return int(getattr(config, architecture_of(config).layer_count))


def max_positions(config: Any) -> int:
    """Longest text in tokens, special tokens included."""
    return int(config.max_position_embeddings) - architecture_of(config).reserved_positions


def with_span_head(row: Architecture) -> Architecture:
    """The architecture with the head of question answering: two numbers for every token, from one linear layer."""
    return replace(row, pooler=(), head=row.head if row.spans == row.classifier else (), classifier=row.spans)


def with_language_head(row: Architecture) -> Architecture:
    """The architecture with the head of a masked language model; what it shares with the embeddings counts to these."""
    *head, last = row.language
    return replace(row, pooler=(), head=tuple(head), classifier=last)


def describe(name: str, config: Any, row: Architecture | None = None) -> ParameterInfo:
    """Part and layer of one parameter.

    Args:
        name: of the parameter.
        config: of its model.
        row: of the model with its head; None takes that of a classification.

    Raises:
        SpecError: for a parameter that the architecture's row does not place.
    """
    row = row or architecture_of(config)
    if name.startswith(row.layers):
        return ParameterInfo(name, "layer", int(name[len(row.layers) :].split(".", 1)[0]))
    if name.startswith(row.bottom):
        return ParameterInfo(name, "layer", 0)
    if name.startswith(row.top):
        return ParameterInfo(name, "layer", layer_count(config) - 1)
    places: tuple[tuple[tuple[str, ...], Part], ...] = (
        (row.embeddings, "embeddings"),
        (row.pooler, "pooler"),
        (row.head, "head"),
        ((row.classifier,), "classifier"),
    )
    for prefixes, part in places:
        if name.startswith(prefixes):
            return ParameterInfo(name, part)
    raise SpecError(f"model: parameter {name!r} of {config.model_type} belongs to no known part of the architecture")

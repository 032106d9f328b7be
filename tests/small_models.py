"""Small random encoders, token rows that can be learned, and plans over them, for the tests of the torch side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from harness.batches import TokenTable
from harness.configuration import Objective, TrialConfig
from harness.encoder import Encoder
from harness.evaluation import Split
from harness.tasks.base import Examples, Features
from harness.tasks.sequence_classification import SequenceClassification
from harness.training_plan import Plan

CPU = torch.device("cpu")
torch.set_num_threads(1)  # the models are too small to share, and the tests run beside each other
VOCABULARY = 60
WIDTH, LAYERS, HEADS, INTERMEDIATE = 32, 3, 2, 48


def configuration(kind: str) -> Any:
    """A configuration of that model type with 3 layers of width 32."""
    common = {"vocab_size": VOCABULARY, "hidden_size": WIDTH, "num_hidden_layers": LAYERS, "pad_token_id": 0}
    common |= {"num_attention_heads": HEADS, "intermediate_size": INTERMEDIATE, "max_position_embeddings": 40}
    if kind == "distilbert":
        return transformers.DistilBertConfig(
            vocab_size=VOCABULARY, dim=WIDTH, n_layers=LAYERS, n_heads=HEADS, hidden_dim=INTERMEDIATE,
            max_position_embeddings=40, pad_token_id=0,
        )  # fmt: skip
    if kind == "bert":
        return transformers.BertConfig(**common)
    if kind == "roberta":
        return transformers.RobertaConfig(**common | {"pad_token_id": 1})
    if kind == "electra":
        return transformers.ElectraConfig(**common, embedding_size=16)
    if kind == "albert":
        return transformers.AlbertConfig(**common, embedding_size=16, num_hidden_groups=1)
    if kind == "deberta-v2":
        relative = {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 8}
        return transformers.DebertaV2Config(**common, **relative, norm_rel_ebd="layer_norm", conv_kernel_size=3)
    special = {"cls_token_id": 1, "sep_token_id": 2, "bos_token_id": 1, "eos_token_id": 2}
    return transformers.ModernBertConfig(**common, **special, global_attn_every_n_layers=2, local_attention=8)


KINDS = ("bert", "distilbert", "roberta", "electra", "albert", "deberta-v2", "modernbert")


def model_folder(folder: Path, kind: str = "bert", dtype: torch.dtype = torch.float32) -> str:
    """A `from_pretrained` folder with random weights and a WordPiece tokeniser of made-up words."""
    transformers.set_seed(0)
    model = transformers.AutoModel.from_config(configuration(kind))
    for parameter in model.parameters():  # wider than the usual 0.02, so that layers matter
        if parameter.dim() > 1:
            parameter.data.mul_(4.0)
    model.to(dtype).save_pretrained(folder)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{n}" for n in range(VOCABULARY - 5))]
    transformers.BertTokenizerFast(vocab={word: n for n, word in enumerate(words)}).save_pretrained(folder)
    return str(folder)


def split(rows: int, seed: int, labels: int = 2, longest: int = 12, groups: bool = False) -> Split:
    """Rows of 4 to `longest` tokens whose class is that of most tokens, with some noise."""
    random = np.random.default_rng(seed)
    classes = random.integers(0, labels, rows)
    lengths = random.integers(4, longest + 1, rows)
    ids = []
    for label, length in zip(classes, lengths, strict=True):
        words = random.integers(5, VOCABULARY, length - 2)
        loud = random.random(length - 2) < 0.5
        words[loud] = 5 + label * 5 + random.integers(0, 5, int(loud.sum()))
        ids.append(np.array([2, *words, 3], dtype=np.int32))
    features = Features(
        input_ids=ids,
        token_type_ids=None,
        labels=classes.astype(np.int64),
        example=np.arange(rows, dtype=np.int64),
        truncated=np.zeros(rows, dtype=bool),
        pad_id=0,
    )
    examples = Examples(
        rows=np.arange(rows),
        texts=[" ".join(f"w{token - 5}" for token in row[1:-1]) for row in ids],
        pairs=None,
        labels=classes.astype(np.int64),
        label_names=tuple(f"class {n}" for n in range(labels)),
        groups=["en" if n % 3 else "de" for n in range(rows)] if groups else (),
    )
    return Split(examples, features, TokenTable(features, CPU))


def encoder(path: str, labels: int = 2, dropout: float | None = None) -> Encoder:
    """The model of that folder with a fresh head, on the CPU."""
    return Encoder(SequenceClassification().model(path, labels, dropout=dropout), CPU, pooled=True)


def plan(path: str, labels: int = 2, rows: int = 48, groups: bool = False, seed: int = 3, **values: Any) -> Plan:
    """A plan over made-up rows; `values` are hyperparameters."""
    defaults = {"model": path, "epochs": 2, "batch_size": 8, "learning_rate": 1e-3, "max_length": 16, "dtype": "fp32"}
    config = TrialConfig.from_dict(defaults | values)
    train = split(rows, 1, labels)
    return Plan(
        task=SequenceClassification(),
        encoder=encoder(path, labels, config.dropout),
        config=config,
        seed=seed,
        train=train,
        probe=train,
        validation=split(30, 2, labels, groups=groups),
        objective=Objective(),
        positive=1 if labels == 2 else None,
        dtype=config.dtype,
        evaluation_places=64,
    )

"""Makes `builtin:tiny`: its WordPiece vocabulary, then masked-word pretraining on made-up reviews.

Run by `python -m harness.builtin.pretrain [FOLDER]`; some minutes on two cores. It sees no label, and no review that
a study reads.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import transformers
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from torch.nn import functional

from harness.builtin import corpus, tiny

VOCABULARY = 1200
PEAK = 1.5e-3
MASKED = 0.2
# Not the seed of a study's rows: the encoder has not seen the reviews it is fine-tuned on.
CORPUS_SEED = 9_001
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
PAD, UNK, CLS, SEP, MASK = range(5)
CONFIG = {
    "hidden_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 512,
    "max_position_embeddings": 256,
}
Ids = npt.NDArray[np.int64]


class Batch(NamedTuple):
    """Rows of about equal length; every field has the shape (batch, sequence), targets are -100 where not masked."""

    ids: torch.Tensor
    attention: torch.Tensor
    targets: torch.Tensor


def train_tokenizer(texts: list[str]) -> Tokenizer:
    """A lower-case WordPiece vocabulary from the texts, with BERT's template for one text and for two."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))  # noqa: S106  a token of the vocabulary
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(
        vocab_size=VOCABULARY, special_tokens=list(SPECIAL), min_frequency=2, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", CLS), ("[SEP]", SEP)]
    )
    return tokenizer


class Reader:
    """Turns reviews into masked batches, each pass with new masks."""

    def __init__(self, tokenizer: Tokenizer, rows: int, seed: int) -> None:
        texts = corpus.reviews(rows, seed=seed, noise=0.0)["text"].to_pylist()
        self.rows = [encoding.ids for encoding in tokenizer.encode_batch(texts)]
        self.words = tokenizer.get_vocab_size()
        self.generator = np.random.default_rng(seed)

    def batches(self, batch_size: int) -> Iterator[Batch]:
        """One pass over all rows, batches of about equal length in random order."""
        order = np.argsort([len(row) + 4 * self.generator.random() for row in self.rows])
        chunks = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
        for chunk in self.generator.permutation(len(chunks)):
            yield self.batch([self.rows[i] for i in chunks[chunk]])

    def batch(self, rows: list[list[int]]) -> Batch:
        """Pad, and mask a share of the words: 80% by [MASK], 10% by a random word, 10% left as they are."""
        ids = np.full((len(rows), max(map(len, rows))), PAD, dtype=np.int64)
        for i, row in enumerate(rows):
            ids[i, : len(row)] = row
        asked = (self.generator.random(ids.shape) < MASKED) & (ids > MASK)
        dice = self.generator.random(ids.shape)
        masked = np.where(asked & (dice < 0.8), MASK, ids)
        random_words = self.generator.integers(len(SPECIAL), self.words, ids.shape)
        masked = np.where(asked & (dice >= 0.9), random_words, masked)
        return Batch(
            ids=torch.from_numpy(masked),
            attention=torch.from_numpy((ids != PAD).astype(np.int64)),
            targets=torch.from_numpy(np.where(asked, ids, -100)),
        )


def masked_loss(model: transformers.BertForMaskedLM, batch: Batch) -> torch.Tensor:
    """Mean cross-entropy of the masked words."""
    states = model.bert(batch.ids, batch.attention).last_hidden_state
    asked = batch.targets != -100
    # The vocabulary is predicted for the masked words only: a sixth of the time otherwise goes there.
    return functional.cross_entropy(model.cls(states[asked]), batch.targets[asked])


def pretrain(model: transformers.BertForMaskedLM, reader: Reader, steps: int, batch_size: int = 32) -> None:
    """AdamW with 5% warm-up and a linear fall to zero."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK, weight_decay=0.01, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / (0.05 * steps), (steps - step) / (0.95 * steps))
    )
    total = 0.0
    model.train()
    passes = itertools.chain.from_iterable(reader.batches(batch_size) for _ in itertools.count())
    for step, batch in enumerate(itertools.islice(passes, steps), start=1):
        loss = masked_loss(model, batch)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        total += loss.item()
        if step % 200 == 0:
            print(f"step {step} of {steps}  loss of masked words {total / 200:.3f}", flush=True)
            total = 0.0


def save(model: transformers.BertForMaskedLM, tokenizer: Tokenizer, folder: Path) -> None:
    """A `from_pretrained` folder with weights in float16; harness loads every file as float32."""
    folder.mkdir(parents=True, exist_ok=True)
    fast = transformers.BertTokenizerFast(tokenizer_object=tokenizer, do_lower_case=True, model_max_length=256)
    fast.save_pretrained(folder)
    model.config.save_pretrained(folder)
    tied = "cls.predictions.decoder."  # to the embeddings and the bias, which are saved once
    state = {name: value.half() for name, value in model.state_dict().items() if not name.startswith(tied)}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


def main() -> None:
    """Make the folder anew."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", nargs="?", default=tiny.folder(), type=Path)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--rows", type=int, default=40_000)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    tokenizer = train_tokenizer(corpus.reviews(20_000, seed=CORPUS_SEED, noise=0.0)["text"].to_pylist())
    config = transformers.BertConfig(
        vocab_size=tokenizer.get_vocab_size(), hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, **CONFIG
    )
    model = transformers.BertForMaskedLM(config)
    pretrain(model, Reader(tokenizer, arguments.rows, CORPUS_SEED), arguments.steps)
    # Pretraining runs without dropout (no row comes twice with the same mask); fine-tuning gets BERT's usual one.
    model.config.hidden_dropout_prob = model.config.attention_probs_dropout_prob = 0.1
    save(model, tokenizer, arguments.folder)
    print(f"{model.num_parameters():,} parameters, saved to {arguments.folder}")


if __name__ == "__main__":
    main()

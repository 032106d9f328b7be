"""Makes `builtin:tiny`: its WordPiece vocabulary, then masked words and the words of a hidden part, on made-up reviews.

Run by `python -m harness.builtin.pretrain [FOLDER]`; about ten minutes on one core. It never sees a label. In
half of the rows a part of the review is hidden, and the pooler has to say which words it holds: what the parts of
a review share is its product and its opinion, so the pooler comes to sum a text up.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

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
HIDDEN_PART = 0.5
# Words that are in more of the texts than this say nothing about one of them.
COMMON = 0.1
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


@dataclass(frozen=True)
class Row:
    """Token ids of what is seen, where its second segment begins, and the ids of what is hidden."""

    ids: list[int]
    second: int
    hidden: list[int]


@dataclass(frozen=True)
class Batch:
    """Rows of about equal length.

    Attributes:
        ids, segments, attention: shape (batch, sequence).
        targets: ids of the masked words, elsewhere -100, shape (batch, sequence).
        hidden: share of each word among the telling words of the hidden part, shape (batch, words); zeros without one.
    """

    ids: torch.Tensor
    segments: torch.Tensor
    attention: torch.Tensor
    targets: torch.Tensor
    hidden: torch.Tensor


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


def halves(text: str) -> tuple[str, str]:
    """A review cut after half of its sentences; the second half is empty for a single sentence."""
    sentences = text.removesuffix(".").split(". ")
    if len(sentences) == 1:
        return text, ""
    middle = len(sentences) // 2
    return ". ".join(sentences[:middle]) + ".", ". ".join(sentences[middle:]) + "."


class Reader:
    """Turns reviews into masked batches, each pass with new masks and new hidden parts."""

    def __init__(self, tokenizer: Tokenizer, rows: int, seed: int) -> None:
        cut = [halves(text) for text in corpus.reviews(rows, seed=seed, noise=0.0)["text"].to_pylist()]
        first = tokenizer.encode_batch([a for a, _ in cut], add_special_tokens=False)
        second = tokenizer.encode_batch([b for _, b in cut], add_special_tokens=False)
        self.halves = [(a.ids, b.ids) for a, b in zip(first, second, strict=True)]
        self.words = tokenizer.get_vocab_size()
        self.generator = np.random.default_rng(seed)
        texts_with = np.zeros(self.words)
        for a, b in self.halves:
            texts_with[list({*a, *b})] += 1
        self.telling = texts_with < COMMON * rows

    def row(self, first: list[int], second: list[int]) -> Row:
        """One half with the other one hidden, or both, as one text or as a pair."""
        dice = self.generator.random()
        if second and dice < HIDDEN_PART:
            seen, hidden = (first, second) if dice < HIDDEN_PART / 2 else (second, first)
            return Row([CLS, *seen, SEP], len(seen) + 2, hidden)
        if second and dice > 0.8:
            return Row([CLS, *first, SEP, *second, SEP], len(first) + 2, [])
        ids = [CLS, *first, *second, SEP]
        return Row(ids, len(ids), [])

    def batches(self, batch_size: int) -> Iterator[Batch]:
        """One pass over all rows, batches of about equal length in random order."""
        rows = [self.row(first, second) for first, second in self.halves]
        order = np.argsort([len(row.ids) + self.generator.random() for row in rows])
        chunks = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
        for chunk in self.generator.permutation(len(chunks)):
            yield self.batch([rows[i] for i in chunks[chunk]])

    def batch(self, rows: list[Row]) -> Batch:
        """Pad, and mask a share of the words: 80% by [MASK], 10% by a random word, 10% left as they are."""
        ids = np.full((len(rows), max(len(row.ids) for row in rows)), PAD, dtype=np.int64)
        segments = np.zeros_like(ids)
        hidden = np.zeros((len(rows), self.words), dtype=np.float32)
        for i, row in enumerate(rows):
            ids[i, : len(row.ids)] = row.ids
            segments[i, row.second : len(row.ids)] = 1
            hidden[i] = np.bincount(row.hidden, minlength=self.words) * self.telling
        asked = (self.generator.random(ids.shape) < MASKED) & (ids > MASK)
        dice = self.generator.random(ids.shape)
        masked = np.where(asked & (dice < 0.8), MASK, ids)
        random_words = self.generator.integers(len(SPECIAL), self.words, ids.shape)
        masked = np.where(asked & (dice >= 0.9), random_words, masked)
        return Batch(
            ids=torch.from_numpy(masked),
            segments=torch.from_numpy(segments),
            attention=torch.from_numpy((ids != PAD).astype(np.int64)),
            targets=torch.from_numpy(np.where(asked, ids, -100)),
            hidden=torch.from_numpy(hidden / np.maximum(hidden.sum(1, keepdims=True), 1)),
        )


def batch_losses(model: transformers.BertForPreTraining, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean cross-entropy of the masked words, and of the words of the hidden parts."""
    states, pooled = model.bert(batch.ids, batch.attention, batch.segments, return_dict=False)
    asked = batch.targets != -100
    # The vocabulary is predicted for the masked words only: a sixth of the time otherwise goes there.
    words = model.cls.predictions(states[asked])  # (masked words, words)
    has_hidden = batch.hidden.sum(1) > 0
    guesses = pooled[has_hidden] @ model.bert.embeddings.word_embeddings.weight.T + model.cls.predictions.bias
    guessed = -(batch.hidden[has_hidden] * functional.log_softmax(guesses, dim=1)).sum() / has_hidden.sum().clamp(min=1)
    return functional.cross_entropy(words, batch.targets[asked]), guessed


def pretrain(model: transformers.BertForPreTraining, reader: Reader, steps: int, batch_size: int = 32) -> None:
    """AdamW with 5% warm-up and a linear fall to zero."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK, weight_decay=0.01, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / (0.05 * steps), (steps - step) / (0.95 * steps))
    )
    sums = np.zeros(2)
    model.train()
    passes = itertools.chain.from_iterable(reader.batches(batch_size) for _ in itertools.count())
    for step, batch in enumerate(itertools.islice(passes, steps), start=1):
        losses = batch_losses(model, batch)
        torch.autograd.backward(losses[0] + losses[1])
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        sums += [loss.item() for loss in losses]
        if step % 200 == 0:
            print(f"step {step} of {steps}  masked {sums[0] / 200:.3f}  hidden {sums[1] / 200:.3f}", flush=True)
            sums[:] = 0


def save(model: transformers.BertForPreTraining, tokenizer: Tokenizer, folder: Path) -> None:
    """A `from_pretrained` folder with weights in float16; harness loads every file as float32."""
    folder.mkdir(parents=True, exist_ok=True)
    fast = transformers.BertTokenizerFast(tokenizer_object=tokenizer, do_lower_case=True, model_max_length=256)
    fast.save_pretrained(folder)
    model.config.architectures = ["BertForMaskedLM"]
    model.config.save_pretrained(folder)
    shared = ("cls.predictions.decoder.", "cls.seq_relationship.")  # tied to others, or never trained
    state = {name: value.half() for name, value in model.state_dict().items() if not name.startswith(shared)}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


def main() -> None:
    """Make the folder anew."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", nargs="?", default=tiny.folder(), type=Path)
    parser.add_argument("--steps", type=int, default=3500)
    parser.add_argument("--rows", type=int, default=60_000)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    tokenizer = train_tokenizer(corpus.reviews(20_000, seed=CORPUS_SEED, noise=0.0)["text"].to_pylist())
    config = transformers.BertConfig(
        vocab_size=tokenizer.get_vocab_size(), hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, **CONFIG
    )
    model = transformers.BertForPreTraining(config)
    pretrain(model, Reader(tokenizer, arguments.rows, CORPUS_SEED), arguments.steps)
    # Pretraining runs without dropout (no row comes twice with the same mask); fine-tuning gets BERT's usual one.
    model.config.hidden_dropout_prob = model.config.attention_probs_dropout_prob = 0.1
    save(model, tokenizer, arguments.folder)
    print(f"{model.num_parameters():,} parameters, saved to {arguments.folder}")


if __name__ == "__main__":
    main()

"""Makes `builtin:tiny`: trains its WordPiece vocabulary, then masked words and sentence pairs on made-up reviews.

Run by `python -m harness.builtin.pretrain [FOLDER]`; ten minutes on one core. It never sees a label. The pairs
(does the second half belong to the first?) give the pooler a meaning, as in the first BERT; a wrong half is
taken from a review of the same product, so that only content and opinion tell.
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
class Batch:
    """Rows of about equal length: ids, segment, mask of shape (batch, sequence); targets -100 where not asked."""

    ids: torch.Tensor
    segments: torch.Tensor
    attention: torch.Tensor
    targets: torch.Tensor
    follows: torch.Tensor


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
    middle = len(sentences) // 2 if len(sentences) > 1 else 1
    return ". ".join(sentences[:middle]) + ".", ". ".join(sentences[middle:]) + "." if len(sentences) > 1 else ""


class Reader:
    """Turns reviews into masked batches, each pass with new masks and new wrong halves."""

    def __init__(self, tokenizer: Tokenizer, rows: int, seed: int) -> None:
        table = corpus.reviews(rows, seed=seed, noise=0.0)
        cut = [halves(text) for text in table["text"].to_pylist()]
        self.first = [e.ids for e in tokenizer.encode_batch([a for a, _ in cut], add_special_tokens=False)]
        self.second = [e.ids for e in tokenizer.encode_batch([b for _, b in cut], add_special_tokens=False)]
        self.vocabulary = tokenizer.get_vocab_size()
        products = np.array(table["product"].to_pylist())
        self.same_product = {p: np.flatnonzero(products == p) for p in set(products.tolist())}
        self.products = products
        self.generator = np.random.default_rng(seed)

    def pairs(self) -> tuple[list[list[int]], list[list[int]], npt.NDArray[np.bool_]]:
        """First halves, second halves, and whether the second follows (in half of the rows that have one)."""
        wrong = self.generator.random(len(self.first)) < 0.5
        second = list(self.second)
        for row in np.flatnonzero(wrong):
            others = self.same_product[self.products[row]]
            second[row] = self.second[int(others[self.generator.integers(len(others))])]
        return self.first, second, ~wrong

    def batches(self, batch_size: int) -> Iterator[Batch]:
        """One pass over all rows, batches of about equal length in random order."""
        first, second, follows = self.pairs()
        rows = [[CLS, *a, SEP, *b, SEP] if b else [CLS, *a, SEP] for a, b in zip(first, second, strict=True)]
        lengths = np.array([len(row) for row in rows]) + self.generator.random(len(rows))
        order = np.argsort(lengths, kind="stable")
        chunks = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
        for chunk in self.generator.permutation(len(chunks)):
            index = chunks[chunk]
            yield self.batch(
                [rows[i] for i in index],
                [len(first[i]) + 2 for i in index],
                [int(not follows[i]) if second[i] else -100 for i in index],
            )

    def batch(self, rows: list[list[int]], starts: list[int], follows: list[int]) -> Batch:
        """Pad, and mask 20% of the words: 80% by [MASK], 10% by a random word, 10% left as they are."""
        ids = np.full((len(rows), max(map(len, rows))), PAD, dtype=np.int64)
        segments = np.zeros_like(ids)
        for i, row in enumerate(rows):
            ids[i, : len(row)] = row
            segments[i, starts[i] : len(row)] = 1
        asked = (self.generator.random(ids.shape) < 0.2) & (ids > MASK)
        targets = np.where(asked, ids, -100)
        dice = self.generator.random(ids.shape)
        masked = np.where(asked & (dice < 0.8), MASK, ids)
        random_words = self.generator.integers(len(SPECIAL), self.vocabulary, ids.shape)
        masked = np.where(asked & (dice >= 0.9), random_words, masked)
        return Batch(
            ids=torch.from_numpy(masked),
            segments=torch.from_numpy(segments),
            attention=torch.from_numpy((ids != PAD).astype(np.int64)),
            targets=torch.from_numpy(targets),
            follows=torch.tensor(follows),
        )


def batch_loss(model: transformers.BertForPreTraining, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean cross-entropy of the masked words, and of the pairs."""
    hidden, pooled = model.bert(batch.ids, batch.attention, batch.segments, return_dict=False)  # hidden (b, s, width)
    asked = batch.targets != -100
    # The vocabulary is predicted for the masked words only: a sixth of the time otherwise goes there.
    words, pairs = model.cls(hidden[asked], pooled)
    word_loss = functional.cross_entropy(words, batch.targets[asked])
    has_pair = batch.follows != -100
    pair_loss = functional.cross_entropy(pairs[has_pair], batch.follows[has_pair]) if has_pair.any() else word_loss * 0
    return word_loss, pair_loss


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
        losses = batch_loss(model, batch)
        torch.autograd.backward(losses[0] + losses[1])
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        sums += [loss.item() for loss in losses]
        if step % 200 == 0:
            print(f"step {step} of {steps}  words {sums[0] / 200:.3f}  pairs {sums[1] / 200:.3f}", flush=True)
            sums[:] = 0


def save(model: transformers.BertForPreTraining, tokenizer: Tokenizer, folder: Path) -> None:
    """A `from_pretrained` folder with weights in float16; harness loads every file as float32."""
    folder.mkdir(parents=True, exist_ok=True)
    fast = transformers.BertTokenizerFast(tokenizer_object=tokenizer, do_lower_case=True, model_max_length=256)
    fast.save_pretrained(folder)
    model.config.architectures = ["BertForPreTraining"]
    model.config.save_pretrained(folder)
    tied = {"cls.predictions.decoder.weight", "cls.predictions.decoder.bias"}
    state = {
        k: v.half().contiguous() for k, v in model.state_dict().items() if k not in tied and "position_ids" not in k
    }
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
    # Pretraining runs without dropout (the corpus is endless); fine-tuning gets BERT's usual one.
    model.config.hidden_dropout_prob = model.config.attention_probs_dropout_prob = 0.1
    save(model, tokenizer, arguments.folder)
    print(f"{model.num_parameters():,} parameters, saved to {arguments.folder}")


if __name__ == "__main__":
    main()

"""Makes `builtin:tiny`: its WordPiece vocabulary, then pretraining on made-up reviews, without labels.

Run by `OMP_NUM_THREADS=1 python -m harness.builtin.pretrain [FOLDER]`; three minutes on one core to itself. It sees no
label and no row of `builtin:reviews`. Masked words alone leave [CLS] and the pooler untaught, and a frozen encoder
then tells a classifier nothing; so a part of most reviews is hidden, and the pooler has to say what it is about.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator, Sequence
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
from harness.builtin.topics import Floats, Sentences, text_topics, word_topics
from harness.masking import NOT_ASKED, hide

VOCABULARY = 1200
PEAK = 1e-3
MASKED = 0.2
# Eight stand out in the corpus: the spectrum falls to a third after the seventh and is flat after the eighth.
TOPICS = 8
# Share of the reviews of which no part is hidden: places late in a long text are met in these.
WHOLE = 0.1
# 1 / sqrt(width) keeps the size of what passes a layer. At BERT's 0.02, made for width 768, a review's words hardly
# reach [CLS] through four layers of width 128.
INITIAL = 0.08
# Size of a word's topics in its first embedding, beside noise of 0.05 in each of the dimensions.
TOPICS_AT_FIRST = 0.25
# Not the seed of a study's rows.
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
    """Rows of about equal length.

    Attributes:
        ids, attention: shape (batch, sequence).
        targets: ids of the masked words, NOT_ASKED elsewhere, shape (batch, sequence).
        topics: of the hidden part, NaN where nothing is hidden, shape (batch, topics).
    """

    ids: torch.Tensor
    attention: torch.Tensor
    targets: torch.Tensor
    topics: torch.Tensor


class Row(NamedTuple):
    """Word ids of what is seen of a review, and the topics of the part that is hidden."""

    ids: list[int]
    topics: Floats


def corpus_texts(rows: int) -> list[str]:
    """Reviews to learn from, none of them a row of `builtin:reviews` (one short review in 500 came up in both)."""
    studied = set(corpus.reviews()["text"].to_pylist())
    return [text for text in corpus.reviews(rows, seed=CORPUS_SEED)["text"].to_pylist() if text not in studied]


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


def sentences(tokenizer: Tokenizer, texts: list[str]) -> list[list[list[int]]]:
    """Word ids of each text's sentences, without [CLS] and [SEP]."""
    cut = [[f"{sentence}." for sentence in text.removesuffix(".").split(". ")] for text in texts]
    encodings = tokenizer.encode_batch(list(itertools.chain.from_iterable(cut)), add_special_tokens=False)
    ids = (encoding.ids for encoding in encodings)
    return [list(itertools.islice(ids, len(text))) for text in cut]


class Reader:
    """Turns reviews into batches, each pass with new masks and new hidden parts.

    Args:
        reviews: word ids of each review's sentences.
        coordinates: topics of words, shape (words, topics).
    """

    def __init__(self, reviews: Sequence[Sentences], coordinates: Floats, seed: int) -> None:
        self.reviews = reviews
        self.words = len(coordinates)
        spread = np.std([text_topics(coordinates, _joined(review)) for review in reviews], axis=0)
        self.coordinates = coordinates / spread  # so that each topic weighs the same in the loss
        self.generator = np.random.default_rng(seed)

    def batches(self, batch_size: int) -> Iterator[Batch]:
        """One pass over all reviews, batches of about equal length in random order."""
        rows = [self.row(review) for review in self.reviews]
        order = np.argsort([len(row.ids) + 4 * self.generator.random() for row in rows])
        chunks = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
        for chunk in self.generator.permutation(len(chunks)):
            yield self.batch([rows[i] for i in chunks[chunk]])

    def row(self, review: Sentences) -> Row:
        """A review cut between two sentences, one side hidden; some reviews, and those of one sentence, stay whole."""
        if len(review) == 1 or self.generator.random() < WHOLE:
            return Row([CLS, *_joined(review), SEP], np.full(self.coordinates.shape[1], np.nan))
        cut = int(self.generator.integers(1, len(review)))
        seen, hidden = review[:cut], review[cut:]
        if self.generator.random() < 0.5:
            seen, hidden = hidden, seen
        return Row([CLS, *_joined(seen), SEP], text_topics(self.coordinates, _joined(hidden)))

    def batch(self, rows: list[Row]) -> Batch:
        """Pad, and hide a share of the words as `masking.hide` does."""
        ids = np.full((len(rows), max(len(row.ids) for row in rows)), PAD, dtype=np.int64)
        for i, row in enumerate(rows):
            ids[i, : len(row.ids)] = row.ids
        asked = (self.generator.random(ids.shape) < MASKED) & (ids > MASK)
        masked = hide(ids, asked, self.generator, mask=MASK, words=(len(SPECIAL), self.words))
        return Batch(
            ids=torch.from_numpy(masked),
            attention=torch.from_numpy((ids != PAD).astype(np.int64)),
            targets=torch.from_numpy(np.where(asked, ids, NOT_ASKED)),
            topics=torch.tensor(np.array([row.topics for row in rows]), dtype=torch.float32),
        )


def _joined(review: Sentences) -> list[int]:
    return list(itertools.chain.from_iterable(review))


def new_model(coordinates: Floats) -> transformers.BertForPreTraining:
    """A BERT of noise whose words begin at their topics, on random axes at right angles to each other.

    Begun from noise alone, the pooler tells no topic after 600 steps; begun so, half of their variance after 300.
    """
    config = transformers.BertConfig(
        vocab_size=len(coordinates),
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        initializer_range=INITIAL,
        **CONFIG,
    )
    model = transformers.BertForPreTraining(config)
    axes = torch.linalg.qr(torch.randn(config.hidden_size, coordinates.shape[1])).Q.T  # (topics, width)
    embeddings = model.bert.embeddings.word_embeddings.weight
    with torch.no_grad():
        topics = torch.tensor(coordinates, dtype=torch.float32)
        embeddings.copy_(0.05 * torch.randn(embeddings.shape) + TOPICS_AT_FIRST * topics @ axes)
    return model


def batch_losses(
    model: transformers.BertForPreTraining, teller: torch.nn.Linear, batch: Batch
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean cross-entropy of the masked words, and mean squared error of the hidden parts' topics."""
    states, pooled = model.bert(batch.ids, batch.attention, return_dict=False)
    asked = batch.targets != NOT_ASKED
    # The vocabulary is predicted for the masked words only: a sixth of the time otherwise goes there.
    words = functional.cross_entropy(model.cls.predictions(states[asked]), batch.targets[asked])
    hidden = ~batch.topics[:, 0].isnan()
    # A sum over a fixed count: a batch in which nothing is hidden gives zero, not NaN.
    return words, (teller(pooled[hidden]) - batch.topics[hidden]).square().sum() / batch.topics.numel()


def pretrain(model: transformers.BertForPreTraining, reader: Reader, steps: int, batch_size: int = 32) -> None:
    """AdamW with 5% warm-up and a linear fall to zero."""
    teller = torch.nn.Linear(model.config.hidden_size, TOPICS)  # from the pooled vector to topics; not kept
    parameters = [*model.parameters(), *teller.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=PEAK, weight_decay=0.01, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / (0.05 * steps), (steps - step) / (0.95 * steps))
    )
    sums = np.zeros(2)
    model.train()
    passes = itertools.chain.from_iterable(reader.batches(batch_size) for _ in itertools.count())
    for step, batch in enumerate(itertools.islice(passes, steps), start=1):
        losses = batch_losses(model, teller, batch)
        torch.autograd.backward(losses[0] + losses[1])
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        sums += [loss.item() for loss in losses]
        if step % 100 == 0:
            print(f"step {step} of {steps}  masked words {sums[0] / 100:.3f}  topics {sums[1] / 100:.3f}", flush=True)
            sums[:] = 0


def save(model: transformers.BertForPreTraining, tokenizer: Tokenizer, folder: Path) -> None:
    """A `from_pretrained` folder with weights in float16; harness loads every file as float32."""
    folder.mkdir(parents=True, exist_ok=True)
    fast = transformers.BertTokenizerFast(tokenizer_object=tokenizer, do_lower_case=True, model_max_length=256)
    fast.save_pretrained(folder)
    model.config.save_pretrained(folder)
    # The decoder is tied to the embeddings and the bias, which are saved once; pairs of sentences were not learned.
    left_out = ("cls.predictions.decoder.", "cls.seq_relationship.")
    state = {name: value.half() for name, value in model.state_dict().items() if not name.startswith(left_out)}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


def main() -> None:
    """Make the folder anew."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", nargs="?", default=tiny.folder(), type=Path)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--rows", type=int, default=40_000)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    texts = corpus_texts(arguments.rows)
    tokenizer = train_tokenizer(texts[:20_000])
    reviews = sentences(tokenizer, texts)
    coordinates = word_topics(reviews, tokenizer.get_vocab_size(), TOPICS)
    model = new_model(coordinates)
    pretrain(model, Reader(reviews, coordinates, CORPUS_SEED), arguments.steps)
    # Pretraining runs without dropout (no row comes twice with the same mask); fine-tuning gets BERT's usual one, and
    # a new classifier BERT's usual size.
    model.config.hidden_dropout_prob = model.config.attention_probs_dropout_prob = 0.1
    model.config.initializer_range = 0.02
    save(model, tokenizer, arguments.folder)
    print(f"{sum(value.numel() for value in model.bert.parameters()):,} parameters, saved to {arguments.folder}")


if __name__ == "__main__":
    main()

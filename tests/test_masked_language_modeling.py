"""The task of hidden words: features, loss, metrics, every architecture's head, and the plain Trainer beside it."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import small_models
import torch
import transformers
from recording import Recording
from torch.nn import functional

from harness import metrics
from harness.architectures import architecture_of
from harness.batches import TokenTable
from harness.configuration import Objective, TrialConfig
from harness.encoder import Encoder
from harness.errors import DataError
from harness.evaluation import Split, measure, predict
from harness.masking import NOT_ASKED
from harness.spec import DataSpec
from harness.streams import derive, epoch_order
from harness.tasks.masked_language_modeling import MaskedLanguageModeling, vocabulary_of
from harness.training import train
from harness.training_plan import Plan, prepare, weighing

ROWS, BATCH, EPOCHS, SEED = 24, 8, 3, 3
TASK = MaskedLanguageModeling()
CONFIG = TrialConfig.from_dict(
    {"epochs": EPOCHS, "batch_size": BATCH, "learning_rate": 1e-3, "max_length": 16, "dtype": "fp32", "dropout": 0.0}
)


def features_of(path: str, rows: int = ROWS, seed: int = 1):
    tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    return TASK.encode(small_models.split(rows, seed).examples, tokenizer, CONFIG)


def encoder_of(path: str) -> Encoder:
    model = TASK.model(path, 0, dropout=0.0)
    encoder = Encoder(model, small_models.CPU, TASK.first_token, TASK.place_head(architecture_of(model.config)))
    encoder.reset(SEED)
    return encoder


def split_of(features, rows: int = ROWS, seed: int = 1) -> Split:
    return Split(small_models.split(rows, seed).examples, features, TokenTable(features, small_models.CPU))


def plan_of(path: str, task: MaskedLanguageModeling = TASK, **values) -> Plan:
    features = features_of(path)
    fixed = split_of(TASK.drawn(features_of(path, 20, 2), 0), 20, 2)
    return Plan(
        task=task, encoder=encoder_of(path), config=replace(CONFIG, **values), seed=SEED, train=split_of(features),
        probe=fixed, validation=fixed, objective=Objective(), positive=None, dtype="fp32", evaluation_places=64,
        exact=True,
    )  # fmt: skip


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> str:
    return small_models.model_folder(tmp_path_factory.mktemp("bert"))


# --- rows and features --------------------------------------------------------------------------------


def test_rows_need_a_text_and_no_label():
    table = pa.table({"text": ["one", " ", "two"]})
    found = TASK.read(table, DataSpec(path="x", on_bad_row="drop"), split="train", label_names=None)
    assert (list(found.texts), found.label_names, found.dropped) == (["one", "two"], (), {"empty text": 1})
    with pytest.raises(DataError, match=r"row 1 .* empty text"):
        TASK.read(table, DataSpec(path="x"), split="train", label_names=None)


def test_what_is_hidden_is_what_the_labels_name(path):
    plain = features_of(path)
    drawn = TASK.drawn(plain, 5)
    for row in range(len(plain)):
        count = int(plain.labels[row])
        assert (drawn.labels[row, :count] != NOT_ASKED).all()
        assert (drawn.labels[row, count:] == NOT_ASKED).all()
        places = drawn.asked[row, :count]
        assert drawn.labels[row, :count].tolist() == plain.input_ids[row][places].tolist()
        others = np.setdiff1d(np.arange(len(plain.input_ids[row])), places)
        assert np.array_equal(drawn.input_ids[row][others], plain.input_ids[row][others])
    assert any((ids == 4).any() for ids in drawn.input_ids)  # [MASK]


def test_equal_seeds_hide_the_same_and_others_do_not(path):
    plain = features_of(path)
    one, again, other = TASK.drawn(plain, 5), TASK.drawn(plain, 5), TASK.drawn(plain, 6)
    assert np.array_equal(one.asked, again.asked)
    assert np.array_equal(np.concatenate(one.input_ids), np.concatenate(again.input_ids))
    assert not np.array_equal(one.asked, other.asked)


def test_an_unknown_word_may_be_asked_for_and_the_frame_of_a_text_may_not(path):
    assert vocabulary_of(transformers.AutoTokenizer.from_pretrained(path)) == (4, 60, (0, 2, 3, 4))


def test_a_tokeniser_without_a_mask_is_refused(path):
    tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    tokenizer.mask_token = None
    with pytest.raises(DataError, match="mask"):
        vocabulary_of(tokenizer)


# --- the head -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", small_models.KINDS)
def test_the_tokens_asked_for_get_the_logits_of_the_whole_model(kind, tmp_path):
    path = small_models.model_folder(tmp_path, kind)
    encoder = encoder_of(path)
    batch = TokenTable(TASK.drawn(features_of(path), 1), small_models.CPU).batch(np.arange(ROWS))
    encoder.model.eval()
    with torch.no_grad():
        whole = encoder.model(input_ids=batch.input_ids, attention_mask=batch.attention_mask.long()).logits
        asked = encoder.forward(batch)
    expected = torch.stack([whole[row, places] for row, places in enumerate(batch.asked)])
    assert asked.shape == (ROWS, batch.labels.shape[1], small_models.VOCABULARY)
    torch.testing.assert_close(asked, expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("kind", small_models.KINDS)
def test_a_head_that_the_file_lacks_is_fresh_and_said_to_be(kind, tmp_path):
    encoder = encoder_of(small_models.model_folder(tmp_path, kind))
    assert encoder.notes[0].startswith("freshly initialised: ")
    assert {p.part for p in encoder.parameters if p.name in encoder.fresh} <= {"head", "classifier"}


def test_a_head_that_the_file_holds_is_kept(tmp_path):
    small_models.model_folder(tmp_path)
    model = transformers.BertForMaskedLM(small_models.configuration("bert"))
    model.save_pretrained(tmp_path)
    loaded = TASK.model(str(tmp_path), 0, dropout=None)
    assert not loaded.fresh_parameters
    assert torch.equal(loaded.cls.predictions.transform.dense.weight, model.cls.predictions.transform.dense.weight)


# --- loss and metrics -----------------------------------------------------------------------------------


def hand_made():
    """Two features that are asked for 2 tokens and 1, over 3 words."""
    logits = torch.tensor([[[2.0, 0.0, 0.0], [0.0, 1.0, 0.0]], [[0.0, 0.0, 3.0], [9.0, 9.0, 9.0]]])
    return logits, torch.tensor([[0, 2], [2, NOT_ASKED]])


def test_the_loss_is_a_mean_over_tokens_and_perplexity_its_exponential():
    logits, labels = hand_made()
    nats = [
        -math.log(math.exp(2) / (math.exp(2) + 2)),
        math.log(math.e + 2),
        -math.log(math.exp(3) / (math.exp(3) + 2)),
    ]
    assert float(TASK.loss(logits, labels)) == pytest.approx(sum(nats) / 3)
    kept = TASK.kept(logits, labels)
    assert kept.tolist() == [pytest.approx([nats[0] + nats[1], 1, 2]), pytest.approx([nats[2], 1, 1])]
    assert float(TASK.mean_loss(kept, labels)) == pytest.approx(sum(nats) / 3)
    scores = metrics.evaluate("tokens", kept.numpy(), ["a", "b"], positive=None, num_labels=0)
    assert scores == {"perplexity": pytest.approx(math.exp(sum(nats) / 3)), "accuracy": pytest.approx(2 / 3)}
    outputs = TASK.outputs(kept.numpy(), None, None, CONFIG)
    assert outputs["losses"].tolist() == pytest.approx([(nats[0] + nats[1]) / 2, nats[2]])


def test_metrics_of_no_hidden_token_are_missing():
    scores = metrics.evaluate("tokens", np.zeros((2, 3)), ["", ""], positive=None, num_labels=0)
    assert all(math.isnan(score) for score in scores.values())


def test_a_batch_in_which_nothing_is_asked_for_has_no_loss_and_no_gradient():
    logits = torch.zeros((2, 1, 3), requires_grad=True)
    loss = TASK.loss(logits, torch.full((2, 1), NOT_ASKED))
    loss.backward()
    assert loss.item() == 0.0
    assert not logits.grad.any()


def test_batches_of_another_size_give_the_same_evaluation(path):
    encoder = encoder_of(path)
    split = split_of(TASK.drawn(features_of(path), 2))
    many, one = (predict(encoder, split.table, "fp32", places, TASK.kept) for places in (1000, 1))
    np.testing.assert_allclose(many, one, atol=1e-4)
    values = {m.name: m.value for m in measure(TASK, split, many, CONFIG, "validation", None)}
    assert values["perplexity"] == pytest.approx(math.exp(values["loss"]))


# --- training -------------------------------------------------------------------------------------------


class Recorded(Recording, MaskedLanguageModeling):
    """The task, noting the loss of every training batch."""


class Rows(torch.utils.data.Dataset):
    """The rows as our loop hides them, with whole label sequences as `DataCollatorForLanguageModeling` makes them."""

    def __init__(self, features):
        self.features, self.epoch = features, 0

    def __len__(self):
        return ROWS

    def __iter__(self):
        self.epoch += 1
        self.drawn = TASK.drawn(self.features, derive(SEED, "drawn", self.epoch))
        return iter(epoch_order(ROWS, SEED, self.epoch).tolist())

    def __getitem__(self, row):
        labels = torch.full((len(self.drawn.input_ids[row]),), NOT_ASKED)
        count = int(self.features.labels[row])
        labels[self.drawn.asked[row, :count]] = torch.from_numpy(self.drawn.labels[row, :count])
        return torch.from_numpy(self.drawn.input_ids[row]).long(), labels


def collate(rows):
    ids, labels = zip(*rows, strict=True)
    pad = torch.nn.utils.rnn.pad_sequence
    mask = pad([torch.ones_like(row) for row in ids], batch_first=True)
    return {
        "input_ids": pad(list(ids), batch_first=True),
        "attention_mask": mask,
        "labels": pad(list(labels), batch_first=True, padding_value=NOT_ASKED),
    }


class OrderedTrainer(transformers.Trainer):
    def _get_train_sampler(self, *args, **kwargs):
        return self.train_dataset

    def compute_loss(self, model, inputs, **kwargs):
        loss = super().compute_loss(model, inputs, **kwargs)
        self.noted.append(loss.item())
        return loss


def trainer_losses(path: str, folder: Path, **values) -> np.ndarray:
    transformers.set_seed(SEED)
    model = transformers.AutoModelForMaskedLM.from_pretrained(
        path, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
    )
    settings = {"weight_decay": 0.01, "max_grad_norm": 1.0, "lr_scheduler_type": "linear", "learning_rate": 1e-3}
    arguments = transformers.TrainingArguments(
        output_dir=str(folder), use_cpu=True, report_to="none", save_strategy="no", disable_tqdm=True,
        logging_strategy="no", seed=SEED, num_train_epochs=EPOCHS, per_device_train_batch_size=BATCH,
        **settings | values,
    )  # fmt: skip
    trainer = OrderedTrainer(model=model, args=arguments, train_dataset=Rows(features_of(path)), data_collator=collate)
    trainer.noted = []
    trainer.train()
    return np.array(trainer.noted)


def our_losses(path: str) -> np.ndarray:
    task = Recorded()
    plan = plan_of(path, task)
    list(train(plan, prepare(plan)))
    return np.array(task.losses)


def test_losses_are_those_of_the_trainer_step_for_step(path, tmp_path):
    ours, theirs = our_losses(path), trainer_losses(path, tmp_path)
    assert len(ours) == ROWS // BATCH * EPOCHS
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)


@pytest.mark.parametrize("sabotage", [{"learning_rate": 9e-4}, {"weight_decay": 0.5}, {"max_grad_norm": 0.1}])
def test_the_comparison_sees_a_wrong_setting(path, tmp_path, sabotage):
    ours, theirs = our_losses(path), trainer_losses(path, tmp_path, **sabotage)
    assert np.max(np.abs(ours - theirs) / theirs) > 2e-6


def test_accumulated_batches_weigh_as_one_large_batch(path):
    """Features are asked for different numbers of tokens, so the parts do not weigh alike."""
    whole, parts = (plan_of(path, epochs=1, **sizes) for sizes in ({}, {"batch_size": 2, "gradient_accumulation": 4}))
    assert len(set(weighing(whole).rows.tolist())) > 1
    ended = []
    for plan in (whole, parts):
        list(train(plan, prepare(plan)))
        ended.append(torch.cat([p.detach().flatten() for p in plan.encoder.model.parameters()]))
    torch.testing.assert_close(*ended, atol=1e-5, rtol=0)


def test_other_tokens_are_hidden_in_every_epoch(path):
    plan = plan_of(path)
    first, again, second = (plan.table(epoch).batch(np.arange(ROWS)) for epoch in (1, 1, 2))
    assert torch.equal(first.asked, again.asked)
    assert not torch.equal(first.input_ids, second.input_ids)


def test_an_epoch_reports_loss_perplexity_and_the_losses_of_examples(path):
    plan = plan_of(path, epochs=1)
    record = [event for event in train(plan, prepare(plan)) if hasattr(event, "metrics")][-1]
    assert record.margins is None
    assert record.outputs["losses"].shape == (20,)
    assert record.value("validation", "perplexity") == pytest.approx(math.exp(record.value("validation", "loss")))
    assert record.value("train", "loss") > 0


def test_a_plain_cross_entropy_over_all_tokens_is_the_same_loss():
    """The definition, without any choice of places."""
    torch.manual_seed(0)
    logits = torch.randn(2, 5, 7)  # every token's
    targets = torch.full((2, 5), NOT_ASKED)
    targets[0, 1], targets[0, 3], targets[1, 4] = 2, 6, 0
    asked = torch.tensor([[1, 3], [4, 0]])
    chosen = logits.gather(1, asked[:, :, None].expand(-1, -1, 7))
    labels = torch.tensor([[2, 6], [0, NOT_ASKED]])
    expected = functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
    torch.testing.assert_close(TASK.loss(chosen, labels), expected)

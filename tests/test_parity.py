"""The loop against transformers.Trainer: same rows, same order, same settings, step by step."""

import functools
from dataclasses import replace

import numpy as np
import pytest
import small_models
import torch
import transformers
from recording import Recording

from harness.streams import epoch_order
from harness.tasks.sequence_classification import SequenceClassification
from harness.training import train
from harness.training_plan import prepare

ROWS, BATCH, EPOCHS, SEED = 48, 8, 5, 3  # 30 steps
SETTINGS = {
    "epochs": EPOCHS,
    "batch_size": BATCH,
    "learning_rate": 1e-3,
    "weight_decay": 1.0,
    "warmup": 0.2,
    "dropout": 0.0,
    "max_grad_norm": 0.1,
}
TRAINED = {  # written by hand, so that freezing.py is tested too
    "none": ("",),
    "top-2": ("layer.1.", "layer.2.", "pooler", "pre_classifier", "classifier"),
    "head": ("pooler", "pre_classifier", "classifier"),
}


class Recorded(Recording, SequenceClassification):
    """The task, noting the loss of every training batch."""


@functools.cache
def our_losses(path, freeze, seed=SEED, **values):
    task = Recorded()
    plan = replace(
        small_models.plan(path, rows=ROWS, seed=seed, freeze=freeze, **SETTINGS | values), task=task, exact=True
    )
    list(train(plan, prepare(plan)))
    return np.array(task.losses)


class Rows(torch.utils.data.Dataset):
    def __init__(self, split):
        self.split = split

    def __len__(self):
        return len(self.split.features)

    def __getitem__(self, row):
        return {"input_ids": self.split.features.input_ids[row], "labels": int(self.split.features.labels[row])}


def collate(rows):
    longest = max(len(row["input_ids"]) for row in rows)
    ids = torch.zeros((len(rows), longest), dtype=torch.long)
    mask = torch.zeros_like(ids)
    for number, row in enumerate(rows):
        ids[number, : len(row["input_ids"])] = torch.from_numpy(row["input_ids"]).long()
        mask[number, : len(row["input_ids"])] = 1
    return {"input_ids": ids, "attention_mask": mask, "labels": torch.tensor([row["labels"] for row in rows])}


class Order(torch.utils.data.Sampler):
    """Our batch order, one epoch after the other."""

    def __init__(self, seed):
        self.seed, self.epoch = seed, 0

    def __len__(self):
        return ROWS

    def __iter__(self):
        self.epoch += 1
        return iter(epoch_order(ROWS, self.seed, self.epoch).tolist())


class OrderedTrainer(transformers.Trainer):
    def _get_train_sampler(self, *args, **kwargs):
        return Order(self.args.seed)

    def compute_loss(self, model, inputs, **kwargs):
        loss = super().compute_loss(model, inputs, **kwargs)
        self.noted.append(loss.item())
        return loss


class WithoutGroups(OrderedTrainer):
    """Decays biases and norms too."""

    def get_decay_parameter_names(self, model):
        return [name for name, _ in model.named_parameters()]


def trainer_losses(path, freeze, folder, trainer_class=OrderedTrainer, seed=SEED, **values):
    arguments = {
        "num_train_epochs": EPOCHS,
        "per_device_train_batch_size": BATCH,
        "learning_rate": 1e-3,
        "weight_decay": 1.0,
        "warmup_steps": 0.2,
        "max_grad_norm": 0.1,
        "lr_scheduler_type": "linear",
    }
    rates = dict.fromkeys(("hidden_dropout_prob", "attention_probs_dropout_prob"), 0.0)
    if "distilbert" in path:
        rates = dict.fromkeys(("dropout", "attention_dropout", "seq_classif_dropout"), 0.0)
    rates = values.pop("rates", rates)
    transformers.set_seed(seed)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(path, num_labels=2, **rates)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(any(part in name for part in TRAINED[freeze]))
    settings = transformers.TrainingArguments(
        output_dir=str(folder), use_cpu=True, report_to="none", save_strategy="no", disable_tqdm=True,
        logging_strategy="no", seed=seed, **arguments | values,
    )  # fmt: skip
    trainer = trainer_class(
        model=model, args=settings, train_dataset=Rows(small_models.split(ROWS, 1)), data_collator=collate
    )
    trainer.noted = []
    trainer.train()
    return np.array(trainer.noted)


def relative_difference(ours, theirs):
    assert len(ours) == len(theirs) == ROWS // BATCH * EPOCHS
    return float(np.max(np.abs(ours - theirs) / np.abs(theirs)))


@pytest.fixture(scope="module", params=["bert", "distilbert"])
def path(request, tmp_path_factory):
    return small_models.model_folder(tmp_path_factory.mktemp(request.param), request.param)


@pytest.mark.parametrize("freeze", list(TRAINED))
def test_losses_are_those_of_the_trainer_for_thirty_steps(path, freeze, tmp_path):
    ours = our_losses(path, freeze)
    theirs = trainer_losses(path, freeze, tmp_path)
    assert relative_difference(ours, theirs) < 1e-6


@pytest.mark.parametrize(
    "sabotage",
    [
        pytest.param({"trainer_class": WithoutGroups}, id="decay of biases and norms"),
        pytest.param({"max_grad_norm": 0.0}, id="no clipping"),
        pytest.param({"warmup_steps": 0}, id="no warm-up"),
        pytest.param({"warmup_steps": 5}, id="warm-up a step short"),
        pytest.param({"weight_decay": 0.9}, id="another decay"),
        pytest.param({"lr_scheduler_type": "cosine"}, id="another schedule"),
    ],
)
@pytest.mark.parametrize("freeze", list(TRAINED))
def test_the_comparison_sees_a_wrong_setting(path, freeze, tmp_path, sabotage):
    ours = our_losses(path, freeze)
    theirs = trainer_losses(path, freeze, tmp_path, **sabotage)
    assert relative_difference(ours, theirs) > 2e-6  # twice what is allowed; equal settings differ by nothing at all


@pytest.mark.parametrize("kind", ["cosine", "constant"])
def test_schedules_are_those_of_the_trainer(path, tmp_path, kind):
    name = {"constant": "constant_with_warmup"}.get(kind, kind)
    ours = our_losses(path, "none", lr_schedule=kind)
    theirs = trainer_losses(path, "none", tmp_path, lr_scheduler_type=name)
    assert relative_difference(ours, theirs) < 1e-6


@pytest.mark.slow
def test_with_dropout_final_losses_agree_within_the_spread_of_seeds(path, tmp_path):
    global SEED
    rates = {} if "distilbert" in path else {"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1}
    seeds = range(4)
    ours = [our_losses(path, "none", seed, dropout=None, warmup=0.0)[-6:].mean() for seed in seeds]
    theirs = [
        trainer_losses(path, "none", tmp_path, seed=seed, rates=rates, warmup_steps=0)[-6:].mean() for seed in seeds
    ]
    spread = np.std(theirs, ddof=1) + np.std(ours, ddof=1)
    assert abs(np.mean(ours) - np.mean(theirs)) < 2.5 * spread / np.sqrt(len(seeds))

"""A plain Trainer script on the built-in data and model, as a user of transformers writes it, with three more lines."""

from __future__ import annotations

import functools
import sys
from typing import Any

import datasets
import torch
import transformers
from transformers import AutoModelForSequenceClassification, AutoTokenizer, Trainer, TrainingArguments

from harness.builtin import corpus, tiny
from harness.callback import Recorder

transformers.logging.set_verbosity_error()


@functools.cache
def rows(count: int, seed: int) -> datasets.Dataset:
    tokenizer = AutoTokenizer.from_pretrained(tiny.folder())
    made = corpus.reviews(count, seed=seed).to_pydict()
    labels = [corpus.LABEL_NAMES.index(label) for label in made["label"]]
    texts = {"text": made["text"], "labels": labels}
    return datasets.Dataset.from_dict(texts).map(
        lambda batch: tokenizer(batch["text"], truncation=True, max_length=24), batched=True, remove_columns=["text"]
    )


def trainer(output: str, recorder: Recorder, train: int = 48, validation: int = 24, **arguments: Any) -> Trainer:
    def accuracy(predictions: Any) -> dict[str, float]:
        return {"accuracy": float((predictions.predictions.argmax(-1) == predictions.label_ids).mean())}

    usual = {"eval_strategy": "epoch", "num_train_epochs": 2, "per_device_train_batch_size": 8, "save_strategy": "no"}
    usual |= {"report_to": "none", "use_cpu": True, "disable_tqdm": True, "learning_rate": 1e-3, "logging_steps": 4}
    transformers.set_seed(arguments.get("seed", 42))  # the head is drawn before Trainer sets the seed
    model = AutoModelForSequenceClassification.from_pretrained(tiny.folder(), num_labels=2, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(tiny.folder())
    return Trainer(
        model=model,
        args=TrainingArguments(output, **(usual | arguments)),
        data_collator=transformers.DataCollatorWithPadding(tokenizer),
        train_dataset=rows(train, 1),
        eval_dataset=rows(validation, 2) if validation else None,
        compute_metrics=accuracy,
        callbacks=[recorder],
    )


if __name__ == "__main__":
    recorder = Recorder(db=sys.argv[1], study="my-script")
    trainer(sys.argv[2], recorder, seed=int(sys.argv[3]), num_train_epochs=int(sys.argv[4])).train()

"""The plain Trainer in an Optuna loop, as people write it: one process, one trial after the other.

    python -m benchmarks.baselines JOB.json

A job names the variant, the rows, the model and the configurations, which `study.enqueue_trial` replays; what came
out is written to `out`. Nothing of harness is used here.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import optuna
import torch
import transformers


def fast_bf16() -> bool:
    """Whether this machine multiplies bfloat16 in hardware."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    flags = torch.cpu.get_capabilities()
    return bool(flags.get("avx512_bf16") or flags.get("amx_bf16"))


@dataclass(frozen=True)
class Variant:
    """A way of writing it.

    Attributes:
        title: for the tables.
        padding: of the tokeniser; False leaves it to the collator, batch by batch.
        arguments: of TrainingArguments, beside those that the configuration gives.
    """

    title: str
    padding: str | bool
    arguments: Mapping[str, Any]


VARIANTS = {
    "B0": Variant(
        "as tutorials write it: padded to max_length, defaults, saves every epoch",
        "max_length",
        {"eval_strategy": "epoch", "save_strategy": "epoch"},
    ),
    "B1": Variant(
        "dynamic padding, else defaults (evaluation in batches of 8, fp32 on a CPU, bf16 on a GPU), saves nothing",
        False,
        {"eval_strategy": "epoch", "save_strategy": "no", "bf16": torch.cuda.is_available() and fast_bf16()},
    ),
    "B2": Variant(
        "tuned: batches of like lengths, bf16 where it is fast, evaluation in batches of 128, no filter of losses, "
        "no log, saves nothing",
        False,
        {
            "eval_strategy": "epoch",
            "save_strategy": "no",
            "train_sampling_strategy": "group_by_length",
            "bf16": fast_bf16(),
            "per_device_eval_batch_size": 128,
            "logging_nan_inf_filter": False,
            "logging_strategy": "no",
            "disable_tqdm": True,
        },
    ),
}


@dataclass(frozen=True)
class Setting:
    """What all trials of a process share."""

    variant: Variant
    model: str
    tokenizer: Any
    rows: Any
    output: Path

    @property
    def num_labels(self) -> int:
        """Number of classes."""
        return len(set(self.rows["train"]["labels"][:]))


def prepare(job: Mapping[str, Any]) -> Setting:
    """Read and tokenise the rows, once for all trials."""
    variant = VARIANTS[job["variant"]]
    tokenizer = transformers.AutoTokenizer.from_pretrained(job["model"])
    files = {split: str(Path(job["data"]) / f"{split}.parquet") for split in ("train", "validation")}
    rows = datasets.load_dataset("parquet", data_files=files)

    def encode(batch: Mapping[str, Any]) -> Any:
        return tokenizer(
            batch["text"],
            truncation=True,
            max_length=job["max_length"],
            padding=variant.padding,
            return_length=True,  # so that grouping by length need not count
        )

    rows = rows.map(encode, batched=True, remove_columns=["text"]).rename_column("label", "labels")
    return Setting(variant, job["model"], tokenizer, rows, Path(job["output"]))


def freeze_parameters(model: Any, freeze: str) -> None:
    """Freeze the way people do, by requires_grad; dropout stays on in what is frozen."""
    if freeze == "none":
        return
    base = model.base_model
    for parameter in base.parameters():
        parameter.requires_grad = False
    open_again = []
    if freeze.startswith("top-"):
        layers = base.encoder.layer if hasattr(base, "encoder") else base.transformer.layer
        open_again += list(layers[-int(freeze.removeprefix("top-")) :])
    if freeze != "classifier" and getattr(base, "pooler", None) is not None:
        open_again.append(base.pooler)
    for module in open_again:
        for parameter in module.parameters():
            parameter.requires_grad = True
    if freeze == "classifier" and hasattr(model, "pre_classifier"):
        model.pre_classifier.requires_grad_(False)


def accuracy(prediction: Any) -> dict[str, float]:
    """compute_metrics of the Trainer."""
    return {"accuracy": float(np.mean(prediction.predictions.argmax(-1) == prediction.label_ids))}


def make_trainer(
    setting: Setting,
    configuration: Mapping[str, Any],
    rows: Any = None,
    trainer_class: type[transformers.Trainer] = transformers.Trainer,
    **changes: Any,
) -> transformers.Trainer:
    """A Trainer for one configuration.

    Args:
        setting: what all trials share.
        configuration: hyperparameters and seed.
        rows: other rows than the setting's.
        trainer_class: Trainer, or a subclass that times.
        changes: arguments of TrainingArguments that replace others.
    """
    rows = rows or setting.rows
    transformers.set_seed(configuration["seed"])
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        setting.model, num_labels=setting.num_labels, dtype=torch.float32
    )
    freeze_parameters(model, configuration["freeze"])
    settings: dict[str, Any] = {
        "output_dir": str(setting.output),
        "num_train_epochs": configuration["epochs"],
        "per_device_train_batch_size": configuration["batch_size"],
        "learning_rate": configuration["learning_rate"],
        "weight_decay": configuration["weight_decay"],
        "seed": configuration["seed"],
        "use_cpu": not torch.cuda.is_available(),
    }
    arguments = transformers.TrainingArguments(**settings | dict(setting.variant.arguments) | changes)
    return trainer_class(
        model=model,
        args=arguments,
        train_dataset=rows["train"],
        eval_dataset=rows["validation"],
        processing_class=setting.tokenizer,
        data_collator=transformers.DataCollatorWithPadding(setting.tokenizer),
        compute_metrics=accuracy,
    )


def run(job: Mapping[str, Any]) -> list[dict[str, float]]:
    """Replay all configurations; validation loss and accuracy of each after its last epoch."""
    setting = prepare(job)
    found = []

    def objective(trial: optuna.Trial) -> float:
        configuration = {
            "freeze": trial.suggest_categorical("freeze", sorted({each["freeze"] for each in job["configurations"]})),
            "epochs": trial.suggest_int("epochs", 1, 100),
            "learning_rate": trial.suggest_float("learning_rate", 1e-6, 1.0, log=True),
            "batch_size": trial.suggest_int("batch_size", 1, 512),
            "weight_decay": trial.suggest_float("weight_decay", 0.0, 1.0),
            "seed": trial.suggest_int("seed", 0, 2**31 - 1),
        }
        trainer = make_trainer(setting, configuration)
        trainer.train()
        last = [entry for entry in trainer.state.log_history if "eval_loss" in entry][-1]
        result = {
            "validation_loss": last["eval_loss"],
            "accuracy": last["eval_accuracy"],
            "seed": configuration["seed"],
        }
        found.append(result)
        return float(result["validation_loss"])

    study = optuna.create_study(direction="minimize")
    for each in job["configurations"]:
        study.enqueue_trial({key: value for key, value in each.items() if key != "max_length"})
    study.optimize(objective, n_trials=len(job["configurations"]))
    return found


def main() -> None:
    """Entry of `python -m benchmarks.baselines JOB.json`."""
    job = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    Path(job["out"]).write_text(json.dumps(run(job)), "utf-8")


if __name__ == "__main__":
    main()

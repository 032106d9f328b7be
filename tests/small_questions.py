"""Made-up questions whose answer is the word that follows, and plans over them, for the tests of the torch side."""

import numpy as np
import small_models
import transformers

from harness.architectures import architecture_of
from harness.batches import TokenTable
from harness.configuration import Objective, TrialConfig
from harness.encoder import Encoder
from harness.evaluation import Split
from harness.tasks.base import Examples
from harness.tasks.question_answering import QuestionAnswering
from harness.training_plan import Plan

TASK = QuestionAnswering()


def examples(questions, contexts, answers, unanswerable=False):
    """`answers` are lists of texts, each taken from where it first stands in the context."""
    starts = [tuple(f" {c} ".index(f" {a} ") for a in each) for c, each in zip(contexts, answers, strict=True)]
    count = np.arange(len(questions), dtype=np.int64)
    return Examples(
        rows=count,
        texts=questions,
        pairs=contexts,
        labels=np.array([bool(each) for each in answers], dtype=np.int64),
        label_names=("no answer", "answer") if unanswerable else (),
        extra={"id": [f"q{n}" for n in count], "answers": [tuple(a) for a in answers], "starts": starts},
    )


def made_up(count, seed, words=24):
    """Contexts of words w0, w1 ...; the answer is what stands behind the question's word."""
    random = np.random.default_rng(seed)
    questions, contexts, answers = [], [], []
    for _ in range(count):
        order = [f"w{n}" for n in random.permutation(small_models.VOCABULARY - 5)[:words]]
        place = int(random.integers(0, words - 2))
        questions.append(order[place])
        contexts.append(" ".join(order))
        answers.append([" ".join(order[place + 1 : place + 2 + int(random.integers(0, 2))])])
    return examples(questions, contexts, answers)


def encoder_of(path, dropout=None):
    model = TASK.model(path, 0, dropout=dropout)
    return Encoder(model, small_models.CPU, pooled=False, row=TASK.place_head(architecture_of(model.config)))


def split_of(rows, path, config):
    tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    features = TASK.encode(rows, tokenizer, config)
    return Split(rows, features, TokenTable(features, small_models.CPU))


def plan_of(path, seed=3, rows=12, **values):
    defaults = {"model": path, "epochs": 2, "batch_size": 4, "learning_rate": 1e-3, "max_length": 24, "dtype": "fp32"}
    config = TrialConfig.from_dict(defaults | {"stride": 6} | values)
    training = split_of(made_up(rows, 1), path, config)
    return Plan(
        task=TASK,
        encoder=encoder_of(path, config.dropout),
        config=config,
        seed=seed,
        train=training,
        probe=training,
        validation=split_of(made_up(8, 2), path, config),
        objective=Objective(),
        positive=None,
        dtype="fp32",
        evaluation_places=96,
    )

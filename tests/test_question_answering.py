"""Windows, gold tokens, loss and heads of extractive question answering, beside the plain library."""

from dataclasses import replace

import numpy as np
import pytest
import small_models
import torch
import transformers
from recording import Recording
from small_questions import TASK, encoder_of, examples, made_up, plan_of, split_of

import harness.kept_models as kept_models
from harness.architectures import architecture_of
from harness.batches import TokenTable
from harness.configuration import TrialConfig
from harness.evaluation import Split, predict
from harness.streams import epoch_order
from harness.tasks.question_answering import LOSS, MARGIN, QuestionAnswering
from harness.training import train
from harness.training_plan import prepare

KINDS = ("bert", "distilbert", "roberta", "albert", "electra")


@pytest.fixture(scope="module", params=KINDS)
def folder(request, tmp_path_factory):
    return small_models.model_folder(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    path = small_models.model_folder(tmp_path_factory.mktemp("tokenizer"), "bert")
    return transformers.AutoTokenizer.from_pretrained(path)


# --- windows ------------------------------------------------------------------------------------------


def test_a_long_context_is_read_in_windows_that_share_stride_tokens(tokenizer):
    context = " ".join(f"w{n}" for n in range(20))
    config = TrialConfig(max_length=14, stride=4)
    features = TASK.encode(examples(["w0"], [context], [["w3"]]), tokenizer, config)
    room = 14 - 4  # [CLS] question [SEP] ... [SEP]
    read = [ids[3:-1].tolist() for ids in features.input_ids]
    whole = tokenizer(context, add_special_tokens=False)["input_ids"]
    assert read == [whole[0:room], whole[room - 4 : 2 * room - 4], whole[2 * room - 8 :]]
    assert features.example.tolist() == [0, 0, 0]


def test_the_gold_tokens_are_those_of_the_usual_loop(tokenizer):
    """The loop of the library's example script, one window after the other."""
    rows = made_up(40, 5)
    config = TrialConfig(max_length=16, stride=5)
    features = TASK.encode(rows, tokenizer, config)
    seen = set()
    for window, (first, last) in enumerate(features.labels.tolist()):
        number, offsets = int(features.example[window]), features.offsets[window].tolist()
        start = rows.extra["starts"][number][0]
        end = start + len(rows.extra["answers"][number][0])
        begin = next(i for i, each in enumerate(offsets) if each[0] >= 0)
        stop = max(i for i, each in enumerate(offsets) if each[0] >= 0)
        if offsets[begin][0] > start or offsets[stop][1] < end:
            expected = (0, 0)
        else:
            low, high = begin, stop
            while low <= stop and offsets[low][0] <= start:
                low += 1
            while offsets[high][1] >= end:
                high -= 1
            expected = (low - 1, high + 1)
        assert (first, last) == expected
        seen.add(expected != (0, 0))
        if expected != (0, 0):
            assert rows.pairs[number][offsets[first][0] : offsets[last][1]] == rows.extra["answers"][number][0]
    assert seen == {True, False}


def test_without_an_answer_every_window_points_at_the_first_token(tokenizer):
    rows = examples(["w1"], ["w2 w3 w4"], [[]], unanswerable=True)
    assert TASK.encode(rows, tokenizer, TrialConfig(max_length=16, stride=2)).labels.tolist() == [[0, 0]]


def test_a_question_that_leaves_no_room_is_cut_and_counted(tokenizer):
    rows = examples([" ".join(f"w{n}" for n in range(30)), "w1"], ["w2 w3 w4 w5 w6"] * 2, [["w6"], ["w6"]])
    features = TASK.encode(rows, tokenizer, TrialConfig(max_length=16, stride=4))
    assert features.truncated_examples == 1
    assert features.lengths.max() <= 16
    assert any(features.labels[features.example == 0].ravel())  # its answer can still be found


def test_no_stride_means_a_third_of_the_window(tokenizer):
    assert TASK.encoding(TrialConfig(max_length=384)) == TASK.encoding(TrialConfig(max_length=384, stride=128))


def test_equal_windows_whatever_rows_stand_beside_them(tokenizer):
    rows, config = made_up(5, 9), TrialConfig(max_length=16, stride=5)
    together = TASK.encode(rows, tokenizer, config)
    alone = TASK.encode(rows.take(np.array([3])), tokenizer, config)
    ours = np.flatnonzero(together.example == 3)
    assert [together.input_ids[i].tolist() for i in ours] == [ids.tolist() for ids in alone.input_ids]


# --- what a pass leaves --------------------------------------------------------------------------------


def test_the_loss_is_that_of_the_librarys_model(folder):
    encoder = encoder_of(folder)
    encoder.reset(1)
    encoder.model.eval()
    split = split_of(made_up(6, 3), folder, TrialConfig(max_length=24, stride=6))
    batch = split.table.batch(np.arange(len(split.features)))
    mask = None if batch.attention_mask is None else batch.attention_mask.long()
    types = {} if batch.token_type_ids is None else {"token_type_ids": batch.token_type_ids}
    with torch.inference_mode():
        whole = encoder.model(
            input_ids=batch.input_ids,
            attention_mask=mask,
            start_positions=batch.labels[:, 0],
            end_positions=batch.labels[:, 1],
            **types,
        )
        ours = TASK.loss(encoder.forward(batch), batch.labels)
    torch.testing.assert_close(ours, whole.loss, rtol=1e-6, atol=1e-6)


def test_the_trace_holds_loss_and_the_closer_margin():
    logits = torch.tensor([[[1.0, 0.0], [3.0, 2.0], [2.5, 5.0]]])
    labels = torch.tensor([[1, 2]])
    trace = TASK.trace(logits, labels)
    assert trace[0, MARGIN].item() == pytest.approx(0.5)
    assert trace[0, LOSS].item() == pytest.approx(TASK.loss(logits, labels).item())


def test_logits_do_not_hang_on_the_rows_beside_them(folder):
    plan = plan_of(folder)
    prepare(plan)
    many = predict(plan.encoder, plan.validation.table, "fp32", 10_000)
    single = predict(plan.encoder, plan.validation.table, "fp32", 1)
    assert many.shape == single.shape == TASK.logits_shape(plan.validation.features, ())
    np.testing.assert_array_equal(np.isinf(many), np.isinf(single))
    present = np.isfinite(many)
    np.testing.assert_allclose(many[present], single[present], atol=1e-5)
    assert (present.all(axis=2).sum(axis=1) == plan.validation.features.lengths).all()


# --- training -------------------------------------------------------------------------------------------


class Recorded(Recording, QuestionAnswering):
    """The task, noting the loss of every training batch."""


class Rows(torch.utils.data.Dataset):
    def __init__(self, split):
        self.split = split

    def __len__(self):
        return len(self.split.features)

    def __getitem__(self, row):
        features = self.split.features
        item = {"input_ids": features.input_ids[row], "positions": features.labels[row]}
        return item if features.token_type_ids is None else item | {"token_type_ids": features.token_type_ids[row]}


def collate(rows):
    longest = max(len(row["input_ids"]) for row in rows)
    found = {"attention_mask": torch.zeros((len(rows), longest), dtype=torch.long)}
    for key in set(rows[0]) - {"positions"}:
        found[key] = torch.zeros((len(rows), longest), dtype=torch.long)
        for number, row in enumerate(rows):
            found[key][number, : len(row[key])] = torch.from_numpy(row[key]).long()
    for number, row in enumerate(rows):
        found["attention_mask"][number, : len(row["input_ids"])] = 1
    positions = torch.tensor(np.stack([row["positions"] for row in rows]))
    return found | {"start_positions": positions[:, 0], "end_positions": positions[:, 1]}


class Order(torch.utils.data.Sampler):
    def __init__(self, rows, seed, epochs):
        self.order = [row for epoch in range(1, epochs + 1) for row in epoch_order(rows, seed, epoch).tolist()]

    def __iter__(self):
        return iter(self.order)

    def __len__(self):
        return len(self.order)


def trainers_losses(path, plan, folder):
    """The same rows in the same order by transformers.Trainer; an epoch of all our epochs."""
    config = plan.config
    transformers.set_seed(plan.seed)
    model = transformers.AutoModelForQuestionAnswering.from_pretrained(
        path, dtype=torch.float32, **dict.fromkeys(architecture_of(plan.encoder.config).dropouts, 0.0)
    )
    losses = []

    class Trainer(transformers.Trainer):
        def _get_train_sampler(self, *_):
            return Order(len(plan.train.features), plan.seed, config.epochs)

        def compute_loss(self, model, inputs, *rest, **more):
            loss = super().compute_loss(model, inputs, *rest, **more)
            losses.append(loss.item())
            return loss

    arguments = transformers.TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        warmup_steps=0,
        max_grad_norm=config.max_grad_norm,
        num_train_epochs=1,
        remove_unused_columns=False,
        use_cpu=True,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        seed=plan.seed,
        lr_scheduler_type="linear",
    )
    Trainer(model=model, args=arguments, train_dataset=Rows(plan.train), data_collator=collate).train()
    return np.array(losses)


def test_every_step_has_the_loss_of_the_plain_trainer(folder, tmp_path):
    # rows so that every epoch ends with a whole batch: the Trainer sees both epochs as one
    plan = plan_of(folder, dropout=0.0, rows=16)
    count = len(plan.train.features) // 4 * 4
    kept = np.arange(count)
    features = plan.train.features
    whole = replace(
        features,
        input_ids=features.input_ids[:count],
        token_type_ids=features.token_type_ids and features.token_type_ids[:count],
        labels=features.labels[kept],
        example=features.example[kept],
        truncated=features.truncated[kept],
        offsets=features.offsets[:count],
    )
    rows = plan.train.examples.take(np.unique(whole.example))
    training = Split(rows, whole, TokenTable(whole, small_models.CPU))
    task = Recorded()
    plan = replace(plan, train=training, probe=training, task=task, exact=True)
    list(train(plan, prepare(plan)))
    expected = trainers_losses(folder, plan, tmp_path)
    assert len(task.losses) == len(expected) == 2 * count // 4
    np.testing.assert_allclose(task.losses, expected, rtol=2e-5, atol=2e-5)
    assert abs(task.losses[0] - task.losses[-1]) > 1e-3


@pytest.mark.parametrize("freeze", ["embeddings", "top-1", "head", "classifier"])
def test_from_a_frozen_prefixs_states_the_logits_are_those_of_the_whole_model(folder, freeze):
    encoder = encoder_of(folder)
    encoder.reset(1)
    cut = encoder.cut(freeze, 1, 1) if freeze != "top-1" or encoder.layers > 1 else encoder.cut("embeddings", 1, 1)
    if cut is None:
        pytest.skip("not meant for this case: this architecture runs as a whole")
    split = split_of(made_up(5, 4), folder, TrialConfig(max_length=24, stride=6))
    batch = split.table.batch(np.arange(len(split.features)))
    encoder.model.eval()
    with torch.inference_mode():
        whole = encoder.forward(batch)
        hidden = encoder.states(batch, [cut])[cut].clone()
        assert hidden.ndim == 3 and not encoder.is_vector(cut)
        part = encoder.forward(batch._replace(input_ids=None, token_type_ids=None, hidden=hidden, cut=cut))
    torch.testing.assert_close(part, whole, rtol=1e-5, atol=1e-5)


def test_head_and_classifier_train_the_span_layer_alone(folder):
    encoder = encoder_of(folder)
    for freeze in ("head", "classifier"):
        names = encoder.trained_names(freeze, 1)
        assert names and all(name.startswith("qa_outputs.") for name in names)


def test_a_small_model_learns_which_word_follows(tmp_path):
    path = small_models.model_folder(tmp_path, "bert")
    plan = plan_of(path, rows=200, epochs=30, batch_size=16, learning_rate=3e-3, max_length=40, stride=6, dropout=0.0)
    records = list(record for record in train(plan, prepare(plan)) if hasattr(record, "metrics"))
    assert records[-1].value("probe", "f1") > 2 * records[0].value("probe", "f1")
    assert set(records[-1].outputs) == {"spans", "losses"}
    assert records[-1].outputs["losses"].mean() == pytest.approx(records[-1].value("validation", "loss"), rel=0.05)


def test_a_kept_model_answers_alike_when_it_is_loaded_again(folder, tmp_path):
    plan = plan_of(folder)
    prepare(plan)
    logits = predict(plan.encoder, plan.validation.table, "fp32", 10_000)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    plan.encoder.whole()
    kept = kept_models.write(tmp_path, plan.encoder.model, tokenizer, (), "card")
    again = encoder_of(str(kept))
    np.testing.assert_array_equal(predict(again, plan.validation.table, "fp32", 10_000), logits)
    assert not again.fresh

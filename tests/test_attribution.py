"""What each token did: gradients against a slow integral, attention against loops, on small random models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import small_models
import torch
import transformers

from harness.answers import KeptModel, PredictJob
from harness.attribution import attribute
from harness.configuration import TrialConfig
from harness.errors import UsageError
from harness.explanations import SPECIAL
from harness.predicting import examples_of
from harness.tasks import base as tasks

CONFIG = TrialConfig(max_length=16, stride=4, max_answer_length=4)
TEXT = "w1 w7  w3\nw12 w5"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return small_models.model_folder(tmp_path_factory.mktemp("attribution") / "model")


def explained(folder: str, task_name: str, texts: tuple[str, ...], pairs: tuple[str, ...] | None, **more):
    task = tasks.load(task_name)
    names = ("bad", "good") if pairs is None else ()
    torch.manual_seed(0)
    model = task.model(folder, len(names), dropout=None).eval()
    for name, parameter in model.named_parameters():
        if "classifier" in name or "qa_outputs" in name:
            parameter.data.mul_(20)  # a fresh head hardly tells its tokens apart
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    examples = examples_of(PredictJob(KeptModel(task_name, folder, CONFIG, names), texts, pairs))
    return model, tokenizer, attribute(task, model, tokenizer, examples, CONFIG, **more)


def test_gradients_are_the_integral_from_hidden_words_to_the_text(folder: str) -> None:
    """A sum of 400 midpoints, written out."""
    model, tokenizer, found = explained(folder, "sequence-classification", (TEXT,), None)
    ((attribution,),) = found
    label = ("bad", "good").index(attribution.answer)
    ids = tokenizer(TEXT, return_tensors="pt")["input_ids"]
    hidden = torch.tensor([[each if each in (2, 3) else 0 for each in ids[0].tolist()]])
    embed = model.get_input_embeddings()
    text, baseline = embed(ids).detach(), embed(hidden).detach()
    slow = torch.zeros_like(text)
    for step in range(400):
        at = (baseline + (step + 0.5) / 400 * (text - baseline)).requires_grad_()
        model(inputs_embeds=at).logits[0, label].backward()
        assert at.grad is not None
        slow += at.grad / 400
    expected = ((text - baseline) * slow).sum(dim=-1)[0]
    assert attribution.scores == pytest.approx(expected.tolist(), abs=1e-4)
    assert max(map(abs, attribution.scores)) > 0.01


@pytest.mark.parametrize("kind", ["bert", "distilbert", "roberta", "electra", "albert"])
def test_shares_add_up_to_the_rise_of_the_logit(kind: str, tmp_path: Path) -> None:
    path = small_models.model_folder(tmp_path / kind, kind)
    _, _, found = explained(path, "sequence-classification", (TEXT, "w2"), None)
    for (attribution,) in found:
        assert attribution.baseline_value is not None and attribution.delta is not None
        rise = attribution.value - attribution.baseline_value
        assert sum(attribution.scores) - rise == pytest.approx(attribution.delta, abs=1e-4)
        assert abs(attribution.delta) < 0.02 * abs(rise) + 1e-3


def test_attention_is_followed_down_through_all_layers(folder: str) -> None:
    model, tokenizer, found = explained(folder, "sequence-classification", (TEXT,), None, method="attention-rollout")
    ((attribution,),) = found
    model.set_attn_implementation("eager")
    with torch.no_grad():
        layers = model(**tokenizer(TEXT, return_tensors="pt"), output_attentions=True).attentions
    tokens = layers[0].shape[-1]
    share = np.zeros(tokens)
    share[0] = 1.0  # of the state that the answer is read from, at the top
    for layer in reversed(layers):
        heads = layer[0].double().numpy()
        below = np.zeros(tokens)
        for of in range(tokens):
            for token in range(tokens):
                attended = sum(head[of, token] for head in heads) / len(heads)
                below[token] += share[of] * (0.5 * attended + (0.5 if of == token else 0.0))
        share = below
    assert attribution.scores == pytest.approx(share.tolist(), abs=1e-5)
    assert sum(attribution.scores) == pytest.approx(1.0, abs=1e-5)
    assert attribution.baseline_value is None and attribution.delta is None


def test_tokens_put_together_are_the_text_with_its_blanks(folder: str) -> None:
    _, _, found = explained(folder, "sequence-classification", (TEXT,), None)
    tokens = found[0][0].tokens
    assert "".join(token.text for token in tokens if token.part == 0) == TEXT
    assert [token.text for token in tokens if token.part == SPECIAL] == ["[CLS]", "[SEP]"]


def test_start_and_end_of_an_answer_are_explained_in_the_window_that_gave_it(folder: str) -> None:
    context = " ".join(f"w{n}" for n in range(30))
    _, _, found = explained(folder, "question-answering", ("w3", "w20"), (context, context))
    for example in found:
        start, end = example
        assert (start.target, end.target) == ("start", "end")
        assert start.tokens == end.tokens and start.answer == end.answer
        held = "".join(token.text for token in start.tokens if token.part == 1)
        assert held in context and start.answer in held and len(held) < len(context)
        for each in example:
            assert each.delta is not None and abs(each.delta) < 0.05


def test_the_model_is_left_as_it_was(folder: str) -> None:
    task = tasks.load("sequence-classification")
    model = task.model(folder, 2, dropout=None).train()
    before, kernel = {k: v.clone() for k, v in model.state_dict().items()}, model.config._attn_implementation
    examples = examples_of(PredictJob(KeptModel(task.name, folder, CONFIG, ("a", "b")), (TEXT,)))
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    for method in ("integrated-gradients", "attention-rollout"):
        attribute(task, model, tokenizer, examples, CONFIG, method)
    assert model.training and model.config._attn_implementation == kernel
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_an_unknown_method_is_refused(folder: str) -> None:
    with pytest.raises(UsageError, match="must be one of integrated-gradients, attention-rollout"):
        explained(folder, "sequence-classification", (TEXT,), None, method="guess")

"""Steps whose gradient is worked out by hand come to what autograd and torch.optim come to."""

from dataclasses import replace

import pytest
import small_models
import torch
from shared_states import shared_of, with_shared

import harness.training as training
from harness.errors import TrialFailure
from harness.head_gradients import slopes
from harness.head_steps import HeadSteps
from harness.records import EpochRecord, Progress
from harness.snapshots import capture, restore
from harness.steps import PlainSteps
from harness.training_plan import Plan, State, prepare

CHANGES = (
    {},
    {"max_grad_norm": 0.05, "lr_schedule": "cosine"},
    {"max_grad_norm": None, "weight_decay": 0.3},
    {"batch_size": 7, "warmup": 0.2, "lr_schedule": "constant"},  # the last batch is shorter
    {"dropout": 0.0, "layer_decay": 0.8},
)


@pytest.fixture(scope="module", params=["bert", "albert"])
def path(request, tmp_path_factory):
    return small_models.model_folder(tmp_path_factory.mktemp(request.param), request.param)


def a_plan(path, folder, freeze, dtype="fp32", **values) -> Plan:
    values = {"epochs": 3, "learning_rate": 3e-2, "dropout": 0.2, "freeze": freeze} | values
    plan = replace(small_models.plan(path, rows=45, **values), dtype=dtype)
    return with_shared(plan, shared_of(plan, folder)[0])


def run(plan: Plan, kind, monkeypatch) -> tuple[list[EpochRecord], State, dict[str, torch.Tensor]]:
    """Records, state and trained weights after training with one kind of steps."""
    with monkeypatch.context() as patch:
        if kind is PlainSteps:
            patch.setattr(training, "takes", lambda plan: False)
        state = prepare(plan)
        assert type(training.steps_of(plan, state)) is kind
        records = [event for event in training.train(plan, state) if isinstance(event, EpochRecord)]
    return records, state, plan.encoder.tensors(state.names)


@pytest.mark.parametrize("values", CHANGES, ids=str)
@pytest.mark.parametrize("freeze", ["classifier", "head"])
def test_a_trial_comes_to_what_autograd_comes_to(path, tmp_path, freeze, values, monkeypatch):
    plan = a_plan(path, tmp_path, freeze, **values)
    mine, state, weights = run(plan, HeadSteps, monkeypatch)
    theirs, plain, expected = run(plan, PlainSteps, monkeypatch)
    for one, other in zip(mine, theirs, strict=True):
        assert [m.value for m in one.metrics] == pytest.approx([m.value for m in other.metrics], rel=1e-5, abs=1e-6)
        torch.testing.assert_close(one.margins, other.margins, rtol=1e-4, atol=1e-5)
    for name, tensor in weights.items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-5, atol=1e-6)
    pairs = zip(state.optimizer.state.values(), plain.optimizer.state.values(), strict=True)
    for moments, others in pairs:
        assert moments["step"] == others["step"] > 0
        torch.testing.assert_close(moments["exp_avg"], others["exp_avg"], rtol=1e-4, atol=1e-7)
        torch.testing.assert_close(moments["exp_avg_sq"], others["exp_avg_sq"], rtol=1e-4, atol=1e-10)


@pytest.mark.parametrize("freeze", ["classifier", "head"])
def test_in_bf16_it_rounds_where_autocast_rounds(path, tmp_path, freeze, monkeypatch):
    plan = a_plan(path, tmp_path, freeze, "bf16", epochs=1)
    mine, _, weights = run(plan, HeadSteps, monkeypatch)
    theirs, _, expected = run(plan, PlainSteps, monkeypatch)
    exact, _, fine = run(replace(plan, dtype="fp32"), PlainSteps, monkeypatch)
    for name, tensor in weights.items():
        off = (tensor - expected[name]).norm()
        assert off <= 0.5 * (fine[name] - expected[name]).norm(), name  # nearer to it than float32 is
    assert mine[0].value("train", "loss") == pytest.approx(theirs[0].value("train", "loss"), rel=2e-3)
    assert exact[0].value("train", "loss") == pytest.approx(theirs[0].value("train", "loss"), rel=2e-2)


@pytest.mark.parametrize("freeze", ["classifier", "head"])
def test_a_trial_that_was_interrupted_within_an_epoch_goes_on_to_the_same_bits(path, tmp_path, freeze):
    plan = a_plan(path, tmp_path, freeze)
    whole = prepare(plan)
    assert list(training.train(plan, whole))
    expected = plan.encoder.tensors(whole.names)
    state = prepare(plan)
    events = training.train(plan, state)
    for event in events:
        if isinstance(event, Progress) and event.step == 9:
            break
    snapshot = capture(plan, state)
    kept = {part: {name: t.clone() for name, t in tensors.items()} for part, tensors in snapshot.tensors.items()}
    events.close()
    again = prepare(plan)
    restore(plan, again, snapshot._replace(tensors=kept))
    assert isinstance(training.steps_of(plan, again), HeadSteps) and list(training.train(plan, again))
    for name, tensor in plan.encoder.tensors(again.names).items():
        assert torch.equal(tensor, expected[name])


def test_an_interrupted_trial_may_go_on_by_the_other_way(path, tmp_path, monkeypatch):
    plan = a_plan(path, tmp_path, "head")
    _, _, expected = run(plan, PlainSteps, monkeypatch)
    state = prepare(plan)
    for event in training.train(plan, state):
        if isinstance(event, EpochRecord):
            break
    monkeypatch.setattr(training, "takes", lambda plan: False)
    assert isinstance(training.steps_of(plan, state), PlainSteps) and list(training.train(plan, state))
    for name, tensor in plan.encoder.tensors(state.names).items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("freeze", ["classifier", "head"])
def test_a_rate_that_leaves_the_finite_numbers_ends_the_trial_and_says_where(path, tmp_path, freeze):
    plan = a_plan(path, tmp_path, freeze, learning_rate=1e38, warmup=0.0)
    with pytest.raises(TrialFailure, match="epoch 1, step"):
        list(training.train(plan, prepare(plan)))


@pytest.mark.parametrize(
    ("values", "exact"),
    [
        ({"freeze": "top-1"}, False),
        ({"freeze": "head", "class_weights": "balanced"}, False),
        ({"freeze": "head", "gradient_accumulation": 2}, False),
        ({"freeze": "classifier"}, True),
    ],
    ids=str,
)
def test_what_is_no_plain_step_over_vectors_is_left_to_autograd(path, tmp_path, values, exact):
    plan = replace(a_plan(path, tmp_path, **values), exact=exact)
    assert isinstance(training.steps_of(plan, prepare(plan)), PlainSteps)


def test_an_architecture_whose_head_is_built_otherwise_is_left_to_autograd(tmp_path):
    folder = small_models.model_folder(tmp_path, "distilbert")
    plan = a_plan(folder, tmp_path / "states", "head")
    assert plan.train.states and isinstance(training.steps_of(plan, prepare(plan)), PlainSteps)


@pytest.mark.parametrize("heads", [1, 3])
def test_slopes_are_those_of_autograd(heads):
    generator = torch.Generator().manual_seed(5)
    states, labels = torch.randn(6, 8, generator=generator), torch.randint(0, 4, (6,), generator=generator)
    weight = torch.randn(heads, 4, 8, generator=generator, requires_grad=True)
    bias = torch.randn(heads, 4, generator=generator, requires_grad=True)
    logits = torch.einsum("bw,hlw->bhl", states, weight) + bias
    losses = torch.stack([torch.nn.functional.cross_entropy(logits[:, head], labels) for head in range(heads)])
    by_logit, by_weight, by_bias = torch.autograd.grad(losses.sum(), (logits, weight, bias))
    found = slopes(states, labels, weight, bias, heads, "fp32")
    torch.testing.assert_close(found.logits, logits)
    torch.testing.assert_close(found.losses, losses)
    torch.testing.assert_close(found.by_logit, by_logit.flatten(1))
    torch.testing.assert_close(found.weight, by_weight)
    torch.testing.assert_close(found.bias, by_bias)

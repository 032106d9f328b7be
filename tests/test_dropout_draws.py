"""Four coins from one random number: as fair, as independent and as repeatable as PyTorch's own."""

import math
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace

import numpy as np
import pytest
import small_models
import torch
from scipy import stats

from harness.dropout_draws import _OPERATOR, drops, toss
from harness.records import EpochRecord
from harness.training import train
from harness.training_plan import Plan, prepare

COINS = 1_000_000


@contextmanager
def replaced() -> Iterator[None]:
    _OPERATOR.replace()
    try:
        yield
    finally:
        _OPERATOR.restore()


def tossed(p: float, seed: int = 0, coins: int = COINS) -> torch.Tensor:
    return toss(torch.empty(coins), p, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("p", [0.0, 2**-16, 0.1, 0.5, 0.9, 1.0 - 2**-16, 1.0])
def test_the_share_of_ones_is_that_asked_for(p: float) -> None:
    ones = tossed(p).sum().item()
    assert abs(ones - COINS * p) <= 5 * math.sqrt(COINS * p * (1 - p)) + COINS * 2**-17
    assert ones == COINS * p or 0.0 < p < 1.0


def test_coins_of_one_number_know_nothing_of_each_other() -> None:
    p = 0.9
    fours = tossed(p).numpy().reshape(-1, 4).astype(int)
    patterns = np.bincount(fours @ [1, 2, 4, 8], minlength=16)
    ones = np.array([bin(pattern).count("1") for pattern in range(16)])
    expected = p**ones * (1 - p) ** (4 - ones) * len(fours)
    assert stats.chisquare(patterns, expected).pvalue > 1e-4


@pytest.mark.parametrize("lag", [1, 2, 3, 4, 5, 8, 384])
def test_neighbouring_coins_are_independent(lag: int) -> None:
    coins = tossed(0.9).numpy()
    assert abs(np.corrcoef(coins[:-lag], coins[lag:])[0, 1]) < 5 / math.sqrt(COINS)


def test_a_seed_gives_its_coins_again_and_another_one_others() -> None:
    assert torch.equal(tossed(0.5, 3), tossed(0.5, 3))
    assert 0.4 < (tossed(0.5, 3) == tossed(0.5, 4)).float().mean() < 0.6


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64, torch.bool, torch.int64])
@pytest.mark.parametrize("coins", [0, 1, 3, 4, 5, 30])
def test_any_size_and_type_is_filled(dtype: torch.dtype, coins: int) -> None:
    filled = toss(torch.full((coins,), 1).to(dtype), 0.5)
    assert filled.shape == (coins,) and filled.dtype == dtype
    assert set(filled.tolist()) <= {0, 1}


def test_a_tensor_with_gaps_is_filled_where_it_lies() -> None:
    whole = torch.full((6, 10), 7.0)
    part = whole.t()[::2, 1:4]
    assert toss(part, 0.5) is part
    assert set(part.flatten().tolist()) == {0.0, 1.0} and (whole == 7.0).sum() == 60 - part.numel()


@pytest.mark.parametrize("p", [-0.1, 1.1, math.nan])
def test_what_is_no_probability_is_refused_as_pytorch_refuses_it(p: float) -> None:
    for fill in (lambda: torch.empty(3).bernoulli_(p), lambda: toss(torch.empty(3), p)):
        with pytest.raises(RuntimeError, match=r"p to be in \[0, 1\]"):
            fill()


# --- in the operator's place -------------------------------------------------------------------------------


def dropped(seed: int) -> torch.Tensor:
    torch.manual_seed(seed)
    return torch.nn.functional.dropout(torch.ones(40, 40), 0.3)


def test_dropout_draws_so_within_and_as_pytorch_before_and_after() -> None:
    own = dropped(1)
    with replaced():
        with replaced():
            first = dropped(1)
        assert torch.equal(dropped(1), first), "another one still wants it"
        expected = toss(torch.empty(40, 40), 0.7, generator=torch.Generator().manual_seed(1)) / 0.7
    assert torch.equal(first, expected) and not torch.equal(first, own)
    assert torch.equal(dropped(1), own)


def test_dropout_within_attention_draws_so_too() -> None:
    def attended() -> torch.Tensor:
        torch.manual_seed(2)
        query = torch.linspace(0, 1, 2 * 5 * 4).reshape(1, 2, 5, 4)
        return torch.nn.functional.scaled_dot_product_attention(query, query, query, dropout_p=0.5)

    own = attended()
    with replaced():
        assert not torch.equal(attended(), own)
    assert torch.equal(attended(), own)


def test_gradients_pass_where_the_coins_say_and_nowhere_else() -> None:
    states = torch.ones(1000, requires_grad=True)
    with replaced():
        out = torch.nn.functional.dropout(states, 0.25)
    out.sum().backward()
    assert states.grad is not None
    assert torch.equal(states.grad, out.detach())
    assert set(out.unique().tolist()) == {0.0, float(torch.tensor(1 / 0.75))}


# --- in a trial ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    return small_models.model_folder(tmp_path_factory.mktemp("model"))


def losses(plan: Plan) -> list[float | None]:
    own = dropped(1)
    records = [event for event in train(plan, prepare(plan)) if isinstance(event, EpochRecord)]
    assert torch.equal(dropped(1), own), "the operator was not put back"
    return [record.value("train", "loss") for record in records]


@pytest.mark.parametrize(("values", "same"), [({"dropout": 0.1}, False), ({"dropout": 0.0}, True)])
def test_a_trial_draws_so_and_without_dropout_is_the_same(
    path: str, monkeypatch: pytest.MonkeyPatch, values: dict[str, float], same: bool
) -> None:
    found = losses(small_models.plan(path, epochs=2, **values))
    monkeypatch.setattr("harness.training.drawing", nullcontext)
    assert (losses(small_models.plan(path, epochs=2, **values)) == found) is same


def test_a_trial_that_does_as_the_plain_trainer_draws_as_pytorch(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = replace(small_models.plan(path, epochs=1, dropout=0.1), exact=True)
    found = losses(plan)
    monkeypatch.setattr("harness.training.drawing", nullcontext)
    assert losses(plan) == found


def test_a_pass_that_is_left_in_its_midst_puts_the_operator_back(path: str) -> None:
    own = dropped(1)
    plan = small_models.plan(path, epochs=1, dropout=0.1)
    steps = train(plan, prepare(plan))
    next(steps)
    assert not torch.equal(dropped(1), own)
    steps.close()  # type: ignore[attr-defined]
    assert torch.equal(dropped(1), own)


def test_what_has_dropout_is_known() -> None:
    assert drops(torch.nn.Sequential(torch.nn.Dropout(0.0), torch.nn.Dropout(0.1)))
    assert not drops(torch.nn.Sequential(torch.nn.Dropout(0.0), torch.nn.Linear(2, 2)))

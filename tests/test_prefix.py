"""States of a frozen prefix: those of every row alone, whatever asked for them, and worked out once."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import small_models
import torch

import harness.prefix as prefix
from harness.batches import TokenTable
from harness.cache import Cache
from harness.prefix import Recipe, StateTable, digests, fill, groups

BUDGET = 10_000_000


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    encoder = small_models.encoder(small_models.model_folder(tmp_path_factory.mktemp("bert")))
    encoder.reset(1)
    return encoder


def finish(generator):
    while True:
        try:
            next(generator)
        except StopIteration as end:
            return end.value


def filled(encoder, features, folder, cuts=(1, 3, 4), wanted=None, **changes):
    recipe = replace(Recipe(encoder, "fp32", 64), **changes)
    return finish(fill(recipe, features, list(cuts), list(wanted or cuts), Cache(folder, BUDGET)))


def alone(encoder, features, row: int, cut: int) -> torch.Tensor:
    """The slow twin: one row, by itself, through the whole model."""
    encoder.model.eval()
    with torch.no_grad():
        return encoder.states(TokenTable(features, encoder.device).batch(np.array([row])), [cut])[cut][0]


def test_every_row_has_the_states_that_it_has_alone(encoder, tmp_path):
    features = small_models.split(40, 1).features
    tables = filled(encoder, features, tmp_path).tables
    for row in range(40):
        length = int(features.lengths[row])
        for cut, table in tables.items():
            hidden = table.batch(np.array([row])).hidden
            assert hidden.shape == ((1, length, small_models.WIDTH) if cut < 3 else (1, small_models.WIDTH))
            torch.testing.assert_close(hidden[0], alone(encoder, features, row, cut), rtol=1e-5, atol=1e-6)


def test_a_batch_is_padded_to_its_longest_row_and_masked(encoder, tmp_path):
    features = small_models.split(40, 1).features
    table = filled(encoder, features, tmp_path).tables[1]
    rows = np.array([int(features.lengths.argmin()), int(features.lengths.argmax())])
    batch = table.batch(rows)
    assert batch.hidden.shape[1] == features.lengths.max() and batch.cut == 1
    assert batch.attention_mask.sum(dim=1).tolist() == features.lengths[rows].tolist()
    assert batch.tokens == features.lengths[rows].sum()
    assert batch.padded_tokens == 2 * features.lengths.max()
    assert not batch.hidden[0, features.lengths.min() :].any()


def test_rows_of_a_frequent_length_go_in_groups_of_bounded_tokens_and_have_the_states_that_they_have_alone(
    encoder, tmp_path, monkeypatch
):
    monkeypatch.setattr(prefix, "GROUP_TOKENS", 50)
    split = small_models.split(200, 1).features
    features = replace(split, input_ids=[ids[:6] for ids in split.input_ids])  # as truncation does
    found = groups(features, digests(features))
    assert max(len(group.rows) * group.length for group in found) <= 50
    assert sum(group.length == 6 for group in found) > 10
    assert sorted(digest for group in found for digest in group.digests) == sorted(set(digests(features)))
    tables = filled(encoder, features, tmp_path).tables
    for row in range(0, 200, 7):
        for cut, table in tables.items():
            hidden = table.batch(np.array([row])).hidden
            torch.testing.assert_close(hidden[0], alone(encoder, features, row, cut), rtol=1e-5, atol=1e-6)


def test_a_row_longer_than_a_group_may_be_goes_alone(monkeypatch):
    monkeypatch.setattr(prefix, "GROUP_TOKENS", 5)
    features = small_models.split(40, 1).features
    assert {len(group.rows) for group in groups(features, digests(features))} == {1}


def test_a_fill_tells_its_progress_after_every_batch_and_group(encoder, tmp_path):
    features = small_models.split(200, 1).features
    batches = sum(-(-len(group.rows) // (64 // group.length)) for group in groups(features, digests(features)))
    told = list(fill(Recipe(encoder, "fp32", 64), features, [3], [3], Cache(tmp_path, BUDGET)))
    assert len(told) == batches + len(groups(features, digests(features)))
    steps = [progress.step for progress in told]
    assert steps == sorted(steps) and steps[-1] == 200 and {progress.steps for progress in told} == {200}
    assert max(np.diff(steps)) <= 64 // 4  # rows of the shortest length in a batch


def test_whoever_listens_to_a_fill_can_still_take_gradients(encoder, tmp_path):
    for _ in fill(Recipe(encoder, "fp32", 64), small_models.split(40, 1).features, [3], [3], Cache(tmp_path, BUDGET)):
        assert torch.is_grad_enabled()


def test_a_fill_that_is_closed_leaves_its_finished_groups_and_the_turn_to_the_next(encoder, tmp_path):
    features = small_models.split(200, 1).features
    work = fill(Recipe(encoder, "fp32", 64), features, [3], [3], Cache(tmp_path, BUDGET))
    while next(work).step < 100:
        pass
    work.close()
    turn = Cache(tmp_path, BUDGET).take_turn(encoder.weights_hash[:16])
    assert turn is not None
    turn.close()
    whole = len(set(digests(features)))
    assert 50 < filled(encoder, features, tmp_path, cuts=(3,)).computed < whole - 50


def test_a_second_fill_works_nothing_out_and_gives_the_same_bits(encoder, tmp_path):
    features = small_models.split(40, 1).features
    first, second = (filled(encoder, features, tmp_path) for _ in range(2))
    assert first.computed == len(set(digests(features))) and first.seconds > 0
    assert (second.computed, second.seconds) == (0, 0.0)
    assert second.cost == pytest.approx(first.cost) and second.cost[4] >= second.cost[1] > 0
    rows = np.arange(40)
    for cut in (1, 3, 4):
        assert torch.equal(first.tables[cut].batch(rows).hidden, second.tables[cut].batch(rows).hidden)


def test_one_pass_serves_the_cuts_that_other_trials_will_want(encoder, tmp_path):
    features = small_models.split(40, 1).features
    filled(encoder, features, tmp_path, cuts=(1, 3, 4), wanted=(4,))
    assert filled(encoder, features, tmp_path, cuts=(1,)).computed == 0


def test_rows_that_a_larger_max_length_does_not_change_are_taken_from_the_smaller_one(encoder, tmp_path):
    long = small_models.split(60, 1).features
    cut_at = 8
    short = replace(long, input_ids=[ids[:cut_at] for ids in long.input_ids])
    filled(encoder, short, tmp_path)
    again = filled(encoder, long, tmp_path)
    contents = digests(long)
    # those of the last length met the truncated ones in their batch, so they are worked out in their own
    assert again.computed == len({contents[row] for row in np.flatnonzero(long.lengths >= cut_at)})


def test_repeated_rows_are_worked_out_once(encoder, tmp_path):
    features = small_models.split(10, 1).features
    twice = replace(
        features,
        input_ids=[*features.input_ids, *features.input_ids],
        labels=np.tile(features.labels, 2),
        example=np.arange(20),
    )
    found = filled(encoder, twice, tmp_path)
    assert found.computed == 10
    batch = found.tables[4].batch(np.arange(20))
    assert torch.equal(batch.hidden[:10], batch.hidden[10:])


def test_a_damaged_entry_is_worked_out_again(encoder, tmp_path):
    features = small_models.split(40, 1).features
    first = filled(encoder, features, tmp_path)
    path = sorted(tmp_path.glob("*-4.safetensors"))[0]
    content = bytearray(path.read_bytes())
    content[-1] ^= 255
    path.write_bytes(content)
    cache = Cache(tmp_path, BUDGET)
    second = finish(fill(Recipe(encoder, "fp32", 64), features, [4], [4], cache))
    assert 0 < second.computed < 40 and cache.damaged == [path.name.removesuffix(".safetensors")]
    rows = np.arange(40)
    assert torch.equal(first.tables[4].batch(rows).hidden, second.tables[4].batch(rows).hidden)


@pytest.mark.parametrize("change", [{"dtype": "bf16"}, {"places": 32}])
def test_another_recipe_is_another_entry(encoder, tmp_path, change):
    features = small_models.split(40, 1).features
    filled(encoder, features, tmp_path)
    assert filled(encoder, features, tmp_path, **change).computed > 0


def test_other_weights_are_another_entry(encoder, tmp_path):
    features = small_models.split(40, 1).features
    filled(encoder, features, tmp_path)
    transposed = small_models.encoder(small_models.model_folder(tmp_path / "other", dtype=torch.bfloat16))
    transposed.reset(1)
    assert filled(transposed, features, tmp_path).computed > 0


def test_the_same_weights_in_another_forward_pass_are_another_entry(encoder, tmp_path):
    """As after an edit of config.json, which no hash of the weights tells."""
    features = small_models.split(40, 1).features
    folder = small_models.model_folder(tmp_path / "model")
    first = small_models.encoder(folder)
    path = Path(folder) / "config.json"
    said = json.loads(path.read_text())
    path.write_text(json.dumps(said | {"hidden_act": "relu"}))
    second = small_models.encoder(folder)
    path.write_text(json.dumps(said | {"hidden_dropout_prob": 0.3, "id2label": {0: "bad", 1: "good"}}))
    third = small_models.encoder(folder)
    for each in (first, second, third):
        each.reset(1)
    assert first.weights_hash == second.weights_hash == third.weights_hash
    assert filled(first, features, tmp_path).computed > 0
    assert filled(second, features, tmp_path).computed > 0
    assert filled(third, features, tmp_path).computed == 0


def test_what_states_cost_hangs_on_the_pass_that_made_them_and_not_on_who_takes_them(encoder, tmp_path):
    features = small_models.split(40, 1).features
    made = filled(encoder, features, tmp_path, cuts=(1, 4))
    taken = filled(encoder, features, tmp_path, cuts=(1,))
    assert taken.computed == 0 and taken.cost[1] == pytest.approx(made.cost[1])
    assert made.cost[1] == pytest.approx(made.cost[4] / small_models.LAYERS)


def test_where_nothing_can_be_written_everyone_works_for_himself(encoder, tmp_path):
    features = small_models.split(40, 1).features
    (tmp_path / "file").write_text("in the way")  # root, too, makes no folder there
    expected = filled(encoder, features, tmp_path / "cache").tables[4].batch(np.arange(40)).hidden
    for _ in range(2):
        found = filled(encoder, features, tmp_path / "file")
        assert found.computed > 0
        assert torch.equal(found.tables[4].batch(np.arange(40)).hidden, expected)


def test_a_subset_has_the_states_of_its_rows(encoder, tmp_path):
    split = small_models.split(40, 1)
    found = filled(encoder, split.features, tmp_path)
    picked = [7, 3, 21]
    features = replace(
        split.features,
        input_ids=[split.features.input_ids[row] for row in picked],
        labels=split.features.labels[picked],
        example=np.arange(3),
    )
    for table in found.tables.values():
        part: StateTable = table.subset(features, picked)
        assert torch.equal(part.batch(np.arange(3)).hidden, table.batch(np.array(picked)).hidden)
        assert part.labels.tolist() == split.features.labels[picked].tolist()


def test_while_another_process_works_on_the_model_the_fill_waits_and_says_so(encoder, tmp_path, monkeypatch):
    monkeypatch.setattr(prefix, "TURN_SECONDS", 0.01)
    features = small_models.split(10, 1).features
    cache = Cache(tmp_path, BUDGET)
    other = Cache(tmp_path, BUDGET).take_turn(encoder.weights_hash[:16])
    assert other is not None
    work = fill(Recipe(encoder, "fp32", 64), features, [3], [3], cache)
    assert [next(work) for _ in range(3)] == [prefix.Progress(0, 0, 10)] * 3
    other.close()
    assert finish(work).computed == 10

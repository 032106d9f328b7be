"""Batches cut from flat tensors, against a loop over rows."""

import numpy as np
import small_models
import torch

from harness.batches import TokenTable
from harness.streams import derive, epoch_order, permutation
from harness.tasks.base import Features


def features(*rows, types=False):
    return Features(
        input_ids=[np.array(row, dtype=np.int32) for row in rows],
        token_type_ids=[np.array([0] + [1] * (len(row) - 1), dtype=np.int32) for row in rows] if types else None,
        labels=np.arange(len(rows)),
        example=np.arange(len(rows)),
        truncated=np.zeros(len(rows), dtype=bool),
        pad_id=9,
    )


def test_a_batch_is_padded_to_its_longest_row():
    table = TokenTable(features([1, 2, 3, 4], [5], [6, 7], types=True), small_models.CPU)
    batch = table.batch(np.array([2, 1]))
    assert batch.input_ids.tolist() == [[6, 7], [5, 9]]
    assert batch.attention_mask.tolist() == [[True, True], [True, False]]
    assert batch.token_type_ids.tolist() == [[0, 1], [0, 0]]
    assert batch.labels.tolist() == batch.rows.tolist() == [2, 1]
    assert (batch.tokens, batch.padded_tokens) == (3, 4)


def test_a_full_batch_has_no_mask():
    table = TokenTable(features([1, 2], [3, 4], [5]), small_models.CPU)
    assert table.batch(np.array([0, 1])).attention_mask is None


def test_batches_equal_a_loop_over_rows():
    split = small_models.split(30, 5)
    for rows in split.table.by_length(70):
        batch = split.table.batch(rows)
        for place, row in enumerate(rows):
            ids = split.features.input_ids[row]
            assert batch.input_ids[place, : len(ids)].tolist() == ids.tolist()
            assert torch.all(batch.input_ids[place, len(ids) :] == 0)


def test_streams_depend_on_seed_purpose_and_index_alone():
    assert derive(1, "dropout", 2) == derive(1, "dropout", 2)
    assert len({derive(1, "dropout", 2), derive(2, "dropout", 2), derive(1, "order", 2), derive(1, "dropout", 3)}) == 4
    np.random.seed(0)
    first = permutation(20, 1, "order")
    np.random.seed(1)
    assert np.array_equal(first, permutation(20, 1, "order"))


def test_each_epoch_sees_every_row_once_in_its_own_order():
    orders = [epoch_order(50, 7, epoch) for epoch in (1, 2)]
    assert all(sorted(order) == list(range(50)) for order in orders)
    assert not np.array_equal(*orders)

"""Random streams: seeds by purpose, and orders of rows."""

import itertools

import numpy as np
import pytest
import torch
from transformers.trainer_pt_utils import get_length_grouped_indices

from harness.streams import BATCHES_A_POOL, bucketed_order, derive, epoch_order, pool_rows

LENGTHS = np.random.default_rng(0).integers(5, 120, 3_333)
SIZE = 16


def batches(order):
    return [order[start : start + SIZE] for start in range(0, len(order), SIZE)]


def padding(order) -> float:
    """Places that batches in this order take for each token."""
    return sum(LENGTHS[rows].max() * len(rows) for rows in batches(order)) / LENGTHS.sum()


def test_every_row_comes_once_in_an_epoch():
    for order in (epoch_order(3_333, 1, 1), bucketed_order(LENGTHS, 1, 1, SIZE)):
        assert sorted(order.tolist()) == list(range(3_333))


def test_batches_of_like_lengths_waste_little():
    assert padding(epoch_order(3_333, 1, 1)) > 1.7
    assert padding(bucketed_order(LENGTHS, 1, 1, SIZE)) < 1.06


def test_long_and_short_batches_do_not_come_in_waves():
    means = np.array([LENGTHS[rows].mean() for rows in batches(bucketed_order(LENGTHS, 1, 1, SIZE))[:-1]])
    assert abs(np.corrcoef(means[:-1], means[1:])[0, 1]) < 0.2
    fallen = np.sort(means[:BATCHES_A_POOL])[::-1]
    assert np.corrcoef(fallen[:-1], fallen[1:])[0, 1] > 0.9  # what sorting alone would do


def test_the_order_depends_on_seed_and_epoch_alone():
    first = bucketed_order(LENGTHS, 1, 1, SIZE)
    assert np.array_equal(first, bucketed_order(LENGTHS, 1, 1, SIZE))
    assert not np.array_equal(first, bucketed_order(LENGTHS, 1, 2, SIZE))
    assert not np.array_equal(first, bucketed_order(LENGTHS, 2, 1, SIZE))


def test_of_few_rows_others_meet_in_another_epoch():
    lengths = LENGTHS[:400]  # half a pool of fifty batches
    epochs = [bucketed_order(lengths, 1, epoch, SIZE).reshape(-1, SIZE) for epoch in (1, 2)]
    met = [{frozenset(pair) for rows in epoch for pair in itertools.combinations(rows.tolist(), 2)} for epoch in epochs]
    assert len(met[0] & met[1]) < 0.3 * len(met[0])


@pytest.mark.parametrize("rows", [5, 63, 64, 400, 1000, 3_199, 3_200, 14_000])
def test_pools_are_those_of_the_plain_trainer(rows: int):
    order = get_length_grouped_indices(list(range(rows)), SIZE, generator=torch.Generator().manual_seed(0))
    pool = pool_rows(rows, SIZE)
    starts = range(0, rows, pool)
    for start in starts:  # it swaps the first one of a pool with the very first
        fallen = order[start + 1 : start + pool]
        assert fallen == sorted(fallen, reverse=True)
    assert all(order[start - 1] < max(order[start : start + pool]) for start in starts[1:])


def test_only_the_last_batch_is_smaller():
    order = bucketed_order(LENGTHS[:50], 1, 1, SIZE)
    assert [len(rows) for rows in batches(order)] == [16, 16, 16, 2]
    assert len(bucketed_order(LENGTHS[:5], 1, 1, SIZE)) == 5


def test_a_seed_depends_on_its_purpose():
    assert len({derive(1, "order"), derive(1, "dropout"), derive(1, "order", 1), derive(2, "order")}) == 4

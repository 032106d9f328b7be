"""Which tokens are asked for, and what stands in their place."""

from __future__ import annotations

import numpy as np
import pytest

from harness.masking import asked_of, choose, hide


@pytest.mark.parametrize(("maskable", "asked"), [(0, 0), (1, 1), (9, 1), (10, 2), (20, 3), (100, 15)])
def test_fifteen_percent_are_asked_for_but_at_least_one(maskable, asked):
    assert asked_of(np.array([maskable])).tolist() == [asked]


def test_every_text_gives_its_own_share_and_never_a_special_token():
    lengths = np.array([3, 40, 12, 2])
    maskable = np.ones(lengths.sum(), dtype=bool)
    maskable[[0, 2, 3, 42, 43, 54, 55, 56]] = False  # first and last of each: the last text has nothing else
    chosen = choose(lengths, maskable, np.random.default_rng(0))
    assert [int(part.sum()) for part in np.split(chosen, np.cumsum(lengths)[:-1])] == [1, 6, 2, 0]
    assert not (chosen & ~maskable).any()


def test_every_maskable_token_is_equally_likely():
    maskable = np.ones(20, dtype=bool)
    generator = np.random.default_rng(1)
    often = np.mean([choose([20], maskable, generator) for _ in range(4000)], axis=0)
    assert np.abs(often - 0.15).max() < 0.025  # more than four standard errors


def test_of_what_is_asked_for_80_percent_are_masks_10_percent_any_word_and_10_percent_stay():
    ids = np.full(200_000, 7)
    asked = np.arange(len(ids)) < 100_000
    seen = hide(ids, asked, np.random.default_rng(2), mask=4, words=(10, 1_010))
    assert (seen[~asked] == 7).all()
    shares = [(seen[asked] == 4).mean(), (seen[asked] >= 10).mean(), (seen[asked] == 7).mean()]
    assert shares == pytest.approx([0.8, 0.1, 0.1], abs=0.005)
    words = seen[asked][seen[asked] >= 10]
    assert (words.min(), words.max()) == (10, 1_009)

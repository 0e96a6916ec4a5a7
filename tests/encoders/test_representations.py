"""Segment maximum against a plain loop, and batches that lose nothing."""

import numpy as np
import pytest

from m3eval.encoders.backbone import _slices, batches
from m3eval.encoders.representations import Ragged, segment_max


@pytest.mark.parametrize("seed", range(5))
def test_segment_max(seed):
    rng = np.random.default_rng(seed)
    n, vocabulary, tokens = 7, 11, 200
    rows, ids = rng.integers(0, n, tokens), rng.integers(0, vocabulary, tokens)
    weights = rng.normal(size=tokens).astype(np.float32)
    expected = np.zeros((n, vocabulary), np.float32)
    for row, token, weight in zip(rows, ids, weights, strict=True):
        expected[row, token] = max(expected[row, token], weight)
    found = segment_max(rows, ids, weights, (n, vocabulary))
    np.testing.assert_array_equal(found.toarray(), expected)
    assert found.has_sorted_indices and (found.data > 0).all()


def test_segment_max_of_nothing():
    empty = segment_max(np.empty(0, int), np.empty(0, int), np.empty(0, np.float32), (3, 5))
    assert empty.shape == (3, 5) and empty.nnz == 0


@pytest.mark.parametrize("budget", [1, 10, 64, 10_000])
def test_batches_hold_every_text_once_within_the_budget(budget):
    lengths = np.random.default_rng(0).integers(1, 40, 100)
    found = list(batches(lengths, budget))
    assert sorted(np.concatenate(found)) == list(range(100))
    assert all(len(rows) == 1 or len(rows) * lengths[rows].max() <= budget for rows in found)
    assert all(np.all(np.diff(lengths[rows]) <= 0) for rows in found)


def test_ragged():
    ragged = Ragged(np.arange(10).reshape(5, 2), np.array([0, 2, 2, 5]))
    assert len(ragged) == 3 and ragged[0].tolist() == [[0, 1], [2, 3]] and ragged[1].shape == (0, 2)


def test_slices_hold_every_item_once_within_the_limit():
    sizes = [5, 5, 1, 20, 3, 3, 3, 3, 10]
    found = list(_slices(sizes, 10))
    assert found == [(0, 2), (2, 3), (3, 4), (4, 7), (7, 8), (8, 9)]
    assert list(_slices([], 10)) == []

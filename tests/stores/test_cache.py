"""The cache of multi-vectors gives back what it took, and no more than its bound."""

import numpy as np

from m3eval.stores.cache import VectorCache


def test_gives_back_what_it_took(tmp_path):
    cache, rng = VectorCache(tmp_path / "cache", 10_000), np.random.default_rng(0)
    assert not cache.has(np.array([3, 4])).any() and cache.read(np.array([], int)) == []
    first, second = (rng.normal(size=(n, 8)).astype(np.float16) for n in (7, 2))
    cache.add(np.array([9, 3, 5]), first, np.array([4, 0, 3]))
    cache.add(np.array([4]), second, np.array([2]))
    assert cache.has(np.array([3, 4, 5, 6, 9])).tolist() == [True, True, True, False, True]
    for row, expected in ((9, first[:4]), (3, first[:0]), (5, first[4:]), (4, second)):
        np.testing.assert_array_equal(cache.read(np.array([row]))[0], expected)


def test_keeps_within_its_bound(tmp_path):
    cache = VectorCache(tmp_path, 100)
    for row in range(10):
        cache.add(np.array([row]), np.zeros((2, 8), np.float16), np.array([2]))
    assert cache.has(np.arange(10)).tolist() == [True] * 3 + [False] * 7
    assert cache.file.stat().st_size == 96 <= 100

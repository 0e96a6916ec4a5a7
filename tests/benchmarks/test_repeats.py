"""Repeated ids: exact, whatever the hashes say, and with few of them in memory."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3eval.benchmarks.repeats import Ids


def repeated(keys: list[str], **how) -> list[str]:
    with Ids(**how) as ids:
        for key in keys:
            ids.add(key)
        assert len(ids.hashes) <= ids.in_memory
        return ids.repeated(lambda: iter(keys))


def weak(key: str) -> int:
    """A hash that many ids share, negative ones too."""
    return len(key) - 3


@given(st.lists(st.text("abc", max_size=4)), st.integers(1, 9), st.integers(1, 3))
def test_exactly_what_occurs_twice_is_found(keys, in_memory, at_a_time):
    twice = {key for key in keys if keys.count(key) > 1}
    for hashed in (hash, weak):
        found = repeated(keys, hashed=hashed, in_memory=in_memory, at_a_time=at_a_time)
        assert set(found) <= twice and bool(found) == bool(twice)


def test_ids_that_share_a_hash_are_no_repetition():
    keys = [f"d{i:03d}" for i in range(100)]
    assert repeated(keys, hashed=weak) == []
    assert repeated([*keys, "d042"], hashed=weak) == ["d042"]


@pytest.mark.parametrize("n", [100_000, 400_000])
def test_memory_does_not_grow_with_the_texts(n):
    """Also where every id occurs twice: they are counted a few at a time."""
    tracemalloc.start()
    try:
        with Ids(in_memory=10_000, at_a_time=100) as ids:
            for i in range(n):
                ids.add(str(i % (n // 2)))
            found = ids.repeated(lambda: (str(i % (n // 2)) for i in range(n)))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(found) == 5
    assert peak < 1_500_000  # bytes; 400,000 hashes are 3.2 million

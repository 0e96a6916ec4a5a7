"""Collectors put the results of packs into the order of the texts, whatever was known before."""

from __future__ import annotations

import numpy as np

from m3eval.encoders.heads import collectors
from m3eval.encoders.heads.collectors import PackRows


def as_they_are(rows, counts, *arrays) -> PackRows:
    return PackRows(counts, arrays)


def test_lists_without_texts_or_without_results():
    assert collectors.one_vector(0).result().shape == (0, 0)
    assert collectors.weighted_terms(3, 5, as_they_are).result().shape == (3, 5)
    vectors = collectors.several_vectors(np.zeros(2, int), 4, np.float16).result()
    assert len(vectors) == 2 and vectors.vectors.shape == (0, 4)
    terms = collectors.terms_with_vectors(2, np.float16, as_they_are).result()
    assert len(terms) == 2 and terms.vectors.dtype == np.float16


def test_one_vector_of_each_text():
    collector = collectors.one_vector(3)
    collector.add(np.array([2, 0]), np.array([[2.0], [0.0]], np.float32))
    collector.add(np.array([1]), np.array([[1.0]], np.float32))
    assert collector.result().ravel().tolist() == [0, 1, 2]


def test_several_vectors_of_each_text():
    collector = collectors.several_vectors(np.array([1, 0, 2]), 1, np.float16)
    collector.add(np.array([2]), np.array([[3.0], [4.0]]))
    collector.add(np.array([0, 1]), np.array([[5.0]]))
    found = collector.result()
    assert found.vectors.dtype == np.float16 and found.offsets.tolist() == [0, 1, 1, 3]
    assert found.vectors.ravel().tolist() == [5, 3, 4]


def test_terms_and_their_weights():
    collector = collectors.weighted_terms(3, 9, as_they_are)
    collector.add(
        np.array([2, 0]),
        np.array([1, 2]),
        np.array([7, 3, 4], np.int32),
        np.array([0.7, 0.3, 0.4], np.float32),
    )
    nothing = np.empty(0, np.int32), np.empty(0, np.float32)
    collector.add(np.array([1]), np.array([0]), *nothing)
    expected = np.zeros((3, 9), np.float32)
    expected[2, 7], expected[0, 3], expected[0, 4] = 0.7, 0.3, 0.4
    np.testing.assert_array_equal(collector.result().toarray(), expected)


def test_terms_and_their_vectors():
    collector = collectors.terms_with_vectors(2, np.float16, as_they_are)
    terms, vectors = np.array([5, 8, 1], np.int32), np.array([[1, 2], [3, 4], [5, 6]], np.float32)
    collector.add(np.array([1, 0]), np.array([2, 1]), terms, vectors)
    found = collector.result()
    assert found.terms.tolist() == [1, 5, 8] and found.offsets.tolist() == [0, 1, 3]
    assert found.vectors.dtype == np.float16 and found.vectors.tolist() == [[5, 6], [1, 2], [3, 4]]
